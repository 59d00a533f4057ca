//! Subscriptions: named readers of the log that remember how far they have come.

use std::fmt;
use std::time::{Duration, Instant};

use crate::delivery::runner::{self, Follower, Halt, HandlerError, Identity, Lease, Step, SubscriptionStatus, Work};
use crate::log::query::{self, Query};
use crate::log::scope::Scope;
use crate::model::error::{Error, ErrorKind, Result};
use crate::model::event::RecordedEvent;
use crate::model::place::Position;
use crate::sqlite::{checkpoints, state};

/// How long a lease lasts unless the application says otherwise: so long the others wait when a leader was killed.
pub(crate) const LEASE: Duration = Duration::from_secs(5);
/// Events read at once.
const PAGE: usize = 128;

/// Where a subscription begins when it is made. Later the checkpoint counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum StartFrom {
    /// At the first event of the log.
    #[default]
    Beginning,
    /// After the newest event that is in the log when the subscription is made.
    Now,
    /// After this position.
    After(Position),
}

/// A named reader of the log with a stored checkpoint: every event reaches its handler at least once, in the order of
/// positions, however often the process dies.
///
/// The checkpoint is written after the handler has returned. If the process dies in between, the handler sees the event
/// again: let it be idempotent, by the event's id for instance.
///
/// ```
/// use foldlog::{Expected, NewEvent, Query, Store};
///
/// let store = Store::in_memory()?;
/// store.append("user", "u-1", Expected::Any, [NewEvent::new("UserCreated", &serde_json::json!({"email": "a@b.c"}))?])?;
/// let mut greeted = Vec::new();
/// let handled = store.subscription("welcome-mail").filter(Query::new().event_type("UserCreated")).run_to_end(|event| {
///     greeted.push(event.aggregate_id.to_string());
///     Ok(())
/// })?;
/// assert_eq!((handled, greeted), (1, vec!["u-1".to_owned()]));
/// # Ok::<(), foldlog::Error>(())
/// ```
#[derive(Clone)]
pub struct Subscription {
    scope: Scope,
    name: String,
    filter: Query,
    start: StartFrom,
    lease: Duration,
    checkpoint_every: u64,
}

impl fmt::Debug for Subscription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subscription").field("name", &self.name).field("filter", &self.filter).finish_non_exhaustive()
    }
}

impl Subscription {
    pub(crate) fn new(scope: Scope, name: &str) -> Subscription {
        Subscription {
            scope,
            name: name.to_owned(),
            filter: Query::new(),
            start: StartFrom::default(),
            lease: LEASE,
            checkpoint_every: 1,
        }
    }

    /// Which events it wants: by aggregate type, event types, tag, time, and of one tenant or all.
    pub fn filter(mut self, filter: Query) -> Subscription {
        self.filter = filter;
        self
    }

    /// Where it begins when it is made. Default: at the beginning.
    pub fn start_from(mut self, start: StartFrom) -> Subscription {
        self.start = start;
        self
    }

    /// How long a runner that was killed keeps the others waiting. Default: 5 seconds.
    pub fn lease(mut self, lasts: Duration) -> Subscription {
        self.lease = lasts;
        self
    }

    /// Writes the checkpoint after so many events instead of after each: faster, and as many may come again. It is
    /// written in any case when the newest event is reached.
    pub fn checkpoint_every(mut self, events: u64) -> Subscription {
        self.checkpoint_every = events.max(1);
        self
    }

    /// Hands the events that are there to the handler, on this thread, and returns how many there were.
    ///
    /// # Errors
    /// [`ErrorKind::Handler`] with the position if the handler failed: the next run begins with that event.
    /// [`ErrorKind::Busy`] if another runner leads.
    pub fn run_to_end(&self, handler: impl FnMut(&RecordedEvent) -> Result<(), HandlerError>) -> Result<u64> {
        let identity = self.make()?;
        let mut work = self.work(handler);
        runner::run_to_end(&self.scope, &identity, self.lease, &mut work).map_err(|error| error.during("run subscription"))
    }

    /// Hands events to the handler on a thread of its own, as they come, until it is stopped.
    ///
    /// # Errors
    /// If the subscription cannot be made or the thread cannot be started.
    pub fn follow(&self, handler: impl FnMut(&RecordedEvent) -> Result<(), HandlerError> + Send + 'static) -> Result<Follower> {
        let identity = self.make()?;
        runner::follow(&self.scope, identity, self.lease, self.work(handler)).map_err(|error| error.during("follow subscription"))
    }

    fn work<H: FnMut(&RecordedEvent) -> Result<(), HandlerError>>(&self, handler: H) -> Handling<H> {
        Handling { name: self.name.clone(), filter: self.filter.clone(), checkpoint_every: self.checkpoint_every, handler }
    }

    fn make(&self) -> Result<Identity> {
        make(&self.scope, &self.name, "handler", &self.filter, self.start, 1).map_err(|error| error.during("make subscription"))
    }
}

/// Makes a subscription if there is none of this name.
pub(crate) fn make(scope: &Scope, name: &str, kind: &str, filter: &Query, start: StartFrom, version: u32) -> Result<Identity> {
    scope.check_name("subscription's name", name)?;
    if !filter.is_for_subscriptions() {
        return Err(Error::new(
            ErrorKind::InvalidInput,
            "a subscription reads onwards, without an end: no aggregate, order or limit",
        ));
    }
    let identity = identity(scope, name, filter);
    let known = scope.database().read(|view| checkpoints::find(view, &identity.tenant, name))?;
    if let Some(known) = known {
        if known.kind != kind {
            return Err(Error::new(ErrorKind::InvalidInput, format!("{name:?} is the name of a {} already", known.kind)));
        }
        return Ok(identity);
    }
    scope.database().write(|writing| {
        let position = match start {
            StartFrom::Beginning => 0,
            StartFrom::Now => state::last_position(writing)?.get(),
            StartFrom::After(position) => position.get(),
        };
        checkpoints::make(writing, &identity.tenant, name, kind, position, version)
    })?;
    Ok(identity)
}

