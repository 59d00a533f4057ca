//! Copies a whole store into memory.

use rusqlite::backup::{Backup, StepResult};
use rusqlite::{Connection, MAIN_DB};

use super::database::Database;
use super::failure::Sql;
use crate::model::error::{Error, ErrorKind, Result};
use crate::options::Options;

/// The header bytes that say whether the file is read and written through a write-ahead log.
const JOURNAL_BYTES: std::ops::Range<usize> = 18..20;
const NO_WRITE_AHEAD_LOG: u8 = 1;

impl Database {
    /// A store in memory with everything that this one holds now.
    pub(crate) fn copy_to_memory(&self, options: &Options) -> Result<Database> {
        self.read(|view| {
            let view = view.connection();
            Database::in_memory_from(options, |to| match self.path() {
                None => copy_pages(view, to),
                Some(_) => copy_pages(&without_write_ahead_log(view)?, to),
            })
        })
    }
}

fn copy_pages(from: &Connection, to: &mut Connection) -> Result<()> {
    let backup = Backup::new(from, to).sql()?;
    match backup.step(-1).sql()? {
        StepResult::Done => Ok(()),
        _ => Err(Error::new(ErrorKind::Busy, "the store is being written to")),
    }
}

/// Copies the file's pages into memory, where there can be no write-ahead log.
fn without_write_ahead_log(from: &Connection) -> Result<Connection> {
    let mut between = Connection::open_in_memory().sql()?;
    copy_pages(from, &mut between)?;
    let mut bytes = between.serialize(MAIN_DB).sql()?.to_vec();
    if let Some(journal) = bytes.get_mut(JOURNAL_BYTES) {
        journal.fill(NO_WRITE_AHEAD_LOG);
    }
    between.deserialize_read_exact(MAIN_DB, bytes.as_slice(), bytes.len(), true).sql()?;
    Ok(between)
}
