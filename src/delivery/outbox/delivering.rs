//! An outbox's work: lease, publish, mark.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use super::publisher::{Message, PublishError, Publisher, shortened};
use super::{LONGEST_PAUSE, Settings, event_at};
use crate::delivery::runner::{self, Halt, Lease, Step, Work, now};
use crate::log::query::{self, Query};
use crate::log::scope::Scope;
use crate::model::error::Result;
use crate::model::event::RecordedEvent;
use crate::sqlite::deliveries::{self, Delivery, State};
use crate::sqlite::{View, Writing, checkpoints};

/// Events leased at once. A death in the batch publishes so many again at the most.
const BATCH: usize = 128;
/// Bytes of data loaded at once for events that are tried again.
const BATCH_BYTES: usize = 1 << 20;
/// After so long a batch ends with the event at hand, so that the lease is renewed and a stop is heard.
const STEP: Duration = Duration::from_millis(250);

/// The work of an outbox.
pub(super) struct Delivering<P> {
    name: String,
    filter: Query,
    settings: Settings,
    /// Whether it is worth saying when the next one falls due: a follower waits for it.
    waits: bool,
    publisher: P,
    /// The lead that it was tidied up under.
    fence: Option<i64>,
    /// New events and those to be tried again take turns, so that neither holds up the other.
    new_first: bool,
}

/// Events that are leased: in order within each aggregate.
struct Batch {
    items: Vec<Item>,
    /// Where the checkpoint is to be when all of it was tried.
    reached: u64,
    source: Source,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Source {
    /// Read from the log just now.
    New,
    /// Had a row.
    Due,
    /// Had a row, left by a runner that died: alone in its batch, for it may be why.
    Orphan,
}

/// A leased event.
struct Item {
    position: u64,
    aggregate: i64,
    attempt: u32,
    /// Its row before the lease, if it had one.
    before: Option<Delivery>,
    /// Or why it cannot be published.
    event: Result<RecordedEvent, String>,
}

impl Item {
    /// An event that has a row; it is left to read it.
    fn of(before: Delivery) -> Item {
        let attempt = before.attempts.saturating_add(1);
        let event = Err(String::new());
        Item { position: before.position, aggregate: before.aggregate, attempt, before: Some(before), event }
    }
}

/// What became of an item.
enum Outcome {
    Delivered,
    Retry(i64, String),
    Dead(String),
    /// One before it in its aggregate has failed.
    Held,
}

/// A step of a transaction under the lead: `None` if another runner leads by now.
type UnderLead<T> = Result<Option<T>>;

impl<P: Publisher> Work for Delivering<P> {
    fn step(&mut self, scope: &Scope, lease: &Lease) -> std::result::Result<Step, Halt> {
        if self.fence != Some(lease.fence) {
            self.tidy_up(scope, lease)?;
            self.fence = Some(lease.fence);
        }
        // Only this runner leases, and it marks what it has leased before the next step: a row that is leased now was left
        // by a death, or by a mark that failed.
        if let Some(batch) = self.lease_orphan(scope, lease)? {
            return self.deliver(scope, lease, &batch);
        }
        self.new_first = !self.new_first;
        for new in [self.new_first, !self.new_first] {
            let batch = if new { self.lease_new(scope, lease)? } else { self.lease_due(scope, lease)? };
            if let Some(batch) = batch {
                return self.deliver(scope, lease, &batch);
            }
        }
        Ok(Step::CaughtUp(if self.waits { self.until_next(scope, lease)? } else { None }))
    }
}

impl<P: Publisher> Delivering<P> {
    pub(super) fn new(name: &str, filter: Query, settings: Settings, waits: bool, publisher: P) -> Delivering<P> {
        Delivering { name: name.to_owned(), filter, settings, waits, publisher, fence: None, new_first: false }
    }

    /// Once under each lead: another policy or another clock may have ruled before.
    fn tidy_up(&self, scope: &Scope, lease: &Lease) -> std::result::Result<(), Halt> {
        scope.database().write(|writing| {
            deliveries::release_all(writing, lease.id, self.settings.holds(), now(), in_micros(now(), LONGEST_PAUSE))
        })?;
        Ok(())
    }

    fn until_next(&self, scope: &Scope, lease: &Lease) -> Result<Option<Duration>> {
        let next = scope.database().read(|view| deliveries::next_due(view, lease.id, self.settings.holds()))?;
        Ok(next.map(|due_at| {
            let micros = u64::try_from(due_at.saturating_sub(now())).unwrap_or(0);
            // Rounded up: a moment too early would find nothing and ask again.
            Duration::from_micros(micros) + Duration::from_millis(1)
        }))
    }

