//! Every metric with its labels, unit, buckets and meaning. This is the only copy: `describe`, the exporter's buckets
//! and the tests of dashboards and documentation all read it.

/// The kind of a metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Kind {
    /// Only rises during the life of the process.
    Counter,
    /// A current value.
    Gauge,
    /// The number of observations below each bound.
    Histogram,
}

/// The unit of a metric's values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Unit {
    /// A number of things.
    Count,
    /// Seconds, as a fraction.
    Seconds,
    /// Bytes.
    Bytes,
}

/// One metric.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct Metric {
    /// Its name.
    pub name: &'static str,
    /// Its kind.
    pub kind: Kind,
    /// The unit of its values.
    pub unit: Unit,
    /// The names of its labels.
    pub labels: &'static [&'static str],
    /// The upper bounds of a histogram's buckets, rising; empty for the other kinds.
    pub buckets: &'static [f64],
    /// Its meaning, in one sentence.
    pub help: &'static str,
}

/// Events appended; counter of `event_type` and `tenant_id`.
pub const EVENTS: &str = "event_store_events_total";
/// Appends refused because of a version conflict; counter of `aggregate_id`.
pub const CONFLICTS: &str = "event_store_conflicts_total";
/// Replays of every kind; counter of `success` and `use_snapshot`.
pub const REPLAYS: &str = "event_replay_requests_total";
/// Snapshots made; counter of `reason`.
pub const SNAPSHOTS_CREATED: &str = "event_snapshots_created_total";
/// How long an append took; histogram of `event_type`.
pub const SAVE_DURATION: &str = "event_store_save_duration_seconds";
/// How long a replay took; histogram of `use_snapshot` and `event_count`.
pub const REPLAY_DURATION: &str = "event_replay_duration_seconds";
/// How long a handler took; histogram of `handler_name` and `event_type`.
pub const HANDLER_DURATION: &str = "event_handler_duration_seconds";
/// How long making a snapshot took; histogram of `reason`.
pub const SNAPSHOT_DURATION: &str = "event_snapshot_creation_duration_seconds";
/// Events that an aggregate has in the file; gauge of `aggregate_id`.
pub const EVENTS_BY_AGGREGATE: &str = "event_store_events_by_aggregate";
/// Snapshots in the file; gauge.
pub const SNAPSHOTS: &str = "event_snapshots_total";
/// The size of the file's pages, in bytes; gauge.
pub const SIZE: &str = "event_store_size_estimate_bytes";

/// Whether replays found a snapshot to start from; counter of `result`.
pub const SNAPSHOT_LOOKUPS: &str = "foldlog_snapshot_lookups_total";
/// Snapshots that could not be used, or not be made; counter of `reason`.
pub const SNAPSHOTS_REJECTED: &str = "foldlog_snapshots_rejected_total";
/// Events in one atomic append; histogram.
pub const BATCH_EVENTS: &str = "foldlog_append_batch_events";
/// Calls that failed; counter of `operation` and `kind`.
pub const ERRORS: &str = "foldlog_errors_total";
/// Waits for another connection's lock; counter.
pub const BUSY_WAITS: &str = "foldlog_busy_waits_total";
/// Waits for a lock that ended with the time-out; counter.
pub const BUSY_TIMEOUTS: &str = "foldlog_busy_timeouts_total";
/// Time between the request to write and this writer's turn; histogram.
pub const WRITE_WAIT: &str = "foldlog_write_wait_seconds";
/// How long commits took; histogram.
pub const COMMIT_DURATION: &str = "foldlog_commit_duration_seconds";
/// How long WAL checkpoints took; histogram.
pub const CHECKPOINT_DURATION: &str = "foldlog_checkpoint_duration_seconds";
/// The size of the write-ahead log on the disk; gauge.
pub const WAL: &str = "foldlog_wal_bytes";
/// Positions that a subscription, projection or outbox has still to read; gauge of `subscription`.
pub const LAG: &str = "foldlog_subscription_lag";

/// An embedded store answers in microseconds, so the bounds start there. They include all of the original's.
const SAVE_BUCKETS: &[f64] =
    &[0.000_01, 0.000_025, 0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0];
const REPLAY_BUCKETS: &[f64] = &[
    0.000_005, 0.000_01, 0.000_025, 0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0,
    10.0, 30.0,
];
const HANDLER_BUCKETS: &[f64] =
    &[0.000_001, 0.000_005, 0.000_01, 0.000_05, 0.000_1, 0.000_5, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0];
const SNAPSHOT_BUCKETS: &[f64] =
    &[0.000_01, 0.000_05, 0.000_1, 0.000_5, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0, 30.0];
