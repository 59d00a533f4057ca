//! What an operator sees: the metrics that a store reports through the [`metrics`](https://docs.rs/metrics) facade.
//!
//! The library installs no recorder; while the application has installed none, measuring costs a few nanoseconds for
//! each call. A recorder may be installed before or after a store is opened. With the feature `prometheus`,
//! `foldlog::prometheus::install` is a recorder that is ready to use.
//!
//! [`METRICS`] lists them all. Values that come from outside are bounded by [`LabelBounds`]; payloads and metadata never
//! become labels. Gauges are read from the file, so they are right after a restart, a purge or an append by another
//! process: after each change made through the store, and for the rest at most once a second while the store is in use,
//! or whenever [`Maintenance::refresh_metrics`](crate::Maintenance::refresh_metrics) is called. An application that has several
//! files open sees, in the gauges, the one that reported last.

mod facade;
mod labels;
mod meter;
mod names;

pub use labels::{Bound, LabelBounds, OTHER};
pub use names::*;

pub(crate) use labels::DEFAULT_VALUES;
pub(crate) use meter::{Meter, Replay, Timer};
pub(crate) use process::*;

/// Describes every metric, with its unit, to the recorder that is installed.
///
/// A store does so when it is opened, and again at its first call after a recorder was installed. An application may call
/// it as often as it likes.
pub fn describe() {
    METRICS.iter().for_each(facade::describe);
}

/// What happens in connections, which know no store.
mod process {
    use std::time::Duration;

    use super::{facade, names};

    pub(crate) fn snapshots_in_file(count: u64) {
        facade::set(names::SNAPSHOTS, [], count as f64);
    }

    pub(crate) fn file_bytes(bytes: u64) {
        facade::set(names::SIZE, [], bytes as f64);
    }

    pub(crate) fn wal_bytes(bytes: u64) {
        facade::set(names::WAL, [], bytes as f64);
    }

    pub(crate) fn busy_wait_began() {
        facade::count(names::BUSY_WAITS, [], 1);
    }

    pub(crate) fn busy_wait_given_up() {
        facade::count(names::BUSY_TIMEOUTS, [], 1);
    }

    pub(crate) fn waited_to_write(took: Duration) {
        facade::observe(names::WRITE_WAIT, [], took.as_secs_f64());
    }

    pub(crate) fn committed(took: Duration) {
        facade::observe(names::COMMIT_DURATION, [], took.as_secs_f64());
    }

    pub(crate) fn checkpointed(took: Duration) {
        facade::observe(names::CHECKPOINT_DURATION, [], took.as_secs_f64());
    }
}
