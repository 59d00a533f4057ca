//! Dead letters: events that an outbox has given up. They can be looked at, retried and discarded.

use std::collections::VecDeque;

use serde::Serialize;

use crate::delivery::outbox;
use crate::log::scope::Scope;
use crate::model::error::{Error, ErrorKind, Result};
use crate::model::event::RecordedEvent;
use crate::model::place::Position;
use crate::storage::delivery::{Identity, Letter, LetterChange};

/// Letters read at a time.
const PAGE: usize = 64;

/// The dead letters of an outbox: events that could not be published. Only references are kept: the event is read from
/// the log again when a letter is looked at and when it is retried.
///
/// A retried letter starts with all its attempts again. The outbox's runner retries it, in whatever process it runs.
/// Under [`DeadLetterPolicy::HoldAggregate`](crate::DeadLetterPolicy::HoldAggregate) the later events of its aggregate
/// follow.
///
/// ```
/// use foldlog::{Expected, Message, NewEvent, PublishError, Store};
///
/// let store = Store::in_memory()?;
/// store.append("order", "o-1", Expected::Any, [NewEvent::new("Shipped", &())?])?;
/// let mut down = store
///     .outbox("hook")
///     .publisher(|_: &Message<'_>| Err(PublishError::Reject("there is no such customer".into())));
/// assert_eq!(down.run_to_end()?, 0);
///
/// let letters = store.outbox("hook").dead_letters()?;
/// let letter = letters.iter().next().unwrap()?;
/// assert_eq!((letter.attempts, letter.last_error.as_str()), (1, "there is no such customer"));
/// assert_eq!(&*letter.event.unwrap().event_type, "Shipped");
///
/// letters.retry(letter.position)?;
/// let mut up = store.outbox("hook").publisher(|_: &Message<'_>| Ok::<(), PublishError>(()));
/// assert_eq!((up.run_to_end()?, letters.count()?), (1, 0));
/// # Ok::<(), foldlog::Error>(())
/// ```
#[derive(Clone)]
pub struct DeadLetters {
    scope: Scope,
    outbox: i64,
}

/// One dead letter.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct DeadLetter {
    /// The event's position, which also names the letter.
    pub position: Position,
    /// The event; `None` if it was purged or archived meanwhile, or cannot be read. The first, if upcasters make several of
    /// it.
    pub event: Option<RecordedEvent>,
    /// What else upcasters make of it.
    others: Vec<RecordedEvent>,
    /// How often it was tried since it was appended or last retried.
    pub attempts: u32,
    /// Why the last attempt failed, in the publisher's words.
    pub last_error: String,
    /// Events of its aggregate that wait behind it.
    pub waiting: u64,
}

impl DeadLetters {
    pub(crate) fn of(scope: &Scope, outbox: &Identity) -> Result<DeadLetters> {
        Ok(DeadLetters { outbox: outbox::find(scope, outbox)?.0.id, scope: scope.clone() })
    }

    /// How many there are.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`] if a delivery of the outbox is damaged or lost; if the file cannot be read.
    pub fn count(&self) -> Result<u64> {
        let counts = self.scope.engine().count_deliveries(self.outbox).map_err(|error| error.during("dead letters"))?;
        Ok(counts.dead)
    }

    /// Iterates over all of them, in the order of positions. Starts with an error if the outbox has lost a delivery.
    pub fn iter(&self) -> DeadLetterIter {
        DeadLetterIter { letters: self.clone(), after: 0, ready: VecDeque::new(), finished: false }
    }

    /// Retries one dead letter.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] if it is not a dead letter; if the file cannot be written.
    pub fn retry(&self, position: impl Into<Position>) -> Result<()> {
        self.one(position.into(), LetterChange::Revive, "retry dead letter")
    }

    /// Retries the dead letters that `wanted` picks. Returns how many there were.
    ///
    /// # Errors
    /// If the file cannot be read or written; the letters before that are retried all the same.
    pub fn retry_where(&self, wanted: impl FnMut(&DeadLetter) -> bool) -> Result<u64> {
        self.some(wanted, LetterChange::Revive, "retry dead letters")
    }

    /// Retries the dead letters of one event type. Returns how many there were.
    ///
    /// # Errors
    /// As [`DeadLetters::retry_where`].
    pub fn retry_event_type(&self, event_type: &str) -> Result<u64> {
        let (names, upcasters) = ([event_type.to_owned()], &self.scope.options().upcasters);
        self.retry_where(|letter| {
            let mut events = letter.event.iter().chain(&letter.others);
            events.any(|event| upcasters.matches(&names, &event.aggregate_type, &event.event_type))
        })
    }

