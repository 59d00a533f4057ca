//! Purging: taking old events out of the file for good.

use chrono::{DateTime, Utc};

use crate::error::Result;
use crate::place::{AggregateRef, Version};
use crate::scope::Scope;
use crate::sqlite::aggregates::AggregateRow;
use crate::sqlite::names::AggregateType;
use crate::sqlite::{Writing, aggregates, events, snapshots, state};

/// Aggregates purged in one transaction, so that none holds the file for long.
const AGGREGATES_AT_ONCE: usize = 64;
/// Aggregates that a report names; it counts all.
const NAMED: usize = 1_000;

/// What to purge. Nothing happens until it is given to [`Store::purge`](crate::Store::purge).
///
/// ```
/// use foldlog::{Purge, Store};
/// let store = Store::in_memory()?;
/// let report = store.purge(Purge::created_before("2020-01-01T00:00:00Z".parse().unwrap()).dry_run())?;
/// assert_eq!(report.events_removed, 0);
/// # Ok::<(), foldlog::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Purge {
    before: DateTime<Utc>,
    only: Option<(String, Option<String>)>,
    break_replay: bool,
    dry_run: bool,
}

impl Purge {
    /// The events at the beginning of each aggregate that are older than this.
    ///
    /// Only a beginning can go: an old event behind a younger one stays, for a history with a hole is none.
    pub fn created_before(time: DateTime<Utc>) -> Purge {
        Purge { before: time, only: None, break_replay: false, dry_run: false }
    }

    /// Only of aggregates of this type.
    pub fn aggregate_type(mut self, aggregate_type: impl Into<String>) -> Purge {
        self.only = Some((aggregate_type.into(), None));
        self
    }

    /// Only of this aggregate.
    pub fn aggregate(mut self, aggregate_type: impl Into<String>, aggregate_id: impl Into<String>) -> Purge {
        self.only = Some((aggregate_type.into(), Some(aggregate_id.into())));
        self
    }

    /// Also where no snapshot stands in for the events: such an aggregate cannot be replayed any more.
    pub fn even_if_replay_breaks(mut self) -> Purge {
        self.break_replay = true;
        self
    }

    /// Only reports what would be done.
    pub fn dry_run(mut self) -> Purge {
        self.dry_run = true;
        self
    }
}

/// What a purge did, or would do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct PurgeReport {
    /// Events taken out of the file.
    pub events_removed: u64,
    /// Aggregates that lost events.
    pub aggregates_purged: u64,
    /// Old events that stayed because no intact snapshot stands in for them. Make one with
    /// [`create_snapshot`](crate::Aggregates::create_snapshot) and purge again.
    pub events_kept: u64,
    /// Aggregates that kept such events; the first 1,000, with the version of the last event that was old enough.
    pub kept: Vec<(AggregateRef, Version)>,
    /// Aggregates whose replay does not work any more, because it was asked for; the first 1,000.
    pub broken: Vec<AggregateRef>,
}

/// Purges aggregate by aggregate, some in each transaction: what is reported as removed stays removed if a later
/// transaction fails.
pub(crate) fn purge(scope: &Scope, purge: &Purge) -> Result<PurgeReport> {
    let mut report = PurgeReport::default();
    if let Some((aggregate_type, Some(aggregate_id))) = &purge.only {
        in_transaction(scope, purge, |writing| {
            if let Some((row, owner)) = scope.find(writing, aggregate_type, aggregate_id)? {
                purge_one(scope, writing, purge, &owner.aggregate_type, aggregate_id, &row, &mut report)?;
            }
            Ok(())
        })?;
        return Ok(report);
    }
    let mut after = 0;
    loop {
        let mut part = report.clone();
        let (next, done) = in_transaction(scope, purge, |writing| {
            let page = aggregates::page_of_all(writing, after, AGGREGATES_AT_ONCE)?;
            let mut next = after;
            for (aggregate_type, aggregate_id, row) in &page {
                next = row.id;
                let aggregate_type = writing.aggregate_type_by_id(*aggregate_type)?;
                let asked_for = purge.only.as_ref().is_none_or(|(name, _)| **name == *aggregate_type.name);
                if aggregate_type.tenant == scope.tenant && asked_for {
                    purge_one(scope, writing, purge, &aggregate_type, aggregate_id, row, &mut part)?;
                }
            }
            Ok((next, page.len() < AGGREGATES_AT_ONCE))
        })?;
        report = part;
        after = next;
        if done {
            return Ok(report);
        }
    }
}

/// A dry run does the whole work and then does not commit.
fn in_transaction<T>(scope: &Scope, purge: &Purge, work: impl FnOnce(&Writing<'_>) -> Result<T>) -> Result<T> {
    match purge.dry_run {
        true => scope.database().write_and_roll_back(work),
        false => scope.database().write(work),
    }
}

fn purge_one(
    scope: &Scope,
    writing: &Writing<'_>,
    purge: &Purge,
    aggregate_type: &AggregateType,
    aggregate_id: &str,
    row: &AggregateRow,
    report: &mut PurgeReport,
) -> Result<()> {
    let removed = row.removed_through();
    let old_through = events::older_through(writing, row.id, removed, row.version, purge.before.timestamp_micros())?;
    if old_through <= removed {
        return Ok(());
    }
    let aggregate = scope.aggregate(&aggregate_type.name, aggregate_id);
    let owner = events::Owner::new(row.id, writing.aggregate_type_by_id(aggregate_type.id)?, aggregate_id);
    let covered = match snapshots::newest(writing, row.id, Version::MAX.get())? {
        Some(snapshot) if snapshot.is_intact(owner.identity) => snapshot.version,
        _ => 0,
    };
    let through = if purge.break_replay { old_through } else { old_through.min(covered) };
    if through < old_through {
        report.events_kept += old_through - through.max(removed);
        if report.kept.len() < NAMED {
            report.kept.push((aggregate.clone(), Version::new(old_through)));
        }
    }
    if through <= removed {
        return Ok(());
    }
    if through > covered && report.broken.len() < NAMED {
        report.broken.push(aggregate);
    }
    let floor = state::last_position(writing)?;
    let events = events::remove(writing, row.id, removed, through)?;
    aggregates::note_purged(writing, row.id, through)?;
    state::note_removed(writing, events, floor)?;
    report.events_removed += events;
    report.aggregates_purged += 1;
    Ok(())
}
