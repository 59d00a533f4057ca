//! The work of an outbox: lease, publish, mark.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use super::publisher::{Message, PublishError, Publisher, shortened};
use super::{LONGEST_PAUSE, Settings};
use crate::delivery::lead::{Held, Standing};
use crate::delivery::runner::{self, Halt, Step, Work};
use crate::log::scope::Scope;
use crate::model::clock::Clock;
use crate::model::error::Result;
use crate::model::event::RecordedEvent;
use crate::model::filter::Filter;
use crate::storage::delivery::{Batch, Leased, Outcome, Rules};

/// Events leased at a time. After a death at most this many are published again.
const BATCH: usize = 128;
/// A batch that takes longer ends after its current event, so that a request to stop is noticed.
const STEP: Duration = Duration::from_millis(250);

/// The work of an outbox.
pub(super) struct Delivering<P> {
    name: String,
    filter: Filter,
    settings: Settings,
    /// Whether to look up when the next event falls due; only a follower waits for it.
    waits: bool,
    publisher: P,
    /// The fence of the lead under which deliveries were last tidied up.
    fence: Option<i64>,
    time: Time,
    /// Alternates new events and retries, so that neither delays the other.
    new_first: bool,
}

/// The time of the store's clock when the lead was taken, advanced by the monotonic clock. A clock that jumps meanwhile
/// neither hurries nor delays an attempt.
#[derive(Clone, Copy)]
struct Time {
    wall: i64,
    since: Instant,
}

impl Time {
    fn now(clock: &Clock) -> Time {
        Time { wall: clock.now_micros(), since: Instant::now() }
    }

    fn micros(self) -> i64 {
        in_micros(self.wall, self.since.elapsed())
    }
}

impl<P: Publisher> Work for Delivering<P> {
    fn step(&mut self, scope: &Scope, held: &Held) -> std::result::Result<Step, Halt> {
        if self.fence != Some(held.lead.fence) {
            self.time = Time::now(&scope.options().clock);
            self.tidy_up(scope, held)?;
            self.fence = Some(held.lead.fence);
        }
        let (lead, rules, engine) = (held.lead, self.rules(), scope.engine());
        // Only this runner leases, and it marks what it leased before the next step. So a row that is leased now was
        // left by a runner that died, or by a mark that failed.
        if let Some(batch) = engine.lease_orphan(lead, &rules)?.ok_or(Halt::LeadLost)? {
            return self.deliver(scope, held, &batch);
        }
        self.new_first = !self.new_first;
        for new in [self.new_first, !self.new_first] {
            let leased = match new {
                true => engine.lease_new(lead, &scope.tenant, &self.filter, &rules)?,
                false => engine.lease_due(lead, &rules)?,
            };
            if let Some(batch) = leased.ok_or(Halt::LeadLost)? {
                return self.deliver(scope, held, &batch);
            }
        }
        Ok(Step::CaughtUp(if self.waits { self.until_next(scope, held)? } else { None }))
    }
}

impl<P: Publisher> Delivering<P> {
    pub(super) fn new(name: &str, filter: Filter, settings: Settings, waits: bool, publisher: P) -> Delivering<P> {
        // Read again when the lead is taken.
        let (name, time) = (name.to_owned(), Time { wall: 0, since: Instant::now() });
        Delivering { name, filter, settings, waits, publisher, fence: None, time, new_first: false }
    }

    fn rules(&self) -> Rules {
        let max_attempts = self.settings.max_attempts;
        Rules {
            holds: self.settings.holds(),
            max_attempts,
            // With a single attempt, batches of one: otherwise a death would use up the only attempt of the other
            // events too.
            batch: if max_attempts == 1 { 1 } else { BATCH },
            now: self.time.micros(),
        }
    }

    /// Runs once for each lead: a runner with another policy or clock may have led before.
    fn tidy_up(&self, scope: &Scope, held: &Held) -> Result<()> {
        let rules = self.rules();
        while scope.engine().tidy_deliveries(held.lead, &rules, in_micros(rules.now, LONGEST_PAUSE))? {}
        Ok(())
    }

    fn until_next(&self, scope: &Scope, held: &Held) -> Result<Option<Duration>> {
        let next = scope.engine().next_due(held.lead, &self.rules())?;
        Ok(next.map(|due_at| {
            let micros = u64::try_from(due_at.saturating_sub(self.time.micros())).unwrap_or(0);
            // Rounded up: waking a moment too early would find nothing due.
            Duration::from_micros(micros) + Duration::from_millis(1)
        }))
    }

    /// Publishes a batch and records the outcomes.
    fn deliver(&mut self, scope: &Scope, held: &Held, batch: &Batch) -> std::result::Result<Step, Halt> {
        let began = Instant::now();
        let (mut outcomes, mut held_up, mut delivered) = (Vec::new(), HashSet::new(), 0);
        for item in &batch.items {
            if !outcomes.is_empty() && began.elapsed() >= STEP {
                break;
            }
            match held.standing(scope) {
                Standing::Lost => return Err(Halt::LeadLost),
                // The rest of the batch is given back.
                Standing::Paused if !outcomes.is_empty() => break,
                Standing::Paused | Standing::Leads => {}
            }
            let outcome = if held_up.contains(&item.aggregate) { Outcome::Held } else { self.attempt(scope, item) };
            match &outcome {
                Outcome::Delivered => delivered += 1,
                Outcome::Dead(_) if !self.settings.holds() => {}
                _ => {
                    held_up.insert(item.aggregate);
                }
            }
            outcomes.push(outcome);
        }
        if !batch.items.is_empty() && !scope.engine().mark(held.lead, batch, &outcomes, &self.rules())? {
            return Err(Halt::LeadLost);
        }
        // Wakes calls that wait for the outbox.
        scope.log.appended.raise();
        Ok(Step::Worked(delivered))
    }

    /// Makes one attempt to publish an event: all that upcasters made of it, in order. After a failure all of it is tried
    /// again.
    fn attempt(&mut self, scope: &Scope, item: &Leased) -> Outcome {
        match &item.events {
            Ok(events) => {
                let failed =
                    events.iter().map(|event| self.publish(scope, item, event)).find(|outcome| *outcome != Outcome::Delivered);
                failed.unwrap_or(Outcome::Delivered)
            }
            Err(reason) => Outcome::Dead(shortened(reason)),
        }
    }

    fn publish(&mut self, scope: &Scope, item: &Leased, event: &RecordedEvent) -> Outcome {
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
        let pause = match error {
            PublishError::Reject(_) => return Outcome::Dead(reason),
            _ if item.attempt >= self.settings.max_attempts => return Outcome::Dead(reason),
            PublishError::Retry(_) => self.settings.pause(item.attempt),
            PublishError::RetryAfter(_, asked) => asked.min(LONGEST_PAUSE).max(self.settings.pause(item.attempt)),
        };
        Outcome::Retry { due_at: in_micros(self.time.micros(), pause), reason }
    }
}

/// A time `pause` after `from`, in microseconds.
fn in_micros(from: i64, pause: Duration) -> i64 {
    from.saturating_add(i64::try_from(pause.as_micros()).unwrap_or(i64::MAX))
}
