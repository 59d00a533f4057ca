//! State: replay, snapshots, and decisions on it.

pub(crate) mod execute;
pub(crate) mod replay;
pub(crate) mod snapshot;
pub(crate) mod steps;
