//! What can be said of an outbox and a handler from what they handed out, in both lives together.

use std::collections::{HashMap, HashSet};

use foldlog::{DeadLetterPolicy, EventId, RecordedEvent};

use super::history::{MAX_ATTEMPTS, is_wanted};
use super::ledger::{Answer, Entry, Seen};

/// The log of an image: nothing was purged, so an event's place follows from its position.
pub struct Log {
    pub events: Vec<RecordedEvent>,
    /// The wanted event before a wanted one in its aggregate.
    before: HashMap<u64, u64>,
}

impl Log {
    pub fn of(events: Vec<RecordedEvent>) -> Log {
        let (mut before, mut newest) = (HashMap::new(), HashMap::new());
        for event in events.iter().filter(|event| is_wanted(event)) {
            let position = event.position.get();
            if let Some(older) = newest.insert((&event.tenant, &event.aggregate_id), position) {
                before.insert(position, older);
            }
        }
        drop(newest);
        Log { before, events }
    }

    pub fn wanted(&self) -> impl Iterator<Item = &RecordedEvent> {
        self.events.iter().filter(|event| is_wanted(event))
    }

    fn id_at(&self, position: u64) -> Option<EventId> {
        self.events.get(usize::try_from(position).ok()?.checked_sub(1)?).map(|event| event.id)
    }

    fn must_hold(&self, event: &Seen) -> Result<(), String> {
        match self.id_at(event.position) {
            Some(id) if id == event.id => Ok(()),
            Some(_) => Err(format!("event {} was handed out and another one is in its place", event.position)),
            None => Err(format!("event {} was handed out and is lost", event.position)),
        }
    }
}

pub struct Told {
    policy: DeadLetterPolicy,
    /// Whether the handler, too, gets only what a power cut leaves.
    durable: bool,
    /// Published, given up or discarded: the next of the aggregate may go out.
    passed: HashSet<u64>,
    published: HashSet<u64>,
    discarding: HashSet<u64>,
    pub discarded: HashSet<u64>,
    attempts: HashMap<u64, u32>,
    handled: HashMap<u64, EventId>,
}

impl Told {
    pub fn new(policy: DeadLetterPolicy, durable: bool) -> Told {
        Told {
            policy,
            durable,
            passed: HashSet::new(),
            published: HashSet::new(),
            discarding: HashSet::new(),
            discarded: HashSet::new(),
            attempts: HashMap::new(),
            handled: HashMap::new(),
        }
    }

    pub fn take(&mut self, entry: &Entry, log: &Log) -> Result<(), String> {
        match entry {
            Entry::Published { event, attempt, answer } => self.published(event, *attempt, *answer, log)?,
            Entry::Handled { event, taken } => {
                if self.durable {
                    log.must_hold(event).map_err(|lost| format!("handler: {lost}"))?;
                }
                if *taken {
                    self.handled.insert(event.position, event.id);
                }
            }
            Entry::Reviving => self.attempts.clear(),
            Entry::Discarding(position) => {
                self.passed.insert(*position);
                self.discarding.insert(*position);
            }
            Entry::Discarded(position) => drop(self.discarded.insert(*position)),
            Entry::Committed(_) | Entry::Built { .. } => {}
        }
        Ok(())
    }

    fn published(&mut self, event: &Seen, attempt: u32, answer: Answer, log: &Log) -> Result<(), String> {
        let position = event.position;
        log.must_hold(event).map_err(|lost| format!("outbox: {lost}"))?;
        let before = self.attempts.insert(position, attempt).unwrap_or(0);
        if attempt <= before {
            return Err(format!("outbox: attempt {attempt} of event {position} came after attempt {before}"));
        }
        // Passing on, an event is also given up without an attempt: when the process died in its last one.
        if let (DeadLetterPolicy::HoldAggregate, Some(older)) = (self.policy, log.before.get(&position))
            && !self.passed.contains(older)
        {
            return Err(format!("outbox: event {position} was handed out before {older} of its aggregate was through"));
        }
        if attempt > MAX_ATTEMPTS {
            return Err(format!("outbox: event {position} was tried {attempt} times"));
        }
        if answer == Answer::Taken {
            self.passed.insert(position);
            self.published.insert(position);
        }
        Ok(())
    }

    /// Wanted events that were never published, nor given up by hand.
    pub fn unpublished<'a>(&'a self, log: &'a Log) -> impl Iterator<Item = u64> + 'a {
        let through = |position: &u64| self.published.contains(position) || self.discarding.contains(position);
        log.wanted().map(|event| event.position.get()).filter(move |position| !through(position))
    }

    /// Whether the handler has taken all that lies up to its checkpoint.
    pub fn has_handled(&self, log: &Log, through: u64) -> Result<(), String> {
        let missed = log
            .wanted()
            .take_while(|event| event.position <= through)
            .find(|event| self.handled.get(&event.position.get()) != Some(&event.id));
        match missed {
            None => Ok(()),
            Some(event) => Err(format!("handler: at {through}, and event {} was never handled", event.position)),
        }
    }
}
