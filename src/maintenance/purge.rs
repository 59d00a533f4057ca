//! Purging: removes old events from the file for good.

use std::fmt;
use std::ops::ControlFlow;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use serde::Serialize;

use super::snapshot_check::SnapshotCheck;
use crate::log::scope::Scope;
use crate::model::clock::to_micros;
use crate::model::error::{Error, ErrorKind, Result};
use crate::model::place::{AggregateRef, Version};
use crate::storage::upkeep::{PurgeCandidate, PurgeLimit, PurgePlan, Purged};

/// The most aggregates that a report names; the counts cover all.
const NAMED: usize = 1_000;

/// Events that one transaction removes when the disk is full.
const AT_ONCE_WHEN_FULL: u64 = 256;

/// What to purge. Nothing happens until it is passed to [`Maintenance::purge`](crate::Maintenance::purge).
///
/// An event is removed only if a snapshot replaces it for every fold of its aggregate. So give the purge a handle of each
/// type: [`Purge::fold`]. Before anything is removed, that fold loads its snapshots and compares them with the events, and
/// with what later events make of them. A snapshot that differs does not count, and without a fold nothing is removed.
///
/// After a purge a new [fold version](crate::Aggregate::FOLD_VERSION), or a type with another
/// [fold name](crate::Aggregate::fold_name), can no longer fold the removed events:
/// [`Aggregates::migrate_snapshots`](crate::Aggregates::migrate_snapshots) carries the state over.
///
/// An append that is repeated after the purge of its events is still recognised, if its events had
/// [ids of their own](crate::NewEvent::id): their ids and a digest of their content, 64 bits of xxh3, stay in the file and take
/// about 91 bytes an event. [`Purge::forget_ids`] gives these up. An id that the store made is not kept.
///
/// ```
/// use foldlog::{Expected, NewEvent, Purge, SnapshotReason, Store};
///
/// let store = Store::in_memory()?;
/// let orders = store.json_aggregates("order");
/// orders.append("o-1", Expected::New, [NewEvent::new("Placed", &())?])?;
/// orders.create_snapshot("o-1", SnapshotReason::Manual)?;
/// let plan = Purge::created_before(chrono::Utc::now() + chrono::TimeDelta::hours(1)).fold(&orders);
/// let report = store.maintenance().purge(plan.dry_run())?;
/// assert_eq!((report.events_removed, report.events_kept), (1, 0));
/// # Ok::<(), foldlog::Error>(())
/// ```
#[derive(Clone)]
pub struct Purge {
    folds: Vec<Arc<dyn SnapshotCheck>>,
    before: DateTime<Utc>,
    only: Option<(String, Option<String>)>,
    break_replay: bool,
    pass_readers: bool,
    other_folds: bool,
    past_younger: bool,
    forget_ids: bool,
    dry_run: bool,
}

impl Purge {
    /// Selects the events at the beginning of each aggregate that are older than this.
    ///
    /// Only events at the beginning can be purged. An old event after a younger one stays, because a history must have
    /// no gaps; the report names it, see [`PurgeReport::events_behind_younger`].
    pub fn created_before(time: DateTime<Utc>) -> Purge {
        Purge {
            folds: Vec::new(),
            before: time,
            only: None,
            break_replay: false,
            pass_readers: false,
            other_folds: true,
            past_younger: false,
            forget_ids: false,
            dry_run: false,
        }
    }

    /// Only purges aggregates of this type.
    pub fn aggregate_type(mut self, aggregate_type: impl Into<String>) -> Purge {
        self.only = Some((aggregate_type.into(), None));
        self
    }

    /// Only purges this aggregate.
    pub fn aggregate(mut self, aggregate_type: impl Into<String>, aggregate_id: impl fmt::Display) -> Purge {
        self.only = Some((aggregate_type.into(), Some(aggregate_id.to_string())));
        self
    }

    pub(crate) fn with_fold(mut self, fold: Arc<dyn SnapshotCheck>) -> Purge {
        self.folds.push(fold);
        self
    }

    /// Also purges events that a fold needs which has snapshots of the aggregate but was not given to
    /// [`Purge::fold`]: an earlier version of a fold, or one that is no longer used. It can no longer replay such an
    /// aggregate.
    pub fn even_if_other_folds_break(mut self) -> Purge {
        self.other_folds = false;
        self
    }

    /// Also purges events that no snapshot replaces. Such an aggregate can no longer be replayed.
    pub fn even_if_replay_breaks(mut self) -> Purge {
        self.break_replay = true;
        self
    }

    /// Also purges events that a subscription, a projection or an outbox has not passed yet. They will never see these
    /// events, and an event that an outbox failed to publish becomes a dead letter without an event.
    pub fn even_if_undelivered(mut self) -> Purge {
        self.pass_readers = true;
        self
    }

    /// Also purges an event that is not old enough, if an old one of the same aggregate is after it: for events that a
    /// wrong clock dated years ahead.
    pub fn even_if_younger_before(mut self) -> Purge {
        self.past_younger = true;
        self
    }

