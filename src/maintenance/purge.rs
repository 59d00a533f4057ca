//! Purging: removes old events from the file for good.

use std::fmt;
use std::ops::ControlFlow;

use chrono::{DateTime, Utc};
use serde::Serialize;

use crate::log::scope::Scope;
use crate::model::clock::to_micros;
use crate::model::error::{ErrorKind, Result};
use crate::model::place::{AggregateRef, Version};
use crate::storage::upkeep::{PurgePlan, Purged};

/// The most aggregates that a report names; the counts cover all.
const NAMED: usize = 1_000;

/// Events that one transaction removes when the disk is full.
const AT_ONCE_WHEN_FULL: u64 = 256;

/// What to purge. Nothing happens until it is passed to [`Maintenance::purge`](crate::Maintenance::purge).
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
    past_younger: bool,
    dry_run: bool,
}

impl Purge {
    /// Selects the events at the beginning of each aggregate that are older than this.
    ///
    /// Only events at the beginning can be purged. An old event after a younger one stays, because a history must have
    /// no gaps; the report names it, see [`PurgeReport::events_behind_younger`].
    pub fn created_before(time: DateTime<Utc>) -> Purge {
        Purge { before: time, only: None, break_replay: false, pass_readers: false, past_younger: false, dry_run: false }
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
    /// Old events that stayed because a fold with snapshots of the aggregate has no intact one that replaces them, or
    /// because there is no snapshot at all. Create the snapshots with [`snapshot_all`](crate::Aggregates::snapshot_all) and purge again.
    pub events_kept: u64,
    /// The first 1,000 aggregates that kept such events, each with the version of the last event that was old enough.
    pub kept: Vec<(AggregateRef, Version)>,
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
pub(crate) fn purge(
    scope: &Scope,
    purge: &Purge,
    mut progress: impl FnMut(&PurgeReport) -> ControlFlow<()>,
) -> Result<PurgeReport> {
    let mut plan = PurgePlan {
        before: to_micros(purge.before),
        only: purge.only.clone(),
        break_replay: purge.break_replay,
        pass_readers: purge.pass_readers,
        past_younger: purge.past_younger,
        dry_run: purge.dry_run,
        at_once: None,
    };
    let mut report = PurgeReport::default();
    let mut after = Some(0);
    while let Some(number) = after {
        let (purged, next) = match scope.engine().purge(&scope.tenant, &plan, number) {
            // Small transactions fit into the space that the write-ahead log has already.
            Err(error) if error.kind() == ErrorKind::DiskFull && plan.at_once.is_none() => {
                plan.at_once = Some(AT_ONCE_WHEN_FULL);
                scope.engine().checkpoint()?;
                continue;
            }
            other => other?,
        };
        if plan.at_once.is_some() {
            scope.engine().checkpoint()?;
        }
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
