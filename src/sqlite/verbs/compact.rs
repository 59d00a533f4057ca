//! Gives free pages back to the file system.

use crate::model::error::Result;
use crate::sqlite::Database;
use crate::sqlite::connection::failure::Sql;
use crate::sqlite::transaction::View;

/// Pages given back in one transaction, so that none holds the write lock for long.
const PAGES_AT_ONCE: u64 = 64;

impl Database {
    /// Gives some free pages back: moves pages from the file's end into them. Returns how many it gave back, and how many
    /// free ones are left.
    pub(crate) fn compact(&self) -> Result<(u64, u64)> {
        self.write_in_background(|writing| {
            let before = free_pages(writing)?;
            if before > 0 {
                // One row for each page; the statement ends with the last.
                let mut statement = writing.connection().prepare(&format!("PRAGMA incremental_vacuum({PAGES_AT_ONCE})")).sql()?;
                let mut rows = statement.query([]).sql()?;
                while rows.next().sql()?.is_some() {}
            }
            let left = free_pages(writing)?;
            Ok((before.saturating_sub(left), left))
        })
    }

    /// Free pages in the file: space that the next events take.
    pub(crate) fn free_pages(&self) -> Result<u64> {
        self.read(free_pages)
    }
}

fn free_pages(view: &View<'_>) -> Result<u64> {
    view.value("PRAGMA freelist_count", [])
}
