//! Retention: how much of each aggregate type's history is kept.

use std::fmt;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::Serialize;

use super::purge::{self, PurgeReport};
use super::snapshot_check::SnapshotCheck;
use crate::log::scope::Scope;
use crate::model::clock::to_micros;
use crate::model::error::{Error, ErrorKind, Result};
use crate::storage::scan::{ScanCursor, Selection};
use crate::storage::upkeep::{PurgeLimit, PurgePlan};

/// The most events removed in one transaction.
const EVENTS_AT_ONCE: u64 = 1_024;

/// Which events of an aggregate are kept. All others may be removed, if a snapshot replaces them.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Keep {
    /// All.
    All,
    /// The newest.
    Newest(u64),
    /// Those that are younger than this. The age is counted from now or from the newest event of the tenant, whichever is
    /// earlier: a clock that is ahead removes nothing.
    YoungerThan(Duration),
    /// The newest whose data, metadata and tags have at most so many bytes together.
    Bytes(u64),
    /// All, until the last event has one of these types, as stored; then none: for aggregates that are closed.
    UntilClosed(Vec<String>),
}

/// How much of each aggregate type's history is kept; of a type without a rule, all. Nothing happens until it is passed to
/// [`Maintenance::retain`](crate::Maintenance::retain) or [`Upkeep::retention`](crate::Upkeep::retention).
///
/// As in a [purge](crate::Purge), an event is removed only if a snapshot replaces it that the fold of a handle given to
/// [`Retention::fold`] has compared with the events, and if every subscription, projection and outbox has passed it. Nothing
/// else is removed, whatever a rule says; the report says why.
///
/// ```
/// use std::time::Duration;
/// use foldlog::{Expected, Keep, NewEvent, Retention, SnapshotReason, Store};
///
/// let store = Store::in_memory()?;
/// let carts = store.json_aggregates("cart");
/// carts.append("c-1", Expected::New, (0..10).map(|n| NewEvent::new("Added", &n)).collect::<Result<Vec<_>, _>>()?)?;
/// carts.create_snapshot("c-1", SnapshotReason::Manual)?;
/// let rules = Retention::new()
///     .rule("cart", Keep::Newest(3))
///     .rule("session", Keep::YoungerThan(Duration::from_secs(30 * 24 * 60 * 60)))
///     .fold(&carts);
/// let report = store.maintenance().retain(rules)?;
/// assert_eq!(report.types[0].purge.events_removed, 7);
/// assert_eq!(carts.replay("c-1")?.version, 10);
/// # Ok::<(), foldlog::Error>(())
/// ```
#[derive(Clone, Default)]
pub struct Retention {
    rules: Vec<(String, Keep)>,
    folds: Vec<Arc<dyn SnapshotCheck>>,
    dry_run: bool,
}

impl Retention {
    /// No rule: everything is kept.
    pub fn new() -> Retention {
        Retention::default()
    }

    /// What is kept of aggregates of this type. Several rules of a type each remove what they do not keep.
    pub fn rule(mut self, aggregate_type: impl Into<String>, keep: Keep) -> Retention {
        self.rules.push((aggregate_type.into(), keep));
        self
    }

    pub(crate) fn with_fold(mut self, fold: Arc<dyn SnapshotCheck>) -> Retention {
        self.folds.push(fold);
        self
    }

    /// Only reports what would be removed.
    pub fn dry_run(mut self) -> Retention {
        self.dry_run = true;
        self
    }
}

impl fmt::Debug for Retention {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Retention").field("rules", &self.rules).finish_non_exhaustive()
    }
}

/// What a rule removed, and what it could not remove.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct RuleReport {
    /// The tenant.
    pub tenant: String,
    /// The aggregate type.
    pub aggregate_type: String,
    /// What was removed; what stayed for want of a snapshot that can be trusted, behind an event that a wrong clock dated
    /// later, or because of a reader that lags.
    pub purge: PurgeReport,
}

/// What the rules of a [`Retention`] removed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct RetentionReport {
    /// One entry for each rule, in their order.
    pub types: Vec<RuleReport>,
    /// Whether every rule was applied, and it was not stopped before.
    pub finished: bool,
}

/// Applies the rules one after the other, in short transactions that yield to other writers.
pub(crate) fn retain(
    scope: &Scope,
    retention: &Retention,
    mut progress: impl FnMut(&RetentionReport) -> ControlFlow<()>,
) -> Result<RetentionReport> {
    let mut report = RetentionReport::default();
    for (aggregate_type, keep) in &retention.rules {
        let rule =
            RuleReport { tenant: scope.tenant.to_string(), aggregate_type: aggregate_type.clone(), ..RuleReport::default() };
        report.types.push(rule);
        let Some(limit) = limit(scope, keep)? else { continue };
        let plan = PurgePlan {
            limit,
            only: Some((aggregate_type.clone(), None)),
            break_replay: false,
            pass_readers: false,
            other_folds: true,
            past_younger: false,
            forget_ids: false,
            dry_run: retention.dry_run,
            at_once: (!retention.dry_run).then_some(EVENTS_AT_ONCE),
            in_background: true,
        };
        let done = purge::run(scope, &plan, &retention.folds, |purge| {
            if let Some(rule) = report.types.last_mut() {
                rule.purge = purge.clone();
            }
            progress(&report)
        })?;
        let finished = done.finished;
        if let Some(rule) = report.types.last_mut() {
            rule.purge = done;
        }
        if !finished {
            return Ok(report);
        }
    }
    report.finished = true;
    Ok(report)
}

/// `None` if everything is kept.
fn limit(scope: &Scope, keep: &Keep) -> Result<Option<PurgeLimit>> {
    Ok(match keep {
        Keep::All => None,
        Keep::Newest(events) => Some(PurgeLimit::AllButNewest(*events)),
        Keep::Bytes(bytes) => Some(PurgeLimit::AllButBytes(*bytes)),
        Keep::UntilClosed(types) => Some(PurgeLimit::IfLastIs(types.clone())),
        Keep::YoungerThan(age) => {
            let age = i64::try_from(age.as_micros()).map_err(|_| {
                Error::new(ErrorKind::InvalidInput, "the age of a retention rule is longer than any time").advice("use Keep::All")
            })?;
            let now = scope.options().clock.now_micros();
            newest_event_at(scope)?.map(|newest| PurgeLimit::Before(now.min(to_micros(newest)).saturating_sub(age)))
        }
    })
}

/// The time of the tenant's newest event.
fn newest_event_at(scope: &Scope) -> Result<Option<DateTime<Utc>>> {
    let selection = Selection { newest_first: true, as_stored: true, ..Selection::default() };
    let (mut cursor, mut page) = (ScanCursor::default(), std::collections::VecDeque::new());
    while page.is_empty() && !cursor.is_finished() {
        scope.engine().scan(&scope.tenant, &selection, &mut cursor, 1, &mut page)?;
    }
    Ok(page.front().map(|event| event.created_at))
}
