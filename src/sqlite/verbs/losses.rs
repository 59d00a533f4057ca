//! Losses of a repair, and their acceptance.

use crate::model::error::{Error, ErrorKind, Result};
use crate::sqlite::Database;
use crate::sqlite::tables::{aggregates, losses};

impl Database {
    /// Accepts that an aggregate of a tenant, or every one of it, ends with the last event that a repair found. Returns of how
    /// many aggregates the last events were lost.
    pub(crate) fn accept_losses(&self, tenant: &str, only: Option<(&str, &str)>) -> Result<u64> {
        self.write_durably(|writing| {
            let Some((aggregate_type, aggregate_id)) = only else { return losses::accept(writing, tenant, None) };
            let known = writing.aggregate_type(tenant, aggregate_type)?;
            let number = known.map(|known| aggregates::number(writing, known.id, aggregate_id)).transpose()?.flatten();
            let number = number.ok_or_else(|| Error::new(ErrorKind::NotFound, "the aggregate has no events"))?;
            losses::accept(writing, tenant, Some(number))
        })
    }
}
