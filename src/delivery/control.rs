//! What can be asked of a subscription, a projection or an outbox by name.

use std::time::{Duration, Instant};

use serde::Serialize;

use crate::log::scope::Scope;
use crate::model::error::{Error, ErrorKind, Result};
use crate::model::place::Position;
use crate::storage::delivery::{Checkpoint, Identity, SubscriptionKind, unknown};

/// How often a waiting call looks for commits of other processes.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// The state of a subscription, a projection or an outbox.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct SubscriptionStatus {
    /// Its name.
    pub name: String,
    /// What it does with its events.
    pub kind: SubscriptionKind,
    /// Whether it reads the events of all tenants.
    pub all_tenants: bool,
    /// The checkpoint: every event up to this position is done.
    pub position: Position,
    /// Positions between the checkpoint and the newest event of the file.
    pub lag: u64,
    /// Whether a runner has the lead. A killed runner keeps it until another one asks for it.
    pub is_led: bool,
    /// Whether it is paused: nothing is handled until it is resumed.
    pub is_paused: bool,
    /// The event at which it stopped, and why.
    pub failure: Option<Failure>,
    /// The version of a projection's tables; 0 if they must be rebuilt. 1 for handlers and outboxes.
    pub version: u32,
}

/// Why a subscription stopped.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Failure {
    /// The event at which it stopped.
    pub position: Position,
    /// The application's error, or the note that the process died.
    pub reason: String,
    /// How many processes died while they handled the event, as far as it was noted.
    pub deaths: u32,
}

impl SubscriptionStatus {
    fn of(checkpoint: Checkpoint, last: u64) -> SubscriptionStatus {
        SubscriptionStatus {
            position: Position::new(checkpoint.position),
            lag: last.saturating_sub(checkpoint.position),
            is_led: checkpoint.leader.is_some(),
            is_paused: checkpoint.paused,
            failure: failure_of(&checkpoint),
            all_tenants: checkpoint.identity.tenant.is_empty(),
            kind: checkpoint.kind,
            version: checkpoint.version,
            name: checkpoint.identity.name,
        }
    }
}

fn failure_of(checkpoint: &Checkpoint) -> Option<Failure> {
    let deaths = checkpoint.deaths;
    if let Some(position) = checkpoint.failed_position {
        let reason = checkpoint.failure.clone().unwrap_or_default();
        return Some(Failure { position: Position::new(position), reason, deaths });
    }
    let position = checkpoint.in_hand.filter(|_| deaths > 0)?;
    let reason = "the process died while it handled this event".to_owned();
    Some(Failure { position: Position::new(position), reason, deaths })
}

pub(crate) fn statuses(scope: &Scope) -> Result<Vec<SubscriptionStatus>> {
    let (found, last) = scope.engine().subscriptions(&scope.tenant)?;
    Ok(found.into_iter().map(|checkpoint| SubscriptionStatus::of(checkpoint, last)).collect())
}

pub(crate) fn status(scope: &Scope, identity: &Identity) -> Result<SubscriptionStatus> {
    let (checkpoint, last) = scope.engine().subscription(identity)?;
    Ok(SubscriptionStatus::of(checkpoint, last))
}

/// Waits until a subscription has passed a position.
pub(crate) fn wait_until(scope: &Scope, identity: &Identity, position: Position, timeout: Duration) -> Result<()> {
    let name = &identity.name;
    let began = Instant::now();
    loop {
        let seen = scope.log.appended.count();
        let (row, _) = scope.engine().subscription(identity)?;
        if row.position >= position.get() {
            return Ok(());
        }
        if let Some(failed) = row.failed_position {
            return Err(Error::new(ErrorKind::Handler, format!("the subscription {name:?} has stopped at an earlier event"))
                .at_position(Position::new(failed))
                .advice("fix the code and run again, or skip the event with skip_failed"));
        }
        let left = timeout.saturating_sub(began.elapsed());
        if left.is_zero() {
            return Err(Error::new(
                ErrorKind::Busy,
                format!("the subscription {name:?} has only reached position {}", row.position),
            )
            .at_position(position)
            .advice("wait longer, and check that a runner leads it"));
        }
        // Only runners of this process raise the signal, so the wait is short enough to notice those of others.
        scope.log.appended.wait_after(seen, left.min(LOOK_EVERY));
    }
}

