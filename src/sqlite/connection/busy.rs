//! Waiting for a lock that another connection or process holds.
//!
//! SQLite calls a plain function for that (rusqlite 0.40 takes no other), so how long the call at hand may wait is kept
//! for each thread. Every entry into [`Database`](super::Database) says it anew.

use std::cell::Cell;
use std::time::{Duration, Instant};

use crate::metrics;

const SLEEP_LEAST: Duration = Duration::from_micros(50);
const SLEEP_MOST: Duration = Duration::from_millis(1);

thread_local! {
    static LONGEST: Cell<Duration> = const { Cell::new(Duration::ZERO) };
    static SINCE: Cell<Option<Instant>> = const { Cell::new(None) };
}

/// The call at hand waits so long at the most.
pub(crate) fn up_to(longest: Duration) {
    LONGEST.set(longest);
}

/// Waits with short, growing, uneven sleeps: with SQLite's own, of two busy processes the less lucky one got a tenth of
/// the turns. Returns whether to try again.
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
