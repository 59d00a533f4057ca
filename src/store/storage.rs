//! What of the log is where, and what it takes.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::ControlFlow;

use crate::model::error::Result;
use crate::model::place::Version;
use crate::storage::lookup::{AggregateSize, Removed, RemovedOf, Rows, SizeReport, TableSize};
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

    /// What an aggregate takes: its events and its snapshots, as in [`Store::size_report`]. `None` if it never had events. Looks at
    /// the beginning of each of its rows.
    ///
    /// ```
    /// use foldlog::{Expected, NewEvent, Store};
    /// let store = Store::in_memory()?;
    /// store.append("order", "o-1", Expected::New, [NewEvent::new("Placed", &"a large order")?])?;
    /// let size = store.aggregate_size("order", "o-1")?.unwrap();
    /// assert_eq!((size.room.events, size.room.event_bytes, size.room.snapshots), (1, 15, 0));
    /// # Ok::<(), foldlog::Error>(())
    /// ```
    ///
    /// # Errors
    /// If the file cannot be read; [`ErrorKind::ArchiveMissing`](crate::ErrorKind::ArchiveMissing) if the archive that holds
    /// some of its events is not there.
    pub fn aggregate_size(
        &self,
        aggregate_type: impl AsRef<str>,
        aggregate_id: impl fmt::Display,
    ) -> Result<Option<AggregateSize>> {
        let (tenant, aggregate_id) = (&self.scope.tenant, aggregate_id.to_string());
        let size = self.scope.engine().aggregate_size(tenant, aggregate_type.as_ref(), &aggregate_id);
        size.map_err(|error| error.during("aggregate size"))
    }

    /// The version of an aggregate's newest snapshot, whichever fold made it; `None` if it has none. Does not read the state.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn newest_snapshot(&self, aggregate_type: impl AsRef<str>, aggregate_id: impl fmt::Display) -> Result<Option<Version>> {
        let (tenant, aggregate_id) = (&self.scope.tenant, aggregate_id.to_string());
        let newest = self.scope.engine().newest_snapshot(tenant, aggregate_type.as_ref(), &aggregate_id);
        newest.map(|version| version.map(Version::new)).map_err(|error| error.during("newest snapshot"))
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

    /// Which aggregate types and which aggregates take the room, of all tenants: the bytes of events and snapshots, without
    /// keys and indexes, for which see [`Store::table_sizes`]. `top` aggregates are named, the largest in the main file first.
    /// Looks at every row, but reads no payload; remembers a few numbers for each aggregate.
    ///
    /// `progress` is called after some thousand rows, with the number of aggregates met; if it stops, so does the measuring, and
    /// the report tells of what was measured so far.
    ///
    /// ```
    /// use std::ops::ControlFlow;
    /// use foldlog::{Expected, NewEvent, Store};
    /// let store = Store::in_memory()?;
    /// store.append("order", "o-1", Expected::New, [NewEvent::new("Placed", &"a large order")?])?;
    /// let report = store.size_report(10, |_| ControlFlow::Continue(()))?;
    /// assert_eq!((&*report.types[0].aggregate_type, report.types[0].room.event_bytes), ("order", 15));
    /// assert_eq!(&*report.aggregates[0].aggregate.aggregate_id, "o-1");
    /// # Ok::<(), foldlog::Error>(())
    /// ```
    ///
    /// # Errors
    /// If the file cannot be read; [`ErrorKind::ArchiveMissing`](crate::ErrorKind::ArchiveMissing) if it has an archive that is
    /// not there.
    pub fn size_report(&self, top: usize, mut progress: impl FnMut(u64) -> ControlFlow<()>) -> Result<SizeReport> {
        let engine = self.scope.engine();
        let mut rooms = BTreeMap::new();
        let mut measure = || -> Result<()> {
            for rows in [Rows::Events, Rows::Archived, Rows::Snapshots] {
                let mut after = Some(0);
                while let Some(key) = after {
                    after = engine.measure(rows, key, &mut rooms)?;
                    if progress(rooms.len() as u64).is_break() {
                        return Ok(());
                    }
                }
            }
            Ok(())
        };
        measure().and_then(|()| engine.size_report(&rooms, top)).map_err(|error| error.during("size report"))
    }
}
