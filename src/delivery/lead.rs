//! Which runner works for a subscription. The lead is taken, kept and taken over without reading the wall clock.
//!
//! A leader writes nothing to stay the leader. A runner that wants the lead asks for it: it makes the row's heartbeat
//! odd. The leader answers from its own thread by making the heartbeat even again, so a slow handler does not delay the
//! answer. If a question stays unanswered for the length of the lease, measured by the runner that asked, the leader is
//! dead. Once asked, a leader beats by itself for a while, so that the runners standing by need not keep asking.

use std::cell::Cell;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use uuid::Uuid;

use crate::log::scope::Scope;
use crate::model::error::{Error, ErrorKind, Result};
use crate::model::place::Position;
use crate::storage::delivery::{Claim, Claimed, Identity, Lead, Pulse};

/// The default length of a lease.
pub(crate) const LEASE: Duration = Duration::from_millis(500);
/// With a shorter lease a busy machine would keep changing leaders.
const SHORTEST: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);
/// How often a leader looks for questions within one lease.
const LOOKS: u32 = 4;
/// How long a leader keeps beating by itself after a question.
const BEATS_FOR: Duration = Duration::from_secs(60);
/// After this time a runner checks that it still has the lead before it begins another event.
const CONFIRM_AFTER: Duration = Duration::from_millis(20);
/// How often a runner that asked looks for the answer.
const POLL: Duration = Duration::from_millis(5);

/// The lease, limited to the allowed range.
pub(crate) fn clamped(lease: Duration) -> Duration {
    lease.clamp(SHORTEST, LONGEST)
}

/// The lead, and what is known of the previous leader.
#[derive(Debug)]
pub(crate) struct Held {
    pub(crate) lead: Lead,
    /// The previous leader died. Until it has caught up, this runner handles one event at a time and notes each one
    /// first, so that an event that kills its process is found.
    pub(crate) wary: Cell<bool>,
    /// When the file last confirmed that the lead is still held.
    confirmed: Cell<Instant>,
}

impl Held {
    fn new(lead: Lead, after_death: bool) -> Held {
        Held { lead, wary: Cell::new(after_death), confirmed: Cell::new(Instant::now()) }
    }

    /// Checked before each event of a batch: during a slow one somebody may have taken the lead or paused the
    /// subscription.
    pub(crate) fn standing(&self, scope: &Scope) -> Standing {
        if self.confirmed.get().elapsed() < CONFIRM_AFTER {
            return Standing::Leads;
        }
        let pulse = scope.engine().own_pulse(self.lead);
        self.confirmed.set(Instant::now());
        match pulse {
            Ok(None) => Standing::Lost,
            Ok(Some(pulse)) if pulse.is_paused => Standing::Paused,
            // If the row cannot be read now, the next write will find out.
            Ok(Some(_)) | Err(_) => Standing::Leads,
        }
    }
}

/// Whether a leader may begin another event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    Leads,
    /// It may still write what it has done.
    Paused,
    Lost,
}

/// What to do about the current leader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Wait(Duration),
    Ask,
    /// It answered.
    Alive,
    Dead,
}

/// Observes a leader from another runner.
#[derive(Debug, Default)]
struct Watch {
    seen: Option<(Pulse, Instant)>,
}

impl Watch {
    /// `eager`: ask at once instead of waiting for the leader to beat by itself.
    fn look(&mut self, pulse: Pulse, now: Instant, eager: bool) -> Verdict {
        let since = match self.seen {
            Some((seen, since)) if seen == pulse => since,
            Some((seen, _)) if seen.is_asked() => {
                self.seen = Some((pulse, now));
                return Verdict::Alive;
            }
            _ => {
                self.seen = Some((pulse, now));
                now
            }
        };
        let patience = match (pulse.is_asked(), eager) {
            (true, _) => pulse.lease,
            (false, true) => Duration::ZERO,
            (false, false) => pulse.lease / 2,
        };
        let left = patience.saturating_sub(now.saturating_duration_since(since));
        match (left.is_zero(), pulse.is_asked()) {
            (false, _) => Verdict::Wait(left),
            (true, true) => Verdict::Dead,
            (true, false) => Verdict::Ask,
        }
    }
}

