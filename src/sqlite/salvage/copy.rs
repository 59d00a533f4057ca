//! A copy of the damaged file that SQLite can be made to open. The original is only read.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use rusqlite::Connection;

use super::pages::{PAGE, Pages};
use super::{pages_of, stopped};
use crate::model::error::{Error, ErrorKind, Result};
use crate::options::Options;
use crate::sqlite::Database;
use crate::sqlite::connection::paths::beside;
use crate::storage::repair::{RepairProgress, RepairStep, Witness};

/// Bytes copied between two calls of the witness.
const AT_ONCE: u64 = 1 << 20;
/// The file's header holds its number of pages here.
const PAGE_COUNT: std::ops::Range<usize> = 28..32;

/// Files beside the new one. They are deleted with this.
pub(super) struct WorkingCopy {
    main: PathBuf,
    archive: Option<PathBuf>,
}

impl WorkingCopy {
    pub(super) fn path(&self) -> &Path {
        &self.main
    }

    pub(super) fn archive(&self) -> Option<&Path> {
        self.archive.as_deref()
    }

    /// The pages of both files.
    pub(super) fn pages(&self) -> Result<Vec<Pages>> {
        std::iter::once(&self.main).chain(&self.archive).map(|path| pages_of(path)).collect()
    }
}

impl Drop for WorkingCopy {
    fn drop(&mut self) {
        for path in std::iter::once(&self.main).chain(&self.archive) {
            for ending in ["", "-wal", "-shm", "-journal"] {
                // Most of them do not exist.
                let _ = std::fs::remove_file(beside(path, ending));
            }
        }
    }
}

/// Copies the file, its write-ahead log and its archive.
pub(super) fn make(from: &Path, to: &Path, options: &Options, witness: &mut dyn Witness) -> Result<WorkingCopy> {
    let archive = options.archive_path.clone().unwrap_or_else(|| beside(from, ".archive"));
    let has_archive = archive.is_file();
    let copy = WorkingCopy { main: beside(to, "-damaged"), archive: has_archive.then(|| beside(to, "-damaged.archive")) };
    copy_file(from, &copy.main, witness)?;
    let wal = beside(from, "-wal");
    if wal.is_file() {
        copy_file(&wal, &beside(&copy.main, "-wal"), witness)?;
    }
    if let Some(path) = &copy.archive {
        copy_file(&archive, path, witness)?;
    }
    make_openable(&copy.main, to, options)?;
    Ok(copy)
}

fn copy_file(from: &Path, to: &Path, witness: &mut dyn Witness) -> Result<()> {
    let failed = |error| Error::new(ErrorKind::Io, format!("{} cannot be copied", from.display())).caused_by(error);
    let mut source = File::open(from).map_err(failed)?;
    let total = source.metadata().map_err(failed)?.len();
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut copy = options.open(to).map_err(failed)?;
    let mut done = 0;
    loop {
        let copied = std::io::copy(&mut (&mut source).take(AT_ONCE), &mut copy).map_err(failed)?;
        done += copied;
        if !witness.reached(RepairProgress { step: RepairStep::Copy, done, total }) {
            return Err(stopped());
        }
        if copied == 0 {
            return Ok(());
        }
    }
}

/// Repairs what keeps SQLite from opening the copy at all: its length, its first page, the pages that describe its tables.
fn make_openable(copy: &Path, to: &Path, options: &Options) -> Result<()> {
    let failed = |error| Error::new(ErrorKind::Io, "the copy of the damaged file cannot be written").caused_by(error);
    // What the write-ahead log holds belongs to the file, its first page included.
    let _ = merge_log(copy);
    let _ = std::fs::remove_file(beside(copy, "-wal"));
    let mut file = OpenOptions::new().read(true).write(true).open(copy).map_err(failed)?;
    let bytes = file.metadata().map_err(failed)?.len().max(PAGE as u64);
    file.set_len(bytes).map_err(failed)?;
    patch_header(&mut file, bytes).map_err(failed)?;
    if shows_tables(copy) {
        return Ok(());
    }
    // In a new file the tables begin on the same pages: SQLite keeps the first ones for them.
    for (number, page) in description_of_a_new_file(to, options)? {
        file.seek(SeekFrom::Start((number - 1) * PAGE as u64)).and_then(|_| file.write_all(&page)).map_err(failed)?;
    }
    let bytes = file.metadata().map_err(failed)?.len();
    patch_header(&mut file, bytes).map_err(failed)
}

