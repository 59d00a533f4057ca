//! Options: how a store is opened.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::metrics::LabelBounds;
use crate::model::clock::Clock;
use crate::model::error::{Error, ErrorKind, Result};
use crate::model::trace_context::{TraceContext, TraceSource};
use crate::model::upcast::{Registry, Upcasters};

/// What an append waits for before it returns.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Durability {
    /// The disk has the events: what `append` returned survives a power cut. The default.
    #[default]
    Durable,
    /// The operating system has the events: what `append` returned survives the death of the process. A power cut can
    /// lose the newest appends, and only those. Several times faster for single appends.
    Fast,
}

/// When snapshots are made, and how many are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SnapshotPolicy {
    threshold: u64,
    retain: u32,
}

impl SnapshotPolicy {
    /// Makes a snapshot after every `events` (at least 1) events; keeps the newest five.
    pub fn every(events: u64) -> SnapshotPolicy {
        SnapshotPolicy { threshold: events.max(1), ..SnapshotPolicy::default() }
    }

    /// Makes no snapshot unless the application asks for one. Existing ones are still used.
    pub fn manual() -> SnapshotPolicy {
        SnapshotPolicy { threshold: 0, ..SnapshotPolicy::default() }
    }

    /// Keeps the newest `snapshots` (at least 1) of each aggregate. Older ones are deleted when a new one is made.
    pub fn retain(mut self, snapshots: u32) -> SnapshotPolicy {
        self.retain = snapshots.max(1);
        self
    }

    /// The number of events after the last snapshot that makes the next one due; `None` if only on request.
    pub fn threshold(&self) -> Option<u64> {
        (self.threshold > 0).then_some(self.threshold)
    }

    /// How many snapshots of an aggregate are kept.
    pub fn retained(&self) -> u32 {
        self.retain
    }

    /// Whether an aggregate at `version` is due for a snapshot when its newest one is at `snapshot` (0: none).
    pub(crate) fn is_due(&self, snapshot: u64, version: u64) -> bool {
        self.threshold > 0 && version.saturating_sub(snapshot) >= self.threshold
    }
}

impl Default for SnapshotPolicy {
    /// Every 100 events; the newest five are kept.
    fn default() -> SnapshotPolicy {
        SnapshotPolicy { threshold: 100, retain: 5 }
    }
}

/// Settings of a store, with defaults that suit a desktop application or a small service.
///
/// ```
/// use std::time::Duration;
/// use foldlog::{Durability, Options, SnapshotPolicy};
/// # let directory = tempfile::tempdir().unwrap();
/// # let path = directory.path().join("bank.db");
/// let store = Options::new()
///     .durability(Durability::Fast)
///     .snapshots(SnapshotPolicy::every(200).retain(3))
///     .busy_timeout(Duration::from_secs(10))
///     .open(&path)?;
/// # Ok::<(), foldlog::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Options {
    pub(crate) durability: Durability,
    pub(crate) snapshots: SnapshotPolicy,
    pub(crate) busy_timeout: Duration,
    pub(crate) max_event_bytes: usize,
    pub(crate) max_batch_events: usize,
    pub(crate) max_name_bytes: usize,
    pub(crate) cache_bytes: usize,
    pub(crate) wal_limit: u64,
    pub(crate) reserve: bool,
    pub(crate) execute_attempts: u32,
    pub(crate) clock: Clock,
    pub(crate) label_bounds: LabelBounds,
    pub(crate) trace_source: Option<TraceSource>,
    pub(crate) upcasters: Arc<Registry>,
    pub(crate) vfs: Option<String>,
    pub(crate) archive_path: Option<PathBuf>,
    pub(crate) audit: bool,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            durability: Durability::default(),
            snapshots: SnapshotPolicy::default(),
            busy_timeout: Duration::from_secs(5),
            max_event_bytes: 16 << 20,
            max_batch_events: 100_000,
            max_name_bytes: 1_024,
            cache_bytes: 6 << 20,
            wal_limit: 16 << 20,
            reserve: false,
            execute_attempts: 5,
            clock: Clock::system(),
            label_bounds: LabelBounds::default(),
            trace_source: None,
            upcasters: Arc::default(),
            vfs: None,
            archive_path: None,
            audit: false,
        }
    }
}

impl Options {
    /// The defaults.
    pub fn new() -> Options {
        Options::default()
    }

