//! Snapshots: the types that are saved and loaded.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use serde::Serialize;

/// The fold that made a snapshot. Another fold cannot start from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FoldId<'a> {
    pub(crate) name: &'a str,
    pub(crate) version: u32,
    /// A fingerprint of what else the state depends on.
    pub(crate) fingerprint: u64,
}

/// A snapshot to save.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NewSnapshot<'a> {
    pub(crate) version: u64,
    pub(crate) fold: FoldId<'a>,
    pub(crate) state: &'a str,
    /// The greatest time of events 1 to `version`, in microseconds.
    pub(crate) latest_event_at: i64,
    pub(crate) reason: &'a str,
    pub(crate) event_count: u64,
    pub(crate) created_by: Option<&'a str>,
    pub(crate) created_at: i64,
    /// The number of the newest erasure when the state was loaded. If the aggregate was erased since, it is not saved.
    pub(crate) newest_erasure: i64,
}

/// A stored snapshot.
#[derive(Clone, Debug)]
pub(crate) struct SnapshotRow {
    pub(crate) version: u64,
    pub(crate) fold_name: String,
    pub(crate) fold_version: u32,
    pub(crate) fingerprint: u64,
    pub(crate) state: String,
    pub(crate) latest_event_at: i64,
    pub(crate) reason: String,
    pub(crate) event_count: u64,
    pub(crate) created_by: Option<String>,
    pub(crate) created_at: i64,
    /// Whether its checksum is right.
    pub(crate) is_intact: bool,
}

impl SnapshotRow {
    /// The fold that made it.
    pub(crate) fn fold(&self) -> FoldId<'_> {
        FoldId { name: &self.fold_name, version: self.fold_version, fingerprint: self.fingerprint }
    }

    pub(crate) fn as_new(&self) -> NewSnapshot<'_> {
        NewSnapshot {
            version: self.version,
            fold: self.fold(),
            state: &self.state,
            latest_event_at: self.latest_event_at,
            reason: &self.reason,
            event_count: self.event_count,
            created_by: self.created_by.as_deref(),
            created_at: self.created_at,
            newest_erasure: i64::MAX,
        }
    }
}

/// Statistics about all snapshots of a tenant.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct SnapshotStatistics {
    /// The number of snapshots.
    pub total_snapshots: u64,
    /// The number for each aggregate, most first; at most 10,000 aggregates.
    pub snapshots_by_aggregate: Vec<SnapshotsOf>,
    /// The mean size of their states, in bytes; 0 if there are none.
    pub average_snapshot_size: u64,
    /// When the oldest was made.
    pub oldest_snapshot: Option<DateTime<Utc>>,
    /// When the newest was made.
    pub newest_snapshot: Option<DateTime<Utc>>,
}

/// The number of an aggregate's snapshots.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct SnapshotsOf {
    /// The aggregate's type.
    pub aggregate_type: String,
    /// The aggregate's id.
    pub aggregate_id: String,
    /// Its snapshots.
    pub snapshots: u64,
}

/// Figures over the snapshots that one fold made of one aggregate type of a tenant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct SnapshotsOfType {
    /// The tenant.
    pub tenant: Arc<str>,
    /// The aggregate type.
    pub aggregate_type: Arc<str>,
    /// The name of the fold.
    pub fold_name: String,
    /// Its version.
    pub fold_version: u32,
    /// How many snapshots there are.
    pub snapshots: u64,
    /// Of how many aggregates.
    pub aggregates: u64,
    /// The bytes of their states together.
    pub state_bytes: u64,
    /// When the oldest was made.
    pub oldest: DateTime<Utc>,
    /// When the newest was made.
    pub newest: DateTime<Utc>,
}
