//! Appending: checks the input and appends the events in one transaction.

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

use crate::log::gauges;
use crate::log::scope::Scope;
use crate::metrics::Timer;
use crate::model::clock::{from_micros, to_micros};
use crate::model::error::{Error, ErrorKind, Result};
use crate::model::event::NewEvent;
use crate::model::expected::Expected;
use crate::model::json::Json;
use crate::model::trace_context::{TraceContext, TraceSource};
use crate::storage::append::{AggregateAppend, AppendOutcome, AppendRequest, Rehearsed, Transaction};
use crate::storage::snapshots::{FoldId, NewSnapshot};
use crate::trace;

/// Appends to several aggregates that happen together or not at all.
///
/// ```
/// use foldlog::{Batch, Expected, NewEvent, Store};
/// use serde_json::json;
///
/// let store = Store::in_memory()?;
/// let moved = store.commit(
///     Batch::new()
///         .append("account", "acc-1", Expected::Any, [NewEvent::new("Withdrawn", &json!({"cents": 5}))?])
///         .append("account", "acc-2", Expected::Any, [NewEvent::new("Deposited", &json!({"cents": 5}))?]),
/// )?;
/// assert_eq!(moved[0].commit_id, moved[1].commit_id);
/// # Ok::<(), foldlog::Error>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct Batch {
    /// The tenant of the handles whose events it holds; the empty name if they differ.
    tenant: Option<Arc<str>>,
    appends: Vec<AggregateAppend>,
    checks: Vec<AggregateAppend>,
    skip_existing: bool,
}

impl Batch {
    /// Makes an empty batch.
    pub fn new() -> Batch {
        Batch::default()
    }

    /// Adds events of one aggregate. If the same aggregate is added again, its expected version is checked after the
    /// batch's earlier events.
    pub fn append(
        mut self,
        aggregate_type: impl Into<String>,
        aggregate_id: impl fmt::Display,
        expected: impl Into<Expected>,
        events: impl IntoIterator<Item: Into<NewEvent>>,
    ) -> Batch {
        self.appends.push(AggregateAppend {
            aggregate_type: aggregate_type.into(),
            aggregate_id: aggregate_id.to_string(),
            expected: expected.into(),
            events: events.into_iter().map(Into::into).collect(),
        });
        self
    }

    /// Adds a check: the batch is appended only if this aggregate is at the expected version. Nothing is written to it.
    ///
    /// ```
    /// use foldlog::{Batch, ErrorKind, Expected, NewEvent, Store};
    ///
    /// let store = Store::in_memory()?;
    /// let opened = || NewEvent::new("Opened", &());
    /// // An account only for a customer who exists.
    /// let batch = Batch::new().expect("customer", "c-1", Expected::Existing).append("account", "a-1", 0, [opened()?]);
    /// assert_eq!(store.commit(batch).unwrap_err().kind(), ErrorKind::Conflict);
    /// # Ok::<(), foldlog::Error>(())
    /// ```
    pub fn expect(
        mut self,
        aggregate_type: impl Into<String>,
        aggregate_id: impl fmt::Display,
        expected: impl Into<Expected>,
    ) -> Batch {
        self.checks.push(AggregateAppend {
            aggregate_type: aggregate_type.into(),
            aggregate_id: aggregate_id.to_string(),
            expected: expected.into(),
            events: Vec::new(),
        });
        self
    }

    /// Leaves out events that the log already has, by their ids, and appends the others: for an import that is resumed,
    /// whatever the borders of its batches were before. [`Appended::skipped`](crate::Appended::skipped) counts them.
    ///
    /// What is left out must have the same content, as for a repeated append. An event without an id is always
    /// appended. If an aggregate's expected version is given exactly, its known events must be the first ones and at
    /// those versions, and the others must follow them directly. With [`Expected::Any`] and [`Expected::Existing`] they
    /// may be anywhere. An aggregate of which all events are known is not checked.
    ///
    /// ```
    /// use foldlog::{Batch, EventId, Expected, NewEvent, Store};
    ///
    /// let store = Store::in_memory()?;
    /// let event = |n: u128| NewEvent::new("Imported", &()).map(|event| event.id(EventId::from_u128(n)));
    /// let events = |last: u128| (1..=last).map(event).collect::<Result<Vec<_>, _>>();
    /// store.commit(Batch::new().append("list", "a", Expected::New, events(4)?))?;
    /// let done = store.commit(Batch::new().append("list", "a", Expected::New, events(10)?).skip_existing())?;
    /// assert_eq!((done[0].skipped, done[0].version.get()), (4, 10));
    /// # Ok::<(), foldlog::Error>(())
    /// ```
    pub fn skip_existing(mut self) -> Batch {
        self.skip_existing = true;
        self
    }

