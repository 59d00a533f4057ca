//! Emptying the write-ahead log on request.

use serde::Serialize;

use crate::log::gauges;
use crate::log::scope::Scope;
use crate::metrics::{self, Timer};
use crate::model::error::Result;

/// What a checkpoint did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Checkpoint {
    /// Whether the write-ahead log is empty now. `false`: a reader holds on to an older state of the file, or another
    /// process was writing.
    pub complete: bool,
    /// Pages of 4 KiB that are still in the log only.
    pub pages_left: u64,
}

pub(crate) fn checkpoint(scope: &Scope) -> Result<Checkpoint> {
    let timer = Timer::start();
    let done = scope.database().checkpoint();
    match (&done, timer.elapsed()) {
        (Ok(Some(_)), Some(took)) => metrics::checkpointed(took),
        (Err(error), _) => scope.meter().failed("checkpoint", error),
        _ => {}
    }
    // The gauges' own failure changes nothing about the checkpoint.
    let _ = gauges::refresh(scope);
    // A store in memory has no such log.
    Ok(done?.map_or(Checkpoint { complete: true, pages_left: 0 }, |frames| Checkpoint {
        complete: frames.complete,
        pages_left: frames.left,
    }))
}
