//! Rehearsals: what an append would do to the tables of inline projections.

use std::sync::Arc;

use crate::model::error::Result;
use crate::sqlite::Database;
use crate::sqlite::tables::changes;
use crate::sqlite::transaction::Writing;
use crate::sqlite::verbs::projections::{InlineProjection, run_inline};
use crate::storage::delivery::RowChange;

impl Database {
    /// Appends and projects in a transaction that is rolled back. Returns the result of `append` and the rows that it
    /// changed.
    pub(super) fn rehearse_in<T>(
        &self,
        projections: &[Arc<InlineProjection>],
        append: impl FnOnce(&Writing<'_>) -> Result<T>,
    ) -> Result<(T, Vec<RowChange>)> {
        self.write_and_roll_back(|writing| {
            // Applies what other processes appended without the projections, so that it does not count as this append's
            // change.
            run_inline(writing, projections)?;
            let tables: Vec<String> = projections.iter().flat_map(|projection| projection.spec.tables.iter().cloned()).collect();
            changes::watch(writing, &tables)?;
            let appended = append(writing)?;
            Ok((appended, changes::noted(writing)?))
        })
    }
}
