//! Upkeep of a store: clean-up, purge, space, WAL checkpoint, gauges, verification, reindexing.

use std::fmt;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use super::Store;
use super::aggregates::Aggregates;
use crate::log::gauges;
use crate::log::scope::Scope;
use crate::maintenance::archive::{self, Archive, ArchiveReport};
use crate::maintenance::audit;
use crate::maintenance::checkpoint;
use crate::maintenance::clean_up::{self, ExpiryProgress, SnapshotExpiry, SnapshotExpiryTask};
use crate::maintenance::purge::{self, Purge, PurgeReport};
use crate::maintenance::space;
use crate::maintenance::verify;
use crate::model::audit_digest::AuditDigest;
use crate::model::error::Result;
use crate::model::fold::AggregateKind;
use crate::storage::upkeep::{CompactProgress, ReindexProgress, WalCheckpoint};
use crate::storage::verify::{Verified, VerifyProgress, VerifyReport};

/// Upkeep of a store: check it, remove old events and snapshots, repair indexes. Returned by [`Store::maintenance`]; cheap to
/// create and to clone.
///
/// Purging and deleting snapshots concern the tenant of the store's handle; everything else concerns the whole file.
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
    /// The store's upkeep: [`verify`](Maintenance::verify), [`purge`](Maintenance::purge),
    /// [`checkpoint`](Maintenance::checkpoint) and others.
    pub fn maintenance(&self) -> Maintenance {
        Maintenance { scope: self.scope.clone() }
    }
}

impl Purge {
    /// Gives the purge the fold of a handle: its snapshots count, after they were compared with the events. If several
    /// folds, Rust types or fold versions read the same aggregate type, give each; an event goes only if all can do
    /// without it. The comparison folds every aggregate with old events from its first event.
    ///
    /// ```
    /// # use foldlog::{Expected, NewEvent, Purge, SnapshotReason, Store};
    /// # let store = Store::in_memory()?;
    /// let plan = Purge::created_before("2020-01-01T00:00:00Z".parse().unwrap())
    ///     .fold(&store.json_aggregates("order"))
    ///     .fold(&store.json_aggregates("account"));
    /// assert!(store.maintenance().purge(plan)?.finished);
    /// # Ok::<(), foldlog::Error>(())
    /// ```
    pub fn fold<A: AggregateKind>(self, handle: &Aggregates<A>) -> Purge {
        self.with_fold(Arc::new(handle.fold.clone()))
    }
}

impl Maintenance {
    pub(super) fn scope(&self) -> &Scope {
        &self.scope
    }

    /// Deletes this tenant's snapshots that are older than `age`. The newest snapshot of an aggregate whose first events
    /// were purged or archived stays, because replays need it.
    ///
    /// `progress` is called after each transaction and can stop it; what was deleted stays deleted.
    ///
    /// # Errors
    /// If the file cannot be written; what was deleted before stays deleted.
    pub fn expire_snapshots(
        &self,
        age: Duration,
        progress: impl FnMut(ExpiryProgress) -> ControlFlow<()>,
    ) -> Result<ExpiryProgress> {
        clean_up::expire(&self.scope, age, progress).map_err(|error| error.during("expire snapshots"))
    }

    /// Deletes old snapshots of all tenants on a schedule, on its own thread, until the result is dropped.
    ///
    /// # Errors
    /// [`ErrorKind::ReadOnly`](crate::ErrorKind::ReadOnly) if the store was opened for reading;
    /// [`ErrorKind::Io`](crate::ErrorKind::Io) if no thread can be started.
    pub fn schedule_snapshot_expiry(&self, plan: SnapshotExpiry) -> Result<SnapshotExpiryTask> {
        clean_up::start(self.scope.clone(), plan).map_err(|error| error.during("schedule clean-up"))
    }

    /// Removes old events of this tenant from the file for good, and reports what it did. Events that a replay still
    /// needs stay, unless [`Purge::even_if_replay_breaks`] is set: only a snapshot that a fold given to [`Purge::fold`]
    /// has compared with the events replaces them. So do events that a subscription, a projection or an
    /// outbox has not passed yet, unless [`Purge::even_if_undelivered`] is set.
    ///
    /// # Errors
    /// If the file cannot be written. What was removed before that stays removed.
    pub fn purge(&self, plan: Purge) -> Result<PurgeReport> {
        self.purge_by_steps(plan, |_| ControlFlow::Continue(()))
    }

