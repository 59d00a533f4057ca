//! Erasing, and what was erased.

use std::fmt;
use std::ops::ControlFlow;

use super::Store;
use super::maintenance::Maintenance;
use crate::log::gauges;
use crate::maintenance::erase::{self, Erase, EraseReport, WipeReport};
use crate::model::error::Result;
use crate::storage::erasure::Erasure;

/// The most records that one call returns.
const ERASURES_AT_ONCE: usize = 10_000;

impl Maintenance {
    /// Erases an aggregate, or fields of events, of this tenant for good: from the events, in the archive too, snapshots,
    /// indexes, dead letters and texts of errors. Then it [wipes](Maintenance::wipe) the files, unless
    /// [`Erase::without_wiping`] is set. A record of who, when, why and what stays: [`Store::erasures`].
    ///
    /// Positions and versions stay valid. Whose fields were erased can still be loaded, and
    /// [`RecordedEvent::erased_fields`](crate::RecordedEvent::erased_fields) says so; who was erased as a whole cannot, and
    /// nothing is appended to it, until [`forget_name`](Maintenance::forget_name) frees its name. The tables of projections
    /// are the application's: the report names those that it must rebuild before a wipe is complete. Archived events whose
    /// fields are erased come back to the main file.
    ///
    /// Not reached: backups, exports, copies by other readers, events of other aggregates that name this one, and what a file
    /// system or a disk keeps of overwritten files.
    ///
    /// If the process dies, the same call goes on where it was; so does a wipe.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`](crate::ErrorKind::NotFound) if the aggregate never had events;
    /// [`ErrorKind::HistoryRemoved`](crate::ErrorKind::HistoryRemoved) if fields are to be erased of an aggregate whose first
    /// events were purged; [`ErrorKind::InvalidInput`](crate::ErrorKind::InvalidInput) for a field that is no JSON pointer;
    /// [`ErrorKind::ArchiveMissing`](crate::ErrorKind::ArchiveMissing); and if a file cannot be written. What was erased before
    /// stays erased.
    pub fn erase(&self, plan: Erase) -> Result<EraseReport> {
        self.erase_by_steps(plan, |_| ControlFlow::Continue(()))
    }

    /// As [`Maintenance::erase`]. `progress` is called after each transaction and can stop it; the same call goes on. The wipe
    /// at the end cannot be stopped.
    ///
    /// # Errors
    /// As [`Maintenance::erase`].
    pub fn erase_by_steps(&self, plan: Erase, progress: impl FnMut(&EraseReport) -> ControlFlow<()>) -> Result<EraseReport> {
        let done = erase::erase(self.scope(), &plan, progress).map_err(|error| error.during("erase"));
        self.scope().log.appended.raise();
        let _ = gauges::refresh(self.scope());
        done
    }

    /// Makes what was erased unreadable in the store's files: finishes erasures that a dead process has begun, deletes unused
    /// rows of the archive, writes both files anew and empties the write-ahead log. Nothing happens if nothing was erased
    /// since the last wipe.
    ///
    /// Writing the main file anew (SQLite's `VACUUM`) is one transaction: readers go on, other writers wait, and the disk needs
    /// space for two more copies of it for a while. The application's own tables keep their content; rows without an
    /// `INTEGER PRIMARY KEY` may get other rowids.
    ///
    /// # Errors
    /// [`ErrorKind::Busy`](crate::ErrorKind::Busy), [`ErrorKind::DiskFull`](crate::ErrorKind::DiskFull) and others if a file
    /// cannot be written. Wipe again then; nothing else is lost.
    pub fn wipe(&self) -> Result<WipeReport> {
        erase::wipe(self.scope()).map_err(|error| error.during("wipe"))
    }

    /// Gives an erased aggregate a name that says nothing, and so frees its own: the next append under it begins a new
    /// aggregate at version 1. Call it once all readers have seen the erasure, and [wipe](Maintenance::wipe) afterwards if the
    /// name itself is to be forgotten.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`](crate::ErrorKind::NotFound) if there is no such aggregate,
    /// [`ErrorKind::InvalidInput`](crate::ErrorKind::InvalidInput) if it was not erased; if the file cannot be written.
    pub fn forget_name(&self, aggregate_type: impl AsRef<str>, aggregate_id: impl fmt::Display) -> Result<()> {
        let (aggregate_type, aggregate_id) = (aggregate_type.as_ref(), &*aggregate_id.to_string());
        let scope = self.scope();
        scope
            .engine()
            .forget_name(&scope.tenant, (aggregate_type, aggregate_id))
            .map_err(|error| error.during("forget name").of(&scope.aggregate(aggregate_type, aggregate_id)))
    }
}

impl Store {
    /// The finished erasures of this tenant after a number, in order, 10,000 at most. A reader that keeps copies of events
    /// keeps the last number too, and asks for later ones whenever it reads: it cannot miss one, also if it was away.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn erasures(&self, after: u64) -> Result<Vec<Erasure>> {
        let engine = self.scope.engine();
        engine.erasures(&self.scope.tenant, after, ERASURES_AT_ONCE).map_err(|error| error.during("erasures"))
    }
}
