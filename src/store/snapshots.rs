//! Snapshots of an aggregate, on request.

use std::fmt;
use std::ops::ControlFlow;

use crate::maintenance::verify;
use crate::metrics::Timer;
use crate::model::error::Result;
use crate::model::fold::AggregateKind;
use crate::model::fold::sealed::Fold;
use crate::model::place::Version;
use crate::state::replay::{self, Loaded};
use crate::state::snapshot::{self, Snapshot, SnapshotReason};
use crate::storage::load::Until;
use crate::storage::verify::{VerifyProgress, VerifyReport};
use crate::store::aggregates::Aggregates;

impl<A: AggregateKind> Aggregates<A> {
    /// Makes a snapshot of the current state.
    ///
    /// # Errors
    /// As [`Aggregates::replay`] and [`Aggregates::append`].
    pub fn create_snapshot(&self, aggregate_id: impl fmt::Display, reason: SnapshotReason) -> Result<Version> {
        let aggregate_id = &*aggregate_id.to_string();
        let timer = Timer::start();
        let loaded = self.load(aggregate_id, Until::Now)?;
        self.save(aggregate_id, &loaded, reason, timer).map_err(|error| self.of("create snapshot", aggregate_id, error))?;
        Ok(loaded.replayed.version)
    }

    /// Makes a snapshot of the state at an earlier version, so that replays to that version and later ones are quick: to look
    /// around in a long history. Only the newest snapshots of a fold are kept, in the order in which they were made, so raise
    /// [`SnapshotPolicy::retain`](crate::SnapshotPolicy::retain) first, and make them in the order of versions.
    ///
    /// ```
    /// use foldlog::{Expected, NewEvent, Options, SnapshotPolicy, SnapshotReason};
    ///
    /// let store = Options::new().snapshots(SnapshotPolicy::manual().retain(1_000)).in_memory()?;
    /// let counters = store.json_aggregates("counter");
    /// let events = (0..30).map(|n| NewEvent::new("Counted", &serde_json::json!({"count": n})));
    /// counters.append("c-1", Expected::New, events.collect::<Result<Vec<_>, _>>()?)?;
    /// for version in [10, 20] {
    ///     counters.create_snapshot_at("c-1", version, SnapshotReason::Manual)?;
    /// }
    /// let replayed = counters.replay_to_version("c-1", 15)?;
    /// assert_eq!((replayed.from_snapshot.unwrap().get(), replayed.events_folded), (10, 5));
    /// # Ok::<(), foldlog::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`Aggregates::replay_to_version`] and [`Aggregates::append`].
    pub fn create_snapshot_at(
        &self,
        aggregate_id: impl fmt::Display,
        version: impl Into<Version>,
        reason: SnapshotReason,
    ) -> Result<()> {
        let aggregate_id = &*aggregate_id.to_string();
        let timer = Timer::start();
        let loaded = self.load(aggregate_id, Until::Version(version.into().get()))?;
        self.save(aggregate_id, &loaded, reason, timer).map_err(|error| self.of("create snapshot", aggregate_id, error))
    }

    /// Makes a snapshot if enough events were appended since the last one. Returns its version, or `None` if none is
    /// due. `append`, `execute` and `replay` do this by themselves. Use this in a schedule, or after appends through
    /// [`Store`](crate::Store), which knows no fold.
    ///
    /// # Errors
    /// As [`Aggregates::create_snapshot`].
    pub fn snapshot_if_due(&self, aggregate_id: impl fmt::Display) -> Result<Option<Version>> {
        let aggregate_id = &*aggregate_id.to_string();
        let timer = Timer::start();
        let loaded = self.load(aggregate_id, Until::Now)?;
        let version = loaded.replayed.version;
        let base = loaded.replayed.from_snapshot.unwrap_or(Version::ZERO);
        if !self.scope.options().snapshots.is_due(base.get(), version.get()) {
            return Ok(None);
        }
        self.save(aggregate_id, &loaded, SnapshotReason::Threshold, timer)
            .map_err(|error| self.of("create snapshot", aggregate_id, error))?;
        Ok(Some(version))
    }

    /// The newest intact snapshot of an aggregate, of any fold.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn latest_snapshot(&self, aggregate_id: impl fmt::Display) -> Result<Option<Snapshot>> {
        Ok(self.snapshots(aggregate_id)?.into_iter().next())
    }

    /// The intact snapshots of an aggregate, newest first.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn snapshots(&self, aggregate_id: impl fmt::Display) -> Result<Vec<Snapshot>> {
        let aggregate_id = &*aggregate_id.to_string();
        snapshot::list(&self.scope, self.fold.aggregate_type(), aggregate_id)
            .map_err(|error| self.of("list snapshots", aggregate_id, error))
    }

    /// Deletes all snapshots of an aggregate; returns how many.
    ///
    /// # Errors
    /// [`ErrorKind::HistoryRemoved`](crate::ErrorKind::HistoryRemoved) if the first events were purged or archived,
    /// because replays then need the newest snapshot.
    pub fn delete_snapshots(&self, aggregate_id: impl fmt::Display) -> Result<u64> {
        let aggregate_id = &*aggregate_id.to_string();
        self.scope
            .engine()
            .delete_snapshots(&self.scope.tenant, self.fold.aggregate_type(), aggregate_id)
            .map_err(|error| self.of("delete snapshots", aggregate_id, error))
    }

    /// Deletes all but the newest snapshots of an aggregate; returns how many. Every new snapshot does this anyway.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn prune_snapshots(&self, aggregate_id: impl fmt::Display) -> Result<u64> {
        let aggregate_id = &*aggregate_id.to_string();
        let retain = self.scope.options().snapshots.retained();
        self.scope
            .engine()
            .prune_snapshots(&self.scope.tenant, (self.fold.aggregate_type(), aggregate_id), retain)
            .map_err(|error| self.of("prune snapshots", aggregate_id, error))
    }

    /// Compares every snapshot of this fold with a replay from the first event. A difference means that the fold was
    /// changed without a new fold version, or that it is not pure.
    ///
    /// # Errors
    /// If the list of aggregates cannot be read.
    pub fn verify_snapshots(&self, mut progress: impl FnMut(VerifyProgress) -> ControlFlow<()>) -> Result<VerifyReport> {
        verify::verify_snapshots(&self.scope, &self.fold, &mut progress).map_err(|error| error.during("verify snapshots"))
    }

    fn save(&self, aggregate_id: &str, loaded: &Loaded<A::State>, reason: SnapshotReason, timer: Timer) -> Result<()> {
        replay::save(&self.scope, &self.fold, aggregate_id, loaded, (reason, self.created_by()), timer)
    }
}
