//! Purging: taking old events out of the file for good.

use std::fmt;
use std::ops::ControlFlow;

use chrono::{DateTime, Utc};
use serde::Serialize;

use crate::log::scope::Scope;
use crate::model::clock::to_micros;
use crate::model::error::Result;
use crate::model::place::{AggregateRef, Version};
use crate::storage::upkeep::{PurgePlan, Purged};

/// Aggregates that a report names; it counts all.
const NAMED: usize = 1_000;

/// What to purge. Nothing happens until it is given to [`Maintenance::purge`](crate::Maintenance::purge).
///
/// ```
/// use foldlog::{Purge, Store};
/// let store = Store::in_memory()?;
/// let report = store.maintenance().purge(Purge::created_before("2020-01-01T00:00:00Z".parse().unwrap()).dry_run())?;
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
    pub fn aggregate(mut self, aggregate_type: impl Into<String>, aggregate_id: impl fmt::Display) -> Purge {
        self.only = Some((aggregate_type.into(), Some(aggregate_id.to_string())));
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
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct PurgeReport {
    /// Events taken out of the file.
    pub events_removed: u64,
    /// Aggregates that lost events.
    pub aggregates_purged: u64,
    /// Old events that stayed because no intact snapshot stands in for them, or not one of every fold that has snapshots of
    /// the aggregate. Make them with [`snapshot_all`](crate::Aggregates::snapshot_all) and purge again.
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
    /// Whether every aggregate was looked at, and it was not stopped before.
    pub finished: bool,
}

/// A subscription, a projection or an outbox that a purge did not overtake. Let it run, retry or discard its dead letters,
/// finish its rebuild; or, if it is not used any more, [remove](crate::Subscription::remove) it. Then purge again.
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

/// Purges aggregate by aggregate, some in each transaction: what is reported as removed stays removed if a later transaction
/// fails.
pub(crate) fn purge(
    scope: &Scope,
    purge: &Purge,
    mut progress: impl FnMut(&PurgeReport) -> ControlFlow<()>,
) -> Result<PurgeReport> {
    let plan = PurgePlan {
        before: to_micros(purge.before),
        only: purge.only.clone(),
        break_replay: purge.break_replay,
        pass_readers: purge.pass_readers,
        dry_run: purge.dry_run,
    };
    let mut report = PurgeReport::default();
    let mut after = Some(0);
    while let Some(number) = after {
        let (purged, next) = scope.engine().purge(&scope.tenant, &plan, number)?;
        report.add(purged);
        report.finished = next.is_none();
        after = next;
        if progress(&report).is_break() {
            break;
        }
    }
    Ok(report)
}

impl PurgeReport {
    fn add(&mut self, purged: Purged) {
        self.events_removed += purged.events_removed;
        self.aggregates_purged += purged.aggregates_purged;
        self.events_held_back += purged.events_held_back;
        for (aggregate, version, events) in purged.kept {
            self.events_kept += events;
            if self.kept.len() < NAMED {
                self.kept.push((aggregate, version));
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
