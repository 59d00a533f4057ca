//! Replay: the latest usable snapshot, then the events after it.

use chrono::{DateTime, Utc};
use serde::Serialize;

use crate::log::gauges;
use crate::log::scope::{Scope, history_removed, not_found};
use crate::metrics::{self, Timer};
use crate::model::clock::from_micros;
use crate::model::error::{Error, ErrorKind, Result};
use crate::model::event::EventContext;
use crate::model::fold::sealed::Fold;
use crate::model::place::Version;
use crate::model::redacted::Misfit;
use crate::sqlite::aggregates::{self, AggregateRow};
use crate::sqlite::events::{self, Owner};
use crate::sqlite::{View, snapshots};
use crate::state::snapshot::{Draft, Rejected, SnapshotReason, SnapshotWarning};
use crate::trace::{self, Span};

/// Events folded in one read transaction: a long replay pins no write-ahead log.
const PAGE: usize = 1_024;
/// Snapshots that a replay looks at before it starts from the first event.
const SNAPSHOTS_TRIED: usize = 32;

/// A state, and where it came from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Replayed<S> {
    /// The state.
    pub state: S,
    /// The version of the last event in it: what the next append expects.
    pub version: Version,
    /// The version of the snapshot that it started from; `None` if from the first event.
    pub from_snapshot: Option<Version>,
    /// How many events were folded on top of that.
    pub events_folded: u64,
    /// Snapshots that were passed over because they are damaged or of another fold. They are replaced in time.
    pub warnings: Vec<SnapshotWarning>,
}

/// How far to replay.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Until {
    Now,
    Version(u64),
    Time(DateTime<Utc>),
}

/// A replay's result and what a snapshot of it needs to know.
pub(crate) struct Loaded<S> {
    pub(crate) replayed: Replayed<S>,
    pub(crate) owner: Owner,
    /// The greatest event time up to the version, in microseconds; of use only after a replay to now.
    pub(crate) latest_at: i64,
    /// The version of the newest snapshot, usable or not; 0 if there is none.
    pub(crate) newest_snapshot: u64,
}

/// A replay on its way.
struct Progress<S> {
    state: S,
    /// The version of the last event that was folded, or of the snapshot.
    version: u64,
    /// The version of the last event that was looked at: a replay to a time passes over later events.
    scanned: u64,
    folded: u64,
    from_snapshot: Option<Version>,
    newest_snapshot: u64,
    warnings: Vec<SnapshotWarning>,
}

/// Replays an aggregate.
pub(crate) fn replay<F: Fold>(
    scope: &Scope,
    fold: &F,
    aggregate_id: &str,
    until: Until,
    use_snapshots: bool,
) -> Result<Loaded<F::State>> {
    let timer = Timer::start();
    let span = trace::span("replay", fold.aggregate_type());
    let done = load(scope, fold, aggregate_id, until, use_snapshots)
        .map_err(|error| error.during("replay").of(&scope.aggregate(fold.aggregate_type(), aggregate_id)));
    measure(scope, timer, &span, use_snapshots, done.as_ref());
    done
}

/// As [`replay`], but an aggregate without events is not a failure.
pub(crate) fn replay_if_any<F: Fold>(
    scope: &Scope,
    fold: &F,
    aggregate_id: &str,
    use_snapshots: bool,
) -> Result<Option<Loaded<F::State>>> {
    let timer = Timer::start();
    let span = trace::span("replay", fold.aggregate_type());
    let done = match load(scope, fold, aggregate_id, Until::Now, use_snapshots) {
        Ok(loaded) => Ok(Some(loaded)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error.during("replay").of(&scope.aggregate(fold.aggregate_type(), aggregate_id))),
    };
    // Where there is no event nothing was replayed.
    if let Some(done) = done.as_ref().map(Option::as_ref).transpose() {
        measure(scope, timer, &span, use_snapshots, done);
    }
    done
}

fn measure<S>(scope: &Scope, timer: Timer, span: &Span, use_snapshots: bool, done: Result<&Loaded<S>, &Error>) {
    if let Err(error) = done {
        span.failed(error);
    }
    let outcome = done.map(|Loaded { replayed, .. }| metrics::Replay {
        events_folded: replayed.events_folded,
        found_snapshot: replayed.from_snapshot.is_some(),
        rejected: replayed.warnings.iter().map(|warning| warning.rejected.label()),
    });
    scope.meter().replayed(timer, use_snapshots, outcome);
    gauges::sample(scope);
}

