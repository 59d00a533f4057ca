//! Opens connections: finds the file and sets SQLite up for it.

use std::fs::File;
use std::path::{Path, PathBuf};
#[cfg(unix)]
use std::sync::Mutex;
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};

use super::busy;
use super::failure::Sql;
use super::guard;
use super::paths::{immutable_uri, private, wal_bytes};
use super::reason::{check_path, explained};
use super::settled::Settled;
use crate::model::error::{Error, ErrorKind, Result};
use crate::options::{Durability, Options};
use crate::sqlite::archive_path::ArchivePath;
use crate::sqlite::format::{self, Format};
#[cfg(unix)]
use crate::sync;

/// What a page takes in the write-ahead log, with its header.
const WAL_FRAME: u64 = 4_096 + 24;
/// More than the number of different statements, so that none is prepared twice.
const STATEMENT_CACHE: usize = 96;

/// What a commit waits for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Sync {
    /// For what the store's durability asks.
    AsOpened,
    /// For the disk.
    Full,
    /// For nothing; the next commit that waits for the disk covers it.
    Relaxed,
}

/// Where a store lives.
#[derive(Clone, Debug)]
pub(crate) enum Location {
    /// An absolute path. SQLite would take a relative one that begins with `file:` for a URI.
    File(PathBuf),
    /// SQLite's shared in-memory file system; the name is unique in the process.
    Memory(String),
}

/// What every connection of a store is opened with.
#[derive(Clone, Debug)]
pub(crate) struct Opening {
    pub(crate) location: Location,
    pub(crate) read_only: bool,
    // On a read-only medium a WAL file can only be opened as one that never changes.
    immutable: bool,
    durability: Durability,
    pub(crate) busy_timeout: Duration,
    cache_kibibytes: usize,
    wal_limit: u64,
    vfs: Option<String>,
    /// Where the archive is, or would be; `None` in memory.
    pub(crate) archive: Option<ArchivePath>,
    // See `settled`.
    memory: Option<Settled>,
}

impl Opening {
    pub(crate) fn new(location: Location, read_only: bool, options: &Options) -> Opening {
        let is_of_system = options.vfs.is_none();
        let archive = match (&location, &options.archive_path) {
            (Location::Memory(_), _) => None,
            (_, Some(path)) => Some(ArchivePath::new(path.clone(), is_of_system)),
            (Location::File(path), None) => Some(ArchivePath::beside(path, is_of_system)),
        };
        Opening {
            archive,
            memory: matches!(location, Location::Memory(_)).then(Settled::default),
            location,
            read_only,
            immutable: false,
            durability: options.durability,
            busy_timeout: options.busy_timeout,
            cache_kibibytes: (options.cache_bytes / 1024).clamp(64, 1 << 30),
            wal_limit: options.wal_limit,
            vfs: options.vfs.clone(),
        }
    }

    /// Whether other processes can write to the same store.
    pub(crate) fn is_file(&self) -> bool {
        matches!(self.location, Location::File(_))
    }

    /// What keeps readings and commits apart; `None` for a file.
    pub(crate) fn settled(&self) -> Option<Settled> {
        self.memory.clone()
    }

    /// Adds the operating system's reason to a failure of opening, which SQLite does not tell.
    pub(crate) fn explained(&self, error: Error) -> Error {
        match (&self.location, &self.vfs) {
            (Location::File(path), None) => explained(path, self.read_only, error),
            _ => error,
        }
    }

