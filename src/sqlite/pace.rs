//! How work in the background shares the file with everybody else.

use std::time::{Duration, Instant};

/// So much longer than it held the file does it leave it to others who want it.
const SHARE: u32 = 2;
/// So long does it leave the file in any case after it held it for long: the longest sleep of a process that waits for
/// the file's lock, so that every one of them finds it free at least once.
const GAP: Duration = Duration::from_micros(1_200);
/// What it held for less than this is too short to be in another process's way.
const SHORT: Duration = Duration::from_millis(2);

/// Turns of the work in the background.
#[derive(Default)]
pub(crate) struct Pace {
    held: Duration,
    released: Option<Instant>,
    began: Option<Instant>,
    /// Turns that anybody in this process had asked for when it began last.
    turns: u64,
    /// SQLite's mark for the commits of other processes.
    version: Option<i64>,
    others: bool,
}

impl Pace {
    /// How long to wait before the next turn.
    pub(crate) fn pause(&self, turns: u64) -> Duration {
        let Some(released) = self.released else { return Duration::ZERO };
        let wanted = if turns != self.turns || self.others {
            self.held * SHARE
        } else if self.held >= SHORT {
            GAP
        } else {
            Duration::ZERO
        };
        wanted.saturating_sub(released.elapsed())
    }

    /// A turn begins; `turns` counts it.
    pub(crate) fn begin(&mut self, turns: u64) {
        self.turns = turns;
        self.began = None;
    }

    /// The file is ours; `version` tells whether another process had it since the last time.
    pub(crate) fn look(&mut self, version: i64) {
        self.others = self.version.is_some_and(|before| before != version);
        self.version = Some(version);
        self.began = Some(Instant::now());
    }

    /// The turn is over.
    pub(crate) fn end(&mut self) {
        self.held = self.began.map_or(Duration::ZERO, |began| began.elapsed());
        self.released = Some(Instant::now());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(held: Duration, others: bool) -> Pace {
        Pace { held, released: Some(Instant::now()), turns: 7, others, ..Pace::default() }
    }

    #[test]
    fn others_get_twice_what_was_held() {
        let held = Duration::from_secs(1);
        assert_eq!(Pace::default().pause(0), Duration::ZERO, "nothing was held yet");
        for (pace, turns) in [(after(held, false), 8), (after(held, true), 7)] {
            let pause = pace.pause(turns);
            assert!(pause > Duration::from_millis(1_900) && pause <= Duration::from_secs(2), "{pause:?}");
        }
        assert!(after(held, false).pause(7) <= GAP, "nobody wants it");
        assert_eq!(after(Duration::from_micros(100), false).pause(7), Duration::ZERO);
    }

    #[test]
    fn the_others_version_is_told_from_the_first_look() {
        let mut pace = Pace::default();
        for (version, others) in [(5, false), (5, false), (6, true), (6, false)] {
            pace.look(version);
            assert_eq!(pace.others, others, "{version}");
        }
    }
}
