//! Upkeep: clean-up, purge, indexes, the write-ahead log, verification.

use std::ops::ControlFlow;
use std::path::Path;

use uuid::Uuid;

use super::Engine;
use crate::model::audit_digest::AuditDigest;
use crate::model::error::Result;
use crate::model::place::AggregateRef;
use crate::storage::erasure::{EraseOrder, ErasedPart, Erasure, Wiped};
use crate::storage::upkeep::{ArchivePlan, Archived, Copied, PurgeCandidate, PurgePlan, Purged, ReindexProgress, WalCheckpoint};
use crate::storage::verify::{Verified, VerifyProgress, VerifyReport};

verbs! {
    /// The next aggregates of a tenant, after a number, that have events to purge. Also returns the number to continue
    /// from: `None` at the end.
    fn purge_candidates(&self, tenant: &str, plan: &PurgePlan, after: i64) -> Result<(Vec<PurgeCandidate>, Option<i64>)>;
    /// Purges these aggregates of a tenant in one transaction.
    fn purge(&self, tenant: &str, plan: &PurgePlan, candidates: &[PurgeCandidate]) -> Result<Purged>;
    /// Forgets the next ids of a tenant's events that were purged before, after a position. Returns how many, and the
    /// position to continue from: `None` at the end.
    fn forget_ids(&self, tenant: &str, plan: &PurgePlan, after: u64) -> Result<(u64, Option<u64>)>;
    /// Archives the next events of a tenant, of aggregates after a number. Returns what it did, and the number to
    /// continue from: `None` at the end.
    fn archive(&self, tenant: &str, plan: &ArchivePlan, after: i64) -> Result<(Archived, Option<i64>)>;
    /// Moves archived events of a tenant back, of aggregates after a number. Returns how many, and the number to continue
    /// from: `None` at the end.
    fn unarchive(&self, tenant: &str, only: Option<(&str, &str)>, after: i64) -> Result<(u64, Option<i64>)>;
    /// Erases the next part of an aggregate. An erasure of it that was begun before is finished first.
    fn erase_part(&self, tenant: &str, names: (&str, &str), order: &EraseOrder) -> Result<ErasedPart>;
    /// The aggregates with an unfinished erasure, of all tenants.
    fn begun_erasures(&self) -> Result<Vec<AggregateRef>>;
    /// The finished erasures of a tenant after a number, `limit` at most.
    fn erasures(&self, tenant: &str, after: u64, limit: usize) -> Result<Vec<Erasure>>;
    /// Forgets the name of an erased aggregate.
    fn forget_name(&self, tenant: &str, names: (&str, &str)) -> Result<()>;
    /// The number of the newest erasure; 0 if there is none.
    fn newest_erasure(&self) -> Result<u64>;
    /// The finished erasures that are not wiped, and the projections that must be rebuilt before they can be.
    fn unwiped(&self) -> Result<Wiped>;
    /// Notes that the traces of erasures are removed: of those that no projection holds, up to a number.
    fn note_wiped(&self, through: u64) -> Result<()>;
    /// Deletes some rows of the archive that nothing leads to. Returns how many, and where to continue: `None` at the end.
    fn sweep_archive(&self, after: i64) -> Result<(u64, Option<i64>)>;
    /// Counts the rows of the archive that the main file knows nothing of. They may be the only copies of their events.
    fn unknown_archived(&self) -> Result<u64>;
    /// Writes the archive anew, if there is one.
    fn rewrite_archive(&self) -> Result<()>;
    /// Writes the file anew.
    fn rewrite(&self) -> Result<()>;
    /// Runs a WAL checkpoint: moves the write-ahead log into the file and empties it. `None` if there is no such log.
    fn checkpoint(&self) -> Result<Option<WalCheckpoint>>;
    /// Gives some free pages back to the file system. Returns how many, and how many free ones are left.
    fn compact(&self) -> Result<(u64, u64)>;
    /// As `compact`, of the archive, if there is one.
    fn compact_archive(&self) -> Result<(u64, u64)>;
    /// When the scheduled upkeep ran last, in microseconds; 0: never.
    fn maintained_at(&self) -> Result<i64>;
    /// Records that the scheduled upkeep has run.
    fn note_maintained(&self, at_micros: i64) -> Result<()>;
    /// Gives the file a new identity; returns it.
    fn renew_replica(&self) -> Result<Uuid>;
    /// Free pages in the file.
    fn free_pages(&self) -> Result<u64>;
    /// The size of the write-ahead log, in bytes; 0 if there is none.
    fn wal_bytes(&self) -> u64;
    /// Checks the whole log, of all tenants.
    fn verify(&self, progress: &mut dyn FnMut(VerifyProgress) -> ControlFlow<()>) -> Result<VerifyReport>;
    /// What the last noted verification found; `None` if none was noted.
    fn verified(&self) -> Result<Option<Verified>>;
    /// Notes what a verification found.
    fn note_verified(&self, verified: &Verified) -> Result<()>;
    /// Accepts that an aggregate of a tenant, or every one of it, ends with the last event that a repair found. Returns of how
    /// many aggregates the last events were lost.
    fn accept_losses(&self, tenant: &str, only: Option<(&str, &str)>) -> Result<u64>;
    /// The end of the audit chain; `None` if the file has none.
    fn chain_end(&self) -> Result<Option<AuditDigest>>;
    /// The link of the audit chain at a position; `None` if it has none there.
    fn chain_at(&self, position: u64) -> Result<Option<AuditDigest>>;
    /// Recreates every index from the events. If `progress` stops it, nothing is changed.
    fn reindex(&self, progress: &mut dyn FnMut(ReindexProgress) -> ControlFlow<()>) -> Result<ReindexProgress>;
}

impl Engine {
    /// Records that the scheduled clean-up runs now, if it is due by the time of its last run (microseconds; 0: never).
    /// Returns the tenants whose snapshots are to be checked.
    pub(crate) fn begin_expiry(&self, now: i64, is_due: impl Fn(i64) -> bool) -> Result<Vec<String>> {
        match self {
            Engine::Sqlite(database) => database.begin_expiry(now, is_due),
        }
    }

    /// Copies the log as it is now into an empty file. `progress` returns whether to go on; if it stops, the result is
    /// `false`.
    pub(crate) fn copy_to_file(&self, to: &Path, progress: impl FnMut(Copied) -> bool) -> Result<bool> {
        match self {
            Engine::Sqlite(database) => database.copy_to_file(to, progress),
        }
    }

    /// As `copy_to_file`, of the archive, after it; `None` if no event is archived.
    pub(crate) fn copy_archive_to_file(&self, to: &Path, progress: impl FnMut(Copied) -> bool) -> Result<Option<bool>> {
        match self {
            Engine::Sqlite(database) => database.copy_archive_to_file(to, progress),
        }
    }
}
