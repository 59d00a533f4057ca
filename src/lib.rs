//! An embedded event store: one SQLite file, in your process, no server, a synchronous API.
#![forbid(unsafe_code)]
#![deny(missing_docs)]
#![cfg_attr(
    not(test),
    deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, clippy::todo, clippy::unimplemented)
)]

mod aggregate;
mod aggregates;
mod append;
mod clock;
mod codec;
mod error;
mod event;
mod execute;
mod fold;
mod gauges;
mod ids;
mod json;
mod maintenance;
pub mod metrics;
mod options;
mod place;
#[cfg(feature = "prometheus")]
pub mod prometheus;
mod read;
mod replay;
mod scope;
mod snapshot;
mod sqlite;
mod statistics;
mod store;
mod trace;
mod trace_context;

pub use aggregate::{Aggregate, Expected, UnknownEvents};
pub use aggregates::{Aggregates, Rebuilt};
pub use append::{Appended, Batch};
pub use clock::Clock;
pub use error::{Conflict, Error, ErrorKind, Result};
pub use event::{EventId, Metadata, NewEvent, RecordedEvent};
pub use execute::Executed;
pub use fold::{FoldError, Folds};
pub use json::Json;
pub use maintenance::checkpoint::Checkpoint;
pub use maintenance::clean_up::{CleanUp, CleanUpTask};
pub use maintenance::purge::{Purge, PurgeReport};
pub use options::{Durability, Options, SnapshotPolicy};
pub use place::{AggregateRef, DEFAULT_TENANT, Position, Version};
pub use read::{Events, Query};
pub use replay::Replayed;
pub use snapshot::{Rejected, Snapshot, SnapshotReason, SnapshotStatistics, SnapshotWarning};
pub use statistics::{EventStatistics, FileStatistics};
pub use store::Store;
pub use trace_context::TraceContext;
