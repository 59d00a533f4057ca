//! The WAL checkpoint: empties the write-ahead log on request.

use crate::log::gauges;
use crate::log::scope::Scope;
use crate::metrics::{self, Timer};
use crate::model::error::Result;
use crate::storage::upkeep::WalCheckpoint;

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
    Ok(done?.unwrap_or(WalCheckpoint { complete: true, pages_left: 0 }))
}
