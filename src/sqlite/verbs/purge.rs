//! Purging: removes old events for good, from several aggregates in each transaction.

use super::lookup;
use crate::model::error::{Error, Result};
use crate::model::place::Version;
use crate::sqlite::Database;
use crate::sqlite::tables::ages;
use crate::sqlite::tables::aggregates::{self, AggregateRow, Removal};
use crate::sqlite::tables::block_changes::Removed;
use crate::sqlite::tables::events::Owner;
use crate::sqlite::tables::removed_ids::{self, RemovedId};
use crate::sqlite::tables::snapshots::{self, Covered};
use crate::sqlite::tables::{event_ids, event_writes};
use crate::sqlite::transaction::{View, Writing};
use crate::sqlite::verbs::readers::{Reader, readers};
use crate::storage::upkeep::{PurgeCandidate, PurgeLimit, PurgePlan, Purged};

/// Aggregates purged in one transaction, so that none holds the write lock for long.
const AGGREGATES_AT_ONCE: usize = 64;
/// Ids of purged events that one transaction looks at.
const IDS_AT_ONCE: usize = 1_024;

impl Database {
    /// The next aggregates of a tenant, after a number, that have events to purge. Also returns the number to continue
    /// from: `None` at the end.
    pub(crate) fn purge_candidates(
        &self,
        tenant: &str,
        plan: &PurgePlan,
        after: i64,
    ) -> Result<(Vec<PurgeCandidate>, Option<i64>)> {
        self.read(|view| {
            let (page, next) = lookup::next_aggregates(view, tenant, plan.only.as_ref(), after, AGGREGATES_AT_ONCE)?;
            let mut candidates = Vec::new();
            for (row, owner) in page {
                candidates.extend(candidate(view, plan, &owner, &row)?);
            }
            Ok((candidates, next))
        })
    }

    /// Purges these aggregates of a tenant in one transaction. A dry run does all the work and is rolled back.
    pub(crate) fn purge(&self, tenant: &str, plan: &PurgePlan, candidates: &[PurgeCandidate]) -> Result<Purged> {
        let work = |writing: &Writing<'_>| {
            let readers = if plan.pass_readers { Vec::new() } else { readers(writing, tenant)? };
            let mut pass = Pass { writing, plan, readers, removed: Removed::default(), purged: Purged::default() };
            candidates.iter().try_for_each(|candidate| pass.purge(candidate))?;
            let Pass { removed, purged, .. } = pass;
            removed.subtract(writing)?;
            Ok(purged)
        };
        match (plan.dry_run, plan.in_background) {
            (true, _) => self.write_and_roll_back(work),
            (false, true) => self.write_in_background(work),
            (false, false) => self.write(work),
        }
    }

    /// Forgets the next ids of events that were purged before, after a position. Returns how many, and the position to
    /// continue from: `None` at the end.
    pub(crate) fn forget_ids(&self, tenant: &str, plan: &PurgePlan, after: u64) -> Result<(u64, Option<u64>)> {
        let work = |writing: &Writing<'_>| {
            let (mut seen, mut last, mut old) = (0, after, Vec::new());
            removed_ids::page(writing, after, IDS_AT_ONCE, |position, removed| {
                (seen, last) = (seen + 1, position);
                old.extend(Some(removed?).filter(|removed| is_meant(removed, tenant, plan)));
                Ok(())
            })?;
            for removed in &old {
                removed_ids::forget(writing, removed.position)?;
                event_ids::forget(writing, removed.owner.aggregate_type.tenant_id, removed.event_id)?;
            }
            Ok((old.len() as u64, (seen == IDS_AT_ONCE).then_some(last)))
        };
        match plan.dry_run {
            true => self.write_and_roll_back(work),
            false => self.write(work),
        }
    }
}

fn is_meant(removed: &RemovedId, tenant: &str, plan: &PurgePlan) -> bool {
    let of = &removed.owner;
    let is_asked_for = plan.only.as_ref().is_none_or(|(aggregate_type, aggregate_id)| {
        **aggregate_type == *of.aggregate_type.name && aggregate_id.as_ref().is_none_or(|id| **id == *of.aggregate_id)
    });
    let is_old = matches!(plan.limit, PurgeLimit::Before(before) if removed.created_at < before);
    &*of.aggregate_type.tenant == tenant && is_asked_for && is_old
}

/// The aggregate, if it has events that are old enough and still in the file.
fn candidate(view: &View<'_>, plan: &PurgePlan, owner: &Owner, row: &AggregateRow) -> Result<Option<PurgeCandidate>> {
    let (old_through, blocked) = old_through(view, plan, row)?;
    let is_one = old_through > row.removal.purged_through || blocked > 0;
    Ok(is_one.then(|| PurgeCandidate {
        number: row.id,
        aggregate_type: owner.aggregate_type.name.clone(),
        aggregate_id: owner.aggregate_id.clone(),
        trusted: Vec::new(),
        untrusted: None,
    }))
}

/// One transaction of a purge.
struct Pass<'a> {
    writing: &'a Writing<'a>,
    plan: &'a PurgePlan,
    /// The readers that may still need events.
    readers: Vec<Reader>,
    removed: Removed,
    purged: Purged,
}

