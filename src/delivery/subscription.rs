//! Subscriptions: named readers of the log with a stored checkpoint.

use std::sync::Arc;
use std::time::Duration;

use crate::delivery::control::{self, SubscriptionStatus};
use crate::delivery::lead::{Held, LEASE, Standing};
use crate::delivery::runner::{self, Follower, Halt, HandlerError, OnEnd, Step, StopReason, Work};
use crate::log::scope::Scope;
use crate::model::error::Result;
use crate::model::event::RecordedEvent;
use crate::model::filter::Filter;
use crate::storage::delivery::{FilterChange, Identity, NewSubscription, StartFrom, SubscriptionKind};

/// Events read at a time.
const PAGE: usize = 128;

/// A named reader of the log with a stored checkpoint. Every event reaches the handler at least once, in the order of
/// positions, however often the process dies.
///
/// The checkpoint is written after the handler has returned. If the process dies in between, the handler sees the event
/// again, so make it idempotent, for instance by the event's id. An event at which the process died several times in a
/// row is not tried again by itself: the next run fails and names it, see [`skip_failed`](Subscription::skip_failed).
///
/// ```
/// use foldlog::{Expected, Filter, NewEvent, Store};
///
/// let store = Store::in_memory()?;
/// store.append("user", "u-1", Expected::Any, [NewEvent::new("UserCreated", &serde_json::json!({"email": "a@b.c"}))?])?;
/// let mut greeted = Vec::new();
/// let welcome = store.subscription("welcome-mail").filter(Filter::new().event_type("UserCreated"));
/// let handled = welcome.run_to_end(|event| {
///     greeted.push(event.aggregate_id.to_string());
///     Ok(())
/// })?;
/// assert_eq!((handled, greeted), (1, vec!["u-1".to_owned()]));
/// assert_eq!(welcome.status()?.lag, 0);
/// # Ok::<(), foldlog::Error>(())
/// ```
#[derive(Clone)]
pub struct Subscription {
    scope: Scope,
    name: String,
    filter: Filter,
    start: StartFrom,
    on_filter_change: Option<FilterChange>,
    lease: Duration,
    checkpoint_every: u64,
    on_end: Option<OnEnd>,
}

impl Subscription {
    pub(crate) fn new(scope: Scope, name: &str) -> Subscription {
        Subscription {
            scope,
            name: name.to_owned(),
            filter: Filter::new(),
            start: StartFrom::default(),
            on_filter_change: None,
            lease: LEASE,
            checkpoint_every: 1,
            on_end: None,
        }
    }

    /// Sets which events it wants. The filter is kept in the file; a changed one is refused until
    /// [`on_filter_change`](Subscription::on_filter_change) says what to do.
    pub fn filter(mut self, filter: Filter) -> Subscription {
        self.filter = filter;
        self
    }

    /// Sets what to do if the filter has changed. Default: fail.
    pub fn on_filter_change(mut self, change: FilterChange) -> Subscription {
        self.on_filter_change = Some(change);
        self
    }

    /// Sets where a new subscription begins. Default: at the beginning.
    pub fn start_from(mut self, start: StartFrom) -> Subscription {
        self.start = start;
        self
    }

    /// How long a runner may leave another runner's question unanswered before it is taken for dead. A slow handler
    /// does not matter, because a separate thread answers. Default: 500 milliseconds, limited to between 100
    /// milliseconds and a day.
    pub fn lease(mut self, lasts: Duration) -> Subscription {
        self.lease = lasts;
        self
    }

    /// Writes the checkpoint after this many events instead of after each. That is faster, but after a crash up to this
    /// many events come again. When the newest event is reached the checkpoint is written in any case. 0 is taken as 1.
    pub fn checkpoint_every(mut self, events: u64) -> Subscription {
        self.checkpoint_every = events.max(1);
        self
    }

    /// Sets a callback for the follower's thread to run when it ends, whether it was stopped or failed.
    pub fn on_end(mut self, callback: impl Fn(&StopReason) + Send + Sync + 'static) -> Subscription {
        self.on_end = Some(Arc::new(callback));
        self
    }

    /// Hands all new events to the handler, on the calling thread, and returns how many there were.
    ///
    /// # Errors
    /// [`ErrorKind::Handler`](crate::ErrorKind::Handler) with the position if the handler failed: the next run begins
    /// with that event. [`ErrorKind::Busy`](crate::ErrorKind::Busy) if another runner leads.
    /// [`ErrorKind::InvalidInput`](crate::ErrorKind::InvalidInput) if the filter has changed, or if the log has not
    /// reached the position at which to start.
    pub fn run_to_end(&self, handler: impl FnMut(&RecordedEvent) -> Result<(), HandlerError>) -> Result<u64> {
        let identity = self.make()?;
        let mut work = self.work(handler);
        runner::run_to_end(&self.scope, &identity, self.lease, &mut work).map_err(|error| error.during("run subscription"))
    }

