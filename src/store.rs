//! The store: what an application opens.

mod outbox;
mod read_models;

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::Value;

use crate::aggregate::{Aggregate, Expected};
use crate::aggregates::Aggregates;
use crate::append::{self, Appended, Batch};
use crate::clock::from_micros;
use crate::error::{Error, ErrorKind, Result};
use crate::event::{EventId, NewEvent, RecordedEvent};
use crate::gauges;
use crate::maintenance::checkpoint::{self, Checkpoint};
use crate::maintenance::clean_up::{self, CleanUp, CleanUpTask};
use crate::maintenance::purge::{self, Purge, PurgeReport};
use crate::maintenance::verify::{self, VerifyProgress, VerifyReport};
use crate::options::Options;
use crate::place::{Position, Version};
use crate::projection::{self, Projection, ProjectionRunner};
use crate::read::{Events, Query};
use crate::runner::SubscriptionStatus;
use crate::scope::Scope;
use crate::snapshot::{self, SnapshotStatistics};
use crate::sqlite::{Database, View, events, log, names, state};
use crate::statistics::{self, Counted, EventStatistics, FileStatistics};
use crate::subscription::{self, Subscription};
use crate::trace;

/// An open event store.
///
/// Cheap to clone, `Send` and `Sync`: one writer, and readers beside it that never wait for the writer. Several stores,
/// also in several processes, may have the same file open. A handle is of one tenant; [`Store::open`] gives the handle of
/// the default tenant.
///
/// In a process that was forked after the store was opened every call fails with [`ErrorKind::Forked`]: open it anew there.
#[derive(Clone)]
pub struct Store {
    scope: Scope,
}

impl Store {
    /// Opens a file for reading and writing with the default options; makes it if it does not exist. On Unix a new file is
    /// its owner's alone (mode 0600); one that is there keeps its mode, so an empty one made before can be shared.
    ///
    /// # Errors
    /// [`ErrorKind::ForeignFile`] and [`ErrorKind::FormatTooNew`] for a file that is not ours to write: it is left as it
    /// was. [`ErrorKind::Io`] for a directory, a missing directory, or what the operating system refuses.
    /// [`ErrorKind::Busy`] if another process holds the file for longer than the busy time-out.
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

    /// Opens an existing file for reading. Works on a read-only medium too, unless a write-ahead log with events in it
    /// lies beside the file.
    ///
    /// # Errors
    /// As [`Store::open`]; [`ErrorKind::Io`] if there is no file; [`ErrorKind::ReadOnly`] if it is empty.
    pub fn open_read_only(path: impl AsRef<Path>) -> Result<Store> {
        Options::new().open_read_only(path)
    }

    /// Makes a store that lives in memory and is gone with its last handle.
    ///
    /// # Errors
    /// If there is not enough memory.
    pub fn in_memory() -> Result<Store> {
        Options::new().in_memory()
    }

