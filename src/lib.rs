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

mod delivery;
mod engine;
mod log;
mod maintenance;
pub mod metrics;
mod model;
mod options;
#[cfg(feature = "prometheus")]
pub mod prometheus;
mod sqlite;
mod state;
mod storage;
mod store;
pub mod testing;
mod trace;

pub use delivery::control::{Failure, SubscriptionStatus};
pub use delivery::documents::Documents;
pub use delivery::outbox::dead_letters::{DeadLetter, DeadLetterIter, DeadLetters};
#[cfg(feature = "nats")]
pub use delivery::outbox::nats::Nats;
pub use delivery::outbox::publisher::{Message, PublishError, Publisher};
#[cfg(feature = "webhook")]
pub use delivery::outbox::webhook::Webhook;
pub use delivery::outbox::{DeadLetterPolicy, Outbox, OutboxStatus};
pub use delivery::projection::{Projection, ProjectionRunner, RebuildProgress};
pub use delivery::runner::{Follower, HandlerError, StopReason};
pub use delivery::subscription::Subscription;
pub use engine::ReadModel;
pub use log::append::{Appended, Batch};
pub use log::query::{Events, Query};
pub use log::statistics::{EventStatistics, FileStatistics};
pub use maintenance::checkpoint::Checkpoint;
pub use maintenance::clean_up::{CleanUp, CleanUpTask};
pub use maintenance::purge::{HeldBack, Purge, PurgeReport};
pub use maintenance::verify::{VerifyProgress, VerifyReport, VerifyStep};
pub use model::aggregate::{Aggregate, Expected, UnknownEvents};
pub use model::clock::Clock;
pub use model::damage::Damage;
pub use model::error::{Conflict, Error, ErrorKind, Result};
pub use model::event::{EventId, Metadata, NewEvent, RecordedEvent};
pub use model::filter::Filter;
pub use model::fold::{FoldError, Folds};
pub use model::json::Json;
pub use model::place::{AggregateRef, DEFAULT_TENANT, Position, Version};
pub use options::{Durability, Options, SnapshotPolicy};
pub use state::execute::Executed;
pub use state::replay::Replayed;
pub use state::snapshot::{Rejected, Snapshot, SnapshotReason, SnapshotStatistics, SnapshotWarning};
pub use storage::delivery::{ChangeKind, FilterChange, RowChange, StartFrom, SubscriptionKind};
pub use store::Store;
pub use store::aggregates::{Aggregates, Rebuilt};
pub use store::preview::Preview;

/// The NATS client that [`Nats::connect_options`] speaks: its version is part of this crate's public API.
#[cfg(feature = "nats")]
pub use async_nats;

pub use model::trace_context::TraceContext;
/// The SQLite bindings that [`ReadModel`] speaks: its version is part of this crate's public API.
pub use rusqlite;