    /// As [`Maintenance::purge`], for a long log. `progress` is called after each transaction with what was done so far,
    /// and can stop the purge. What was removed stays removed; the next purge starts again at the first aggregate.
    ///
    /// # Errors
    /// As [`Maintenance::purge`].
    pub fn purge_by_steps(&self, plan: Purge, progress: impl FnMut(&PurgeReport) -> ControlFlow<()>) -> Result<PurgeReport> {
        let done = purge::purge(&self.scope, &plan, progress).map_err(|error| error.during("purge"));
        // Also after a failure, because what was removed stays removed. A failure to refresh the gauges is ignored.
        let _ = gauges::refresh(&self.scope);
        done
    }

    /// Moves old events of this tenant to the archive, a second file next to the store's, and reports what it did. Only
    /// events that a snapshot makes unnecessary for the current state are moved.
    ///
    /// Everything still reads them: replays of all kinds, histories, queries, subscriptions, rebuilds, `verify`. If the
    /// archive is not there, the current state still loads, and what needs archived events fails with
    /// [`ErrorKind::ArchiveMissing`](crate::ErrorKind::ArchiveMissing). Copy both files for a backup, the main file first. The
    /// newest 511 events of the log are never moved.
    ///
    /// Others may read and write meanwhile. Each step copies some thousand events, waits for the disk, reads the copies
    /// back, and only then deletes the originals. If the process dies, no event is lost and none is there twice.
    ///
    /// # Errors
    /// If one of the files cannot be written, or the archive is missing or is another file's. What was archived before
    /// that stays archived.
    pub fn archive(&self, plan: Archive) -> Result<ArchiveReport> {
        self.archive_by_steps(plan, |_| ControlFlow::Continue(()))
    }

    /// As [`Maintenance::archive`], for a long log. `progress` is called after each step with what was done so far, and
    /// can stop it. The next run continues.
    ///
    /// # Errors
    /// As [`Maintenance::archive`].
    pub fn archive_by_steps(
        &self,
        plan: Archive,
        progress: impl FnMut(&ArchiveReport) -> ControlFlow<()>,
    ) -> Result<ArchiveReport> {
        archive::archive(&self.scope, &plan, progress).map_err(|error| error.during("archive"))
    }

    /// Moves all archived events of this tenant back to the main file; returns how many.
    ///
    /// # Errors
    /// If the main file cannot be written or the archive cannot be read. What was moved before that stays moved.
    pub fn unarchive(&self) -> Result<u64> {
        archive::unarchive(&self.scope, None).map_err(|error| error.during("unarchive"))
    }

    /// As [`Maintenance::unarchive`], of one aggregate.
    ///
    /// # Errors
    /// As [`Maintenance::unarchive`].
    pub fn unarchive_aggregate(&self, aggregate_type: impl AsRef<str>, aggregate_id: impl fmt::Display) -> Result<u64> {
        let only = (aggregate_type.as_ref(), &*aggregate_id.to_string());
        archive::unarchive(&self.scope, Some(only)).map_err(|error| error.during("unarchive"))
    }

    /// Runs a WAL checkpoint: moves the write-ahead log into the file and empties it. Waits for readers up to the busy
    /// time-out.
    ///
    /// Appends do most of this by themselves whenever the log has grown to 16 MiB, as far as readers allow. Call it
    /// before the file is copied, or after a long reader has ended, to give the log's space back.
    ///
    /// # Errors
    /// [`ErrorKind::ReadOnly`](crate::ErrorKind::ReadOnly) if the store was opened for reading; [`ErrorKind::DiskFull`](crate::ErrorKind::DiskFull) and [`ErrorKind::Io`](crate::ErrorKind::Io) if the
    /// file cannot be written. The log is then unchanged, and nothing is lost.
    pub fn checkpoint(&self) -> Result<WalCheckpoint> {
        checkpoint::checkpoint(&self.scope).map_err(|error| error.during("checkpoint"))
    }

    /// Gives space that purges and deleted snapshots have left in the file back to the file system, in many short
    /// transactions, while others read and write. `progress` can stop it; what was given back before stays so. Returns how
    /// far it came.
    ///
    /// Without it the file keeps its size, and new events take the free space first.
    ///
    /// ```
    /// # let store = foldlog::Store::in_memory()?;
    /// let reached = store.maintenance().compact(|progress| {
    ///     eprintln!("{} of {} pages", progress.done, progress.total);
    ///     std::ops::ControlFlow::Continue(())
    /// })?;
    /// assert!(reached.finished);
    /// # Ok::<(), foldlog::Error>(())
    /// ```
    ///
    /// # Errors
    /// If the file cannot be read or written. What was given back before stays so.
    pub fn compact(&self, progress: impl FnMut(CompactProgress) -> ControlFlow<()>) -> Result<CompactProgress> {
        space::compact(&self.scope, progress).map_err(|error| error.during("compact"))
    }