    /// Leases the first delivery that a runner died with.
    fn lease_orphan(&self, scope: &Scope, lease: &Lease) -> std::result::Result<Option<Batch>, Halt> {
        if scope.database().read(|view| deliveries::first_leased(view, lease.id))?.is_none() {
            return Ok(None);
        }
        self.lease_batch(scope, lease, |writing, position| {
            // All of the batch that the dead one had has rows, so the checkpoint can stand behind it.
            let reached = position.max(deliveries::last_position(writing, lease.id)?);
            let Some(orphan) = deliveries::first_leased(writing, lease.id)? else { return Ok(None) };
            let item = if orphan.attempts >= self.settings.max_attempts {
                Item { event: Err("the process died in the last attempt".to_owned()), ..Item::of(orphan) }
            } else {
                self.lease_again(writing, lease, orphan)?
            };
            Ok(Some(Batch { items: vec![item], reached, source: Source::Orphan }))
        })
    }

    /// Leases what is due to be tried again, and what waits directly behind it.
    fn lease_due(&self, scope: &Scope, lease: &Lease) -> std::result::Result<Option<Batch>, Halt> {
        let due = |view: &View<'_>, limit: usize| deliveries::due(view, lease.id, self.settings.holds(), now(), limit);
        // Without a write transaction as long as nothing is due.
        if scope.database().read(|view| due(view, 1))?.is_empty() {
            return Ok(None);
        }
        self.lease_batch(scope, lease, |writing, reached| {
            let (mut items, mut bytes) = (Vec::new(), 0);
            for delivery in due(writing, self.batch_size())? {
                if bytes > BATCH_BYTES {
                    break;
                }
                let item = self.lease_again(writing, lease, delivery)?;
                bytes += item.event.as_ref().map_or(0, |event| event.data.as_str().len());
                items.push(item);
            }
            Ok((!items.is_empty()).then_some(Batch { items, reached, source: Source::Due }))
        })
    }

    fn lease_again(&self, writing: &Writing<'_>, lease: &Lease, before: Delivery) -> Result<Item> {
        let event = event_at(writing, before.position)?;
        deliveries::lease(writing, lease.id, before.position, lease.until())?;
        Ok(Item { event, ..Item::of(before) })
    }

    /// Leases the next events of the log. Those of aggregates that are held up wait.
    fn lease_new(&self, scope: &Scope, lease: &Lease) -> std::result::Result<Option<Batch>, Halt> {
        let (position, events, scanned) = scope.database().read(|view| {
            let row = checkpoints::find_by_id(view, lease.id)?.ok_or_else(|| runner::unknown(&self.name))?;
            let (events, scanned) = query::read_after(scope, view, &self.filter, row.position, self.batch_size())?;
            Ok((row.position, events, scanned))
        })?;
        if scanned == position {
            return Ok(None);
        }
        self.lease_batch(scope, lease, |writing, _| {
            let mut items = Vec::new();
            for event in events {
                let at = event.position.get();
                let leased = deliveries::lease_new(writing, lease.id, at, self.settings.holds(), lease.until())?;
                if let Some((aggregate, State::Leased)) = leased {
                    items.push(Item { position: at, aggregate, attempt: 1, before: None, event: Ok(event) });
                }
            }
            if items.is_empty() {
                // Nothing is out: this is all that there is to mark.
                checkpoints::advance(writing, lease.id, lease.fence, scanned, lease.until())?;
            }
            Ok(Some(Batch { items, reached: scanned, source: Source::New }))
        })
    }

    /// Events leased at once: one if a death in a batch would use up the only attempt of the others, too.
    fn batch_size(&self) -> usize {
        if self.settings.max_attempts == 1 { 1 } else { BATCH }
    }

