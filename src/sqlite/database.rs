//! One writer, readers beside it, and the transactions on them.

use std::path::Path;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rusqlite::Connection;
use uuid::Uuid;

use super::beside::{Anew, Frames, Watcher, data_version};
use super::failure::Sql;
use super::names::Names;
use super::open::{Location, Opening, absolute};
use super::pace::Pace;
pub(crate) use super::transaction::{View, Writing};
use super::turn::{Turn, Turns};
use super::{migrate, state, waiting};
use crate::metrics::{self, Timer};
use crate::model::error::{Error, ErrorKind, Result};
use crate::options::Options;

/// Connections that wait for the next reader; beyond it they are closed.
const IDLE_READERS: usize = 8;

/// An open file.
pub(crate) struct Database {
    opening: Opening,
    // None after a failure that left the connection in doubt: the next write opens a new one.
    writer: Turns<Option<Writer>>,
    readers: Mutex<Vec<Connection>>,
    // Callers that wait for the writer, and how many ever did: work in the background lets them go first.
    waiting: AtomicUsize,
    turns: AtomicU64,
    // Work in the background takes turns with itself, too.
    pace: Mutex<Pace>,
    // Connections do not survive a fork: locks and the memory of the write-ahead log stay the parent's.
    process: u32,
    pub(crate) names: Names,
}

impl Database {
    pub(crate) fn open(path: &Path, options: &Options) -> Result<Database> {
        Database::open_at(Location::File(absolute(path)?), options)
    }

    pub(crate) fn in_memory(options: &Options) -> Result<Database> {
        Database::open_at(Location::Memory(format!("/foldlog-{}", Uuid::new_v4())), options)
    }

    /// A store in memory whose content `fill` provides.
    pub(super) fn in_memory_from(options: &Options, fill: impl FnOnce(&mut Connection) -> Result<()>) -> Result<Database> {
        Database::make(Location::Memory(format!("/foldlog-{}", Uuid::new_v4())), options, |_, connection| fill(connection))
    }

    fn open_at(location: Location, options: &Options) -> Result<Database> {
        Database::make(location, options, |opening, writer| {
            migrate::prepare(writer, opening.is_file(), options.busy_timeout, options.clock.now_micros())
        })
    }

    fn make(
        location: Location,
        options: &Options,
        prepare: impl FnOnce(&Opening, &mut Connection) -> Result<()>,
    ) -> Result<Database> {
        let opening = Opening::new(location, false, options);
        opening.inspect()?;
        opening.make_private();
        let mut writer = opening.writer()?;
        prepare(&opening, &mut writer)?;
        let names = Names::new(state::replica(&writer)?);
        Ok(Database::of(opening, Some(writer), Vec::new(), names))
    }

    pub(crate) fn open_read_only(path: &Path, options: &Options) -> Result<Database> {
        let mut opening = Opening::new(Location::File(absolute(path)?), true, options);
        opening.inspect()?;
        let reader = opening.first_reader()?;
        // An older format is read as it is: what came later is missing only to those who ask for it.
        let migrate::Format::Version(format) = migrate::read_format(&reader)? else {
            return Err(
                Error::new(ErrorKind::ReadOnly, "the file is empty").advice("open it for writing, which makes it a store")
            );
        };
        migrate::check_schema(&reader, format)?;
        let names = Names::new(state::replica(&reader)?);
        Ok(Database::of(opening, None, vec![reader], names))
    }

    fn of(opening: Opening, writer: Option<Connection>, readers: Vec<Connection>, names: Names) -> Database {
        Database {
            opening,
            writer: Turns::new(writer.map(|connection| Writer { connection, sync: Sync::AsOpened })),
            readers: Mutex::new(readers),
            waiting: AtomicUsize::new(0),
            turns: AtomicU64::new(0),
            pace: Mutex::default(),
            process: std::process::id(),
            names,
        }
    }

    /// Refuses to work in a process that was forked off. Asked before any lock: a fork can leave one held for ever.
    fn own_process(&self) -> Result<()> {
        if std::process::id() == self.process {
            return Ok(());
        }
        Err(Error::new(ErrorKind::Forked, "the store was opened before this process was forked")
            .advice("open the store in the forked process itself"))
    }

    pub(crate) fn is_read_only(&self) -> bool {
        self.opening.read_only
    }

    /// The size of the write-ahead log's file, in bytes; 0 if there is none.
    pub(crate) fn wal_bytes(&self) -> u64 {
        self.path().map_or(0, super::open::wal_bytes)
    }

    pub(crate) fn path(&self) -> Option<&Path> {
        match &self.opening.location {
            Location::File(path) => Some(path),
            Location::Memory(_) => None,
        }
    }