/// Makes header and length agree. A file that was cut off gets empty pages, because others may lead to them.
fn patch_header(file: &mut File, bytes: u64) -> std::io::Result<()> {
    let mut first = [0; PAGE];
    file.seek(SeekFrom::Start(0))?;
    file.read_exact(&mut first)?;
    let pages = u32::try_from(bytes.div_ceil(PAGE as u64)).unwrap_or(u32::MAX);
    let stated = first.get(PAGE_COUNT).unwrap_or_default().iter().fold(0, |number, byte| number << 8 | u32::from(*byte));
    let is_sane = stated >= pages && u64::from(stated) < 4 * u64::from(pages) + 65_536;
    let pages = if is_sane { stated } else { pages };
    put(&mut first, PAGE_COUNT.start, &pages.to_be_bytes());
    // No write-ahead log: it was merged.
    put(&mut first, 18, &[1, 1]);
    // The number of pages counts only if these two agree.
    put(&mut first, 24, &[0; 4]);
    put(&mut first, 92, &[0; 4]);
    file.seek(SeekFrom::Start(0))?;
    file.write_all(&first)?;
    file.set_len(u64::from(pages) * PAGE as u64)
}

fn put(page: &mut [u8], at: usize, bytes: &[u8]) {
    if let Some(place) = page.get_mut(at..at + bytes.len()) {
        place.copy_from_slice(bytes);
    }
}

/// Moves the write-ahead log into the copy, as far as it is whole.
fn merge_log(copy: &Path) -> rusqlite::Result<()> {
    let connection = Connection::open(copy)?;
    connection.execute_batch("PRAGMA writable_schema = ON; PRAGMA wal_checkpoint(TRUNCATE);")
}

/// Whether SQLite finds our tables in the copy.
fn shows_tables(copy: &Path) -> bool {
    let look = || -> rusqlite::Result<()> {
        let connection = Connection::open(copy)?;
        for table in
            ["events", "aggregates", "snapshots", "event_types", "tenants", "aggregate_types", "replicas", "removals", "holes"]
        {
            connection.prepare(&format!("SELECT * FROM {table}"))?;
        }
        Ok(())
    };
    look().is_ok()
}

/// The pages of a new file that describe its tables.
fn description_of_a_new_file(to: &Path, options: &Options) -> Result<Vec<(u64, Vec<u8>)>> {
    let path = beside(to, "-new");
    let read = Database::open(&path, &Options { vfs: None, audit: false, reserve: false, ..options.clone() }).and_then(|new| {
        let sql = "SELECT rootpage FROM sqlite_schema WHERE rootpage > 0";
        let roots: Vec<u64> = new.read(|view| view.rows(sql, [], |row| row.get(0)))?;
        drop(new);
        let mut file = File::open(&path).map_err(cannot_read_new)?;
        let mut pages = Vec::new();
        for number in 1.. {
            let mut page = vec![0; PAGE];
            match file.read_exact(&mut page) {
                // The second page is SQLite's map of pages.
                Ok(()) if number == 2 || roots.contains(&number) => {}
                Ok(()) => pages.push((number, page)),
                Err(_) => break,
            }
        }
        Ok(pages)
    });
    for ending in ["", "-wal", "-shm"] {
        let _ = std::fs::remove_file(beside(&path, ending));
    }
    read
}

fn cannot_read_new(error: std::io::Error) -> Error {
    Error::new(ErrorKind::Io, "a new file cannot be read").caused_by(error)
}
