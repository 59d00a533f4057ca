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
mod ids;
mod json;
mod maintenance;
mod options;
mod outbox;
mod place;
mod projection;
mod read;
mod replay;
mod runner;
mod scope;
mod signal;
mod snapshot;
mod sqlite;
mod statistics;
mod store;
mod subscription;

pub use aggregate::{Aggregate, Expected, UnknownEvents};
pub use aggregates::{Aggregates, Rebuilt};
pub use append::{Appended, Batch};
pub use clock::Clock;
pub use error::{Conflict, Error, ErrorKind, Result};
pub use event::{EventId, Metadata, NewEvent, RecordedEvent};
pub use execute::Executed;
pub use fold::{FoldError, Folds};
pub use json::Json;
pub use maintenance::clean_up::{CleanUp, CleanUpTask};
pub use maintenance::purge::{Purge, PurgeReport};
pub use options::{Durability, Options, SnapshotPolicy};
pub use outbox::dead_letters::{DeadLetter, DeadLetterIter, DeadLetters};
#[cfg(feature = "nats")]
pub use outbox::nats::Nats;
pub use outbox::publisher::{Message, PublishError, Publisher};
#[cfg(feature = "webhook")]
pub use outbox::webhook::Webhook;
pub use outbox::{DeadLetterPolicy, Outbox, OutboxStatus};
pub use place::{AggregateRef, DEFAULT_TENANT, Position, Version};
pub use projection::{Projection, ProjectionRunner, RebuildProgress};
pub use read::{Events, Query};
pub use replay::Replayed;
pub use runner::{Follower, HandlerError, StopReason, SubscriptionStatus};
pub use snapshot::{Rejected, Snapshot, SnapshotReason, SnapshotStatistics, SnapshotWarning};
pub use sqlite::read_model::ReadModel;
pub use statistics::{EventStatistics, FileStatistics};
pub use store::Store;
pub use subscription::{StartFrom, Subscription};

/// The SQLite bindings that [`ReadModel`] speaks: its version is part of this crate's public API.
pub use rusqlite;
