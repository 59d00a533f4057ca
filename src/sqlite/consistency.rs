//! SQLite has no checksums and does not notice that an index has lost entries or mixes them up. What is read twice, or in an
//! order, is compared here.

use crate::model::error::{Error, ErrorKind, Result};

/// Copying first matters: every repair, also SQLite's own recovery at the next open, changes the file.
pub(super) const RESTORE: &str = "copy the file before anything else, then restore a backup";

/// Two places of the file contradict each other.
pub(super) fn disagrees() -> Error {
    Error::new(ErrorKind::Corrupt, "the file's tables and indexes contradict each other")
        .advice("copy the file before anything else; verify names the damage, and reindex makes indexes anew")
}

/// Rows that are asked for in an order come in that order: pages of the file that stand in each other's place would
/// otherwise lead a walk in a circle, for ever.
pub(super) struct Ascending<K>(K);

impl<K: PartialOrd> Ascending<K> {
    /// The rows come after this.
    pub(super) fn after(start: K) -> Ascending<K> {
        Ascending(start)
    }

    /// The next row.
    pub(super) fn next(&mut self, key: K) -> Result<()> {
        if key <= self.0 {
            return Err(
                Error::new(ErrorKind::Corrupt, "rows are not in their order: pages of the file are mixed up").advice(RESTORE)
            );
        }
        self.0 = key;
        Ok(())
    }

    /// The last row.
    pub(super) fn into_last(self) -> K {
        self.0
    }
}