/// The result of an attempt to take the lead.
pub(crate) enum Try {
    Led(Held),
    /// Another runner leads, and it answered.
    Alive,
    /// Nobody may lead until it is resumed.
    Paused,
    /// No answer yet. Look again after this time at the latest.
    Wait(Duration),
}

/// A runner that wants the lead.
pub(crate) struct Candidate {
    runner: Uuid,
    lease: Duration,
    watch: Watch,
    /// It had to wait for the file when it was about to take over. The leader may have had to wait too, so it gets more
    /// time once.
    doubted: bool,
}

impl Candidate {
    pub(crate) fn new(lease: Duration) -> Candidate {
        Candidate { runner: Uuid::new_v4(), lease: clamped(lease), watch: Watch::default(), doubted: false }
    }

    /// Tries to take the lead.
    pub(crate) fn try_to_lead(&mut self, scope: &Scope, identity: &Identity, eager: bool) -> Result<Try> {
        let pulse = scope.engine().pulse(identity)?;
        if pulse.is_paused {
            return Ok(Try::Paused);
        }
        let verdict = match pulse.is_led {
            false => Verdict::Ask,
            true => self.watch.look(pulse, Instant::now(), eager),
        };
        let dead = match verdict {
            Verdict::Wait(left) => return Ok(Try::Wait(left)),
            Verdict::Alive => {
                self.doubted = false;
                return Ok(Try::Alive);
            }
            Verdict::Ask => None,
            Verdict::Dead => Some(pulse),
        };
        let claim = Claim { identity, runner: self.runner.into_bytes(), lease: self.lease, dead, is_sure: self.doubted };
        match scope.engine().lead(&claim)? {
            Claimed::Led { lead, after_death } => {
                (self.watch, self.doubted) = (Watch::default(), false);
                Ok(Try::Led(Held::new(lead, after_death)))
            }
            Claimed::Other(pulse) => {
                self.doubted = dead == Some(pulse);
                self.watch.seen = Some((pulse, Instant::now()));
                Ok(Try::Wait(pulse.lease))
            }
            Claimed::Paused => Ok(Try::Paused),
            Claimed::Deadly { position, deaths } => Err(deadly(&identity.name, position, deaths)),
        }
    }

    /// Takes the lead, or fails because another runner is alive.
    pub(crate) fn lead_now(mut self, scope: &Scope, identity: &Identity) -> Result<Held> {
        loop {
            match self.try_to_lead(scope, identity, true)? {
                Try::Led(held) => return Ok(held),
                Try::Alive => {
                    let what = format!("another runner leads the subscription {:?}", identity.name);
                    return Err(Error::new(ErrorKind::Busy, what).advice("stop it, or use break_lease if it hangs"));
                }
                Try::Paused => {
                    return Err(Error::new(ErrorKind::Busy, format!("the subscription {:?} is paused", identity.name))
                        .advice("call resume first"));
                }
                Try::Wait(left) => std::thread::sleep(left.min(POLL)),
            }
        }
    }
}

fn deadly(name: &str, position: u64, deaths: u32) -> Error {
    let what = format!("the process died while {name:?} handled an event, {deaths} times in a row");
    Error::new(ErrorKind::Handler, what)
        .at_position(Position::new(position))
        .advice("fix the handler and call retry_failed, or skip the event with skip_failed")
}

/// Answers questions for a leader while it works. Stops when dropped.
pub(crate) struct Heart {
    stopped: Arc<(Mutex<bool>, Condvar)>,
    thread: Option<JoinHandle<()>>,
}

