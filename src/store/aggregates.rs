//! The handle for the aggregates of one type.

use std::fmt;

use chrono::{DateTime, Utc};
use serde_json::Value;

use crate::log::append::{self, Batch, Snapshots};
use crate::log::query::{Events, Query};
use crate::log::scope::Scope;
use crate::model::aggregate::Aggregate;
use crate::model::annotated::Annotated;
use crate::model::clock::to_micros;
use crate::model::decision::{ExecuteError, IntoDecision};
use crate::model::error::{Error, Result};
use crate::model::event::NewEvent;
use crate::model::expected::Expected;
use crate::model::fold::sealed::Fold;
use crate::model::fold::{AggregateKind, FoldError, JsonFold, Typed};
use crate::model::json::Json;
use crate::model::metadata::Metadata;
use crate::model::place::{Position, Version};
use crate::state::execute::{Deciding, Executed, with_metadata};
use crate::state::replay::{self, Loaded, Replayed};
use crate::state::steps::Steps;
use crate::storage::append::Appended;
use crate::storage::load::Until;

/// The aggregates of one type: append, replay, execute, snapshots. Cheap to create and to clone.
///
/// An aggregate's id is text. It is given as anything that can be displayed: a `&str`, a `String`, a `Uuid`, a number, or your
/// own type whose `Display` always writes the same full id.
///
/// ```
/// use std::fmt;
/// use foldlog::{Expected, NewEvent, Store, uuid::Uuid};
///
/// struct OrderId(Uuid);
///
/// impl fmt::Display for OrderId {
///     fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
///         self.0.fmt(f)
///     }
/// }
///
/// let orders = Store::in_memory()?.json_aggregates("order");
/// let id = OrderId(Uuid::new_v4());
/// orders.append(&id, Expected::New, [NewEvent::new("Placed", &())?])?;
/// assert_eq!(orders.replay(id.0.to_string())?.version, 1);
/// # Ok::<(), foldlog::Error>(())
/// ```
///
/// Returned by [`Store::aggregates`](crate::Store::aggregates) for a type that implements [`Aggregate`], and by
/// [`Store::json_aggregates`](crate::Store::json_aggregates) for aggregates without types.
pub struct Aggregates<A: AggregateKind> {
    pub(crate) scope: Scope,
    pub(crate) fold: A::Fold,
    pub(crate) metadata: Option<Json>,
    created_by: Option<String>,
    pub(crate) use_snapshots: bool,
}

impl<A: AggregateKind> Clone for Aggregates<A> {
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

impl<A: AggregateKind> fmt::Debug for Aggregates<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Aggregates")
            .field("tenant", &self.scope.tenant)
            .field("aggregate_type", &self.fold.aggregate_type())
            .finish_non_exhaustive()
    }
}

impl<A: Aggregate> Aggregates<A> {
    pub(crate) fn typed(scope: Scope) -> Aggregates<A> {
        let fold = Typed::new(&scope.options().upcasters);
        Aggregates { scope, fold, metadata: None, created_by: None, use_snapshots: true }
    }
}

impl Aggregates<Value> {
    pub(crate) fn json(scope: Scope, aggregate_type: &str) -> Aggregates<Value> {
        let fold = JsonFold::merge_patch(aggregate_type, scope.options().upcasters.clone());
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
        self.fold = self.fold.with_function(name, version, function);
        self
    }
}

impl<A: AggregateKind> Aggregates<A> {
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

    /// Appends events to an aggregate, all or none: bare ones, or [`Annotated`] with ids, times, tags or metadata.
    ///
    /// # Errors
    /// [`ErrorKind::Conflict`](crate::ErrorKind::Conflict) if the aggregate is not as expected; [`ErrorKind::Codec`](crate::ErrorKind::Codec), [`ErrorKind::InvalidInput`](crate::ErrorKind::InvalidInput) and
    /// [`ErrorKind::LimitExceeded`](crate::ErrorKind::LimitExceeded) for what cannot be stored; [`ErrorKind::Busy`](crate::ErrorKind::Busy), [`ErrorKind::DiskFull`](crate::ErrorKind::DiskFull) and
    /// [`ErrorKind::Io`](crate::ErrorKind::Io) if the file cannot be written. After each of these nothing of it is in the log.
    /// [`ErrorKind::OutcomeUnknown`](crate::ErrorKind::OutcomeUnknown) if the disk failed in the commit itself.
    pub fn append(
        &self,
        aggregate_id: impl fmt::Display,
        expected: impl Into<Expected>,
        events: impl IntoIterator<Item: Into<Annotated<A::Event>>>,
    ) -> Result<Appended> {
        let aggregate_id = &*aggregate_id.to_string();
        let events = self.encode(events).map_err(|error| self.of("append", aggregate_id, error))?;
        self.append_events(aggregate_id, expected, events)
    }

