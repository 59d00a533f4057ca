//! The handle for the aggregates of one type.

use std::fmt;
use std::ops::ControlFlow;

use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::Value;

use crate::log::append::{self, Batch, Snapshots};
use crate::log::query::{Events, Query};
use crate::log::scope::Scope;
use crate::maintenance::verify;
use crate::metrics::Timer;
use crate::model::aggregate::Aggregate;
use crate::model::clock::to_micros;
use crate::model::decision::{ExecuteError, IntoDecision};
use crate::model::error::{Error, Result};
use crate::model::event::NewEvent;
use crate::model::expected::Expected;
use crate::model::fold::sealed::Fold;
use crate::model::fold::{FoldError, Folds, JsonFold, Typed};
use crate::model::json::Json;
use crate::model::metadata::Metadata;
use crate::model::place::Version;
use crate::state::execute::{Deciding, Executed, with_metadata};
use crate::state::replay::{self, Loaded, Replayed};
use crate::state::snapshot::{self, Snapshot, SnapshotReason};
use crate::storage::append::Appended;
use crate::storage::load::Until;
use crate::storage::verify::{VerifyProgress, VerifyReport};

/// Aggregates looked up in one read transaction of a rebuild.
const REBUILD_PAGE: usize = 256;
/// The most failures that a rebuild describes; the count covers all.
const FAILURES_KEPT: usize = 100;

/// The aggregates of one type: append, replay, execute, snapshots. Cheap to create and to clone.
///
/// Returned by [`Store::aggregates`](crate::Store::aggregates) for a type that implements [`Aggregate`], and by
/// [`Store::json_aggregates`](crate::Store::json_aggregates) for aggregates without types.
pub struct Aggregates<A: Folds> {
    pub(crate) scope: Scope,
    pub(crate) fold: A::Fold,
    pub(crate) metadata: Option<Json>,
    created_by: Option<String>,
    pub(crate) use_snapshots: bool,
}

impl<A: Folds> Clone for Aggregates<A> {
    fn clone(&self) -> Self {
        Aggregates {
            scope: self.scope.clone(),
            fold: self.fold.clone(),
            metadata: self.metadata.clone(),
            created_by: self.created_by.clone(),
            use_snapshots: self.use_snapshots,
        }
    }
}

impl<A: Folds> fmt::Debug for Aggregates<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Aggregates")
            .field("tenant", &self.scope.tenant)
            .field("aggregate_type", &self.fold.aggregate_type())
            .finish_non_exhaustive()
    }
}

impl<A: Aggregate> Aggregates<A> {
    pub(crate) fn typed(scope: Scope) -> Aggregates<A> {
        Aggregates { scope, fold: Typed::new(), metadata: None, created_by: None, use_snapshots: true }
    }
}

impl Aggregates<Value> {
    pub(crate) fn json(scope: Scope, aggregate_type: &str) -> Aggregates<Value> {
        let fold = JsonFold::merge_patch(aggregate_type);
        Aggregates { scope, fold, metadata: None, created_by: None, use_snapshots: true }
    }

    /// Folds by a function instead of JSON Merge Patch: (state, event type, data). The state starts as `{}`.
    ///
    /// Name and version decide which snapshots the fold can start from. Raise the version when the function changes.
    ///
    /// ```
    /// use foldlog::{Expected, FoldError, NewEvent, Store};
    /// use serde_json::json;
    ///
    /// let store = Store::in_memory()?;
    /// let counters = store.json_aggregates("counter").fold_with("count", 1, |state, event_type, _data| match event_type {
    ///     "Incremented" => {
    ///         state["count"] = json!(state["count"].as_u64().unwrap_or(0) + 1);
    ///         Ok(())
    ///     }
    ///     _ => Err(FoldError::UnknownEventType),
    /// });
    /// counters.append("c-1", Expected::Any, [NewEvent::new("Incremented", &json!({}))?])?;
    /// assert_eq!(counters.replay("c-1")?.state, json!({"count": 1}));
    /// # Ok::<(), foldlog::Error>(())
    /// ```
    pub fn fold_with(
        mut self,
        name: &str,
        version: u32,
        function: impl Fn(&mut Value, &str, &Value) -> Result<(), FoldError> + Send + Sync + 'static,
    ) -> Aggregates<Value> {
        self.fold = JsonFold::function(self.fold.aggregate_type(), name, version, function);
        self
    }
}

