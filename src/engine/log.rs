//! The log: appending, loading, reading, counting; snapshots.

use std::collections::VecDeque;
use std::sync::Arc;

use uuid::Uuid;

use super::{Engine, InlineProjection};
use crate::model::error::Result;
use crate::model::event::RecordedEvent;
use crate::storage::append::{AppendOutcome, AppendRequest, Rehearsed, Transaction};
use crate::storage::load::{LoadRequest, Loaded, Loader};
use crate::storage::lookup::{EventCounts, Held, LogFacts};
use crate::storage::scan::{ScanCursor, Selection};
use crate::storage::snapshots::{NewSnapshot, SnapshotCounts, SnapshotRow, SnapshotTotals};

verbs! {
    /// What an append would do, in a transaction that is rolled back.
    fn rehearse(&self, request: &AppendRequest<'_>, inline: &[Arc<InlineProjection>]) -> Result<Rehearsed>;
    /// Appends, or finds that the same append was made before.
    fn append(&self, request: &AppendRequest<'_>, inline: &[Arc<InlineProjection>]) -> Result<AppendOutcome>;
    /// Reads the next events of a selection, `room` at most, to `ready`.
    fn scan(&self, tenant: &str, selection: &Selection, cursor: &mut ScanCursor, room: usize, ready: &mut VecDeque<RecordedEvent>) -> Result<()>;
    /// How many events of a selection there are; looks at each.
    fn count(&self, tenant: &str, selection: &Selection) -> Result<u64>;
    /// How many events a tenant has of these aggregate types and event types; an empty list is no condition.
    fn count_by_type(&self, tenant: &str, aggregate_types: &[String], event_types: &[String]) -> Result<u64>;
    /// How many events of these types, or of all, an aggregate has in the log.
    fn count_of_aggregate(&self, tenant: &str, names: (&str, &str), event_types: &[String]) -> Result<u64>;
    /// How many events of each type a tenant has, and how many aggregates.
    fn event_counts(&self, tenant: &str) -> Result<EventCounts>;
    /// The event with this id, if the tenant has it.
    fn event(&self, tenant: &str, id: Uuid) -> Result<Option<RecordedEvent>>;
    /// The version of an aggregate; 0 if it has no events.
    fn version(&self, tenant: &str, aggregate_type: &str, aggregate_id: &str) -> Result<u64>;
    /// The position of the newest event that ever was in the log; 0 if there was none.
    fn last_position(&self) -> Result<u64>;
    /// The names of all tenants, in order.
    fn tenants(&self) -> Result<Vec<String>>;
    /// The names of a tenant's aggregate types, in order.
    fn aggregate_types(&self, tenant: &str) -> Result<Vec<String>>;
    /// The ids of a type's aggregates in order, after `after`, `limit` at most.
    fn ids(&self, tenant: &str, aggregate_type: &str, after: Option<&str>, limit: usize) -> Result<Vec<String>>;
    /// How many aggregates of a type there are.
    fn count_aggregates(&self, tenant: &str, aggregate_type: &str) -> Result<u64>;
    /// What the log as a whole holds; nothing is counted.
    fn facts(&self) -> Result<LogFacts>;
    /// The first aggregates of the log, of whatever tenant, with what they hold; `limit` at most.
    fn first_aggregates(&self, limit: usize) -> Result<Vec<Held>>;
    /// What these aggregates, by number and id, hold now.
    fn held(&self, aggregates: Vec<(i64, Arc<str>)>) -> Result<Vec<Held>>;
    /// Saves a snapshot and deletes all but the fold's newest `retain`. Without `patiently` it gives up, with `false`,
    /// if somebody else is writing.
    fn save_snapshot(&self, tenant: &str, names: (&str, &str), snapshot: &NewSnapshot<'_>, retain: u32, patiently: bool) -> Result<bool>;
    /// Saves snapshots of several aggregates of a type in one transaction, waiting for its turn.
    fn save_snapshots(&self, tenant: &str, aggregate_type: &str, snapshots: &[(&str, NewSnapshot<'_>)], retain: u32) -> Result<()>;
    /// The snapshots of an aggregate, newest first, damaged ones among them.
    fn snapshots(&self, tenant: &str, aggregate_type: &str, aggregate_id: &str) -> Result<Vec<SnapshotRow>>;
    /// Deletes all snapshots of an aggregate; refuses if its replay has nothing else to start from.
    fn delete_snapshots(&self, tenant: &str, aggregate_type: &str, aggregate_id: &str) -> Result<u64>;
    /// Deletes all but the newest `retain` snapshots of each fold of an aggregate.
    fn prune_snapshots(&self, tenant: &str, names: (&str, &str), retain: u32) -> Result<u64>;
    /// Deletes a tenant's snapshots that were made before a time, in microseconds; returns how many.
    fn expire_snapshots(&self, tenant: &str, before: i64) -> Result<u64>;
    /// Figures over a tenant's snapshots, and how many aggregates have, `limit` of them.
    fn snapshot_totals(&self, tenant: &str, limit: usize) -> Result<(SnapshotTotals, SnapshotCounts)>;
}

impl Engine {
    /// Gives an aggregate's newest usable snapshot and the events after it to `loader`.
    pub(crate) fn load(&self, request: &LoadRequest<'_>, loader: &mut impl Loader) -> Result<Loaded> {
        match self {
            Engine::Sqlite(database) => database.load(request, loader),
        }
    }

    /// Loads an aggregate, if it has events, and lets `work` append while nobody else can write.
    pub(crate) fn load_in_turn<L: Loader, T>(
        &self,
        request: &LoadRequest<'_>,
        loader: &mut L,
        inline: &[Arc<InlineProjection>],
        work: impl FnOnce(&mut L, Option<Loaded>, &dyn Transaction) -> Result<T>,
    ) -> Result<T> {
        match self {
            Engine::Sqlite(database) => database.load_in_turn(request, loader, inline, work),
        }
    }
}
