//! Everything that is due, in one call or on a schedule.

use std::fmt;
use std::ops::ControlFlow;
use std::sync::{Arc, Condvar, Mutex, Weak};
use std::thread::JoinHandle;
use std::time::Duration;

use serde::Serialize;

use super::archive::{self, Archive, ArchiveReport};
use super::erase::{self, WipeReport};
use super::retention::{self, Retention, RetentionReport};
use super::{checkpoint, clean_up, space};
use crate::log::scope::{Log, Scope};
use crate::model::error::{Error, ErrorKind, Result};
use crate::model::place::DEFAULT_TENANT;
use crate::sync;

/// How often the thread looks whether upkeep is due. Short, because the machine may have slept.
const LOOK_EVERY: Duration = Duration::from_secs(60);
/// After a failure the thread waits this long, or as long as between two runs if that is shorter.
const AFTER_FAILURE: Duration = Duration::from_secs(60 * 60);
/// The handles of the log that a run itself holds whenever it asks whether to go on.
const OWN_HANDLES: usize = 2;
const WEEK: Duration = Duration::from_secs(7 * 86_400);
const SNAPSHOT_AGE: Duration = Duration::from_secs(90 * 86_400);

/// What is to be done when upkeep is due: see [`Maintenance::maintain`](crate::Maintenance::maintain). By default: finish and
/// wipe erasures, delete snapshots older than 90 days that no replay needs, delete unused rows of the archive, give free space
/// back, empty the write-ahead log. Old events stay where they are unless you say otherwise.
#[derive(Clone, Debug)]
pub struct Upkeep {
    retention: Option<Retention>,
    archive: Option<Archive>,
    snapshot_age: Option<Duration>,
    compact: bool,
    every: Duration,
}

impl Default for Upkeep {
    fn default() -> Upkeep {
        Upkeep::new()
    }
}

impl Upkeep {
    /// The default.
    pub fn new() -> Upkeep {
        Upkeep { retention: None, archive: None, snapshot_age: Some(SNAPSHOT_AGE), compact: true, every: WEEK }
    }

    /// Also applies retention rules, in every tenant.
    pub fn retention(mut self, retention: Retention) -> Upkeep {
        self.retention = Some(retention);
        self
    }

    /// Also moves old events to the archive, in every tenant. `Archive::default()` takes those older than two years.
    pub fn archive(mut self, archive: Archive) -> Upkeep {
        self.archive = Some(archive);
        self
    }

    /// The age from which snapshots that no replay needs are deleted. Default: 90 days.
    pub fn snapshots_older_than(mut self, age: Duration) -> Upkeep {
        self.snapshot_age = Some(age);
        self
    }

    /// Deletes no snapshot, however old.
    pub fn keep_snapshots(mut self) -> Upkeep {
        self.snapshot_age = None;
        self
    }

    /// Keeps free space in the file, for the next events.
    pub fn without_compacting(mut self) -> Upkeep {
        self.compact = false;
        self
    }

    /// The time between two runs of a [schedule](crate::Maintenance::schedule). Default: a week; at least 100 milliseconds.
    pub fn every(mut self, every: Duration) -> Upkeep {
        self.every = every.max(clean_up::SHORTEST);
        self
    }
}

/// What upkeep has done, or so far.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct UpkeepReport {
    /// What was made unreadable of earlier erasures.
    pub wipe: WipeReport,
    /// What was done for each tenant.
    pub tenants: Vec<TenantUpkeep>,
    /// Unused rows that were deleted from the archive.
    pub archived_rows_deleted: u64,
    /// Rows of the archive that the main file knows nothing of, as after an older main file was put in its place. They may be the only
    /// copies of their events, so they stay.
    pub archived_rows_unknown: u64,
    /// Pages of 4 KiB given back, of both files.
    pub pages_given_back: u64,
    /// Whether all is done, and it was not stopped before.
    pub finished: bool,
}

/// What upkeep has done for one tenant.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct TenantUpkeep {
    /// The tenant.
    pub tenant: String,
    /// What the retention rules removed and could not remove; `None` without rules.
    pub retention: Option<RetentionReport>,
    /// What was archived; `None` if that was not asked for.
    pub archive: Option<ArchiveReport>,
    /// Snapshots that were deleted.
    pub snapshots_expired: u64,
}

