//! What crosses the seam between the library and the engine that stores the log: requests and answers, no I/O, no SQL.

pub(crate) mod delivery;
