//! Events on their way into a projection's tables.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::Definition;
use crate::log::query;
use crate::log::scope::Scope;
use crate::model::error::Result;
use crate::model::event::RecordedEvent;
use crate::sqlite::read_model::Naming;
use crate::sqlite::{View, Writing};

/// Events read at once. Many, for a connection that reads begins with an empty page cache after each commit.
const PAGE: usize = 4_096;
/// Events that are read at once in the transaction that takes them.
pub(super) const TAIL: usize = 512;
/// How long one transaction of a projection may hold the file: so long an append of another process waits at the most.
const HOLDS: Duration = Duration::from_millis(8);
/// How long it may when somebody in this process waits.
const HOLDS_WANTED: Duration = Duration::from_millis(1);

/// Events that were read, and checked, before the transaction that takes them, so that it holds the file no longer than
/// the tables need. What a transaction did not get to waits here for the next one.
pub(super) struct Feed {
    /// What these events come after: where the tables stand.
    pub(super) after: u64,
    events: VecDeque<RecordedEvent>,
    /// How far the log was looked at for them.
    scanned: u64,
    /// At most so many in the next transaction.
    limit: usize,
    /// How many went well before one failed.
    failed_after: Option<usize>,
}

/// What a transaction took.
#[derive(Clone, Copy)]
pub(super) struct Taken {
    /// The tables stand here now.
    pub(super) reached: u64,
    pub(super) events: usize,
}

impl Feed {
    pub(super) fn new() -> Feed {
        Feed { after: 0, events: VecDeque::new(), scanned: 0, limit: usize::MAX, failed_after: None }
    }

    /// Reads the events after a position, unless those at hand are they.
    pub(super) fn fill(&mut self, scope: &Scope, view: &View<'_>, definition: &Definition, after: u64) -> Result<()> {
        if self.after == after && !self.events.is_empty() {
            return Ok(());
        }
        (self.events, self.scanned) = query::read_after(scope, view, &definition.filter, after, PAGE)?;
        self.after = after;
        Ok(())
    }

    /// Whether the log has nothing more, not even events that the projection does not want.
    pub(super) fn is_at_end(&self) -> bool {
        self.events.is_empty() && self.scanned == self.after
    }

    /// Takes events into the tables, as many as fit into the time that a transaction may last.
    pub(super) fn take(
        &mut self,
        scope: &Scope,
        writing: &Writing<'_>,
        definition: &Definition,
        naming: Naming,
    ) -> Result<Taken> {
        self.failed_after = None;
        let model = definition.model(writing, naming);
        let began = Instant::now();
        for (before, event) in self.events.iter().enumerate() {
            if let Err(error) = definition.apply(scope, &model, event) {
                self.failed_after = Some(before);
                return Err(error);
            }
            let (events, held) = (before + 1, began.elapsed());
            let time_is_up = held >= HOLDS || (held >= HOLDS_WANTED && scope.database().is_wanted());
            if events < self.events.len() && (time_is_up || events >= self.limit) {
                return Ok(Taken { reached: event.position.get(), events });
            }
        }
        Ok(Taken { reached: self.scanned, events: self.events.len() })
    }

    /// Positions of the log behind what was read.
    pub(super) fn left(&self, last_position: u64) -> u64 {
        last_position.saturating_sub(self.scanned)
    }

    /// Whether a transaction took everything that was read.
    pub(super) fn is_all(&self, taken: Taken) -> bool {
        taken.reached == self.scanned
    }

    /// The transaction has committed.
    pub(super) fn committed(&mut self, taken: Taken) {
        self.after = taken.reached;
        self.events.drain(..taken.events.min(self.events.len()));
        self.limit = usize::MAX;
    }

    /// The transaction was rolled back. If an event failed that others came before, the next one takes those; otherwise
    /// `false`.
    pub(super) fn rolled_back(&mut self) -> bool {
        match self.failed_after.take() {
            Some(before) if before > 0 => {
                self.limit = before;
                true
            }
            _ => false,
        }
    }
}
