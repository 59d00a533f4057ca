//! An embedded event store: an append-only log of JSON events and their snapshots, in one SQLite file, in your process.
//!
//! Open a [`Store`]. Define an [`Aggregate`]: how state follows from events. The handle [`Aggregates`] appends,
//! replays, executes decisions and keeps snapshots; [`Query`] reads events across aggregates; [`Subscription`],
//! [`Projection`] and [`Outbox`] deliver them. [`Error`] says what failed, where, why, and what to do next.
//!
//! It is not a server, not a message broker, and not for several machines that write one log. There is no async API:
//! inside an async application call it on a blocking thread.
//!
//! [crates/foldlog-inspector]: https://docs.rs/foldlog-inspector
//! [docs/delivery.md]: guide::delivery
//! [docs/audit.md]: guide::audit
//! [docs/schema-evolution.md]: guide::schema_evolution
//! [docs/metrics.md]: guide::metrics
//! [docs/reliability.md]: guide::reliability
//! [docs/upkeep.md]: guide::upkeep
//! [docs/figures.md]: guide::figures
//! [docs/investigation.md]: guide::investigation
//! [ARCHITECTURE.md]: guide::architecture
//! [schema.sql]: guide::file_format
//! [docs/decisions]: guide::decisions
//! [CHANGELOG.md]: guide::changelog
//!
#![doc = include_str!("../README.md")]
// Variants and fields can come without a new major version.
#![deny(clippy::exhaustive_enums, clippy::exhaustive_structs)]

mod delivery;
mod engine;
#[cfg(all(doc, not(doctest)))]
pub mod guide;
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
mod sync;
pub mod testing;
mod trace;
mod transfer;

pub use delivery::control::{Failure, SubscriptionStatus};
pub use delivery::documents::Documents;
pub use delivery::outbox::cloud_events::CloudEvents;
pub use delivery::outbox::dead_letters::{DeadLetter, DeadLetterIter, DeadLetters};
pub use delivery::outbox::publisher::{Message, PublishError, Publisher};
pub use delivery::outbox::{DeadLetterPolicy, Outbox, OutboxStatus};
pub use delivery::projection::{Projection, ProjectionRunner, RebuildProgress};
pub use delivery::runner::{Follower, HandlerError, StopReason};
pub use delivery::subscription::Subscription;
pub use engine::ReadModel;
pub use log::append::Batch;
pub use log::pages::{DocumentIter, Ids};
pub use log::query::{Events, Query};
pub use log::watch::Watch;
pub use maintenance::archive::{Archive, ArchiveReport};
pub use maintenance::backup::{BackupProgress, BackupStep, Restored};
pub use maintenance::clean_up::{ExpiryProgress, SnapshotExpiry, SnapshotExpiryTask};
pub use maintenance::erase::{Erase, EraseReport, WipeReport};
pub use maintenance::purge::{HeldBack, Kept, Purge, PurgeReport};
pub use maintenance::retention::{Keep, Retention, RetentionReport, RuleReport};
pub use maintenance::upkeep::{TenantUpkeep, Upkeep, UpkeepReport, UpkeepTask};
pub use model::aggregate::{Aggregate, UnknownEvents};
pub use model::annotated::Annotated;
pub use model::audit_digest::AuditDigest;
pub use model::clock::Clock;
pub use model::damage::Damage;
pub use model::decision::{ExecuteError, IntoDecision};
pub use model::error::{Conflict, Error, ErrorKind, Result};
pub use model::event::{EventContext, EventId, NewEvent, RecordedEvent};
pub use model::expected::Expected;
pub use model::filter::Filter;
pub use model::fold::{AggregateKind, FoldError};
pub use model::json::Json;
pub use model::metadata::Metadata;
pub use model::place::{AggregateRef, DEFAULT_TENANT, Position, Version};
pub use model::upcast::{UpcastError, Upcasters};
pub use options::{Durability, Options, SnapshotPolicy};
pub use state::execute::Executed;
pub use state::replay::Replayed;
pub use state::snapshot::{Rejected, Snapshot, SnapshotReason, SnapshotWarning};
pub use state::steps::{Step, Steps};
pub use storage::append::Appended;
pub use storage::delivery::{ChangeKind, FilterChange, RowChange, StartFrom, SubscriptionKind};
pub use storage::erasure::{Erasure, ProjectionToRebuild};
pub use storage::lookup::{
    AggregateSize, EventStatistics, FileStatistics, Removed, RemovedOf, Room, SizeReport, TableSize, TypeSize, TypeStatistics,
};
pub use storage::repair::{Lost, RepairProgress, RepairReport, RepairStep};
pub use storage::snapshots::{SnapshotStatistics, SnapshotsOf, SnapshotsOfType};
pub use storage::upkeep::{CompactProgress, ReindexProgress, WalCheckpoint};
pub use storage::verify::{Verified, VerifyProgress, VerifyReport, VerifyStep};
pub use store::Store;
pub use store::aggregates::Aggregates;
pub use store::each::{EachProgress, ReplayEach};
pub use store::maintenance::Maintenance;
pub use store::preview::Preview;
pub use store::together::{AggregateSet, EventsOf, ExecutedTogether, IntoDecisions, OneAggregate};

pub use model::trace_context::TraceContext;
pub use transfer::export::{Export, ExportProgress};
pub use transfer::import::{Import, ImportProgress};
pub use transfer::table::{Table, TableFormat};
/// Crates whose types are in this crate's signatures, so that their versions are part of its public API. [`rusqlite`] is
/// for [`ReadModel`].
pub use {chrono, rusqlite, serde_json, uuid};
