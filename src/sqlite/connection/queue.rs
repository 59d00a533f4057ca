//! The appends that wait for the writer, see [`super::group`].

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

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

pub(super) struct Job {
    queued: QueuedAppend,
    asked: Timer,
    step: Mutex<Step>,
    changed: Condvar,
}

/// What a job's thread is told.
pub(super) enum Step {
    Wait,
    /// It is the first in the queue: carry out all that wait.
    First,
    /// The shared transaction was lost before its commit: append alone.
    Alone,
    Done(Result<AppendOutcome>),
}

impl Job {
    pub(super) fn new(queued: QueuedAppend) -> Job {
        Job { queued, asked: Timer::start(), step: Mutex::new(Step::Wait), changed: Condvar::new() }
    }

    /// Appends in the open transaction. Fails if the transaction is lost.
    pub(super) fn run(&self, writing: &Writing<'_>) -> Result<Step> {
        if let Some(waited) = self.asked.elapsed() {
            metrics::waited_to_write(waited);
        }
        writing.apart(|| (self.queued.append)(writing)).map(Step::Done)
    }

    pub(super) fn tell(&self, step: Step) {
        *lock(&self.step) = step;
        self.changed.notify_one();
    }

    pub(super) fn tell_if_nothing(&self, step: Step) {
        let mut told = lock(&self.step);
        if matches!(*told, Step::Wait) {
            *told = step;
            self.changed.notify_one();
        }
    }

    /// Waits until the job's thread is told something; [`Step::Wait`] if that takes too long.
    pub(super) fn wait(&self, until: Option<Instant>) -> Step {
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

    pub(super) fn join(&self, job: &Arc<Job>) {
        let mut jobs = lock(&self.0);
        jobs.push_back(job.clone());
        if jobs.len() == 1 {
            job.tell(Step::First);
        }
    }

    /// Takes a job out; `false` if somebody has taken it to carry it out.
    pub(super) fn leave(&self, job: &Arc<Job>) -> bool {
        let mut jobs = lock(&self.0);
        let Some(index) = jobs.iter().position(|other| Arc::ptr_eq(other, job)) else { return false };
        jobs.remove(index);
        if let (0, Some(first)) = (index, jobs.front()) {
            first.tell(Step::First);
        }
        true
    }

    /// Takes the jobs that come next.
    pub(super) fn take(&self) -> Vec<Arc<Job>> {
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
