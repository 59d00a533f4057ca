//! One writer, several readers, and their transactions.

use std::path::Path;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rusqlite::Connection;
use rusqlite::config::DbConfig;
use uuid::Uuid;

use super::busy;
use super::failure::Sql;
use super::fresh::{Fresh, Watcher};
use super::guard::Guard;
use super::open::{Location, Opening, Sync};
use super::paths::absolute;
use super::queue::Queue;
use super::reserve;
use super::settled::Settled;
use super::throttle::Throttle;
use super::turn::{Turn, Turns};
use crate::metrics::{self, Timer};
use crate::model::error::{Error, ErrorKind, Result};
use crate::options::Options;
use crate::sqlite::ends::Ends;
use crate::sqlite::format;
use crate::sqlite::names_cache::{NamesCache, Replica};
use crate::sqlite::tables::{log_state, losses};
use crate::sqlite::transaction::{View, Writing, data_version};
use crate::sync::{self, lock};

/// The most idle readers that are kept; others are closed.
const IDLE_READERS: usize = 8;

/// An open file.
pub(crate) struct Database {
    pub(super) opening: Opening,
    // None in memory, and where files cannot be lost.
    pub(super) guard: Option<Guard>,
    // None before the first write to an existing file, and after a failure that left the connection in an unknown state:
    // the next write opens one.
    pub(super) writer: Turns<Option<Writer>>,
    // Appends that wait for the writer.
    pub(super) queue: Queue,
    pub(super) readers: Mutex<Vec<Connection>>,
    // The number of callers that wait for the writer. Background work lets them go first.
    pub(super) waiting: AtomicUsize,
    pub(super) turns: AtomicU64,
    // Background tasks also take turns with each other.
    pub(super) throttle: Mutex<Throttle>,
    // Connections do not survive a fork: the locks and the shared memory of the write-ahead log remain the parent's.
    pub(super) process: u32,
    pub(super) names: NamesCache,
}

impl Database {
    pub(crate) fn open(path: &Path, options: &Options) -> Result<Database> {
        Database::open_at(Location::File(absolute(path)?), options)
    }

    pub(crate) fn in_memory(options: &Options) -> Result<Database> {
        let now = options.clock.now_micros();
        Database::in_memory_from(options, |connection| format::prepare_in_memory(connection, now).map(Some))
    }

    /// A store in memory, with content from `fill`, which may know its identity.
    pub(super) fn in_memory_from(
        options: &Options,
        fill: impl FnOnce(&mut Connection) -> Result<Option<Replica>>,
    ) -> Result<Database> {
        Database::make(Location::Memory(format!("/foldlog-{}", Uuid::new_v4())), options, |_, connection| fill(connection))
    }

    fn open_at(location: Location, options: &Options) -> Result<Database> {
        Database::make(location, options, |opening, writer| {
            format::prepare(writer, opening.is_file(), options.busy_timeout, options.clock.now_micros()).map(|()| None)
        })
    }

    fn make(
        location: Location,
        options: &Options,
        prepare: impl FnOnce(&Opening, &mut Connection) -> Result<Option<Replica>>,
    ) -> Result<Database> {
        let opening = Opening::new(location, false, options);
        let is_ours = opening.inspect().map_err(|error| opening.explained(error))?;
        opening.make_private();
        let locked = opening.lock_before_opening(is_ours);
        // Most files need nothing but to be read. Then the first write opens the writing connection.
        let ready = if is_ours { opening.reader_if_ready().map_err(|error| opening.explained(error))? } else { None };
        let mut known = None;
        let writer = match ready {
            Some(_) => None,
            None => {
                let mut writer = opening.writer().map_err(|error| opening.explained(error))?;
                known = prepare(&opening, &mut writer).map_err(|error| opening.explained(error))?;
                Some(writer)
            }
        };
        let Some(connection) = ready.as_ref().or(writer.as_ref()) else { return Err(internal("no connection was opened")) };
        // What a new store in memory has is known without a statement.
        let (replica, has_losses) = match known {
            Some(replica) => (replica, false),
            None => (replica_of(connection)?, has_losses(connection)?),
        };
        let names = NamesCache::new(replica, opening.archive.clone(), options.upcasters.clone()).with_losses(has_losses);
        let guard = opening.guarded_file().map(|path| Guard::new(path, opening.read_only)).transpose()?;
        drop(locked);
        if let (Some(path), true) = (opening.guarded_file(), options.reserve) {
            reserve::fill(path, options.wal_limit.saturating_mul(2));
        }
        let database = Database::of(opening, guard, writer, ready.into_iter().collect(), names);
        if options.audit {
            database.begin_chain()?;
        }
        Ok(database)
    }