fn load<F: Fold>(scope: &Scope, fold: &F, aggregate_id: &str, until: Until, use_snapshots: bool) -> Result<Loaded<F::State>> {
    let (row, owner, target, mut progress) = scope.database().read(|view| {
        let (row, owner) = scope.look_up(view, fold.aggregate_type(), aggregate_id)?.ok_or_else(not_found)?;
        let target = target(view, &row, until)?;
        let mut progress = start(view, fold, &row, &owner, until, target, use_snapshots)?;
        if matches!(until, Until::Now) {
            first_page(view, fold, &row, &owner, &mut progress)?;
        } else {
            fold_page(view, fold, &owner, target, until, &mut progress)?;
        }
        Ok((row, owner, target, progress))
    })?;
    while progress.scanned < target {
        scope.database().read(|view| {
            // Between two pages a purge may have come.
            let (row, _) = scope.find(view, fold.aggregate_type(), aggregate_id)?.ok_or_else(not_found)?;
            if row.removed_through() > progress.scanned {
                return Err(history_removed(row.removed_through()));
            }
            let before = progress.scanned;
            fold_page(view, fold, &owner, target, until, &mut progress)?;
            if progress.scanned == before { Err(events::hole(before + 1)) } else { Ok(()) }
        })?;
    }
    if progress.version == 0 {
        return Err(Error::new(ErrorKind::NotFound, "the aggregate has no events at or before the time that was asked for"));
    }
    let replayed = Replayed {
        state: progress.state,
        version: Version::new(progress.version),
        from_snapshot: progress.from_snapshot,
        events_folded: progress.folded,
        warnings: progress.warnings,
    };
    Ok(Loaded { replayed, owner, latest_at: row.latest_at, newest_snapshot: progress.newest_snapshot })
}

/// The version up to which events are looked at. What the row says of the events is checked where it is believed; a replay
/// to now sees for itself where they end.
fn target(view: &View<'_>, row: &AggregateRow, until: Until) -> Result<u64> {
    let believed = match until {
        Until::Now => false,
        Until::Version(version) => version > row.version,
        Until::Time(_) => true,
    };
    if believed {
        aggregates::check_ends(view, row)?;
    }
    match until {
        Until::Now | Until::Time(_) => Ok(row.version),
        Until::Version(0) => {
            Err(Error::new(ErrorKind::NotFound, "there is no state at version 0: the first event makes version 1"))
        }
        Until::Version(version) if version > row.version => {
            Err(Error::new(ErrorKind::NotFound, format!("the aggregate is at version {}", row.version))
                .at_version(Version::new(version)))
        }
        Until::Version(version) => Ok(version),
    }
}

/// The latest usable snapshot, or the beginning.
fn start<F: Fold>(
    view: &View<'_>,
    fold: &F,
    row: &AggregateRow,
    owner: &Owner,
    until: Until,
    target: u64,
    use_snapshots: bool,
) -> Result<Progress<F::State>> {
    let mut progress = Progress {
        state: fold.initial(),
        version: 0,
        scanned: 0,
        folded: 0,
        from_snapshot: None,
        newest_snapshot: 0,
        warnings: Vec::new(),
    };
    let mut through = target;
    for _ in 0..if use_snapshots { SNAPSHOTS_TRIED } else { 0 } {
        let Some(found) = snapshots::newest(view, row.id, through)? else { break };
        progress.newest_snapshot = progress.newest_snapshot.max(found.version);
        through = found.version.saturating_sub(1);
        let rejected = if !found.is_intact(owner.identity) {
            Rejected::Damaged
        } else if found.fold_name != fold.name() || found.fold_version != fold.version() {
            Rejected::OtherFold { name: found.fold_name, version: found.fold_version }
        } else if matches!(until, Until::Time(time) if found.latest_event_at > time.timestamp_micros()) {
            // Nothing is wrong with it, it only holds an event that is too late.
            continue;
        } else {
            match fold.load(&found.state) {
                Ok(state) => {
                    progress.state = state;
                    progress.version = found.version;
                    progress.scanned = found.version;
                    progress.from_snapshot = Some(Version::new(found.version));
                    break;
                }
                Err(error) => Rejected::Undecodable(Misfit::from(error).to_string()),
            }
        };
        progress.warnings.push(SnapshotWarning { version: Version::new(found.version), rejected });
    }
    if row.removed_through() > progress.scanned {
        aggregates::check_ends(view, row)?;
        return Err(history_removed(row.removed_through()));
    }
    Ok(progress)
}

/// The first page of a replay to now: it runs to the last event there is, and that must be the one that the row names. A
/// version that damage has lowered would otherwise give an old state.
fn first_page<F: Fold>(
    view: &View<'_>,
    fold: &F,
    row: &AggregateRow,
    owner: &Owner,
    progress: &mut Progress<F::State>,
) -> Result<()> {
    let before = progress.scanned;
    // With their context events are read by a scan, which has to know where it ends.
    let target = if fold.wants_context() { row.version } else { Version::MAX.get() };
    fold_page(view, fold, owner, target, Until::Now, progress)?;
    // A full page need not be the last one.
    if progress.scanned - before < PAGE as u64 {
        aggregates::check_newest(row, progress.scanned)
    } else {
        aggregates::check_ends(view, row)
    }
}

