//! Event and file statistics.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::log::scope::Scope;
use crate::model::error::Result;
use crate::model::place::Position;

/// Statistics about the events of a tenant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct EventStatistics {
    /// Events in the file.
    pub total_events: u64,
    /// The number of events for each event type.
    pub events_by_type: BTreeMap<String, u64>,
    /// Aggregates that have or had events.
    pub aggregates: u64,
}

pub(crate) fn events(scope: &Scope) -> Result<EventStatistics> {
    let counts = scope.engine().event_counts(&scope.tenant)?;
    Ok(EventStatistics {
        total_events: counts.by_type.values().sum(),
        events_by_type: counts.by_type,
        aggregates: counts.aggregates,
    })
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
    /// Snapshots in the file.
    pub snapshots: u64,
    /// The size of the database, in bytes, without the write-ahead log.
    pub size_bytes: u64,
}

pub(crate) fn file(scope: &Scope) -> Result<FileStatistics> {
    let facts = scope.engine().facts()?;
    Ok(FileStatistics {
        last_position: Position::new(facts.last_position),
        events: facts.events,
        snapshots: facts.snapshots,
        size_bytes: facts.size_bytes,
    })
}
