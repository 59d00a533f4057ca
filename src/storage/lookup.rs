//! Look-ups: the types of their results.

use std::collections::BTreeMap;
use std::sync::Arc;

/// Facts about the whole log.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LogFacts {
    pub(crate) last_position: u64,
    pub(crate) events: u64,
    pub(crate) snapshots: u64,
    pub(crate) size_bytes: u64,
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

/// Figures over a tenant's events.
#[derive(Clone, Debug, Default)]
pub(crate) struct EventCounts {
    pub(crate) by_type: BTreeMap<String, u64>,
    pub(crate) aggregates: u64,
}
