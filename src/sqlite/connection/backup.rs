//! Copies the whole file into another one while others write.

use std::path::Path;

use rusqlite::backup::{Backup, StepResult};
use rusqlite::{Connection, MAIN_DB};

use super::database::Database;
use super::failure::Sql;
use crate::model::error::{Error, ErrorKind, Result};
use crate::sqlite::tables::{archive, positions};
use crate::storage::upkeep::Copied;

/// Pages copied between two calls of `progress`: 1 MiB.
const PAGES_AT_ONCE: i32 = 256;

impl Database {
    /// Copies the log as it is now into an empty file. `progress` returns whether to go on; if it stops, the file is useless
    /// and the result is `false`.
    ///
    /// One read transaction covers the copy, so that writers do not make it start again. The write-ahead log grows
    /// meanwhile.
    pub(crate) fn copy_to_file(&self, to: &Path, mut progress: impl FnMut(Copied) -> bool) -> Result<bool> {
        let mut copy = Connection::open(to).sql()?;
        // The caller makes the file durable when it is whole; a crash before that leaves nothing to recover.
        copy.execute_batch("PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF;").sql()?;
        self.read(|view| {
            // The first read begins the transaction; without it each step would see a file of its own.
            let last_position = positions::last(view)?;
            let backup = Backup::new(view.connection(), &mut copy).sql()?;
            all_pages(&backup, last_position, &mut progress)
        })
    }

    /// As [`Database::copy_to_file`], of the archive; `None` if no event is archived. Call it after the main file was copied:
    /// what left that file since is then in the copy of the archive as well.
    pub(crate) fn copy_archive_to_file(&self, to: &Path, mut progress: impl FnMut(Copied) -> bool) -> Result<Option<bool>> {
        self.read(|view| {
            if positions::removed(view)?.1 == 0 {
                return Ok(None);
            }
            archive::attach(view)?;
            let mut copy = Connection::open(to).sql()?;
            copy.execute_batch("PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF;").sql()?;
            let last_position = positions::last(view)?;
            let backup = Backup::new_with_names(view.connection(), c"archive", &mut copy, MAIN_DB).sql()?;
            all_pages(&backup, last_position, &mut progress).map(Some)
        })
    }
}

/// Copies page after page. `progress` returns whether to go on; if it stops, the result is `false`.
fn all_pages(backup: &Backup<'_, '_>, last_position: u64, progress: &mut impl FnMut(Copied) -> bool) -> Result<bool> {
    loop {
        let step = backup.step(PAGES_AT_ONCE).sql()?;
        let reached = backup.progress();
        let (pages, left) = (u64::from(reached.pagecount.unsigned_abs()), u64::from(reached.remaining.unsigned_abs()));
        if !progress(Copied { pages: pages.saturating_sub(left), total: pages, last_position }) {
            return Ok(false);
        }
        match step {
            StepResult::Done => return Ok(true),
            StepResult::More => {}
            _ => return Err(Error::new(ErrorKind::Busy, "another process has locked the whole file").advice("try again")),
        }
    }
}
