//! The verbs of this engine: whole operations, each in its own transaction. `src/engine` says what each promises.

mod append;
mod archive;
mod chain;
mod compact;
mod conditions;
mod deliveries;
mod erase;
mod load;
pub(super) mod lookup;
mod losses;
pub(crate) mod projections;
mod purge;
mod readers;
mod rehearse;
mod reindex;
mod removed;
mod repeat;
pub(super) mod scan;
mod sizes;
mod skip_existing;
mod snapshots;
mod statistics;
mod subscriptions;
mod wipe;
