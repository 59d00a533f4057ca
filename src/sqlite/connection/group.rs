//! Group commit: appends of several threads share a transaction.
//!
//! A thread that finds the writer in use puts its append in a queue. The first in the queue waits for the writer, carries
//! out all that joined meanwhile, each in a savepoint of its own, and commits once. So each append has its own result and
//! is atomic, and all wait for one sync of the disk. A thread that is alone never comes here.

use std::cell::Cell;
use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::database::{Database, given_up};
use super::open::Sync;
use crate::metrics::{self, Timer};
use crate::model::error::Result;
use crate::sqlite::transaction::Writing;
use crate::storage::append::AppendOutcome;
use crate::sync::lock;

/// A transaction takes no further append once it has this many events, so that nobody waits long for others' events.
const MOST_EVENTS: usize = 1_000;

/// Appends in an open transaction.
type Append = dyn Fn(&Writing<'_>) -> Result<AppendOutcome> + Send + std::marker::Sync;

/// An append that any thread can carry out.
pub(crate) struct QueuedAppend {
    pub(crate) events: usize,
    pub(crate) append: Box<Append>,
}

/// The appends that wait for the writer. While there are any, exactly the first one's thread is told so.
#[derive(Default)]
pub(super) struct Queue(Mutex<VecDeque<Arc<Job>>>);

struct Job {
    queued: QueuedAppend,
    asked: Timer,
    step: Mutex<Step>,
    changed: Condvar,
}

/// What a job's thread is told.
enum Step {
    Wait,
    /// It is the first in the queue: carry out all that wait.
    First,
    /// The shared transaction was lost before its commit: append alone.
    Alone,
    Done(Result<AppendOutcome>),
}

impl Database {
    /// Runs an append in a transaction of its own, or together with others if it has to wait. `queued` makes the same
    /// append for another thread.
    pub(crate) fn write_in_group(
        &self,
        alone: impl Fn(&Writing<'_>) -> Result<AppendOutcome>,
        queued: impl FnOnce() -> QueuedAppend,
    ) -> Result<AppendOutcome> {
        // Nobody overtakes those that wait.
        if let Some(turn) = self.turn_if_free(|| self.queue.is_empty())? {
            return self.write_on(turn, Sync::AsOpened, alone);
        }
        let job =
            Arc::new(Job { queued: queued(), asked: Timer::start(), step: Mutex::new(Step::Wait), changed: Condvar::new() });
        let mut until = Instant::now().checked_add(self.opening.busy_timeout);
        self.queue.join(&job);
        loop {
            match job.wait(until) {
                Step::First => self.append_all(&job, until)?,
                Step::Done(result) => return result,
                Step::Alone => return self.write(alone),
                Step::Wait if self.queue.leave(&job) => return Err(given_up()),
                // Somebody is just carrying it out.
                Step::Wait => until = None,
            }
        }
    }

    /// Carries out the first job, and those that joined the queue before the writer was free. Each is told its result.
    fn append_all(&self, first: &Arc<Job>, until: Option<Instant>) -> Result<()> {
        let patience = until.map_or(Duration::MAX, |until| until.saturating_duration_since(Instant::now()));
        let mut turn = self.wait_for_writer_up_to(patience).inspect_err(|_| {
            self.queue.leave(first);
        })?;
        // Each job reports how long it waited.
        turn.asked = Timer::off();
        let group = Group(self.queue.take());
        let is_lost = Cell::new(false);
        let done = self.write_on(turn, Sync::AsOpened, |writing| {
            let steps = group.0.iter().map(|job| job.run(writing)).collect::<Result<Vec<_>>>();
            steps.inspect_err(|_| is_lost.set(true))
        });
        match done {
            Ok(steps) => group.0.iter().zip(steps).for_each(|(job, step)| job.tell(step)),
            Err(_) if is_lost.get() => {}
            Err(error) => group.0.iter().for_each(|job| job.tell(Step::Done(Err(error.shared())))),
        }
        Ok(())
    }
}

/// Jobs that are being carried out. Those that were told nothing when it is dropped append alone.
struct Group(Vec<Arc<Job>>);

impl Drop for Group {
    fn drop(&mut self) {
        self.0.iter().for_each(|job| job.tell_if_nothing(Step::Alone));
    }
}

impl Job {
    /// Appends in the open transaction. Fails if the transaction is lost.
    fn run(&self, writing: &Writing<'_>) -> Result<Step> {
        if let Some(waited) = self.asked.elapsed() {
            metrics::waited_to_write(waited);
        }
        writing.apart(|| (self.queued.append)(writing)).map(Step::Done)
    }

    fn tell(&self, step: Step) {
        *lock(&self.step) = step;
        self.changed.notify_one();
    }

    fn tell_if_nothing(&self, step: Step) {
        let mut told = lock(&self.step);
        if matches!(*told, Step::Wait) {
            *told = step;
            self.changed.notify_one();
        }
    }

    /// Waits until the job's thread is told something; [`Step::Wait`] if that takes too long.
    fn wait(&self, until: Option<Instant>) -> Step {
        let mut step = lock(&self.step);
        while matches!(*step, Step::Wait) {
            let left = until.map_or(Duration::MAX, |until| until.saturating_duration_since(Instant::now()));
            if left.is_zero() {
                break;
            }
            step = self.changed.wait_timeout(step, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        std::mem::replace(&mut step, Step::Wait)
    }
}

impl Queue {
    pub(super) fn is_empty(&self) -> bool {
        lock(&self.0).is_empty()
    }

    fn join(&self, job: &Arc<Job>) {
        let mut jobs = lock(&self.0);
        jobs.push_back(job.clone());
        if jobs.len() == 1 {
            job.tell(Step::First);
        }
    }

    /// Takes a job out; `false` if somebody has taken it to carry it out.
    fn leave(&self, job: &Arc<Job>) -> bool {
        let mut jobs = lock(&self.0);
        let Some(index) = jobs.iter().position(|other| Arc::ptr_eq(other, job)) else { return false };
        jobs.remove(index);
        if let (0, Some(first)) = (index, jobs.front()) {
            first.tell(Step::First);
        }
        true
    }

    /// Takes the jobs that come next.
    fn take(&self) -> Vec<Arc<Job>> {
        let mut jobs = lock(&self.0);
        let mut events = 0;
        let mut taken = Vec::with_capacity(jobs.len());
        while events < MOST_EVENTS
            && let Some(job) = jobs.pop_front()
        {
            events += job.queued.events;
            taken.push(job);
        }
        if let Some(first) = jobs.front() {
            first.tell(Step::First);
        }
        taken
    }
}
