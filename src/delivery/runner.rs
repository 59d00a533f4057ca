//! What subscriptions, projections and outboxes have in common: a lead, a loop, a clean end.

use std::cell::Cell;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde::Serialize;
use uuid::Uuid;

use crate::log::scope::Scope;
use crate::model::clock::Clock;
use crate::model::error::{Error, ErrorKind, Result};
use crate::model::event::RecordedEvent;
use crate::model::place::Position;
use crate::sqlite::beside::Watcher;
use crate::sqlite::checkpoints::{self, Checkpoint};
use crate::sqlite::state;
use crate::trace;

/// How often a follower looks whether another process has committed; within its own it is woken at once. When nothing
/// comes for long it looks less often, so that it costs next to nothing: after a hundredth of the time that it was quiet.
const LOOK_EVERY: Duration = Duration::from_millis(12);
const LOOK_EVERY_AT_LEAST: Duration = Duration::from_millis(200);
const LOOK_AFTER_SHARE: u32 = 100;
/// How long a follower waits after the file was busy.
const BUSY_PAUSE: Duration = Duration::from_millis(20);

/// An error of the application's own code.
pub type HandlerError = Box<dyn std::error::Error + Send + Sync>;

/// Which subscription of whom.
#[derive(Clone, Debug)]
pub(crate) struct Identity {
    /// `""` for one that reads the events of all tenants.
    pub(crate) tenant: String,
    pub(crate) name: String,
}

/// The right to work for a subscription. Written under a fence, so that who has lost it changes nothing more.
#[derive(Clone, Debug)]
pub(crate) struct Lease {
    pub(crate) id: i64,
    pub(crate) fence: i64,
    lasts: Duration,
    renewed: Cell<Instant>,
}

impl Lease {
    /// Until when the lease holds if it is renewed now, in microseconds of the machine's clock: for a caller who writes
    /// this into the file.
    pub(crate) fn until(&self) -> i64 {
        self.renewed.set(Instant::now());
        now().saturating_add(i64::try_from(self.lasts.as_micros()).unwrap_or(i64::MAX))
    }

    /// How long it may go on without being renewed: a third of its time, so that two renewals may fail.
    fn rest(&self) -> Duration {
        (self.lasts / 3).saturating_sub(self.renewed.get().elapsed())
    }

    /// How long one of the steps may take so that the lease is renewed well before it runs out.
    pub(crate) fn step_time(&self, longest: Duration) -> Duration {
        longest.min(self.lasts / 3)
    }

    /// Takes or renews the lead; `None` if another runner has it.
    fn take(scope: &Scope, identity: &Identity, runner: Uuid, lasts: Duration) -> Result<Option<Lease>> {
        // After a power cut nobody leads anyway.
        scope.database().write_relaxed(|writing| {
            let checkpoint =
                checkpoints::find(writing, &identity.tenant, &identity.name)?.ok_or_else(|| unknown(&identity.name))?;
            let mut lease = Lease { id: checkpoint.id, fence: 0, lasts, renewed: Cell::new(Instant::now()) };
            let led = checkpoints::lead(writing, checkpoint.id, runner, now(), lease.until())?;
            Ok(led.map(|fence| {
                lease.fence = fence;
                lease
            }))
        })
    }

    fn give_up(&self, scope: &Scope) {
        // If it cannot be written, the lease runs out by itself.
        let _ = scope.database().write_relaxed(|writing| checkpoints::resign(writing, self.id, self.fence));
    }
}

/// Leases are about the machine's time, whatever clock the events have.
pub(crate) fn now() -> i64 {
    Clock::system().now_micros()
}

pub(crate) fn unknown(name: &str) -> Error {
    Error::new(ErrorKind::NotFound, format!("there is no subscription {name:?}"))
}

/// What a runner does with its share of events.
pub(crate) trait Work {
    /// Does the next piece of work, a bounded one. What it commits of its own renews the lease, see [`Lease::until`].
    fn step(&mut self, scope: &Scope, lease: &Lease) -> std::result::Result<Step, Halt>;
}

/// How a piece of work ended well.
pub(crate) enum Step {
    /// So many events were handled; there may be more.
    Worked(u64),
    /// There was nothing to do; look again after so long even if nothing comes.
    CaughtUp(Option<Duration>),
}

/// How a piece of work ended otherwise.
pub(crate) enum Halt {
    /// Another runner leads by now.
    LeadLost,
    /// The store's error, or the application's with the position of the event.
    Error(Error),
}

impl From<Error> for Halt {
    fn from(error: Error) -> Halt {
        Halt::Error(error)
    }
}