    /// Appends events that already are JSON, from an import or a program without these types.
    ///
    /// # Errors
    /// As [`Aggregates::append`], and [`ErrorKind::DuplicateEventId`](crate::ErrorKind::DuplicateEventId).
    pub fn append_events(
        &self,
        aggregate_id: impl fmt::Display,
        expected: impl Into<Expected>,
        events: impl IntoIterator<Item: Into<NewEvent>>,
    ) -> Result<Appended> {
        let aggregate_id = &*aggregate_id.to_string();
        let events = events.into_iter().map(|event| with_metadata(event.into(), self.metadata.as_ref()));
        let batch = Batch::new().append(self.fold.aggregate_type(), aggregate_id, expected, events);
        let policy = self.scope.options().snapshots;
        let fold = (self.use_snapshots && policy.threshold().is_some()).then(|| replay::fold_id(&self.fold));
        let outcome = append::commit(&self.scope, &batch, Snapshots { save: None, fold }, None)?;
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
    /// must have no side effects, because it may run more than once. It returns events, bare or [`Annotated`], or a
    /// `Result` of events and any type of error: see [`IntoDecision`].
    ///
    /// # Errors
    /// [`ExecuteError::Decision`] with the decision's own error; [`ExecuteError::Store`] with those of
    /// [`Aggregates::append`] and [`Aggregates::replay`]. After any of them nothing of the decision is in the log.
    pub fn execute<D: IntoDecision<A::Event>>(
        &self,
        aggregate_id: impl fmt::Display,
        decide: impl FnMut(&A::State) -> D,
    ) -> Result<Executed<A::State>, ExecuteError<D::Error>> {
        self.deciding(&aggregate_id.to_string()).execute(decide)
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
    pub fn replay(&self, aggregate_id: impl fmt::Display) -> Result<Replayed<A::State>> {
        self.replay_and_save(&aggregate_id.to_string()).map(|loaded| loaded.replayed)
    }

    /// As [`Aggregates::replay`], but returns `None` if the aggregate has no events.
    ///
    /// ```
    /// use foldlog::{Expected, NewEvent, Store};
    /// let orders = Store::in_memory()?.json_aggregates("order");
    /// assert!(orders.find("o-1")?.is_none());
    /// orders.append("o-1", Expected::New, [NewEvent::new("Placed", &())?])?;
    /// assert_eq!(orders.find("o-1")?.unwrap().version, 1);
    /// # Ok::<(), foldlog::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`Aggregates::replay`], except [`ErrorKind::NotFound`](crate::ErrorKind::NotFound).
    pub fn find(&self, aggregate_id: impl fmt::Display) -> Result<Option<Replayed<A::State>>> {
        Ok(self.deciding(&aggregate_id.to_string()).load()?.map(|loaded| loaded.replayed))
    }

    /// The state at a version.
    ///
    /// # Errors
    /// As [`Aggregates::replay`]; [`ErrorKind::NotFound`](crate::ErrorKind::NotFound) also for version 0 and for a version that was not reached yet.
    pub fn replay_to_version(&self, aggregate_id: impl fmt::Display, version: impl Into<Version>) -> Result<Replayed<A::State>> {
        self.load(&aggregate_id.to_string(), Until::Version(version.into().get())).map(|loaded| loaded.replayed)
    }

    /// The state from the events created at or before a time, in the order of their versions.
    ///
    /// # Errors
    /// As [`Aggregates::replay`]; [`ErrorKind::NotFound`](crate::ErrorKind::NotFound) also if no event is that old.
    pub fn replay_to_time(&self, aggregate_id: impl fmt::Display, time: DateTime<Utc>) -> Result<Replayed<A::State>> {
        self.load(&aggregate_id.to_string(), Until::Time(to_micros(time))).map(|loaded| loaded.replayed)
    }

    /// The state when the log ended at a position: for instance of several aggregates at the same moment, or as a
    /// subscription had seen it.
    ///
    /// # Errors
    /// As [`Aggregates::replay`]; [`ErrorKind::NotFound`](crate::ErrorKind::NotFound) also if its first event came later.
    pub fn replay_to_position(
        &self,
        aggregate_id: impl fmt::Display,
        position: impl Into<Position>,
    ) -> Result<Replayed<A::State>> {
        self.load(&aggregate_id.to_string(), Until::Position(position.into().get())).map(|loaded| loaded.replayed)
    }

    /// Replays step by step: every event after a version, with the state after it. What [`Aggregates::replay_to_version`]
    /// would compute again for each version is computed once.
    ///
    /// ```
    /// use foldlog::{Expected, NewEvent, Store};
    /// use serde_json::json;
    /// let orders = Store::in_memory()?.json_aggregates("order");
    /// let placed = NewEvent::new("Placed", &json!({"status": "placed"}))?;
    /// let paid = NewEvent::new("Paid", &json!({"status": "paid"}))?;
    /// orders.append("o-1", Expected::New, [placed, paid])?;
    /// for step in orders.steps("o-1", 0)? {
    ///     let step = step?;
    ///     println!("{} {}: {}", step.event.version, step.event.event_type, step.state.as_str());
    /// }
    /// # assert_eq!(orders.steps("o-1", 1)?.next().unwrap()?.state.as_str(), r#"{"status":"paid"}"#);
    /// # Ok::<(), foldlog::Error>(())
    /// ```
    ///
    /// # Errors
    /// For a version above 0 as [`Aggregates::replay_to_version`]. Each step can fail in the same ways; with
    /// [`ErrorKind::HistoryRemoved`](crate::ErrorKind::HistoryRemoved) if the events after the version were purged.
    pub fn steps(&self, aggregate_id: impl fmt::Display, after: impl Into<Version>) -> Result<Steps<A>> {
        let (aggregate_id, after) = (&*aggregate_id.to_string(), after.into());
        let state = match after.get() {
            0 => self.fold.initial(),
            _ => self.replay_to_version(aggregate_id, after)?.state,
        };
        let events = Query::aggregate(self.fold.aggregate_type(), aggregate_id).after_version(after);
        Ok(Steps::new(self.fold.clone(), state, after, Events::new(self.scope.clone(), events)))
    }

    /// The name and the version of the fold, as they stand in its snapshots.
    pub fn fold_id(&self) -> (&str, u32) {
        (self.fold.name(), self.fold.version())
    }

    /// The events of an aggregate from the first: the audit trail.
    pub fn history(&self, aggregate_id: impl fmt::Display) -> Events {
        Events::new(self.scope.clone(), Query::aggregate(self.fold.aggregate_type(), aggregate_id))
    }

    /// The version of an aggregate; 0 if it has no events.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn version(&self, aggregate_id: impl fmt::Display) -> Result<Version> {
        let aggregate_id = &*aggregate_id.to_string();
        self.scope
            .engine()
            .version(&self.scope.tenant, self.fold.aggregate_type(), aggregate_id)
            .map(Version::new)
            .map_err(|error| self.of("version", aggregate_id, error))
    }

    /// Encodes events to append, with the handle's metadata.
    pub(super) fn encode(&self, events: impl IntoIterator<Item: Into<Annotated<A::Event>>>) -> Result<Vec<NewEvent>> {
        let encode = |event: Annotated<A::Event>| {
            let (event, annotations) = event.split();
            Ok(with_metadata(annotations.onto(self.fold.encode(event)?)?, self.metadata.as_ref()))
        };
        events.into_iter().map(|event| encode(event.into())).collect()
    }

    /// The creator of the handle's snapshots.
    pub(super) fn created_by(&self) -> Option<&str> {
        self.created_by.as_deref()
    }

    pub(super) fn load(&self, aggregate_id: &str, until: Until) -> Result<Loaded<A::State>> {
        replay::replay(&self.scope, &self.fold, aggregate_id, until, self.use_snapshots)
    }

    fn replay_and_save(&self, aggregate_id: &str) -> Result<Loaded<A::State>> {
        let mut loaded = self.load(aggregate_id, Until::Now)?;
        if self.use_snapshots {
            replay::save_if_due(&self.scope, &self.fold, aggregate_id, &mut loaded);
        }
        Ok(loaded)
    }

    pub(super) fn of(&self, operation: &'static str, aggregate_id: &str, error: Error) -> Error {
        error.during(operation).of(&self.scope.aggregate(self.fold.aggregate_type(), aggregate_id))
    }
}