    /// Leases under the lead, and durably: nothing leaves the process before it is on the disk, with all before it.
    fn lease_batch(
        &self,
        scope: &Scope,
        lease: &Lease,
        take: impl FnOnce(&Writing<'_>, u64) -> Result<Option<Batch>>,
    ) -> std::result::Result<Option<Batch>, Halt> {
        let taken: UnderLead<Option<Batch>> = scope.database().write_durably(|writing| {
            let row = checkpoints::find_by_id(writing, lease.id)?.ok_or_else(|| runner::unknown(&self.name))?;
            if !checkpoints::advance(writing, lease.id, lease.fence, row.position, lease.until())? {
                return Ok(None);
            }
            take(writing, row.position).map(Some)
        });
        taken?.ok_or(Halt::LeadLost)
    }

    /// Publishes a batch and marks what became of it.
    fn deliver(&mut self, scope: &Scope, lease: &Lease, batch: &Batch) -> std::result::Result<Step, Halt> {
        let (began, longest) = (Instant::now(), lease.step_time(STEP));
        let (mut outcomes, mut held, mut delivered) = (Vec::new(), HashSet::new(), 0);
        for item in &batch.items {
            if !outcomes.is_empty() && began.elapsed() >= longest {
                break;
            }
            let outcome = if held.contains(&item.aggregate) { Outcome::Held } else { self.attempt(scope, item) };
            match &outcome {
                Outcome::Delivered => delivered += 1,
                Outcome::Dead(_) if !self.settings.holds() => {}
                _ => drop(held.insert(item.aggregate)),
            }
            outcomes.push(outcome);
        }
        if !batch.items.is_empty() {
            let marked = scope.database().write_in_background(|writing| self.mark(writing, lease, batch, &outcomes))?;
            if marked.is_none() {
                return Err(Halt::LeadLost);
            }
        }
        // Whoever waits for the outbox looks when something is committed.
        scope.log.appended.raise();
        Ok(Step::Worked(delivered))
    }

    /// One attempt.
    fn attempt(&mut self, scope: &Scope, item: &Item) -> Outcome {
        let event = match &item.event {
            Ok(event) => event,
            Err(reason) => return Outcome::Dead(shortened(reason)),
        };
        let message = Message { event, attempt: item.attempt, outbox: &self.name };
        let mut published = Ok(());
        let run = runner::handle(scope, &self.name, event, || {
            published = self.publisher.publish(&message);
            Ok(())
        });
        let error = match (run, published) {
            (Ok(()), Ok(())) => return Outcome::Delivered,
            (Ok(()), Err(error)) => error,
            (Err(_), _) => PublishError::Retry("the publisher panicked".to_owned()),
        };
        let reason = error.reason();
        let pause = self.settings.pause(item.attempt);
        match error {
            PublishError::Reject(_) => Outcome::Dead(reason),
            _ if item.attempt >= self.settings.max_attempts => Outcome::Dead(reason),
            PublishError::Retry(_) => Outcome::Retry(in_micros(now(), pause), reason),
            PublishError::RetryAfter(_, asked) => Outcome::Retry(in_micros(now(), asked.min(LONGEST_PAUSE).max(pause)), reason),
        }
    }

    /// Writes down what became of a batch; what was not tried is as it was before.
    fn mark(&self, writing: &Writing<'_>, lease: &Lease, batch: &Batch, outcomes: &[Outcome]) -> UnderLead<()> {
        let (id, holds) = (lease.id, self.settings.holds());
        let untried = batch.items.get(outcomes.len()..).unwrap_or_default();
        let is_new = batch.source == Source::New;
        let reached = match batch.items.iter().take(outcomes.len()).next_back() {
            Some(last) if is_new && !untried.is_empty() => last.position,
            _ => batch.reached,
        };
        if !checkpoints::advance(writing, id, lease.fence, reached, lease.until())? {
            return Ok(None);
        }
        for (item, outcome) in batch.items.iter().zip(outcomes) {
            let stays = match outcome {
                Outcome::Held => continue,
                Outcome::Delivered => {
                    deliveries::delivered(writing, id, item.position)?;
                    false
                }
                Outcome::Retry(due_at, reason) => {
                    deliveries::failed(writing, id, item.position, State::Retry, *due_at, reason)?;
                    true
                }
                Outcome::Dead(reason) => {
                    deliveries::failed(writing, id, item.position, State::Dead, 0, reason)?;
                    holds
                }
            };
            if stays {
                // Nobody knows whether what the dead one had leased behind an orphan was tried: it counts.
                deliveries::hold_back(writing, id, item.aggregate, item.position, batch.source != Source::Orphan)?;
            }
        }
        if is_new && !untried.is_empty() {
            deliveries::forget_after(writing, id, reached)?;
        }
        for before in untried.iter().filter_map(|item| item.before.as_ref()) {
            deliveries::give_back(writing, id, before)?;
        }
        if !is_new {
            let aggregates: HashSet<i64> = batch.items.iter().map(|item| item.aggregate).collect();
            for aggregate in aggregates {
                deliveries::release(writing, id, aggregate, holds, now())?;
            }
        }
        Ok(Some(()))
    }
}

/// A moment later than `from`, in microseconds.
fn in_micros(from: i64, pause: Duration) -> i64 {
    from.saturating_add(i64::try_from(pause.as_micros()).unwrap_or(i64::MAX))
}
