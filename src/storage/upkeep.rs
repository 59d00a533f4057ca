//! Purging, making indexes anew, checking: what is asked of an engine and what it answers.

use crate::model::place::{AggregateRef, Version};

/// What to purge.
#[derive(Clone, Debug)]
pub(crate) struct PurgePlan {
    /// Events older than this, in microseconds.
    pub(crate) before: i64,
    /// Only of this type, or of this aggregate.
    pub(crate) only: Option<(String, Option<String>)>,
    pub(crate) break_replay: bool,
    pub(crate) pass_readers: bool,
    pub(crate) dry_run: bool,
}

/// What a page of a purge did.
#[derive(Clone, Debug, Default)]
pub(crate) struct Purged {
    pub(crate) events_removed: u64,
    pub(crate) aggregates_purged: u64,
    /// Events that stayed because no snapshot stands in for them; of which aggregate, and up to which version they are old.
    pub(crate) kept: Vec<(AggregateRef, Version, u64)>,
    pub(crate) events_held_back: u64,
    /// Who held events back: name, whether it reads all tenants, how many.
    pub(crate) held_back_by: Vec<(String, bool, u64)>,
    /// Aggregates whose replay no longer works, because it was asked for.
    pub(crate) broken: Vec<AggregateRef>,
}

/// What a WAL checkpoint left.
#[derive(Clone, Copy, Debug)]
pub(crate) struct WalFrames {
    /// Pages that a reader still needs there.
    pub(crate) left: u64,
    pub(crate) complete: bool,
}

/// How far the making of indexes has come.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reindexed {
    pub(crate) events: u64,
    pub(crate) total: u64,
}
