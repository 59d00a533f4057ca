//! Facts that are looked up.

use std::collections::BTreeMap;
use std::sync::Arc;

/// What the log as a whole holds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LogFacts {
    pub(crate) last_position: u64,
    pub(crate) events: u64,
    pub(crate) snapshots: u64,
    pub(crate) size_bytes: u64,
}

/// What one aggregate holds.
#[derive(Clone, Debug)]
pub(crate) struct Held {
    /// Names the aggregate to the engine.
    pub(crate) number: i64,
    pub(crate) aggregate_id: Arc<str>,
    pub(crate) version: u64,
    /// Its events in the log.
    pub(crate) held: u64,
}

/// Figures over a tenant's events.
#[derive(Clone, Debug, Default)]
pub(crate) struct EventCounts {
    pub(crate) by_type: BTreeMap<String, u64>,
    pub(crate) aggregates: u64,
}
