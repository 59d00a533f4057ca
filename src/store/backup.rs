//! Backups of a store.

use std::ops::ControlFlow;
use std::path::Path;

use super::Store;
use crate::maintenance::backup::{self, BackupProgress, Restored};
use crate::model::error::Result;
use crate::options::Options;
use crate::storage::repair::{RepairProgress, RepairReport};
use crate::transfer::repair;

impl Store {
    /// Copies the whole file, of all tenants, as it is now, to a path where there is no file yet, and its archive next to it,
    /// under the same name with `.archive`. Others may write meanwhile.
    /// The copy is made under another name beside its place, verified, and only then gets its name: what has the name is a
    /// whole, checked store.
    ///
    /// `progress` is called after every megabyte, and within the verification; if it stops the backup, there is no copy.
    ///
    /// ```
    /// use std::ops::ControlFlow;
    /// use foldlog::{Expected, NewEvent, Store};
    /// # let directory = tempfile::tempdir().unwrap();
    /// # let directory = directory.path();
    /// let store = Store::open(directory.join("shop.db"))?;
    /// store.append("order", "o-1", Expected::New, [NewEvent::new("Placed", &())?])?;
    /// store.backup(directory.join("monday.db"), |_| ControlFlow::Continue(()))?;
    ///
    /// Store::restore(directory.join("monday.db"), directory.join("again.db"), |_| ControlFlow::Continue(()))?;
    /// assert_eq!(Store::open(directory.join("again.db"))?.version("order", "o-1")?, 1);
    /// # Ok::<(), foldlog::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`](crate::ErrorKind::InvalidInput) if there is a file of that name, or its write-ahead log;
    /// [`ErrorKind::Corrupt`](crate::ErrorKind::Corrupt) if this file is damaged; [`ErrorKind::Io`](crate::ErrorKind::Io) and
    /// [`ErrorKind::DiskFull`](crate::ErrorKind::DiskFull). After any of them there is no copy.
    pub fn backup(
        &self,
        to: impl AsRef<Path>,
        mut progress: impl FnMut(&BackupProgress) -> ControlFlow<()>,
    ) -> Result<BackupProgress> {
        backup::backup(&self.scope, to.as_ref(), &mut progress).map_err(|error| error.during("backup"))
    }

    /// Copies a backup to where the store is to be, verifies the copy, and only then gives it its name. The backup is only
    /// read. A write-ahead log that was left there by an earlier file of the same name is moved away: it belongs to that file,
    /// and SQLite would apply it to this one.
    ///
    /// # Errors
    /// As [`Store::open_read_only`] for the backup, and as [`Store::backup`]. After any of them there is no file at `to`.
    pub fn restore(
        backup: impl AsRef<Path>,
        to: impl AsRef<Path>,
        mut progress: impl FnMut(&BackupProgress) -> ControlFlow<()>,
    ) -> Result<Restored> {
        let backup = Options::new().open_read_only(backup)?;
        backup::restore(&backup.scope, to.as_ref(), false, &mut progress).map_err(|error| error.during("restore"))
    }

    /// As [`Store::restore`], for a copy that is to live beside the original: it gets an identity of its own before it gets its
    /// name. What it appends has another [`origin`](crate::RecordedEvent::origin); earlier events keep theirs.
    ///
    /// # Errors
    /// As [`Store::restore`].
    pub fn restore_as_new(
        backup: impl AsRef<Path>,
        to: impl AsRef<Path>,
        mut progress: impl FnMut(&BackupProgress) -> ControlFlow<()>,
    ) -> Result<Restored> {
        let backup = Options::new().open_read_only(backup)?;
        backup::restore(&backup.scope, to.as_ref(), true, &mut progress).map_err(|error| error.during("restore"))
    }

    /// Makes a new store of what can be read of a damaged file, and reports what was lost. The damaged file, its write-ahead log and
    /// its archive are only read: work on a copy of the disk all the same, if the disk itself is failing.
    ///
    /// Every event must have the right checksum. Events are also found on pages that SQLite does not find any more; archived ones are
    /// brought back. Indexes and summaries are made anew, and the new file is verified before it gets its name.
    ///
    /// A replay never leaves an event out. If events are lost in the middle of an aggregate, it loads only from a snapshot
    /// behind them; the events before them are written as lines of JSON to a file next to the new one. If its last events are known to
    /// be lost, it fails with [`ErrorKind::EventsLost`](crate::ErrorKind::EventsLost) until that is
    /// [accepted](crate::Maintenance::accept_losses); histories and queries show what is left. Projections begin anew.
    ///
    /// `progress` can stop it; then there is no new file.
    ///
    /// ```
    /// use std::ops::ControlFlow;
    /// use foldlog::{Expected, NewEvent, Store};
    /// # let directory = tempfile::tempdir().unwrap();
    /// # let directory = directory.path();
    /// # let store = Store::open(directory.join("damaged.db"))?;
    /// # store.append("order", "o-1", Expected::New, [NewEvent::new("Placed", &())?])?;
    /// # drop(store);
    /// let report = Store::repair(directory.join("damaged.db"), directory.join("new.db"), |_| ControlFlow::Continue(()))?;
    /// for lost in &report.lost {
    ///     eprintln!("{} lost its events {} to {}", lost.aggregate, lost.first, lost.last);
    /// }
    /// assert_eq!((report.events, report.events_lost), (1, 0));
    /// # Ok::<(), foldlog::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`](crate::ErrorKind::InvalidInput) if there is a file at `to`;
    /// [`ErrorKind::Io`](crate::ErrorKind::Io) and [`ErrorKind::DiskFull`](crate::ErrorKind::DiskFull). After any of them there is
    /// no file at `to`.
    pub fn repair(
        damaged: impl AsRef<Path>,
        to: impl AsRef<Path>,
        progress: impl FnMut(&RepairProgress) -> ControlFlow<()>,
    ) -> Result<RepairReport> {
        Options::new().repair(damaged, to, progress)
    }
}

impl Options {
    /// As [`Store::repair`], with options: where the [archive](Options::archive_path) of the damaged file is, for example.
    ///
    /// # Errors
    /// As there.
    pub fn repair(
        &self,
        damaged: impl AsRef<Path>,
        to: impl AsRef<Path>,
        mut progress: impl FnMut(&RepairProgress) -> ControlFlow<()>,
    ) -> Result<RepairReport> {
        repair::repair(damaged.as_ref(), to.as_ref(), self, &mut progress).map_err(|error| error.during("repair"))
    }
}
