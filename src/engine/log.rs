//! The log: appending, loading, reading, counting; snapshots.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use uuid::Uuid;

use super::{Engine, InlineProjection};
use crate::model::error::Result;
use crate::model::event::RecordedEvent;
use crate::model::filter::Filter;
use crate::storage::append::{AppendOutcome, AppendRequest, Rehearsed, Transaction};
use crate::storage::load::{LoadRequest, Loaded, Loader};
use crate::storage::lookup::{
    AggregateSize, EventStatistics, FileStatistics, Held, Removed, RemovedOf, Room, Rows, SizeReport, TableSize, TypeStatistics,
};
use crate::storage::scan::{ScanCursor, Selection};
use crate::storage::snapshots::{NewSnapshot, SnapshotRow, SnapshotStatistics, SnapshotsOfType};

verbs! {
    /// Runs an append in a transaction that is rolled back, and returns what it would do.
    fn rehearse(&self, request: &AppendRequest<'_>, inline: &[Arc<InlineProjection>]) -> Result<Rehearsed>;
    /// Appends, or returns the earlier result if the same append was made before.
    fn append(&self, request: &AppendRequest<'_>, inline: &[Arc<InlineProjection>]) -> Result<AppendOutcome>;
    /// Passes the next events of a selection, `room` at most, to `ready`.
    fn scan(&self, tenant: &str, selection: &Selection, cursor: &mut ScanCursor, room: usize, ready: &mut VecDeque<RecordedEvent>) -> Result<()>;
    /// The next events after a position that match a filter, `limit` at most, and the position up to which the log was
    /// read.
    fn read_after(&self, tenant: &str, filter: &Filter, after: u64, limit: usize) -> Result<(VecDeque<RecordedEvent>, u64)>;
    /// Counts the events of a selection by looking at each.
    fn count(&self, tenant: &str, selection: &Selection) -> Result<u64>;
    /// Counts the events of a filter in equal spans of time: from when, how long each, how many; in microseconds.
    fn count_by_time(&self, tenant: &str, filter: &Filter, from: i64, width: i64, spans: usize) -> Result<Vec<u64>>;
    /// Counts a tenant's events of these aggregate types and event types; an empty list is no condition.
    fn count_by_type(&self, tenant: &str, aggregate_types: &[String], event_types: &[String]) -> Result<u64>;
    /// Counts an aggregate's events in the log, of these types or of all.
    fn count_of_aggregate(&self, tenant: &str, names: (&str, &str), event_types: &[String]) -> Result<u64>;
    /// A tenant's events by type, and the number of its aggregates.
    fn event_statistics(&self, tenant: &str) -> Result<EventStatistics>;
    /// What each tenant has of each aggregate type, by their names.
    fn statistics_by_type(&self) -> Result<Vec<TypeStatistics>>;
    /// The event with this id, if the tenant has it.
    fn event(&self, tenant: &str, id: Uuid) -> Result<Option<RecordedEvent>>;
    /// The version of an aggregate; 0 if it has no events.
    fn version(&self, tenant: &str, aggregate_type: &str, aggregate_id: &str) -> Result<u64>;
    /// The version up to which an aggregate's events were purged; 0 if none were.
    fn purged_through(&self, tenant: &str, aggregate_type: &str, aggregate_id: &str) -> Result<u64>;
    /// Which events of an aggregate are no longer in the main file.
    fn removed(&self, tenant: &str, aggregate_type: &str, aggregate_id: &str) -> Result<Removed>;
    /// A tenant's aggregates of which events were removed, in the order in which they were made; `limit` at most.
    fn removed_aggregates(&self, tenant: &str, limit: usize) -> Result<Vec<RemovedOf>>;
    /// What each table and index takes, the largest first. Reads every page.
    fn table_sizes(&self) -> Result<Vec<TableSize>>;
    /// Measures some rows after a key, for a size report. Returns the key to continue from; `None` at the end.
    fn measure(&self, rows: Rows, after: i64, rooms: &mut BTreeMap<i64, Room>) -> Result<Option<i64>>;
    /// What an aggregate takes; `None` if it never had events.
    fn aggregate_size(&self, tenant: &str, aggregate_type: &str, aggregate_id: &str) -> Result<Option<AggregateSize>>;
    /// The report of what was measured, with the `top` largest aggregates.
    fn size_report(&self, rooms: &BTreeMap<i64, Room>, top: usize) -> Result<SizeReport>;
    /// The position of the newest event that was ever in the log; 0 if there was none.
    fn last_position(&self) -> Result<u64>;
    /// The names of all tenants, in order.
    fn tenants(&self) -> Result<Vec<String>>;
    /// The names of a tenant's aggregate types, in order.
    fn aggregate_types(&self, tenant: &str) -> Result<Vec<String>>;
    /// The ids of a type's aggregates in order, after `after`, `limit` at most.
    fn ids(&self, tenant: &str, aggregate_type: &str, after: Option<&str>, limit: usize) -> Result<Vec<String>>;
    /// Counts the aggregates of a type.
    fn count_aggregates(&self, tenant: &str, aggregate_type: &str) -> Result<u64>;
    /// Facts about the whole log, read without counting.
    fn file_statistics(&self) -> Result<FileStatistics>;
    /// The first aggregates of the log, of any tenant, and their numbers of events; `limit` at most.
    fn first_aggregates(&self, limit: usize) -> Result<Vec<Held>>;
    /// The numbers of events that these aggregates (number and id) have now.
    fn held(&self, aggregates: Vec<(i64, Arc<str>)>) -> Result<Vec<Held>>;
    /// Saves a snapshot and deletes all but the fold's newest `retain`. Unless `patiently`, returns `false` at once if
    /// somebody else is writing.
    fn save_snapshot(&self, tenant: &str, names: (&str, &str), snapshot: &NewSnapshot<'_>, retain: u32, patiently: bool) -> Result<bool>;
    /// Saves snapshots of several aggregates of a type in one transaction, and waits for its turn.
    fn save_snapshots(&self, tenant: &str, aggregate_type: &str, snapshots: &[(&str, NewSnapshot<'_>)], retain: u32) -> Result<()>;
    /// The snapshots of an aggregate, newest first, damaged ones included.
    fn snapshots(&self, tenant: &str, aggregate_type: &str, aggregate_id: &str) -> Result<Vec<SnapshotRow>>;
    /// The version of an aggregate's newest snapshot, of any fold; `None` if it has none.
    fn newest_snapshot(&self, tenant: &str, aggregate_type: &str, aggregate_id: &str) -> Result<Option<u64>>;
    /// Deletes all snapshots of an aggregate; refuses if a replay needs one to start from.
    fn delete_snapshots(&self, tenant: &str, aggregate_type: &str, aggregate_id: &str) -> Result<u64>;
    /// Deletes all but the newest `retain` snapshots of each fold of an aggregate.
    fn prune_snapshots(&self, tenant: &str, names: (&str, &str), retain: u32) -> Result<u64>;
    /// Deletes some of a tenant's snapshots that were made before a time, in microseconds. Returns how many, and whether
    /// there may be more.
    fn expire_snapshots(&self, tenant: &str, before: i64) -> Result<(u64, bool)>;
    /// Figures over a tenant's snapshots; names `limit` aggregates at most.
    fn snapshot_statistics(&self, tenant: &str, limit: usize) -> Result<SnapshotStatistics>;
    /// Figures over all snapshots, for each aggregate type of each tenant and each fold.
    fn snapshots_by_type(&self) -> Result<Vec<SnapshotsOfType>>;
}

impl Engine {
    /// Gives an aggregate's newest usable snapshot and the events after it to `loader`.
    pub(crate) fn load(&self, request: &LoadRequest<'_>, loader: &mut impl Loader) -> Result<Loaded> {
        match self {
            Engine::Sqlite(database) => database.load(request, loader),
        }
    }

    /// Lets `work` load and append under the write lock. If it fails, nothing is kept.
    pub(crate) fn in_turn<T>(
        &self,
        inline: &[Arc<InlineProjection>],
        work: impl FnOnce(&dyn Transaction) -> Result<T>,
    ) -> Result<T> {
        match self {
            Engine::Sqlite(database) => database.in_turn(inline, work),
        }
    }
}
