//! Outboxes: events reach the outside world at least once and in order per aggregate, even if the process dies.

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use uuid::Uuid;

use crate::delivery::control;
use crate::delivery::lead::LEASE;
use crate::delivery::outbox::dead_letters::DeadLetters;
use crate::delivery::runner::{self, Follower, OnEnd, StopReason};
use crate::delivery::subscription;
use crate::log::scope::Scope;
use crate::model::error::{Error, ErrorKind, Result};
use crate::model::filter::Filter;
use crate::model::place::Position;
use crate::storage::delivery::{
    Checkpoint, DeliveryCounts, FilterChange, Identity, NewSubscription, StartFrom, SubscriptionKind,
};

pub(crate) mod cloud_events;
pub(crate) mod dead_letters;
mod delivering;
pub(crate) mod publisher;

use delivering::Delivering;
use publisher::{Message, Publisher};

/// The longest pause that a receiver can ask for.
const LONGEST_PAUSE: Duration = Duration::from_secs(24 * 60 * 60);

/// What a dead letter does to the later events of its aggregate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum DeadLetterPolicy {
    /// They wait until it is retried with success or discarded, so the order within the aggregate is kept. The default.
    /// Other aggregates are not held up.
    #[default]
    HoldAggregate,
    /// They go on without it.
    PassOn,
}

/// Hands events to the outside world, each at least once and those of one aggregate in order, wherever the process
/// dies.
///
/// The log itself is the outbox: a committed event is to be published, so nothing is written twice. Besides the
/// checkpoint the file keeps only the exceptions: events that are leased, are to be tried again, wait for an earlier
/// event of their aggregate, or were given up (see [`DeadLetters`](crate::DeadLetters)).
///
/// A batch of events is leased in one transaction, published outside of any, and marked as delivered in another. If the
/// process dies in between, the whole batch is published again; the receiver recognises an event by its
/// [`id`](crate::Message::id). Attempts are counted when they are leased, so an event that kills the process becomes a
/// dead letter too. Whatever the store's durability, an event is on the disk before it is handed out. Each attempt is
/// measured as `event_handler_duration_seconds` under the outbox's name.
///
/// ```
/// use std::time::Duration;
/// use foldlog::{Expected, Filter, Message, NewEvent, PublishError, Store};
///
/// let store = Store::in_memory()?;
/// store.append("order", "o-1", Expected::Any, [NewEvent::new("Shipped", &serde_json::json!({"parcel": "p-7"}))?])?;
///
/// let mut sent = Vec::new();
/// let mut mails = store
///     .outbox("mails")
///     .filter(Filter::new().event_type("Shipped"))
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
    filter: Filter,
    start: StartFrom,
    on_filter_change: Option<FilterChange>,
    settings: Settings,
    on_end: Option<OnEnd>,
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

    /// The pause after this many attempts. It doubles each time up to the cap, and a random part of up to a half is
    /// taken off, so that events that failed together are not all tried again at once.
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
        Outbox {
            scope,
            name: name.to_owned(),
            filter: Filter::new(),
            start: StartFrom::default(),
            on_filter_change: None,
            settings,
            on_end: None,
            publisher: (),
        }
    }
}

impl<P> Outbox<P> {
    /// Sets which events it publishes. The filter is kept in the file; a changed one is refused until
    /// [`on_filter_change`](Outbox::on_filter_change) says what to do.
    pub fn filter(mut self, filter: Filter) -> Outbox<P> {
        self.filter = filter;
        self
    }

    /// Sets what to do if the filter has changed. Default: fail.
    pub fn on_filter_change(mut self, change: FilterChange) -> Outbox<P> {
        self.on_filter_change = Some(change);
        self
    }

    /// Sets where a new outbox begins. Default: at the beginning of the log.
    pub fn start_from(mut self, start: StartFrom) -> Outbox<P> {
        self.start = start;
        self
    }

    /// How often an event is tried before it becomes a dead letter, at least 1. Default: 3. Together with the back-off
    /// this is how long the receiver may be down without leaving dead letters.
    pub fn max_attempts(mut self, attempts: u32) -> Outbox<P> {
        self.settings.max_attempts = attempts.max(1);
        self
    }

    /// The pause after the first failed attempt, which doubles with each further one up to `cap`. Each pause is
    /// shortened at random by up to a half. Default: 1 second, 5 minutes.
    pub fn backoff(mut self, first: Duration, cap: Duration) -> Outbox<P> {
        self.settings.first_pause = first;
        self.settings.longest_pause = cap.min(LONGEST_PAUSE);
        self
    }

    /// How long a runner may leave another runner's question unanswered before it is taken for dead. A slow publisher
    /// does not matter, because a separate thread answers. Default: 500 milliseconds, limited to between 100
    /// milliseconds and a day.
    pub fn lease(mut self, lasts: Duration) -> Outbox<P> {
        self.settings.lease = lasts;
        self
    }

    /// Sets what a dead letter does to the later events of its aggregate. Default: they wait.
    pub fn on_dead_letter(mut self, policy: DeadLetterPolicy) -> Outbox<P> {
        self.settings.policy = policy;
        self
    }

