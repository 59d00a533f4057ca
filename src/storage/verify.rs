//! Verifying: what is looked at, how far it has come, what was found.

use serde::Serialize;

use crate::model::damage::Damage;

/// A part of the verification.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub enum VerifyStep {
    /// The file's pages, by SQLite's own check.
    Structure,
    /// The counters that the log keeps.
    Totals,
    /// The names of tenants, aggregate types, event types and replicas.
    Names,
    /// The aggregates, against their events and the index of their names.
    Aggregates,
    /// Every event, with its checksum, and what the indexes say of it.
    Events,
    /// The positions, in order, and the holes that removals made.
    Positions,
    /// The index of event ids.
    Ids,
    /// The index of tags.
    Tags,
    /// The summaries by which queries skip parts of the log.
    Summaries,
    /// Every snapshot, with its checksum; or, in `verify_snapshots`, against a replay.
    Snapshots,
    /// Every subscription, projection and outbox, with its checksum and its position.
    Subscriptions,
    /// Every delivery of an outbox, with its checksum, its event and its place in the indexes.
    Deliveries,
}

/// How far a verification has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct VerifyProgress {
    /// What is looked at.
    pub step: VerifyStep,
    /// Rows looked at in this step.
    pub done: u64,
    /// Rows of this step when it began; 0 where that is not known beforehand.
    pub total: u64,
    /// Damages found so far, in all steps.
    pub damages: u64,
}

impl VerifyProgress {
    pub(crate) fn new(step: VerifyStep, done: u64, total: u64, damages: u64) -> VerifyProgress {
        VerifyProgress { step, done, total, damages }
    }
}

/// What a verification found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct VerifyReport {
    /// Whether it came to its end; `false` if the progress callback stopped it.
    pub complete: bool,
    /// Events that were looked at.
    pub events: u64,
    /// Aggregates that were looked at.
    pub aggregates: u64,
    /// Snapshots that were looked at.
    pub snapshots: u64,
    /// Of those, snapshots that could not be compared: another fold made them, or the events that they stand in for
    /// were removed. Only of [`Aggregates::verify_snapshots`](crate::Aggregates::verify_snapshots).
    pub snapshots_not_compared: u64,
    /// Damages that were found.
    pub damage_count: u64,
    /// What they are; the first 1,000.
    pub damages: Vec<Damage>,
}

impl VerifyReport {
    /// Whether everything was looked at and nothing is wrong.
    pub fn is_clean(&self) -> bool {
        self.complete && self.damage_count == 0
    }
}
