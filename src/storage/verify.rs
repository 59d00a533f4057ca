//! Verification: its steps, its progress, its result.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::model::damage::Damage;
use crate::model::place::Position;

/// A step of a verification.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub enum VerifyStep {
    /// The file's pages, by SQLite's own check.
    Structure,
    /// The stored counters.
    Totals,
    /// The names of tenants, aggregate types, event types and replicas.
    Names,
    /// The aggregates, against their events and the index of their names.
    Aggregates,
    /// Every event with its checksum, and its entries in the indexes.
    Events,
    /// The events in the archive.
    Archive,
    /// The positions in order, and the holes that removals made.
    Positions,
    /// The audit chain, link by link.
    Chain,
    /// The records of erasures.
    Erasures,
    /// The index of event ids, and the ids of purged events.
    Ids,
    /// The index of tags.
    Tags,
    /// The summaries that let queries skip parts of the log.
    Summaries,
    /// Every snapshot, with its checksum; or, in `verify_snapshots`, against a replay.
    Snapshots,
    /// Every subscription, projection and outbox, with its checksum and its position.
    Subscriptions,
    /// Every delivery of an outbox, with its checksum, its event and its place in the indexes.
    Deliveries,
}

/// The progress of a verification.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct VerifyProgress {
    /// The current step.
    pub step: VerifyStep,
    /// Rows checked in this step.
    pub done: u64,
    /// Rows of this step when it began; 0 if not known beforehand.
    pub total: u64,
    /// Damage found so far, in all steps.
    pub damages: u64,
}

impl VerifyProgress {
    pub(crate) fn new(step: VerifyStep, done: u64, total: u64, damages: u64) -> VerifyProgress {
        VerifyProgress { step, done, total, damages }
    }
}

/// The result of a verification.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct VerifyReport {
    /// Whether it finished; `false` if the progress callback stopped it.
    pub finished: bool,
    /// Events that were checked.
    pub events: u64,
    /// Aggregates that were checked.
    pub aggregates: u64,
    /// Snapshots that were checked.
    pub snapshots: u64,
    /// Of those, snapshots that could not be compared, because another fold made them or the events that they replace
    /// were removed. Only set by [`Aggregates::verify_snapshots`](crate::Aggregates::verify_snapshots).
    pub snapshots_not_compared: u64,
    /// Links of the audit chain that were checked, its anchor included; 0 if the file has no chain. Events that were purged or
    /// erased still have theirs.
    pub chain_links: u64,
    /// Events that the audit chain proves to be those that were appended.
    pub events_proven: u64,
    /// The number of findings.
    pub damage_count: u64,
    /// The first 1,000 findings.
    pub damages: Vec<Damage>,
}

impl VerifyReport {
    /// Whether everything was checked and nothing is damaged.
    pub fn is_clean(&self) -> bool {
        self.finished && self.damage_count == 0
    }
}

/// What a verification found, as it was noted in the file: see
/// [`Maintenance::note_verified`](crate::Maintenance::note_verified).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Verified {
    /// When it was noted.
    pub at: DateTime<Utc>,
    /// The version of foldlog that verified.
    pub foldlog_version: String,
    /// The newest position when it was noted.
    pub position: Position,
    /// Events that were checked.
    pub events: u64,
    /// The number of findings; 0: nothing was damaged.
    pub damage_count: u64,
}

impl Verified {
    pub(crate) fn new(report: &VerifyReport, position: u64, at: DateTime<Utc>) -> Verified {
        Verified {
            at,
            foldlog_version: env!("CARGO_PKG_VERSION").to_owned(),
            position: position.into(),
            events: report.events,
            damage_count: report.damage_count,
        }
    }
}