pub(crate) fn skip_failed(scope: &Scope, identity: &Identity) -> Result<Position> {
    let skipped = scope.engine().skip(identity)?;
    scope.log.appended.raise();
    skipped.map(Position::new).ok_or_else(|| has_not_stopped(&identity.name))
}

pub(crate) fn retry_failed(scope: &Scope, identity: &Identity) -> Result<Position> {
    let forgiven = scope.engine().forgive(identity)?;
    forgiven.map(Position::new).ok_or_else(|| has_not_stopped(&identity.name))
}

fn has_not_stopped(name: &str) -> Error {
    Error::new(ErrorKind::NotFound, format!("the subscription {name:?} has not stopped at an event"))
        .advice("its status says where it is; seek moves its checkpoint")
}

pub(crate) fn break_lease(scope: &Scope, identity: &Identity) -> Result<bool> {
    let was_led = scope.engine().break_lease(identity)?;
    scope.log.appended.raise();
    Ok(was_led)
}

pub(crate) fn set_paused(scope: &Scope, identity: &Identity, paused: bool) -> Result<bool> {
    let changed = scope.engine().set_paused(identity, paused)?;
    scope.log.appended.raise();
    Ok(changed)
}

pub(crate) fn seek(scope: &Scope, identity: &Identity, position: Position) -> Result<()> {
    scope.engine().seek(identity, position.get())?;
    scope.log.appended.raise();
    Ok(())
}

pub(crate) fn reset(scope: &Scope, identity: &Identity) -> Result<()> {
    scope.engine().reset(identity)?;
    scope.log.appended.raise();
    Ok(())
}

pub(crate) fn remove(scope: &Scope, identity: &Identity) -> Result<()> {
    let (was_there, _) = scope.end_inline(identity, || scope.engine().remove_subscription(identity));
    scope.log.appended.raise();
    if was_there? { Ok(()) } else { Err(unknown(&identity.name)) }
}

