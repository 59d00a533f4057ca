//! State: what follows from events, and snapshots of it.

pub(crate) mod execute;
pub(crate) mod replay;
pub(crate) mod snapshot;
