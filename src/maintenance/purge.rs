//! Purging: taking old events out of the file for good.

use chrono::{DateTime, Utc};

use crate::log::scope::Scope;
use crate::model::error::Result;
use crate::model::place::{AggregateRef, Version};
use crate::sqlite::aggregates::AggregateRow;
use crate::sqlite::events::Owner;
use crate::sqlite::names::AggregateType;
use crate::sqlite::verbs::readers::{Reader, readers};
use crate::sqlite::{Writing, aggregates, event_writes, places, snapshots, state};

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
    pass_readers: bool,
    dry_run: bool,
}

impl Purge {
    /// The events at the beginning of each aggregate that are older than this.
    ///
    /// Only a beginning can go: an old event behind a younger one stays, for a history with a hole is none.
    pub fn created_before(time: DateTime<Utc>) -> Purge {
        Purge { before: time, only: None, break_replay: false, pass_readers: false, dry_run: false }
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

    /// Also what a subscription, a projection or an outbox has not passed yet: it never sees these events, and what an
    /// outbox has tried in vain becomes a dead letter without an event.
    pub fn even_if_undelivered(mut self) -> Purge {
        self.pass_readers = true;
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
    /// Old events that stayed because no intact snapshot stands in for them, or not one of every fold that has snapshots of
    /// the aggregate. Make them with [`create_snapshot`](crate::Aggregates::create_snapshot) and purge again.
    pub events_kept: u64,
    /// Aggregates that kept such events; the first 1,000, with the version of the last event that was old enough.
    pub kept: Vec<(AggregateRef, Version)>,
    /// Old events that a snapshot stands in for and that stayed all the same, because a subscription, a projection or an
    /// outbox has not passed them: see [`Purge::even_if_undelivered`].
    pub events_held_back: u64,
    /// Who held them back. An event may be held back by several.
    pub held_back_by: Vec<HeldBack>,
    /// Aggregates whose replay does not work any more, because it was asked for; the first 1,000.
    pub broken: Vec<AggregateRef>,
}

/// A subscription, a projection or an outbox that a purge did not overtake. Let it run, retry or discard its dead letters,
/// finish its rebuild; or, if it is not used any more, [remove](crate::Subscription::remove) it. Then purge again.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct HeldBack {
    /// Its name.
    pub subscription: String,
    /// Whether it reads the events of all tenants.
    pub all_tenants: bool,
    /// Events that stayed because of it.
    pub events: u64,
}

/// One transaction of a purge.
struct Pass<'a> {
    scope: &'a Scope,
    writing: &'a Writing<'a>,
    purge: &'a Purge,
    /// Who must not be overtaken.
    readers: Vec<Reader>,
}

/// Purges aggregate by aggregate, some in each transaction: what is reported as removed stays removed if a later
/// transaction fails.
pub(crate) fn purge(scope: &Scope, purge: &Purge) -> Result<PurgeReport> {
    let mut report = PurgeReport::default();
    if let Some((aggregate_type, Some(aggregate_id))) = &purge.only {
        in_transaction(scope, purge, |pass| {
            if let Some((row, owner)) = scope.find(pass.writing, aggregate_type, aggregate_id)? {
                pass.purge(&owner.aggregate_type, aggregate_id, &row, &mut report)?;
            }
            Ok(())
        })?;
        return Ok(report);
    }
    let mut after = 0;
    loop {
        let mut part = report.clone();
        let (next, done) = in_transaction(scope, purge, |pass| {
            let page = aggregates::page_of_all(pass.writing, after, AGGREGATES_AT_ONCE)?;
            let mut next = after;
            for (aggregate_type, aggregate_id, row) in &page {
                next = row.id;
                let aggregate_type = pass.writing.aggregate_type_by_id(*aggregate_type)?;
                let asked_for = purge.only.as_ref().is_none_or(|(name, _)| **name == *aggregate_type.name);
                if aggregate_type.tenant == scope.tenant && asked_for {
                    pass.purge(&aggregate_type, aggregate_id, row, &mut part)?;
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
fn in_transaction<T>(scope: &Scope, purge: &Purge, work: impl FnOnce(&Pass<'_>) -> Result<T>) -> Result<T> {
    let work = |writing: &Writing<'_>| {
        let readers = if purge.pass_readers { Vec::new() } else { readers(writing, &scope.tenant)? };
        work(&Pass { scope, writing, purge, readers })
    };
    match purge.dry_run {
        true => scope.database().write_and_roll_back(work),
        false => scope.database().write(work),
    }
}

impl Pass<'_> {
    /// Purges one aggregate.
    fn purge(
        &self,
        aggregate_type: &AggregateType,
        aggregate_id: &str,
        row: &AggregateRow,
        report: &mut PurgeReport,
    ) -> Result<()> {
        let Pass { scope, writing, purge, .. } = *self;
        let removed = row.removed_through();
        let old_through = places::older_through(writing, row.id, removed, row.version, purge.before.timestamp_micros())?;
        if old_through <= removed {
            return Ok(());
        }
        let aggregate = scope.aggregate(&aggregate_type.name, aggregate_id);
        let owner = Owner::new(row.id, writing.aggregate_type_by_id(aggregate_type.id)?, aggregate_id);
        let covered = snapshots::covered_through(writing, row.id, owner.identity)?;
        let purgeable = if purge.break_replay { old_through } else { old_through.min(covered) };
        if purgeable < old_through {
            report.events_kept += old_through - purgeable.max(removed);
            if report.kept.len() < NAMED {
                report.kept.push((aggregate.clone(), Version::new(old_through)));
            }
        }
        if purgeable <= removed {
            return Ok(());
        }
        let through = self.passed(row.id, removed, purgeable, report)?;
        if through <= removed {
            return Ok(());
        }
        let events = event_writes::remove(writing, row.id, removed, through).map_err(|error| error.of(&aggregate))?;
        if through > covered && report.broken.len() < NAMED {
            report.broken.push(aggregate);
        }
        aggregates::note_purged(writing, row.id, through)?;
        state::note_removed(writing, events)?;
        report.events_removed += events;
        report.aggregates_purged += 1;
        Ok(())
    }

    /// The version through which every reader has passed an aggregate's events, of those from version `removed + 1` to
    /// `through`. What that holds back is reported.
    fn passed(&self, aggregate: i64, removed: u64, through: u64, report: &mut PurgeReport) -> Result<u64> {
        let mut passed_by_all = through;
        for reader in &self.readers {
            let passed = reader.passed(self.writing, aggregate, removed, through)?;
            if passed < through {
                report.held_back(reader, through - passed);
                passed_by_all = passed_by_all.min(passed);
            }
        }
        report.events_held_back += through - passed_by_all;
        Ok(passed_by_all)
    }
}

impl PurgeReport {
    fn held_back(&mut self, reader: &Reader, events: u64) {
        let known = self.held_back_by.binary_search_by(|known| {
            (known.subscription.as_str(), known.all_tenants).cmp(&(reader.name.as_str(), reader.all_tenants))
        });
        match known {
            Ok(at) => self.held_back_by.get_mut(at).into_iter().for_each(|known| known.events += events),
            Err(at) => {
                let (subscription, all_tenants) = (reader.name.clone(), reader.all_tenants);
                self.held_back_by.insert(at, HeldBack { subscription, all_tenants, events });
            }
        }
    }
}
