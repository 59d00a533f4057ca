//! What an append would do to the tables of inline projections, without doing it.

use std::sync::Arc;

use crate::model::error::Result;
use crate::sqlite::Database;
use crate::sqlite::tables::changes;
use crate::sqlite::transaction::Writing;
use crate::sqlite::verbs::projections::{InlineProjection, run_inline};
use crate::storage::delivery::RowChange;

impl Database {
    /// Appends and projects in a transaction that is rolled back: what `append` gave, and which rows it changed.
    pub(crate) fn rehearse<T>(
        &self,
        projections: &[Arc<InlineProjection>],
        append: impl FnOnce(&Writing<'_>) -> Result<T>,
    ) -> Result<(T, Vec<RowChange>)> {
        self.write_and_roll_back(|writing| {
            // What other processes appended without the projections is not this append's doing.
            run_inline(writing, projections)?;
            let tables: Vec<String> = projections.iter().flat_map(|projection| projection.spec.tables.iter().cloned()).collect();
            changes::watch(writing, &tables)?;
            let appended = append(writing)?;
            Ok((appended, changes::noted(writing)?))
        })
    }
}
