//! What the library asks of this engine: whole operations, each in a transaction of its own.

mod append;
mod deliveries;
mod load;
pub(super) mod lookup;
pub(crate) mod projections;
mod purge;
mod readers;
mod rehearse;
mod reindex;
mod repeat;
pub(super) mod scan;
mod snapshots;
mod statistics;
mod subscriptions;