    /// Opens the writing connection.
    pub(crate) fn writer(&self) -> Result<Connection> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let mut connection = self.connect(flags)?;
        self.configure(&mut connection)?;
        self.set_synchronous(&connection, Sync::AsOpened)?;
        if self.memory.is_some() {
            // Until its commit a transaction's pages stay in its own cache.
            connection.execute_batch("PRAGMA cache_spill = OFF").sql()?;
            return Ok(connection);
        }
        let pages = (self.wal_limit / WAL_FRAME).max(1);
        connection
            .execute_batch(&format!(
                "PRAGMA fullfsync = ON; PRAGMA checkpoint_fullfsync = ON; PRAGMA wal_autocheckpoint = {pages}; \
                 PRAGMA journal_size_limit = {};",
                self.wal_limit
            ))
            .sql()?;
        Ok(connection)
    }

    /// Sets what the connection's commits wait for. Only outside a transaction: inside one SQLite ignores it.
    pub(crate) fn set_synchronous(&self, connection: &Connection, sync: Sync) -> Result<()> {
        let synchronous = match (sync, self.durability) {
            (Sync::Full, _) | (Sync::AsOpened, Durability::Durable) => "FULL",
            (Sync::Relaxed, _) | (Sync::AsOpened, Durability::Fast) => "NORMAL",
        };
        connection.execute_batch(&format!("PRAGMA synchronous = {synchronous}")).sql()
    }

    /// Opens a reading connection.
    pub(crate) fn reader(&self) -> Result<Connection> {
        let access = if self.read_only { OpenFlags::SQLITE_OPEN_READ_ONLY } else { OpenFlags::SQLITE_OPEN_READ_WRITE };
        let flags = access | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let mut connection = match &self.location {
            Location::File(path) if self.immutable => self.connect_immutable(path)?,
            // The memory's own locks would make readers wait for the writer.
            Location::Memory(name) => {
                let uri = format!("file:{name}?nolock=1");
                Connection::open_with_flags_and_vfs(uri, flags | OpenFlags::SQLITE_OPEN_URI, c"memdb").sql()?
            }
            Location::File(_) => self.connect(flags)?,
        };
        self.configure(&mut connection)?;
        // Only the writer knows whether the write-ahead log may go when the last connection is closed.
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true).sql()?;
        connection.execute_batch("PRAGMA query_only = ON").sql()?;
        Ok(connection)
    }

    /// Opens a reading connection to a file that needs nothing but to be read: of the newest format, with a write-ahead
    /// log. `None` if it has to be made ready first.
    pub(crate) fn reader_if_ready(&self) -> Result<Option<Connection>> {
        let Location::File(path) = &self.location else { return Ok(None) };
        let nothing_to_move = self.wal_is_empty(path);
        let reader = self.reader()?;
        match format::is_ready(&reader) {
            Ok(ready) => Ok(Some(reader).filter(|_| ready)),
            Err(error) => {
                if nothing_to_move {
                    // A refused file is left without a trace: closing deletes the log that opening has made.
                    reader.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, false).sql()?;
                }
                Err(error)
            }
        }
    }

    /// Opens the first connection of a read-only store, and decides how the others are opened.
    pub(crate) fn first_reader(&mut self) -> Result<Connection> {
        let attempt = self.reader().and_then(|connection| {
            format::read_format(&connection)?;
            Ok(connection)
        });
        let Location::File(path) = &self.location else { return attempt };
        match attempt {
            Err(error) if matches!(error.kind(), ErrorKind::Io | ErrorKind::ReadOnly) && self.wal_is_empty(path) => {
                self.immutable = true;
                self.reader()
            }
            Err(error) if matches!(error.kind(), ErrorKind::Io | ErrorKind::ReadOnly) => {
                let what = "the file has a -wal file with events in it, which cannot be read where nothing can be written";
                Err(Error::new(error.kind(), what).advice("copy both to a place that can be written").caused_by(error))
            }
            other => other,
        }
    }

    fn connect(&self, flags: OpenFlags) -> Result<Connection> {
        match (&self.location, &self.vfs) {
            (Location::File(path), None) => Connection::open_with_flags(path, flags).sql(),
            (Location::File(path), Some(vfs)) => Connection::open_with_flags_and_vfs(path, flags, vfs.as_str()).sql(),
            // SQLite's shared memory: other connections find it by the name.
            (Location::Memory(name), _) => Connection::open_with_flags_and_vfs(name, flags, c"memdb").sql(),
        }
    }

    /// Opens a connection that takes no lock and creates no file.
    fn connect_immutable(&self, path: &Path) -> Result<Connection> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_URI;
        let uri = immutable_uri(path);
        match &self.vfs {
            None => Connection::open_with_flags(uri, flags).sql(),
            Some(vfs) => Connection::open_with_flags_and_vfs(uri, flags, vfs.as_str()).sql(),
        }
    }

    /// Refuses a file of another application or of a newer format, without a lock and without a write. Returns whether it
    /// is surely one of foldlog's.
    pub(crate) fn inspect(&self) -> Result<bool> {
        let Location::File(path) = &self.location else { return Ok(false) };
        if self.vfs.is_none() {
            check_path(path, self.read_only)?;
            // Checked first: whoever creates a file writes to it before there is a write-ahead log.
            let log_is_empty = self.wal_is_empty(path);
            match std::fs::metadata(path).map_or(0, |file| file.len()) {
                // SQLite would delete the log, even for a reader, but it may hold all that is left of the events.
                0 if !log_is_empty => return Err(orphaned_log()),
                0 => return Ok(false),
                // SQLite takes a file of one byte for an empty one and would overwrite it.
                1 => {
                    return Err(Error::new(ErrorKind::ForeignFile, "the file is not a foldlog file: it is a single byte")
                        .advice("choose another path; the file was not changed"));
                }
                _ => {}
            }
        }
        let connection = match self.connect_immutable(path) {
            // What the operating system shows of a file may differ from what another VFS stores. Here the VFS itself
            // has answered.
            Err(error) if self.vfs.is_some() && error.kind() == ErrorKind::Io => return Ok(false),
            other => other?,
        };
        let inspected = format::read_format(&connection).and_then(|format| match format {
            // Such a connection could not delete the log that opening makes, so a refused file is refused before. Another
            // process may be moving a write-ahead log into the file, which then holds half of a change. An empty log,
            // checked after the marks were read, means that nobody is.
            Format::Version(_) if self.read_only && self.wal_is_empty(path) => format::check_readable(&connection).map(|()| true),
            Format::Version(_) => Ok(true),
            Format::Empty => Ok(false),
        });
        match inspected {
            // What SQLite itself cannot read here is not final: another process may be moving pages, or died while it
            // created the file and left a journal. The locking connections handle both, and write nothing to a foreign
            // file.
            Err(error) if error.is_of_sqlite() && matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::ForeignFile) => {
                Ok(false)
            }
            other => other,
        }
    }

    /// Creates a missing file that only its owner may read and write; its log gets the same mode. An existing file
    /// keeps its mode. A failure here is ignored, because SQLite meets it again when it opens the file and reports it.
    #[cfg(unix)]
    pub(crate) fn make_private(&self) {
        // Closing a file drops all locks that this process has on it, so no other thread may open it before it is
        // closed.
        static MAKING: Mutex<()> = Mutex::new(());
        if let (Location::File(path), None) = (&self.location, &self.vfs) {
            let _turn = sync::lock(&MAKING);
            let _ = private(path);
        }
    }

    /// Without file modes the directory's rules apply.
    #[cfg(not(unix))]
    pub(crate) fn make_private(&self) {}

    /// False if it cannot be determined.
    fn wal_is_empty(&self, path: &Path) -> bool {
        self.vfs.is_none() && wal_bytes(path) == 0
    }

    /// The file, if it is one of the operating system's own that others can do something to.
    pub(crate) fn guarded_file(&self) -> Option<&Path> {
        match &self.location {
            Location::File(path) if cfg!(unix) && self.vfs.is_none() => Some(path),
            _ => None,
        }
    }

    /// See [`guard::lock_before_opening`].
    pub(super) fn lock_before_opening(&self, may_make_log: bool) -> Option<File> {
        guard::lock_before_opening(self.guarded_file()?, may_make_log, self.busy_timeout)
    }

    fn configure(&self, connection: &mut Connection) -> Result<()> {
        connection.set_prepared_statement_cache_capacity(STATEMENT_CACHE);
        busy::up_to(self.busy_timeout);
        connection.busy_handler(Some(busy::wait as fn(i32) -> bool)).sql()?;
        for (setting, value) in [
            (DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true),
            (DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false),
            (DbConfig::SQLITE_DBCONFIG_DQS_DDL, false),
            (DbConfig::SQLITE_DBCONFIG_DQS_DML, false),
            // Otherwise SQLite considers bound values in its plans and prepares statements again whenever they change,
            // which took a fifth of a replay. Our plans do not depend on values.
            (DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true),
        ] {
            connection.set_db_config(setting, value).sql()?;
        }
        connection
            .execute_batch(&format!(
                "PRAGMA cell_size_check = ON; PRAGMA mmap_size = 0; PRAGMA cache_size = -{};",
                self.cache_kibibytes
            ))
            .sql()
    }
}

fn orphaned_log() -> Error {
    Error::new(ErrorKind::Corrupt, "the file is empty or missing, but its -wal file holds changes of it")
        .advice("restore the file together with its -wal file, or move the -wal file away to start over")
}
