//! Connections of their own, beside the writer and the readers that take turns.

use std::time::Duration;

use rusqlite::Connection;

use super::database::View;
use super::failure::Sql;
use super::names::Names;
use super::waiting;
use crate::model::error::Result;

/// See [`Database::anew`].
pub(crate) struct Anew {
    connection: Connection,
    names: Names,
    busy_timeout: Duration,
}

impl Anew {
    pub(super) fn new(connection: Connection, names: Names, busy_timeout: Duration) -> Anew {
        Anew { connection, names, busy_timeout }
    }

    /// Runs `work` in a read transaction.
    pub(crate) fn read<T>(&self, work: impl FnOnce(&View<'_>) -> Result<T>) -> Result<T> {
        waiting::up_to(self.busy_timeout);
        if !self.connection.is_autocommit() {
            self.connection.execute_batch("ROLLBACK").sql()?;
        }
        self.connection.prepare_cached("BEGIN").sql()?.execute([]).sql()?;
        let done = work(&View::new(&self.connection, &self.names));
        let ended = self.connection.execute_batch("COMMIT").sql();
        done.and_then(|value| ended.map(|()| value))
    }
}

/// See [`Database::watcher`].
pub(crate) struct Watcher {
    connection: Connection,
    busy_timeout: Duration,
}

impl Watcher {
    pub(super) fn new(connection: Connection, busy_timeout: Duration) -> Watcher {
        Watcher { connection, busy_timeout }
    }

    /// A number that changes with each commit of another connection.
    pub(crate) fn version(&self) -> Result<i64> {
        waiting::up_to(self.busy_timeout);
        data_version(&self.connection)
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
