//! Snapshots: their types, when they are due, their statistics. Nothing is folded here.

use std::fmt;

use chrono::{DateTime, Utc};
use serde::Serialize;

use crate::log::scope::Scope;
use crate::model::clock::from_micros;
use crate::model::error::{Error, ErrorKind, Result};
use crate::model::json::Json;
use crate::model::place::{AggregateRef, Version};
use crate::storage::snapshots::SnapshotRow;

/// Why a snapshot was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum SnapshotReason {
    /// It was requested.
    Manual,
    /// A schedule of the application requested it.
    Scheduled,
    /// Enough events were appended since the last one.
    Threshold,
}

impl SnapshotReason {
    /// `manual`, `scheduled` or `threshold`, as stored and as the metrics' label.
    pub fn as_str(self) -> &'static str {
        match self {
            SnapshotReason::Manual => "manual",
            SnapshotReason::Scheduled => "scheduled",
            SnapshotReason::Threshold => "threshold",
        }
    }

    fn from_stored(text: &str) -> Result<SnapshotReason> {
        [SnapshotReason::Manual, SnapshotReason::Scheduled, SnapshotReason::Threshold]
            .into_iter()
            .find(|reason| reason.as_str() == text)
            .ok_or_else(|| Error::new(ErrorKind::Corrupt, "a snapshot has an unknown reason"))
    }
}

impl fmt::Display for SnapshotReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A fold's result at a version: a cache, never the truth.
#[derive(Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Snapshot {
    /// The aggregate.
    #[serde(skip)]
    pub aggregate: AggregateRef,
    /// The version of its last event.
    pub version: Version,
    /// The state.
    pub state: Json,
    /// The name of the fold that made it.
    pub fold_name: String,
    /// The fold's version.
    pub fold_version: u32,
    /// Why it was made.
    pub reason: SnapshotReason,
    /// How many events were folded to make it, after the previous snapshot.
    pub event_count: u64,
    /// The size of the state, in bytes.
    pub snapshot_size: u64,
    /// The `userId` of the handle that requested it; `None` if the store made it by itself.
    pub created_by: Option<String>,
    /// When it was made.
    pub created_at: DateTime<Utc>,
}

impl fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Snapshot")
            .field("aggregate", &self.aggregate)
            .field("version", &self.version)
            .field("state", &self.state)
            .field("fold_name", &self.fold_name)
            .field("fold_version", &self.fold_version)
            .field("reason", &self.reason)
            .field("event_count", &self.event_count)
            // Personal data is left out, as in the `Debug` of metadata.
            .field("created_by", &self.created_by.is_some())
            .field("created_at", &self.created_at)
            .finish()
    }
}

/// Why a snapshot was not used or not made. The result is right all the same: more events are folded instead.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct SnapshotWarning {
    /// The snapshot's version.
    pub version: Version,
    /// Why it was not used, or not made.
    pub rejected: Rejected,
}

/// Why a snapshot was not used or not made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Rejected {
    /// Its checksum is wrong: the file was damaged.
    Damaged,
    /// Another fold, or another version of the fold, made it.
    OtherFold {
        /// That fold's name.
        name: String,
        /// That fold's version.
        version: u32,
    },
    /// It was made with other upcasters, on which its state depends.
    OtherUpcasters,
    /// Its state no longer fits the type. The text says where, without the data. Raise the fold version when the
    /// state's shape changes.
    Undecodable(String),
    /// It was due but was not made, because the state does not come back from JSON as it went in. The text says why. Every
    /// replay then folds all events, and a purge keeps them.
    NotRestorable(String),
}

impl Rejected {
    /// The value of the metrics' label.
    pub(crate) fn label(&self) -> &'static str {
        match self {
            Rejected::Damaged => "damaged",
            Rejected::OtherFold { .. } => "other_fold",
            Rejected::OtherUpcasters => "other_upcasters",
            Rejected::Undecodable(_) => "undecodable",
            Rejected::NotRestorable(_) => "not_restorable",
        }
    }
}

impl fmt::Display for SnapshotWarning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Rejected::NotRestorable(reason) = &self.rejected {
            return write!(f, "no snapshot was made at version {}: {reason}", self.version);
        }
        write!(f, "snapshot at version {} was not used: ", self.version)?;
        match &self.rejected {
            Rejected::Damaged => f.write_str("its checksum is wrong"),
            Rejected::OtherFold { name, version } => write!(f, "fold {name:?} version {version} made it"),
            Rejected::OtherUpcasters => f.write_str("it was made with other upcasters"),
            Rejected::Undecodable(reason) => write!(f, "its state does not fit the type: {reason}"),
            Rejected::NotRestorable(reason) => f.write_str(reason),
        }
    }
}

/// A stored snapshot as the application sees it.
pub(crate) fn from_row(row: SnapshotRow, aggregate: &AggregateRef) -> Result<Snapshot> {
    Ok(Snapshot {
        aggregate: aggregate.clone(),
        version: Version::new(row.version),
        snapshot_size: row.state.len() as u64,
        state: Json::stored(row.state),
        fold_name: row.fold_name,
        fold_version: row.fold_version,
        reason: SnapshotReason::from_stored(&row.reason)?,
        event_count: row.event_count,
        created_by: row.created_by,
        created_at: from_micros(row.created_at)?,
    })
}

/// The intact snapshots of an aggregate, newest first.
pub(crate) fn list(scope: &Scope, aggregate_type: &str, aggregate_id: &str) -> Result<Vec<Snapshot>> {
    let aggregate = scope.aggregate(aggregate_type, aggregate_id);
    let rows = scope.engine().snapshots(&scope.tenant, aggregate_type, aggregate_id)?;
    rows.into_iter().filter(|row| row.is_intact).map(|row| from_row(row, &aggregate)).collect()
}