const DISK_BUCKETS: &[f64] = &[0.000_001, 0.000_01, 0.000_05, 0.000_1, 0.000_5, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0];
const BATCH_BUCKETS: &[f64] = &[1.0, 2.0, 5.0, 10.0, 50.0, 100.0, 500.0, 1_000.0, 10_000.0, 100_000.0];

const fn counter(name: &'static str, labels: &'static [&'static str], help: &'static str) -> Metric {
    Metric { name, kind: Kind::Counter, unit: Unit::Count, labels, buckets: &[], help }
}

const fn gauge(name: &'static str, unit: Unit, labels: &'static [&'static str], help: &'static str) -> Metric {
    Metric { name, kind: Kind::Gauge, unit, labels, buckets: &[], help }
}

const fn seconds(name: &'static str, labels: &'static [&'static str], buckets: &'static [f64], help: &'static str) -> Metric {
    Metric { name, kind: Kind::Histogram, unit: Unit::Seconds, labels, buckets, help }
}

/// Every metric: first the eleven whose names, labels and label values are a contract with existing dashboards, then
/// the library's own.
pub const METRICS: &[Metric] = &[
    counter(EVENTS, &["event_type", "tenant_id"], "Events appended."),
    counter(CONFLICTS, &["aggregate_id"], "Appends refused because the aggregate was at another version."),
    counter(REPLAYS, &["success", "use_snapshot"], "Replays, by outcome and by whether they were allowed to use snapshots."),
    counter(SNAPSHOTS_CREATED, &["reason"], "Snapshots made."),
    seconds(SAVE_DURATION, &["event_type"], SAVE_BUCKETS, "Time of an append, once for each event type in it."),
    seconds(
        REPLAY_DURATION,
        &["use_snapshot", "event_count"],
        REPLAY_BUCKETS,
        "Time of a replay, by the number of events that it folded.",
    ),
    seconds(HANDLER_DURATION, &["handler_name", "event_type"], HANDLER_BUCKETS, "Time of an event handler."),
    seconds(SNAPSHOT_DURATION, &["reason"], SNAPSHOT_BUCKETS, "Time of making a snapshot."),
    gauge(EVENTS_BY_AGGREGATE, Unit::Count, &["aggregate_id"], "Events that an aggregate has in the file."),
    gauge(SNAPSHOTS, Unit::Count, &[], "Snapshots in the file."),
    gauge(SIZE, Unit::Bytes, &[], "Size of the file's pages, free ones included."),
    counter(SNAPSHOT_LOOKUPS, &["result"], "Replays that were allowed to use snapshots, by whether they found one."),
    counter(SNAPSHOTS_REJECTED, &["reason"], "Snapshots that a replay could not use, or that could not be made."),
    Metric {
        name: BATCH_EVENTS,
        kind: Kind::Histogram,
        unit: Unit::Count,
        labels: &[],
        buckets: BATCH_BUCKETS,
        help: "Events in one atomic append.",
    },
    counter(ERRORS, &["operation", "kind"], "Calls that failed for another reason than a conflict or a missing aggregate."),
    counter(BUSY_WAITS, &[], "Waits for a lock that another connection or process held."),
    counter(BUSY_TIMEOUTS, &[], "Waits for a lock that were given up."),
    seconds(WRITE_WAIT, &[], DISK_BUCKETS, "Time from asking to write until it was this writer's turn."),
    seconds(COMMIT_DURATION, &[], DISK_BUCKETS, "Time of a commit, an automatic WAL checkpoint included."),
    seconds(CHECKPOINT_DURATION, &[], DISK_BUCKETS, "Time of moving the write-ahead log into the file."),
    gauge(WAL, Unit::Bytes, &[], "Size of the write-ahead log on the disk."),
    gauge(LAG, Unit::Count, &["subscription"], "Positions that a subscription, projection or outbox has still to read."),
];

/// The bounds of every histogram. An application's own exporter needs them: without them it renders summaries, and
/// `histogram_quantile` does not work on those.
///
/// ```
/// let (name, bounds) = foldlog::metrics::buckets().next().unwrap();
/// assert_eq!(name, "event_store_save_duration_seconds");
/// assert!(bounds.contains(&0.001));
/// ```
pub fn buckets() -> impl Iterator<Item = (&'static str, &'static [f64])> {
    METRICS.iter().filter(|metric| metric.kind == Kind::Histogram).map(|metric| (metric.name, metric.buckets))
}

/// The value of the label `event_count` for a number of events.
///
/// ```
/// assert_eq!(foldlog::metrics::event_count_class(101), "101-500");
/// ```
pub fn event_count_class(events: u64) -> &'static str {
    match events {
        0..=10 => "0-10",
        11..=50 => "11-50",
        51..=100 => "51-100",
        101..=500 => "101-500",
        501..=1000 => "501-1000",
        _ => "1000+",
    }
}
