//! Watching the log: new events as they come, without a subscription in the file.

use std::collections::VecDeque;
use std::fmt;
use std::time::{Duration, Instant};

use crate::engine::Watcher;
use crate::log::scope::Scope;
use crate::log::wait::pause_after;
use crate::model::error::Result;
use crate::model::event::RecordedEvent;
use crate::model::filter::Filter;
use crate::model::place::Position;

/// Events read at a time.
const PAGE: usize = 128;

/// New events as they are appended, by any thread or process; see [`Store::watch`](crate::Store::watch). Nothing of it
/// is in the file: it ends with the value, holds no purge back, and costs an append nothing.
///
/// As an iterator it waits for ever for the next event. After an error the next call tries again at the same place.
pub struct Watch {
    scope: Scope,
    filter: Filter,
    watcher: Watcher,
    /// The log was read up to here.
    read: u64,
    /// Events that were read and not yet returned.
    ready: VecDeque<RecordedEvent>,
}

impl Watch {
    pub(crate) fn new(scope: &Scope, filter: Filter) -> Result<Watch> {
        let watcher = scope.engine().watcher()?;
        let read = scope.engine().last_position()?;
        Ok(Watch { scope: scope.clone(), filter, watcher, read, ready: VecDeque::new() })
    }

    /// Begins after this position instead of at the end of the log, for instance after the last event that a state was
    /// read with.
    pub fn after(mut self, position: impl Into<Position>) -> Watch {
        self.read = position.into().get();
        self.ready.clear();
        self
    }

    /// Waits for the next event up to this time; `None` if there was none. With [`Duration::ZERO`] it only looks,
    /// `Duration::MAX` waits for ever.
    ///
    /// # Errors
    /// If the file cannot be read, or the event is damaged.
    pub fn next_within(&mut self, timeout: Duration) -> Result<Option<RecordedEvent>> {
        self.next_event(timeout).map_err(|error| error.during("watch"))
    }

    /// Every wanted event up to here was returned.
    pub fn position(&self) -> Position {
        Position::new(self.ready.front().map_or(self.read, |next| next.position.get().saturating_sub(1)))
    }

    fn next_event(&mut self, timeout: Duration) -> Result<Option<RecordedEvent>> {
        let began = Instant::now();
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Ok(Some(event));
            }
            // Both are read before the log, so that a later commit ends the wait.
            let (seen, version) = (self.scope.log.appended.count(), self.watcher.version()?);
            let (events, scanned) = self.scope.engine().read_after(&self.scope.tenant, &self.filter, self.read, PAGE)?;
            (self.ready, self.read) = (events, scanned);
            while self.ready.is_empty() {
                let waited = began.elapsed();
                let left = timeout.saturating_sub(waited);
                if left.is_zero() {
                    return Ok(None);
                }
                if self.scope.log.appended.wait_after(seen, left.min(pause_after(waited))) || self.watcher.version()? != version {
                    break;
                }
            }
        }
    }
}

impl Iterator for Watch {
    type Item = Result<RecordedEvent>;

    fn next(&mut self) -> Option<Result<RecordedEvent>> {
        self.next_within(Duration::MAX).transpose()
    }
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watch").field("filter", &self.filter).field("position", &self.position()).finish_non_exhaustive()
    }
}
