//! Appending: requests and results.

use std::collections::HashSet;
use std::sync::Arc;

use serde::Serialize;

use super::delivery::RowChange;
use super::load::{LoadRequest, Loaded, Loader};
use super::lookup::Held;
use super::snapshots::{FoldId, NewSnapshot};
use crate::model::clock::Clock;
use crate::model::error::Result;
use crate::model::event::{EventId, NewEvent, RecordedEvent};
use crate::model::expected::Expected;
use crate::model::place::{Position, Version};
use crate::model::trace_context::TraceContext;

/// Events for one aggregate. Names, sizes and tags were already checked.
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
    /// Aggregates that must be at the expected version; their `events` are empty.
    pub(crate) checks: &'a [AggregateAppend],
    /// The tags of each event as stored: a JSON array.
    pub(crate) tags: &'a [Option<String>],
    /// The current trace, for events that name none of their own.
    pub(crate) trace: Option<&'a TraceContext>,
    /// Read under the write lock, so that times made by the store rise with the positions.
    pub(crate) clock: &'a Clock,
    /// Whether events that the log already has are left out.
    pub(crate) skip_existing: bool,
    /// A snapshot of the first aggregate's state after the new events, and how many snapshots of its fold to keep. Its
    /// latest event time does not yet include the new events.
    pub(crate) snapshot: Option<(NewSnapshot<'a>, u32)>,
    /// If set, the version of this fold's newest snapshot of the first aggregate is returned.
    pub(crate) fold: Option<FoldId<'a>>,
}

/// An open transaction under the write lock.
pub(crate) trait Transaction {
    /// Loads an aggregate; `None` if it has no events.
    fn load(&self, request: &LoadRequest<'_>, loader: &mut dyn Loader) -> Result<Option<Loaded>>;

    /// Appends in this transaction.
    fn append(&self, request: &AppendRequest<'_>) -> Result<AppendOutcome>;
}

/// The result of an append.
#[derive(Debug, Default)]
pub(crate) struct AppendOutcome {
    pub(crate) appended: Vec<Appended>,
    /// What each part did to its aggregate; empty if the same append was already in the log.
    pub(crate) touched: Vec<Held>,
    /// The ids of the events that were left out, because the log already had them.
    pub(crate) skipped: HashSet<EventId>,
    /// See [`AppendRequest::fold`].
    pub(crate) newest_snapshot: Option<u64>,
}

/// What an append would do.
#[derive(Debug)]
pub(crate) struct Rehearsed {
    pub(crate) appended: Vec<Appended>,
    /// The events as they would be in the log.
    pub(crate) events: Vec<RecordedEvent>,
    /// What would change in the tables of inline projections.
    pub(crate) changes: Vec<RowChange>,
}

/// What an append did to one aggregate. It is committed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Appended {
    /// The version of the last appended event. After a [repeated](Appended::was_duplicate) append the aggregate may
    /// already be at a later version.
    pub version: Version,
    /// The position of the last event.
    pub position: Position,
    /// The position of the first event of the whole commit; all its events carry it.
    pub commit_id: Position,
    /// The ids of the events, in order.
    pub event_ids: Vec<EventId>,
    /// How many of the events were not written, because the log already had them by their ids: all after a repeated append,
    /// some after one that [skips existing events](crate::Batch::skip_existing).
    pub skipped: u64,
    /// Whether nothing was written, because the log already had all the events.
    pub was_duplicate: bool,
}
