//! Connections of their own, beside the writer and the readers that take turns.

use rusqlite::Connection;

use super::database::View;
use super::failure::Sql;
use super::names::Names;
use crate::error::Result;

/// See [`Database::anew`].
pub(crate) struct Anew {
    connection: Connection,
    names: Names,
}

impl Anew {
    pub(super) fn new(connection: Connection, names: Names) -> Anew {
        Anew { connection, names }
    }

    /// Runs `work` in a read transaction.
    pub(crate) fn read<T>(&self, work: impl FnOnce(&View<'_>) -> Result<T>) -> Result<T> {
        if !self.connection.is_autocommit() {
            self.connection.execute_batch("ROLLBACK").sql()?;
        }
        self.connection.prepare_cached("BEGIN").sql()?.execute([]).sql()?;
        let done = work(&View { connection: &self.connection, names: &self.names, committed: true });
        let ended = self.connection.execute_batch("COMMIT").sql();
        done.and_then(|value| ended.map(|()| value))
    }
}

/// See [`Database::watcher`].
pub(crate) struct Watcher(Connection);

impl Watcher {
    pub(super) fn new(connection: Connection) -> Watcher {
        Watcher(connection)
    }

    /// A number that changes with each commit of another connection.
    pub(crate) fn version(&self) -> Result<i64> {
        data_version(&self.0)
    }
}

/// A number that changes when another connection has committed.
pub(super) fn data_version(connection: &Connection) -> Result<i64> {
    connection.prepare_cached("PRAGMA data_version").sql()?.query_row([], |row| row.get(0)).sql()
}

/// What a checkpoint left in the write-ahead log.
pub(crate) struct Frames {
    /// Pages that a reader still needs there.
    pub(crate) left: u64,
    pub(crate) complete: bool,
}
