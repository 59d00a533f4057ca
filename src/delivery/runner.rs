//! What subscriptions, projections and outboxes share: the lead, the loop, a clean end.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::delivery::lead::{self, Candidate, Heart, Held, Try};
use crate::engine::Watcher;
use crate::log::scope::Scope;
use crate::model::error::{Error, ErrorKind, Result};
use crate::model::event::RecordedEvent;
use crate::storage::delivery::Identity;
use crate::trace;

/// How often a follower looks for commits of other processes; commits of its own process wake it at once. After a quiet
/// time it looks less often, once in a hundredth of that time, so that an idle follower costs next to nothing.
const LOOK_EVERY: Duration = Duration::from_millis(12);
const LOOK_EVERY_AT_LEAST: Duration = Duration::from_millis(200);
const LOOK_AFTER_SHARE: u32 = 100;
/// How often a runner that stands by looks within one lease, however long it was quiet.
const STANDBY_LOOKS: u32 = 8;
/// How long a follower waits after the file was busy.
const BUSY_PAUSE: Duration = Duration::from_millis(20);
/// How long a follower that has nothing to do waits for a commit.
const IDLE: Duration = Duration::from_secs(60);

/// An error of the application's own code.
pub type HandlerError = Box<dyn std::error::Error + Send + Sync>;

/// Called when a follower has ended.
pub(crate) type OnEnd = Arc<dyn Fn(&StopReason) + Send + Sync>;

/// What a runner does with its events.
pub(crate) trait Work {
    /// Does the next piece of work, which is bounded.
    fn step(&mut self, scope: &Scope, held: &Held) -> std::result::Result<Step, Halt>;
}

/// How a step succeeded.
pub(crate) enum Step {
    /// This many events were handled; there may be more.
    Worked(u64),
    /// There was nothing to do. Look again after this time even if nothing comes.
    CaughtUp(Option<Duration>),
}

/// Why a step did not succeed.
pub(crate) enum Halt {
    /// Another runner leads now, or nobody because it is paused.
    LeadLost,
    /// The store's error, or the application's with the event's position.
    Error(Error),
}

impl From<Error> for Halt {
    fn from(error: Error) -> Halt {
        Halt::Error(error)
    }
}

/// Works until nothing is left to do. Returns how many events were handled.
pub(crate) fn run_to_end(scope: &Scope, identity: &Identity, lease: Duration, work: &mut impl Work) -> Result<u64> {
    let held = Candidate::new(lease).lead_now(scope, identity)?;
    let heart = Heart::start(scope, held.lead, lease);
    let mut handled = 0;
    let done = match &heart {
        Err(_) => Ok(0),
        Ok(_) => loop {
            match guarded(scope, identity, &held, work) {
                Ok(Step::Worked(events)) => handled += events,
                Ok(Step::CaughtUp(None)) => break Ok(handled),
                Ok(Step::CaughtUp(Some(pause))) => std::thread::sleep(pause),
                Err(Halt::LeadLost) => {
                    let what = format!("another runner took over the subscription {:?}, or it was paused", identity.name);
                    break Err(Error::new(ErrorKind::Busy, what).advice("the next run goes on where this one stopped"));
                }
                Err(Halt::Error(error)) => break Err(note(scope, &held, error)),
            }
        },
    };
    let started = heart.map(drop);
    give_up(scope, &held);
    started.and(done)
}

fn give_up(scope: &Scope, held: &Held) {
    // If this cannot be written, the next runner finds that nobody answers.
    let _ = scope.engine().resign(held.lead);
}

/// Runs the application's code; a panic becomes an error.
pub(crate) fn caught(code: impl FnOnce() -> Result<(), HandlerError>) -> Result<(), HandlerError> {
    catch_unwind(AssertUnwindSafe(code)).unwrap_or_else(|_| Err("the application's code panicked".into()))
}

/// Runs the application's code on an event, measured, and in a span linked to the event's own trace.
pub(crate) fn handle(
    scope: &Scope,
    name: &str,
    event: &RecordedEvent,
    code: impl FnOnce() -> Result<(), HandlerError>,
) -> Result<(), HandlerError> {
    let _span = trace::handler_span(name, event);
    scope.meter().handle(name, &event.event_type, || caught(code))
}

