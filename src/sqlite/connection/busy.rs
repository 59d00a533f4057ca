//! Waiting for a lock that another connection or process holds.
//!
//! SQLite takes only a plain function for this (rusqlite 0.40 too), so the time that the current call may wait is kept
//! for each thread. Every entry into [`Database`](super::Database) sets it again.

use std::cell::Cell;
use std::time::{Duration, Instant};

use crate::metrics;

const SLEEP_LEAST: Duration = Duration::from_micros(50);
const SLEEP_MOST: Duration = Duration::from_millis(1);

thread_local! {
    static LONGEST: Cell<Duration> = const { Cell::new(Duration::ZERO) };
    static SINCE: Cell<Option<Instant>> = const { Cell::new(None) };
}

/// Sets how long the current call may wait.
pub(crate) fn up_to(longest: Duration) {
    LONGEST.set(longest);
}

/// Waits with short, growing, uneven sleeps. With SQLite's own waits, the less lucky of two busy processes got a tenth
/// of the turns. Returns whether to try again.
pub(crate) fn wait(attempt: i32) -> bool {
    let longest = LONGEST.get();
    if longest.is_zero() {
        return false;
    }
    let now = Instant::now();
    if attempt == 0 {
        SINCE.set(Some(now));
        metrics::busy_wait_began();
    }
    let waited = SINCE.get().map_or(Duration::ZERO, |since| now.saturating_duration_since(since));
    if waited >= longest {
        metrics::busy_wait_given_up();
        return false;
    }
    let sleep = SLEEP_LEAST.saturating_mul(1 << attempt.clamp(0, 6)).min(SLEEP_MOST);
    let uneven = sleep.mul_f64(0.5 + f64::from(waited.subsec_nanos() % 1_024) / 2_048.0);
    std::thread::sleep(uneven.min(longest.saturating_sub(waited)));
    true
}
