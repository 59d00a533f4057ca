//! Appending: expected versions checked, events inserted, all in one transaction.

use std::collections::HashSet;

use uuid::Uuid;

use crate::log::gauges;
use crate::log::scope::Scope;
use crate::metrics::Timer;
use crate::model::aggregate::Expected;
use crate::model::clock::{from_micros, to_micros};
use crate::model::error::{Error, ErrorKind, Result};
use crate::model::event::{EventId, NewEvent, RecordedEvent};
use crate::model::ids::Ids;
use crate::model::json::Json;
use crate::model::place::{AggregateRef, Position, Version};
use crate::model::trace_context::{self, TraceContext, TraceSource};
use crate::sqlite::event_writes::{self, Inserter, NewRow};
use crate::sqlite::events::Owner;
use crate::sqlite::{Writing, aggregates, blocks, log, places};
use crate::storage::delivery::RowChange;
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
    appends: Vec<Append>,
}

#[derive(Clone, Debug)]
struct Append {
    aggregate_type: String,
    aggregate_id: String,
    expected: Expected,
    events: Vec<NewEvent>,
}

impl Batch {
    /// Nothing to append yet.
    pub fn new() -> Batch {
        Batch::default()
    }

    /// Adds events of one aggregate. The same aggregate may come again: its expected version is then checked against
    /// what the batch has done to it so far.
    pub fn append(
        mut self,
        aggregate_type: impl Into<String>,
        aggregate_id: impl Into<String>,
        expected: impl Into<Expected>,
        events: impl IntoIterator<Item = NewEvent>,
    ) -> Batch {
        self.appends.push(Append {
            aggregate_type: aggregate_type.into(),
            aggregate_id: aggregate_id.into(),
            expected: expected.into(),
            events: events.into_iter().collect(),
        });
        self
    }

    /// Events in it.
    pub fn len(&self) -> usize {
        self.appends.iter().map(|append| append.events.len()).sum()
    }

    /// Whether it holds no event.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The type of its aggregates; empty if there are several.
    fn aggregate_type(&self) -> &str {
        let mut types = self.appends.iter().map(|append| &*append.aggregate_type);
        let first = types.next().unwrap_or_default();
        if types.all(|aggregate_type| aggregate_type == first) { first } else { "" }
    }

    fn events(&self) -> impl Iterator<Item = &NewEvent> {
        self.appends.iter().flat_map(|append| &append.events)
    }
}

/// What an append did to one aggregate. It is in the file.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Appended {
    /// The version of the last event: what the next append expects.
    pub version: Version,
    /// The position of the last event.
    pub position: Position,
    /// The position of the first event of the whole commit, which all of its events carry.
    pub commit_id: Position,
    /// The ids of the events, in order.
    pub event_ids: Vec<EventId>,
    /// Whether nothing was written because the same events, by their ids, were in the log already.
    pub already_there: bool,
}

/// Appends a batch; `finish` runs in its transaction after the inserts, with the owner of each append's events, and not
/// when the events were there already.
pub(crate) fn commit(
    scope: &Scope,
    batch: &Batch,
    finish: impl FnOnce(&Writing<'_>, &[Owner]) -> Result<()>,
) -> Result<Vec<Appended>> {
    let timer = Timer::start();
    let span = trace::span("append", batch.aggregate_type());
    span.has_events(batch.len());
    let mut owners = Vec::with_capacity(batch.appends.len());
    let done = check(scope, batch)
        .and_then(|checked| scope.database().write(|writing| commit_in(scope, writing, batch, &checked, &mut owners, finish)))
        .map_err(|error| error.during("append"));
    match &done {
        Ok(appended) => {
            let versions = owners.iter().zip(appended.iter().map(|appended| appended.version));
            gauges::appended(scope, timer, batch.events().map(|event| &*event.event_type), versions);
        }
        Err(error) => {
            scope.meter().failed("append", error);
            span.failed(error);
        }
    }
    scope.log.appended.raise();
    done
}

fn commit_in(
    scope: &Scope,
    writing: &Writing<'_>,
    batch: &Batch,
    checked: &Checked,
    owners: &mut Vec<Owner>,
    finish: impl FnOnce(&Writing<'_>, &[Owner]) -> Result<()>,
) -> Result<Vec<Appended>> {
    let given_ids = batch.events().any(|event| event.id.is_some());
    if given_ids && let Some(appended) = find_appended(scope, writing, batch)? {
        return Ok(appended);
    }
    let appended = insert(scope, writing, batch, checked, owners)?;
    finish(writing, owners)?;
    scope.run_inline(writing)?;
    Ok(appended)
}

/// Does what [`commit`] does in a transaction that is rolled back, then `after` with what it gave; and which rows changed.
pub(crate) fn rehearse<T>(
    scope: &Scope,
    batch: &Batch,
    after: impl FnOnce(&Writing<'_>, Vec<Appended>) -> Result<T>,
) -> Result<(T, Vec<RowChange>)> {
    let checked = check(scope, batch)?;
    scope.database().rehearse(&scope.inline(), |writing| {
        let appended = commit_in(scope, writing, batch, &checked, &mut Vec::new(), |_, _| Ok(()))?;
        after(writing, appended)
    })
}

/// For whoever appended to one aggregate and takes the one result.
pub(crate) fn no_result() -> Error {
    Error::new(ErrorKind::Internal, "the append gave no result")
}

/// What is settled before a lock is taken.
struct Checked {
    /// The tags of each event as they are stored.
    tags: Vec<Option<String>>,
    /// The trace that the append is part of, for events that say nothing of their own.
    trace: Option<TraceContext>,
}

/// Refuses what cannot be stored.
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
            let stored = check_event(scope, event).map_err(|error| of(error.event_type_is(&event.event_type)))?;
            tags.push(stored);
            if let Some(id) = event.id
                && !ids.insert(id)
            {
                return Err(of(Error::new(ErrorKind::DuplicateEventId, format!("the event id {id} occurs twice in the append"))));
            }
        }
    }
    if tags.is_empty() {
        return Err(Error::new(ErrorKind::InvalidInput, "there are no events to append"));
    }
    let trace = scope.options().trace_source.as_ref().and_then(TraceSource::current);
    Ok(Checked { tags, trace })
}

