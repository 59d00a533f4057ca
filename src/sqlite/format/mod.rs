//! The file format's version: creates new files, refuses foreign ones, migrates older ones.

mod schema;

use std::sync::{LazyLock, Mutex};
use std::time::{Duration, Instant};

use rusqlite::backup::Backup;
use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, TransactionBehavior};

pub(super) use schema::is_ours;

use crate::model::error::{Error, ErrorKind, Result};
use crate::sqlite::connection::failure::Sql;
use crate::sqlite::names_cache::Replica;
use crate::sqlite::tables::log_state;
use crate::sync;
use schema::{FORMAT_1, Schema};

/// "FLOG".
const APPLICATION_ID: i64 = 0x464C_4F47;

/// The formats that this version of the library knows.
pub(super) const FORMATS: Formats = Formats { schemas: &[&FORMAT_1], steps: &[] };

/// File formats from version 1 on: the DDL of each, and the steps between them.
#[derive(Clone, Copy)]
pub(super) struct Formats {
    schemas: &'static [&'static LazyLock<Schema>],
    /// Step n migrates from version n + 1 to n + 2, inside a transaction.
    steps: &'static [fn(&Connection) -> Result<()>],
}

impl Formats {
    /// The version of new files.
    fn newest(&self) -> i64 {
        i64::try_from(self.schemas.len()).unwrap_or(i64::MAX)
    }

    fn schema(&self, version: i64) -> Result<&'static Schema> {
        let index = usize::try_from(version.saturating_sub(1)).unwrap_or(usize::MAX);
        let schema = self.schemas.get(index).map(|schema| &***schema);
        schema.ok_or_else(|| Error::new(ErrorKind::Internal, format!("there is no schema of format {version}")))
    }
}

/// The format that a file claims to have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    /// The file is empty.
    Empty,
    /// A foldlog file of this format.
    Version(i64),
}

/// Reads the file's marks. Refuses a file that is not foldlog's, or newer than this library.
pub(super) fn read_format(connection: &Connection) -> Result<Format> {
    FORMATS.read(connection)
}

/// Refuses a file that cannot be read as it is: an empty, foreign or newer one.
pub(super) fn check_readable(connection: &Connection) -> Result<()> {
    match read_format(connection)? {
        Format::Version(version) => FORMATS.schema(version)?.check(connection),
        Format::Empty => {
            Err(Error::new(ErrorKind::ReadOnly, "the file is empty").advice("open it for writing, which makes it a store"))
        }
    }
}

/// Whether [`prepare`] would find that nothing needs to be done.
pub(super) fn is_ready(connection: &Connection) -> Result<bool> {
    let newest = FORMATS.newest();
    if read_format(connection)? != Format::Version(newest) {
        return Ok(false);
    }
    FORMATS.schema(newest)?.check(connection)?;
    has_write_ahead(connection)
}

/// Creates a new file, migrates an older one, or finds that nothing needs to be done.
///
/// Several processes may call it at once: one does the work, the others wait and find it done.
pub(super) fn prepare(connection: &mut Connection, is_file: bool, patience: Duration, now_micros: i64) -> Result<()> {
    FORMATS.prepare(connection, is_file, patience, now_micros)
}

/// A log in memory without events. Copying its pages takes a fraction of the time that its statements take.
static EMPTY: Mutex<Option<Connection>> = Mutex::new(None);

/// Makes a new log in memory, and returns its identity. Runs no statement on it: the first one reads the schema, which takes
/// longer than all the rest.
pub(super) fn prepare_in_memory(connection: &mut Connection, now_micros: i64) -> Result<Replica> {
    let mut empty = sync::lock(&EMPTY);
    let empty = match &mut *empty {
        Some(empty) => empty,
        none => {
            let mut made = Connection::open_in_memory().sql()?;
            prepare(&mut made, false, Duration::ZERO, now_micros)?;
            none.insert(made)
        }
    };
    // Before it is copied.
    let replica = log_state::make_anew(empty, now_micros)?;
    Backup::new(empty, connection).sql()?.step(-1).sql()?;
    Ok(replica)
}

impl Formats {
    fn read(&self, connection: &Connection) -> Result<Format> {
        if !connection.is_autocommit() {
            return self.read_marks(connection);
        }
        // Reads all marks in one transaction. Otherwise another process could create the file in between, and it would
        // seem foreign.
        let view = connection.unchecked_transaction().sql()?;
        let format = self.read_marks(&view)?;
        view.commit().sql()?;
        Ok(format)
    }

