//! What keeps a store in order: clean-up, purge, checkpoint, gauges, verification.

use std::fmt;
use std::ops::ControlFlow;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};

use super::Store;
use crate::log::gauges;
use crate::log::scope::Scope;
use crate::maintenance::checkpoint::{self, WalCheckpoint};
use crate::maintenance::clean_up::{self, SnapshotExpiry, SnapshotExpiryTask};
use crate::maintenance::purge::{self, Purge, PurgeReport};
use crate::maintenance::reindex::{self, ReindexProgress};
use crate::model::clock::{from_micros, to_micros};
use crate::model::error::Result;
use crate::storage::verify::{VerifyProgress, VerifyReport};

/// What an operator or a timetable does to a store: check it, take old events and snapshots out of it, mend it. Cheap to
/// clone and to make, by [`Store::maintenance`].
///
/// Purging and deleting snapshots is done to the tenant of the store's handle; all else to the file.
///
/// ```
/// use std::ops::ControlFlow;
/// use foldlog::{Purge, Store};
///
/// let store = Store::in_memory()?;
/// let maintenance = store.maintenance();
/// assert!(maintenance.verify(|_| ControlFlow::Continue(()))?.is_clean());
/// let report = maintenance.purge(Purge::created_before("2020-01-01T00:00:00Z".parse().unwrap()))?;
/// assert_eq!(report.events_removed, 0);
/// # Ok::<(), foldlog::Error>(())
/// ```
#[derive(Clone)]
pub struct Maintenance {
    scope: Scope,
}

impl fmt::Debug for Maintenance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Maintenance").field("tenant", &self.scope.tenant).finish_non_exhaustive()
    }
}

impl Store {
    /// What keeps the store in order: [`verify`](Maintenance::verify), [`purge`](Maintenance::purge),
    /// [`checkpoint`](Maintenance::checkpoint) and others.
    pub fn maintenance(&self) -> Maintenance {
        Maintenance { scope: self.scope.clone() }
    }
}

impl Maintenance {
    /// Deletes this tenant's snapshots that are older than `age` (the original: 90 days); returns how many. The newest
    /// snapshot of an aggregate whose first events were purged or archived stays: its replay needs it.
    ///
    /// # Errors
    /// If the file cannot be written; what was deleted before stays deleted.
    pub fn expire_snapshots(&self, age: Duration) -> Result<u64> {
        let now = from_micros(self.scope.options().clock.now_micros())?;
        let before =
            TimeDelta::from_std(age).ok().and_then(|age| now.checked_sub_signed(age)).unwrap_or(DateTime::<Utc>::MIN_UTC);
        self.scope
            .engine()
            .expire_snapshots(&self.scope.tenant, to_micros(before))
            .map_err(|error| error.during("expire snapshots"))
    }

    /// Deletes old snapshots of all tenants by a timetable, on a thread of its own, until the result is dropped.
    ///
    /// # Errors
    /// [`ErrorKind::ReadOnly`](crate::ErrorKind::ReadOnly) if the store was opened for reading; [`ErrorKind::Io`](crate::ErrorKind::Io) if no thread can be had.
    pub fn schedule_snapshot_expiry(&self, plan: SnapshotExpiry) -> Result<SnapshotExpiryTask> {
        clean_up::start(self.scope.clone(), plan).map_err(|error| error.during("schedule clean-up"))
    }

    /// Takes old events of this tenant out of the file for good, and reports what it did. Events that a replay still needs stay, unless
    /// [`Purge::even_if_replay_breaks`] says otherwise; so do those that a subscription, a projection or an outbox has not
    /// passed yet, unless [`Purge::even_if_undelivered`] does.
    ///
    /// # Errors
    /// If the file cannot be written; what was removed before stays removed.
    pub fn purge(&self, plan: Purge) -> Result<PurgeReport> {
        self.purge_by_steps(plan, |_| ControlFlow::Continue(()))
    }

