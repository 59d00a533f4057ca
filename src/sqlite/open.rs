//! Opening a connection: where the file is, and how SQLite is set up for it.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};

use super::failure::Sql;
use super::migrate;
use crate::error::{Error, ErrorKind, Result};
use crate::metrics;
use crate::options::{Durability, Options};

/// Pages of 4 KiB in the WAL after which a commit moves them into the file: 16 MiB.
const WAL_AUTOCHECKPOINT_PAGES: u32 = 4_000;
/// One more than the statements there are, so that none is prepared twice.
const STATEMENT_CACHE: usize = 96;
const BUSY_SLEEP_LEAST: Duration = Duration::from_micros(50);
const BUSY_SLEEP_MOST: Duration = Duration::from_millis(1);

/// Where a store lives.
#[derive(Clone, Debug)]
pub(crate) enum Location {
    /// An absolute path: SQLite would take a relative one that begins with `file:` for a URI.
    File(PathBuf),
    /// SQLite's shared in-memory file system; the name is unique in the process.
    Memory(String),
}

/// What every connection of a store is opened with.
#[derive(Clone, Debug)]
pub(crate) struct Opening {
    pub(crate) location: Location,
    pub(crate) read_only: bool,
    // On a medium that takes no writes a WAL file cannot be opened but as one that never changes.
    immutable: bool,
    durability: Durability,
    busy_timeout: Duration,
    cache_kibibytes: usize,
    vfs: Option<String>,
}

impl Opening {
    pub(crate) fn new(location: Location, read_only: bool, options: &Options) -> Opening {
        Opening {
            location,
            read_only,
            immutable: false,
            durability: options.durability,
            busy_timeout: options.busy_timeout,
            cache_kibibytes: (options.cache_bytes / 1024).clamp(64, 1 << 30),
            vfs: options.vfs.clone(),
        }
    }

    /// Whether another process can write to the same store.
    pub(crate) fn is_file(&self) -> bool {
        matches!(self.location, Location::File(_))
    }

