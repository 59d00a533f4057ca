//! What concerns a file as a whole: writes it anew, so that it holds nothing but its rows, and gives it a new identity.

use uuid::Uuid;

use super::database::Database;
use super::failure::Sql;
use super::open::Sync;
use crate::model::error::Result;
use crate::sqlite::tables::log_state;
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
        // SQLite shortens a file with a rollback journal only after it has waited for the disk, so a power cut could bring the
        // end back. Another write waits for the disk once more: a mark that is always written, also with the value it has.
        view.connection().execute_batch("VACUUM archive; PRAGMA archive.user_version = 1").sql()
    }

    /// Gives the file a new identity; returns it.
    pub(crate) fn renew_replica(&self) -> Result<Uuid> {
        let replica = self.write(log_state::renew_replica)?;
        self.names.set_replica(replica);
        Ok(replica.replica_id)
    }
}
