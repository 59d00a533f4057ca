//! The store: what an application opens.

pub(crate) mod aggregates;
mod backup;
mod batch;
mod delivery;
pub(crate) mod each;
mod erase;
pub(crate) mod maintenance;
mod migrate;
mod outbox;
pub(crate) mod preview;
mod read_models;
mod snapshots;
mod storage;
pub(crate) mod together;
mod transfer;
mod upkeep;

use std::fmt;
use std::path::Path;
use std::time::Duration;

use chrono::{DateTime, Utc};
use serde_json::Value;

use crate::engine::Engine;
use crate::log::append::{self, Batch, Snapshots};
use crate::log::gauges;
use crate::log::query::{self, Events, Query};
use crate::log::scope::Scope;
use crate::log::wait;
use crate::log::watch::Watch;
use crate::model::aggregate::Aggregate;
use crate::model::error::Result;
use crate::model::event::{EventId, NewEvent, RecordedEvent};
use crate::model::expected::Expected;
use crate::model::filter::Filter;
use crate::model::place::{Position, Version};
use crate::options::Options;
use crate::storage::append::Appended;
use crate::storage::lookup::{EventStatistics, FileStatistics, TypeStatistics};
use crate::storage::snapshots::{SnapshotStatistics, SnapshotsOfType};
use crate::store::aggregates::Aggregates;
use crate::trace;

/// The most aggregates that the statistics of snapshots name; the totals cover all.
const AGGREGATES_NAMED: usize = 10_000;

/// An open event store.
///
/// Cheap to clone, `Send` and `Sync`. There is one writer, and readers never wait for it. Several stores may have the
/// same file open, in one or several processes. A handle belongs to one tenant; [`Store::open`] returns that of the
/// default tenant.
///
/// If the file, or its `-wal` file, is deleted, moved or replaced while the store is open, calls fail with
/// [`ErrorKind::FileMoved`](crate::ErrorKind::FileMoved). Copy an open store only with
/// [`Store::backup`].
///
/// In a process that was forked after the store was opened, every call fails with [`ErrorKind::Forked`](crate::ErrorKind::Forked). Open the store
/// again there.
#[derive(Clone)]
pub struct Store {
    scope: Scope,
}

impl Store {
    /// Opens a file for reading and writing with the default options, and creates it if it does not exist. On Unix only
    /// its owner may access a new file (mode 0600). An existing file keeps its mode, so create an empty one with
    /// another mode to share it.
    ///
    /// # Errors
    /// [`ErrorKind::ForeignFile`](crate::ErrorKind::ForeignFile) and [`ErrorKind::FormatTooNew`](crate::ErrorKind::FormatTooNew) for a file that this version must not write; it is
    /// not changed. [`ErrorKind::Io`](crate::ErrorKind::Io) for a directory, a missing directory, or an error of the operating system,
    /// with its reason. [`ErrorKind::HardLink`](crate::ErrorKind::HardLink) for a file with several names.
    /// [`ErrorKind::Busy`](crate::ErrorKind::Busy) if another process holds the write lock for longer than the busy time-out.
    ///
    /// ```
    /// # let directory = tempfile::tempdir().unwrap();
    /// # let path = directory.path().join("bank.db");
    /// let store = foldlog::Store::open(&path)?;
    /// assert_eq!(store.file_statistics()?.events, 0);
    /// # Ok::<(), foldlog::Error>(())
    /// ```
    pub fn open(path: impl AsRef<Path>) -> Result<Store> {
        Options::new().open(path)
    }

    /// Opens an existing file for reading. Works on a read-only medium too, unless there is a write-ahead log with
    /// events for the file.
    ///
    /// # Errors
    /// As [`Store::open`]; [`ErrorKind::Io`](crate::ErrorKind::Io) if there is no file; [`ErrorKind::ReadOnly`](crate::ErrorKind::ReadOnly) if it is empty.
    pub fn open_read_only(path: impl AsRef<Path>) -> Result<Store> {
        Options::new().open_read_only(path)
    }

    /// Creates a store in memory. It is lost with its last handle.
    ///
    /// # Errors
    /// If there is not enough memory.
    pub fn in_memory() -> Result<Store> {
        Options::new().in_memory()
    }

