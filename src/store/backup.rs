//! Backups of a store.

use std::ops::ControlFlow;
use std::path::Path;

use super::Store;
use crate::maintenance::backup::{self, BackupProgress, Restored};
use crate::model::error::Result;
use crate::options::Options;

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
}
