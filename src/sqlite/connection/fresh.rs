//! Separate connections, apart from the writer and the pooled readers.

use std::time::Duration;

use rusqlite::Connection;

use super::busy;
use super::failure::Sql;
use super::settled::Settled;
use crate::model::error::Result;
use crate::sqlite::names_cache::NamesCache;
use crate::sqlite::transaction::{View, data_version};

/// See [`Database::fresh`].
pub(crate) struct Fresh {
    connection: Connection,
    names: NamesCache,
    busy_timeout: Duration,
    settled: Option<Settled>,
}

impl Fresh {
    pub(super) fn new(connection: Connection, names: NamesCache, busy_timeout: Duration, settled: Option<Settled>) -> Fresh {
        Fresh { connection, names, busy_timeout, settled }
    }

    /// Runs `work` in a read transaction.
    pub(crate) fn read<T>(&self, work: impl FnOnce(&View<'_>) -> Result<T>) -> Result<T> {
        busy::up_to(self.busy_timeout);
        let _settled = self.settled.as_ref().map(Settled::reading);
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
    settled: Option<Settled>,
}

impl Watcher {
    pub(super) fn new(connection: Connection, busy_timeout: Duration, settled: Option<Settled>) -> Watcher {
        Watcher { connection, busy_timeout, settled }
    }

    /// A number that changes with each commit of another connection.
    pub(crate) fn version(&self) -> Result<i64> {
        busy::up_to(self.busy_timeout);
        let _settled = self.settled.as_ref().map(Settled::reading);
        data_version(&self.connection)
    }
}