    /// As [`Maintenance::purge`], for a log in which it takes long: after each transaction, of some aggregates each,
    /// `progress` sees what was done so far and can stop it. What was removed stays removed, and the next purge begins anew
    /// with the first aggregate.
    ///
    /// # Errors
    /// As [`Maintenance::purge`].
    pub fn purge_by_steps(&self, plan: Purge, progress: impl FnMut(&PurgeReport) -> ControlFlow<()>) -> Result<PurgeReport> {
        let done = purge::purge(&self.scope, &plan, progress).map_err(|error| error.during("purge"));
        // Also after a failure: what was removed before stays removed. The gauges' own failure changes nothing.
        let _ = gauges::refresh(&self.scope);
        done
    }

    /// Moves the write-ahead log into the file and empties it, waiting for readers as long as the busy time-out says.
    ///
    /// Appends do most of this by themselves whenever the log has grown to 16 MiB, as far as readers let them. Call it
    /// before the file is copied, or when a long reader is gone and the log is to give its space back.
    ///
    /// # Errors
    /// [`ErrorKind::ReadOnly`](crate::ErrorKind::ReadOnly) if the store was opened for reading; [`ErrorKind::DiskFull`](crate::ErrorKind::DiskFull) and [`ErrorKind::Io`](crate::ErrorKind::Io) if the
    /// file cannot be written. The log is then as it was, and nothing is lost.
    pub fn checkpoint(&self) -> Result<WalCheckpoint> {
        checkpoint::checkpoint(&self.scope).map_err(|error| error.during("checkpoint"))
    }

    /// Reads all gauges from the file anew: for an application whose exporter is asked now, and for values that another
    /// process may have changed. As many look-ups as single aggregates are measured, 1,000 by default; no scan.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn refresh_metrics(&self) -> Result<()> {
        gauges::refresh(&self.scope).map_err(|error| error.during("refresh metrics"))
    }

    /// Checks the whole file, of all tenants: its pages, every event's checksum, versions, positions, names, tags,
    /// summaries, counters and snapshots. Names each damage and says what can be done about it; goes on behind what
    /// cannot be read.
    ///
    /// Others may go on writing: what they do is not mistaken for damage. Only SQLite's own check of the pages, the first
    /// step, is one long read that holds up the moving of the write-ahead log into the file. Whether snapshots agree with
    /// a replay only their fold can tell: see [`Aggregates::verify_snapshots`](crate::Aggregates::verify_snapshots).
    ///
    /// ```
    /// # let store = foldlog::Store::in_memory()?;
    /// let report = store.maintenance().verify(|progress| {
    ///     eprintln!("{:?} {}/{}", progress.step, progress.done, progress.total);
    ///     std::ops::ControlFlow::Continue(())
    /// })?;
    /// for damage in &report.damages {
    ///     eprintln!("{damage}");
    /// }
    /// assert!(report.is_clean());
    /// # Ok::<(), foldlog::Error>(())
    /// ```
    ///
    /// # Errors
    /// If the file cannot be opened at all.
    pub fn verify(&self, mut progress: impl FnMut(VerifyProgress) -> ControlFlow<()>) -> Result<VerifyReport> {
        self.scope.engine().verify(&mut progress).map_err(|error| error.during("verify"))
    }

    /// Makes every index anew from the events: of positions, names, ids, tags, and the summaries that queries skip by. For a
    /// file in which `verify` found that an index has lost something. Returns whether it came to its end; if `progress` stops
    /// it, nothing is changed.
    ///
    /// One transaction: nobody else writes meanwhile, and the write-ahead log grows by about the size of the indexes.
    ///
    /// # Errors
    /// If the file cannot be read or written; nothing is changed then.
    pub fn reindex(&self, progress: impl FnMut(ReindexProgress) -> ControlFlow<()>) -> Result<bool> {
        reindex::reindex(&self.scope, progress).map_err(|error| error.during("reindex"))
    }
}
