//! Gives free pages back to the file system; what the file as a whole remembers of its upkeep.

use crate::model::error::Result;
use crate::sqlite::Database;
use crate::sqlite::connection::failure::Sql;
use crate::sqlite::tables::{archive, log_state};
use crate::sqlite::transaction::{View, Writing};
use crate::sqlite::verbs::wipe::has_archive;
use crate::storage::verify::Verified;

/// Pages given back in one transaction, so that none holds the write lock for long.
const PAGES_AT_ONCE: u64 = 64;

impl Database {
    /// Gives some free pages back: moves pages from the file's end into them. Returns how many it gave back, and how many
    /// free ones are left.
    pub(crate) fn compact(&self) -> Result<(u64, u64)> {
        self.write_in_background(|writing| compact(writing, "main"))
    }

    /// As [`Database::compact`], of the archive, if there is one.
    pub(crate) fn compact_archive(&self) -> Result<(u64, u64)> {
        if !self.read(has_archive)? {
            return Ok((0, 0));
        }
        self.write_in_background(|writing| {
            archive::attach(writing)?;
            compact(writing, "archive")
        })
    }

    /// When the scheduled upkeep ran last, in microseconds; 0: never.
    pub(crate) fn maintained_at(&self) -> Result<i64> {
        self.read(log_state::maintained_at)
    }

    /// What the last noted verification found; `None` if none was noted.
    pub(crate) fn verified(&self) -> Result<Option<Verified>> {
        self.read(log_state::verified)
    }

    /// Notes what a verification found.
    pub(crate) fn note_verified(&self, verified: &Verified) -> Result<()> {
        self.write(|writing| log_state::note_verified(writing, verified))
    }

    /// Records that the scheduled upkeep has run.
    pub(crate) fn note_maintained(&self, at_micros: i64) -> Result<()> {
        self.write(|writing| log_state::note_maintained(writing, at_micros))
    }

    /// Free pages in the file: space that the next events take.
    pub(crate) fn free_pages(&self) -> Result<u64> {
        self.read(|view| free_pages(view, "main"))
    }
}

fn compact(writing: &Writing<'_>, file: &str) -> Result<(u64, u64)> {
    let before = free_pages(writing, file)?;
    if before > 0 {
        // One row for each page; the statement ends with the last.
        let sql = format!("PRAGMA {file}.incremental_vacuum({PAGES_AT_ONCE})");
        let mut statement = writing.connection().prepare(&sql).sql()?;
        let mut rows = statement.query([]).sql()?;
        while rows.next().sql()?.is_some() {}
    }
    let left = free_pages(writing, file)?;
    Ok((before.saturating_sub(left), left))
}

fn free_pages(view: &View<'_>, file: &str) -> Result<u64> {
    view.value(&format!("PRAGMA {file}.freelist_count"), [])
}
