//! Look-ups: the types of their results.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Serialize;

use crate::model::place::{AggregateRef, Position, Version};

/// Statistics about the events of a tenant.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct EventStatistics {
    /// Events in the file.
    pub total_events: u64,
    /// The number of stored events for each event type; those of a renamed type under its new name.
    pub events_by_type: BTreeMap<String, u64>,
    /// Aggregates that have or had events.
    pub aggregates: u64,
}

/// Statistics about the whole file, of all tenants, read without counting.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct FileStatistics {
    /// The position of the newest event that was ever in the file.
    pub last_position: Position,
    /// Events in the file.
    pub events: u64,
    /// Those of them that are in the archive.
    pub archived_events: u64,
    /// Snapshots in the file.
    pub snapshots: u64,
    /// The size of the database, in bytes, without the write-ahead log.
    pub size_bytes: u64,
}

/// The events of an aggregate that are no longer in the main file. 0 and 0: all are there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Removed {
    /// Events up to this version were purged.
    pub purged_through: Version,
    /// Later events up to this version are in the archive.
    pub archived_through: Version,
}

/// An aggregate of which events were removed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct RemovedOf {
    /// The aggregate.
    pub aggregate: AggregateRef,
    /// Its version.
    pub version: Version,
    /// Which events.
    pub removed: Removed,
}

/// What a table or an index takes in the main file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct TableSize {
    /// The name of the table or of the index.
    pub name: String,
    /// The table of an index; the same name for a table.
    pub table: String,
    /// Bytes of its pages.
    pub bytes: u64,
    /// Bytes in them that hold nothing.
    pub unused: u64,
}

/// The events that one aggregate has in the log.
#[derive(Clone, Debug)]
pub(crate) struct Held {
    /// The engine's number of the aggregate.
    pub(crate) number: i64,
    pub(crate) aggregate_id: Arc<str>,
    pub(crate) version: u64,
    /// The number of its events in the log.
    pub(crate) held: u64,
}
