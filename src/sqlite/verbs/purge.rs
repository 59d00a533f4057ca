//! Purging: removes old events for good, from several aggregates in each transaction.

use super::lookup;
use crate::model::error::Result;
use crate::model::place::Version;
use crate::sqlite::Database;
use crate::sqlite::tables::aggregates::{self, AggregateRow, Removal};
use crate::sqlite::tables::block_summaries::Removed;
use crate::sqlite::tables::events::{self, Owner};
use crate::sqlite::tables::{event_writes, snapshots};
use crate::sqlite::transaction::Writing;
use crate::sqlite::verbs::readers::{Reader, readers};
use crate::storage::upkeep::{PurgePlan, Purged};

/// Aggregates purged in one transaction, so that none holds the write lock for long.
const AGGREGATES_AT_ONCE: usize = 64;

impl Database {
    /// Purges the next aggregates of a tenant, after a number. Returns what it did, and the number to continue from:
    /// `None` at the end. A dry run does all the work and is rolled back.
    pub(crate) fn purge(&self, tenant: &str, plan: &PurgePlan, after: i64) -> Result<(Purged, Option<i64>)> {
        let work = |writing: &Writing<'_>| {
            let readers = if plan.pass_readers { Vec::new() } else { readers(writing, tenant)? };
            let mut pass = Pass { writing, plan, readers, removed: Removed::default(), purged: Purged::default(), is_cut: false };
            let next = pass.next_aggregates(tenant, after)?;
            let Pass { removed, purged, .. } = pass;
            removed.subtract(writing)?;
            Ok((purged, next))
        };
        match plan.dry_run {
            true => self.write_and_roll_back(work),
            false => self.write(work),
        }
    }
}

/// One transaction of a purge.
struct Pass<'a> {
    writing: &'a Writing<'a>,
    plan: &'a PurgePlan,
    /// The readers that may still need events.
    readers: Vec<Reader>,
    removed: Removed,
    purged: Purged,
    /// Whether more of the aggregate is to be purged.
    is_cut: bool,
}

impl Pass<'_> {
    fn next_aggregates(&mut self, tenant: &str, after: i64) -> Result<Option<i64>> {
        if let Some((aggregate_type, Some(aggregate_id))) = &self.plan.only {
            if let Some((row, owner)) = lookup::find(self.writing, tenant, aggregate_type, aggregate_id)? {
                self.purge(&owner, &row)?;
            }
            return Ok(self.is_cut.then_some(after));
        }
        let at_once = if self.plan.at_once.is_some() { 1 } else { AGGREGATES_AT_ONCE };
        let page = aggregates::page_of_all(self.writing, after, at_once)?;
        let next = page.last().map(|(_, _, number)| *number).filter(|_| page.len() == at_once);
        for (aggregate_type, aggregate_id, number) in page {
            let aggregate_type = self.writing.aggregate_type_by_id(aggregate_type)?;
            let is_asked_for = self.plan.only.as_ref().is_none_or(|(name, _)| **name == *aggregate_type.name);
            if &*aggregate_type.tenant == tenant && is_asked_for {
                let owner = Owner::new(number, aggregate_type, &aggregate_id);
                let row = aggregates::at_number(self.writing, number).map_err(|error| error.of(&owner.reference()))?;
                self.purge(&owner, &row)?;
            }
        }
        Ok(if self.is_cut { Some(after) } else { next })
    }

    /// Purges one aggregate.
    fn purge(&mut self, owner: &Owner, row: &AggregateRow) -> Result<()> {
        let removed = row.removal.purged_through;
        let old_through = self.old_through(owner, row)?;
        if old_through <= removed {
            return Ok(());
        }
        let covered = snapshots::covered_through(self.writing, row.id, owner.identity)?;
        let purgeable = if self.plan.break_replay { old_through } else { old_through.min(covered) };
        if purgeable < old_through {
            let kept = old_through - purgeable.max(removed);
            self.purged.kept.push((owner.reference(), Version::new(old_through), kept));
        }
        let through = if purgeable > removed { self.passed(row.id, removed, purgeable)? } else { removed };
        if through <= removed {
            return Ok(());
        }
        let through = self.cut(removed, through);
        let of = |error: crate::model::error::Error| error.of(&owner.reference());
        let (mut events, mut after) = (0, removed);
        while after < through {
            let (part, range) = row.removal.part_of((after, through), false);
            events += event_writes::purge(self.writing, part, owner, range, &mut self.removed).map_err(of)?;
            after = range.1;
        }
        if through > covered && !self.is_cut {
            self.purged.broken.push(owner.reference());
        }
        aggregates::note_removal(self.writing, row.id, Removal { purged_through: through, ..row.removal })?;
        self.purged.events_removed += events;
        self.purged.aggregates_purged += u64::from(!self.is_cut);
        Ok(())
    }

    /// The version up to which an aggregate's events are old. Records old ones that stay behind a younger one.
    fn old_through(&mut self, owner: &Owner, row: &AggregateRow) -> Result<u64> {
        let before = self.plan.before;
        let old_through = self.first_old(row)?;
        // Those that were archived are not looked at.
        let after = old_through.max(row.removal.archived_through);
        if after >= row.version {
            return Ok(old_through);
        }
        let Some(last) = events::last_older(self.writing, row.id, after, row.version, before)? else {
            return Ok(old_through);
        };
        if self.plan.past_younger {
            return Ok(last);
        }
        let blocked = events::count_older(self.writing, row.id, after, last, before)?;
        self.purged.behind_younger.push((owner.reference(), Version::new(old_through + 1), blocked));
        Ok(old_through)
    }

    /// The version up to which all events are old enough.
    fn first_old(&self, row: &AggregateRow) -> Result<u64> {
        let (mut after, end) = (row.removal.purged_through, row.version);
        while after < end {
            let (part, range) = row.removal.part_of((after, end), false);
            let old = events::older_through(self.writing, part, row.id, range, self.plan.before)?;
            if old < range.1 {
                return Ok(old);
            }
            after = range.1;
        }
        Ok(after)
    }

    /// The version up to which this transaction removes events. What stays is reported by the last one for the aggregate.
    fn cut(&mut self, removed: u64, through: u64) -> u64 {
        let most = self.plan.at_once.map_or(through, |events| removed.saturating_add(events).min(through));
        if most < through {
            self.is_cut = true;
            self.purged = Purged::default();
        }
        most
    }

    /// The version up to which every reader has passed an aggregate's events, of those from version `removed + 1` to
    /// `through`. Records what is held back.
    fn passed(&mut self, aggregate: i64, removed: u64, through: u64) -> Result<u64> {
        let mut passed_by_all = through;
        for reader in &self.readers {
            let passed = reader.passed(self.writing, aggregate, removed, through)?;
            if passed < through {
                self.purged.held_back_by.push((reader.name.clone(), reader.all_tenants, through - passed));
                passed_by_all = passed_by_all.min(passed);
            }
        }
        self.purged.events_held_back += through - passed_by_all;
        Ok(passed_by_all)
    }
}