    /// Also forgets the ids of the purged events, and of those that earlier purges removed, as far as this one selects
    /// them: their space comes back, and nothing is left of their content. A repeated append of such an event is appended
    /// again.
    pub fn forget_ids(mut self) -> Purge {
        self.forget_ids = true;
        self
    }

    /// Only reports what would be purged.
    pub fn dry_run(mut self) -> Purge {
        self.dry_run = true;
        self
    }
}

/// What a purge did, or would do.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct PurgeReport {
    /// Events removed from the file.
    pub events_removed: u64,
    /// Aggregates that lost events.
    pub aggregates_purged: u64,
    /// Ids that callers gave to the removed events, and by which a repeated append is still recognised.
    pub ids_kept: u64,
    /// Such ids that were forgotten, of these events and of those removed earlier: see [`Purge::forget_ids`].
    pub ids_forgotten: u64,
    /// Old events that stayed because no snapshot replaces them for every fold: there is none, or it does not agree with
    /// the events, or the purge was given no fold. Create the snapshots with
    /// [`snapshot_all`](crate::Aggregates::snapshot_all), give the folds to [`Purge::fold`], and purge again.
    pub events_kept: u64,
    /// The first 1,000 aggregates that kept such events.
    pub kept: Vec<Kept>,
    /// Old events that stayed because a younger event of the same aggregate is before them, as after a clock that was
    /// ahead for a while: see [`Purge::even_if_younger_before`].
    pub events_behind_younger: u64,
    /// The first 1,000 aggregates of which such events stayed, each with the version of the younger event.
    pub behind_younger: Vec<(AggregateRef, Version)>,
    /// Old events that a snapshot replaces but that stayed because a subscription, a projection or an outbox has not
    /// passed them: see [`Purge::even_if_undelivered`].
    pub events_held_back: u64,
    /// Who held them back. One event may be held back by several.
    pub held_back_by: Vec<HeldBack>,
    /// The first 1,000 aggregates that can no longer be replayed, as was asked for.
    pub broken: Vec<AggregateRef>,
    /// Whether every aggregate was looked at, and it was not stopped before.
    pub finished: bool,
}

/// Old events of an aggregate that stayed because no snapshot replaces them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Kept {
    /// The aggregate.
    pub aggregate: AggregateRef,
    /// The version of the last event that was old enough.
    pub through: Version,
    /// Events that stayed.
    pub events: u64,
    /// Why, for a person to read.
    pub reason: String,
}

impl fmt::Display for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} events up to version {} stayed: {}", self.aggregate, self.events, self.through, self.reason)
    }
}

/// A subscription, a projection or an outbox that held events back from a purge. Let it run, retry or discard its dead
/// letters, or finish its rebuild; if it is no longer used, [remove](crate::Subscription::remove) it. Then purge
/// again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct HeldBack {
    /// Its name.
    pub subscription: String,
    /// Whether it reads the events of all tenants.
    pub all_tenants: bool,
    /// Events that stayed because of it.
    pub events: u64,
}

/// Purges aggregate by aggregate, several in each transaction. If a later transaction fails, what was reported as
/// removed stays removed.
pub(crate) fn purge(scope: &Scope, purge: &Purge, progress: impl FnMut(&PurgeReport) -> ControlFlow<()>) -> Result<PurgeReport> {
    let plan = PurgePlan {
        limit: PurgeLimit::Before(to_micros(purge.before)),
        only: purge.only.clone(),
        break_replay: purge.break_replay,
        pass_readers: purge.pass_readers,
        other_folds: purge.other_folds,
        past_younger: purge.past_younger,
        forget_ids: purge.forget_ids,
        dry_run: purge.dry_run,
        at_once: None,
        in_background: false,
    };
    run(scope, &plan, &purge.folds, progress)
}

/// Purges by a plan, with the folds that compare their snapshots.
pub(super) fn run(
    scope: &Scope,
    plan: &PurgePlan,
    folds: &[Arc<dyn SnapshotCheck>],
    mut progress: impl FnMut(&PurgeReport) -> ControlFlow<()>,
) -> Result<PurgeReport> {
    let mut report = PurgeReport::default();
    let mut after = Some(0);
    while let Some(number) = after {
        let (mut candidates, next) = scope.engine().purge_candidates(&scope.tenant, plan, number)?;
        if !plan.break_replay {
            candidates.iter_mut().try_for_each(|candidate| compare(scope, folds, candidate))?;
        }
        if plan.in_background {
            if purge_in_slices(scope, plan, &candidates, &mut report, &mut progress)?.is_break() {
                return Ok(report);
            }
        } else {
            match scope.engine().purge(&scope.tenant, plan, &candidates) {
                Ok(purged) => report.add(purged),
                // Small transactions fit into the space that the write-ahead log has already.
                Err(error) if error.kind() == ErrorKind::DiskFull => {
                    scope.engine().checkpoint()?;
                    purge_in_little_space(scope, plan, &candidates, &mut report)?;
                }
                Err(error) => return Err(error),
            }
        }
        report.finished = next.is_none() && !plan.forget_ids;
        after = next;
        if progress(&report).is_break() {
            return Ok(report);
        }
    }
    if plan.forget_ids {
        forget_ids(scope, plan, &mut report, progress)?;
    }
    Ok(report)
}

