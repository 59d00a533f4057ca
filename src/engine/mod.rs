//! The seam: the operations that the library needs from whatever stores the log.
//!
//! A verb is a whole operation in one transaction. The layers above know no transaction, connection or row; the types
//! that cross the seam are in [`storage`](crate::storage). The seam is private and no trait, so it can change freely.

/// Passes verbs on to the engine in use.
macro_rules! verbs {
    ($($(#[$doc:meta])* fn $verb:ident(&self $(, $name:ident: $type:ty)* $(,)?) -> $result:ty;)*) => {
        impl Engine {
            $(
                $(#[$doc])*
                pub(crate) fn $verb(&self $(, $name: $type)*) -> $result {
                    match self {
                        Engine::Sqlite(database) => database.$verb($($name),*),
                    }
                }
            )*
        }
    };
}

mod delivery;
mod log;
mod upkeep;

use std::path::Path;

pub use delivery::ReadModel;
pub(crate) use delivery::{Apply, DocumentTable, InlineProjection, Watcher};

use crate::model::error::Result;
use crate::options::Options;
use crate::sqlite::Database;
use crate::storage::repair::{RepairReport, Witness};

/// The engine that stores the log.
pub(crate) enum Engine {
    /// One SQLite file, or memory.
    Sqlite(Database),
}

impl Engine {
    /// Opens a file for reading and writing; makes it if there is none.
    pub(crate) fn open(path: &Path, options: &Options) -> Result<Engine> {
        Database::open(path, options).map(Engine::Sqlite)
    }

    /// Opens an existing file for reading.
    pub(crate) fn open_read_only(path: &Path, options: &Options) -> Result<Engine> {
        Database::open_read_only(path, options).map(Engine::Sqlite)
    }

    /// Makes a log at `to`, where an empty file is, of what can be read of a damaged one. `None` if the witness stopped it.
    pub(crate) fn salvage(
        damaged: &Path,
        to: &Path,
        options: &Options,
        witness: &mut dyn Witness,
    ) -> Result<Option<(Engine, RepairReport)>> {
        Ok(crate::sqlite::salvage(damaged, to, options, witness)?.map(|(database, report)| (Engine::Sqlite(database), report)))
    }

    /// Makes a log in memory.
    pub(crate) fn in_memory(options: &Options) -> Result<Engine> {
        Database::in_memory(options).map(Engine::Sqlite)
    }

    /// Copies the log as it is now into memory.
    pub(crate) fn copy_to_memory(&self, options: &Options) -> Result<Engine> {
        match self {
            Engine::Sqlite(database) => database.copy_to_memory(options).map(Engine::Sqlite),
        }
    }
}

verbs! {
    /// The file's path; `None` in memory.
    fn path(&self) -> Option<&Path>;
    /// Whether the store is read-only.
    fn is_read_only(&self) -> bool;
}
