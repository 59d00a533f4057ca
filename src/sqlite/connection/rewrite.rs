//! Writes whole files anew, so that they hold nothing but their rows.

use super::database::Database;
use super::failure::Sql;
use super::open::Sync;
use crate::model::error::Result;
use crate::sqlite::transaction::View;

impl Database {
    /// Writes the file anew, in one transaction that keeps other writers waiting. Its pages go through the write-ahead log,
    /// which a WAL checkpoint must empty afterwards. Does nothing in memory.
    pub(crate) fn rewrite(&self) -> Result<()> {
        if self.path().is_none() {
            return Ok(());
        }
        let mut turn = self.wait_for_writer()?;
        let _locked = self.before_writing(&mut turn)?;
        self.ready(&mut turn.writer, Sync::Full)?.connection.execute_batch("VACUUM main").sql()
    }

    /// As [`Database::rewrite`], of the archive that this connection has attached.
    pub(crate) fn vacuum_archive(&self, view: &View<'_>) -> Result<()> {
        view.connection().execute_batch("VACUUM archive").sql()
    }
}
