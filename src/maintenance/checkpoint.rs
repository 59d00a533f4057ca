//! Emptying the write-ahead log on request.

use serde::Serialize;

use crate::log::gauges;
use crate::log::scope::Scope;
use crate::metrics::{self, Timer};
use crate::model::error::Result;

/// What a WAL checkpoint did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct WalCheckpoint {
    /// Whether the write-ahead log is empty now. `false`: a reader holds on to an older state of the file, or another
    /// process was writing.
    pub complete: bool,
    /// Pages of 4 KiB that are still in the log only.
    pub pages_left: u64,
}

pub(crate) fn checkpoint(scope: &Scope) -> Result<WalCheckpoint> {
    let timer = Timer::start();
    let done = scope.engine().checkpoint();
    match (&done, timer.elapsed()) {
        (Ok(Some(_)), Some(took)) => metrics::checkpointed(took),
        (Err(error), _) => scope.meter().failed("checkpoint", error),
        _ => {}
    }
    // The gauges' own failure changes nothing about the checkpoint.
    let _ = gauges::refresh(scope);
    // A store in memory has no such log.
    let (complete, pages_left) = done?.map_or((true, 0), |frames| (frames.complete, frames.left));
    Ok(WalCheckpoint { complete, pages_left })
}