/// Forgets the ids of events that earlier purges removed.
fn forget_ids(
    scope: &Scope,
    plan: &PurgePlan,
    report: &mut PurgeReport,
    mut progress: impl FnMut(&PurgeReport) -> ControlFlow<()>,
) -> Result<()> {
    let mut after = Some(0);
    while let Some(position) = after {
        let (forgotten, next) = scope.engine().forget_ids(&scope.tenant, plan, position)?;
        report.ids_forgotten += forgotten;
        report.finished = next.is_none();
        after = next;
        if progress(report).is_break() {
            break;
        }
    }
    Ok(())
}

/// Purges some events at a time, and moves each transaction into the file before the next.
fn purge_in_little_space(scope: &Scope, plan: &PurgePlan, candidates: &[PurgeCandidate], report: &mut PurgeReport) -> Result<()> {
    let plan = PurgePlan { at_once: Some(AT_ONCE_WHEN_FULL), ..plan.clone() };
    let mut empty_log = |_: &PurgeReport| scope.engine().checkpoint().map(drop);
    slices(scope, &plan, candidates, report, &mut empty_log)
}

/// Purges some events at a time, and asks after each transaction whether to go on.
fn purge_in_slices(
    scope: &Scope,
    plan: &PurgePlan,
    candidates: &[PurgeCandidate],
    report: &mut PurgeReport,
    progress: &mut impl FnMut(&PurgeReport) -> ControlFlow<()>,
) -> Result<ControlFlow<()>> {
    let mut stopped = false;
    let mut ask = |report: &PurgeReport| {
        stopped = progress(report).is_break();
        // Not reported: it only ends the slices.
        if stopped { Err(Error::new(ErrorKind::Busy, "stopped")) } else { Ok(()) }
    };
    match slices(scope, plan, candidates, report, &mut ask) {
        Err(_) if stopped => Ok(ControlFlow::Break(())),
        done => done.map(ControlFlow::Continue),
    }
}

fn slices(
    scope: &Scope,
    plan: &PurgePlan,
    candidates: &[PurgeCandidate],
    report: &mut PurgeReport,
    after_each: &mut dyn FnMut(&PurgeReport) -> Result<()>,
) -> Result<()> {
    for candidate in candidates {
        let mut is_cut = true;
        while is_cut {
            let purged = scope.engine().purge(&scope.tenant, plan, std::slice::from_ref(candidate))?;
            is_cut = purged.is_cut;
            report.add(purged);
            after_each(report)?;
        }
    }
    Ok(())
}

/// Lets the folds of an aggregate's type compare their snapshots of it with its events. This is the application's code, so
/// it runs outside of any transaction.
fn compare(scope: &Scope, folds: &[Arc<dyn SnapshotCheck>], candidate: &mut PurgeCandidate) -> Result<()> {
    for fold in folds.iter().filter(|fold| fold.aggregate_type() == &*candidate.aggregate_type) {
        match fold.trusted(scope, &candidate.aggregate_id)? {
            Ok(trusted) => candidate.trusted.push(trusted),
            Err(why) => {
                candidate.untrusted = Some(why);
                candidate.trusted.clear();
                break;
            }
        }
    }
    Ok(())
}

impl fmt::Debug for Purge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Purge").field("before", &self.before).field("only", &self.only).finish_non_exhaustive()
    }
}

impl PurgeReport {
    fn add(&mut self, purged: Purged) {
        self.events_removed += purged.events_removed;
        self.aggregates_purged += purged.aggregates_purged;
        self.ids_kept += purged.ids_kept;
        self.ids_forgotten += purged.ids_forgotten;
        self.events_held_back += purged.events_held_back;
        for (aggregate, through, events, reason) in purged.kept {
            self.events_kept += events;
            if self.kept.len() < NAMED {
                self.kept.push(Kept { aggregate, through, events, reason });
            }
        }
        for (aggregate, version, events) in purged.behind_younger {
            self.events_behind_younger += events;
            if self.behind_younger.len() < NAMED {
                self.behind_younger.push((aggregate, version));
            }
        }
        let room = NAMED.saturating_sub(self.broken.len());
        self.broken.extend(purged.broken.into_iter().take(room));
        for (subscription, all_tenants, events) in purged.held_back_by {
            self.held_back(subscription, all_tenants, events);
        }
    }

    fn held_back(&mut self, subscription: String, all_tenants: bool, events: u64) {
        let known = self
            .held_back_by
            .binary_search_by(|known| (&known.subscription, known.all_tenants).cmp(&(&subscription, all_tenants)));
        match known {
            Ok(at) => self.held_back_by.get_mut(at).into_iter().for_each(|known| known.events += events),
            Err(at) => self.held_back_by.insert(at, HeldBack { subscription, all_tenants, events }),
        }
    }
}
