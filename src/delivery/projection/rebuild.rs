//! Building a projection's tables anew beside the old ones.

use std::ops::ControlFlow;

use super::feed::{Feed, TAIL, Taken};
use super::{ProjectionRunner, row_of};
use serde::Serialize;

use crate::log::query;
use crate::model::error::Result;
use crate::model::place::Position;
use crate::sqlite::checkpoints::{self, Checkpoint};
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
    /// [`ErrorKind::Handler`](crate::ErrorKind::Handler) with the position if `apply` failed; the old tables are as they were.
    pub fn rebuild(&self, mut progress: impl FnMut(&RebuildProgress) -> ControlFlow<()>) -> Result<RebuildProgress> {
        let mut feed = Feed::new();
        let mut events = 0;
        loop {
            let nearly_done = self.read_ahead(&mut feed).map_err(|error| error.during("rebuild projection"))?;
            let step = |writing: &Writing<'_>| self.rebuild_part(writing, &mut feed);
            // What came before the last part is built again if it is lost; that the new tables are in place must not be lost.
            let part = match nearly_done {
                true => self.scope.database().write(step),
                false => self.scope.database().write_in_background(step),
            };
            match part {
                Ok(None) => {}
                Ok(Some((taken, mut part))) => {
                    feed.committed(taken);
                    events += part.events;
                    part.events = events;
                    if progress(&part).is_break() || part.finished {
                        self.scope.log.appended.raise();
                        return Ok(part);
                    }
                }
                Err(_) if feed.rolled_back() => {}
                Err(error) => return Err(error.during("rebuild projection")),
            }
        }
    }

    /// Reads the next events; returns whether little of the log is left behind them, so that the part that
    /// takes them may be the last one. If more is appended meanwhile it is not: then it waits for the disk in vain.
    fn read_ahead(&self, feed: &mut Feed) -> Result<bool> {
        self.scope.database().read(|view| {
            let after = self.built(&row_of(view, &self.identity)?).unwrap_or(0);
            feed.fill(&self.scope, view, &self.definition, after)?;
            Ok(feed.left(state::last_position(view)?.get()) <= TAIL as u64)
        })
    }

    /// How far the tables of this version are built; `None` if they are not there yet.
    fn built(&self, row: &Checkpoint) -> Option<u64> {
        row.rebuild_position.filter(|_| row.rebuild_version == Some(self.definition.version()))
    }

    /// Takes the events at hand; `None` if they are no longer those that come next.
    fn rebuild_part(&self, writing: &Writing<'_>, feed: &mut Feed) -> Result<Option<(Taken, RebuildProgress)>> {
        let row = row_of(writing, &self.identity)?;
        let naming = Naming { generation: row.generation + 1, shadow: true };
        let built = self.built(&row);
        if built.unwrap_or(0) != feed.after {
            return Ok(None);
        }
        if built.is_none() {
            read_model::drop_shadows(writing, &self.definition.tables)?;
            self.definition.create(writing, naming)?;
        }
        let taken = feed.take(&self.scope, writing, &self.definition, naming)?;
        let last = state::last_position(writing)?.get();
        let (reached, more) = match feed.is_all(taken) && feed.left(last) <= TAIL as u64 {
            true => self.take_tail(writing, naming, taken.reached, last)?,
            false => (taken.reached, 0),
        };
        let finished = reached >= last;
        let version = self.definition.version();
        if finished {
            read_model::swap(writing, &self.definition.tables)?;
            checkpoints::note_swapped(writing, row.id, version, reached)?;
        } else {
            checkpoints::note_rebuild(writing, row.id, version, reached)?;
        }
        let events = taken.events as u64 + more;
        let progress = RebuildProgress { position: Position::new(reached), last_position: Position::new(last), events, finished };
        Ok(Some((Taken { reached, ..taken }, progress)))
    }

    /// Takes what was appended since the events were read.
    fn take_tail(&self, writing: &Writing<'_>, naming: Naming, after: u64, last: u64) -> Result<(u64, u64)> {
        let model = self.definition.model(writing, naming);
        let (mut reached, mut events) = (after, 0);
        while reached < last {
            let (tail, scanned) = query::read_after(&self.scope, writing, &self.definition.filter, reached, TAIL)?;
            for event in &tail {
                self.definition.apply(&self.scope, &model, event)?;
            }
            events += tail.len() as u64;
            reached = scanned;
        }
        Ok((reached, events))
    }
}

/// How far a rebuild has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
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
