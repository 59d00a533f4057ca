//! Waiting for events without a subscription.

use std::time::{Duration, Instant};

use crate::log::scope::Scope;
use crate::model::error::Result;
use crate::model::place::Position;

/// How often a waiting call looks for appends of other processes; less often after a long wait.
const LOOK_EVERY: Duration = Duration::from_millis(5);
const LOOK_EVERY_AT_LEAST: Duration = Duration::from_millis(100);

/// Waits until the log has reached a position; returns whether it has.
pub(crate) fn wait_for(scope: &Scope, position: Position, timeout: Duration) -> Result<bool> {
    let began = Instant::now();
    loop {
        // Counted before the position is read, so that a later commit ends the wait.
        let seen = scope.log.appended.count();
        if scope.engine().last_position()? >= position.get() {
            return Ok(true);
        }
        let waited = began.elapsed();
        let left = timeout.saturating_sub(waited);
        if left.is_zero() {
            return Ok(false);
        }
        // Commits of other processes do not raise the signal.
        scope.log.appended.wait_after(seen, left.min(pause_after(waited)));
    }
}

/// How long to wait before the next look for commits of other processes, after waiting for so long.
pub(super) fn pause_after(waited: Duration) -> Duration {
    (waited / 16).clamp(LOOK_EVERY, LOOK_EVERY_AT_LEAST)
}
