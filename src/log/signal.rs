//! Wakes threads that wait for new events in this process.

use std::sync::{Condvar, Mutex};
use std::time::Duration;

use crate::sync;

/// Counts commits. Waiting for the next one costs nothing.
#[derive(Default)]
pub(crate) struct Signal {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    commits: u64,
    /// Threads that wait. Without any nobody needs to be woken, which would be a call to the system.
    waiting: usize,
}

impl Signal {
    /// How often it was raised.
    pub(crate) fn count(&self) -> u64 {
        sync::lock(&self.state).commits
    }

    pub(crate) fn raise(&self) {
        let mut state = sync::lock(&self.state);
        state.commits = state.commits.wrapping_add(1);
        let is_awaited = state.waiting > 0;
        drop(state);
        if is_awaited {
            self.changed.notify_all();
        }
    }

    /// Waits up to `longest` until it is raised after `seen`; returns whether it was.
    pub(crate) fn wait_after(&self, seen: u64, longest: Duration) -> bool {
        let mut state = sync::lock(&self.state);
        state.waiting += 1;
        let mut state = sync::wait_while(&self.changed, state, longest, |state| state.commits == seen);
        state.waiting -= 1;
        state.commits != seen
    }
}