/// The application's error, with the event's position.
pub(crate) fn failed(event: &RecordedEvent, error: HandlerError, advice: &'static str) -> Error {
    Error::new(ErrorKind::Handler, format!("the application's code failed: {error}"))
        .of(&event.aggregate())
        .at_version(event.version)
        .at_position(event.position)
        .event_type_is(&event.event_type)
        .advice(advice)
        .caused_by(error)
}

/// A safety net. The application's code normally runs through [`caught`], which knows the event.
fn guarded(scope: &Scope, identity: &Identity, held: &Held, work: &mut impl Work) -> std::result::Result<Step, Halt> {
    let done = catch_unwind(AssertUnwindSafe(|| work.step(scope, held)))
        .unwrap_or_else(|_| Err(Halt::Error(Error::new(ErrorKind::Handler, "the application's code panicked"))));
    if let Ok(Step::CaughtUp(_)) = done {
        held.wary.set(false);
    }
    // A failure to read the lag does not matter here.
    if scope.meter().is_live()
        && let Ok(lag) = scope.engine().lag(held.lead)
    {
        scope.meter().lags(&identity.name, lag);
    }
    done
}

/// Records the event at which the application's code failed.
fn note(scope: &Scope, held: &Held, error: Error) -> Error {
    if let (ErrorKind::Handler, Some(position)) = (error.kind(), error.position()) {
        let reason = std::error::Error::source(&error).map_or_else(|| error.to_string(), ToString::to_string);
        // The error itself is returned in any case.
        let _ = scope.engine().note_failure(held.lead, position.get(), &reason);
    }
    error
}

/// Why a follower ended.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub enum StopReason {
    /// It was asked to stop.
    Stopped,
    /// The application's code failed at an event, which the error names; or the store failed in a way that a retry does
    /// not solve.
    Failed(Error),
}