    /// The defaults, with the snapshot policy from the environment: `SNAPSHOT_THRESHOLD` (events; 0 = only on request)
    /// and `RETAIN_SNAPSHOTS` (at least 1).
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] if one of them is set to anything but such a number.
    pub fn from_env() -> Result<Options> {
        let mut options = Options::new();
        if let Some(threshold) = number_from_env("SNAPSHOT_THRESHOLD", 0)? {
            options.snapshots.threshold = threshold;
        }
        if let Some(retain) = number_from_env("RETAIN_SNAPSHOTS", 1)? {
            options.snapshots.retain = u32::try_from(retain).unwrap_or(u32::MAX);
        }
        Ok(options)
    }

    /// Sets what an append waits for. Default: [`Durability::Durable`].
    pub fn durability(mut self, durability: Durability) -> Options {
        self.durability = durability;
        self
    }

    /// Sets when snapshots are made and how many are kept. Default: every 100 events, five kept.
    pub fn snapshots(mut self, policy: SnapshotPolicy) -> Options {
        self.snapshots = policy;
        self
    }

    /// Sets how long a call waits for another thread, connection or process to release the write lock before it fails
    /// with [`ErrorKind::Busy`]. Default: 5 seconds.
    pub fn busy_timeout(mut self, timeout: Duration) -> Options {
        self.busy_timeout = timeout;
        self
    }

    /// Sets the limit for the data, metadata and tags of one event together, in bytes. Default: 16 MiB; at most 512
    /// MiB.
    pub fn max_event_bytes(mut self, bytes: usize) -> Options {
        self.max_event_bytes = bytes.min(512 << 20);
        self
    }

    /// Sets the limit for the number of events in one atomic append. Default: 100,000.
    pub fn max_batch_events(mut self, events: usize) -> Options {
        self.max_batch_events = events;
        self
    }

    /// Sets the limit for the length of a tenant, aggregate type, aggregate id, event type or tag, in bytes. Default:
    /// 1,024.
    pub fn max_name_bytes(mut self, bytes: usize) -> Options {
        self.max_name_bytes = bytes;
        self
    }

    /// Sets the size of each connection's page cache, in bytes. Memory is taken as pages are used. Default: 6 MiB.
    pub fn cache_bytes(mut self, bytes: usize) -> Options {
        self.cache_bytes = bytes;
        self
    }

    /// Sets how large the write-ahead log may grow, in bytes, before a commit moves it into the file. It can be larger
    /// after one large append, or while somebody reads for a long time; then it is cut back to this. A small limit saves
    /// disk space and costs writes: a page that changes often is moved more often. Default: 16 MiB; at least 64 KiB.
    pub fn wal_limit(mut self, bytes: u64) -> Options {
        self.wal_limit = bytes.clamp(64 << 10, 1 << 40);
        self
    }

    /// Sets whether a file that ends in `-reserve`, of twice the [`wal_limit`](Options::wal_limit), keeps space for the day
    /// when the disk is full. WAL checkpoints and purges use it up then, so that a purge can make room even if nothing else
    /// can. It is made again when the store is opened. For devices whose disk this store fills. Default: no.
    pub fn reserve(mut self, reserve: bool) -> Options {
        self.reserve = reserve;
        self
    }

    /// Sets how often `execute` loads, decides and appends before it gives up on conflicts. Default: 5.
    pub fn execute_attempts(mut self, attempts: u32) -> Options {
        self.execute_attempts = attempts.max(1);
        self
    }

    /// Sets where times come from. Default: the machine's clock.
    pub fn clock(mut self, clock: Clock) -> Options {
        self.clock = clock;
        self
    }

    /// Sets how many values the metrics' labels may take. Default: 1,000 each of aggregates, tenants and event types.
    pub fn label_bounds(mut self, bounds: LabelBounds) -> Options {
        self.label_bounds = bounds;
        self
    }

    /// Sets a callback that names the current span at each append. The answer is added to the metadata of events that
    /// name no trace, as `traceparent` and `tracestate`. Default: none.
    ///
    /// With the feature `tracing` the current span is the append's own. The added members do not count towards
    /// [`max_event_bytes`](Options::max_event_bytes). An append that is repeated with the same event ids is recognised
    /// even from another span.
    pub fn trace_context(mut self, current: impl Fn() -> Option<TraceContext> + Send + Sync + 'static) -> Options {
        self.trace_source = Some(TraceSource::new(current));
        self
    }

    /// Sets how events of old schema versions are read, everywhere. Replaces those that were set before. Default: none, so
    /// that every event type has schema version 1.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] if a version on the way to the current one has no upcaster or two, or if they go in a
    /// circle.
    pub fn upcasters(mut self, upcasters: Upcasters) -> Result<Options> {
        self.upcasters = Arc::new(upcasters.registry().map_err(|error| error.during("register upcasters"))?);
        Ok(self)
    }

    /// Opens files through a SQLite VFS that the application has registered under this name, for fault injection or an
    /// encrypting file system. Default: SQLite's own.
    pub fn vfs(mut self, name: impl Into<String>) -> Options {
        self.vfs = Some(name.into());
        self
    }

    /// Sets where the file of archived events is. Default: next to the store's file, under its name with `.archive` at
    /// the end. A store in memory has no archive.
    pub fn archive_path(mut self, path: impl Into<PathBuf>) -> Options {
        self.archive_path = Some(path.into());
        self
    }

    /// Sets whether the file gets an audit chain when it is opened for writing: from then on each event is chained by SHA-256
    /// to all events before it, so that a change of any event, or of their order, is noticed by
    /// [`Maintenance::verify`](crate::Maintenance::verify). Events from before that are not covered. A file keeps its chain:
    /// every program appends to it, whatever its options, or refuses if it was built without the feature `audit`. Default: no.
    ///
    /// Someone who can write the file could compute the whole chain anew. Keep the digest of
    /// [`Maintenance::checkpoint_digest`](crate::Maintenance::checkpoint_digest) elsewhere from time to time: see
    /// the guide's chapter on audit.
    ///
    /// ```
    /// # let directory = tempfile::tempdir().unwrap();
    /// # let path = directory.path().join("bank.db");
    /// let store = foldlog::Options::new().audit(true).open(&path)?;
    /// let digest = store.maintenance().checkpoint_digest()?.unwrap();
    /// println!("{digest}"); // keep it elsewhere
    /// store.maintenance().check_digest(&digest)?;
    /// # Ok::<(), foldlog::Error>(())
    /// ```
    #[cfg(feature = "audit")]
    pub fn audit(mut self, audit: bool) -> Options {
        self.audit = audit;
        self
    }

    /// See [`Options::durability`].
    pub fn get_durability(&self) -> Durability {
        self.durability
    }

    /// See [`Options::snapshots`].
    pub fn get_snapshots(&self) -> SnapshotPolicy {
        self.snapshots
    }

    /// See [`Options::busy_timeout`].
    pub fn get_busy_timeout(&self) -> Duration {
        self.busy_timeout
    }

    /// See [`Options::max_event_bytes`].
    pub fn get_max_event_bytes(&self) -> usize {
        self.max_event_bytes
    }

    /// See [`Options::max_batch_events`].
    pub fn get_max_batch_events(&self) -> usize {
        self.max_batch_events
    }

    /// See [`Options::max_name_bytes`].
    pub fn get_max_name_bytes(&self) -> usize {
        self.max_name_bytes
    }

    /// See [`Options::cache_bytes`].
    pub fn get_cache_bytes(&self) -> usize {
        self.cache_bytes
    }

    /// See [`Options::wal_limit`].
    pub fn get_wal_limit(&self) -> u64 {
        self.wal_limit
    }

    /// See [`Options::reserve`].
    pub fn get_reserve(&self) -> bool {
        self.reserve
    }

    /// See [`Options::execute_attempts`].
    pub fn get_execute_attempts(&self) -> u32 {
        self.execute_attempts
    }

    /// See [`Options::clock`].
    pub fn get_clock(&self) -> &Clock {
        &self.clock
    }

    /// See [`Options::label_bounds`].
    pub fn get_label_bounds(&self) -> LabelBounds {
        self.label_bounds
    }
}

fn number_from_env(name: &'static str, least: u64) -> Result<Option<u64>> {
    let Some(text) = std::env::var_os(name) else { return Ok(None) };
    let number = text.to_str().and_then(|text| text.trim().parse::<u64>().ok()).filter(|number| *number >= least);
    match number {
        Some(number) => Ok(Some(number)),
        None => Err(Error::new(
            ErrorKind::InvalidInput,
            format!("the environment variable {name} must be a whole number of at least {least}, not {text:?}"),
        )
        .during("from_env")),
    }
}
