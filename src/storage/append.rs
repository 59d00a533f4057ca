//! Appending: what is to be written, and what was.

use std::sync::Arc;

use serde::Serialize;

use super::delivery::RowChange;
use super::snapshots::{FoldId, NewSnapshot};
use crate::model::clock::Clock;
use crate::model::error::Result;
use crate::model::event::{EventId, NewEvent, RecordedEvent};
use crate::model::expected::Expected;
use crate::model::place::{Position, Version};
use crate::model::trace_context::TraceContext;

/// Events for one aggregate. They were checked: names, sizes, tags.
#[derive(Clone, Debug)]
pub(crate) struct AggregateAppend {
    pub(crate) aggregate_type: String,
    pub(crate) aggregate_id: String,
    pub(crate) expected: Expected,
    pub(crate) events: Vec<NewEvent>,
}

/// An atomic append.
pub(crate) struct AppendRequest<'a> {
    pub(crate) tenant: &'a Arc<str>,
    pub(crate) appends: &'a [AggregateAppend],
    /// Aggregates that must be as expected; their `events` are empty.
    pub(crate) checks: &'a [AggregateAppend],
    /// The tags of each event as they are stored: a JSON array.
    pub(crate) tags: &'a [Option<String>],
    /// The trace that the append is part of, for events that say nothing of their own.
    pub(crate) trace: Option<&'a TraceContext>,
    /// Read under the lock, so that the store's own times rise with the positions.
    pub(crate) clock: &'a Clock,
    /// A snapshot of the first aggregate's state with the new events in it, and how many snapshots of its fold to keep. Its
    /// latest event's time is that without the new events.
    pub(crate) snapshot: Option<(NewSnapshot<'a>, u32)>,
    /// The version of this fold's newest snapshot of the first aggregate is wanted.
    pub(crate) fold: Option<FoldId<'a>>,
}

/// A transaction in which nobody else can write.
pub(crate) trait Transaction {
    /// Appends in it.
    fn append(&self, request: &AppendRequest<'_>) -> Result<AppendOutcome>;
}

/// What became of an append.
#[derive(Debug)]
pub(crate) struct AppendOutcome {
    pub(crate) appended: Vec<Appended>,
    /// What each part did to its aggregate; empty if the same append was in the log already.
    pub(crate) touched: Vec<Touched>,
    /// See [`AppendRequest::fold`].
    pub(crate) newest_snapshot: Option<u64>,
}

/// What an append would do.
#[derive(Debug)]
pub(crate) struct Rehearsed {
    pub(crate) appended: Vec<Appended>,
    /// The events, as they would be in the log.
    pub(crate) events: Vec<RecordedEvent>,
    /// What would change in the tables of inline projections.
    pub(crate) changes: Vec<RowChange>,
}

/// An aggregate after an append.
#[derive(Debug)]
pub(crate) struct Touched {
    /// Names the aggregate to the engine.
    pub(crate) number: i64,
    pub(crate) aggregate_id: Arc<str>,
    pub(crate) version: u64,
    /// Events that it has in the log.
    pub(crate) held: u64,
}

/// What an append did to one aggregate. It is in the file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Appended {
    /// The version of the last event that was appended. After a [repeated](Appended::was_duplicate) append the aggregate may
    /// have gone on since.
    pub version: Version,
    /// The position of the last event.
    pub position: Position,
    /// The position of the first event of the whole commit, which all of its events carry.
    pub commit_id: Position,
    /// The ids of the events, in order.
    pub event_ids: Vec<EventId>,
    /// Whether nothing was written because the same events, by their ids, were in the log already.
    pub was_duplicate: bool,
}
