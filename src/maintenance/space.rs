//! Gives free pages back to the file system.

use std::ops::ControlFlow;

use super::checkpoint;
use crate::log::scope::Scope;
use crate::model::error::Result;
use crate::storage::upkeep::CompactProgress;

pub(crate) fn compact(scope: &Scope, mut progress: impl FnMut(CompactProgress) -> ControlFlow<()>) -> Result<CompactProgress> {
    let total = scope.engine().free_pages()?;
    let mut reached = CompactProgress { done: 0, total, finished: total == 0 };
    while !reached.finished {
        let (given_back, left) = scope.engine().compact()?;
        let done = reached.done + given_back;
        reached = CompactProgress { done, total: done + left, finished: left == 0 };
        if progress(reached).is_break() || given_back == 0 {
            break;
        }
    }
    // Only this makes the file shorter.
    checkpoint::checkpoint(scope)?;
    Ok(reached)
}
