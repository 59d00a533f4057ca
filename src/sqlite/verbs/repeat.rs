//! Repeated appends: the caller gave the events ids, and the log already has these events.

use std::sync::Arc;

use uuid::Uuid;

use super::lookup;
use crate::model::clock::to_micros;
use crate::model::error::{Error, ErrorKind, Result};
use crate::model::event::{NewEvent, RecordedEvent};
use crate::model::place::{AggregateRef, Position, Version};
use crate::model::trace_context;
use crate::sqlite::tables::event_ids;
use crate::sqlite::transaction::View;
use crate::storage::append::{AppendRequest, Appended};

/// Whether the tenant has an event with an id that the store itself made.
pub(super) fn is_known_as_made(view: &View<'_>, tenant: i64, id: Uuid, last: u64) -> Result<bool> {
    for position in event_ids::made(id, last) {
        let found =
            lookup::at_position(view, position, |raw, owner| Ok(raw.event_id == id && owner.aggregate_type.tenant_id == tenant))?;
        if found == Some(true) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The result of an earlier, identical append.
///
/// All events must be in the log with the same content, in the same order and in one commit of their own. Anything else
/// is an error, because the log would otherwise hold a part twice or not at all.
pub(super) fn find(view: &View<'_>, request: &AppendRequest<'_>) -> Result<Vec<Appended>> {
    let mut appended = Vec::with_capacity(request.appends.len());
    // The events of a commit are at its id and at the positions after it.
    let mut next: Option<(Position, Position)> = None;
    for append in request.appends {
        let aggregate = AggregateRef::new(request.tenant, &append.aggregate_type, &append.aggregate_id);
        let mut done = Appended {
            version: Version::ZERO,
            position: next.map_or(Position::ZERO, |(next, _)| Position::new(next.get() - 1)),
            commit_id: next.map_or(Position::ZERO, |(_, commit)| commit),
            event_ids: Vec::with_capacity(append.events.len()),
            was_duplicate: true,
        };
        for event in &append.events {
            let stored = event.id.map(|id| lookup::event_by_id(view, request.tenant, id)).transpose()?.flatten();
            let Some(stored) = stored else { return Err(missing(&aggregate)) };
            if let Some(difference) = difference(&stored, &aggregate, event) {
                return Err(another(&aggregate, &stored, difference));
            }
            if (stored.position, stored.commit_id) != next.unwrap_or((stored.commit_id, stored.commit_id)) {
                return Err(another(&aggregate, &stored, "its place in the append"));
            }
            next = Some((Position::new(stored.position.get() + 1), stored.commit_id));
            done.event_ids.push(stored.id);
            (done.version, done.position, done.commit_id) = (stored.version, stored.position, stored.commit_id);
        }
        appended.push(done);
    }
    match next {
        Some((after, commit_id)) if lookup::commit_id_at(view, after.get())? == Some(commit_id.get()) => {
            Err(Error::new(ErrorKind::DuplicateEventId, "the events are already in the log, as part of a larger append")
                .at_position(after)
                .advice("a repeated append must have the same events"))
        }
        _ => Ok(appended),
    }
}

/// What differs between a stored event and the one to append.
fn difference(stored: &RecordedEvent, aggregate: &AggregateRef, event: &NewEvent) -> Option<&'static str> {
    if stored.aggregate() != *aggregate {
        Some("its aggregate")
    } else if stored.event_type != Arc::from(event.event_type.as_str()) || stored.schema_version != event.schema_version {
        Some("its type")
    } else if stored.data != event.data {
        Some("its data")
    } else if !trace_context::is_same(stored.metadata.as_ref(), event.metadata.as_ref()) {
        Some("its metadata")
    } else if stored.tags != event.tags {
        Some("its tags")
    } else if event.created_at.is_some_and(|time| to_micros(time) != to_micros(stored.created_at)) {
        Some("its time")
    } else {
        None
    }
}

const ADVICE: &str = "give new events new ids; a repeated append must have the same events";

fn another(aggregate: &AggregateRef, stored: &RecordedEvent, difference: &str) -> Error {
    let what = format!("an event with the id {} is already in the log; {difference} differs", stored.id);
    Error::new(ErrorKind::DuplicateEventId, what).of(aggregate).at_position(stored.position).advice(ADVICE)
}

fn missing(aggregate: &AggregateRef) -> Error {
    Error::new(ErrorKind::DuplicateEventId, "some of the events are already in the log, others are not")
        .of(aggregate)
        .advice(ADVICE)
}

/// The error for an append that has a known id after an unknown one.
pub(super) fn partly_known(id: Uuid) -> Error {
    Error::new(
        ErrorKind::DuplicateEventId,
        format!("an event with the id {id} is already in the log, but an event before it is not"),
    )
    .advice(ADVICE)
}
