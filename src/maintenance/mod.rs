//! Upkeep that no single request pays for.

pub(crate) mod archive;
pub(crate) mod audit;
pub(crate) mod backup;
pub(crate) mod checkpoint;
pub(crate) mod clean_up;
pub(crate) mod erase;
pub(crate) mod purge;
pub(crate) mod retention;
pub(crate) mod snapshot_check;
pub(crate) mod space;
pub(crate) mod upkeep;
pub(crate) mod verify;
