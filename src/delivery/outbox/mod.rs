//! Outboxes: events reach the outside world, at least once and in order per aggregate, although the process dies.

use std::time::Duration;

use uuid::Uuid;

use crate::delivery::runner::{self, Follower, Identity, SubscriptionStatus};
use crate::delivery::subscription::{self, StartFrom};
use crate::log::query::Query;
use crate::log::scope::Scope;
use crate::model::error::{ErrorKind, Result};
use crate::model::event::RecordedEvent;
use crate::model::place::Position;
use crate::sqlite::log::{self, Along};
use crate::sqlite::{View, deliveries, state};

pub(crate) mod cloud_events;
pub(crate) mod dead_letters;
mod delivering;
pub(crate) mod publisher;

use delivering::Delivering;
use publisher::{Message, Publisher};

/// Longer than a subscription's: publishing one event may take as long as the other side likes.
const LEASE: Duration = Duration::from_secs(30);
/// The longest pause that the other side can ask for.
const LONGEST_PAUSE: Duration = Duration::from_secs(24 * 60 * 60);

/// What a dead letter does to the later events of its aggregate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DeadLetterPolicy {
    /// They wait until it is retried with success, or discarded: the order within the aggregate is never broken. The
    /// default. Other aggregates are not held up.
    #[default]
    HoldAggregate,
    /// They go on without it.
    PassOn,
}

/// Hands events to the outside world: each at least once, those of one aggregate in their order, wherever the process
/// dies.
///
/// The log itself is the outbox: what is committed is by that to be published, so nothing is written twice. The file
/// keeps, beside the checkpoint, only what deviates: an event that is in hand, that is to be tried again, that waits
/// behind another of its aggregate, or that was given up (see [`DeadLetters`](crate::DeadLetters)).
///
/// A batch of events is leased in one transaction, published outside of any, and marked as delivered in another. If the
/// process dies in between, the whole batch is published again: the other side knows an event by its
/// [`id`](crate::Message::id). Attempts are counted when they are leased, so an event that kills the process becomes a
/// dead letter, too. Whatever the store's durability, an event is on the disk before it is handed out. Each attempt is
/// measured as `event_handler_duration_seconds` under the outbox's name.
///
/// ```
/// use std::time::Duration;
/// use foldlog::{Expected, Message, NewEvent, PublishError, Query, Store};
///
/// let store = Store::in_memory()?;
/// store.append("order", "o-1", Expected::Any, [NewEvent::new("Shipped", &serde_json::json!({"parcel": "p-7"}))?])?;
///
/// let mut sent = Vec::new();
/// let mut mails = store
///     .outbox("mails")
///     .filter(Query::new().event_type("Shipped"))
///     .max_attempts(5)
///     .backoff(Duration::from_secs(2), Duration::from_secs(600))
///     .publisher(|message: &Message<'_>| {
///         sent.push((message.id(), message.event.aggregate_id.to_string()));
///         Ok::<(), PublishError>(())
///     });
/// assert_eq!(mails.run_to_end()?, 1);
/// drop(mails);
/// assert_eq!(sent[0].1, "o-1");
/// # Ok::<(), foldlog::Error>(())
/// ```
#[derive(Clone)]
pub struct Outbox<P = ()> {
    scope: Scope,
    name: String,
    filter: Query,
    start: StartFrom,
    settings: Settings,
    publisher: P,
}

/// What decides when an event is tried again.
#[derive(Clone, Copy, Debug)]
struct Settings {
    max_attempts: u32,
    first_pause: Duration,
    longest_pause: Duration,
    lease: Duration,
    policy: DeadLetterPolicy,
}

impl Settings {
    /// Whether a dead letter holds its aggregate.
    fn holds(&self) -> bool {
        self.policy == DeadLetterPolicy::HoldAggregate
    }

    /// The pause after so many attempts: doubled each time up to the cap, and then somewhere between half of it and all,
    /// so that what failed together is not tried again together.
    fn pause(&self, attempts: u32) -> Duration {
        let doubled = 2u32.saturating_pow(attempts.saturating_sub(1).min(31));
        let whole = self.first_pause.saturating_mul(doubled).min(self.longest_pause);
        let (_, low) = Uuid::new_v4().as_u64_pair();
        // The lower half of a random UUID has 62 random bits; the upper two are fixed.
        whole / 2 + (whole / 2).mul_f64((low & 0xFFFF_FFFF) as f64 / f64::from(u32::MAX))
    }
}

impl Outbox {
    pub(crate) fn new(scope: Scope, name: &str) -> Outbox {
        let settings = Settings {
            max_attempts: 3,
            first_pause: Duration::from_secs(1),
            longest_pause: Duration::from_secs(300),
            lease: LEASE,
            policy: DeadLetterPolicy::default(),
        };
        Outbox { scope, name: name.to_owned(), filter: Query::new(), start: StartFrom::default(), settings, publisher: () }
    }
}

impl<P> Outbox<P> {
    /// Which events it publishes: by aggregate type, event types, tag, time, and of one tenant or all.
    pub fn filter(mut self, filter: Query) -> Outbox<P> {
        self.filter = filter;
        self
    }

    /// Where it begins when it is made. Default: at the beginning of the log.
    pub fn start_from(mut self, start: StartFrom) -> Outbox<P> {
        self.start = start;
        self
    }

    /// How often an event is tried before it becomes a dead letter, 1 or more. Default: 3. Together with the back-off
    /// this is how long the other side may be down without leaving dead letters behind.
    pub fn max_attempts(mut self, attempts: u32) -> Outbox<P> {
        self.settings.max_attempts = attempts.max(1);
        self
    }