impl Pass<'_> {
    /// Purges one aggregate.
    fn purge(&mut self, candidate: &PurgeCandidate) -> Result<()> {
        let owner = &Owner::by_number(self.writing, candidate.number)?;
        let of = |error: Error| error.of(&owner.reference());
        let row = &aggregates::at_number(self.writing, candidate.number).map_err(of)?;
        let removed = row.removal.purged_through;
        let (old_through, blocked) = old_through(self.writing, self.plan, row)?;
        if blocked > 0 {
            self.purged.behind_younger.push((owner.reference(), Version::new(old_through + 1), blocked));
        }
        if old_through <= removed {
            return Ok(());
        }
        let of_aggregate = (row.id, owner.identity);
        let covered = snapshots::covered_through(self.writing, of_aggregate, &candidate.trusted, self.plan.other_folds)?;
        let purgeable = if self.plan.break_replay { old_through } else { old_through.min(covered.through) };
        if purgeable < old_through {
            let kept = old_through - purgeable.max(removed);
            let why = why_kept(candidate, &covered);
            self.purged.kept.push((owner.reference(), Version::new(old_through), kept, why));
        }
        let through = if purgeable > removed { self.passed(row.id, removed, purgeable)? } else { removed };
        if through <= removed {
            return Ok(());
        }
        let through = self.cut(removed, through);
        let (mut events, mut after, keeps_ids) = (0, removed, !self.plan.forget_ids);
        while after < through {
            let (part, range) = row.removal.part_of((after, through), false);
            let (gone, ids) = event_writes::purge(self.writing, part, owner, range, &mut self.removed, keeps_ids).map_err(of)?;
            events += gone;
            *if keeps_ids { &mut self.purged.ids_kept } else { &mut self.purged.ids_forgotten } += ids;
            after = range.1;
        }
        let is_broken = self.plan.break_replay && !self.purged.is_cut;
        if is_broken && through > snapshots::read_without(self.writing, row.id, owner.identity)?.through {
            self.purged.broken.push(owner.reference());
        }
        aggregates::note_removal(self.writing, row.id, Removal { purged_through: through, ..row.removal })?;
        self.purged.events_removed += events;
        self.purged.aggregates_purged += u64::from(!self.purged.is_cut);
        Ok(())
    }

    /// The version up to which this transaction removes events. What stays is reported by the last one for the aggregate.
    fn cut(&mut self, removed: u64, through: u64) -> u64 {
        let most = self.plan.at_once.map_or(through, |events| removed.saturating_add(events).min(through));
        if most < through {
            self.purged = Purged { is_cut: true, ..Purged::default() };
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

fn why_kept(candidate: &PurgeCandidate, covered: &Covered) -> String {
    match (&candidate.untrusted, &covered.limited_by) {
        (Some(why), _) => why.clone(),
        (None, Some((name, version))) if covered.through == 0 => format!("fold {name:?} version {version} has no snapshot"),
        (None, Some((name, version))) => {
            format!("the newest snapshot of fold {name:?} version {version} is at version {}", covered.through)
        }
        (None, None) => format!("the purge was given no fold for the type {:?}: Purge::fold", candidate.aggregate_type),
    }
}

/// The version up to which an aggregate's events are old enough, and how many old ones stay behind a younger one.
fn old_through(view: &View<'_>, plan: &PurgePlan, row: &AggregateRow) -> Result<(u64, u64)> {
    match &plan.limit {
        PurgeLimit::Before(before) => old_before(view, plan, *before, row),
        PurgeLimit::AllButNewest(events) => Ok((row.version.saturating_sub(*events), 0)),
        PurgeLimit::AllButBytes(bytes) => Ok((before_newest(view, *bytes, row)?, 0)),
        PurgeLimit::IfLastIs(types) => {
            let last = ages::type_of_last(view, row)?;
            let is_closed = last.is_some_and(|last| types.iter().any(|closing| **closing == *last.name));
            Ok((if is_closed { row.version } else { 0 }, 0))
        }
    }
}

fn old_before(view: &View<'_>, plan: &PurgePlan, before: i64, row: &AggregateRow) -> Result<(u64, u64)> {
    let old_through = first_old(view, before, row)?;
    // Those that were archived are not looked at.
    let after = old_through.max(row.removal.archived_through);
    if after >= row.version {
        return Ok((old_through, 0));
    }
    match ages::last_older(view, row.id, after, row.version, before)? {
        None => Ok((old_through, 0)),
        Some(last) if plan.past_younger => Ok((last, 0)),
        Some(last) => Ok((old_through, ages::count_older(view, row.id, after, last, before)?)),
    }
}

/// The version up to which all events are old enough.
fn first_old(view: &View<'_>, before: i64, row: &AggregateRow) -> Result<u64> {
    let (mut after, end) = (row.removal.purged_through, row.version);
    while after < end {
        let (part, range) = row.removal.part_of((after, end), false);
        let old = ages::older_through(view, part, row.id, range, before)?;
        if old < range.1 {
            return Ok(old);
        }
        after = range.1;
    }
    Ok(after)
}

/// The version before the newest events that have at most so many bytes.
fn before_newest(view: &View<'_>, mut bytes: u64, row: &AggregateRow) -> Result<u64> {
    let (mut through, purged) = (row.version, row.removal.purged_through);
    while through > purged {
        let (part, range) = row.removal.part_of((purged, through), true);
        let (reached, left) = ages::newest_within(view, part, row.id, range, bytes)?;
        if reached > range.0 {
            return Ok(reached);
        }
        (through, bytes) = (range.0, left);
    }
    Ok(purged)
}
