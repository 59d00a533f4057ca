//! An open log as one tenant sees it: what everything above the engine works on.

use std::sync::{Arc, RwLock};

use crate::engine::{Engine, InlineProjection};
use crate::log::signal::Signal;
use crate::metrics::Meter;
use crate::model::error::{Error, ErrorKind, Result};
use crate::model::place::{AggregateRef, DEFAULT_TENANT};
use crate::options::Options;
use crate::storage::delivery::Identity;
use crate::sync;

/// Cheap to clone: two counted references.
#[derive(Clone)]
pub(crate) struct Scope {
    pub(crate) log: Arc<Log>,
    pub(crate) tenant: Arc<str>,
}

/// An open log and its settings.
pub(crate) struct Log {
    pub(crate) engine: Engine,
    pub(crate) options: Options,
    /// Raised after each append of this process, and when a subscription has moved.
    pub(crate) appended: Signal,
    /// Projections that run inside this process's appends.
    pub(crate) inline: RwLock<Vec<Arc<InlineProjection>>>,
    pub(crate) meter: Meter,
}

impl Scope {
    pub(crate) fn new(engine: Engine, options: Options) -> Scope {
        let meter = Meter::new(options.label_bounds);
        Scope {
            log: Arc::new(Log { engine, options, meter, appended: Signal::default(), inline: RwLock::default() }),
            tenant: DEFAULT_TENANT.into(),
        }
    }

    /// The projections that run inside this process's appends.
    pub(crate) fn inline(&self) -> Vec<Arc<InlineProjection>> {
        sync::read(&self.log.inline).clone()
    }

    /// From now on runs a projection inside this process's appends, in the place of an earlier definition.
    pub(crate) fn add_inline(&self, projection: InlineProjection) {
        let mut inline = sync::write(&self.log.inline);
        inline.retain(|known| known.spec.identity != projection.spec.identity);
        inline.push(Arc::new(projection));
    }

    /// Stops running a projection inside this process's appends once `remove` has succeeded. Returns its result, and
    /// whether the projection did run inside them.
    pub(crate) fn end_inline<T>(&self, identity: &Identity, remove: impl FnOnce() -> Result<T>) -> (Result<T>, bool) {
        let of_this = |projection: &Arc<InlineProjection>| projection.spec.identity == *identity;
        let found: Vec<_> = self.inline().into_iter().filter(of_this).collect();
        // Before it is removed: an append in between must not fail for want of it. What it passes over is applied by
        // the next append if the removal fails.
        found.iter().for_each(|projection| projection.end(true));
        let removed = remove();
        match &removed {
            Ok(_) => sync::write(&self.log.inline).retain(|known| !found.iter().any(|found| Arc::ptr_eq(found, known))),
            Err(_) => found.iter().for_each(|projection| projection.end(false)),
        }
        (removed, !found.is_empty())
    }

    /// Gives a copy of the log the same inline projections.
    pub(crate) fn copy_inline(&self, copy: &Scope) {
        *sync::write(&copy.log.inline) = self.inline().iter().map(|projection| Arc::new(projection.copied())).collect();
    }

    pub(crate) fn engine(&self) -> &Engine {
        &self.log.engine
    }

    pub(crate) fn options(&self) -> &Options {
        &self.log.options
    }

    pub(crate) fn meter(&self) -> &Meter {
        &self.log.meter
    }

    pub(crate) fn aggregate(&self, aggregate_type: &str, aggregate_id: &str) -> AggregateRef {
        AggregateRef::new(&self.tenant, aggregate_type, aggregate_id)
    }

    /// Refuses a name that cannot be stored or is too long.
    pub(crate) fn check_name(&self, what: &str, name: &str) -> Result<()> {
        let most = self.options().max_name_bytes;
        if name.is_empty() {
            return Err(Error::new(ErrorKind::InvalidInput, format!("the {what} is empty")));
        }
        if name.contains('\0') {
            return Err(Error::new(ErrorKind::InvalidInput, format!("the {what} holds a NUL character")));
        }
        if name.len() > most {
            let what = format!("the {what} has {} bytes; at most {most} are allowed", name.len());
            return Err(Error::new(ErrorKind::LimitExceeded, what).advice("shorten it, or raise Options::max_name_bytes"));
        }
        Ok(())
    }
}
