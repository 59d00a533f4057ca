//! What all pages share: the store, the folds, and what is remembered between two requests.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use foldlog::{Filter, Result, Store};

use crate::folds::Folds;
use crate::http;
use crate::reading::contents::{Contents, Kept, Snapshots};
use crate::reading::days::{Counted, Days};
use crate::reading::health::Readers;
use crate::reading::trend::Trends;
use crate::reading::verify::Verification;
use crate::reading::window::Windows;

/// How long an answer about readers or snapshots is used again.
const FRESH: Duration = Duration::from_millis(500);

pub(crate) struct App {
    /// Cannot write, unless the store is in memory.
    pub(crate) store: Store,
    /// The store that can write, if that is allowed.
    pub(crate) writer: Option<Store>,
    pub(crate) folds: Folds,
    /// Whether only the tenant of the store's handle is shown.
    pub(crate) one_tenant: bool,
    /// What forms must carry, so that no other page can send them.
    pub(crate) form_secret: String,
    pub(crate) windows: Windows,
    pub(crate) days: Counted,
    pub(crate) kept: Kept,
    pub(crate) trends: Trends,
    pub(crate) verification: Arc<Mutex<Verification>>,
    readers: Mutex<Option<(Instant, Arc<Readers>)>>,
}

impl App {
    pub(crate) fn new(store: Store, folds: Folds, allow_writes: bool, one_tenant: bool) -> Result<App> {
        let writer = allow_writes.then(|| store.clone());
        let reader = match store.path() {
            Some(path) => store.options().clone().open_read_only(path)?.tenant(store.tenant_name()),
            None => store,
        };
        Ok(App {
            store: reader,
            writer,
            folds,
            one_tenant,
            form_secret: http::secret(),
            windows: Windows::default(),
            days: Counted::default(),
            kept: Kept::default(),
            trends: Trends::default(),
            verification: Arc::default(),
            readers: Mutex::default(),
        })
    }

    /// The tenants that are shown.
    pub(crate) fn tenants(&self) -> Result<Vec<String>> {
        match self.one_tenant {
            true => Ok(vec![self.store.tenant_name().to_owned()]),
            false => self.store.tenants(),
        }
    }

    /// Whether a tenant is shown.
    pub(crate) fn shows(&self, tenant: &str) -> bool {
        !self.one_tenant || tenant == self.store.tenant_name()
    }

    /// The store as a tenant sees it, if that tenant is shown.
    pub(crate) fn tenant(&self, name: &str) -> Option<Store> {
        self.shows(name).then(|| self.store.tenant(name))
    }

    /// The store as a tenant sees it, or as all that are shown; the filter is widened to them.
    pub(crate) fn scope(&self, tenant: Option<&str>, filter: Filter) -> (Store, Filter) {
        match tenant {
            Some(tenant) if !self.one_tenant => (self.store.tenant(tenant), filter),
            _ => (self.store.clone(), self.all(filter)),
        }
    }

    /// Widens a filter to all tenants that are shown.
    pub(crate) fn all(&self, filter: Filter) -> Filter {
        if self.one_tenant { filter } else { filter.all_tenants() }
    }

    /// The name of the file.
    pub(crate) fn name(&self) -> String {
        let name = self.store.path().and_then(|path| path.file_name());
        name.map_or("a store in memory".to_owned(), |name| name.to_string_lossy().into_owned())
    }

    /// The readers of the log, not older than half a second.
    pub(crate) fn readers(&self) -> Result<Arc<Readers>> {
        let mut kept = self.readers.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((at, readers)) = &*kept
            && at.elapsed() < FRESH
        {
            return Ok(readers.clone());
        }
        let readers = Arc::new(Readers::read(self)?);
        *kept = Some((Instant::now(), readers.clone()));
        Ok(readers)
    }

    /// Counts what the first page shows.
    pub(crate) fn count_early(&self) {
        let _ = (Days::last(self, 60), Contents::of(self), Snapshots::of(self));
    }

    /// Notes how far the readers are, if it is time to. If they cannot be read, their page says why.
    pub(crate) fn watch_readers(&self) {
        if self.trends.is_due()
            && let Ok(readers) = self.readers()
        {
            self.trends.note(&readers);
        }
    }

    /// Forgets what is remembered about readers: something was changed.
    pub(crate) fn forget_readers(&self) {
        *self.readers.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}