    /// Runs `work` in a read transaction: one consistent view, which the writer neither waits for nor disturbs.
    pub(crate) fn read<T>(&self, work: impl FnOnce(&View<'_>) -> Result<T>) -> Result<T> {
        self.own_process()?;
        let idle = lock(&self.readers).pop();
        let connection = match idle {
            Some(connection) => connection,
            None => self.opening.reader()?,
        };
        waiting::up_to(self.opening.busy_timeout);
        connection.prepare_cached("BEGIN").sql()?.execute([]).sql()?;
        // If `work` panics the connection is closed, and with it the transaction.
        let done = work(&View::new(&connection, &self.names));
        let ended = connection.prepare_cached("COMMIT").and_then(|mut commit| commit.execute([])).is_ok();
        if ended && connection.is_autocommit() {
            let mut idle = lock(&self.readers);
            if idle.len() < IDLE_READERS {
                idle.push(connection);
            }
        }
        done
    }

    /// A look at the file itself: a connection of its own, with no page and no name remembered from earlier calls.
    pub(crate) fn anew(&self) -> Result<Anew> {
        self.own_process()?;
        let connection = self.opening.reader()?;
        // A damaged file may have lost it; events of this file are then checked against what it was.
        let replica = state::replica(&connection).unwrap_or(self.names.replica);
        Ok(Anew::new(connection, Names::new(replica), self.opening.busy_timeout))
    }

    /// Runs `work` in a write transaction and commits it. If `work` fails or panics, nothing of it is kept.
    pub(crate) fn write<T>(&self, work: impl FnOnce(&Writing<'_>) -> Result<T>) -> Result<T> {
        self.write_on(self.wait_for_writer()?, Sync::AsOpened, work)
    }

    /// As [`Database::write`], but whatever the store's durability a power cut may lose it, with all that came after it
    /// in this way, until something else is written: for what is found again, or done again, then.
    pub(crate) fn write_relaxed<T>(&self, work: impl FnOnce(&Writing<'_>) -> Result<T>) -> Result<T> {
        self.write_on(self.wait_for_writer()?, Sync::Relaxed, work)
    }

    /// As [`Database::write_relaxed`], for work that goes on and on and is in nobody's way: it leaves the file to others
    /// for twice as long as it held it. It should end when [`Database::is_wanted`].
    pub(crate) fn write_in_background<T>(&self, work: impl FnOnce(&Writing<'_>) -> Result<T>) -> Result<T> {
        self.own_process()?;
        let mut pace = lock(&self.pace);
        std::thread::sleep(pace.pause(self.turns.load(Ordering::Relaxed)));
        let turn = self.wait_for_writer()?;
        pace.begin(self.turns.load(Ordering::Relaxed));
        let done = self.write_on(turn, Sync::Relaxed, |writing| {
            pace.look(data_version(writing)?);
            work(writing)
        });
        pace.end();
        done
    }

    /// Whether somebody in this process waits until whoever writes has finished.
    pub(crate) fn is_wanted(&self) -> bool {
        self.waiting.load(Ordering::Relaxed) > 0
    }

    /// As [`Database::write`], and on the disk when it returns, with all that was committed before, whatever the
    /// store's durability.
    pub(crate) fn write_durably<T>(&self, work: impl FnOnce(&Writing<'_>) -> Result<T>) -> Result<T> {
        self.write_on(self.wait_for_writer()?, Sync::Full, work)
    }

    /// The writer, as soon as it is this thread's turn; the file's lock is then waited for as long as is left.
    fn wait_for_writer(&self) -> Result<Asked<'_>> {
        self.own_process()?;
        let asked = Timer::start();
        self.turns.fetch_add(1, Ordering::Relaxed);
        let (turn, patience) = match self.writer.take(Duration::ZERO) {
            Some(turn) => (Some(turn), self.opening.busy_timeout),
            None => {
                let began = Instant::now();
                self.waiting.fetch_add(1, Ordering::Relaxed);
                let turn = self.writer.take(self.opening.busy_timeout);
                self.waiting.fetch_sub(1, Ordering::Relaxed);
                (turn, self.opening.busy_timeout.saturating_sub(began.elapsed()))
            }
        };
        let Some(writer) = turn else {
            metrics::busy_wait_given_up();
            return Err(Error::new(ErrorKind::Busy, "another thread of this process wrote for longer than the busy time-out")
                .advice("try again, or raise Options::busy_timeout; inside of a transaction's own code it cannot succeed"));
        };
        Ok(Asked { writer, asked, patience })
    }

    /// A connection of its own that tells whether anybody, in whatever process, has committed.
    pub(crate) fn watcher(&self) -> Result<Watcher> {
        self.own_process()?;
        Ok(Watcher::new(self.opening.reader()?, self.opening.busy_timeout))
    }

    /// As [`Database::write`], but nothing of it is kept even if it succeeds: to see what would happen.
    ///
    /// It runs on a connection of its own that is closed afterwards, so that temporary tables, settings and statements go
    /// with it.
    pub(crate) fn write_and_roll_back<T>(&self, work: impl FnOnce(&Writing<'_>) -> Result<T>) -> Result<T> {
        if self.opening.read_only {
            return Err(Error::new(ErrorKind::ReadOnly, "the store was opened for reading"));
        }
        // Whoever writes in this process queues here and not at the file's lock.
        let turn = self.wait_for_writer()?;
        let connection = self.opening.writer()?;
        waiting::up_to(turn.patience);
        let writing = Writing::begin(&connection, &self.names)?;
        let done = work(&writing);
        drop(writing);
        done
    }

    /// As [`Database::write`], but `None` at once if somebody else is writing.
    pub(crate) fn try_write<T>(&self, work: impl FnOnce(&Writing<'_>) -> Result<T>) -> Result<Option<T>> {
        self.own_process()?;
        let Some(writer) = self.writer.take(Duration::ZERO) else { return Ok(None) };
        let turn = Asked { writer, asked: Timer::start(), patience: Duration::ZERO };
        match self.write_on(turn, Sync::AsOpened, work) {
            Err(error) if error.kind() == ErrorKind::Busy => Ok(None),
            other => other.map(Some),
        }
    }

    /// Moves the write-ahead log into the file and empties it; `None` if there is no such log.
    pub(crate) fn checkpoint(&self) -> Result<Option<Frames>> {
        let mut turn = self.wait_for_writer()?;
        let connection = self.ready(&mut turn.writer, Sync::AsOpened)?;
        waiting::up_to(turn.patience);
        let (busy, log, moved): (bool, i64, i64) = connection
            .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
            .sql()?;
        let (Ok(log), Ok(moved)) = (u64::try_from(log), u64::try_from(moved)) else { return Ok(None) };
        Ok(Some(Frames { left: log.saturating_sub(moved), complete: !busy }))
    }

    /// The writing connection, made anew if the last one was left in doubt.
    fn ready<'a>(&self, writer: &'a mut Option<Writer>, sync: Sync) -> Result<&'a Connection> {
        if self.opening.read_only {
            return Err(Error::new(ErrorKind::ReadOnly, "the store was opened for reading"));
        }
        // Not in autocommit here: a panic, and then not even the rollback worked.
        if writer.as_ref().is_none_or(|writer| !writer.connection.is_autocommit()) {
            *writer = Some(Writer { connection: self.opening.writer()?, sync: Sync::AsOpened });
        }
        // Before each transaction and never after one: whatever becomes of it, the next one waits for what it needs.
        if let Some(stale) = writer.as_mut().filter(|writer| writer.sync != sync) {
            match self.opening.set_synchronous(&stale.connection, sync) {
                Ok(()) => stale.sync = sync,
                Err(error) => {
                    *writer = None;
                    return Err(error);
                }
            }
        }
        let ready = writer.as_ref().map(|writer| &writer.connection);
        ready.ok_or_else(|| Error::new(ErrorKind::Internal, "the writing connection is gone"))
    }

    fn write_on<T>(&self, mut turn: Asked<'_>, sync: Sync, work: impl FnOnce(&Writing<'_>) -> Result<T>) -> Result<T> {
        let connection = self.ready(&mut turn.writer, sync)?;
        waiting::up_to(turn.patience);
        let done = self.transact(connection, turn.asked, work);
        if !connection.is_autocommit() {
            // Not even the rollback worked: nobody may build on this connection.
            *turn.writer = None;
        }
        done
    }

    fn transact<T>(&self, connection: &Connection, asked: Timer, work: impl FnOnce(&Writing<'_>) -> Result<T>) -> Result<T> {
        let transaction = Writing::begin(connection, &self.names)?;
        if let Some(waited) = asked.elapsed() {
            metrics::waited_to_write(waited);
        }
        let done = work(&transaction).and_then(|value| {
            transaction.commit()?;
            Ok(value)
        });
        let learnt = transaction.learnt.take();
        if let (Some(snapshots), true) = (transaction.snapshots.get(), done.is_ok()) {
            // Still under the writer's lock, so that of two threads the older figure does not come last.
            metrics::snapshots_in_file(snapshots);
        }
        drop(transaction);
        if done.is_ok() {
            self.names.remember(learnt);
        }
        done
    }
}

/// The writer in this thread's hands: since when it was asked for, and how long the file's lock may be waited for.
struct Asked<'a> {
    writer: Turn<'a, Option<Writer>>,
    asked: Timer,
    patience: Duration,
}

/// The connection that writes, and what its commits wait for now.
struct Writer {
    connection: Connection,
    sync: Sync,
}

impl Drop for Database {
    fn drop(&mut self) {
        if self.own_process().is_ok() {
            return;
        }
        // Closing them would roll back and clean up in memory that is the parent's. They end with the process.
        let readers = self.readers.get_mut().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(readers).into_iter().for_each(std::mem::forget);
        std::mem::forget(self.writer.get_mut().take());
    }
}

/// What a commit waits for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sync {
    /// For what the store was opened with.
    AsOpened,
    /// For the disk.
    Full,
    /// For nothing: the next commit that waits takes it along.
    Relaxed,
}

/// A panic of the application's code inside a transaction rolls it back (see the drops below) and leaves what a lock
/// guards in order, so a poisoned lock means nothing.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
