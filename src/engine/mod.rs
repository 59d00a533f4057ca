//! The seam: what stores the log. Every verb is a whole operation; nobody above sees a transaction, a connection or a row.

mod delivery;

pub use delivery::ReadModel;
pub(crate) use delivery::{Apply, DocumentTable, InlineProjection, Watcher};

use crate::sqlite::Database;

/// What stores the log.
pub(crate) enum Engine {
    /// One SQLite file, or memory.
    Sqlite(Database),
}