impl<A: Folds> Aggregates<A> {
    /// Returns a handle that gives this metadata to every event without its own, and its `userId` to snapshots.
    ///
    /// # Errors
    /// [`ErrorKind::Codec`](crate::ErrorKind::Codec) if the metadata cannot be written as JSON.
    pub fn with_metadata(&self, metadata: &Metadata) -> Result<Aggregates<A>> {
        let mut handle = self.clone();
        handle.created_by = metadata.user_id.clone();
        handle.metadata = if metadata.is_empty() { None } else { Some(Json::from_serialize(metadata)?) };
        Ok(handle)
    }

    /// Returns a handle whose replays fold every event from the first, for debugging. The result must be the same.
    pub fn without_snapshots(&self) -> Aggregates<A> {
        let mut handle = self.clone();
        handle.use_snapshots = false;
        handle
    }

    /// The aggregate type.
    pub fn aggregate_type(&self) -> &str {
        self.fold.aggregate_type()
    }

    /// Appends events to an aggregate, all or none.
    ///
    /// # Errors
    /// [`ErrorKind::Conflict`](crate::ErrorKind::Conflict) if the aggregate is not as expected; [`ErrorKind::Codec`](crate::ErrorKind::Codec), [`ErrorKind::InvalidInput`](crate::ErrorKind::InvalidInput) and
    /// [`ErrorKind::LimitExceeded`](crate::ErrorKind::LimitExceeded) for what cannot be stored; [`ErrorKind::Busy`](crate::ErrorKind::Busy), [`ErrorKind::DiskFull`](crate::ErrorKind::DiskFull) and
    /// [`ErrorKind::Io`](crate::ErrorKind::Io) if the file cannot be written. After each of these nothing of it is in the log.
    /// [`ErrorKind::OutcomeUnknown`](crate::ErrorKind::OutcomeUnknown) if the disk failed in the commit itself.
    pub fn append(
        &self,
        aggregate_id: &str,
        expected: impl Into<Expected>,
        events: impl IntoIterator<Item = A::Event>,
    ) -> Result<Appended> {
        let encoded: Result<Vec<NewEvent>> = events.into_iter().map(|event| self.fold.encode(event)).collect();
        self.append_events(aggregate_id, expected, encoded.map_err(|error| self.of("append", aggregate_id, error))?)
    }

    /// Appends events that have their own id, time, tags or metadata.
    ///
    /// # Errors
    /// As [`Aggregates::append`], and [`ErrorKind::DuplicateEventId`](crate::ErrorKind::DuplicateEventId).
    pub fn append_events(
        &self,
        aggregate_id: &str,
        expected: impl Into<Expected>,
        events: impl IntoIterator<Item = NewEvent>,
    ) -> Result<Appended> {
        let events = events.into_iter().map(|event| with_metadata(event, self.metadata.as_ref()));
        let batch = Batch::new().append(self.fold.aggregate_type(), aggregate_id, expected, events);
        let policy = self.scope.options().snapshots;
        let fold = (self.use_snapshots && policy.threshold().is_some()).then(|| replay::fold_id(&self.fold));
        let outcome = append::commit(&self.scope, &batch, Snapshots { save: None, fold })?;
        let appended = outcome.appended.into_iter().next().ok_or_else(append::no_result)?;
        if outcome.newest_snapshot.is_some_and(|newest| policy.is_due(newest, appended.version.get())) {
            // The events are committed whatever happens to the snapshot. If the replay fails, the next one reports why.
            let _ = self.replay_and_save(aggregate_id);
        }
        Ok(appended)
    }

    /// Loads the state, decides, and appends the decision's events at that state's version. If another writer was
    /// faster, it tries again, as often as [`Options::execute_attempts`](crate::Options::execute_attempts) says.
    ///
    /// An aggregate without events starts from its initial state. A decision without events writes nothing. `decide`
    /// must have no side effects, because it may run more than once. It returns events, or a `Result` of events and any
    /// type of error: see [`IntoDecision`].
    ///
    /// # Errors
    /// [`ExecuteError::Decision`] with the decision's own error; [`ExecuteError::Store`] with those of
    /// [`Aggregates::append`] and [`Aggregates::replay`]. After any of them nothing of the decision is in the log.
    pub fn execute<D: IntoDecision<A::Event>>(
        &self,
        aggregate_id: &str,
        decide: impl FnMut(&A::State) -> D,
    ) -> Result<Executed<A::State>, ExecuteError<D::Error>> {
        self.deciding(aggregate_id).execute(decide)
    }

