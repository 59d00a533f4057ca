//! The clock: the only place that reads the time.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use chrono::{DateTime, Utc};

use crate::model::error::{Error, ErrorKind, Result};

/// Where a store takes its times from: those of events and snapshots, and those at which an outbox tries again.
///
/// Times inform and never order events; versions and positions do. A clock that jumps affects queries by time, and nothing is delivered
/// twice or too late because of it.
#[derive(Clone, Debug, Default)]
pub struct Clock(Source);

#[derive(Clone, Debug, Default)]
enum Source {
    #[default]
    System,
    Fixed(Arc<AtomicI64>),
}

impl Clock {
    /// The machine's clock; the default.
    pub fn system() -> Clock {
        Clock(Source::System)
    }

    /// A clock that stays at `time` until [`Clock::set`] moves it, for tests. Clones share the time.
    ///
    /// ```
    /// use foldlog::{Clock, Options};
    /// let clock = Clock::fixed("2026-01-01T00:00:00Z".parse().unwrap());
    /// let store = Options::new().clock(clock.clone()).in_memory()?;
    /// clock.set("2026-01-02T00:00:00Z".parse().unwrap());
    /// # Ok::<(), foldlog::Error>(())
    /// ```
    pub fn fixed(time: DateTime<Utc>) -> Clock {
        Clock(Source::Fixed(Arc::new(AtomicI64::new(time.timestamp_micros()))))
    }

    /// Moves a fixed clock, forwards or backwards. Has no effect on the system clock.
    pub fn set(&self, time: DateTime<Utc>) {
        if let Source::Fixed(micros) = &self.0 {
            micros.store(time.timestamp_micros(), Ordering::Relaxed);
        }
    }

    /// Microseconds since 1970.
    pub(crate) fn now_micros(&self) -> i64 {
        match &self.0 {
            Source::System => Utc::now().timestamp_micros(),
            Source::Fixed(micros) => micros.load(Ordering::Relaxed),
        }
    }
}

/// The time in whole microseconds; the rest is cut off.
pub(crate) fn to_micros(time: DateTime<Utc>) -> i64 {
    time.timestamp_micros()
}

pub(crate) fn from_micros(micros: i64) -> Result<DateTime<Utc>> {
    DateTime::from_timestamp_micros(micros)
        .ok_or_else(|| Error::new(ErrorKind::Corrupt, format!("a time of {micros} microseconds is outside of the calendar")))
}
