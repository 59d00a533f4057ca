//! Recreates the indexes on request.

use std::ops::ControlFlow;

use serde::Serialize;

use crate::log::scope::Scope;
use crate::model::error::Result;

/// The progress of a reindex.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct ReindexProgress {
    /// Events already in the new indexes.
    pub done: u64,
    /// Events in the file.
    pub total: u64,
}

pub(crate) fn reindex(scope: &Scope, mut progress: impl FnMut(ReindexProgress) -> ControlFlow<()>) -> Result<bool> {
    scope.engine().reindex(|reached| progress(ReindexProgress { done: reached.events, total: reached.total }).is_continue())
}
