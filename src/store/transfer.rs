//! Export and import of a store's events.

use std::io::{BufRead, Write};
use std::ops::ControlFlow;

use super::Store;
use crate::log::query::Events;
use crate::model::error::Result;
use crate::model::event::RecordedEvent;
use crate::transfer::copy;
use crate::transfer::export::{self, Export, ExportProgress};
use crate::transfer::import::{self, Import, ImportProgress};
use crate::transfer::table::Table;

impl Store {
    /// Writes events as lines of JSON, in the order of the query: see [`Export`]. `progress` is called after every 1,000
    /// events and can stop it; what was written stays.
    ///
    /// Events that are appended meanwhile are left out. [`Store::import`] makes the same log of it: the same events in the
    /// same order, with their ids, times, versions and commits.
    ///
    /// ```
    /// use std::ops::ControlFlow;
    /// use foldlog::{Expected, Import, NewEvent, Query, Store};
    ///
    /// let store = Store::in_memory()?;
    /// store.append("order", "o-1", Expected::New, [NewEvent::new("Placed", &())?])?;
    /// let mut lines = Vec::new();
    /// store.export(Query::new(), &mut lines, |_| ControlFlow::Continue(()))?;
    ///
    /// let copy = Store::in_memory()?;
    /// let done = copy.import(&Import::new(), &*lines, |_| ControlFlow::Continue(()))?;
    /// assert_eq!((done.appended, done.skipped), (1, 0));
    /// let again = copy.import(&Import::new(), &*lines, |_| ControlFlow::Continue(()))?;
    /// assert_eq!((again.appended, again.skipped), (0, 1));
    /// # Ok::<(), foldlog::Error>(())
    /// ```
    ///
    /// # Errors
    /// If the file cannot be read or an event is damaged; [`ErrorKind::Io`](crate::ErrorKind::Io) if `to` fails. What was
    /// written before stays.
    pub fn export(
        &self,
        export: impl Into<Export>,
        to: impl Write,
        progress: impl FnMut(&ExportProgress) -> ControlFlow<()>,
    ) -> Result<ExportProgress> {
        self.export_where(export, |_| true, to, progress)
    }

    /// As [`Store::export`], but only the events that `wanted` takes, for conditions that a [`Filter`](crate::Filter) cannot
    /// express.
    ///
    /// # Errors
    /// As [`Store::export`].
    pub fn export_where(
        &self,
        export: impl Into<Export>,
        wanted: impl FnMut(&RecordedEvent) -> bool,
        to: impl Write,
        progress: impl FnMut(&ExportProgress) -> ControlFlow<()>,
    ) -> Result<ExportProgress> {
        export::export(&self.scope, export.into(), to, wanted, progress).map_err(|error| error.during("export"))
    }

    /// Appends events from lines of JSON: see [`Import`]. The input is read once, and little of it is held in memory.
    ///
    /// Lines that stand together and name the same commit are appended together, all or none. Events that the log already
    /// has, by their ids, are skipped; so an import that was stopped, or that failed, is simply started again. A line
    /// without an id gets one that follows from its place in the input and its text. `progress` is called after each commit
    /// and can stop the import; what was appended stays.
    ///
    /// Times are those of the lines; a line without one gets that of the store's clock. To import fast, open the store with
    /// [`Durability::Fast`](crate::Durability::Fast), and call [`checkpoint`](crate::Maintenance::checkpoint) in the end.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`](crate::ErrorKind::InvalidInput) and
    /// [`ErrorKind::LimitExceeded`](crate::ErrorKind::LimitExceeded) with the number of a line that cannot be imported;
    /// [`ErrorKind::Conflict`](crate::ErrorKind::Conflict) if a line's version does not follow that of its aggregate here;
    /// [`ErrorKind::DuplicateEventId`](crate::ErrorKind::DuplicateEventId) if an id is in the log with other content; those
    /// of [`Aggregates::append`](crate::Aggregates::append). The commits before that stay.
    pub fn import(
        &self,
        import: &Import,
        from: impl BufRead,
        progress: impl FnMut(&ImportProgress) -> ControlFlow<()>,
    ) -> Result<ImportProgress> {
        import::import(&self.scope, import, from, progress).map_err(|error| error.during("import"))
    }

    /// Appends events of another store: those of a reading that `wanted` takes, in their order, with their ids, times and
    /// commits. Read [`Query::as_stored`](crate::Query::as_stored), or upcasters change what is copied. Commits are appended whole; events that the log already has, by their ids, are skipped, so the same copy
    /// again adds what came since. `import` can change names and the tenant. If events are left out in the middle of an
    /// aggregate, ask for [`Import::any_version`]: later versions then move up. `progress` is called after each commit, with
    /// the events read as its lines, and can stop the copy.
    ///
    /// ```
    /// use std::ops::ControlFlow;
    /// use foldlog::{Expected, Filter, Import, NewEvent, Query, Store};
    ///
    /// let shop = Store::in_memory()?;
    /// shop.append("order", "o-1", Expected::New, [NewEvent::new("Placed", &())?])?;
    /// let copy = Store::in_memory()?;
    /// let renamed = Import::new().rename_event_type("Placed", "OrderPlaced");
    /// let orders = Query::matching(Filter::new().aggregate_type("order")).as_stored();
    /// copy.copy_from(shop.read(orders), |_| true, &renamed, |_| ControlFlow::Continue(()))?;
    /// assert_eq!(&*copy.read(Query::new()).next().unwrap()?.event_type, "OrderPlaced");
    /// # Ok::<(), foldlog::Error>(())
    /// ```
    ///
    /// # Errors
    /// If an event cannot be read, with its commit not appended; otherwise as [`Store::import`]. The commits before that
    /// stay.
    pub fn copy_from(
        &self,
        events: Events,
        wanted: impl FnMut(&RecordedEvent) -> bool,
        import: &Import,
        progress: impl FnMut(&ImportProgress) -> ControlFlow<()>,
    ) -> Result<ImportProgress> {
        copy::copy(&self.scope, events, wanted, import, progress).map_err(|error| error.during("copy"))
    }

    /// As [`Store::import`], from the rows of a table, as PostgreSQL writes them: see [`Table`]. Rows must stand in the order
    /// of their events: `COPY (SELECT * FROM user_events ORDER BY "createdAt", version) TO STDOUT (FORMAT csv, HEADER)`.
    ///
    /// # Errors
    /// As [`Store::import`]; [`ErrorKind::InvalidInput`](crate::ErrorKind::InvalidInput) if a row lacks what an event has, with
    /// the number of its line.
    pub fn import_table(
        &self,
        table: &Table,
        import: &Import,
        from: impl BufRead,
        progress: impl FnMut(&ImportProgress) -> ControlFlow<()>,
    ) -> Result<ImportProgress> {
        import::import_table(&self.scope, table, import, from, progress).map_err(|error| error.during("import table"))
    }
}