    pub(crate) fn deciding<'a>(&'a self, aggregate_id: &'a str) -> Deciding<'a, A::Fold> {
        Deciding {
            scope: &self.scope,
            fold: &self.fold,
            metadata: self.metadata.as_ref(),
            aggregate_id,
            use_snapshots: self.use_snapshots,
        }
    }

    /// The current state: the latest usable snapshot and the events after it.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`](crate::ErrorKind::NotFound) if the aggregate has no events; [`ErrorKind::UnknownEventType`](crate::ErrorKind::UnknownEventType) and [`ErrorKind::Codec`](crate::ErrorKind::Codec) if
    /// the fold cannot take an event; [`ErrorKind::Corrupt`](crate::ErrorKind::Corrupt) if one is damaged; [`ErrorKind::HistoryRemoved`](crate::ErrorKind::HistoryRemoved) if events were
    /// purged and no snapshot replaces them. An unusable snapshot is not an error but a warning in the result.
    pub fn replay(&self, aggregate_id: &str) -> Result<Replayed<A::State>> {
        self.replay_and_save(aggregate_id).map(|loaded| loaded.replayed)
    }

    /// The state as it was at a version.
    ///
    /// # Errors
    /// As [`Aggregates::replay`]; [`ErrorKind::NotFound`](crate::ErrorKind::NotFound) also for version 0 and for a version that is not reached yet.
    pub fn replay_to_version(&self, aggregate_id: &str, version: impl Into<Version>) -> Result<Replayed<A::State>> {
        self.load(aggregate_id, Until::Version(version.into().get())).map(|loaded| loaded.replayed)
    }

    /// The state from the events created at or before a time, in the order of their versions.
    ///
    /// # Errors
    /// As [`Aggregates::replay`]; [`ErrorKind::NotFound`](crate::ErrorKind::NotFound) also if no event is that old.
    pub fn replay_to_time(&self, aggregate_id: &str, time: DateTime<Utc>) -> Result<Replayed<A::State>> {
        self.load(aggregate_id, Until::Time(to_micros(time))).map(|loaded| loaded.replayed)
    }

    /// The events of an aggregate from the first: the audit trail.
    pub fn history(&self, aggregate_id: &str) -> Events {
        Events::new(self.scope.clone(), Query::aggregate(self.fold.aggregate_type(), aggregate_id))
    }

