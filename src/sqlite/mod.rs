//! The SQLite engine: the only place that knows rusqlite and SQL.
//!
//! [`connection`] opens the file and hands out transactions. [`tables`] has a file for each table family, with its rows
//! and statements. [`verbs`] are the whole operations that the library asks for. [`verify`] checks the file.

mod archive_path;
mod audit;
mod checksum;
mod connection;
mod consistency;
mod ends;
mod format;
mod names_cache;
mod packed;
mod salvage;
mod tables;
mod transaction;
mod upcast;
mod verbs;
mod verify;

pub(crate) use connection::database::Database;
pub(crate) use connection::fresh::Watcher;
pub(crate) use salvage::salvage;
pub(crate) use tables::read_model::DocumentTable;
pub use tables::read_model::ReadModel;
pub(crate) use verbs::projections::{Apply, Create, InlineProjection};
