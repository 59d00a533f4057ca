//! Which events of aggregates are no longer in the main file.

use super::lookup::find;
use crate::model::error::Result;
use crate::sqlite::Database;
use crate::sqlite::tables::aggregates::{self, Removal};
use crate::sqlite::tables::events::Owner;
use crate::storage::lookup::{Removed, RemovedOf};

impl Database {
    pub(crate) fn removed(&self, tenant: &str, aggregate_type: &str, aggregate_id: &str) -> Result<Removed> {
        let row = self.read(|view| find(view, tenant, aggregate_type, aggregate_id))?;
        Ok(row.map_or(Removed::default(), |(row, _)| row.removal.into()))
    }

    pub(crate) fn removed_aggregates(&self, tenant: &str, limit: usize) -> Result<Vec<RemovedOf>> {
        self.read(|view| {
            let (mut found, mut after) = (Vec::new(), 0);
            while found.len() < limit
                && let Some(number) = aggregates::next_removed(view, after)?
            {
                let owner = Owner::by_number(view, number)?;
                if &*owner.reference().tenant == tenant {
                    let row = aggregates::at_number(view, number)?;
                    let (aggregate, version) = (owner.reference(), row.version.into());
                    found.push(RemovedOf { aggregate, version, removed: row.removal.into() });
                }
                after = number;
            }
            Ok(found)
        })
    }
}

impl From<Removal> for Removed {
    fn from(removal: Removal) -> Removed {
        Removed { purged_through: removal.purged_through.into(), archived_through: removal.archived_through.into() }
    }
}
