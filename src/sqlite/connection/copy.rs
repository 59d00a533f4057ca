//! Copies a whole store into memory.

use rusqlite::backup::{Backup, StepResult};
use rusqlite::{Connection, MAIN_DB};

use super::database::Database;
use super::failure::Sql;
use crate::model::error::{Error, ErrorKind, Result};
use crate::options::Options;
use crate::sqlite::transaction::View;

/// The header bytes that say whether the file is read and written through a write-ahead log.
const JOURNAL_BYTES: std::ops::Range<usize> = 18..20;
const NO_WRITE_AHEAD_LOG: u8 = 1;

impl Database {
    /// A store in memory with everything that this file holds now. `complete` may change the copy before it is used.
    pub(crate) fn copy_pages_to_memory(
        &self,
        options: &Options,
        complete: impl FnOnce(&View<'_>) -> Result<()>,
    ) -> Result<Database> {
        self.read(|view| {
            Database::in_memory_from(options, |to| {
                match self.path() {
                    None => copy_pages(view.connection(), to)?,
                    Some(_) => {
                        let mut between = Connection::open_in_memory().sql()?;
                        copy_pages(view.connection(), &mut between)?;
                        drop_write_ahead_log(&mut between)?;
                        complete(&View::new(&between, view.names))?;
                        copy_pages(&between, to)?;
                    }
                }
                Ok(None)
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

/// Marks a copy as one without a write-ahead log: in memory there can be none.
fn drop_write_ahead_log(between: &mut Connection) -> Result<()> {
    let mut bytes = between.serialize(MAIN_DB).sql()?.to_vec();
    if let Some(journal) = bytes.get_mut(JOURNAL_BYTES) {
        journal.fill(NO_WRITE_AHEAD_LOG);
    }
    between.deserialize_read_exact(MAIN_DB, bytes.as_slice(), bytes.len(), false).sql()
}