fn check_event(scope: &Scope, event: &NewEvent) -> Result<Option<String>> {
    scope.check_name("event type", &event.event_type)?;
    if event.schema_version == 0 {
        return Err(Error::new(ErrorKind::InvalidInput, "the schema version is 0; the first is 1"));
    }
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

fn insert(
    scope: &Scope,
    writing: &Writing<'_>,
    batch: &Batch,
    checked: &Checked,
    owners: &mut Vec<Owner>,
) -> Result<Vec<Appended>> {
    let (mut inserter, last_before) = Inserter::new(writing)?;
    let mut position = last_before.get();
    let commit_id = position + 1;
    // The clock is read under the lock, so that the store's own times rise with the positions.
    let now = scope.options().clock.now_micros();
    let mut ids = Ids::new(now);
    let mut tags = checked.tags.iter();
    let mut appended = Vec::with_capacity(batch.appends.len());
    let mut tagged = Vec::new();
    for append in &batch.appends {
        let (owner, mut version) = place(scope, writing, append, now)?;
        let mut event_ids = Vec::with_capacity(append.events.len());
        for event in &append.events {
            version += 1;
            position += 1;
            let event_id = event.id.unwrap_or_else(|| ids.next());
            event_ids.push(event_id);
            let event_type = writing.event_type_or_new(&event.event_type)?;
            let traced = checked.trace.as_ref().and_then(|context| context.added_to(event.metadata.as_ref()));
            let stored_tags = tags.next().and_then(Option::as_deref);
            inserter.insert(&NewRow {
                aggregate: owner.aggregate,
                identity: owner.identity,
                version,
                position,
                commit_id,
                event_id,
                event_type: &event_type,
                schema_version: event.schema_version,
                created_at: event.created_at.map_or(now, to_micros),
                data: event.data.as_str(),
                metadata: traced.as_deref().or_else(|| event.metadata.as_ref().map(Json::as_str)),
                tags: stored_tags,
            })?;
            tagged.extend(event.tags.iter().map(|tag| (tag.as_str(), position)));
        }
        appended.push(Appended {
            version: Version::new(version),
            position: Position::new(position),
            commit_id: Position::new(commit_id),
            event_ids,
            already_there: false,
        });
        owners.push(owner);
    }
    if let Some(owner) = owners.last() {
        event_writes::insert_tags(writing, owner.aggregate_type.tenant_id, tagged)?;
    }
    inserter.finish(position)?;
    blocks::summarise(writing, commit_id, position)?;
    Ok(appended)
}

/// Checks the expected version and moves the aggregate on; returns it with its version before.
fn place(scope: &Scope, writing: &Writing<'_>, append: &Append, now: i64) -> Result<(Owner, u64)> {
    let aggregate_type = writing.aggregate_type_or_new(&scope.tenant, &append.aggregate_type)?;
    let of = |error: Error| error.of(&scope.aggregate(&append.aggregate_type, &append.aggregate_id));
    let count = append.events.len() as u64;
    let latest_at = append.events.iter().map(|event| event.created_at.map_or(now, to_micros)).max().unwrap_or(now);
    let (least, most) = append.expected.range();
    let room = Version::MAX.get().saturating_sub(count);
    if most > 0 && least <= room {
        let advanced = aggregates::advance(
            writing,
            aggregate_type.id,
            &append.aggregate_id,
            (least.max(1), most.min(room)),
            count,
            latest_at,
        )
        .map_err(of)?;
        if let Some(advanced) = advanced {
            let mut owner = Owner::new(advanced.id, aggregate_type, &append.aggregate_id);
            owner.removed_through = advanced.removed_through;
            return Ok((owner, advanced.version_before));
        }
    }
    if least == 0
        && let Some(id) = aggregates::make(writing, aggregate_type.id, &append.aggregate_id, count, latest_at).map_err(of)?
    {
        return Ok((Owner::new(id, aggregate_type, &append.aggregate_id), 0));
    }
    let actual = aggregates::find(writing, aggregate_type.id, &append.aggregate_id)?.map_or(0, |row| row.version);
    if (least..=most).contains(&actual) {
        return Err(of(Error::new(
            ErrorKind::LimitExceeded,
            format!(
                "the aggregate is at version {actual} and cannot take {count} more events; the highest version is {}",
                Version::MAX
            ),
        )
        .advice("continue in a new aggregate")));
    }
    Err(of(Error::version_conflict(append.expected, Version::new(actual))))
}

/// Finds a batch that was appended before, by the ids that the caller gave its events.
///
/// `None` if none of the ids is in the log. All of them there with the same content, in the same order and in a commit of
/// their own is the first append's result; anything between is an error, for the log would otherwise hold a part twice
/// or not at all.
fn find_appended(scope: &Scope, writing: &Writing<'_>, batch: &Batch) -> Result<Option<Vec<Appended>>> {
    let mut known = None;
    for event in batch.events() {
        if let Some(id) = event.id
            && let Some(position) = places::position_of_id(writing, id)?
        {
            known = Some((id, position));
            break;
        }
    }
    let Some(known) = known else { return Ok(None) };
    let mut appended = Vec::with_capacity(batch.appends.len());
    // The events of a commit stand at its id and the positions after it.
    let mut next: Option<(Position, Position)> = None;
    for append in &batch.appends {
        let aggregate = scope.aggregate(&append.aggregate_type, &append.aggregate_id);
        let mut last = None;
        let mut event_ids = Vec::with_capacity(append.events.len());
        for event in &append.events {
            let Some(id) = event.id else { return Err(not_the_same(&aggregate, known)) };
            let found = log::by_id(writing, id, |raw, aggregate_type, aggregate_id| {
                let stored = raw.recorded(aggregate_type, aggregate_id.into())?;
                match is_the_same(&stored, &aggregate, event) {
                    true => Ok((stored.version, stored.position, stored.commit_id)),
                    false => Err(not_the_same(&aggregate, (id, stored.position))),
                }
            })?;
            let Some(place) = found else { return Err(not_the_same(&aggregate, known)) };
            let (_, position, commit_id) = place;
            if (position, commit_id) != next.unwrap_or((commit_id, commit_id)) {
                return Err(not_the_same(&aggregate, (id, position)));
            }
            next = Some((Position::new(position.get() + 1), commit_id));
            event_ids.push(id);
            last = Some(place);
        }
        if let Some((version, position, commit_id)) = last {
            appended.push(Appended { version, position, commit_id, event_ids, already_there: true });
        }
    }
    match next {
        Some((after, commit_id)) if places::commit_id_at(writing, after)? == Some(commit_id) => {
            Err(Error::new(ErrorKind::DuplicateEventId, "the events are in the log already, as a part of a larger append")
                .at_position(after)
                .advice("an append that is repeated must be the same in every event"))
        }
        _ => Ok(Some(appended)),
    }
}

/// Whether an event of the log is the one that is to be appended.
fn is_the_same(stored: &RecordedEvent, aggregate: &AggregateRef, event: &NewEvent) -> bool {
    stored.aggregate() == *aggregate
        && *stored.event_type == *event.event_type
        && stored.schema_version == event.schema_version
        && stored.data == event.data
        && trace_context::is_same(stored.metadata.as_ref(), event.metadata.as_ref())
        && stored.tags == event.tags
        && event.created_at.is_none_or(|time| to_micros(time) == to_micros(stored.created_at))
}

fn not_the_same(aggregate: &AggregateRef, known: (Uuid, Position)) -> Error {
    Error::new(ErrorKind::DuplicateEventId, format!("the event id {} is in the log already, as part of another append", known.0))
        .of(aggregate)
        .at_position(known.1)
        .advice("give new events new ids; an append that is repeated must be the same in every event")
}
