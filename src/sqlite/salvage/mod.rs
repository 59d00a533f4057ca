//! Salvage: makes a new file of what can be read of a damaged one. Nothing is believed but what its checksum confirms.
//!
//! First what SQLite still finds, forwards and backwards up to a damaged page; then what lies on pages that nothing leads to.

mod carry;
mod copy;
mod gaps;
mod pages;

use std::fs::File;
use std::path::Path;

use rusqlite::config::DbConfig;
use rusqlite::types::Value;
use rusqlite::{Connection, params_from_iter};

use crate::model::error::{Error, ErrorKind, Result};
use crate::model::event::RecordedEvent;
use crate::options::{Durability, Options};
use crate::sqlite::Database;
use crate::sqlite::connection::failure::Sql;
use crate::sqlite::ends::Ends;
use crate::sqlite::names_cache::NamesCache;
use crate::sqlite::tables::aggregates;
use crate::sqlite::tables::events::{self, Owner};
use crate::sqlite::tables::keys::key_version;
use crate::sqlite::transaction::{View, Writing};
use crate::storage::repair::{RepairProgress, RepairReport, RepairStep, Witness};
use pages::Pages;

/// Events read in one page.
const PAGE: usize = 1_024;

/// The error that ends a salvage that was stopped.
fn stopped() -> Error {
    Error::new(ErrorKind::Busy, "stopped")
}

/// A salvage on its way.
struct Salvage<'a> {
    /// The copy of the damaged file, and that of its archive.
    old: &'a View<'a>,
    archive: Option<&'a View<'a>>,
    /// The new file.
    writing: &'a Writing<'a>,
    witness: &'a mut dyn Witness,
    report: RepairReport,
}

/// Makes a store at `to`, where an empty file is, of what can be read of the file at `from`. `None` if it was stopped.
pub(crate) fn salvage(
    from: &Path,
    to: &Path,
    options: &Options,
    witness: &mut dyn Witness,
) -> Result<Option<(Database, RepairReport)>> {
    let mut was_stopped = false;
    let mut told = Told { witness, was_stopped: &mut was_stopped };
    let done = run(from, to, options, &mut told);
    match done {
        Err(_) if was_stopped => Ok(None),
        other => other.map(Some),
    }
}

struct Told<'a> {
    witness: &'a mut dyn Witness,
    was_stopped: &'a mut bool,
}

impl Witness for Told<'_> {
    fn reached(&mut self, progress: RepairProgress) -> bool {
        let goes_on = self.witness.reached(progress);
        *self.was_stopped |= !goes_on;
        goes_on
    }

    fn unplaced(&mut self, event: RecordedEvent) -> Result<()> {
        self.witness.unplaced(event)
    }
}

