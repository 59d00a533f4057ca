//! Group commit: appends of several threads share a transaction.
//!
//! A thread that finds the writer in use puts its append in a queue. The first in the queue waits for the writer, carries
//! out all that joined meanwhile, each in a savepoint of its own, and commits once. So each append has its own result and
//! is atomic, and all wait for one sync of the disk. A thread that is alone never comes here.

use std::cell::Cell;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::database::{Database, given_up};
use super::open::Sync;
use super::queue::{Job, QueuedAppend, Step};
use crate::metrics::Timer;
use crate::model::error::Result;
use crate::sqlite::transaction::Writing;
use crate::storage::append::AppendOutcome;

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
        let job = Arc::new(Job::new(queued()));
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
