//! Upkeep: requests and results of purges, WAL checkpoints, reindexing and copies.

use std::sync::Arc;

use serde::Serialize;

use super::snapshots::FoldId;
use crate::model::place::{AggregateRef, Version};

/// What to purge.
#[derive(Clone, Debug)]
pub(crate) struct PurgePlan {
    pub(crate) limit: PurgeLimit,
    /// Only of this type, or of this aggregate.
    pub(crate) only: Option<(String, Option<String>)>,
    pub(crate) break_replay: bool,
    pub(crate) pass_readers: bool,
    /// Whether folds count that have snapshots but were not compared.
    pub(crate) other_folds: bool,
    /// Also younger events, if an old one of the same aggregate is after them.
    pub(crate) past_younger: bool,
    /// Whether the ids of the events are forgotten too.
    pub(crate) forget_ids: bool,
    pub(crate) dry_run: bool,
    /// The most events that one transaction removes, and then of one aggregate.
    pub(crate) at_once: Option<u64>,
    /// Whether nobody waits for it, so that it yields to other writers.
    pub(crate) in_background: bool,
}

/// Which events at the beginning of an aggregate are old.
#[derive(Clone, Debug)]
pub(crate) enum PurgeLimit {
    /// Those before this time, in microseconds.
    Before(i64),
    /// All but so many.
    AllButNewest(u64),
    /// All but the newest whose data, metadata and tags have at most so many bytes.
    AllButBytes(u64),
    /// All, if the last event has one of these types, as stored.
    IfLastIs(Vec<String>),
}

/// An aggregate with events that are old enough.
#[derive(Clone, Debug)]
pub(crate) struct PurgeCandidate {
    /// The engine's number of the aggregate.
    pub(crate) number: i64,
    pub(crate) aggregate_type: Arc<str>,
    pub(crate) aggregate_id: Arc<str>,
    /// The folds that compared their snapshots of it with its events.
    pub(crate) trusted: Vec<TrustedFold>,
    /// Why a fold's snapshots are not trusted.
    pub(crate) untrusted: Option<String>,
}

/// A fold whose snapshots of an aggregate were compared with its events.
#[derive(Clone, Debug)]
pub(crate) struct TrustedFold {
    pub(crate) name: String,
    pub(crate) version: u32,
    pub(crate) fingerprint: u64,
    /// The versions of the snapshots that agree.
    pub(crate) versions: Vec<u64>,
}

impl TrustedFold {
    pub(crate) fn id(&self) -> FoldId<'_> {
        FoldId { name: &self.name, version: self.version, fingerprint: self.fingerprint }
    }
}

/// What a page of a purge did.
#[derive(Clone, Debug, Default)]
pub(crate) struct Purged {
    pub(crate) events_removed: u64,
    pub(crate) aggregates_purged: u64,
    /// Ids given by callers, of the removed events.
    pub(crate) ids_kept: u64,
    pub(crate) ids_forgotten: u64,
    /// Events that stayed because no snapshot replaces them: the aggregate, the last version that is old enough, their
    /// number, and why.
    pub(crate) kept: Vec<(AggregateRef, Version, u64, String)>,
    /// Old events after a younger one of the same aggregate: the aggregate, the younger one's version, their number.
    pub(crate) behind_younger: Vec<(AggregateRef, Version, u64)>,
    /// Whether events stayed that the next transaction would remove.
    pub(crate) is_cut: bool,
    pub(crate) events_held_back: u64,
    /// The readers that held events back: name, whether it reads all tenants, number of events.
    pub(crate) held_back_by: Vec<(String, bool, u64)>,
    /// Aggregates that can no longer be replayed, as was asked for.
    pub(crate) broken: Vec<AggregateRef>,
}

/// The result of a WAL checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct WalCheckpoint {
    /// Whether the write-ahead log is empty now. If `false`, a reader still uses an older state of the file, or another
    /// process was writing.
    pub complete: bool,
    /// Pages (4 KiB each) that are only in the write-ahead log.
    pub pages_left: u64,
}

/// The progress, and in the end the result, of a reindex.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct ReindexProgress {
    /// Events already in the new indexes.
    pub done: u64,
    /// Events in the file.
    pub total: u64,
    /// Whether the new indexes are in place.
    pub finished: bool,
}

/// The progress, and in the end the result, of compacting, in pages of 4 KiB.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct CompactProgress {
    /// Pages given back.
    pub done: u64,
    /// Pages to give back. A purge beside it can raise the number, an append lower it.
    pub total: u64,
    /// Whether no free page is left.
    pub finished: bool,
}

/// The progress of a copy.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Copied {
    pub(crate) pages: u64,
    pub(crate) total: u64,
    /// The last position of the log that is copied.
    pub(crate) last_position: u64,
}

/// What to archive.
#[derive(Clone, Debug)]
pub(crate) struct ArchivePlan {
    /// Events older than this, in microseconds; `None` for all ages.
    pub(crate) before: Option<i64>,
    /// Events of each aggregate that stay.
    pub(crate) keep_newest: u64,
    /// Only of this type, or of this aggregate.
    pub(crate) only: Option<(String, Option<String>)>,
    /// Whether their data is compressed.
    pub(crate) compress: bool,
    pub(crate) dry_run: bool,
}

/// What a step of archiving did.
#[derive(Clone, Debug, Default)]
pub(crate) struct Archived {
    pub(crate) events: u64,
    /// Aggregates of which everything that was asked for is archived now.
    pub(crate) aggregates: u64,
    /// Events that stayed because no snapshot replaces them: the aggregate, the last version that was asked for, their
    /// number, and why.
    pub(crate) kept: Vec<(AggregateRef, Version, u64, String)>,
}