/// A subscription, a projection or an outbox that works on its own thread. Dropping it stops the thread and waits for
/// it.
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
    /// Whether it has the lead and works. Of several runners with the same name all others stand by.
    pub fn is_leading(&self) -> bool {
        self.shared.leads.load(Ordering::Acquire)
    }

    /// Whether it has ended by itself.
    pub fn has_ended(&self) -> bool {
        self.shared.ended.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    /// Asks it to stop, waits until it has, and returns why it ended. The current event is finished first.
    pub fn stop(mut self) -> StopReason {
        self.end();
        self.shared.ended.lock().unwrap_or_else(PoisonError::into_inner).take().unwrap_or(StopReason::Stopped)
    }

    fn end(&mut self) {
        self.shared.stop.store(true, Ordering::Release);
        self.scope.log.appended.raise();
        if let Some(thread) = self.thread.take() {
            // The thread catches the application's panics itself.
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

/// Works on its own thread until it is stopped or fails.
pub(crate) fn follow(
    scope: &Scope,
    identity: Identity,
    lease: Duration,
    on_end: Option<OnEnd>,
    work: impl Work + Send + 'static,
) -> Result<Follower> {
    let shared = Arc::new(Shared::default());
    let (of_thread, scope_of_thread) = (shared.clone(), scope.clone());
    let watcher = scope.engine().watcher()?;
    let thread = std::thread::Builder::new()
        .name(format!("foldlog-{}", identity.name.chars().filter(|character| !character.is_control()).collect::<String>()))
        .spawn(move || {
            let last_worked = Instant::now();
            let mut run = Run { scope: scope_of_thread, identity, lease, watcher, shared: of_thread, last_worked };
            let reason = run.until_stopped(work);
            run.shared.leads.store(false, Ordering::Release);
            if let Some(on_end) = on_end {
                let _ = caught(|| {
                    on_end(&reason);
                    Ok(())
                });
            }
            *run.shared.ended.lock().unwrap_or_else(PoisonError::into_inner) = Some(reason);
        })
        .map_err(|error| Error::new(ErrorKind::Io, "the thread cannot be started").caused_by(error))?;
    Ok(Follower { shared, scope: scope.clone(), thread: Some(thread) })
}

/// A follower's thread.
struct Run {
    scope: Scope,
    identity: Identity,
    lease: Duration,
    watcher: Watcher,
    shared: Arc<Shared>,
    last_worked: Instant,
}

/// The lead, and the thread that answers for it.
struct Leading {
    held: Held,
    _heart: Heart,
}

impl Run {
    fn until_stopped(&mut self, mut work: impl Work) -> StopReason {
        let mut candidate = Candidate::new(self.lease);
        let mut leading: Option<Leading> = None;
        let reason = loop {
            if self.shared.stop.load(Ordering::Acquire) {
                break StopReason::Stopped;
            }
            // Both are read before the work, so that commits during the work are not missed.
            let seen = self.scope.log.appended.count();
            let done = self.watcher.version().and_then(|version| {
                let stands_by = leading.is_none();
                let pause = match &leading {
                    None => self.try_to_lead(&mut candidate, &mut leading)?,
                    Some(Leading { held, .. }) => match guarded(&self.scope, &self.identity, held, &mut work) {
                        Ok(Step::Worked(_)) => {
                            self.last_worked = Instant::now();
                            None
                        }
                        Ok(Step::CaughtUp(pause)) => Some(pause.unwrap_or(IDLE)),
                        Err(Halt::LeadLost) => {
                            // It still has the lead if it was paused.
                            if let Some(Leading { held, _heart }) = leading.take() {
                                drop(_heart);
                                give_up(&self.scope, &held);
                            }
                            None
                        }
                        Err(Halt::Error(error)) => return Err(error),
                    },
                };
                self.shared.leads.store(leading.is_some(), Ordering::Release);
                // The sooner a beat of the leader is seen, the sooner its absence is.
                let look_at_least = if stands_by { lead::clamped(self.lease) / STANDBY_LOOKS } else { LOOK_EVERY_AT_LEAST };
                pause.map_or(Ok(()), |pause| self.wait(seen, version, pause, look_at_least))
            });
            match done {
                Ok(()) => {}
                Err(error) if error.is_retryable() => {
                    let _ = self.scope.log.appended.wait_after(seen, BUSY_PAUSE);
                }
                Err(error) => {
                    break StopReason::Failed(match &leading {
                        Some(Leading { held, .. }) => note(&self.scope, held, error),
                        None => error,
                    });
                }
            }
        };
        if let Some(Leading { held, _heart }) = leading {
            drop(_heart);
            give_up(&self.scope, &held);
        }
        reason
    }

    /// Tries to take the lead. If another runner has it, returns how long to wait before the next try.
    fn try_to_lead(&self, candidate: &mut Candidate, leading: &mut Option<Leading>) -> Result<Option<Duration>> {
        match candidate.try_to_lead(&self.scope, &self.identity, false)? {
            Try::Led(held) => {
                let heart = Heart::start(&self.scope, held.lead, self.lease)?;
                *leading = Some(Leading { held, _heart: heart });
                Ok(None)
            }
            Try::Alive => Ok(Some(self.lease)),
            // Whoever resumes it commits, which ends the wait.
            Try::Paused => Ok(Some(IDLE)),
            Try::Wait(left) => Ok(Some(left)),
        }
    }

    /// Waits up to `longest` for a commit of this or another process.
    fn wait(&mut self, seen: u64, version: i64, longest: Duration, look_at_least: Duration) -> Result<()> {
        let began = Instant::now();
        while !self.shared.stop.load(Ordering::Acquire) {
            let left = longest.saturating_sub(began.elapsed());
            if left.is_zero() {
                break;
            }
            let look_every = (self.last_worked.elapsed() / LOOK_AFTER_SHARE).clamp(LOOK_EVERY, LOOK_EVERY_AT_LEAST);
            let pause = look_every.min(look_at_least).min(left);
            if self.scope.log.appended.wait_after(seen, pause) || self.watcher.version()? != version {
                break;
            }
        }
        Ok(())
    }
}
