//! Building a projection's tables anew beside the old ones.

use std::ops::ControlFlow;

use super::{PAGE, ProjectionRunner, row_of, take};
use crate::error::Result;
use crate::place::Position;
use crate::sqlite::checkpoints;
use crate::sqlite::read_model::{self, Naming};
use crate::sqlite::{Writing, state};

impl ProjectionRunner {
    /// Builds the tables anew beside the old ones, which serve until the new ones are ready; appends go on meanwhile. The
    /// last transaction takes up the newest events, puts the new tables in place and moves the checkpoint.
    ///
    /// `progress` is called after each transaction and can cancel: the next rebuild of this version then goes on from
    /// there, as it does after the process was killed.
    ///
    /// # Errors
    /// [`ErrorKind::Handler`] with the position if `apply` failed; the old tables are as they were.
    pub fn rebuild(&self, mut progress: impl FnMut(&RebuildProgress) -> ControlFlow<()>) -> Result<RebuildProgress> {
        let mut limit = PAGE;
        let mut events = 0;
        let mut nearly_done = self.scope.database().read(state::last_position)?.get() <= PAGE as u64;
        loop {
            let mut failed_after = None;
            let step = |writing: &Writing<'_>| self.rebuild_part(writing, limit, &mut failed_after);
            // What came before the last part is built again if it is lost; that the new tables are in place is not.
            let part = match nearly_done {
                true => self.scope.database().write(step),
                false => self.scope.database().write_in_background(step),
            };
            match part {
                Ok(mut part) => {
                    limit = PAGE;
                    nearly_done = part.last_position.get() - part.position.get() <= PAGE as u64;
                    events += part.events;
                    part.events = events;
                    if progress(&part).is_break() || part.finished {
                        self.scope.log.appended.raise();
                        return Ok(part);
                    }
                }
                // Keep what came before the event at which it failed.
                Err(_) if failed_after.is_some_and(|before| before > 0) => limit = failed_after.unwrap_or(1),
                Err(error) => return Err(error.during("rebuild projection")),
            }
        }
    }

    fn rebuild_part(&self, writing: &Writing<'_>, limit: usize, failed_after: &mut Option<usize>) -> Result<RebuildProgress> {
        let row = row_of(writing, &self.identity)?;
        let version = self.definition.version();
        let naming = Naming { generation: row.generation + 1, shadow: true };
        let position = match (row.rebuild_version, row.rebuild_position) {
            (Some(building), Some(position)) if building == version => position,
            _ => {
                read_model::drop_shadows(writing, &self.definition.tables)?;
                self.definition.create(writing, naming)?;
                0
            }
        };
        let (reached, events) = take(&self.scope, writing, &self.definition, naming, position, limit, failed_after)?;
        let last = state::last_position(writing)?.get();
        let finished = reached >= last;
        if finished {
            read_model::swap(writing, &self.definition.tables)?;
            checkpoints::note_swapped(writing, row.id, version, reached)?;
        } else {
            checkpoints::note_rebuild(writing, row.id, version, reached)?;
        }
        Ok(RebuildProgress { position: Position::new(reached), last_position: Position::new(last), events, finished })
    }
}

/// How far a rebuild has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RebuildProgress {
    /// The new tables hold every event up to here.
    pub position: Position,
    /// The newest event of the log.
    pub last_position: Position,
    /// Events taken so far by this call.
    pub events: u64,
    /// Whether the new tables are in place.
    pub finished: bool,
}
