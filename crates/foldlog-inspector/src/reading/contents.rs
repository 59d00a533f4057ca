//! What the file holds, counted once for all pages.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use foldlog::{FileStatistics, Result, SnapshotsOfType, TypeStatistics};

use crate::app::App;

/// An answer about snapshots is used again for this multiple of the time it took: it looks at every one of them.
const WORTH: u32 = 20;
/// The least time for which it is used again.
const FRESH: Duration = Duration::from_millis(500);
/// A longer history is not replayed to show what a replay costs.
const LONGEST: u64 = 20_000;

/// What is remembered between two requests.
#[derive(Default)]
pub(crate) struct Kept {
    contents: Mutex<Option<Arc<Contents>>>,
    snapshots: Mutex<Option<(Instant, Duration, Arc<Snapshots>)>>,
}

/// Events and aggregates, of the tenants that are shown.
pub(crate) struct Contents {
    pub(crate) file: FileStatistics,
    pub(crate) types: Vec<TypeStatistics>,
}

impl Contents {
    pub(crate) fn of(app: &App) -> Result<Arc<Contents>> {
        let file = app.store.file_statistics()?;
        let mut kept = app.kept.contents.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = &*kept
            && known.file == file
        {
            return Ok(known.clone());
        }
        let mut types = app.store.statistics_by_type()?;
        types.retain(|of_type| app.shows(&of_type.tenant));
        let contents = Arc::new(Contents { file, types });
        *kept = Some(contents.clone());
        Ok(contents)
    }

    pub(crate) fn events(&self) -> u64 {
        self.types.iter().map(|of_type| of_type.events).sum()
    }

    pub(crate) fn aggregates(&self) -> u64 {
        self.types.iter().map(|of_type| of_type.aggregates).sum()
    }

    /// Aggregates of each tenant, by name.
    pub(crate) fn tenants(&self) -> Vec<(String, u64)> {
        let mut tenants: BTreeMap<&str, u64> = BTreeMap::new();
        for of_type in &self.types {
            *tenants.entry(&*of_type.tenant).or_default() += of_type.aggregates;
        }
        tenants.into_iter().map(|(name, aggregates)| (name.to_owned(), aggregates)).collect()
    }

    /// Events and aggregates of each aggregate type, of one tenant or of all.
    pub(crate) fn aggregate_types(&self, tenant: Option<&str>) -> BTreeMap<&str, (u64, u64)> {
        let mut types: BTreeMap<&str, (u64, u64)> = BTreeMap::new();
        for of_type in self.types.iter().filter(|of_type| tenant.is_none_or(|tenant| *tenant == *of_type.tenant)) {
            let sum = types.entry(&*of_type.aggregate_type).or_default();
            *sum = (sum.0 + of_type.events, sum.1 + of_type.aggregates);
        }
        types
    }

    /// Events of each event type, most first.
    pub(crate) fn event_types(&self) -> Vec<(&str, u64)> {
        let mut types: BTreeMap<&str, u64> = BTreeMap::new();
        for (name, events) in self.types.iter().flat_map(|of_type| &of_type.events_by_type) {
            *types.entry(name.as_str()).or_default() += events;
        }
        let mut types: Vec<(&str, u64)> = types.into_iter().collect();
        types.sort_by_key(|(name, events)| (std::cmp::Reverse(*events), *name));
        types
    }
}

/// Snapshots by type and fold, of the tenants that are shown, and what a replay with and without one takes.
pub(crate) struct Snapshots {
    pub(crate) of_types: Vec<SnapshotsOfType>,
    pub(crate) replay: Option<Replay>,
}

/// A replay of the aggregate with most snapshots.
pub(crate) struct Replay {
    pub(crate) tenant: String,
    pub(crate) aggregate_type: String,
    pub(crate) aggregate_id: String,
    pub(crate) events: u64,
    pub(crate) with: Duration,
    pub(crate) without: Duration,
}

impl Snapshots {
    pub(crate) fn of(app: &App) -> Result<Arc<Snapshots>> {
        let mut kept = app.kept.snapshots.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((at, took, known)) = &*kept
            && at.elapsed() < (*took * WORTH).max(FRESH)
        {
            return Ok(known.clone());
        }
        let began = Instant::now();
        let mut of_types = app.store.snapshots_by_type()?;
        of_types.retain(|of_type| app.shows(&of_type.tenant));
        let snapshots = Arc::new(Snapshots { replay: replay(app, &of_types)?, of_types });
        *kept = Some((Instant::now(), began.elapsed(), snapshots.clone()));
        Ok(snapshots)
    }

    pub(crate) fn count(&self) -> u64 {
        self.of_types.iter().map(|of_type| of_type.snapshots).sum()
    }

    pub(crate) fn state_bytes(&self) -> u64 {
        self.of_types.iter().map(|of_type| of_type.state_bytes).sum()
    }

    /// Snapshots that another fold made than the application's of today: its replays pass over them. Only known for types whose
    /// fold the application gave.
    pub(crate) fn of_other_folds(&self, app: &App) -> u64 {
        let is_other = |of_type: &&SnapshotsOfType| {
            let fold = app.folds.of(&of_type.aggregate_type);
            fold.is_the_applications && fold.id(&app.store) != (of_type.fold_name.clone(), of_type.fold_version)
        };
        self.of_types.iter().filter(is_other).map(|of_type| of_type.snapshots).sum()
    }
}

/// Replays an aggregate that has a snapshot, once from it and once from the first event.
fn replay(app: &App, of_types: &[SnapshotsOfType]) -> Result<Option<Replay>> {
    let Some(most) = of_types.iter().max_by_key(|of_type| of_type.snapshots / of_type.aggregates.max(1)) else { return Ok(None) };
    let store = app.store.tenant(&most.tenant);
    let statistics = store.snapshot_statistics()?;
    let Some(of) = statistics.snapshots_by_aggregate.into_iter().next() else { return Ok(None) };
    let events = store.version(&of.aggregate_type, &of.aggregate_id)?.get();
    if events > LONGEST {
        return Ok(None);
    }
    let fold = app.folds.of(&of.aggregate_type);
    let time = |uses_snapshots: bool| {
        let began = Instant::now();
        // The application's fold may panic, and its first events may be purged: then there is nothing to compare.
        let done = catch_unwind(AssertUnwindSafe(|| fold.replay(&store, &of.aggregate_id, uses_snapshots)));
        done.is_ok_and(|done| done.is_ok()).then(|| began.elapsed())
    };
    let best = |uses_snapshots| (0..3).map(|_| time(uses_snapshots)).min().flatten();
    Ok(best(true).zip(best(false)).map(|(with, without)| Replay {
        tenant: most.tenant.to_string(),
        aggregate_type: of.aggregate_type.clone(),
        aggregate_id: of.aggregate_id.clone(),
        events,
        with,
        without,
    }))
}