    /// Hands events to the handler as they come, on its own thread, until it is stopped.
    ///
    /// # Errors
    /// If the subscription cannot be made or the thread cannot be started.
    pub fn follow(&self, handler: impl FnMut(&RecordedEvent) -> Result<(), HandlerError> + Send + 'static) -> Result<Follower> {
        let identity = self.make()?;
        runner::follow(&self.scope, identity, self.lease, self.on_end.clone(), self.work(handler))
            .map_err(|error| error.during("follow subscription"))
    }

    /// The subscription's state.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`](crate::ErrorKind::NotFound) if there is no such subscription;
    /// [`ErrorKind::Corrupt`](crate::ErrorKind::Corrupt) if its checkpoint is damaged.
    pub fn status(&self) -> Result<SubscriptionStatus> {
        control::status(&self.scope, &self.place().1).map_err(|error| error.during("status"))
    }

    control::methods!();
    control::movable!();

    fn place(&self) -> (&Scope, Identity) {
        (&self.scope, Identity::new(&self.scope.tenant, &self.name, &self.filter))
    }

    fn work<H: FnMut(&RecordedEvent) -> Result<(), HandlerError>>(&self, handler: H) -> Handling<H> {
        Handling { name: self.name.clone(), filter: self.filter.clone(), checkpoint_every: self.checkpoint_every, handler }
    }

    fn make(&self) -> Result<Identity> {
        let (_, identity) = self.place();
        let new = NewSubscription {
            identity: &identity,
            kind: SubscriptionKind::Handler,
            filter: &self.filter,
            start: self.start,
            on_filter_change: self.on_filter_change,
        };
        make(&self.scope, &new).map_err(|error| error.during("make subscription"))?;
        Ok(identity)
    }
}

impl std::fmt::Debug for Subscription {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Subscription").field("name", &self.name).field("filter", &self.filter).finish_non_exhaustive()
    }
}

/// Creates a subscription unless one of this name exists.
pub(crate) fn make(scope: &Scope, new: &NewSubscription<'_>) -> Result<()> {
    scope.check_name("tenant", &scope.tenant)?;
    scope.check_name("subscription's name", &new.identity.name)?;
    scope.engine().make_subscription(new)
}

/// The work of a subscription with a handler.
struct Handling<H> {
    name: String,
    filter: Filter,
    checkpoint_every: u64,
    handler: H,
}

impl<H: FnMut(&RecordedEvent) -> Result<(), HandlerError>> Work for Handling<H> {
    fn step(&mut self, scope: &Scope, held: &Held) -> std::result::Result<Step, Halt> {
        let page = scope.engine().next_page(held.lead, &scope.tenant, &self.filter, PAGE)?.ok_or(Halt::LeadLost)?;
        let (count, wary) = (page.events.len() as u64, held.wary.get());
        let (mut handled, mut unwritten) = (page.after, 0);
        let mut events = page.events.into_iter().peekable();
        while let Some(event) = events.next() {
            let standing = held.standing(scope);
            if standing != Standing::Leads {
                if standing == Standing::Paused && unwritten > 0 {
                    advance(scope, held, handled, None)?;
                }
                return Err(Halt::LeadLost);
            }
            if wary {
                // One write records that the previous event is done and which one is next.
                advance(scope, held, handled, Some(event.position.get()))?;
            }
            if let Err(error) = runner::handle(scope, &self.name, &event, || (self.handler)(&event)) {
                // Events handled before the failure need not come again.
                if unwritten > 0 {
                    advance(scope, held, event.position.get() - 1, None)?;
                }
                let advice = "fix the handler and run again, or skip the event with skip_failed";
                return Err(Halt::Error(runner::failed(&event, error, advice)));
            }
            if events.peek().is_some_and(|next| next.position == event.position) {
                // Upcasters made several events of one. The checkpoint can only be behind all of them.
                continue;
            }
            handled = event.position.get();
            unwritten += 1;
            if unwritten >= self.checkpoint_every && !wary {
                advance(scope, held, handled, None)?;
                unwritten = 0;
            }
        }
        if page.scanned > page.after && (unwritten > 0 || count == 0) {
            advance(scope, held, page.scanned, None)?;
        }
        Ok(if count > 0 { Step::Worked(count) } else { Step::CaughtUp(None) })
    }
}

/// Moves the leader's checkpoint.
pub(crate) fn advance(scope: &Scope, held: &Held, position: u64, in_hand: Option<u64>) -> std::result::Result<(), Halt> {
    let moved = scope.engine().advance(held.lead, position, in_hand)?;
    // Wakes calls that wait for the subscription.
    scope.log.appended.raise();
    if moved { Ok(()) } else { Err(Halt::LeadLost) }
}