    /// Sets a callback for the follower's thread to run when it ends, whether it was stopped or failed.
    pub fn on_end(mut self, callback: impl Fn(&StopReason) + Send + Sync + 'static) -> Outbox<P> {
        self.on_end = Some(Arc::new(callback));
        self
    }

    /// Sets where the events go.
    pub fn publisher<Q: Publisher>(self, publisher: Q) -> Outbox<Q> {
        let Outbox { scope, name, filter, start, on_filter_change, settings, on_end, publisher: _ } = self;
        Outbox { scope, name, filter, start, on_filter_change, settings, on_end, publisher }
    }

    /// The outbox's checkpoint, and how many events are not yet delivered.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] if there is no such outbox; [`ErrorKind::Corrupt`] if its checkpoint or a delivery is
    /// damaged or lost.
    pub fn status(&self) -> Result<OutboxStatus> {
        status(&self.scope, &self.place().1).map_err(|error| error.during("outbox status"))
    }

    /// The events that it has given up.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] if there is no such outbox; if the file cannot be read.
    pub fn dead_letters(&self) -> Result<DeadLetters> {
        DeadLetters::of(&self.scope, &self.place().1).map_err(|error| error.during("dead letters"))
    }

    control::methods!();
    control::movable!();

    fn place(&self) -> (&Scope, Identity) {
        (&self.scope, Identity::new(&self.scope.tenant, &self.name, &self.filter))
    }

    fn make(&self) -> Result<Identity> {
        let (_, identity) = self.place();
        let new = NewSubscription {
            identity: &identity,
            kind: SubscriptionKind::Outbox,
            filter: &self.filter,
            start: self.start,
            on_filter_change: self.on_filter_change,
        };
        subscription::make(&self.scope, &new).map_err(|error| error.during("make outbox"))?;
        Ok(identity)
    }
}

impl<P: Publisher> Outbox<P> {
    /// Publishes everything that is due, on the calling thread, and returns how many events were published. Failed
    /// events that are not due yet stay for the next run.
    ///
    /// # Errors
    /// [`ErrorKind::Busy`] if another runner leads; if the file cannot be read or written. An event that cannot be
    /// published is not an error: see [`Outbox::status`] and [`DeadLetters`](crate::DeadLetters).
    pub fn run_to_end(&mut self) -> Result<u64> {
        let identity = self.make()?;
        let (scope, lease) = (self.scope.clone(), self.settings.lease);
        let publisher = |message: &Message<'_>| self.publisher.publish(message);
        let mut work = Delivering::new(&self.name, self.filter.clone(), self.settings, false, publisher);
        runner::run_to_end(&scope, &identity, lease, &mut work).map_err(|error| error.during("run outbox"))
    }

    /// Publishes events on its own thread, as they come and as they fall due, until it is stopped.
    ///
    /// # Errors
    /// If the outbox cannot be made or the thread cannot be started.
    pub fn follow(self) -> Result<Follower>
    where
        P: 'static,
    {
        let identity = self.make()?;
        let work = Delivering::new(&self.name, self.filter, self.settings, true, self.publisher);
        runner::follow(&self.scope, identity, self.settings.lease, self.on_end, work)
            .map_err(|error| error.during("follow outbox"))
    }
}

impl<P> std::fmt::Debug for Outbox<P> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Outbox").field("name", &self.name).field("settings", &self.settings).finish_non_exhaustive()
    }
}

/// The state of an outbox.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct OutboxStatus {
    /// Every event up to here was tried. Those that are not delivered are counted below.
    pub position: Position,
    /// Positions between the checkpoint and the newest event of the file.
    pub lag: u64,
    /// Whether a runner has the lead. A killed runner keeps it until another one asks for it.
    pub is_led: bool,
    /// Whether it is paused: nothing is published until it is resumed.
    pub is_paused: bool,
    /// Events that are leased, or failed and are to be tried again.
    pub to_retry: u64,
    /// Those of them that are leased: a runner has them in hand, or had them when it died.
    pub leased: u64,
    /// Events that wait for an earlier one of their aggregate.
    pub waiting: u64,
    /// Events that were given up.
    pub dead: u64,
}

/// Finds the outbox with this name.
pub(super) fn find(scope: &Scope, identity: &Identity) -> Result<(Checkpoint, u64)> {
    let (row, last) = scope.engine().subscription(identity)?;
    if row.kind != SubscriptionKind::Outbox {
        return Err(Error::new(ErrorKind::InvalidInput, format!("{:?} is a {}, not an outbox", identity.name, row.kind)));
    }
    Ok((row, last))
}

fn status(scope: &Scope, identity: &Identity) -> Result<OutboxStatus> {
    let (row, last) = find(scope, identity)?;
    let DeliveryCounts { to_retry, leased, waiting, dead } = scope.engine().count_deliveries(row.id)?;
    Ok(OutboxStatus {
        position: Position::new(row.position),
        lag: last.saturating_sub(row.position),
        is_led: row.leader.is_some(),
        is_paused: row.paused,
        to_retry,
        leased,
        waiting,
        dead,
    })
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
