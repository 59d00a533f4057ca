//! How far the readers of the log have come, and so which events a purge may remove.

use crate::model::error::Result;
use crate::sqlite::tables::events::position_of;
use crate::sqlite::tables::{deliveries, subscriptions};
use crate::sqlite::transaction::View;
use crate::storage::delivery::Checkpoint;

/// A subscription, a projection or an outbox.
pub(crate) struct Reader {
    pub(crate) name: String,
    pub(crate) all_tenants: bool,
    id: i64,
    /// Every event up to here is done, except those with rows in `deliveries`.
    position: u64,
}

impl Reader {
    fn of(checkpoint: Checkpoint) -> Reader {
        // A rebuild needs events that the current tables already have.
        let building = checkpoint.rebuild_version.and(checkpoint.rebuild_position).unwrap_or(u64::MAX);
        Reader {
            all_tenants: checkpoint.identity.tenant.is_empty(),
            id: checkpoint.id,
            position: checkpoint.position.min(building),
            name: checkpoint.identity.name,
        }
    }

    /// The version up to which it has passed an aggregate's events, of those from version `removed + 1` to `through`.
    pub(crate) fn passed(&self, view: &View<'_>, aggregate: i64, removed: u64, through: u64) -> Result<u64> {
        let first = position_of(view, aggregate, removed + 1)?.unwrap_or(0);
        // Rows before the first existing event are dead letters whose events were removed. Nothing can be kept for
        // them.
        let position = match deliveries::first_of(view, self.id, aggregate, first)? {
            Some(undelivered) => self.position.min(undelivered.saturating_sub(1)),
            None => self.position,
        };
        match position_of(view, aggregate, through)? {
            // The usual case, which needs no look at the other events: positions rise with versions.
            Some(last) if last <= position => Ok(through),
            _ => through_position(view, aggregate, removed, through, position),
        }
    }
}

/// All readers of a tenant's events, in the order of their names. A damaged one is an error, because nobody knows what
/// it needs.
pub(crate) fn readers(view: &View<'_>, tenant: &str) -> Result<Vec<Reader>> {
    let mut readers = Vec::new();
    for stored in subscriptions::all(view)? {
        let checkpoint = stored.checked()?;
        if checkpoint.identity.tenant.is_empty() || checkpoint.identity.tenant == tenant {
            readers.push(Reader::of(checkpoint));
        }
    }
    readers.sort_by(|one, other| (&one.name, !one.all_tenants).cmp(&(&other.name, !other.all_tenants)));
    Ok(readers)
}

/// The version up to which all events of an aggregate are at this position or before; `after` if none is.
pub(super) fn through_position(view: &View<'_>, aggregate: i64, after: u64, through: u64, position: u64) -> Result<u64> {
    // Positions rise with versions.
    let (mut low, mut high) = (after, through);
    while low < high {
        let middle = low + (high - low).div_ceil(2);
        match position_of(view, aggregate, middle)? {
            Some(found) if found <= position => low = middle,
            _ => high = middle - 1,
        }
    }
    Ok(low)
}