    /// The same store for another tenant. Each tenant has its own aggregates and cannot see another's events. A newly
    /// opened store has the tenant `"default"`.
    ///
    /// ```
    /// use foldlog::{Expected, NewEvent, Query, Store};
    /// let store = Store::in_memory()?;
    /// let acme = store.tenant("acme");
    /// acme.append("account", "acc-1", Expected::New, [NewEvent::new("Opened", &())?])?;
    /// assert_eq!(store.read(Query::new()).count(), 0);
    /// assert_eq!(acme.read(Query::new()).count(), 1);
    /// # Ok::<(), foldlog::Error>(())
    /// ```
    ///
    /// An invalid name (empty, too long, with a NUL) is refused by the first append.
    pub fn tenant(&self, tenant: &str) -> Store {
        Store { scope: Scope { log: self.scope.log.clone(), tenant: tenant.into() } }
    }

    /// The tenant of this handle.
    pub fn tenant_name(&self) -> &str {
        &self.scope.tenant
    }

    /// The names of all tenants that have or had events, in order.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn tenants(&self) -> Result<Vec<String>> {
        self.scope.engine().tenants().map_err(|error| error.during("tenants"))
    }

    /// The aggregates of a type.
    pub fn aggregates<A: Aggregate>(&self) -> Aggregates<A> {
        Aggregates::typed(self.scope.clone())
    }

    /// The aggregates of a type without Rust types: events are JSON, and the state follows from them by JSON Merge Patch
    /// (RFC 7396) or by a function, see [`fold_with`](Aggregates::fold_with).
    ///
    /// ```
    /// use foldlog::{Expected, NewEvent, Store};
    /// use serde_json::json;
    ///
    /// let orders = Store::in_memory()?.json_aggregates("order");
    /// orders.append("o-1", Expected::New, [
    ///     NewEvent::new("Placed", &json!({"customer": "c-1", "status": "open"}))?,
    ///     NewEvent::new("Shipped", &json!({"status": "shipped"}))?,
    /// ])?;
    /// assert_eq!(orders.replay("o-1")?.state, json!({"customer": "c-1", "status": "shipped"}));
    /// # Ok::<(), foldlog::Error>(())
    /// ```
    pub fn json_aggregates(&self, aggregate_type: &str) -> Aggregates<Value> {
        Aggregates::json(self.scope.clone(), aggregate_type)
    }

    /// The names of this tenant's aggregate types, in order.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn aggregate_types(&self) -> Result<Vec<String>> {
        self.scope.engine().aggregate_types(&self.scope.tenant).map_err(|error| error.during("aggregate types"))
    }

    /// Appends events to one aggregate, all or none.
    ///
    /// # Errors
    /// As [`Aggregates::append_events`].
    pub fn append(
        &self,
        aggregate_type: &str,
        aggregate_id: impl fmt::Display,
        expected: impl Into<Expected>,
        events: impl IntoIterator<Item: Into<NewEvent>>,
    ) -> Result<Appended> {
        let appended = self.commit(Batch::new().append(aggregate_type, aggregate_id, expected, events))?;
        appended.into_iter().next().ok_or_else(append::no_result)
    }

    /// Appends events to several aggregates, all or none. Returns a result for each [`Batch::append`], in order.
    ///
    /// # Errors
    /// As [`Aggregates::append_events`].
    pub fn commit(&self, batch: Batch) -> Result<Vec<Appended>> {
        append::commit(&self.scope, &batch, Snapshots::default(), None).map(|outcome| outcome.appended)
    }

    /// Reads events.
    pub fn read(&self, query: impl Into<Query>) -> Events {
        Events::new(self.scope.clone(), query.into())
    }

    /// The newest events of all aggregates, newest first.
    ///
    /// # Errors
    /// If the file cannot be read or an event is damaged.
    pub fn recent_events(&self, limit: u64) -> Result<Vec<RecordedEvent>> {
        self.read(Query::new().newest_first().limit(limit)).collect()
    }

    /// The event with this id, if this tenant has it.
    ///
    /// # Errors
    /// If the file cannot be read or the event is damaged.
    pub fn event(&self, id: EventId) -> Result<Option<RecordedEvent>> {
        self.scope.engine().event(&self.scope.tenant, id).map_err(|error| error.during("event"))
    }

    /// The version of an aggregate; 0 if it has no events.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn version(&self, aggregate_type: &str, aggregate_id: impl fmt::Display) -> Result<Version> {
        let aggregate_id = &*aggregate_id.to_string();
        self.scope
            .engine()
            .version(&self.scope.tenant, aggregate_type, aggregate_id)
            .map(Version::new)
            .map_err(|error| error.during("version").of(&self.scope.aggregate(aggregate_type, aggregate_id)))
    }

    /// The position of the newest event that was ever in the file, of any tenant; 0 if there was none.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn last_position(&self) -> Result<Position> {
        self.scope.engine().last_position().map(Position::new).map_err(|error| error.during("last position"))
    }

    /// Waits until the log has reached a position, by an append of any tenant, thread or process. Returns `false` if the
    /// time is over first. `Duration::MAX` waits for ever. Use it for a reader that keeps its own position; it writes
    /// nothing to the file.
    ///
    /// ```
    /// use std::time::Duration;
    /// use foldlog::{Expected, NewEvent, Position, Query, Store};
    ///
    /// let store = Store::in_memory()?;
    /// store.append("order", "o-1", Expected::New, [NewEvent::new("Placed", &())?])?;
    /// let mut seen = Position::ZERO;
    /// while store.wait_for(seen + 1, Duration::from_millis(1))? {
    ///     for event in store.read(Query::new().after_position(seen)) {
    ///         seen = event?.position;
    ///     }
    /// }
    /// assert_eq!(seen, 1);
    /// # Ok::<(), foldlog::Error>(())
    /// ```
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn wait_for(&self, position: impl Into<Position>, timeout: Duration) -> Result<bool> {
        wait::wait_for(&self.scope, position.into(), timeout).map_err(|error| error.during("wait"))
    }

    /// Watches for new events that match a filter, for instance to refresh a window. It begins after the newest event
    /// in the log now; [`Watch::after`] begins elsewhere. Unlike a [subscription](Store::subscription) it leaves
    /// nothing in the file, so it does not hold back a purge, and what is purged before it is read is passed over.
    ///
    /// ```
    /// use std::time::Duration;
    /// use foldlog::{Expected, Filter, NewEvent, Store};
    ///
    /// let store = Store::in_memory()?;
    /// let mut orders = store.watch(Filter::new().aggregate_type("order"))?;
    /// assert!(orders.next_within(Duration::ZERO)?.is_none());
    /// store.append("order", "o-1", Expected::New, [NewEvent::new("Placed", &())?])?;
    /// let event = orders.next_within(Duration::from_secs(1))?.unwrap();
    /// assert_eq!(&*event.aggregate_id, "o-1");
    /// # Ok::<(), foldlog::Error>(())
    /// ```
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn watch(&self, filter: Filter) -> Result<Watch> {
        Watch::new(&self.scope, filter).map_err(|error| error.during("watch"))
    }

    /// Counts the events of a query. By type alone this is quick in a log of any length; with tags, times or positions
    /// each event is read.
    ///
    /// ```
    /// use foldlog::{Filter, Query};
    /// # let store = foldlog::Store::in_memory()?;
    /// let all = store.count(Query::new())?;
    /// let deposits = store.count(Filter::new().event_type("Deposited"))?;
    /// let of_one = store.count(Query::aggregate("account", "acc-1"))?;
    /// # assert_eq!((all, deposits, of_one), (0, 0, 0));
    /// # Ok::<(), foldlog::Error>(())
    /// ```
    ///
    /// # Errors
    /// If the file cannot be read or an event is damaged.
    pub fn count(&self, query: impl Into<Query>) -> Result<u64> {
        query::count(&self.scope, &query.into()).map_err(|error| error.during("count"))
    }

    /// Counts the events of a filter in equal spans of time: one number for each span of this width, the first beginning at
    /// `from`. For charts: quick in a log of any length, because only stretches of the log that cross from one span to the
    /// next are read event by event.
    ///
    /// ```
    /// use std::time::Duration;
    /// use foldlog::{Expected, Filter, NewEvent, Store, chrono::Utc};
    /// let store = Store::in_memory()?;
    /// store.append("order", "o-1", Expected::New, [NewEvent::new("Placed", &())?])?;
    /// let hour = Duration::from_secs(3600);
    /// let yesterday = Utc::now() - 24 * hour;
    /// let each_hour = store.count_by_time(&Filter::new(), yesterday, hour, 25)?;
    /// assert_eq!((each_hour.len(), each_hour.iter().sum::<u64>()), (25, 1));
    /// # Ok::<(), foldlog::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`](crate::ErrorKind::InvalidInput) for a width of zero, more than 100,000 spans, or a filter
    /// with tags; otherwise if the file cannot be read or an event is damaged.
    pub fn count_by_time(&self, filter: &Filter, from: DateTime<Utc>, width: Duration, spans: usize) -> Result<Vec<u64>> {
        query::count_by_time(&self.scope, filter, from, width, spans).map_err(|error| error.during("count by time"))
    }

    /// Statistics about this tenant's events, quick in a log of any length.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn statistics(&self) -> Result<EventStatistics> {
        self.scope.engine().event_statistics(&self.scope.tenant).map_err(|error| error.during("statistics"))
    }

    /// What each tenant has of each aggregate type, in the order of their names. One pass over the summaries of the log, quick
    /// in a log of any length.
    ///
    /// ```
    /// use foldlog::{Expected, NewEvent, Store};
    /// let store = Store::in_memory()?;
    /// store.append("order", "o-1", Expected::New, [NewEvent::new("Placed", &())?])?;
    /// let all = store.statistics_by_type()?;
    /// assert_eq!((&*all[0].tenant, &*all[0].aggregate_type, all[0].events), ("default", "order", 1));
    /// # Ok::<(), foldlog::Error>(())
    /// ```
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn statistics_by_type(&self) -> Result<Vec<TypeStatistics>> {
        self.scope.engine().statistics_by_type().map_err(|error| error.during("statistics by type"))
    }

    /// Statistics about the whole file, read without counting.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn file_statistics(&self) -> Result<FileStatistics> {
        self.scope.engine().file_statistics().map_err(|error| error.during("file statistics"))
    }

    /// Figures over the snapshots of all tenants, for each aggregate type and each fold that made some. Looks at every snapshot.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn snapshots_by_type(&self) -> Result<Vec<SnapshotsOfType>> {
        self.scope.engine().snapshots_by_type().map_err(|error| error.during("snapshots by type"))
    }

    /// Statistics about this tenant's snapshots.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn snapshot_statistics(&self) -> Result<SnapshotStatistics> {
        let statistics = self.scope.engine().snapshot_statistics(&self.scope.tenant, AGGREGATES_NAMED);
        statistics.map_err(|error| error.during("snapshot statistics"))
    }

    /// Runs an event handler of the application, and measures it as `event_handler_duration_seconds` under this name.
    ///
    /// ```
    /// use foldlog::{Expected, NewEvent, Query, Store};
    /// let store = Store::in_memory()?;
    /// store.append("account", "acc-1", Expected::New, [NewEvent::new("Opened", &())?])?;
    /// for event in store.read(Query::new()) {
    ///     let sent = store.run_handler("welcome-mail", &event?, |event| event.version.get());
    ///     assert_eq!(sent, 1);
    /// }
    /// # Ok::<(), foldlog::Error>(())
    /// ```
    pub fn run_handler<T>(&self, name: &str, event: &RecordedEvent, handler: impl FnOnce(&RecordedEvent) -> T) -> T {
        let _span = trace::handler_span(name, event);
        self.scope.meter().handle(name, &event.event_type, || handler(event))
    }

    /// Copies the store into memory, with its options and inline projections: for tests, and to try something on real
    /// data. Changes to one are not seen in the other.
    ///
    /// # Errors
    /// If the file cannot be read or there is not enough memory.
    pub fn copy_to_memory(&self) -> Result<Store> {
        let options = self.options().clone();
        let engine = self.scope.engine().copy_to_memory(&options).map_err(|error| error.during("copy to memory"))?;
        let copy = Store::of(engine, options);
        self.scope.copy_inline(&copy.scope);
        Ok(copy.tenant(&self.scope.tenant))
    }

    /// The file's path, made absolute, on Unix without symbolic links; `None` for a store in memory.
    pub fn path(&self) -> Option<&Path> {
        self.scope.engine().path()
    }

    /// The options that the store was opened with.
    pub fn options(&self) -> &Options {
        self.scope.options()
    }

    fn of(engine: Engine, options: Options) -> Store {
        let scope = Scope::new(engine, options);
        gauges::opened(&scope);
        Store { scope }
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store").field("path", &self.path()).field("tenant", &self.scope.tenant).finish_non_exhaustive()
    }
}

impl Options {
    /// Opens a file for reading and writing; creates it if it does not exist.
    ///
    /// # Errors
    /// As [`Store::open`].
    pub fn open(self, path: impl AsRef<Path>) -> Result<Store> {
        let engine = Engine::open(path.as_ref(), &self).map_err(|error| error.during("open"))?;
        Ok(Store::of(engine, self))
    }

    /// Opens an existing file for reading.
    ///
    /// # Errors
    /// As [`Store::open_read_only`].
    pub fn open_read_only(self, path: impl AsRef<Path>) -> Result<Store> {
        let engine = Engine::open_read_only(path.as_ref(), &self).map_err(|error| error.during("open read-only"))?;
        Ok(Store::of(engine, self))
    }

    /// Creates a store in memory. It is lost with its last handle.
    ///
    /// # Errors
    /// As [`Store::in_memory`].
    pub fn in_memory(self) -> Result<Store> {
        let engine = Engine::in_memory(&self).map_err(|error| error.during("open"))?;
        Ok(Store::of(engine, self))
    }
}

// Checked at compile time: a store can be shared between threads.
const _: fn() = || {
    fn shared<T: Clone + Send + Sync + 'static>() {}
    shared::<Store>();
};