    /// Retries all dead letters, for instance after the receiver was down. Returns how many there were.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn retry_all(&self) -> Result<u64> {
        self.all(LetterChange::Revive).map_err(|error| error.during("retry dead letters"))
    }

    /// Gives up one dead letter for good: its event is never published. Events that waited for it go on.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] if it is not a dead letter; if the file cannot be written.
    pub fn discard(&self, position: impl Into<Position>) -> Result<()> {
        self.one(position.into(), LetterChange::Discard, "discard dead letter")
    }

    /// Gives up the dead letters that `wanted` picks for good. Returns how many there were.
    ///
    /// # Errors
    /// If the file cannot be read or written; the letters before that are discarded all the same.
    pub fn discard_where(&self, wanted: impl FnMut(&DeadLetter) -> bool) -> Result<u64> {
        self.some(wanted, LetterChange::Discard, "discard dead letters")
    }

    /// Gives up all dead letters for good. Returns how many there were.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn discard_all(&self) -> Result<u64> {
        self.all(LetterChange::Discard).map_err(|error| error.during("discard dead letters"))
    }

    fn page(&self, after: u64) -> Result<VecDeque<DeadLetter>> {
        let rows = self.scope.engine().dead_letters(self.outbox, after, PAGE)?;
        Ok(rows.into_iter().map(DeadLetter::of).collect())
    }

    fn one(&self, position: Position, change: LetterChange, operation: &'static str) -> Result<()> {
        match self.change(Some(position.get()), change).map_err(|error| error.during(operation))? {
            0 => Err(Error::new(ErrorKind::NotFound, "there is no dead letter")
                .at_position(position)
                .advice("DeadLetters::iter lists them")
                .during(operation)),
            _ => Ok(()),
        }
    }

    fn some(&self, mut wanted: impl FnMut(&DeadLetter) -> bool, change: LetterChange, operation: &'static str) -> Result<u64> {
        let mut changed = 0;
        for letter in self.iter() {
            let letter = letter?;
            if wanted(&letter) {
                changed += self.change(Some(letter.position.get()), change).map_err(|error| error.during(operation))?;
            }
        }
        Ok(changed)
    }

    /// Changes the letters that exist now. One that is given up again meanwhile is not counted twice.
    fn all(&self, change: LetterChange) -> Result<u64> {
        let (there, mut changed) = (self.count()?, 0);
        while changed < there {
            match self.change(None, change)? {
                0 => break,
                more => changed += more,
            }
        }
        Ok(changed)
    }

    fn change(&self, position: Option<u64>, change: LetterChange) -> Result<u64> {
        let changed = self.scope.engine().change_letters(self.outbox, position, change)?;
        // Wakes the runner if it is in this process. A runner in another process notices the commit.
        self.scope.log.appended.raise();
        Ok(changed)
    }
}

impl std::fmt::Debug for DeadLetters {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DeadLetters").finish_non_exhaustive()
    }
}

impl DeadLetter {
    fn of(Letter { delivery, events, waiting }: Letter) -> DeadLetter {
        let mut events = events.into_iter();
        DeadLetter {
            position: Position::new(delivery.position),
            event: events.next(),
            others: events.collect(),
            attempts: delivery.attempts,
            last_error: delivery.last_error.unwrap_or_default(),
            waiting,
        }
    }
}

/// See [`DeadLetters::iter`]. Nothing is held open between two pages. After an error the iterator ends.
#[derive(Debug)]
pub struct DeadLetterIter {
    letters: DeadLetters,
    after: u64,
    ready: VecDeque<DeadLetter>,
    finished: bool,
}

impl Iterator for DeadLetterIter {
    type Item = Result<DeadLetter>;

    fn next(&mut self) -> Option<Result<DeadLetter>> {
        if self.ready.is_empty() && !self.finished {
            match self.letters.page(self.after) {
                Ok(page) => {
                    self.finished = page.len() < PAGE;
                    self.after = page.back().map_or(self.after, |letter| letter.position.get());
                    self.ready = page;
                }
                Err(error) => {
                    self.finished = true;
                    return Some(Err(error.during("dead letters")));
                }
            }
        }
        self.ready.pop_front().map(Ok)
    }
}