/// Works until nothing is left to do; returns how many events were handled.
pub(crate) fn run_to_end(scope: &Scope, identity: &Identity, lasts: Duration, work: &mut impl Work) -> Result<u64> {
    let Some(lease) = Lease::take(scope, identity, Uuid::new_v4(), lasts)? else {
        return Err(Error::new(ErrorKind::Busy, format!("another runner leads the subscription {:?}", identity.name))
            .advice("stop it, or wait until its lease has run out"));
    };
    let mut handled = 0;
    let done = loop {
        match guarded(scope, identity, &lease, work) {
            Ok(Step::Worked(events)) => handled += events,
            Ok(Step::CaughtUp(None)) => break Ok(handled),
            Ok(Step::CaughtUp(Some(pause))) => std::thread::sleep(pause),
            Err(Halt::LeadLost) => {
                break Err(Error::new(ErrorKind::Busy, format!("another runner took over the subscription {:?}", identity.name)));
            }
            Err(Halt::Error(error)) => break Err(note(scope, &lease, error)),
        }
    };
    lease.give_up(scope);
    done
}

/// Runs the application's code; a panic in it is its error.
pub(crate) fn caught(code: impl FnOnce() -> Result<(), HandlerError>) -> Result<(), HandlerError> {
    catch_unwind(AssertUnwindSafe(code)).unwrap_or_else(|_| Err("the application's code panicked".into()))
}

/// Runs the application's code on an event; measured, and in a span that names the event's own.
pub(crate) fn handle(
    scope: &Scope,
    name: &str,
    event: &RecordedEvent,
    code: impl FnOnce() -> Result<(), HandlerError>,
) -> Result<(), HandlerError> {
    let _span = trace::handler_span(name, event);
    scope.meter().handle(name, &event.event_type, || caught(code))
}

/// A last net: the application's code is called through [`caught`], which knows the event.
fn guarded(scope: &Scope, identity: &Identity, lease: &Lease, work: &mut impl Work) -> std::result::Result<Step, Halt> {
    let done = catch_unwind(AssertUnwindSafe(|| work.step(scope, lease)))
        .unwrap_or_else(|_| Err(Halt::Error(Error::new(ErrorKind::Handler, "the application's code panicked"))));
    if scope.meter().is_live() {
        // The figure's own failure changes nothing.
        let _ = scope.database().read(|view| {
            let reached = checkpoints::find_by_id(view, lease.id)?.map_or(0, |row| row.position);
            scope.meter().lags(&identity.name, state::last_position(view)?.get().saturating_sub(reached));
            Ok(())
        });
    }
    done
}

/// Writes down at which event the application's code failed.
fn note(scope: &Scope, lease: &Lease, error: Error) -> Error {
    if let (ErrorKind::Handler, Some(position)) = (error.kind(), error.position()) {
        let reason = std::error::Error::source(&error).map_or_else(|| error.to_string(), ToString::to_string);
        // The error itself goes to the caller in any case.
        let _ = scope.database().write(|writing| checkpoints::note_failure(writing, lease.id, position.get(), &reason));
    }
    error
}

/// Why a follower ended.
#[derive(Debug, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum StopReason {
    /// It was asked to.
    Stopped,
    /// The application's code failed at an event, which the error names; or the store did in a way that trying again does
    /// not mend.
    Failed(Error),
}

/// A subscription, a projection or an outbox that works on a thread of its own. Dropping it stops it and waits for it.
pub struct Follower {
    shared: Arc<Shared>,
    scope: Scope,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    stop: AtomicBool,
    leads: AtomicBool,
    ended: Mutex<Option<StopReason>>,
}

impl Follower {
    /// Whether it leads, that is, works: of several runners with the same name the others stand by.
    pub fn is_leading(&self) -> bool {
        self.shared.leads.load(Ordering::Acquire)
    }

    /// Whether it has ended by itself.
    pub fn has_ended(&self) -> bool {
        self.shared.ended.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    /// Asks it to stop, waits until it has, and says why it ended. The event at hand is finished first.
    pub fn stop(mut self) -> StopReason {
        self.end();
        self.shared.ended.lock().unwrap_or_else(PoisonError::into_inner).take().unwrap_or(StopReason::Stopped)
    }

    fn end(&mut self) {
        self.shared.stop.store(true, Ordering::Release);
        self.scope.log.appended.raise();
        if let Some(thread) = self.thread.take() {
            // It catches the application's panics itself.
            let _ = thread.join();
        }
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.end();
    }
}

impl fmt::Debug for Follower {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Follower").field("leading", &self.is_leading()).field("ended", &self.has_ended()).finish_non_exhaustive()
    }
}

/// Works on a thread of its own until it is stopped or fails.
pub(crate) fn follow(scope: &Scope, identity: Identity, lasts: Duration, work: impl Work + Send + 'static) -> Result<Follower> {
    let shared = Arc::new(Shared::default());
    let (of_thread, scope_of_thread) = (shared.clone(), scope.clone());
    let watcher = scope.database().watcher()?;
    let thread = std::thread::Builder::new()
        .name(format!("foldlog-{}", identity.name.chars().filter(|character| !character.is_control()).collect::<String>()))
        .spawn(move || {
            let mut run = Run {
                scope: scope_of_thread,
                identity,
                lasts,
                watcher,
                runner: Uuid::new_v4(),
                shared: of_thread,
                last_worked: Instant::now(),
            };
            let reason = run.until_stopped(work);
            run.shared.leads.store(false, Ordering::Release);
            *run.shared.ended.lock().unwrap_or_else(PoisonError::into_inner) = Some(reason);
        })
        .map_err(|error| Error::new(ErrorKind::Io, "the thread cannot be started").caused_by(error))?;
    Ok(Follower { shared, scope: scope.clone(), thread: Some(thread) })
}

