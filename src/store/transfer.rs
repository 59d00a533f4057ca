//! Export and import of a store's events.

use std::io::{BufRead, Write};
use std::ops::ControlFlow;

use super::Store;
use crate::model::error::Result;
use crate::model::event::RecordedEvent;
use crate::transfer::export::{self, Export, ExportProgress};
use crate::transfer::import::{self, Import, ImportProgress};

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
}