    fn read_marks(&self, connection: &Connection) -> Result<Format> {
        let pragma = |name: &str| connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0)).sql();
        let (application, version) = (pragma("application_id")?, pragma("user_version")?);
        if application == APPLICATION_ID {
            return self.known(version);
        }
        let tables: i64 = connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0)).sql()?;
        if application == 0 && version == 0 && tables == 0 {
            return Ok(Format::Empty);
        }
        Err(Error::new(ErrorKind::ForeignFile, "the file is a SQLite file of another application")
            .advice("choose another path; the file was not changed"))
    }

    fn known(&self, version: i64) -> Result<Format> {
        if version < 1 {
            return Err(Error::new(ErrorKind::ForeignFile, format!("the file claims format {version}, which never existed"))
                .advice("restore the file; it was not changed"));
        }
        if version > self.newest() {
            let newest = self.newest();
            let what = format!("the file has format {version}; this version of the library knows formats up to {newest}");
            return Err(Error::new(ErrorKind::FormatTooNew, what).advice("update the application; the file was not changed"));
        }
        Ok(Format::Version(version))
    }

    fn prepare(&self, connection: &mut Connection, is_file: bool, patience: Duration, now_micros: i64) -> Result<()> {
        // A file that turns out to be foreign must not be changed, not even when it is closed.
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true).sql()?;
        let mut format = self.read(connection)?;
        if format == Format::Empty {
            // Only takes effect in an empty file. It lets a running application give back space that a purge has freed.
            connection.pragma_update(None, "auto_vacuum", "INCREMENTAL").sql()?;
            if is_file {
                write_ahead(connection, patience)?;
            }
        }
        if format != Format::Version(self.newest()) {
            let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate).sql()?;
            format = self.read(&transaction)?;
            match format {
                Format::Empty => self.create(&transaction, now_micros)?,
                Format::Version(version) => self.migrate(&transaction, version)?,
            }
            transaction.commit().sql()?;
        }
        self.schema(self.newest())?.check(connection)?;
        if is_file {
            write_ahead(connection, patience)?;
        }
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, false).sql()?;
        Ok(())
    }

    fn create(&self, connection: &Connection, now_micros: i64) -> Result<()> {
        self.schema(self.newest())?.create(connection)?;
        log_state::make(connection, now_micros)?;
        connection.pragma_update(None, "application_id", APPLICATION_ID).sql()?;
        connection.pragma_update(None, "user_version", self.newest()).sql()
    }

    fn migrate(&self, connection: &Connection, from: i64) -> Result<()> {
        for (version, step) in (2..).zip(self.steps) {
            if version > from {
                step(connection)?;
                connection.pragma_update(None, "user_version", version).sql()?;
            }
        }
        Ok(())
    }
}

fn has_write_ahead(connection: &Connection) -> Result<bool> {
    let mode: String = connection.pragma_query_value(None, "journal_mode", |row| row.get(0)).sql()?;
    Ok(mode.eq_ignore_ascii_case("wal"))
}

/// Switches the write-ahead log on if it is off. SQLite does not call the busy handler in every case of this.
fn write_ahead(connection: &Connection, patience: Duration) -> Result<()> {
    let began = Instant::now();
    loop {
        if has_write_ahead(connection)? {
            return Ok(());
        }
        match connection.pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get::<_, String>(0)) {
            Ok(mode) if mode.eq_ignore_ascii_case("wal") => return Ok(()),
            Ok(mode) => {
                let what = format!("the file system cannot hold a write-ahead log (journal mode {mode})");
                return Err(Error::new(ErrorKind::Io, what).advice("keep the file on a local disk"));
            }
            Err(rusqlite::Error::SqliteFailure(failure, _))
                if matches!(failure.code, ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) && began.elapsed() < patience =>
            {
                std::thread::sleep(Duration::from_millis(1));
            }
            Err(error) => return Err(error).sql(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    /// A format that exists only in this test, so that the mechanism is tested before the first real migration.
    static FORMAT_2: LazyLock<Schema> = LazyLock::new(|| {
        Schema::parse(concat!(include_str!("../../../schema.sql"), "CREATE TABLE notes (note TEXT NOT NULL) STRICT;"))
    });

    const TEST_FORMATS: Formats = Formats {
        schemas: &[&FORMAT_1, &FORMAT_2],
        steps: &[|connection| {
            connection.execute_batch("CREATE TABLE notes (note TEXT NOT NULL) STRICT").sql()?;
            connection.execute("INSERT INTO notes SELECT count(*) || ' events' FROM events", []).sql()?;
            Ok(())
        }],
    };

    fn open(path: &Path, formats: Formats) -> Result<Connection> {
        let mut connection = Connection::open(path).unwrap();
        formats.prepare(&mut connection, true, Duration::from_secs(1), 7)?;
        Ok(connection)
    }

    fn version(connection: &Connection) -> i64 {
        connection.pragma_query_value(None, "user_version", |row| row.get(0)).unwrap()
    }

    #[test]
    fn an_older_file_is_migrated_once_and_a_newer_one_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.db");
        assert_eq!(version(&open(&path, FORMATS).unwrap()), 1);
        for _ in 0..2 {
            let migrated = open(&path, TEST_FORMATS).unwrap();
            let notes: Vec<String> = migrated
                .prepare("SELECT note FROM notes")
                .unwrap()
                .query_map([], |row| row.get(0))
                .unwrap()
                .map(Result::unwrap)
                .collect();
            assert_eq!((version(&migrated), notes), (2, vec!["0 events".to_owned()]));
        }
        let before = std::fs::read(&path).unwrap();
        assert_eq!(open(&path, FORMATS).unwrap_err().kind(), ErrorKind::FormatTooNew);
        assert_eq!(std::fs::read(&path).unwrap(), before, "it was left as it is");
    }

    #[test]
    fn a_migration_that_fails_leaves_the_file_as_it_was() {
        let fails = Formats { steps: &[|_| Err(Error::new(ErrorKind::Internal, "on purpose"))], ..TEST_FORMATS };
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.db");
        drop(open(&path, FORMATS).unwrap());
        assert_eq!(open(&path, fails).unwrap_err().kind(), ErrorKind::Internal);
        assert_eq!(version(&open(&path, FORMATS).unwrap()), 1);
    }

    #[test]
    fn a_new_file_gives_space_back_when_asked() {
        let directory = tempfile::tempdir().unwrap();
        let connection = open(&directory.path().join("a.db"), FORMATS).unwrap();
        let auto_vacuum: i64 = connection.pragma_query_value(None, "auto_vacuum", |row| row.get(0)).unwrap();
        assert_eq!(auto_vacuum, 2, "incremental");
    }
}