fn run(from: &Path, to: &Path, options: &Options, witness: &mut dyn Witness) -> Result<(Database, RepairReport)> {
    let copy = copy::make(from, to, options, witness)?;
    let options =
        Options { durability: Durability::Fast, archive_path: None, audit: false, reserve: false, vfs: None, ..options.clone() };
    // On connections of their own: after SQLite has met a damaged page, it refuses every write on the connection.
    let old = open_copy(copy.path())?;
    let archive = copy.archive().map(open_copy).transpose()?;
    let unknown = NamesCache::unknown();
    let (old, archive) = (View::new(&old, &unknown), archive.as_ref().map(|archive| View::new(archive, &unknown)));
    Database::open(to, &options)?.on_a_writer_of_its_own(|view| {
        let writing = Writing::begin(view.connection(), view.names, Ends::default())?;
        carry::names(&old, &writing)?;
        writing.commit()
    })?;
    // Opened again, because it remembers the names with which it was opened.
    let database = Database::open(to, &options)?;
    let mut report = database.on_a_writer_of_its_own(|view| {
        view.connection()
            .execute_batch(
                "ATTACH ':memory:' AS found;
                 CREATE TABLE found.purged (first INTEGER PRIMARY KEY, last INTEGER NOT NULL);
                 CREATE TABLE found.places (position INTEGER PRIMARY KEY, key INTEGER NOT NULL);
                 CREATE INDEX found.places_key ON places (key);
                 CREATE TABLE found.events (key INTEGER PRIMARY KEY, position, commit_offset, event_type, schema_version, origin,
                                            created_at, checksum, event_id, tags, metadata, data);",
            )
            .sql()?;
        let writing = Writing::begin(view.connection(), view.names, Ends::default())?;
        let mut salvage = Salvage {
            old: &old,
            archive: archive.as_ref(),
            writing: &writing,
            witness: &mut *witness,
            report: RepairReport::default(),
        };
        salvage.all(&mut copy.pages()?)?;
        let report = std::mem::take(&mut salvage.report);
        writing.commit()?;
        Ok(report)
    })?;
    let mut reached = RepairProgress { step: RepairStep::Indexes, ..RepairProgress::default() };
    let reindexed = database.reindex(&mut |progress| {
        (reached.done, reached.total) = (progress.done, progress.total);
        match witness.reached(reached) {
            true => std::ops::ControlFlow::Continue(()),
            false => std::ops::ControlFlow::Break(()),
        }
    })?;
    if !reindexed.finished {
        return Err(stopped());
    }
    report.finished = true;
    Ok((database, report))
}

/// Opens a copy to read what SQLite finds in it.
fn open_copy(path: &Path) -> Result<Connection> {
    let connection = Connection::open(path).sql()?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false).sql()?;
    connection.execute_batch("PRAGMA cell_size_check = ON; PRAGMA mmap_size = 0; PRAGMA query_only = ON;").sql()?;
    Ok(connection)
}

impl Salvage<'_> {
    fn all(&mut self, pages: &mut [Pages]) -> Result<()> {
        self.say(RepairStep::Tables, 0, 0)?;
        let purged = carry::tables(self.old, self.writing)?;
        // Aggregates first: without its names no event can be checked.
        self.search(pages, Self::aggregate)?;
        self.events(self.old, false)?;
        if let Some(archive) = self.archive {
            self.events(archive, true)?;
        }
        carry::places(self.old, self.writing)?;
        self.search(pages, Self::event_or_place)?;
        carry::check_snapshots(self.writing)?;
        gaps::close(self, &purged)?;
        carry::finish(self)
    }

    fn say(&mut self, step: RepairStep, done: u64, total: u64) -> Result<()> {
        if self.witness.reached(RepairProgress { step, done, total }) { Ok(()) } else { Err(stopped()) }
    }

    /// Passes every row on every page to `each`.
    fn search(&mut self, files: &mut [Pages], mut each: impl FnMut(&mut Self, pages::FoundRow) -> Result<()>) -> Result<()> {
        let (mut done, total) = (0, files.iter().map(|pages| pages.count).sum());
        for pages in files {
            for page in 1..=pages.count {
                for row in pages.rows(page) {
                    each(self, row)?;
                }
                done += 1;
                if done % 256 == 0 || done == total {
                    self.say(RepairStep::Pages, done, total)?;
                }
            }
        }
        Ok(())
    }

    /// Takes the events that SQLite finds in a file, forwards up to a damaged page and then backwards.
    fn events(&mut self, from: &View<'_>, is_archive: bool) -> Result<()> {
        let (mut done, mut forwards) = (0, 0);
        for descending in [false, true] {
            let mut key = if descending { i64::MAX } else { 0 };
            let mut owner = None;
            loop {
                let mut seen = 0;
                let page = events::check_page_of(from, "main", descending, key, PAGE, |found, unread| {
                    (seen, key) = (seen + 1, found);
                    take(self.writing, is_archive, &mut owner, found, unread).map(drop)
                });
                done += seen;
                self.say(RepairStep::Events, done, 0)?;
                match page {
                    Err(error) if is_of_the_new_file(&error) => return Err(error),
                    Err(_) => break,
                    Ok(()) if seen < PAGE as u64 && !descending => return Ok(()),
                    Ok(()) if seen < PAGE as u64 || key <= forwards => break,
                    Ok(()) => {}
                }
            }
            forwards = key;
        }
        Ok(())
    }

    /// Takes a row of the aggregates.
    fn aggregate(&mut self, row: pages::FoundRow) -> Result<()> {
        match (row.number, row.columns.as_slice()) {
            (Some(id), [Value::Null, Value::Integer(aggregate_type), Value::Text(aggregate_id), Value::Integer(sum)]) => {
                carry::aggregate(self.writing, id, *aggregate_type, aggregate_id, *sum)
            }
            _ => Ok(()),
        }
    }

    /// Takes an event that was not found yet, or an entry of the index of positions.
    fn event_or_place(&mut self, row: pages::FoundRow) -> Result<()> {
        // Events that an erasure changed may still lie on free pages as they were before.
        const SQL: &str = "SELECT EXISTS (SELECT 1 FROM main.events WHERE key = ?1)
                               OR EXISTS (SELECT 1 FROM main.erasures WHERE aggregate = ?1 >> 32)";
        let number = match (row.number, row.columns.as_slice()) {
            (None, [Value::Integer(position), Value::Integer(key)]) => return carry::place(self.writing, *position, *key),
            (Some(number), [Value::Null, Value::Integer(_), Value::Integer(_), ..]) if row.columns.len() == 12 => number,
            _ => return Ok(()),
        };
        if self.writing.value::<bool>(SQL, [number])? {
            return Ok(());
        }
        let values = std::iter::once(Value::Integer(number)).chain(row.columns.into_iter().skip(1));
        let sql = "INSERT INTO found.events VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)";
        self.writing.execute(sql, params_from_iter(values))?;
        let mut taken = 0;
        let read = events::check_page_of(self.writing, "found", false, number.saturating_sub(1), 1, |found, unread| {
            taken = take(self.writing, false, &mut None, found, unread)?;
            Ok(())
        });
        match read {
            Err(error) if is_of_the_new_file(&error) => return Err(error),
            _ => self.report.found_on_pages += taken,
        }
        self.writing.execute("DELETE FROM found.events", []).map(drop)
    }
}

