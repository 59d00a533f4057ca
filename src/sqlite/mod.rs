//! The only place that knows rusqlite and SQL.
//!
//! Each table family has a file with its row type and its statements. Everything here works on one connection and is
//! called inside a transaction that [`database`] opened; nothing here knows a fold, a policy or a handle.

pub(crate) mod aggregates;
pub(crate) mod beside;
pub(crate) mod blocks;
pub(crate) mod checksum;
mod copy;
pub(crate) mod database;
mod doubt;
pub(crate) mod event_writes;
pub(crate) mod events;
mod failure;
mod former;
mod holes;
mod id_order;
mod links;
pub(crate) mod log;
mod migrate;
pub(crate) mod names;
mod open;
mod pace;
pub(crate) mod places;
pub(crate) mod snapshots;
pub(crate) mod state;
pub(crate) mod tables;
pub(crate) mod transaction;
pub(crate) mod verbs;
mod connection {
    pub(super) mod failure {
        pub(in crate::sqlite) use crate::sqlite::failure::Sql;
    }
}
mod names_cache {
    pub(super) use crate::sqlite::names::{Learnt, Names as NamesCache};
}
mod turn;
pub(crate) mod verify;
mod waiting;

pub(crate) use beside::Anew;
pub(crate) use database::{Database, View, Writing};

/// `key`: the events, and the snapshots, of an aggregate lie side by side in version order.
pub(crate) fn key(aggregate: i64, version: u64) -> i64 {
    // Both halves are bounded by CHECKs in the schema and by Version::MAX; a damaged number must not overflow.
    (aggregate.wrapping_shl(32)) | i64::try_from(version & u64::from(u32::MAX)).unwrap_or(i64::MAX)
}

/// The version that a key ends with.
pub(crate) fn key_version(key: i64) -> u64 {
    key.cast_unsigned() & u64::from(u32::MAX)
}
