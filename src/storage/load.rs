//! Loading an aggregate: a snapshot, then the events after it, one by one.

use super::snapshots::{FoldId, SnapshotRow};
use crate::model::error::Result;
use crate::model::place::Version;

/// How far to load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Until {
    Now,
    Version(u64),
    /// Events created at or before this time, in microseconds.
    Time(i64),
    /// Events at or before this position.
    Position(u64),
}

impl Until {
    /// The highest version that may be looked at.
    pub(crate) fn through(self) -> u64 {
        match self {
            Until::Version(version) => version,
            Until::Now | Until::Time(_) | Until::Position(_) => Version::MAX.get(),
        }
    }
}

/// A request to load an aggregate.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LoadRequest<'a> {
    pub(crate) tenant: &'a str,
    pub(crate) aggregate_type: &'a str,
    pub(crate) aggregate_id: &'a str,
    pub(crate) until: Until,
    /// The fold whose snapshots may be used; `None` if none may.
    pub(crate) snapshots_of: Option<FoldId<'a>>,
    /// Whether metadata and positions are needed; they cost a read of the whole row.
    pub(crate) with_context: bool,
}

/// An event to fold.
#[derive(Clone, Copy)]
pub(crate) struct FoldedEvent<'a> {
    pub(crate) version: u64,
    pub(crate) event_type: &'a str,
    pub(crate) created_at: i64,
    pub(crate) data: &'a str,
    /// Only if requested.
    pub(crate) position: Option<u64>,
    /// JSON; only if requested.
    pub(crate) metadata: Option<&'a str>,
}

/// Receives what is loaded.
pub(crate) trait Loader {
    /// Offers a snapshot, newest first: those of the request's fold and, if none of them is used, the others. Returns
    /// whether it is used; after that only events follow.
    fn offer(&mut self, snapshot: SnapshotRow) -> bool;

    /// Applies the next event.
    fn apply(&mut self, event: FoldedEvent<'_>) -> Result<()>;
}

/// The result of a load.
#[derive(Clone, Debug)]
pub(crate) struct Loaded {
    /// The version of the last event in the state.
    pub(crate) version: u64,
    /// The version of the snapshot that was used.
    pub(crate) from_snapshot: Option<u64>,
    pub(crate) events_folded: u64,
    /// The greatest time of events 1 to `version`, in microseconds.
    pub(crate) latest_event_at: i64,
    /// The number of the newest erasure when it was loaded.
    pub(crate) newest_erasure: i64,
}