/// Folds the next page of events.
fn fold_page<F: Fold>(
    view: &View<'_>,
    fold: &F,
    owner: &Owner,
    target: u64,
    until: Until,
    progress: &mut Progress<F::State>,
) -> Result<()> {
    let before = progress.scanned;
    if matches!(until, Until::Time(_)) || fold.wants_context() {
        let latest = if let Until::Time(time) = until { time.timestamp_micros() } else { i64::MAX };
        events::scan_aggregate(view, owner, (before, target), false, PAGE, |raw| {
            progress.scanned = raw.version;
            if raw.created_at <= latest {
                let (version, position) = (Version::new(raw.version), raw.position.into());
                let at = EventContext::new(version, position, from_micros(raw.created_at)?, raw.metadata);
                let state = &mut progress.state;
                let applied = if fold.wants_context() {
                    fold.apply_recorded(state, &raw.event_type.name, raw.data, &at)
                } else {
                    fold.apply_stored(state, &raw.event_type.name, raw.data)
                };
                applied.map_err(|error| error.at_version(version).at_position(position))?;
                progress.version = raw.version;
                progress.folded += 1;
            }
            Ok(true)
        })?;
    } else {
        let state = &mut progress.state;
        progress.scanned = events::fold_page(view, owner, before, target, PAGE, |event| {
            fold.apply_stored(state, &event.event_type.name, event.data)
                .map_err(|error| error.at_version(Version::new(event.version)))
        })?;
        progress.version = progress.scanned;
        progress.folded += progress.scanned - before;
    }
    Ok(())
}

/// Saves a snapshot of what was replayed, waiting for nobody: if the file is busy the next replay will.
pub(crate) fn save_if_due<F: Fold>(scope: &Scope, fold: &F, loaded: &Loaded<F::State>) -> Result<bool> {
    let timer = Timer::start();
    let saved = try_to_save(scope, fold, loaded);
    match &saved {
        Ok(true) => scope.meter().snapshot_made(timer.elapsed(), SnapshotReason::Threshold.as_str()),
        Ok(false) => {}
        // Most callers pass over it, for a snapshot is only a cache; an operator wants to know.
        Err(error) => scope.meter().failed("snapshot", error),
    }
    saved
}

fn try_to_save<F: Fold>(scope: &Scope, fold: &F, loaded: &Loaded<F::State>) -> Result<bool> {
    let base = loaded.replayed.from_snapshot.unwrap_or(Version::ZERO).get();
    if scope.database().is_read_only() || !scope.options().snapshots.is_due(base, loaded.replayed.version.get()) {
        return Ok(false);
    }
    let span = trace::span("snapshot", fold.aggregate_type());
    let saved = draft(fold, loaded, SnapshotReason::Threshold, None).and_then(|draft| {
        let now = scope.options().clock.now_micros();
        let retain = scope.options().snapshots.retained();
        scope.database().try_write(|writing| snapshots::save(writing, &draft.row(&loaded.owner, now), retain))
    });
    saved.map(|saved| saved.is_some()).inspect_err(|error| span.failed(error))
}

/// Saves a snapshot that somebody asked for, waiting for its turn.
pub(crate) fn save<F: Fold>(
    scope: &Scope,
    fold: &F,
    loaded: &Loaded<F::State>,
    reason: SnapshotReason,
    created_by: Option<&str>,
    timer: Timer,
) -> Result<()> {
    let span = trace::span("snapshot", fold.aggregate_type());
    let saved = draft(fold, loaded, reason, created_by).and_then(|draft| {
        let now = scope.options().clock.now_micros();
        let retain = scope.options().snapshots.retained();
        scope.database().write(|writing| snapshots::save(writing, &draft.row(&loaded.owner, now), retain))
    });
    match &saved {
        Ok(()) => scope.meter().snapshot_made(timer.elapsed(), reason.as_str()),
        Err(error) => {
            scope.meter().failed("snapshot", error);
            span.failed(error);
        }
    }
    saved
}

/// A snapshot of what was replayed up to now.
fn draft<'a, F: Fold>(
    fold: &'a F,
    loaded: &Loaded<F::State>,
    reason: SnapshotReason,
    created_by: Option<&'a str>,
) -> Result<Draft<'a>> {
    Ok(Draft {
        version: loaded.replayed.version.get(),
        fold_name: fold.name(),
        fold_version: fold.version(),
        state: fold.save(&loaded.replayed.state)?,
        latest_event_at: loaded.latest_at,
        reason,
        event_count: loaded.replayed.events_folded,
        created_by,
    })
}
