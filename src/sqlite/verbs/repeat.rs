//! Repeated appends: the caller gave the events ids, and the log already has these events.

use std::collections::BTreeSet;

use chrono::SecondsFormat;
use uuid::Uuid;

use super::lookup::{self, ById};
use crate::model::clock::to_micros;
use crate::model::error::{Error, ErrorKind, Result};
use crate::model::event::{NewEvent, RecordedEvent};
use crate::model::place::{AggregateRef, Position, Version};
use crate::model::same_json::{self, Arrays};
use crate::sqlite::tables::event_ids;
use crate::sqlite::tables::removed_ids::{self, RemovedId};
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

/// An event that the log already has.
#[derive(Clone, Copy)]
pub(super) struct Known {
    pub(super) id: Uuid,
    pub(super) version: Version,
    pub(super) position: Position,
    pub(super) commit_id: Position,
}

/// The event that the log already has under the id of one to append. Other content under the same id is an error.
pub(super) fn known(view: &View<'_>, aggregate: &AggregateRef, event: &NewEvent) -> Result<Option<Known>> {
    let Some(id) = event.id else { return Ok(None) };
    let (known, difference) = match lookup::by_id(view, &aggregate.tenant, id)? {
        None => return Ok(None),
        Some(ById::Event(stored)) => {
            let known = Known { id, version: stored.version, position: stored.position, commit_id: stored.commit_id };
            (known, difference(&stored, aggregate, event))
        }
        Some(ById::Removed(removed)) => {
            let (version, commit_id) = (Version::new(removed.version), Position::new(removed.commit_id));
            let known = Known { id, version, position: Position::new(removed.position), commit_id };
            (known, difference_to_removed(&removed, aggregate, event))
        }
    };
    match difference {
        Some(difference) => Err(another(aggregate, id, known.position, &difference)),
        None => Ok(Some(known)),
    }
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
        let mut events = Vec::with_capacity(append.events.len());
        for event in &append.events {
            let Some(known) = known(view, &aggregate, event)? else { return Err(missing(&aggregate)) };
            if (known.position, known.commit_id) != next.unwrap_or((known.commit_id, known.commit_id)) {
                let what = "there it is not at this place of an append of the same events";
                return Err(another(&aggregate, known.id, known.position, what));
            }
            next = Some((Position::new(known.position.get() + 1), known.commit_id));
            events.push(known);
        }
        appended.extend(result(&events));
    }
    match next {
        Some((after, commit_id)) if lookup::commit_id_at(view, after.get())? == Some(commit_id.get()) => {
            Err(Error::new(ErrorKind::DuplicateEventId, "the events are already in the log, as part of a larger append")
                .at_position(after)
                .advice(ADVICE))
        }
        _ => Ok(appended),
    }
}

/// The result for one aggregate whose events were all in the log; `None` without events.
pub(super) fn result(events: &[Known]) -> Option<Appended> {
    let last = events.last()?;
    Some(Appended {
        version: last.version,
        position: last.position,
        commit_id: last.commit_id,
        event_ids: events.iter().map(|event| event.id).collect(),
        skipped: events.len() as u64,
        was_duplicate: true,
    })
}

/// What differs between a stored event and the one to append. Metadata does not count: a repeated call has another
/// correlation id and another trace.
fn difference(stored: &RecordedEvent, aggregate: &AggregateRef, event: &NewEvent) -> Option<String> {
    let tags = |tags: &[String]| tags.iter().cloned().collect::<BTreeSet<String>>();
    if stored.aggregate() != *aggregate {
        Some(format!("there it belongs to {}", stored.aggregate()))
    } else if *stored.event_type != *event.event_type {
        Some(format!("there it has the type {:?}", stored.event_type))
    } else if event.schema_version.is_some_and(|version| version != stored.schema_version) {
        Some(format!("there it has the schema version {}", stored.schema_version))
    } else if !same_json::is_same(stored.data.as_str(), event.data.as_str(), Arrays::Ordered) {
        Some("there it has other data".to_owned())
    } else if tags(&stored.tags) != tags(&event.tags) {
        Some("there it has other tags".to_owned())
    } else if event.created_at.is_some_and(|time| to_micros(time) != to_micros(stored.created_at)) {
        Some(format!("there it has the time {}", stored.created_at.to_rfc3339_opts(SecondsFormat::AutoSi, true)))
    } else {
        None
    }
}

/// As [`difference`], for an event that was purged.
fn difference_to_removed(removed: &RemovedId, aggregate: &AggregateRef, event: &NewEvent) -> Option<String> {
    let tags = event.tags.iter().map(String::as_str);
    if removed.owner.reference() != *aggregate {
        Some(format!("there it belonged to {} before it was purged", removed.owner.reference()))
    } else if event.schema_version.is_some_and(|version| version != removed.schema_version) {
        Some(format!("there it had the schema version {} before it was purged", removed.schema_version))
    } else if event.created_at.is_some_and(|time| to_micros(time) != removed.created_at) {
        Some("there it had another time before it was purged".to_owned())
    } else if removed_ids::digest(&event.event_type, event.data.as_str(), tags) != removed.digest {
        Some("there it had another type, other data or other tags before it was purged".to_owned())
    } else {
        None
    }
}

const ADVICE: &str = "give new events new ids; a repeated append must have the same events, unless it skips those that \
                      are there: Batch::skip_existing";

/// The error if the log has something else under an id.
pub(super) fn another(aggregate: &AggregateRef, id: Uuid, position: Position, difference: &str) -> Error {
    let what = format!("an event with the id {id} is already in the log; {difference}");
    Error::new(ErrorKind::DuplicateEventId, what).of(aggregate).at_position(position).advice(ADVICE)
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
