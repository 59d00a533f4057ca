//! Wakes those who wait for new events in this process.

use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

/// Counts commits; waiting for the next one costs nothing until it comes.
#[derive(Default)]
pub(crate) struct Signal {
    commits: Mutex<u64>,
    changed: Condvar,
}

impl Signal {
    /// How often it has been raised.
    pub(crate) fn count(&self) -> u64 {
        *self.commits.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn raise(&self) {
        let mut commits = self.commits.lock().unwrap_or_else(PoisonError::into_inner);
        *commits = commits.wrapping_add(1);
        drop(commits);
        self.changed.notify_all();
    }

    /// Waits until it is raised after `seen`, for `longest` at most; returns whether it was.
    pub(crate) fn wait_after(&self, seen: u64, longest: Duration) -> bool {
        let commits = self.commits.lock().unwrap_or_else(PoisonError::into_inner);
        let (commits, _) =
            self.changed.wait_timeout_while(commits, longest, |commits| *commits == seen).unwrap_or_else(PoisonError::into_inner);
        *commits != seen
    }
}