/// A follower's thread.
struct Run {
    scope: Scope,
    identity: Identity,
    lasts: Duration,
    watcher: Watcher,
    runner: Uuid,
    shared: Arc<Shared>,
    last_worked: Instant,
}

impl Run {
    fn until_stopped(&mut self, mut work: impl Work) -> StopReason {
        let mut lease: Option<Lease> = None;
        let reason = loop {
            if self.shared.stop.load(Ordering::Acquire) {
                break StopReason::Stopped;
            }
            // Both are looked at before the work, so that what comes during it is not missed, and after the renewal of the
            // lease, which is a commit too.
            let seen = self.scope.log.appended.count();
            let done = self.watcher.version().and_then(|version| {
                let pause = match &lease {
                    None => self.try_to_lead(&mut lease)?,
                    Some(held) if held.rest().is_zero() => self.try_to_lead(&mut lease)?,
                    Some(held) => match guarded(&self.scope, &self.identity, held, &mut work) {
                        Ok(Step::Worked(_)) => {
                            self.last_worked = Instant::now();
                            None
                        }
                        Ok(Step::CaughtUp(pause)) => Some(pause.map_or(held.rest(), |pause| pause.min(held.rest()))),
                        Err(Halt::LeadLost) => {
                            lease = None;
                            None
                        }
                        Err(Halt::Error(error)) => return Err(error),
                    },
                };
                self.shared.leads.store(lease.is_some(), Ordering::Release);
                pause.map_or(Ok(()), |pause| self.wait(seen, version, pause))
            });
            match done {
                Ok(()) => {}
                Err(error) if error.is_retryable() => {
                    let _ = self.scope.log.appended.wait_after(seen, BUSY_PAUSE);
                }
                Err(error) => {
                    break StopReason::Failed(match &lease {
                        Some(lease) => note(&self.scope, lease, error),
                        None => error,
                    });
                }
            }
        };
        if let Some(lease) = lease {
            lease.give_up(&self.scope);
        }
        reason
    }

    /// Takes or renews the lead; returns how long to wait before the next attempt if another runner has it.
    fn try_to_lead(&self, lease: &mut Option<Lease>) -> Result<Option<Duration>> {
        // Most attempts of those who stand by are in vain, and this one costs no lock.
        let led_by_another = lease.is_none()
            && self.scope.database().read(|view| {
                let row = checkpoints::find(view, &self.identity.tenant, &self.identity.name)?;
                Ok(row.is_some_and(|row| row.leader.is_some() && row.lease_until > now()))
            })?;
        if !led_by_another {
            *lease = Lease::take(&self.scope, &self.identity, self.runner, self.lasts)?;
        }
        Ok(lease.is_none().then_some(self.lasts / 4))
    }

    /// Waits for a commit, of this process or of another, for `longest` at most.
    fn wait(&mut self, seen: u64, version: i64, longest: Duration) -> Result<()> {
        let until = Instant::now() + longest;
        while !self.shared.stop.load(Ordering::Acquire) {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            let pause = (self.last_worked.elapsed() / LOOK_AFTER_SHARE).clamp(LOOK_EVERY, LOOK_EVERY_AT_LEAST).min(left);
            if self.scope.log.appended.wait_after(seen, pause) || self.watcher.version()? != version {
                break;
            }
        }
        Ok(())
    }
}

/// How a subscription, a projection or an outbox stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct SubscriptionStatus {
    /// Its name.
    pub name: String,
    /// `handler`, `projection` or `outbox`.
    pub kind: String,
    /// Nothing up to this position is left to do.
    pub position: Position,
    /// Positions between that and the newest event of the file.
    pub lag: u64,
    /// Whether a runner leads it now.
    pub is_led: bool,
    /// The event at which it stopped, and why.
    pub failure: Option<(Position, String)>,
    /// The version of a projection's tables; 1 for others.
    pub version: u32,
}

impl SubscriptionStatus {
    pub(crate) fn of(checkpoint: Checkpoint, last_position: Position) -> SubscriptionStatus {
        SubscriptionStatus {
            position: Position::new(checkpoint.position),
            lag: last_position.get().saturating_sub(checkpoint.position),
            is_led: checkpoint.leader.is_some() && checkpoint.lease_until > now(),
            failure: checkpoint.failed_position.map(|at| (Position::new(at), checkpoint.failure.unwrap_or_default())),
            name: checkpoint.name,
            kind: checkpoint.kind,
            version: checkpoint.version,
        }
    }
}
