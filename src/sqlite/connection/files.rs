//! The write-ahead log and the guard of a store's files: what must hold before a transaction and before closing.

use std::time::Instant;

use rusqlite::Connection;
use rusqlite::config::DbConfig;

use super::busy;
use super::database::{Asked, Database, Writer, internal, replica_of};
use super::failure::Sql;
use super::guard::{Guard, Lost, WriteLock};
use super::open::Sync;
use super::reserve;
use crate::model::error::{Error, ErrorKind, Result};
use crate::storage::upkeep::WalCheckpoint;
use crate::sync::{self, lock};

/// The version of SQLite that has WAL checkpoints which only count.
const HAS_NOOP: i32 = 3_051_000;
/// WAL checkpoints that move the old log into the file, and that only look whether that was done.
const MOVE: &str = "TRUNCATE";
const LOOK: &str = "NOOP";
/// How often one call opens its connections again, because another process has deleted the write-ahead log.
const ATTEMPTS: u32 = 10;

impl Database {
    pub(crate) fn checkpoint(&self) -> Result<Option<WalCheckpoint>> {
        let mut turn = self.wait_for_writer()?;
        let _locked = self.before_writing(&mut turn)?;
        let connection = &self.ready(&mut turn.writer, Sync::AsOpened)?.connection;
        match checkpoint(connection, "TRUNCATE") {
            Err(error) if error.kind() == ErrorKind::DiskFull && self.opening.guarded_file().is_some_and(reserve::release) => {
                checkpoint(connection, "TRUNCATE")
            }
            other => other,
        }
    }

