//! What of the log is where, and what it takes.

use std::fmt;

use crate::model::error::Result;
use crate::storage::lookup::{Removed, RemovedOf, TableSize};
use crate::store::Store;

impl Store {
    /// Which events of an aggregate are no longer in the main file: the purged ones, and those in the archive.
    ///
    /// ```
    /// use foldlog::{Expected, NewEvent, Store};
    /// let store = Store::in_memory()?;
    /// store.append("order", "o-1", Expected::New, [NewEvent::new("Placed", &())?])?;
    /// assert_eq!(store.removed("order", "o-1")?.purged_through, 0);
    /// # Ok::<(), foldlog::Error>(())
    /// ```
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn removed(&self, aggregate_type: impl AsRef<str>, aggregate_id: impl fmt::Display) -> Result<Removed> {
        let (tenant, aggregate_id) = (&self.scope.tenant, aggregate_id.to_string());
        let removed = self.scope.engine().removed(tenant, aggregate_type.as_ref(), &aggregate_id);
        removed.map_err(|error| error.during("removed"))
    }

    /// The aggregates of this tenant of which events were purged or archived, `limit` at most, in the order in which they
    /// had their first events.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn removed_aggregates(&self, limit: usize) -> Result<Vec<RemovedOf>> {
        let removed = self.scope.engine().removed_aggregates(&self.scope.tenant, limit);
        removed.map_err(|error| error.during("removed aggregates"))
    }

    /// What each table and each index takes in the main file, the largest first, those of the application included. Reads
    /// every page: some seconds for a file of gigabytes. Empty if the linked SQLite was built without `dbstat`; the bundled
    /// one has it.
    ///
    /// ```
    /// # let store = foldlog::Store::in_memory()?;
    /// for size in store.table_sizes()? {
    ///     println!("{:>12} {}", size.bytes, size.name);
    /// }
    /// # Ok::<(), foldlog::Error>(())
    /// ```
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn table_sizes(&self) -> Result<Vec<TableSize>> {
        self.scope.engine().table_sizes().map_err(|error| error.during("table sizes"))
    }
}