/// A failure to write, which must not be taken for damage that is read.
fn is_of_the_new_file(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::DiskFull | ErrorKind::Busy)
}

/// Takes an event over as it is, if its checksum is right and it was not removed. Returns how many that were.
fn take(
    writing: &Writing<'_>,
    is_archive: bool,
    known: &mut Option<Owner>,
    key: i64,
    unread: events::Unread<'_, '_>,
) -> Result<u64> {
    let aggregate = key >> 32;
    if known.as_ref().is_none_or(|owner| owner.aggregate != aggregate) {
        *known = Owner::by_number(writing, aggregate).ok();
    }
    let Some(owner) = known else { return Ok(0) };
    let removal = aggregates::removed(writing, aggregate).unwrap_or_default();
    let version = key_version(key);
    let is_wanted = version > removal.purged_through && (!is_archive || removal.is_archived(version));
    let values = unread.columns();
    if !is_wanted || unread.event(writing, owner.identity).is_err() {
        return Ok(0);
    }
    let sql = "INSERT OR IGNORE INTO main.events VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)";
    Ok(writing.execute(sql, params_from_iter(values?))? as u64)
}

/// Reads the first column of every row of a query up to an error.
fn up_to_an_error<T: rusqlite::types::FromSql>(view: &View<'_>, sql: &str) -> Vec<T> {
    let mut values = Vec::new();
    let _ = view.each_row(sql, [], |row| {
        values.push(row.get(0).sql()?);
        Ok(true)
    });
    values
}

/// Opens a file to read its pages.
fn pages_of(path: &Path) -> Result<Pages> {
    File::open(path).and_then(Pages::open).map_err(|error| Error::new(ErrorKind::Io, "the copy cannot be read").caused_by(error))
}
