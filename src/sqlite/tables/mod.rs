//! One file for each table family: its rows and its statements. Everything here runs inside a transaction.

pub(super) mod ages;
pub(super) mod aggregate_counts;
pub(super) mod aggregates;
pub(super) mod archive;
pub(super) mod block_changes;
pub(super) mod block_checks;
pub(super) mod block_counts;
pub(super) mod block_summaries;
pub(super) mod chain;
pub(super) mod changes;
pub(super) mod deliveries;
pub(super) mod erasures;
pub(super) mod event_ids;
pub(super) mod event_tags;
pub(super) mod event_writes;
pub(super) mod events;
pub(super) mod keys;
pub(super) mod log_state;
pub(super) mod losses;
pub(super) mod names;
pub(super) mod positions;
pub(super) mod read_model;
pub(super) mod removed_ids;
pub(super) mod snapshots;
pub(super) mod subscriptions;
