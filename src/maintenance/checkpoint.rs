//! The WAL checkpoint: empties the write-ahead log on request.

use serde::Serialize;

use crate::log::gauges;
use crate::log::scope::Scope;
use crate::metrics::{self, Timer};
use crate::model::error::Result;

/// The result of a WAL checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct WalCheckpoint {
    /// Whether the write-ahead log is empty now. If `false`, a reader still uses an older state of the file, or another
    /// process was writing.
    pub complete: bool,
    /// Pages (4 KiB each) that are only in the write-ahead log.
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
    // A failure to refresh the gauges does not affect the WAL checkpoint.
    let _ = gauges::refresh(scope);
    // A store in memory has no write-ahead log.
    let (complete, pages_left) = done?.map_or((true, 0), |frames| (frames.complete, frames.left));
    Ok(WalCheckpoint { complete, pages_left })
}
