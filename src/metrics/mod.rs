//! The metrics that a store reports through the [`metrics`](https://docs.rs/metrics) facade.
//!
//! The library installs no recorder. As long as the application installs none either, measuring costs a few nanoseconds
//! for each call. A recorder may be installed before or after a store is opened. With the feature `prometheus`,
//! `foldlog::prometheus::install` provides one.
//!
//! [`METRICS`] lists them all. Labels with values from outside are bounded by [`LabelBounds`]; data and metadata never
//! become labels. Gauges are read from the file, so they are right after a restart, a purge or an append by another
//! process. They are read after each change made through the store, otherwise at most once a second while the store is
//! in use, and whenever [`Maintenance::refresh_metrics`](crate::Maintenance::refresh_metrics) is called. If an
//! application has several files open, a gauge shows the one that reported last.

mod facade;
mod labels;
mod meter;
mod names;

pub use labels::{Bound, LabelBounds, OTHER};
pub use names::*;

pub(crate) use labels::DEFAULT_VALUES;
pub(crate) use meter::{Meter, Replay, Timer};
pub(crate) use process::*;

/// Describes every metric and its unit to the installed recorder.
///
/// A store does this when it is opened, and again at its first call after a recorder was installed. An application may
/// call it as often as it likes.
pub fn describe() {
    METRICS.iter().for_each(facade::describe);
}

/// Metrics of connections, which do not know their store.
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