impl UpkeepReport {
    /// Snapshots that were deleted, of all tenants.
    pub fn snapshots_expired(&self) -> u64 {
        self.tenants.iter().map(|tenant| tenant.snapshots_expired).sum()
    }
}

/// Does all that is due, step by step.
pub(crate) fn maintain(
    scope: &Scope,
    upkeep: &Upkeep,
    progress: &mut dyn FnMut(&UpkeepReport) -> ControlFlow<()>,
) -> Result<UpkeepReport> {
    let now = scope.options().clock.now_micros();
    let mut running = Running { report: UpkeepReport::default(), progress, stopped: false };
    // A second handle, as the work for each tenant has one: see OWN_HANDLES.
    let beside = scope.clone();
    running.report.wipe = erase::wipe(scope)?;
    let _ = running.ask();
    drop(beside);
    for tenant in scope.engine().tenants()? {
        let of_tenant = Scope { log: scope.log.clone(), tenant: tenant.into() };
        running.tenant(&of_tenant, upkeep)?;
    }
    running.files(&scope.clone(), upkeep)?;
    if !running.stopped {
        scope.engine().note_maintained(now)?;
        checkpoint::checkpoint(scope)?;
        running.report.finished = true;
    }
    Ok(running.report)
}

struct Running<'p> {
    report: UpkeepReport,
    progress: &'p mut dyn FnMut(&UpkeepReport) -> ControlFlow<()>,
    stopped: bool,
}

impl Running<'_> {
    fn ask(&mut self) -> ControlFlow<()> {
        self.stopped |= (self.progress)(&self.report).is_break();
        if self.stopped { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }

    fn tenant(&mut self, scope: &Scope, upkeep: &Upkeep) -> Result<()> {
        if self.stopped {
            return Ok(());
        }
        self.report.tenants.push(TenantUpkeep { tenant: scope.tenant.to_string(), ..TenantUpkeep::default() });
        if let Some(rules) = &upkeep.retention {
            let done = retention::retain(scope, rules, |done| self.says(|tenant| tenant.retention = Some(done.clone())))?;
            let _ = self.says(|tenant| tenant.retention = Some(done));
        }
        if let (Some(plan), false) = (&upkeep.archive, self.stopped) {
            let done = archive::archive(scope, plan, |done| self.says(|tenant| tenant.archive = Some(done.clone())))?;
            let _ = self.says(|tenant| tenant.archive = Some(done));
        }
        // Last: the others rely on snapshots.
        if let (Some(age), false) = (upkeep.snapshot_age, self.stopped) {
            clean_up::expire(scope, age, |done| self.says(|tenant| tenant.snapshots_expired = done.expired))?;
        }
        Ok(())
    }

    /// Notes what was done for the current tenant, and asks whether to go on.
    fn says(&mut self, note: impl FnOnce(&mut TenantUpkeep)) -> ControlFlow<()> {
        self.report.tenants.last_mut().map(note);
        self.ask()
    }

    fn files(&mut self, scope: &Scope, upkeep: &Upkeep) -> Result<()> {
        let mut after = Some(0);
        while let (Some(aggregate), false) = (after, self.stopped) {
            let (deleted, next) = scope.engine().sweep_archive(aggregate)?;
            self.report.archived_rows_deleted += deleted;
            after = next;
            let _ = self.ask();
        }
        self.report.archived_rows_unknown = scope.engine().unknown_archived()?;
        if upkeep.compact && !self.stopped {
            let before = self.report.pages_given_back;
            space::compact(scope, |done| {
                self.report.pages_given_back = before + done.done;
                self.ask()
            })?;
        }
        let mut left = u64::from(upkeep.compact);
        while left > 0 && !self.stopped {
            let (given_back, more) = scope.engine().compact_archive()?;
            self.report.pages_given_back += given_back;
            left = if given_back == 0 { 0 } else { more };
            let _ = self.ask();
        }
        Ok(())
    }
}

/// Upkeep that runs on a schedule. Dropping it stops the thread and waits for it; it also ends when the store is closed.
pub struct UpkeepTask {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    stopped: bool,
    runs: u64,
    last: Option<UpkeepReport>,
    failure: Option<String>,
}