    /// Reads all gauges from the file: before an exporter reports, and for values that another process may have
    /// changed. One look-up for each measured aggregate, 1,000 by default; no scan.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn refresh_metrics(&self) -> Result<()> {
        gauges::refresh(&self.scope).map_err(|error| error.during("refresh metrics"))
    }

    /// Checks the whole file, of all tenants: its pages, every event's checksum, versions, positions, names, tags,
    /// summaries, counters, snapshots, subscriptions and deliveries. Names each damage and what can be done about it,
    /// and continues after unreadable parts.
    ///
    /// Others may write meanwhile; their changes are not mistaken for damage. Only the first step, SQLite's own check
    /// of the pages, is one long read that keeps the write-ahead log from being moved into the file. Whether snapshots
    /// agree with a replay only their fold can tell: see
    /// [`Aggregates::verify_snapshots`](crate::Aggregates::verify_snapshots).
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

    /// Notes in the file what a [`verify`](Maintenance::verify) found, so that `foldlog stats`, the inspector and
    /// [`last_verified`](Maintenance::last_verified) can say when the file was verified last. `verify` itself writes nothing.
    ///
    /// ```
    /// # use std::ops::ControlFlow;
    /// # let store = foldlog::Store::in_memory()?;
    /// let maintenance = store.maintenance();
    /// maintenance.note_verified(&maintenance.verify(|_| ControlFlow::Continue(()))?)?;
    /// assert_eq!(maintenance.last_verified()?.unwrap().damage_count, 0);
    /// # Ok::<(), foldlog::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`](crate::ErrorKind::InvalidInput) for a report that is not finished; if the file cannot be
    /// written. Then the last note stays.
    pub fn note_verified(&self, report: &VerifyReport) -> Result<()> {
        verify::note(&self.scope, report).map_err(|error| error.during("note a verification"))
    }

    /// What the last verification found that was noted; `None` if none was.
    ///
    /// # Errors
    /// If the file cannot be read, or the note is damaged.
    pub fn last_verified(&self) -> Result<Option<Verified>> {
        self.scope.engine().verified().map_err(|error| error.during("last verification"))
    }

    /// Accepts, for this tenant, that aggregates whose last events a [repair](Store::repair) could not read end with the last event
    /// that is left. Until then they are not replayed to the present, and nothing is appended to them. Returns how many
    /// there were.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn accept_losses(&self) -> Result<u64> {
        let accepted = self.scope.engine().accept_losses(&self.scope.tenant, None);
        accepted.map_err(|error| error.during("accept losses"))
    }

    /// As [`Maintenance::accept_losses`], of one aggregate.
    ///
    /// # Errors
    /// As there, and [`ErrorKind::NotFound`](crate::ErrorKind::NotFound) if there is no such aggregate.
    pub fn accept_losses_of(&self, aggregate_type: impl AsRef<str>, aggregate_id: impl fmt::Display) -> Result<u64> {
        let only = (aggregate_type.as_ref(), &*aggregate_id.to_string());
        let accepted = self.scope.engine().accept_losses(&self.scope.tenant, Some(only));
        accepted.map_err(|error| error.of(&self.scope.aggregate(only.0, only.1)).during("accept losses"))
    }

    /// The end of the audit chain, to be kept elsewhere: see [`AuditDigest`]. `None` if the file has no chain: see
    /// [`Options::audit`](crate::Options::audit).
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn checkpoint_digest(&self) -> Result<Option<AuditDigest>> {
        audit::checkpoint_digest(&self.scope).map_err(|error| error.during("checkpoint digest"))
    }

    /// Compares the audit chain with a digest that was made of it earlier. Together with a clean
    /// [`verify`](Maintenance::verify) this proves that the events up to the digest's position are those that were appended:
    /// none changed, none added, none left out; those that were purged or erased meanwhile cannot be read, but nothing took
    /// their place.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`](crate::ErrorKind::Corrupt) if it is another log, or one without a chain.
    pub fn check_digest(&self, digest: &AuditDigest) -> Result<()> {
        audit::check_digest(&self.scope, digest).map_err(|error| error.during("check digest"))
    }

    /// Recreates every index from the events: of positions, names, ids and tags, and the summaries. Use it if `verify`
    /// found that an index has lost something. If `progress` stops it, nothing is changed.
    ///
    /// It is one transaction: nobody else can write meanwhile, and the write-ahead log grows by about the size of the
    /// indexes.
    ///
    /// # Errors
    /// If the file cannot be read or written; nothing is changed then.
    pub fn reindex(&self, mut progress: impl FnMut(ReindexProgress) -> ControlFlow<()>) -> Result<ReindexProgress> {
        self.scope.engine().reindex(&mut progress).map_err(|error| error.during("reindex"))
    }
}
