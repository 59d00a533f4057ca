//! State: replay, snapshots, and decisions on it.

pub(crate) mod compare;
pub(crate) mod execute;
pub(crate) mod replay;
pub(crate) mod restorable;
pub(crate) mod snapshot;
pub(crate) mod steps;
