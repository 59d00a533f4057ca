//! Limits how much of the time background work holds the write lock.

use std::time::{Duration, Instant};

/// After each turn, background work yields for this multiple of the time it held the lock, if others want it.
const SHARE: u32 = 2;
/// It also yields this long at regular intervals, even if nobody seems to wait. This is the longest sleep of a process
/// that waits for the file's lock, so each such process finds it free at least once.
const GAP: Duration = Duration::from_micros(1_200);
/// The interval, counted in time that it held the lock.
const GAP_AFTER: Duration = Duration::from_millis(24);

/// The turns of background work.
#[derive(Default)]
pub(crate) struct Throttle {
    began: Option<Instant>,
    released: Option<Instant>,
    /// How long it held the lock in its last turn, and since it last yielded for a while.
    held: Duration,
    held_in_all: Duration,
    /// The turns that threads of this process had asked for when it last began.
    turns: u64,
    /// SQLite's `data_version`, which shows commits of other processes.
    version: Option<i64>,
    others: bool,
}

impl Throttle {
    /// How long to wait before the next turn.
    pub(crate) fn pause(&self, turns: u64) -> Duration {
        let Some(released) = self.released else { return Duration::ZERO };
        let wanted = if turns != self.turns || self.others {
            self.held * SHARE
        } else if self.held_in_all >= GAP_AFTER {
            GAP
        } else {
            Duration::ZERO
        };
        wanted.saturating_sub(released.elapsed())
    }

    /// Begins a turn; `turns` includes it.
    pub(crate) fn begin(&mut self, turns: u64) {
        self.turns = turns;
        self.began = None;
        if self.released.is_some_and(|released| released.elapsed() >= GAP) {
            self.held_in_all = Duration::ZERO;
        }
    }

    /// The lock is taken. `version` shows whether another process committed since the last time.
    pub(crate) fn look(&mut self, version: i64) {
        self.others = self.version.is_some_and(|before| before != version);
        self.version = Some(version);
        self.began = Some(Instant::now());
    }

    /// Ends the turn.
    pub(crate) fn end(&mut self) {
        self.held = self.began.map_or(Duration::ZERO, |began| began.elapsed());
        self.held_in_all += self.held;
        self.released = Some(Instant::now());
    }
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use super::*;
    use crate::model::error::{Error, ErrorKind, Result};
    use crate::options::Options;
    use crate::sqlite::Database;
    use crate::sqlite::transaction::Writing;

    fn after(held: Duration, others: bool) -> Throttle {
        Throttle { held, held_in_all: held, released: Some(Instant::now()), turns: 7, others, ..Throttle::default() }
    }

    #[test]
    fn others_get_twice_what_was_held() {
        let held = Duration::from_secs(1);
        assert_eq!(Throttle::default().pause(0), Duration::ZERO, "nothing was held yet");
        for (throttle, turns) in [(after(held, false), 8), (after(held, true), 7)] {
            let pause = throttle.pause(turns);
            assert!(pause > Duration::from_millis(1_900) && pause <= Duration::from_secs(2), "{pause:?}");
        }
        assert!(after(held, false).pause(7) <= GAP, "nobody wants it");
        assert_eq!(after(Duration::from_millis(8), false).pause(7), Duration::ZERO);
    }

    #[test]
    fn the_others_version_is_told_from_the_first_look() {
        let mut throttle = Throttle::default();
        for (version, others) in [(5, false), (5, false), (6, true), (6, false)] {
            throttle.look(version);
            assert_eq!(throttle.others, others, "{version}");
        }
    }

    /// What the writing connection's commits wait for, as SQLite reports it.
    fn synchronous(writing: &Writing<'_>) -> Result<i64> {
        writing.value("PRAGMA synchronous", [])
    }

    #[test]
    fn only_relaxed_commits_wait_for_nothing() {
        const NORMAL: i64 = 1;
        const FULL: i64 = 2;
        let directory = tempfile::tempdir().unwrap();
        let database = Database::open(&directory.path().join("a.db"), &Options::new()).unwrap();
        let fails = |_: &Writing<'_>| -> Result<()> { Err(Error::new(ErrorKind::Internal, "on purpose")) };
        for _ in 0..2 {
            assert_eq!(database.write(synchronous).unwrap(), FULL);
            assert_eq!(database.write_relaxed(synchronous).unwrap(), NORMAL);
            assert_eq!(database.write(synchronous).unwrap(), FULL);
            assert_eq!(database.write_in_background(synchronous).unwrap(), NORMAL);
            assert_eq!(database.try_write(synchronous).unwrap(), Some(FULL));
            database.write_relaxed(fails).unwrap_err();
            assert_eq!(database.write_durably(synchronous).unwrap(), FULL);
            let panicked = catch_unwind(AssertUnwindSafe(|| database.write_relaxed(|_| -> Result<()> { panic!("on purpose") })));
            assert!(panicked.is_err());
            assert_eq!(database.write(synchronous).unwrap(), FULL);
        }
    }
}
