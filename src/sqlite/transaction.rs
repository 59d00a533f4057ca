//! Transactions: reading ([`View`]) and writing ([`Writing`]).
//!
//! Statements are prepared once for each connection and kept. Errors are converted here, so that no other file has to
//! do it.

use std::cell::{Cell, RefCell, RefMut};
use std::ops::Deref;

use rusqlite::types::FromSql;
use rusqlite::{CachedStatement, Connection, OptionalExtension, Params, Row};

use super::connection::failure::Sql;
use super::ends::Ends;
use super::names_cache::{NamesCache, NewNames};
use crate::metrics::{self, Timer};
use crate::model::error::{Error, ErrorKind, Result};

/// What a transaction of either kind sees.
pub(crate) struct View<'a> {
    connection: &'a Connection,
    pub(super) names: &'a NamesCache,
    /// Whether everything it sees is committed. A write transaction also sees rows that may be rolled back.
    pub(super) committed: bool,
}

impl<'a> View<'a> {
    pub(super) fn new(connection: &'a Connection, names: &'a NamesCache) -> View<'a> {
        View { connection, names, committed: true }
    }

    /// The connection itself, for the application's own statements and for PRAGMAs.
    pub(super) fn connection(&self) -> &'a Connection {
        self.connection
    }

    pub(super) fn prepare(&self, sql: &str) -> Result<CachedStatement<'a>> {
        self.connection.prepare_cached(sql).sql()
    }

    /// The single row of a query.
    pub(super) fn row<T>(&self, sql: &str, params: impl Params, read: impl FnOnce(&Row<'_>) -> rusqlite::Result<T>) -> Result<T> {
        self.prepare(sql)?.query_row(params, read).sql()
    }

    /// The first row of a query, if it has one.
    pub(super) fn row_if_any<T>(
        &self,
        sql: &str,
        params: impl Params,
        read: impl FnOnce(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Option<T>> {
        self.prepare(sql)?.query_row(params, read).optional().sql()
    }

    /// The first column of a query's single row.
    pub(super) fn value<T: FromSql>(&self, sql: &str, params: impl Params) -> Result<T> {
        self.row(sql, params, |row| row.get(0))
    }

    /// The first column of the first row of a query, if it has one.
    pub(super) fn value_if_any<T: FromSql>(&self, sql: &str, params: impl Params) -> Result<Option<T>> {
        self.row_if_any(sql, params, |row| row.get(0))
    }

    /// All rows of a query.
    pub(super) fn rows<T>(
        &self,
        sql: &str,
        params: impl Params,
        read: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Vec<T>> {
        let mut statement = self.prepare(sql)?;
        let rows = statement.query_map(params, read).sql()?;
        rows.collect::<rusqlite::Result<_>>().sql()
    }

    /// Passes the rows of a query to `each`, one by one, until it returns `false`.
    pub(super) fn each_row(&self, sql: &str, params: impl Params, mut each: impl FnMut(&Row<'_>) -> Result<bool>) -> Result<()> {
        let mut statement = self.prepare(sql)?;
        let mut rows = statement.query(params).sql()?;
        while let Some(row) = rows.next().sql()? {
            if !each(row)? {
                break;
            }
        }
        Ok(())
    }
}

/// A number that changes when another connection has committed.
pub(super) fn data_version(connection: &Connection) -> Result<i64> {
    connection.prepare_cached("PRAGMA data_version").sql()?.query_row([], |row| row.get(0)).sql()
}

/// Reads a row's columns with our errors.
pub(super) trait Columns {
    fn at<T: FromSql>(&self, column: usize) -> Result<T>;
}

impl Columns for Row<'_> {
    fn at<T: FromSql>(&self, column: usize) -> Result<T> {
        self.get(column).sql()
    }
}

/// A write transaction. It is rolled back when dropped, unless it was committed.
pub(crate) struct Writing<'a> {
    view: View<'a>,
    pub(super) learnt: RefCell<NewNames>,
    /// The number of snapshots in the file after this transaction, if it changes that.
    pub(super) snapshots: Cell<Option<u64>>,
    ends: RefCell<Ends>,
    ends_are_checked: Cell<bool>,
    ends_stay: Cell<bool>,
}

impl<'a> Writing<'a> {
    /// `ends` are those of the last transaction of this connection.
    pub(super) fn begin(connection: &'a Connection, names: &'a NamesCache, ends: Ends) -> Result<Writing<'a>> {
        // IMMEDIATE, because a deferred transaction that starts to write later fails at once instead of waiting for its
        // turn.
        connection.prepare_cached("BEGIN IMMEDIATE").sql()?.execute([]).sql()?;
        let view = View { connection, names, committed: false };
        Ok(Writing {
            view,
            learnt: RefCell::default(),
            snapshots: Cell::default(),
            ends: RefCell::new(ends),
            ends_are_checked: Cell::default(),
            ends_stay: Cell::default(),
        })
    }

    /// Where the log and its aggregates end, as far as that is known.
    pub(super) fn ends(&self) -> Result<RefMut<'_, Ends>> {
        let mut ends = self.ends.borrow_mut();
        if !self.ends_are_checked.replace(true) {
            ends.hold_at(data_version(self.connection())?);
        }
        Ok(ends)
    }

    /// Says that what this transaction did is in its [`Writing::ends`], or does not touch them. Otherwise the next
    /// transaction knows nothing of them.
    pub(super) fn keep_ends(&self) {
        self.ends_stay.set(true);
    }

    /// The ends for the next transaction, after the commit.
    pub(super) fn ends_after(&self) -> Ends {
        if self.ends_stay.get() { self.ends.take() } else { Ends::default() }
    }

    /// Runs a statement; returns how many rows it changed.
    pub(super) fn execute(&self, sql: &str, params: impl Params) -> Result<usize> {
        self.prepare(sql)?.execute(params).sql()
    }

    /// Inserts a row; returns its number.
    pub(super) fn insert(&self, sql: &str, params: impl Params) -> Result<i64> {
        self.prepare(sql)?.insert(params).sql()
    }

    /// Runs statements without parameters and does not keep them.
    pub(super) fn batch(&self, sql: &str) -> Result<()> {
        self.connection().execute_batch(sql).sql()
    }

    /// Runs `work` in a savepoint. If it fails nothing of it is kept, but all that was done before.
    ///
    /// # Errors
    /// The whole transaction is lost.
    pub(super) fn apart<T>(&self, work: impl FnOnce() -> Result<T>) -> Result<Result<T>> {
        self.execute("SAVEPOINT apart", [])?;
        let (learnt, snapshots) = (self.learnt.borrow().clone(), self.snapshots.get());
        let done = work();
        if done.is_err() {
            self.execute("ROLLBACK TO apart", [])?;
            self.learnt.replace(learnt);
            self.snapshots.set(snapshots);
            self.ends.replace(Ends::default());
            self.ends_are_checked.set(false);
        }
        self.execute("RELEASE apart", [])?;
        Ok(done)
    }

    pub(super) fn commit(&self) -> Result<()> {
        let timer = Timer::start();
        let done = self.execute("COMMIT", []).map_err(|error| match error.kind() {
            // Although the disk reported a failure, the pages may be in the write-ahead log, and recovery after a crash
            // could find them.
            ErrorKind::Io => Error::new(ErrorKind::OutcomeUnknown, "the commit failed; a crash may still bring it back or not")
                .advice("read before you try again, or append with event ids of your own")
                .caused_by(error),
            _ => error,
        });
        if let (Some(took), Ok(_)) = (timer.elapsed(), &done) {
            metrics::committed(took);
        }
        done.map(|_| ())
    }
}

impl<'a> Deref for Writing<'a> {
    type Target = View<'a>;

    fn deref(&self) -> &View<'a> {
        &self.view
    }
}

impl Drop for Writing<'_> {
    fn drop(&mut self) {
        if !self.connection().is_autocommit() {
            // A failure shows in is_autocommit, which the database checks afterwards.
            let _ = self.execute("ROLLBACK", []);
        }
    }
}
