//! The archive: old events in a second file, from which everything still reads.

use std::fmt;
use std::ops::ControlFlow;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use serde::Serialize;

use super::purge::Kept;
use crate::log::scope::Scope;
use crate::model::clock::{from_micros, to_micros};
use crate::model::error::Result;
use crate::storage::upkeep::ArchivePlan;

/// The most aggregates that a report names; the counts cover all.
const NAMED: usize = 1_000;
/// Two years, as in the original.
const DEFAULT_AGE: Duration = Duration::from_secs(2 * 365 * 24 * 60 * 60);

/// What to archive. Nothing happens until it is passed to [`Maintenance::archive`](crate::Maintenance::archive).
///
/// ```
/// use std::time::Duration;
/// use foldlog::{Archive, Store};
/// # let directory = tempfile::tempdir().unwrap();
/// let store = Store::open(directory.path().join("bank.db"))?;
/// let report = store.maintenance().archive(Archive::older_than(Duration::from_secs(90 * 24 * 60 * 60)))?;
/// assert_eq!(report.events_archived, 0);
/// # Ok::<(), foldlog::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Archive {
    limit: Limit,
    keep_newest: u64,
    only: Option<(String, Option<String>)>,
    compress: bool,
    dry_run: bool,
}

#[derive(Clone, Copy, Debug)]
enum Limit {
    Before(DateTime<Utc>),
    Age(Duration),
    None,
}

impl Default for Archive {
    /// Selects the events that are older than two years.
    fn default() -> Archive {
        Archive::older_than(DEFAULT_AGE)
    }
}

impl Archive {
    /// Selects the events at the beginning of each aggregate that are older than this when it runs.
    pub fn older_than(age: Duration) -> Archive {
        Archive { limit: Limit::Age(age), keep_newest: 0, only: None, compress: false, dry_run: false }
    }

    /// Selects the events at the beginning of each aggregate that were created before this time.
    pub fn created_before(time: DateTime<Utc>) -> Archive {
        Archive { limit: Limit::Before(time), ..Archive::default() }
    }

    /// Selects all events of each aggregate but its newest `events`, however old they are.
    pub fn all_but_newest(events: u64) -> Archive {
        Archive { limit: Limit::None, keep_newest: events, ..Archive::default() }
    }

    /// Leaves the newest events of each aggregate in the main file, even if they are old.
    pub fn keep_newest(mut self, events: u64) -> Archive {
        self.keep_newest = events;
        self
    }

    /// Only archives aggregates of this type.
    pub fn aggregate_type(mut self, aggregate_type: impl Into<String>) -> Archive {
        self.only = Some((aggregate_type.into(), None));
        self
    }

    /// Only archives this aggregate.
    pub fn aggregate(mut self, aggregate_type: impl Into<String>, aggregate_id: impl fmt::Display) -> Archive {
        self.only = Some((aggregate_type.into(), Some(aggregate_id.to_string())));
        self
    }

    /// Compresses the data of the events with zstd, each for itself: it pays for data of some hundred bytes and more. Whoever reads the
    /// archive needs the feature `zstd` too. Events that are there already stay as they are.
    #[cfg(feature = "zstd")]
    pub fn zstd(mut self) -> Archive {
        self.compress = true;
        self
    }

    /// Only reports what would be archived.
    pub fn dry_run(mut self) -> Archive {
        self.dry_run = true;
        self
    }
}

/// What was archived, or would be.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct ArchiveReport {
    /// Events moved to the archive.
    pub events_archived: u64,
    /// Aggregates of which events were moved.
    pub aggregates_archived: u64,
    /// Events that were asked for and stayed, because a fold could not load the aggregate without them. Create snapshots with
    /// [`snapshot_all`](crate::Aggregates::snapshot_all), or delete those of a fold that is no longer used
    /// ([`delete_snapshots`](crate::Aggregates::delete_snapshots)), and archive again.
    pub events_kept: u64,
    /// The first 1,000 aggregates that kept such events, each with the reason.
    pub kept: Vec<Kept>,
    /// Whether every aggregate was looked at, and it was not stopped before.
    pub finished: bool,
}

/// Archives step by step. If a later step fails, what was reported as archived stays so.
pub(crate) fn archive(
    scope: &Scope,
    archive: &Archive,
    mut progress: impl FnMut(&ArchiveReport) -> ControlFlow<()>,
) -> Result<ArchiveReport> {
    let before = match archive.limit {
        Limit::None => None,
        Limit::Before(time) => Some(to_micros(time)),
        Limit::Age(age) => {
            let now = from_micros(scope.options().clock.now_micros())?;
            let before = TimeDelta::from_std(age).ok().and_then(|age| now.checked_sub_signed(age));
            Some(to_micros(before.unwrap_or(DateTime::<Utc>::MIN_UTC)))
        }
    };
    let plan = ArchivePlan {
        before,
        keep_newest: archive.keep_newest,
        only: archive.only.clone(),
        compress: archive.compress,
        dry_run: archive.dry_run,
    };
    let mut report = ArchiveReport::default();
    let mut after = Some(0);
    while let Some(number) = after {
        let (archived, next) = scope.engine().archive(&scope.tenant, &plan, number)?;
        report.events_archived += archived.events;
        report.aggregates_archived += archived.aggregates;
        for (aggregate, through, events, reason) in archived.kept {
            report.events_kept += events;
            if report.kept.len() < NAMED {
                report.kept.push(Kept { aggregate, through, events, reason });
            }
        }
        report.finished = next.is_none();
        after = next;
        if progress(&report).is_break() {
            break;
        }
    }
    Ok(report)
}

/// Moves archived events back; returns how many.
pub(crate) fn unarchive(scope: &Scope, only: Option<(&str, &str)>) -> Result<u64> {
    let (mut moved, mut after) = (0, Some(0));
    while let Some(number) = after {
        let (step, next) = scope.engine().unarchive(&scope.tenant, only, number)?;
        moved += step;
        after = next;
    }
    Ok(moved)
}
