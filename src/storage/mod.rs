//! The types that cross the seam between the library and an engine: requests and results. No I/O, no SQL.

pub(crate) mod append;
pub(crate) mod delivery;
pub(crate) mod erasure;
pub(crate) mod load;
pub(crate) mod lookup;
pub(crate) mod repair;
pub(crate) mod scan;
pub(crate) mod snapshots;
pub(crate) mod upkeep;
pub(crate) mod verify;