    /// The same store for another tenant. Each tenant has its own aggregates; none sees another's events. The tenant
    /// `"default"` is that of a store just opened.
    ///
    /// ```
    /// use foldlog::{Expected, NewEvent, Query, Store};
    /// let store = Store::in_memory()?;
    /// let acme = store.tenant("acme");
    /// acme.append("account", "acc-1", Expected::NoStream, [NewEvent::new("Opened", &())?])?;
    /// assert_eq!(store.read(Query::new()).count(), 0);
    /// assert_eq!(acme.read(Query::new()).count(), 1);
    /// # Ok::<(), foldlog::Error>(())
    /// ```
    ///
    /// A name that cannot be stored (empty, too long, with a NUL) is refused by the first append.
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
        self.scope.database().read(names::tenants).map_err(|error| error.during("tenants"))
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
    /// orders.append("o-1", Expected::NoStream, [
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
        self.scope
            .database()
            .read(|view| names::aggregate_types(view, &self.scope.tenant))
            .map_err(|error| error.during("aggregate types"))
    }

    /// Appends events to one aggregate, all or none.
    ///
    /// # Errors
    /// As [`Aggregates::append_events`].
    pub fn append(
        &self,
        aggregate_type: &str,
        aggregate_id: &str,
        expected: impl Into<Expected>,
        events: impl IntoIterator<Item = NewEvent>,
    ) -> Result<Appended> {
        let appended = self.commit(Batch::new().append(aggregate_type, aggregate_id, expected, events))?;
        appended.into_iter().next().ok_or_else(append::no_result)
    }

    /// Appends events to several aggregates, all or none; a result for each [`Batch::append`], in order.
    ///
    /// # Errors
    /// As [`Aggregates::append_events`].
    pub fn commit(&self, batch: Batch) -> Result<Vec<Appended>> {
        append::commit(&self.scope, &batch, |_, _| Ok(()))
    }

    /// Reads events.
    pub fn read(&self, query: Query) -> Events {
        Events::new(self.scope.clone(), query)
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
        let read = |view: &View<'_>| {
            let Some(position) = events::position_of_id(view, id)? else { return Ok(None) };
            log::at(view, position, |raw, aggregate_type, aggregate_id| {
                let is_ours = aggregate_type.tenant == self.scope.tenant;
                is_ours.then(|| raw.recorded(aggregate_type, aggregate_id.into())).transpose()
            })
        };
        self.scope.database().read(read).map_err(|error| error.during("event"))
    }

    /// The version of an aggregate; 0 if it has no events.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn version(&self, aggregate_type: &str, aggregate_id: &str) -> Result<Version> {
        self.scope
            .database()
            .read(|view| Ok(self.scope.find(view, aggregate_type, aggregate_id)?.map_or(0, |(row, _)| row.version)))
            .map(Version::new)
            .map_err(|error| error.during("version").of(&self.scope.aggregate(aggregate_type, aggregate_id)))
    }

    /// The position of the newest event that ever was in the file, of whatever tenant; 0 if there was none.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn last_position(&self) -> Result<Position> {
        self.scope.database().read(state::last_position).map_err(|error| error.during("last position"))
    }

    /// How many events there are: of this tenant, of an aggregate type, of an aggregate; of all types or of one.
    ///
    /// ```
    /// # let store = foldlog::Store::in_memory()?;
    /// let all = store.count_events(None, None, None)?;
    /// let deposits_of_one = store.count_events(Some("account"), Some("acc-1"), Some("Deposited"))?;
    /// # assert_eq!((all, deposits_of_one), (0, 0));
    /// # Ok::<(), foldlog::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] for an aggregate id without an aggregate type; if the file cannot be read.
    pub fn count_events(
        &self,
        aggregate_type: Option<&str>,
        aggregate_id: Option<&str>,
        event_type: Option<&str>,
    ) -> Result<u64> {
        if aggregate_id.is_some() && aggregate_type.is_none() {
            return Err(Error::new(ErrorKind::InvalidInput, "an aggregate id needs its aggregate type").during("count events"));
        }
        statistics::count(&self.scope, Counted { aggregate_type, aggregate_id, event_type })
            .map_err(|error| error.during("count events"))
    }

    /// Figures over this tenant's events. Looks at every event: for reports, not for every request.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn statistics(&self) -> Result<EventStatistics> {
        statistics::events(&self.scope).map_err(|error| error.during("statistics"))
    }

    /// Figures of the file as a whole, without counting.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn file_statistics(&self) -> Result<FileStatistics> {
        statistics::file(&self.scope).map_err(|error| error.during("file statistics"))
    }

    /// Figures over this tenant's snapshots.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn snapshot_statistics(&self) -> Result<SnapshotStatistics> {
        snapshot::statistics(&self.scope).map_err(|error| error.during("snapshot statistics"))
    }

    /// Deletes this tenant's snapshots that are older than `age` (the original: 90 days); returns how many. The newest
    /// snapshot of an aggregate whose first events were purged or archived stays: its replay needs it.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn expire_snapshots(&self, age: Duration) -> Result<u64> {
        let now = from_micros(self.scope.options().clock.now_micros())?;
        let before =
            TimeDelta::from_std(age).ok().and_then(|age| now.checked_sub_signed(age)).unwrap_or(DateTime::<Utc>::MIN_UTC);
        snapshot::expire(&self.scope, before).map_err(|error| error.during("expire snapshots"))
    }

    /// Deletes old snapshots of all tenants by a timetable, on a thread of its own, until the result is dropped.
    ///
    /// # Errors
    /// [`ErrorKind::ReadOnly`] if the store was opened for reading; [`ErrorKind::Io`] if no thread can be had.
    pub fn schedule_clean_up(&self, plan: CleanUp) -> Result<CleanUpTask> {
        clean_up::start(self.scope.clone(), plan).map_err(|error| error.during("schedule clean-up"))
    }

    /// Takes old events out of the file for good, and reports what it did. Events that a replay still needs stay, unless
    /// [`Purge::even_if_replay_breaks`] says otherwise; so do those that a subscription, a projection or an outbox has not
    /// passed yet, unless [`Purge::even_if_undelivered`] does.
    ///
    /// # Errors
    /// If the file cannot be written; what was removed before stays removed.
    pub fn purge(&self, plan: Purge) -> Result<PurgeReport> {
        let done = purge::purge(&self.scope, &plan).map_err(|error| error.during("purge"));
        // Also after a failure: what was removed before stays removed. The gauges' own failure changes nothing.
        let _ = gauges::refresh(&self.scope);
        done
    }

    /// Moves the write-ahead log into the file and empties it, waiting for readers as long as the busy time-out says.
    ///
    /// Appends do most of this by themselves whenever the log has grown to 16 MiB, as far as readers let them. Call it
    /// before the file is copied, or when a long reader is gone and the log is to give its space back.
    ///
    /// # Errors
    /// [`ErrorKind::ReadOnly`] if the store was opened for reading; [`ErrorKind::DiskFull`] and [`ErrorKind::Io`] if the
    /// file cannot be written. The log is then as it was, and nothing is lost.
    pub fn checkpoint(&self) -> Result<Checkpoint> {
        checkpoint::checkpoint(&self.scope).map_err(|error| error.during("checkpoint"))
    }

    /// Reads all gauges from the file anew: for an application whose exporter is asked now, and for values that another
    /// process may have changed. As many look-ups as single aggregates are measured, 1,000 by default; no scan.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn refresh_metrics(&self) -> Result<()> {
        gauges::refresh(&self.scope).map_err(|error| error.during("refresh metrics"))
    }

    /// Runs an event handler of the application and measures it as `event_handler_duration_seconds`, under this name.
    ///
    /// ```
    /// use foldlog::{Expected, NewEvent, Query, Store};
    /// let store = Store::in_memory()?;
    /// store.append("account", "acc-1", Expected::NoStream, [NewEvent::new("Opened", &())?])?;
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

    /// Checks the whole file, of all tenants: its pages, every event's checksum, versions, positions, names, tags,
    /// summaries, counters and snapshots. Names each damage and says what can be done about it; goes on behind what
    /// cannot be read.
    ///
    /// Others may go on writing: what they do is not mistaken for damage. Only SQLite's own check of the pages, the first
    /// step, is one long read that holds up the moving of the write-ahead log into the file. Whether snapshots agree with
    /// a replay only their fold can tell: see [`Aggregates::verify_snapshots`].
    ///
    /// ```
    /// # let store = foldlog::Store::in_memory()?;
    /// let report = store.verify(|progress| eprintln!("{:?} {}/{}", progress.step, progress.done, progress.total))?;
    /// for damage in &report.damages {
    ///     eprintln!("{damage}");
    /// }
    /// assert!(report.is_clean());
    /// # Ok::<(), foldlog::Error>(())
    /// ```
    ///
    /// # Errors
    /// If the file cannot be opened at all.
    pub fn verify(&self, mut progress: impl FnMut(VerifyProgress)) -> Result<VerifyReport> {
        verify::verify(&self.scope, &mut progress).map_err(|error| error.during("verify"))
    }

    /// A named reader of the log with a stored checkpoint.
    pub fn subscription(&self, name: &str) -> Subscription {
        Subscription::new(self.scope.clone(), name)
    }

    /// A projection that is kept up to date by itself: once, on a thread, or by a rebuild. Its tables are made if there
    /// are none.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] for a name of a table that it cannot have; [`ErrorKind::Handler`] if making the tables
    /// fails.
    pub fn projection(&self, projection: impl Projection) -> Result<ProjectionRunner> {
        ProjectionRunner::new(self.scope.clone(), Arc::new(projection)).map_err(|error| error.during("make projection"))
    }

    /// Lets a projection run inside every append of this process, in the append's own transaction: what an append
    /// returned is in the tables. First it takes up what is in the log; if its version has changed it is rebuilt.
    ///
    /// If `apply` fails, the append fails and nothing of it is kept. Events that another process appends without the
    /// projection are taken up by this process's next append.
    ///
    /// # Errors
    /// As [`ProjectionRunner::run_to_end`] and [`ProjectionRunner::rebuild`]; while another runner leads it waits first, as
    /// long as [`Options::busy_timeout`] says.
    pub fn project_inline(&self, projection: impl Projection) -> Result<()> {
        projection::add_inline(&self.scope, Arc::new(projection)).map_err(|error| error.during("project inline"))
    }

    /// How every subscription, projection and outbox of this tenant stands, and those that read all tenants.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn subscriptions(&self) -> Result<Vec<SubscriptionStatus>> {
        subscription::statuses(&self.scope).map_err(|error| error.during("subscriptions"))
    }

    /// Waits until a subscription, projection or outbox has passed a position, so that a user reads what he wrote.
    ///
    /// # Errors
    /// [`ErrorKind::Busy`] if the time is over; [`ErrorKind::Handler`] if it has stopped at an event before; both say where
    /// it is. [`ErrorKind::NotFound`] if there is none of this name.
    pub fn wait_until(&self, subscription: &str, position: Position, timeout: Duration) -> Result<()> {
        subscription::wait_until(&self.scope, subscription, position, timeout).map_err(|error| error.during("wait"))
    }

    /// Passes over the event at which a subscription or a projection has stopped; returns its position.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] if it has not stopped at an event.
    pub fn skip_failed(&self, subscription: &str) -> Result<Position> {
        subscription::skip_failed(&self.scope, subscription).map_err(|error| error.during("skip"))
    }

    /// Forgets a subscription: its checkpoint and its deliveries. A projection's tables stay.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] if there is none of this name.
    pub fn remove_subscription(&self, subscription: &str) -> Result<()> {
        subscription::remove(&self.scope, subscription).map_err(|error| error.during("remove subscription"))
    }

    /// A store in memory with everything that this one holds now, and with its options and inline projections: for tests,
    /// and for trying something out on real data. What is done to one is not seen in the other.
    ///
    /// # Errors
    /// If the file cannot be read or there is not enough memory.
    pub fn copy_to_memory(&self) -> Result<Store> {
        let options = self.options().clone();
        let database = self.scope.database().copy_to_memory(&options).map_err(|error| error.during("copy to memory"))?;
        let copy = Store::of(database, options);
        self.scope.copy_inline(&copy.scope);
        Ok(copy.tenant(&self.scope.tenant))
    }

    /// The file's path, made absolute; `None` for a store in memory.
    pub fn path(&self) -> Option<&Path> {
        self.scope.database().path()
    }

    /// The options that the store was opened with.
    pub fn options(&self) -> &Options {
        self.scope.options()
    }

    fn of(database: Database, options: Options) -> Store {
        let scope = Scope::new(database, options);
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
    /// Opens a file for reading and writing; makes it if it does not exist.
    ///
    /// # Errors
    /// As [`Store::open`].
    pub fn open(self, path: impl AsRef<Path>) -> Result<Store> {
        let database = Database::open(path.as_ref(), &self).map_err(|error| error.during("open"))?;
        Ok(Store::of(database, self))
    }

    /// Opens an existing file for reading.
    ///
    /// # Errors
    /// As [`Store::open_read_only`].
    pub fn open_read_only(self, path: impl AsRef<Path>) -> Result<Store> {
        let database = Database::open_read_only(path.as_ref(), &self).map_err(|error| error.during("open read-only"))?;
        Ok(Store::of(database, self))
    }

    /// Makes a store that lives in memory and is gone with its last handle.
    ///
    /// # Errors
    /// As [`Store::in_memory`].
    pub fn in_memory(self) -> Result<Store> {
        let database = Database::in_memory(&self).map_err(|error| error.during("open"))?;
        Ok(Store::of(database, self))
    }
}

// Compile-time promise: a store can be shared between threads.
const _: fn() = || {
    fn shared<T: Clone + Send + Sync + 'static>() {}
    shared::<Store>();
};