    /// The connection that writes. `patient` is whether it waits for other processes.
    pub(crate) fn writer(&self, patient: &Arc<AtomicBool>) -> Result<Connection> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let mut connection = self.connect(flags)?;
        self.configure(&mut connection, patient)?;
        let synchronous = match self.durability {
            Durability::Durable => "FULL",
            Durability::Fast => "NORMAL",
        };
        connection
            .execute_batch(&format!(
                "PRAGMA synchronous = {synchronous};
                 PRAGMA fullfsync = ON; PRAGMA checkpoint_fullfsync = ON;
                 PRAGMA wal_autocheckpoint = {WAL_AUTOCHECKPOINT_PAGES};"
            ))
            .sql()?;
        Ok(connection)
    }

    /// A connection that reads, beside the writer.
    pub(crate) fn reader(&self) -> Result<Connection> {
        let access = if self.read_only { OpenFlags::SQLITE_OPEN_READ_ONLY } else { OpenFlags::SQLITE_OPEN_READ_WRITE };
        let flags = access | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let mut connection = match &self.location {
            Location::File(path) if self.immutable => self.connect_immutable(path)?,
            _ => self.connect(flags)?,
        };
        self.configure(&mut connection, &Arc::new(AtomicBool::new(true)))?;
        connection.execute_batch("PRAGMA query_only = ON").sql()?;
        Ok(connection)
    }

    /// The first connection of a store that only reads; settles how the others are opened.
    pub(crate) fn first_reader(&mut self) -> Result<Connection> {
        let attempt = self.reader().and_then(|connection| {
            migrate::read_format(&connection)?;
            Ok(connection)
        });
        let Location::File(path) = &self.location else { return attempt };
        match attempt {
            Err(error) if matches!(error.kind(), ErrorKind::Io | ErrorKind::ReadOnly) && wal_is_empty(path) => {
                self.immutable = true;
                self.reader()
            }
            Err(error) if matches!(error.kind(), ErrorKind::Io | ErrorKind::ReadOnly) => Err(error.advice(
                "the file has a -wal file with events in it, which cannot be read where nothing can be written: \
                 copy both to a place that can be written",
            )),
            other => other,
        }
    }

    fn connect(&self, flags: OpenFlags) -> Result<Connection> {
        match (&self.location, &self.vfs) {
            (Location::File(path), None) => Connection::open_with_flags(path, flags).sql(),
            (Location::File(path), Some(vfs)) => Connection::open_with_flags_and_vfs(path, flags, vfs.as_str()).sql(),
            (Location::Memory(name), _) => Connection::open_with_flags_and_vfs(name, flags, c"memdb").sql(),
        }
    }

    /// A connection that takes no lock and makes no file.
    fn connect_immutable(&self, path: &Path) -> Result<Connection> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_URI;
        let uri = immutable_uri(path)?;
        match &self.vfs {
            None => Connection::open_with_flags(uri, flags).sql(),
            Some(vfs) => Connection::open_with_flags_and_vfs(uri, flags, vfs.as_str()).sql(),
        }
    }

    /// Refuses a file of another application or of a newer format without a lock and without a write.
    pub(crate) fn inspect(&self) -> Result<()> {
        let Location::File(path) = &self.location else { return Ok(()) };
        check_path(path, self.read_only)?;
        if std::fs::metadata(path).map_or(0, |file| file.len()) == 0 {
            return Ok(());
        }
        let connection = self.connect_immutable(path)?;
        match migrate::read_format(&connection) {
            // Another process may have moved pages under our feet; the connections that lock will tell.
            Err(error) if error.kind() == ErrorKind::Corrupt => Ok(()),
            other => other.map(drop),
        }
    }

    fn configure(&self, connection: &mut Connection, patient: &Arc<AtomicBool>) -> Result<()> {
        connection.set_prepared_statement_cache_capacity(STATEMENT_CACHE);
        connection.busy_handler(Some(wait(self.busy_timeout, patient.clone()))).sql()?;
        for (setting, value) in [
            (DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true),
            (DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false),
            (DbConfig::SQLITE_DBCONFIG_DQS_DDL, false),
            (DbConfig::SQLITE_DBCONFIG_DQS_DML, false),
            // Otherwise SQLite looks at bound values to plan better, and so prepares statements anew whenever they change:
            // a fifth of a replay. Our plans do not depend on values.
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

/// Waits for a lock with short, growing, uneven sleeps: with SQLite's own, of two busy processes the less lucky one got
/// a tenth of the turns.
fn wait(timeout: Duration, patient: Arc<AtomicBool>) -> impl FnMut(i32) -> bool + Send + 'static {
    let mut since = Instant::now();
    move |attempt| {
        if !patient.load(Ordering::Relaxed) {
            return false;
        }
        let now = Instant::now();
        if attempt == 0 {
            since = now;
            metrics::busy_wait_began();
        }
        let waited = now.saturating_duration_since(since);
        if waited >= timeout {
            metrics::busy_wait_given_up();
            return false;
        }
        let longest = BUSY_SLEEP_LEAST.saturating_mul(1 << attempt.clamp(0, 6)).min(BUSY_SLEEP_MOST);
        let uneven = longest.mul_f64(0.5 + f64::from(waited.subsec_nanos() % 1_024) / 2_048.0);
        std::thread::sleep(uneven.min(timeout.saturating_sub(waited)));
        true
    }
}

/// Makes a path absolute and refuses what SQLite would misread.
pub(crate) fn absolute(path: &Path) -> Result<PathBuf> {
    let refuse = |detail: &str| Err(Error::new(ErrorKind::InvalidInput, format!("{detail}: {}", path.display())));
    if path.as_os_str().is_empty() {
        return refuse("the path is empty");
    }
    if path.as_os_str().as_encoded_bytes().contains(&0) {
        return refuse("the path holds a NUL byte");
    }
    std::path::absolute(path).map_err(|error| Error::new(ErrorKind::Io, "the working directory cannot be read").caused_by(error))
}

fn check_path(path: &Path, read_only: bool) -> Result<()> {
    let io = |detail: String| Err(Error::new(ErrorKind::Io, detail));
    match std::fs::metadata(path) {
        Ok(file) if file.is_dir() => io(format!("{} is a directory, not a file", path.display())),
        Ok(_) => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && !read_only => match path.parent() {
            Some(parent) if !parent.is_dir() => io(format!("the directory {} does not exist", parent.display()))
                .map_err(|error: Error| error.advice("make it first")),
            _ => Ok(()),
        },
        Err(error) => Err(Error::new(ErrorKind::Io, format!("{} cannot be opened", path.display())).caused_by(error)),
    }
}

fn wal_is_empty(path: &Path) -> bool {
    wal_bytes(path) == 0
}

/// The size of the write-ahead log beside a database, in bytes; 0 if there is none.
pub(crate) fn wal_bytes(path: &Path) -> u64 {
    let mut wal = path.as_os_str().to_owned();
    wal.push("-wal");
    std::fs::metadata(wal).map_or(0, |file| file.len())
}

fn immutable_uri(path: &Path) -> Result<String> {
    let Some(text) = path.to_str() else {
        return Err(Error::new(ErrorKind::InvalidInput, format!("the path is not UTF-8: {}", path.display())));
    };
    let mut uri = String::from("file:");
    if !text.starts_with('/') {
        uri.push('/');
    }
    for character in text.chars() {
        match character {
            '%' => uri.push_str("%25"),
            '?' => uri.push_str("%3f"),
            '#' => uri.push_str("%23"),
            '\\' if cfg!(windows) => uri.push('/'),
            other => uri.push(other),
        }
    }
    uri.push_str("?immutable=1");
    Ok(uri)
}