/// The methods that all three kinds share. The `impl` needs a method `place` that gives the scope and the identity.
macro_rules! methods {
    () => {
        /// Waits until the checkpoint has reached a position, so that users can read their own writes. `Duration::MAX`
        /// waits for ever.
        ///
        /// # Errors
        /// [`ErrorKind::Busy`](crate::ErrorKind::Busy) if the time is over;
        /// [`ErrorKind::Handler`](crate::ErrorKind::Handler) if it has stopped at an earlier event. Both name the
        /// position that was reached. [`ErrorKind::NotFound`](crate::ErrorKind::NotFound) if there is no such
        /// subscription.
        pub fn wait_until(&self, position: impl Into<crate::Position>, timeout: std::time::Duration) -> crate::Result<()> {
            let (scope, identity) = self.place();
            crate::delivery::control::wait_until(scope, &identity, position.into(), timeout).map_err(|error| error.during("wait"))
        }

        /// Skips the event at which it stopped, or at which its process died. Returns the event's position.
        ///
        /// # Errors
        /// [`ErrorKind::NotFound`](crate::ErrorKind::NotFound) if it has not stopped at an event.
        pub fn skip_failed(&self) -> crate::Result<crate::Position> {
            let (scope, identity) = self.place();
            crate::delivery::control::skip_failed(scope, &identity).map_err(|error| error.during("skip"))
        }

        /// Clears the failure, so that the event is tried again. Returns the event's position. Only needed after an
        /// event has killed its processes: the next run tries an event again anyway if only the code failed.
        ///
        /// # Errors
        /// [`ErrorKind::NotFound`](crate::ErrorKind::NotFound) if it has not stopped at an event.
        pub fn retry_failed(&self) -> crate::Result<crate::Position> {
            let (scope, identity) = self.place();
            crate::delivery::control::retry_failed(scope, &identity).map_err(|error| error.during("retry"))
        }

        /// Takes the lead from the runner that has it, for instance because it hangs. Returns whether there was one.
        /// The next runner that asks gets the lead. The former leader finishes its current event and can write no more.
        ///
        /// # Errors
        /// [`ErrorKind::NotFound`](crate::ErrorKind::NotFound) if there is no such subscription; if the file cannot be
        /// written.
        pub fn break_lease(&self) -> crate::Result<bool> {
            let (scope, identity) = self.place();
            crate::delivery::control::break_lease(scope, &identity).map_err(|error| error.during("break lease"))
        }

        /// Pauses it in every process, also after a restart, until [`resume`](Self::resume) is called. Returns `false` if
        /// it was paused already. A runner finishes its current event first; when it has, the status no longer says that
        /// it leads. Followers stand by. Appends that run a projection inline go on doing so.
        ///
        /// # Errors
        /// [`ErrorKind::NotFound`](crate::ErrorKind::NotFound) if there is no such subscription; if the file cannot be
        /// written.
        pub fn pause(&self) -> crate::Result<bool> {
            let (scope, identity) = self.place();
            crate::delivery::control::set_paused(scope, &identity, true).map_err(|error| error.during("pause"))
        }

        /// Ends a [`pause`](Self::pause): followers go on where it stopped. Returns `false` if it was not paused.
        ///
        /// # Errors
        /// As [`pause`](Self::pause).
        pub fn resume(&self) -> crate::Result<bool> {
            let (scope, identity) = self.place();
            crate::delivery::control::set_paused(scope, &identity, false).map_err(|error| error.during("resume"))
        }

        /// Starts over. A handler or an outbox begins at the first event again, and dead letters are forgotten; a
        /// projection must be rebuilt. This also repairs a damaged checkpoint.
        ///
        /// # Errors
        /// [`ErrorKind::NotFound`](crate::ErrorKind::NotFound) if there is no such subscription; if the file cannot be
        /// written.
        pub fn reset(&self) -> crate::Result<()> {
            let (scope, identity) = self.place();
            crate::delivery::control::reset(scope, &identity).map_err(|error| error.during("reset"))
        }
    };
}

/// The methods of handlers and outboxes, whose checkpoints can be moved.
macro_rules! movable {
    () => {
        /// Moves the checkpoint: the next event handled is the first one wanted after this position. An outbox forgets
        /// its deliveries of later events, dead letters included. This also repairs a damaged checkpoint.
        ///
        /// # Errors
        /// [`ErrorKind::InvalidInput`](crate::ErrorKind::InvalidInput) for a position that the log has not reached, and
        /// for a projection. [`ErrorKind::NotFound`](crate::ErrorKind::NotFound) if there is no such subscription.
        pub fn seek(&self, position: impl Into<crate::Position>) -> crate::Result<()> {
            let (scope, identity) = self.place();
            crate::delivery::control::seek(scope, &identity, position.into()).map_err(|error| error.during("seek"))
        }

        /// Deletes it: its checkpoint, its deliveries, a projection's tables. A projection no longer runs inside this
        /// process's appends, as with [`ProjectionRunner::remove`](crate::ProjectionRunner::remove).
        ///
        /// # Errors
        /// [`ErrorKind::NotFound`](crate::ErrorKind::NotFound) if there is no such subscription.
        pub fn remove(&self) -> crate::Result<()> {
            let (scope, identity) = self.place();
            crate::delivery::control::remove(scope, &identity).map_err(|error| error.during("remove"))
        }
    };
}

pub(crate) use {methods, movable};
