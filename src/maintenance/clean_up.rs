//! The scheduled clean-up of old snapshots.

use std::fmt;
use std::ops::ControlFlow;
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use serde::Serialize;

use crate::log::scope::Scope;
use crate::model::clock::{from_micros, to_micros};
use crate::model::error::{Error, ErrorKind, Result};
use crate::sync;

/// How often the thread checks whether a clean-up is due. Short, because the machine may have slept.
const LOOK_EVERY: Duration = Duration::from_secs(60);
/// The shortest time between two clean-ups.
pub(super) const SHORTEST: Duration = Duration::from_millis(100);

/// When snapshots are too old, and how often to delete them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SnapshotExpiry {
    every: Duration,
    older_than: Duration,
}

impl SnapshotExpiry {
    /// Deletes snapshots older than 90 days once a week.
    pub fn weekly() -> SnapshotExpiry {
        SnapshotExpiry { every: Duration::from_secs(7 * 86_400), older_than: Duration::from_secs(90 * 86_400) }
    }

    /// Sets the time between two clean-ups. Default: a week; at least 100 milliseconds, because each writes to the file.
    pub fn every(mut self, every: Duration) -> SnapshotExpiry {
        self.every = every.max(SHORTEST);
        self
    }

    /// Sets the age from which a snapshot is deleted. Default: 90 days.
    pub fn older_than(mut self, age: Duration) -> SnapshotExpiry {
        self.older_than = age;
        self
    }
}

/// The progress, and in the end the result, of deleting old snapshots.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct ExpiryProgress {
    /// Snapshots deleted so far.
    pub expired: u64,
    /// Whether none is left that is too old.
    pub finished: bool,
}

/// Deletes a tenant's snapshots older than `age`, some in each transaction.
pub(crate) fn expire(
    scope: &Scope,
    age: Duration,
    mut progress: impl FnMut(ExpiryProgress) -> ControlFlow<()>,
) -> Result<ExpiryProgress> {
    let now = from_micros(scope.options().clock.now_micros())?;
    let before = TimeDelta::from_std(age).ok().and_then(|age| now.checked_sub_signed(age)).unwrap_or(DateTime::<Utc>::MIN_UTC);
    let mut done = ExpiryProgress::default();
    loop {
        let (expired, more) = scope.engine().expire_snapshots(&scope.tenant, to_micros(before))?;
        done = ExpiryProgress { expired: done.expired + expired, finished: !more };
        if progress(done).is_break() || done.finished {
            return Ok(done);
        }
    }
}

/// A running clean-up schedule. Dropping it stops the thread and waits for it.
pub struct SnapshotExpiryTask {
    stop: Arc<Stop>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Stop {
    state: Mutex<Progress>,
    changed: Condvar,
}

#[derive(Default)]
struct Progress {
    stopped: bool,
    expired: u64,
    failure: Option<String>,
}

impl SnapshotExpiryTask {
    /// The number of snapshots deleted so far.
    pub fn expired(&self) -> u64 {
        sync::lock(&self.stop.state).expired
    }

    /// Why the last clean-up failed, if it did. The schedule goes on regardless.
    pub fn last_failure(&self) -> Option<String> {
        sync::lock(&self.stop.state).failure.clone()
    }
}

impl fmt::Debug for SnapshotExpiryTask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SnapshotExpiryTask").field("expired", &self.expired()).finish_non_exhaustive()
    }
}

impl Drop for SnapshotExpiryTask {
    fn drop(&mut self) {
        sync::lock(&self.stop.state).stopped = true;
        self.stop.changed.notify_all();
        if let Some(thread) = self.thread.take() {
            // A panic of the thread was already reported by the panic hook.
            let _ = thread.join();
        }
    }
}

/// Starts the schedule on its own thread. The time of the last clean-up is kept in the file, so an application that is
/// restarted every day still cleans up once a week.
pub(crate) fn start(scope: Scope, plan: SnapshotExpiry) -> Result<SnapshotExpiryTask> {
    if scope.engine().is_read_only() {
        return Err(Error::read_only());
    }
    let stop = Arc::new(Stop::default());
    let of_thread = stop.clone();
    let thread = std::thread::Builder::new()
        .name("foldlog-clean-up".to_owned())
        .spawn(move || run(&scope, plan, &of_thread))
        .map_err(|error| Error::new(ErrorKind::Io, "the clean-up thread cannot be started").caused_by(error))?;
    Ok(SnapshotExpiryTask { stop, thread: Some(thread) })
}

fn run(scope: &Scope, plan: SnapshotExpiry, stop: &Stop) {
    loop {
        let done = clean_up_if_due(scope, plan, stop);
        let mut progress = sync::lock(&stop.state);
        match done {
            Ok(expired) => {
                progress.expired += expired;
                progress.failure = None;
            }
            Err(error) => progress.failure = Some(error.to_string()),
        }
        let wait = plan.every.min(LOOK_EVERY);
        let progress = sync::wait_while(&stop.changed, progress, wait, |progress| !progress.stopped);
        if progress.stopped {
            return;
        }
    }
}

/// Whether something is due that ran last at this time; 0: never.
pub(super) fn is_due(last: i64, now: i64, every: Duration) -> bool {
    let every = i64::try_from(every.as_micros()).unwrap_or(i64::MAX);
    // A recorded time that lies further in the future than one interval was written by a wrong clock.
    last == 0 || now.saturating_sub(last) >= every || last.saturating_sub(now) > every
}

/// Deletes expired snapshots of all tenants, if the last clean-up was long enough ago. Several processes may call it:
/// the time is recorded in the same transaction that finds the clean-up due.
fn clean_up_if_due(scope: &Scope, plan: SnapshotExpiry, stop: &Stop) -> Result<u64> {
    let now = scope.options().clock.now_micros();
    let tenants = scope.engine().begin_expiry(now, |last| is_due(last, now, plan.every))?;
    let go_on = |_| if sync::lock(&stop.state).stopped { ControlFlow::Break(()) } else { ControlFlow::Continue(()) };
    let mut expired = 0;
    for tenant in tenants {
        let of_tenant = Scope { log: scope.log.clone(), tenant: tenant.into() };
        expired += expire(&of_tenant, plan.older_than, go_on)?.expired;
    }
    Ok(expired)
}
