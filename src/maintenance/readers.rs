//! How far the readers of the log have come: what may be taken from it without their missing it.

use crate::model::error::Result;
use crate::sqlite::checkpoints::{self, Checkpoint};
use crate::sqlite::{View, deliveries, places};

/// A subscription, a projection or an outbox.
pub(super) struct Reader {
    pub(super) name: String,
    pub(super) all_tenants: bool,
    id: i64,
    /// Nothing up to here is left to do, but for what `deliveries` holds.
    position: u64,
}

impl Reader {
    fn of(checkpoint: Checkpoint) -> Reader {
        // The tables that are being built need what the ones that serve have long had.
        let building = checkpoint.rebuild_version.and(checkpoint.rebuild_position).unwrap_or(u64::MAX);
        Reader {
            all_tenants: checkpoint.tenant.is_empty(),
            id: checkpoint.id,
            position: checkpoint.position.min(building),
            name: checkpoint.name,
        }
    }

    /// The version through which it has passed an aggregate's events, of those from version `removed + 1` to `through`.
    pub(super) fn passed(&self, view: &View<'_>, aggregate: i64, removed: u64, through: u64) -> Result<u64> {
        let first = places::position_of(view, aggregate, removed + 1)?.unwrap_or(0);
        // Rows before the first event that is there are dead letters of events that are gone: nothing can be kept for them.
        let position = match deliveries::first_of(view, self.id, aggregate, first)? {
            Some(undelivered) => self.position.min(undelivered.saturating_sub(1)),
            None => self.position,
        };
        match places::position_of(view, aggregate, through)? {
            // Most often, and without a look at the others: positions rise with versions.
            Some(last) if last <= position => Ok(through),
            _ => places::through_position(view, aggregate, removed, through, position),
        }
    }
}

/// All readers of a tenant's events.
pub(super) fn readers(view: &View<'_>, tenant: &str) -> Result<Vec<Reader>> {
    Ok(checkpoints::readers(view, tenant)?.into_iter().map(Reader::of).collect())
}