    /// Checks that the store's files are still in their places. They stay the ones that are open until the result is
    /// dropped.
    pub(super) fn before_reading(&self) -> Result<Option<impl Sized + '_>> {
        let Some(guard) = &self.guard else { return Ok(None) };
        for _ in 1..ATTEMPTS {
            match guard.reading() {
                Err(Lost::Log(_) | Lost::LogTaken(_)) if !self.opening.read_only => {
                    let mut turn = self.wait_for_writer()?;
                    drop(self.before_writing(&mut turn)?);
                }
                other => return Ok(Some(other?)),
            }
        }
        Ok(Some(guard.reading()?))
    }

    /// Takes the lock on writing and checks that the store's files are still in their places. If only the write-ahead log
    /// is gone, everything in it is saved first.
    pub(super) fn before_writing(&self, turn: &mut Asked<'_>) -> Result<Option<WriteLock<'_>>> {
        if self.opening.read_only {
            return Err(Error::read_only());
        }
        let began = Instant::now();
        busy::up_to(turn.patience);
        let Some(guard) = &self.guard else { return Ok(None) };
        let mut locked = guard.lock();
        for _ in 1..ATTEMPTS {
            match locked {
                Err(Lost::Log(error)) => self.open_again(guard, &mut turn.writer, MOVE, error)?,
                // A checkpoint of the old log would overwrite what came after it, so this only looks.
                Err(Lost::LogTaken(error)) if rusqlite::version_number() >= HAS_NOOP => {
                    self.open_again(guard, &mut turn.writer, LOOK, error)?;
                }
                _ => break,
            }
            locked = guard.lock();
        }
        let locked = locked?;
        turn.patience = turn.patience.saturating_sub(began.elapsed());
        busy::up_to(turn.patience);
        Ok(Some(locked))
    }

    /// Opens all connections again, if this WAL checkpoint finds that everything in the old write-ahead log is in the
    /// file.
    fn open_again(&self, guard: &Guard, writer: &mut Option<Writer>, mode: &str, lost: Error) -> Result<()> {
        let mut lost = Some(lost);
        // Nobody may write behind the old log while it is moved, until the file is open again.
        let _locked = self.opening.lock_before_opening(true);
        let renewed = guard.renew(|| {
            if mode == MOVE && guard.has_other_log() {
                // Somebody was faster: the caller looks again.
                return Ok(false);
            }
            // Before the first write there is no writer yet; an idle reader has the old log open as well.
            let idle = if writer.is_none() { lock(&self.readers).pop() } else { None };
            let old = writer.as_ref().map(|writer| &writer.connection).or(idle.as_ref());
            let moved = old.map_or(Ok(false), |old| is_all_moved(old, mode));
            if !matches!(moved, Ok(true)) {
                // It is kept: what the old log may still hold is nowhere else.
                lock(&self.readers).extend(idle);
                moved?;
                return Err(lost.take().unwrap_or_else(|| internal("the write-ahead log is in use")));
            }
            let old = writer.take().map(|writer| writer.connection).or(idle);
            if let Some(old) = &old {
                old.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true).sql()?;
            }
            lock(&self.readers).clear();
            drop(old);
            let connection = self.opening.writer()?;
            // The first reading makes a new log, if there is none.
            replica_of(&connection)?;
            *writer = Some(Writer::new(connection));
            Ok(true)
        })?;
        match (renewed, lost) {
            (false, Some(lost)) => Err(lost),
            _ => Ok(()),
        }
    }

    /// Closes all connections, the writer last. SQLite deletes the write-ahead log if it believes that nobody else has
    /// the file open. It may be wrong about a process whose locks were dropped, so it may do so only if everything was
    /// moved into the file and nobody is writing.
    pub(super) fn close(&mut self) {
        let mut readers = std::mem::take(sync::get_mut(&mut self.readers));
        let last = match self.writer.get_mut().take() {
            Some(writer) => writer.connection,
            None if self.opening.read_only => return,
            // Nothing was written. A failure leaves the log to whoever closes the file next.
            None => match readers.pop() {
                Some(reader) if reader.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, false).is_ok() => reader,
                _ => return,
            },
        };
        drop(readers);
        let Some(guard) = &self.guard else { return };
        let locked = guard.lock_before_closing(self.opening.busy_timeout);
        // If the own log is gone, what is in it is moved all the same, unless others have written meanwhile. But then SQLite would
        // delete the log that somebody else has just made at its path.
        let is_gone = matches!(locked, Err(Lost::Log(_)));
        let other = is_gone.then(|| guard.lock_other_log(self.opening.busy_timeout)).flatten();
        let in_place = locked.is_ok() || is_gone && !guard.has_other_log();
        let all_moved =
            in_place && matches!(checkpoint(&last, "PASSIVE"), Ok(Some(WalCheckpoint { pages_left: 0, complete: true })));
        if !all_moved || is_gone && other.is_none() {
            // A failure leaves SQLite's own rule.
            let _ = last.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true);
        }
        drop(last);
        drop((locked, other));
    }
}

/// Whether a WAL checkpoint of this mode finds that everything in the write-ahead log is in the file.
fn is_all_moved(connection: &Connection, mode: &str) -> Result<bool> {
    let mut attempt = 0;
    while connection.is_autocommit() {
        match checkpoint(connection, mode)? {
            Some(WalCheckpoint { complete: true, pages_left: 0 }) => return Ok(true),
            // Another process is just doing the same.
            Some(WalCheckpoint { complete: false, .. }) if busy::wait(attempt) => attempt = attempt.saturating_add(1),
            _ => break,
        }
    }
    Ok(false)
}

/// Runs a WAL checkpoint of this mode; `None` if there is no write-ahead log.
fn checkpoint(connection: &Connection, mode: &str) -> Result<Option<WalCheckpoint>> {
    let (busy, log, moved): (bool, i64, i64) = connection
        .query_row(&format!("PRAGMA wal_checkpoint({mode})"), [], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
        .sql()?;
    let (Ok(log), Ok(moved)) = (u64::try_from(log), u64::try_from(moved)) else {
        // Nothing is counted either if another process is just running a checkpoint.
        return Ok(busy.then_some(WalCheckpoint { complete: false, pages_left: 0 }));
    };
    Ok(Some(WalCheckpoint { pages_left: log.saturating_sub(moved), complete: !busy }))
}
