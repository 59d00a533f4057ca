//! Wakes those who wait for new events in this process.

use std::sync::{Condvar, Mutex};
use std::time::Duration;

use crate::sync;

/// Counts commits; waiting for the next one costs nothing until it comes.
#[derive(Default)]
pub(crate) struct Signal {
    commits: Mutex<u64>,
    changed: Condvar,
}

impl Signal {
    /// How often it has been raised.
    pub(crate) fn count(&self) -> u64 {
        *sync::lock(&self.commits)
    }

    pub(crate) fn raise(&self) {
        let mut commits = sync::lock(&self.commits);
        *commits = commits.wrapping_add(1);
        drop(commits);
        self.changed.notify_all();
    }

    /// Waits until it is raised after `seen`, for `longest` at most; returns whether it was.
    pub(crate) fn wait_after(&self, seen: u64, longest: Duration) -> bool {
        let commits = sync::lock(&self.commits);
        *sync::wait_while(&self.changed, commits, longest, |commits| *commits == seen) != seen
    }
}
