//! Copies the whole file into another one while others write.

use std::path::Path;

use rusqlite::Connection;
use rusqlite::backup::{Backup, StepResult};

use super::database::Database;
use super::failure::Sql;
use crate::model::error::{Error, ErrorKind, Result};
use crate::sqlite::tables::positions;
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
        })
    }
}