    /// Adds one event: to the last append, if it continues that.
    pub(crate) fn append_next(
        mut self,
        aggregate_type: String,
        aggregate_id: String,
        expected: Expected,
        event: NewEvent,
    ) -> Batch {
        if let Some(last) = self.appends.last_mut()
            && (&last.aggregate_type, &last.aggregate_id) == (&aggregate_type, &aggregate_id)
            && expected == last.expected.after(last.events.len() as u64)
        {
            last.events.push(event);
            return self;
        }
        self.append(aggregate_type, aggregate_id, expected, [event])
    }

    /// Records that the batch has events of a handle of this tenant.
    pub(crate) fn of_tenant(mut self, tenant: &Arc<str>) -> Batch {
        let same = self.tenant.as_ref().is_none_or(|noted| noted == tenant);
        self.tenant = Some(if same { tenant.clone() } else { "".into() });
        self
    }

    /// The number of events.
    pub fn len(&self) -> usize {
        self.appends.iter().map(|append| append.events.len()).sum()
    }

    /// Whether it holds no event.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The aggregate type of all appends; empty if there are several.
    fn aggregate_type(&self) -> &str {
        let mut types = self.appends.iter().map(|append| &*append.aggregate_type);
        let first = types.next().unwrap_or_default();
        if types.all(|aggregate_type| aggregate_type == first) { first } else { "" }
    }

    fn events(&self) -> impl Iterator<Item = &NewEvent> {
        self.appends.iter().flat_map(|append| &append.events)
    }
}

/// How an append treats snapshots.
#[derive(Clone, Copy, Default)]
pub(crate) struct Snapshots<'a> {
    /// A snapshot to save with the append, see [`AppendRequest::snapshot`].
    pub(crate) save: Option<NewSnapshot<'a>>,
    /// The fold whose newest snapshot the caller wants to know, see [`AppendRequest::fold`].
    pub(crate) fold: Option<FoldId<'a>>,
}

/// Appends a batch: in a transaction of its own, or in an open one.
pub(crate) fn commit(
    scope: &Scope,
    batch: &Batch,
    snapshots: Snapshots<'_>,
    open: Option<&dyn Transaction>,
) -> Result<AppendOutcome> {
    let timer = Timer::start();
    let span = trace::span("append", batch.aggregate_type());
    span.has_events(batch.len());
    let append = |request: &AppendRequest<'_>| match open {
        Some(transaction) => transaction.append(request),
        None => scope.engine().append(request, &scope.inline()),
    };
    let done = check(scope, batch)
        .and_then(|checked| append(&request(scope, batch, &checked, snapshots)))
        .map_err(|error| error.during("append"));
    if open.is_none() {
        scope.log.appended.raise();
    }
    match &done {
        Ok(outcome) => {
            let written = batch.events().filter(|event| event.id.is_none_or(|id| !outcome.skipped.contains(&id)));
            gauges::appended(scope, timer, written.map(|event| &*event.event_type), &outcome.touched);
        }
        Err(error) => {
            scope.meter().failed("append", error);
            span.failed(error);
        }
    }
    done
}

/// Runs a batch in a transaction that is rolled back, and returns what it would do.
pub(crate) fn rehearse(scope: &Scope, batch: &Batch) -> Result<Rehearsed> {
    let checked = check(scope, batch)?;
    scope.engine().rehearse(&request(scope, batch, &checked, Snapshots::default()), &scope.inline())
}

fn request<'a>(scope: &'a Scope, batch: &'a Batch, checked: &'a Checked, snapshots: Snapshots<'a>) -> AppendRequest<'a> {
    AppendRequest {
        tenant: &scope.tenant,
        appends: &batch.appends,
        checks: &batch.checks,
        tags: &checked.tags,
        trace: checked.trace.as_ref(),
        clock: &scope.options().clock,
        skip_existing: batch.skip_existing,
        snapshot: snapshots.save.map(|snapshot| (snapshot, scope.options().snapshots.retained())),
        fold: snapshots.fold,
    }
}

