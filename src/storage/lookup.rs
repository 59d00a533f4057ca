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

/// What a tenant has of one aggregate type.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct TypeStatistics {
    /// The tenant.
    pub tenant: Arc<str>,
    /// The aggregate type.
    pub aggregate_type: Arc<str>,
    /// Aggregates that have or had events.
    pub aggregates: u64,
    /// Their events in the file.
    pub events: u64,
    /// The number of stored events for each event type; those of a renamed type under its new name.
    pub events_by_type: BTreeMap<String, u64>,
}

/// Statistics about the whole file, of all tenants, read without counting.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct FileStatistics {
    /// The version of the file's format.
    pub format: u32,
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
    /// Bytes of pages in it that hold nothing: later events take them, or `compact` gives them back.
    pub free_bytes: u64,
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
    /// Rows of the table, or entries of the index.
    pub rows: u64,
}

/// What events and snapshots take: the bytes of data, metadata and tags, and of states, without keys and indexes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Room {
    /// Events in the main file.
    pub events: u64,
    /// Their bytes.
    pub event_bytes: u64,
    /// Events in the archive.
    pub archived_events: u64,
    /// Their bytes.
    pub archived_bytes: u64,
    /// Snapshots.
    pub snapshots: u64,
    /// Their bytes.
    pub snapshot_bytes: u64,
}

impl Room {
    /// All bytes in the main file.
    pub fn bytes(&self) -> u64 {
        self.event_bytes.saturating_add(self.snapshot_bytes)
    }

    pub(crate) fn add(&mut self, other: &Room) {
        self.events += other.events;
        self.event_bytes += other.event_bytes;
        self.archived_events += other.archived_events;
        self.archived_bytes += other.archived_bytes;
        self.snapshots += other.snapshots;
        self.snapshot_bytes += other.snapshot_bytes;
    }
}

/// What the aggregates of a type take.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct TypeSize {
    /// The tenant.
    pub tenant: Arc<str>,
    /// The aggregate type.
    pub aggregate_type: Arc<str>,
    /// Aggregates with events or snapshots.
    pub aggregates: u64,
    /// What they take.
    pub room: Room,
}

/// What one aggregate takes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct AggregateSize {
    /// The aggregate.
    pub aggregate: AggregateRef,
    /// What it takes.
    pub room: Room,
}

/// Which types and aggregates take the room, of all tenants.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct SizeReport {
    /// Every type, the largest in the main file first.
    pub types: Vec<TypeSize>,
    /// The largest aggregates, as many as were asked for.
    pub aggregates: Vec<AggregateSize>,
}

/// What is looked at for a size report.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Rows {
    Events,
    Archived,
    Snapshots,
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