impl UpkeepTask {
    /// How often this schedule has done its upkeep.
    pub fn runs(&self) -> u64 {
        sync::lock(&self.shared.state).runs
    }

    /// What the last run did, or the one that is under way has done so far.
    pub fn last_report(&self) -> Option<UpkeepReport> {
        sync::lock(&self.shared.state).last.clone()
    }

    /// Why the last run failed, if it did. It is tried again within the hour.
    pub fn last_failure(&self) -> Option<String> {
        sync::lock(&self.shared.state).failure.clone()
    }

    /// Whether the thread has ended, because the store is closed.
    pub fn has_ended(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }
}

impl fmt::Debug for UpkeepTask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UpkeepTask").field("runs", &self.runs()).finish_non_exhaustive()
    }
}

impl Drop for UpkeepTask {
    fn drop(&mut self) {
        sync::lock(&self.shared.state).stopped = true;
        self.shared.changed.notify_all();
        if let Some(thread) = self.thread.take() {
            // A panic of the thread was already reported by the panic hook.
            let _ = thread.join();
        }
    }
}

/// Starts the schedule on its own thread. The time of the last run is kept in the file, so an application that is restarted
/// every day still does it once a week.
pub(crate) fn start(scope: &Scope, upkeep: Upkeep) -> Result<UpkeepTask> {
    if scope.engine().is_read_only() {
        return Err(Error::new(ErrorKind::ReadOnly, "the store was opened for reading"));
    }
    let shared = Arc::new(Shared::default());
    let (log, of_thread) = (Arc::downgrade(&scope.log), shared.clone());
    let thread = std::thread::Builder::new()
        .name("foldlog-upkeep".to_owned())
        .spawn(move || run(&log, &upkeep, &of_thread))
        .map_err(|error| Error::new(ErrorKind::Io, "the upkeep thread cannot be started").caused_by(error))?;
    Ok(UpkeepTask { shared, thread: Some(thread) })
}

fn run(log: &Weak<Log>, upkeep: &Upkeep, shared: &Shared) {
    loop {
        let Some(open) = log.upgrade() else { return };
        let done = maintain_if_due(open, log, upkeep, shared);
        let mut state = sync::lock(&shared.state);
        let wait = pause(upkeep.every, done.is_err());
        match done {
            Ok(None) => {}
            Ok(Some(report)) => {
                state.runs += u64::from(report.finished);
                state.last = Some(report);
                state.failure = None;
            }
            Err(error) => state.failure = Some(error.to_string()),
        }
        let state = sync::wait_while(&shared.changed, state, wait, |state| !state.stopped);
        if state.stopped {
            return;
        }
    }
}

/// How long to wait before the next look. `every` has a lower bound.
fn pause(every: Duration, has_failed: bool) -> Duration {
    every.min(if has_failed { AFTER_FAILURE } else { LOOK_EVERY })
}

/// `None` if the last run was not long ago. Two processes may do it at once; each finds less to do.
fn maintain_if_due(open: Arc<Log>, log: &Weak<Log>, upkeep: &Upkeep, shared: &Shared) -> Result<Option<UpkeepReport>> {
    let scope = Scope { log: open, tenant: DEFAULT_TENANT.into() };
    let last = scope.engine().maintained_at()?;
    if !clean_up::is_due(last, scope.options().clock.now_micros(), upkeep.every) {
        return Ok(None);
    }
    maintain(&scope, upkeep, &mut |report| {
        let mut state = sync::lock(&shared.state);
        state.last = Some(report.clone());
        // Without another handle only this run keeps the store open.
        if state.stopped || log.strong_count() <= OWN_HANDLES { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    })
    .map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_looks_every_minute_and_tries_again_within_the_hour() {
        let (minute, hour) = (Duration::from_secs(60), Duration::from_secs(3_600));
        assert_eq!((pause(WEEK, false), pause(WEEK, true)), (minute, hour));
        for every in [clean_up::SHORTEST, Duration::from_secs(59)] {
            assert_eq!((pause(every, false), pause(every, true)), (every, every));
        }
    }
}