pub(crate) fn identity(scope: &Scope, name: &str, filter: &Query) -> Identity {
    let tenant = if filter.is_of_all_tenants() { String::new() } else { scope.tenant.to_string() };
    Identity { tenant, name: name.to_owned() }
}

/// The work of a subscription with a handler.
struct Handling<H> {
    name: String,
    filter: Query,
    checkpoint_every: u64,
    handler: H,
}

impl<H: FnMut(&RecordedEvent) -> Result<(), HandlerError>> Work for Handling<H> {
    fn step(&mut self, scope: &Scope, lease: &Lease) -> std::result::Result<Step, Halt> {
        let checkpoint = scope.database().read(|view| checkpoints::find_by_id(view, lease.id))?;
        let position = checkpoint.ok_or_else(|| runner::unknown(""))?.position;
        let (events, scanned) = scope.database().read(|view| query::read_after(scope, view, &self.filter, position, PAGE))?;
        let count = events.len() as u64;
        let mut unwritten = 0;
        for event in events {
            if let Err(error) = runner::handle(scope, &self.name, &event, || (self.handler)(&event)) {
                // What was handled before it need not come again.
                if unwritten > 0 {
                    advance(scope, lease, event.position.get() - 1)?;
                }
                return Err(Halt::Error(failed(&event, error)));
            }
            unwritten += 1;
            if unwritten >= self.checkpoint_every {
                advance(scope, lease, event.position.get())?;
                unwritten = 0;
            }
        }
        if scanned > position && (unwritten > 0 || count == 0) {
            advance(scope, lease, scanned)?;
        }
        Ok(if count > 0 { Step::Worked(count) } else { Step::CaughtUp(None) })
    }
}

fn advance(scope: &Scope, lease: &Lease, position: u64) -> std::result::Result<(), Halt> {
    let moved = scope
        .database()
        .write_relaxed(|writing| checkpoints::advance(writing, lease.id, lease.fence, position, lease.until()))?;
    // Whoever waits for the subscription looks when something is committed.
    scope.log.appended.raise();
    if moved { Ok(()) } else { Err(Halt::LeadLost) }
}

/// The application's error, with the event at which it came.
pub(crate) fn failed(event: &RecordedEvent, error: HandlerError) -> Error {
    Error::new(ErrorKind::Handler, "the application's code failed")
        .of(&event.aggregate())
        .at_version(event.version)
        .at_position(event.position)
        .event_type_is(&event.event_type)
        .advice("mend it and run again, or skip the event")
        .caused_by(error)
}

pub(crate) fn statuses(scope: &Scope) -> Result<Vec<SubscriptionStatus>> {
    scope.database().read(|view| {
        let last = state::last_position(view)?;
        let mut rows = checkpoints::all(view, &scope.tenant)?;
        rows.extend(checkpoints::all(view, "")?);
        Ok(rows.into_iter().map(|row| SubscriptionStatus::of(row, last)).collect())
    })
}

pub(crate) fn find(scope: &Scope, name: &str) -> Result<checkpoints::Checkpoint> {
    scope.database().read(|view| {
        let own = checkpoints::find(view, &scope.tenant, name)?;
        match own {
            Some(own) => Ok(own),
            None => checkpoints::find(view, "", name)?.ok_or_else(|| runner::unknown(name)),
        }
    })
}

/// Waits until a subscription has passed a position.
pub(crate) fn wait_until(scope: &Scope, name: &str, position: Position, timeout: Duration) -> Result<()> {
    let deadline = Instant::now() + timeout;
    loop {
        let seen = scope.log.appended.count();
        let row = find(scope, name)?;
        if row.position >= position.get() {
            return Ok(());
        }
        if let Some(failed) = row.failed_position {
            return Err(Error::new(ErrorKind::Handler, format!("the subscription {name:?} has stopped at an event before"))
                .at_position(Position::new(failed))
                .advice("mend it and run again, or skip the event"));
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(Error::new(ErrorKind::Busy, format!("the subscription {name:?} is at position {} only", row.position))
                .at_position(position)
                .advice("wait longer, and look whether a runner leads it"));
        }
        // A runner of another process raises no signal here.
        scope.log.appended.wait_after(seen, left.min(Duration::from_millis(5)));
    }
}

/// Passes over the event at which a subscription stopped.
pub(crate) fn skip_failed(scope: &Scope, name: &str) -> Result<Position> {
    let row = find(scope, name)?;
    let nothing = || Error::new(ErrorKind::NotFound, format!("the subscription {name:?} has not stopped at an event"));
    let failed = row.failed_position.ok_or_else(nothing)?;
    match scope.database().write(|writing| checkpoints::skip(writing, row.id, failed))? {
        true => Ok(Position::new(failed)),
        false => Err(nothing()),
    }
}

/// Forgets a subscription: its checkpoint and its deliveries.
pub(crate) fn remove(scope: &Scope, name: &str) -> Result<()> {
    let row = find(scope, name)?;
    scope.database().write(|writing| checkpoints::remove(writing, row.id))
}
