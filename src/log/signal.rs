//! Wakes threads that wait for new events in this process.

use std::sync::{Condvar, Mutex};
use std::time::Duration;

use crate::sync;

/// Counts commits. Waiting for the next one costs nothing.
#[derive(Default)]
pub(crate) struct Signal {
    commits: Mutex<u64>,
    changed: Condvar,
}

impl Signal {
    /// How often it was raised.
    pub(crate) fn count(&self) -> u64 {
        *sync::lock(&self.commits)
    }

    pub(crate) fn raise(&self) {
        let mut commits = sync::lock(&self.commits);
        *commits = commits.wrapping_add(1);
        drop(commits);
        self.changed.notify_all();
    }

    /// Waits up to `longest` until it is raised after `seen`; returns whether it was.
    pub(crate) fn wait_after(&self, seen: u64, longest: Duration) -> bool {
        let commits = sync::lock(&self.commits);
        *sync::wait_while(&self.changed, commits, longest, |commits| *commits == seen) != seen
    }
}