    /// The pause after the first failed attempt, which doubles with each further one up to `cap`; each is shortened at
    /// random by up to a half. Default: 1 second, 5 minutes.
    pub fn backoff(mut self, first: Duration, cap: Duration) -> Outbox<P> {
        self.settings.first_pause = first;
        self.settings.longest_pause = cap.min(LONGEST_PAUSE);
        self
    }

    /// How long a runner that was killed keeps the others waiting. Must be longer than publishing one event can take;
    /// otherwise another runner may publish the same event at the same time. Default: 30 seconds.
    pub fn lease(mut self, lasts: Duration) -> Outbox<P> {
        self.settings.lease = lasts;
        self
    }

    /// What a dead letter does to the later events of its aggregate. Default: they wait.
    pub fn on_dead_letter(mut self, policy: DeadLetterPolicy) -> Outbox<P> {
        self.settings.policy = policy;
        self
    }

    /// Where the events go.
    pub fn publisher<Q: Publisher>(self, publisher: Q) -> Outbox<Q> {
        let Outbox { scope, name, filter, start, settings, publisher: _ } = self;
        Outbox { scope, name, filter, start, settings, publisher }
    }

    fn make(&self) -> Result<Identity> {
        subscription::make(&self.scope, &self.name, "outbox", &self.filter, self.start, 1)
            .map_err(|error| error.during("make outbox"))
    }
}

impl<P: Publisher> Outbox<P> {
    /// Publishes, on this thread, everything that is due, and returns how many events were published. What failed and is
    /// not due yet stays for the next run.
    ///
    /// # Errors
    /// [`ErrorKind::Busy`] if another runner leads; if the file cannot be read or written. That an
    /// event cannot be published is no error: see [`OutboxStatus`] and [`DeadLetters`](crate::DeadLetters).
    pub fn run_to_end(&mut self) -> Result<u64> {
        let identity = self.make()?;
        let (scope, lease) = (self.scope.clone(), self.settings.lease);
        let publisher = |message: &Message<'_>| self.publisher.publish(message);
        let mut work = Delivering::new(&self.name, self.filter.clone(), self.settings, false, publisher);
        runner::run_to_end(&scope, &identity, lease, &mut work).map_err(|error| error.during("run outbox"))
    }

    /// Publishes events on a thread of its own, as they come and as they fall due, until it is stopped.
    ///
    /// # Errors
    /// If the outbox cannot be made or the thread cannot be started.
    pub fn follow(self) -> Result<Follower>
    where
        P: 'static,
    {
        let identity = self.make()?;
        let work = Delivering::new(&self.name, self.filter, self.settings, true, self.publisher);
        runner::follow(&self.scope, identity, self.settings.lease, work).map_err(|error| error.during("follow outbox"))
    }
}

impl<P> std::fmt::Debug for Outbox<P> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Outbox").field("name", &self.name).field("settings", &self.settings).finish_non_exhaustive()
    }
}

/// How an outbox stands.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct OutboxStatus {
    /// Every event up to here was tried; those that are not through are counted below.
    pub position: Position,
    /// Positions between that and the newest event of the file.
    pub lag: u64,
    /// Whether a runner leads it now.
    pub is_led: bool,
    /// Events that are in hand, or failed and are to be tried again.
    pub to_retry: u64,
    /// Events that wait behind another of their aggregate.
    pub waiting: u64,
    /// Events that were given up.
    pub dead: u64,
}

pub(crate) fn status(scope: &Scope, name: &str) -> Result<OutboxStatus> {
    let id = dead_letters::outbox_id(scope, name)?;
    scope.database().read(|view| {
        let row = crate::sqlite::checkpoints::find_by_id(view, id)?.ok_or_else(|| runner::unknown(name))?;
        let (to_retry, waiting, dead) = deliveries::count(view, id)?;
        let of = SubscriptionStatus::of(row, state::last_position(view)?);
        Ok(OutboxStatus { position: of.position, lag: of.lag, is_led: of.is_led, to_retry, waiting, dead })
    })
}

/// The event of a delivery, or why there is none to publish.
fn event_at(view: &View<'_>, position: u64) -> Result<Result<RecordedEvent, String>> {
    let mut found = Err("the event is not in the file any more".to_owned());
    let scanned = log::scan_log(view, Along::Log, (position, position), false, 1, |raw, kind, aggregate_id| {
        found = Ok(raw.recorded(kind, aggregate_id.into())?);
        Ok(false)
    });
    match scanned {
        Ok(()) => Ok(found),
        Err(error) if matches!(error.kind(), ErrorKind::Busy | ErrorKind::Io) => Err(error),
        // One damaged event must not hold up the others.
        Err(error) => Ok(Err(error.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_cap_and_are_scattered() {
        let settings = Settings {
            max_attempts: 3,
            first_pause: Duration::from_secs(1),
            longest_pause: Duration::from_secs(60),
            lease: LEASE,
            policy: DeadLetterPolicy::default(),
        };
        let mut seen = std::collections::HashSet::new();
        for (attempts, whole) in [(1, 1), (2, 2), (3, 4), (6, 32), (7, 60), (40, 60), (u32::MAX, 60)] {
            let whole = Duration::from_secs(whole);
            for _ in 0..50 {
                let pause = settings.pause(attempts);
                assert!(pause >= whole / 2 && pause <= whole, "{attempts}: {pause:?}");
                seen.insert(pause);
            }
        }
        assert!(seen.len() > 300, "scattered: {}", seen.len());
    }
}
