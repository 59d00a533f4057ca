//! Keeps readings and commits of a store in memory apart.
//!
//! Memory has no write-ahead log, so a commit changes the pages that readers read. Until then the pages that a write
//! transaction changes are in its own cache, so only the moment of the commit and the readings exclude each other.

use std::cell::Cell;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, RwLock, RwLockReadGuard, RwLockWriteGuard, TryLockError};
use std::time::{Duration, Instant};

use super::busy;
use crate::model::error::{Error, ErrorKind, Result};
use crate::sync;

/// How long a new reading lets a commit that waits go first. Otherwise readings that overlap would keep it out for ever.
const LONGEST_PAUSE: Duration = Duration::from_millis(20);
const LOOK_EVERY: Duration = Duration::from_micros(20);

thread_local! {
    /// The readings of this thread. A reading can begin another one, which must not wait.
    static DEPTH: Cell<u32> = const { Cell::new(0) };
}

/// See the module.
#[derive(Clone, Debug, Default)]
pub(crate) struct Settled(Arc<State>);

#[derive(Debug, Default)]
struct State {
    pages: RwLock<()>,
    /// Commits that wait.
    waiting: AtomicUsize,
}

/// A reading: no commit changes pages until it is dropped.
pub(crate) struct Reading<'a> {
    _pages: RwLockReadGuard<'a, ()>,
}

impl Drop for Reading<'_> {
    fn drop(&mut self) {
        DEPTH.set(DEPTH.get().saturating_sub(1));
    }
}

impl Settled {
    pub(crate) fn reading(&self) -> Reading<'_> {
        if DEPTH.get() == 0 && self.0.waiting.load(Ordering::Relaxed) > 0 {
            let began = Instant::now();
            while self.0.waiting.load(Ordering::Relaxed) > 0 && began.elapsed() < LONGEST_PAUSE {
                std::thread::sleep(LOOK_EVERY);
            }
        }
        DEPTH.set(DEPTH.get().saturating_add(1));
        Reading { _pages: sync::read(&self.0.pages) }
    }

    /// Nobody reads until the result is dropped. Waits for readings as long as the current call may.
    pub(crate) fn committing(&self) -> Result<RwLockWriteGuard<'_, ()>> {
        self.0.waiting.fetch_add(1, Ordering::Relaxed);
        let alone = self.wait_for_readings();
        self.0.waiting.fetch_sub(1, Ordering::Relaxed);
        alone
    }

    fn wait_for_readings(&self) -> Result<RwLockWriteGuard<'_, ()>> {
        let mut attempt = 0;
        loop {
            // Never queues for it, because a reading may begin another one.
            match self.0.pages.try_write() {
                Ok(alone) => return Ok(alone),
                Err(TryLockError::Poisoned(alone)) => return Ok(alone.into_inner()),
                Err(TryLockError::WouldBlock) if busy::wait(attempt) => attempt = attempt.saturating_add(1),
                Err(TryLockError::WouldBlock) => {
                    return Err(Error::new(
                        ErrorKind::Busy,
                        "readings of a store in memory went on longer than the busy time-out",
                    )
                    .advice("try again, or raise Options::busy_timeout"));
                }
            }
        }
    }
}
