//! Rebuilds a projection's tables next to the old ones.

use std::ops::ControlFlow;

use serde::Serialize;

use super::ProjectionRunner;
use super::feed::{Feed, PAGE};
use crate::model::error::Result;
use crate::model::place::Position;
use crate::storage::delivery::Applied;

impl ProjectionRunner {
    /// Builds new tables next to the old ones, which stay in use until the new ones are ready. Appends go on meanwhile.
    /// The last transaction applies the newest events, puts the new tables in place and moves the checkpoint.
    ///
    /// `progress` is called after each transaction and can cancel. The next rebuild of this version then continues
    /// where this one stopped, also if the process was killed.
    ///
    /// # Errors
    /// [`ErrorKind::Handler`](crate::ErrorKind::Handler) with the position if `apply` failed; the old tables are
    /// unchanged. [`ErrorKind::ProjectionOutdated`](crate::ErrorKind::ProjectionOutdated) if a newer version has built
    /// the tables or has begun to: call [`reset`](ProjectionRunner::reset) first to go back on purpose.
    pub fn rebuild(&self, progress: impl FnMut(&RebuildProgress) -> ControlFlow<()>) -> Result<RebuildProgress> {
        self.rebuild_parts(progress).map_err(|error| error.during("rebuild projection"))
    }

    fn rebuild_parts(&self, mut progress: impl FnMut(&RebuildProgress) -> ControlFlow<()>) -> Result<RebuildProgress> {
        let (spec, engine) = (&self.definition.spec, self.scope.engine());
        let create = self.definition.create();
        let apply = self.definition.apply(&self.scope, "fix apply and rebuild again; the old tables are unchanged");
        let (mut feed, mut events) = (Feed::new(), 0);
        loop {
            if feed.is_empty() {
                feed.fill(engine.next_for_rebuild(spec, PAGE)?);
            }
            match engine.rebuild_page(spec, &feed.page, feed.limit, &create, &*apply)? {
                Applied::Taken(part) => {
                    feed.committed(part.taken);
                    events += part.taken.events as u64 + part.more;
                    let done = RebuildProgress {
                        position: Position::new(part.taken.reached),
                        last_position: Position::new(part.last),
                        events,
                        finished: part.finished,
                    };
                    if progress(&done).is_break() || done.finished {
                        self.scope.log.appended.raise();
                        return Ok(done);
                    }
                }
                Applied::Moved | Applied::LeadLost => feed.forget(),
                Applied::Failed { before, .. } if feed.failed_after(before) => {}
                Applied::Failed { error, .. } => return Err(error),
            }
        }
    }

    /// Deletes the projection and its tables. It no longer runs inside this process's appends. The appends of another
    /// process that still runs it fail, see [`Store::end_inline`](crate::Store::end_inline).
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`](crate::ErrorKind::NotFound) if it was removed before;
    /// [`ErrorKind::ProjectionOutdated`](crate::ErrorKind::ProjectionOutdated) if the tables are of a newer version; if
    /// the file cannot be written.
    pub fn remove(&self) -> Result<()> {
        let spec = &self.definition.spec;
        let (removed, _) = self.scope.end_inline(&spec.identity, || self.scope.engine().drop_projection(spec));
        self.scope.log.appended.raise();
        match removed.map_err(|error| error.during("remove projection"))? {
            true => Ok(()),
            false => Err(crate::storage::delivery::unknown(&spec.identity.name).during("remove projection")),
        }
    }
}

/// The progress of a rebuild.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct RebuildProgress {
    /// The new tables hold every event up to here.
    pub position: Position,
    /// The newest event of the log.
    pub last_position: Position,
    /// Events applied so far by this call.
    pub events: u64,
    /// Whether the new tables are in place.
    pub finished: bool,
}
