//! An embedded event store: an append-only log of JSON events and their snapshots, in one SQLite file, in your process.
//!
//! [`Store`] is what an application opens. [`Aggregate`] is what it writes: how state follows from events. The handle
//! [`Aggregates`] appends, replays, executes decisions and keeps snapshots; [`Query`] reads events across aggregates;
//! [`Subscription`] and [`Projection`] deliver them. [`Error`] says what went wrong, where, and what to do.
//!
//! It is not a server, not a message broker, and not for several machines writing one log. There is no async: inside an
//! async application call it on a blocking thread.
//!
#![doc = include_str!("../README.md")]
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
mod damage;
mod documents;
mod error;
mod event;
mod execute;
mod fold;
mod gauges;
mod ids;
mod json;
mod maintenance;
pub mod metrics;
mod misfit;
mod options;
mod outbox;
mod place;
mod preview;
mod projection;
#[cfg(feature = "prometheus")]
pub mod prometheus;
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
pub mod testing;
mod trace;
mod trace_context;

pub use aggregate::{Aggregate, Expected, UnknownEvents};
pub use aggregates::{Aggregates, Rebuilt};
pub use append::{Appended, Batch};
pub use clock::Clock;
pub use damage::Damage;
pub use documents::Documents;
pub use error::{Conflict, Error, ErrorKind, Result};
pub use event::{EventId, Metadata, NewEvent, RecordedEvent};
pub use execute::Executed;
pub use fold::{FoldError, Folds};
pub use json::Json;
pub use maintenance::checkpoint::Checkpoint;
pub use maintenance::clean_up::{CleanUp, CleanUpTask};
pub use maintenance::purge::{HeldBack, Purge, PurgeReport};
pub use maintenance::verify::{VerifyProgress, VerifyReport, VerifyStep};
pub use options::{Durability, Options, SnapshotPolicy};
pub use outbox::dead_letters::{DeadLetter, DeadLetterIter, DeadLetters};
#[cfg(feature = "nats")]
pub use outbox::nats::Nats;
pub use outbox::publisher::{Message, PublishError, Publisher};
#[cfg(feature = "webhook")]
pub use outbox::webhook::Webhook;
pub use outbox::{DeadLetterPolicy, Outbox, OutboxStatus};
pub use place::{AggregateRef, DEFAULT_TENANT, Position, Version};
pub use preview::{ChangeKind, Preview, RowChange};
pub use projection::{Projection, ProjectionRunner, RebuildProgress};
pub use read::{Events, Query};
pub use replay::Replayed;
pub use runner::{Follower, HandlerError, StopReason, SubscriptionStatus};
pub use snapshot::{Rejected, Snapshot, SnapshotReason, SnapshotStatistics, SnapshotWarning};
pub use sqlite::read_model::ReadModel;
pub use statistics::{EventStatistics, FileStatistics};
pub use store::Store;
pub use subscription::{StartFrom, Subscription};

/// The NATS client that [`Nats::connect_options`] speaks: its version is part of this crate's public API.
#[cfg(feature = "nats")]
pub use async_nats;

/// The SQLite bindings that [`ReadModel`] speaks: its version is part of this crate's public API.
pub use rusqlite;
pub use trace_context::TraceContext;