impl Heart {
    pub(crate) fn start(scope: &Scope, lead: Lead, lease: Duration) -> Result<Heart> {
        let stopped = Arc::new((Mutex::new(false), Condvar::new()));
        let (of_thread, scope) = (stopped.clone(), scope.clone());
        let every = clamped(lease) / LOOKS;
        let thread = std::thread::Builder::new()
            .name("foldlog-heartbeat".to_owned())
            .spawn(move || answer(&scope, lead, every, &of_thread))
            .map_err(|error| Error::new(ErrorKind::Io, "the heartbeat's thread cannot be started").caused_by(error))?;
        Ok(Heart { stopped, thread: Some(thread) })
    }
}

impl Drop for Heart {
    fn drop(&mut self) {
        *self.stopped.0.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.stopped.1.notify_all();
        if let Some(thread) = self.thread.take() {
            // No application code runs on this thread.
            let _ = thread.join();
        }
    }
}

fn answer(scope: &Scope, lead: Lead, every: Duration, stopped: &(Mutex<bool>, Condvar)) {
    let (mut asked_at, mut last): (Option<Instant>, _) = (None, None);
    // Opened at the first look, because most calls of `run_to_end` are over before that.
    let (mut watcher, mut version) = (None, None);
    loop {
        let guard = stopped.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (guard, _) = stopped.1.wait_timeout_while(guard, every, |stopped| !*stopped).unwrap_or_else(PoisonError::into_inner);
        if *guard {
            return;
        }
        drop(guard);
        let is_watched = asked_at.is_some_and(|asked_at| asked_at.elapsed() < BEATS_FOR);
        if watcher.is_none() {
            watcher = scope.engine().watcher().ok();
        }
        let seen = watcher.as_ref().and_then(|watcher| watcher.version().ok());
        if !is_watched && seen.is_some() && std::mem::replace(&mut version, seen) == seen {
            // No commit, so no question.
            continue;
        }
        let pulse = match scope.engine().own_pulse(lead) {
            Ok(Some(pulse)) => pulse,
            Ok(None) => return,
            Err(_) => {
                // The file is most likely busy, so nobody can take over meanwhile. The next look must still read the
                // row.
                version = None;
                continue;
            }
        };
        if pulse.is_asked() {
            asked_at = Some(Instant::now());
        }
        // A checkpoint that moves counts as a beat.
        let stands_still = last.replace(pulse.heartbeat) == Some(pulse.heartbeat);
        if (pulse.is_asked() || (is_watched && stands_still))
            && let Ok(Some(pulse)) = scope.engine().beat(lead)
        {
            last = Some(pulse.heartbeat);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEASE: Duration = Duration::from_millis(400);

    fn pulse(heartbeat: i64) -> Pulse {
        Pulse { is_led: true, is_paused: false, fence: 1, heartbeat, lease: LEASE }
    }

    #[test]
    fn a_leader_is_asked_and_is_dead_when_it_does_not_answer_for_a_lease() {
        let (mut watch, start) = (Watch::default(), Instant::now());
        let at = |millis: u64| start + Duration::from_millis(millis);
        assert_eq!(watch.look(pulse(2), at(0), false), Verdict::Wait(LEASE / 2));
        assert_eq!(watch.look(pulse(4), at(150), false), Verdict::Wait(LEASE / 2), "it beats by itself");
        assert_eq!(watch.look(pulse(4), at(349), false), Verdict::Wait(Duration::from_millis(1)));
        assert_eq!(watch.look(pulse(4), at(350), false), Verdict::Ask);
        assert_eq!(watch.look(pulse(5), at(360), false), Verdict::Wait(LEASE));
        assert_eq!(watch.look(pulse(5), at(759), false), Verdict::Wait(Duration::from_millis(1)));
        assert_eq!(watch.look(pulse(5), at(760), false), Verdict::Dead);
        assert_eq!(watch.look(pulse(6), at(761), false), Verdict::Alive, "it answered after all");
        assert_eq!(Watch::default().look(pulse(2), at(0), true), Verdict::Ask, "who is in a hurry asks at once");
    }

    #[test]
    fn leases_are_kept_within_bounds() {
        assert_eq!(clamped(Duration::ZERO), SHORTEST);
        assert_eq!(clamped(Duration::MAX), LONGEST);
        assert_eq!(clamped(LEASE), LEASE);
    }
}