/// The error if an append to one aggregate gave no result.
pub(crate) fn no_result() -> Error {
    Error::new(ErrorKind::Internal, "the append gave no result")
}

/// What is checked and prepared before a lock is taken.
struct Checked {
    /// The tags of each event as they are stored.
    tags: Vec<Option<String>>,
    /// The current trace, for events that name none of their own.
    trace: Option<TraceContext>,
}

/// Refuses input that cannot be stored.
fn check(scope: &Scope, batch: &Batch) -> Result<Checked> {
    let most = scope.options().max_batch_events;
    if batch.len() > most {
        return Err(Error::new(
            ErrorKind::LimitExceeded,
            format!("the append has {} events; at most {most} are allowed", batch.len()),
        )
        .advice("append in parts, or raise Options::max_batch_events"));
    }
    scope.check_name("tenant", &scope.tenant)?;
    if batch.tenant.as_ref().is_some_and(|tenant| *tenant != scope.tenant) {
        return Err(Error::new(ErrorKind::InvalidInput, "the batch holds events of a handle of another tenant")
            .advice("commit it with the store that the handle was made by"));
    }
    let mut ids = HashSet::new();
    let mut tags = Vec::with_capacity(batch.len());
    for append in &batch.appends {
        let of = |error: Error| error.of(&scope.aggregate(&append.aggregate_type, &append.aggregate_id));
        scope.check_name("aggregate type", &append.aggregate_type).map_err(of)?;
        scope.check_name("aggregate id", &append.aggregate_id).map_err(of)?;
        if append.events.is_empty() {
            return Err(of(Error::new(ErrorKind::InvalidInput, "there are no events to append")));
        }
        for event in &append.events {
            let stored =
                check_event(scope, &append.aggregate_type, event).map_err(|error| of(error.event_type_is(&event.event_type)))?;
            tags.push(stored);
            if let Some(id) = event.id
                && !ids.insert(id)
            {
                let what = format!("the event id {id} occurs twice in the append");
                return Err(of(Error::new(ErrorKind::DuplicateEventId, what).advice("give each event an id of its own")));
            }
        }
    }
    if tags.is_empty() {
        return Err(Error::new(ErrorKind::InvalidInput, "there are no events to append"));
    }
    let trace = scope.options().trace_source.as_ref().and_then(TraceSource::current);
    Ok(Checked { tags, trace })
}

fn check_event(scope: &Scope, aggregate_type: &str, event: &NewEvent) -> Result<Option<String>> {
    scope.check_name("event type", &event.event_type)?;
    if event.schema_version == Some(0) {
        return Err(Error::new(ErrorKind::InvalidInput, "the schema version is 0; the first is 1"));
    }
    scope.options().upcasters.check_new(aggregate_type, &event.event_type, event.schema_version)?;
    if event.id.is_some_and(|id| id.is_nil()) {
        return Err(Error::new(ErrorKind::InvalidInput, "the event id is the nil UUID"));
    }
    if let Some(metadata) = &event.metadata
        && !metadata.as_str().trim_start().starts_with('{')
    {
        return Err(Error::new(ErrorKind::InvalidInput, "the metadata is not a JSON object"));
    }
    if let Some(created_at) = event.created_at {
        from_micros(to_micros(created_at))
            .map_err(|_| Error::new(ErrorKind::InvalidInput, "the event's time cannot be stored"))?;
    }
    for tag in &event.tags {
        scope.check_name("tag", tag)?;
    }
    let tags = match event.tags.is_empty() {
        true => None,
        false => Some(Json::from_serialize(&event.tags)?.into_string()),
    };
    let bytes = event.data.as_str().len()
        + event.metadata.as_ref().map_or(0, |metadata| metadata.as_str().len())
        + tags.as_ref().map_or(0, String::len);
    let most = scope.options().max_event_bytes;
    if bytes > most {
        return Err(Error::new(ErrorKind::LimitExceeded, format!("the event has {bytes} bytes; at most {most} are allowed"))
            .advice("keep large content elsewhere and append a reference, or raise Options::max_event_bytes"));
    }
    Ok(tags)
}