    /// The version of an aggregate; 0 if it has no events.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn version(&self, aggregate_id: &str) -> Result<Version> {
        self.scope
            .engine()
            .version(&self.scope.tenant, self.fold.aggregate_type(), aggregate_id)
            .map(Version::new)
            .map_err(|error| self.of("version", aggregate_id, error))
    }

    /// The ids of the aggregates, in order, `limit` at most, after the id `after`.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn ids(&self, after: Option<&str>, limit: usize) -> Result<Vec<String>> {
        self.scope.engine().ids(&self.scope.tenant, self.fold.aggregate_type(), after, limit).map_err(|error| error.during("ids"))
    }

    /// Replays every aggregate of this type and passes each state to `each`, for instance to fill a read model.
    ///
    /// `progress` is called after each aggregate with the counts so far. If an aggregate fails, in the replay or in
    /// `each`, the failure is counted and described, and the rest goes on.
    ///
    /// # Errors
    /// If the list of aggregates cannot be read.
    pub fn rebuild<E: fmt::Display>(
        &self,
        mut each: impl FnMut(&str, &Replayed<A::State>) -> Result<(), E>,
        mut progress: impl FnMut(&Rebuilt),
    ) -> Result<Rebuilt> {
        let total = self.scope.engine().count_aggregates(&self.scope.tenant, self.fold.aggregate_type())?;
        let mut rebuilt = Rebuilt { total, succeeded: 0, failed: 0, failures: Vec::new() };
        let mut after: Option<String> = None;
        loop {
            let page = self.ids(after.as_deref(), REBUILD_PAGE)?;
            for id in &page {
                let done = match self.load(id, Until::Now) {
                    Ok(loaded) => self
                        .scope
                        .meter()
                        .handle("rebuild", "*", || each(id, &loaded.replayed).map_err(|error| error.to_string())),
                    Err(error) => Err(error.to_string()),
                };
                match done {
                    Ok(()) => rebuilt.succeeded += 1,
                    Err(failure) => {
                        rebuilt.failed += 1;
                        if rebuilt.failures.len() < FAILURES_KEPT {
                            rebuilt.failures.push((id.clone(), failure));
                        }
                    }
                }
                progress(&rebuilt);
            }
            if page.len() < REBUILD_PAGE {
                return Ok(rebuilt);
            }
            after = page.into_iter().next_back();
        }
    }

    /// Makes a snapshot of the current state.
    ///
    /// # Errors
    /// As [`Aggregates::replay`] and [`Aggregates::append`].
    pub fn create_snapshot(&self, aggregate_id: &str, reason: SnapshotReason) -> Result<Version> {
        let timer = Timer::start();
        let loaded = self.load(aggregate_id, Until::Now)?;
        self.save(aggregate_id, &loaded, reason, timer).map_err(|error| self.of("create snapshot", aggregate_id, error))?;
        Ok(loaded.replayed.version)
    }

    /// Makes a snapshot if enough events were appended since the last one. Returns its version, or `None` if none is
    /// due.
    ///
    /// `append`, `execute` and `replay` do this by themselves. Use this in a schedule, or after appends through
    /// [`Store`](crate::Store), which knows no fold.
    ///
    /// # Errors
    /// As [`Aggregates::create_snapshot`].
    pub fn snapshot_if_due(&self, aggregate_id: &str) -> Result<Option<Version>> {
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
    pub fn latest_snapshot(&self, aggregate_id: &str) -> Result<Option<Snapshot>> {
        Ok(self.snapshots(aggregate_id)?.into_iter().next())
    }

    /// The intact snapshots of an aggregate, newest first.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn snapshots(&self, aggregate_id: &str) -> Result<Vec<Snapshot>> {
        snapshot::list(&self.scope, self.fold.aggregate_type(), aggregate_id)
            .map_err(|error| self.of("list snapshots", aggregate_id, error))
    }

    /// Deletes all snapshots of an aggregate; returns how many.
    ///
    /// # Errors
    /// [`ErrorKind::HistoryRemoved`](crate::ErrorKind::HistoryRemoved) if the first events were purged or archived,
    /// because replays then need the newest snapshot.
    pub fn delete_snapshots(&self, aggregate_id: &str) -> Result<u64> {
        self.scope
            .engine()
            .delete_snapshots(&self.scope.tenant, self.fold.aggregate_type(), aggregate_id)
            .map_err(|error| self.of("delete snapshots", aggregate_id, error))
    }

    /// Deletes all but the newest snapshots of an aggregate; returns how many. Every new snapshot does this anyway.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn prune_snapshots(&self, aggregate_id: &str) -> Result<u64> {
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

    fn load(&self, aggregate_id: &str, until: Until) -> Result<Loaded<A::State>> {
        replay::replay(&self.scope, &self.fold, aggregate_id, until, self.use_snapshots)
    }

    fn replay_and_save(&self, aggregate_id: &str) -> Result<Loaded<A::State>> {
        let loaded = self.load(aggregate_id, Until::Now)?;
        if self.use_snapshots {
            // A snapshot is a cache: a failure to write one does not make the state wrong.
            let _ = replay::save_if_due(&self.scope, &self.fold, aggregate_id, &loaded);
        }
        Ok(loaded)
    }

    fn save(&self, aggregate_id: &str, loaded: &Loaded<A::State>, reason: SnapshotReason, timer: Timer) -> Result<()> {
        replay::save(&self.scope, &self.fold, aggregate_id, loaded, (reason, self.created_by.as_deref()), timer)
    }

    fn of(&self, operation: &'static str, aggregate_id: &str, error: Error) -> Error {
        error.during(operation).of(&self.scope.aggregate(self.fold.aggregate_type(), aggregate_id))
    }
}

/// The progress of a rebuild.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Rebuilt {
    /// Aggregates of the type when it began.
    pub total: u64,
    /// Aggregates that were replayed and passed on.
    pub succeeded: u64,
    /// Aggregates that failed.
    pub failed: u64,
    /// The first 100 failures: aggregate id and reason.
    pub failures: Vec<(String, String)>,
}
