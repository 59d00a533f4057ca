//! Snapshots: what they are, when they are due, what they amount to. Folds nothing.

use std::collections::BTreeMap;
use std::fmt;

use chrono::{DateTime, Utc};
use serde::Serialize;

use crate::log::scope::{Scope, not_found};
use crate::model::clock::from_micros;
use crate::model::error::{Error, ErrorKind, Result};
use crate::model::json::Json;
use crate::model::place::{AggregateRef, Version};
use crate::sqlite::events::Owner;
use crate::sqlite::snapshots::{self, NewSnapshot, SnapshotRow};

/// Snapshots deleted in one transaction, so that none holds the file for long.
const EXPIRE_AT_ONCE: usize = 1_000;
/// Aggregates that the statistics name; the totals count all.
const AGGREGATES_NAMED: usize = 10_000;

/// Why a snapshot was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum SnapshotReason {
    /// Somebody asked for it.
    Manual,
    /// A timetable of the application's asked for it.
    Scheduled,
    /// Enough events had come since the last one.
    Threshold,
}

impl SnapshotReason {
    /// `manual`, `scheduled` or `threshold`: as it is stored, and as the metrics' label.
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
            .ok_or_else(|| Error::new(ErrorKind::Corrupt, "a snapshot has a reason that is never written"))
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
    /// Whose state it is.
    #[serde(skip)]
    pub aggregate: AggregateRef,
    /// The version of the last event in it.
    pub version: Version,
    /// The state.
    pub state: Json,
    /// Which fold made it.
    pub fold_name: String,
    /// That fold's version.
    pub fold_version: u32,
    /// Why it was made.
    pub reason: SnapshotReason,
    /// How many events were folded to make it, on top of the snapshot before.
    pub event_count: u64,
    /// The size of the state, in bytes.
    pub snapshot_size: u64,
    /// The `userId` of the handle that asked for it; `None` if the store made it by itself.
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
            // Personal data, as in the Debug of metadata.
            .field("created_by", &self.created_by.is_some())
            .field("created_at", &self.created_at)
            .finish()
    }
}

/// Why a replay passed over a snapshot. The replay's result is right all the same: it folded more events.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct SnapshotWarning {
    /// The snapshot's version.
    pub version: Version,
    /// What is wrong with it.
    pub rejected: Rejected,
}

/// What is wrong with a snapshot.
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
    /// Its state does not fit the type any more; says where, without the data. Raise the fold version when the state's
    /// shape changes.
    Undecodable(String),
}

impl Rejected {
    /// The metrics' label.
    pub(crate) fn label(&self) -> &'static str {
        match self {
            Rejected::Damaged => "damaged",
            Rejected::OtherFold { .. } => "other_fold",
            Rejected::Undecodable(_) => "undecodable",
        }
    }
}

impl fmt::Display for SnapshotWarning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "snapshot at version {} was not used: ", self.version)?;
        match &self.rejected {
            Rejected::Damaged => f.write_str("its checksum is wrong"),
            Rejected::OtherFold { name, version } => write!(f, "fold {name:?} version {version} made it"),
            Rejected::Undecodable(reason) => write!(f, "its state does not fit the type: {reason}"),
        }
    }
}

/// Figures over all snapshots of a tenant.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct SnapshotStatistics {
    /// How many there are.
    pub total_snapshots: u64,
    /// How many each aggregate has, under `type/id`; those with most, 10,000 aggregates at most.
    pub snapshots_by_aggregate: BTreeMap<String, u64>,
    /// The mean size of their states, in bytes; 0 if there are none.
    pub average_snapshot_size: u64,
    /// When the oldest was made.
    pub oldest_snapshot: Option<DateTime<Utc>>,
    /// When the newest was made.
    pub newest_snapshot: Option<DateTime<Utc>>,
}

pub(crate) fn statistics(scope: &Scope) -> Result<SnapshotStatistics> {
    scope.database().read(|view| {
        let totals = snapshots::totals(view, &scope.tenant)?;
        let by_aggregate = snapshots::by_aggregate(view, &scope.tenant, AGGREGATES_NAMED)?;
        Ok(SnapshotStatistics {
            total_snapshots: totals.count,
            snapshots_by_aggregate: by_aggregate.into_iter().map(|(kind, id, count)| (format!("{kind}/{id}"), count)).collect(),
            average_snapshot_size: totals.bytes.checked_div(totals.count).unwrap_or(0),
            oldest_snapshot: totals.oldest.map(from_micros).transpose()?,
            newest_snapshot: totals.newest.map(from_micros).transpose()?,
        })
    })
}

fn from_row(row: SnapshotRow, aggregate: &AggregateRef) -> Result<Snapshot> {
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
    scope.database().read(|view| {
        let Some((row, owner)) = scope.find(view, aggregate_type, aggregate_id)? else { return Ok(Vec::new()) };
        let rows = snapshots::all(view, row.id)?;
        rows.into_iter().filter(|row| row.is_intact(owner.identity)).map(|row| from_row(row, &aggregate)).collect()
    })
}

/// A snapshot that is to be saved.
pub(crate) struct Draft<'a> {
    pub(crate) version: u64,
    pub(crate) fold_name: &'a str,
    pub(crate) fold_version: u32,
    pub(crate) state: Json,
    pub(crate) latest_event_at: i64,
    pub(crate) reason: SnapshotReason,
    pub(crate) event_count: u64,
    pub(crate) created_by: Option<&'a str>,
}

impl Draft<'_> {
    pub(crate) fn row<'r>(&'r self, owner: &Owner, now: i64) -> NewSnapshot<'r> {
        NewSnapshot {
            aggregate: owner.aggregate,
            identity: owner.identity,
            version: self.version,
            fold_name: self.fold_name,
            fold_version: self.fold_version,
            state: self.state.as_str(),
            latest_event_at: self.latest_event_at,
            reason: self.reason.as_str(),
            event_count: self.event_count,
            created_by: self.created_by,
            created_at: now,
        }
    }
}

/// Deletes all snapshots of an aggregate; refuses if its replay has nothing else to start from.
pub(crate) fn delete_all(scope: &Scope, aggregate_type: &str, aggregate_id: &str) -> Result<u64> {
    scope.database().write(|writing| {
        let (row, _) = scope.find(writing, aggregate_type, aggregate_id)?.ok_or_else(not_found)?;
        if row.removed_through() > 0 {
            return Err(Error::new(
                ErrorKind::HistoryRemoved,
                format!("events up to version {} were removed: the replay needs a snapshot", row.removed_through()),
            )
            .advice("clean_up_snapshots keeps the newest"));
        }
        snapshots::delete_all(writing, row.id)
    })
}

/// Deletes all but the newest snapshots of an aggregate.
pub(crate) fn clean_up(scope: &Scope, aggregate_type: &str, aggregate_id: &str) -> Result<u64> {
    let retain = scope.options().snapshots.retained();
    scope.database().write(|writing| match scope.find(writing, aggregate_type, aggregate_id)? {
        Some((row, _)) => snapshots::retain_newest(writing, row.id, retain),
        None => Ok(0),
    })
}

/// Deletes the tenant's snapshots that were made before a time.
pub(crate) fn expire(scope: &Scope, before: DateTime<Utc>) -> Result<u64> {
    let mut expired = 0;
    loop {
        let deleted = scope
            .database()
            .write(|writing| snapshots::expire(writing, &scope.tenant, before.timestamp_micros(), EXPIRE_AT_ONCE))?;
        expired += deleted;
        if deleted < EXPIRE_AT_ONCE as u64 {
            return Ok(expired);
        }
    }
}