    pub(crate) fn open_read_only(path: &Path, options: &Options) -> Result<Database> {
        let mut opening = Opening::new(Location::File(absolute(path)?), true, options);
        opening.inspect().map_err(|error| opening.explained(error))?;
        let locked = opening.lock_before_opening(false);
        let reader = opening.first_reader().map_err(|error| opening.explained(error))?;
        format::check_readable(&reader)?;
        let names = NamesCache::new(replica_of(&reader)?, opening.archive.clone(), options.upcasters.clone())
            .with_losses(has_losses(&reader)?);
        let guard = opening.guarded_file().map(|path| Guard::new(path, opening.read_only)).transpose()?;
        drop(locked);
        Ok(Database::of(opening, guard, None, vec![reader], names))
    }

    fn of(
        opening: Opening,
        guard: Option<Guard>,
        writer: Option<Connection>,
        readers: Vec<Connection>,
        names: NamesCache,
    ) -> Database {
        Database {
            opening,
            guard,
            writer: Turns::new(writer.map(Writer::new)),
            queue: Queue::default(),
            readers: Mutex::new(readers),
            waiting: AtomicUsize::new(0),
            turns: AtomicU64::new(0),
            throttle: Mutex::default(),
            process: std::process::id(),
            names,
        }
    }

    /// Fails in a forked process. Checked before any lock, because a fork can leave a lock held for ever.
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
        self.path().map_or(0, super::paths::wal_bytes)
    }

    pub(crate) fn path(&self) -> Option<&Path> {
        match &self.opening.location {
            Location::File(path) => Some(path),
            Location::Memory(_) => None,
        }
    }

    /// Runs `work` in a read transaction: one consistent view. Readers and the writer do not wait for each other.
    pub(crate) fn read<T>(&self, work: impl FnOnce(&View<'_>) -> Result<T>) -> Result<T> {
        self.own_process()?;
        let _unchanged = self.before_reading()?;
        let settled = self.opening.settled();
        let _settled = settled.as_ref().map(Settled::reading);
        let idle = lock(&self.readers).pop();
        let connection = match idle {
            Some(connection) => connection,
            None => self.opening.reader()?,
        };
        busy::up_to(self.opening.busy_timeout);
        connection.prepare_cached("BEGIN").sql()?.execute([]).sql()?;
        // If `work` panics, the connection is closed and the transaction ends with it.
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

    /// Opens a connection of its own that reads the file itself: no page and no name is cached from earlier calls.
    pub(crate) fn fresh(&self) -> Result<Fresh> {
        self.own_process()?;
        let _unchanged = self.before_reading()?;
        let settled = self.opening.settled();
        let connection = self.opening.reader()?;
        // A damaged file may have lost its identity. Its events are then checked against the one read at open.
        let found = {
            let _settled = settled.as_ref().map(Settled::reading);
            replica_of(&connection)
        };
        // Without upcasters: a check of the file wants the events as they are stored.
        let names = NamesCache::new(found.unwrap_or(self.names.replica()), self.opening.archive.clone(), Arc::default());
        Ok(Fresh::new(connection, names, self.opening.busy_timeout, settled))
    }

    /// Runs `work` in a write transaction and commits it. If `work` fails or panics, nothing of it is kept.
    pub(crate) fn write<T>(&self, work: impl FnOnce(&Writing<'_>) -> Result<T>) -> Result<T> {
        self.write_on(self.wait_for_writer()?, Sync::AsOpened, work)
    }

    /// As [`Database::write`], but whatever the store's durability, a power cut may lose it and all later relaxed
    /// writes, until something is written in another way. For what can be found or done again.
    pub(crate) fn write_relaxed<T>(&self, work: impl FnOnce(&Writing<'_>) -> Result<T>) -> Result<T> {
        self.write_on(self.wait_for_writer()?, Sync::Relaxed, work)
    }

    /// As [`Database::write_relaxed`], for long-running work that nobody waits for. After each turn it yields for twice
    /// the time it held the write lock. It should end when [`Database::is_wanted`].
    pub(crate) fn write_in_background<T>(&self, work: impl FnOnce(&Writing<'_>) -> Result<T>) -> Result<T> {
        self.own_process()?;
        let mut throttle = lock(&self.throttle);
        std::thread::sleep(throttle.pause(self.turns.load(Ordering::Relaxed)));
        let turn = self.wait_for_writer()?;
        throttle.begin(self.turns.load(Ordering::Relaxed));
        let done = self.write_on(turn, Sync::Relaxed, |writing| {
            throttle.look(data_version(writing.connection())?);
            work(writing)
        });
        throttle.end();
        done
    }

    /// Whether another thread of this process waits to write.
    pub(crate) fn is_wanted(&self) -> bool {
        self.waiting.load(Ordering::Relaxed) > 0
    }

    /// As [`Database::write`], but when it returns, it and everything committed before are on the disk, whatever the
    /// store's durability.
    pub(crate) fn write_durably<T>(&self, work: impl FnOnce(&Writing<'_>) -> Result<T>) -> Result<T> {
        self.write_on(self.wait_for_writer()?, Sync::Full, work)
    }

    /// Waits for this thread's turn to use the writer. The rest of the time-out is left for the file's lock.
    pub(super) fn wait_for_writer(&self) -> Result<Asked<'_>> {
        self.wait_for_writer_up_to(self.opening.busy_timeout)
    }

    pub(super) fn wait_for_writer_up_to(&self, patience: Duration) -> Result<Asked<'_>> {
        self.own_process()?;
        let asked = Timer::start();
        self.turns.fetch_add(1, Ordering::Relaxed);
        if let Some(writer) = self.writer.take(Duration::ZERO) {
            return Ok(Asked { writer, asked, patience });
        }
        let began = Instant::now();
        self.waiting.fetch_add(1, Ordering::Relaxed);
        let turn = self.writer.take(patience);
        self.waiting.fetch_sub(1, Ordering::Relaxed);
        let writer = turn.ok_or_else(given_up)?;
        Ok(Asked { writer, asked, patience: patience.saturating_sub(began.elapsed()) })
    }

    /// The writer, if nobody uses it and `may_take_it`.
    pub(super) fn turn_if_free(&self, may_take_it: impl FnOnce() -> bool) -> Result<Option<Asked<'_>>> {
        self.own_process()?;
        if !may_take_it() {
            return Ok(None);
        }
        let asked = Timer::start();
        let Some(writer) = self.writer.take(Duration::ZERO) else { return Ok(None) };
        self.turns.fetch_add(1, Ordering::Relaxed);
        Ok(Some(Asked { writer, asked, patience: self.opening.busy_timeout }))
    }

    /// Opens a connection of its own that notices commits of any process.
    pub(crate) fn watcher(&self) -> Result<Watcher> {
        self.own_process()?;
        let _unchanged = self.before_reading()?;
        Ok(Watcher::new(self.opening.reader()?, self.opening.busy_timeout, self.opening.settled()))
    }

    /// Runs `work` on a writing connection of its own, in no transaction, and closes it.
    pub(crate) fn on_a_writer_of_its_own<T>(&self, work: impl FnOnce(&View<'_>) -> Result<T>) -> Result<T> {
        self.own_process()?;
        if self.opening.read_only {
            return Err(Error::read_only());
        }
        let connection = self.opening.writer()?;
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true).sql()?;
        busy::up_to(self.opening.busy_timeout);
        work(&View::new(&connection, &self.names))
    }

    /// As [`Database::write`], but always rolled back: to see what would happen.
    ///
    /// Runs on a connection of its own that is closed afterwards, so that temporary tables, settings and statements
    /// disappear with it.
    pub(crate) fn write_and_roll_back<T>(&self, work: impl FnOnce(&Writing<'_>) -> Result<T>) -> Result<T> {
        // Writers of this process queue here, not at the file's lock.
        let mut turn = self.wait_for_writer()?;
        let _locked = self.before_writing(&mut turn)?;
        let connection = self.opening.writer()?;
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true).sql()?;
        busy::up_to(turn.patience);
        let writing = Writing::begin(&connection, &self.names, Ends::default())?;
        let done = work(&writing);
        drop(writing);
        done
    }

    /// As [`Database::write`], but returns `None` at once if somebody else is writing.
    pub(crate) fn try_write<T>(&self, work: impl FnOnce(&Writing<'_>) -> Result<T>) -> Result<Option<T>> {
        self.own_process()?;
        let Some(writer) = self.writer.take(Duration::ZERO) else { return Ok(None) };
        let turn = Asked { writer, asked: Timer::start(), patience: Duration::ZERO };
        match self.write_on(turn, Sync::AsOpened, work) {
            Err(error) if error.kind() == ErrorKind::Busy => Ok(None),
            other => other.map(Some),
        }
    }

    /// The writing connection, opened again if the last one was left in an unknown state.
    pub(super) fn ready<'a>(&self, writer: &'a mut Option<Writer>, sync: Sync) -> Result<&'a mut Writer> {
        // If it is still in a transaction here, there was a panic and even the rollback failed.
        if writer.as_ref().is_none_or(|writer| !writer.connection.is_autocommit()) {
            *writer = Some(Writer::new(self.opening.writer()?));
        }
        // Set before each transaction, never after one. So each transaction waits for what it needs, however the last
        // one ended.
        if let Some(stale) = writer.as_mut().filter(|writer| writer.sync != sync) {
            match self.opening.set_synchronous(&stale.connection, sync) {
                Ok(()) => stale.sync = sync,
                Err(error) => {
                    *writer = None;
                    return Err(error);
                }
            }
        }
        writer.as_mut().ok_or_else(|| internal("the writing connection is missing"))
    }

    pub(super) fn write_on<T>(&self, mut turn: Asked<'_>, sync: Sync, work: impl FnOnce(&Writing<'_>) -> Result<T>) -> Result<T> {
        let _locked = self.before_writing(&mut turn)?;
        let writer = self.ready(&mut turn.writer, sync)?;
        busy::up_to(turn.patience);
        let done = self.transact(writer, turn.asked, work);
        if !writer.connection.is_autocommit() {
            // Even the rollback failed, so this connection must not be used again.
            *turn.writer = None;
        }
        done
    }

    fn transact<T>(&self, writer: &mut Writer, asked: Timer, work: impl FnOnce(&Writing<'_>) -> Result<T>) -> Result<T> {
        // If anything fails or panics from here on, nothing of them is known any more.
        let ends = std::mem::take(&mut writer.ends);
        let transaction = Writing::begin(&writer.connection, &self.names, ends)?;
        if let Some(waited) = asked.elapsed() {
            metrics::waited_to_write(waited);
        }
        let done = work(&transaction).and_then(|value| {
            let settled = self.opening.settled();
            let _alone = settled.as_ref().map(Settled::committing).transpose()?;
            transaction.commit()?;
            Ok(value)
        });
        let learnt = transaction.learnt.take();
        if let (Some(snapshots), true) = (transaction.snapshots.get(), done.is_ok()) {
            // Still under the writer's lock, so that the older of two threads' values is not reported last.
            metrics::snapshots_in_file(snapshots);
        }
        let ends = transaction.ends_after();
        drop(transaction);
        if done.is_ok() {
            self.names.remember(learnt);
            writer.ends = ends;
        }
        done
    }
}

/// The error of a thread whose turn did not come in time.
pub(super) fn given_up() -> Error {
    metrics::busy_wait_given_up();
    Error::new(ErrorKind::Busy, "another thread of this process wrote for longer than the busy time-out")
        .advice("try again, or raise Options::busy_timeout; inside of a transaction's own code it cannot succeed")
}

pub(super) fn internal(what: &str) -> Error {
    Error::new(ErrorKind::Internal, what)
}

/// The writer, held by this thread: when it was asked for, and how long to wait for the file's lock.
pub(super) struct Asked<'a> {
    pub(super) writer: Turn<'a, Option<Writer>>,
    pub(super) asked: Timer,
    pub(super) patience: Duration,
}

/// The writing connection, and what its commits wait for now.
pub(super) struct Writer {
    pub(super) connection: Connection,
    pub(super) sync: Sync,
    ends: Ends,
}

impl Writer {
    pub(super) fn new(connection: Connection) -> Writer {
        Writer { connection, sync: Sync::AsOpened, ends: Ends::default() }
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        if self.own_process().is_ok() {
            return self.close();
        }
        // Closing them would roll back and clean up in memory that belongs to the parent. They end with the process.
        let readers = sync::get_mut(&mut self.readers);
        std::mem::take(readers).into_iter().for_each(std::mem::forget);
        std::mem::forget(self.writer.get_mut().take());
    }
}

/// Reads the identity under which a file appends.
pub(super) fn replica_of(connection: &Connection) -> Result<Replica> {
    log_state::replica(&View::new(connection, &NamesCache::unknown()))
}

fn has_losses(connection: &Connection) -> Result<bool> {
    losses::any(&View::new(connection, &NamesCache::unknown()))
}
