//! The timetable by which old snapshots are deleted.

use std::fmt;
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use chrono::TimeDelta;

use crate::log::scope::Scope;
use crate::model::clock::{from_micros, to_micros};
use crate::model::error::{Error, ErrorKind, Result};
use crate::sync;

/// How often the thread looks whether it is time; the machine may have slept.
const LOOK_EVERY: Duration = Duration::from_secs(60);

/// When snapshots are too old, and how often to look for them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SnapshotExpiry {
    every: Duration,
    older_than: Duration,
}

impl SnapshotExpiry {
    /// Once a week, snapshots older than 90 days.
    pub fn weekly() -> SnapshotExpiry {
        SnapshotExpiry { every: Duration::from_secs(7 * 86_400), older_than: Duration::from_secs(90 * 86_400) }
    }

    /// How long after one clean-up the next one comes.
    pub fn every(mut self, every: Duration) -> SnapshotExpiry {
        self.every = every;
        self
    }

    /// The age from which on a snapshot is deleted.
    pub fn older_than(mut self, age: Duration) -> SnapshotExpiry {
        self.older_than = age;
        self
    }
}

/// A running timetable. Dropping it stops it and waits for its end.
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
    /// How many snapshots it has deleted so far.
    pub fn expired(&self) -> u64 {
        sync::lock(&self.stop.state).expired
    }

    /// Why the last clean-up failed, if it did. The next one is tried all the same.
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
            // The thread's own panic, if any, was reported by the panic hook.
            let _ = thread.join();
        }
    }
}

/// Starts the timetable on a thread of its own. When the last clean-up ran is kept in the file, so that an application
/// that is started anew each day still cleans up once a week.
pub(crate) fn start(scope: Scope, plan: SnapshotExpiry) -> Result<SnapshotExpiryTask> {
    if scope.engine().is_read_only() {
        return Err(Error::new(ErrorKind::ReadOnly, "the store was opened for reading"));
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
        let done = clean_up_if_due(scope, plan);
        let mut progress = sync::lock(&stop.state);
        match done {
            Ok(expired) => {
                progress.expired += expired;
                progress.failure = None;
            }
            Err(error) => progress.failure = Some(error.to_string()),
        }
        let wait = plan.every.min(LOOK_EVERY).max(Duration::from_millis(1));
        let progress = sync::wait_while(&stop.changed, progress, wait, |progress| !progress.stopped);
        if progress.stopped {
            return;
        }
    }
}

/// Deletes what is too old in every tenant, if the last time was long enough ago. Several processes may call it: the
/// mark is set in the same transaction that finds it due.
fn clean_up_if_due(scope: &Scope, plan: SnapshotExpiry) -> Result<u64> {
    let now = scope.options().clock.now_micros();
    let every = i64::try_from(plan.every.as_micros()).unwrap_or(i64::MAX);
    // A mark further ahead than one turn was made by a clock that was wrong.
    let is_due = |last: i64| last == 0 || now.saturating_sub(last) >= every || last.saturating_sub(now) > every;
    let tenants = scope.engine().begin_expiry(now, is_due)?;
    let age = TimeDelta::from_std(plan.older_than).unwrap_or(TimeDelta::MAX);
    let Some(before) = from_micros(now)?.checked_sub_signed(age) else { return Ok(0) };
    let mut expired = 0;
    for tenant in tenants {
        let of_tenant = Scope { log: scope.log.clone(), tenant: tenant.into() };
        expired += of_tenant.engine().expire_snapshots(&of_tenant.tenant, to_micros(before))?;
    }
    Ok(expired)
}
