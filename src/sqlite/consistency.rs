//! SQLite has no checksums, so it does not notice that an index has lost entries or mixed them up. Here are the checks
//! for what is read twice or in order.

use crate::model::error::{Error, ErrorKind, Result};

/// Copy first, because every repair changes the file, and so does SQLite's own recovery at the next open.
pub(super) const RESTORE: &str = "copy the file before anything else, then restore a backup";

/// The error for two places of the file that contradict each other.
pub(super) fn disagrees() -> Error {
    Error::new(ErrorKind::Corrupt, "the file's tables and indexes contradict each other")
        .advice("copy the file before anything else; verify names the damage, and reindex recreates indexes")
}

/// Confirms that a key comes after the one before it.
pub(super) fn confirm_rises<K: PartialOrd + ?Sized>(before: &K, key: &K) -> Result<()> {
    if key > before {
        return Ok(());
    }
    Err(Error::new(ErrorKind::Corrupt, "rows are not in their order: pages of the file are mixed up").advice(RESTORE))
}

/// Checks that rows come in the order that was asked for. Swapped pages of a damaged file could otherwise lead a scan
/// in a circle for ever.
pub(super) struct Ascending<K>(K);

impl<K: PartialOrd> Ascending<K> {
    /// Starts an order after this key.
    pub(super) fn after(start: K) -> Ascending<K> {
        Ascending(start)
    }

    /// Checks the next key.
    pub(super) fn next(&mut self, key: K) -> Result<()> {
        confirm_rises(&self.0, &key)?;
        self.0 = key;
        Ok(())
    }

    /// The last key.
    pub(super) fn into_last(self) -> K {
        self.0
    }
}
