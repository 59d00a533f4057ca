//! Replay: the latest usable snapshot, then the events after it.

use serde::Serialize;

use crate::log::gauges;
use crate::log::scope::Scope;
use crate::metrics::{self, Timer};
use crate::model::clock::from_micros;
use crate::model::error::{Error, ErrorKind, Result};
use crate::model::event::EventContext;
use crate::model::fold::sealed::Fold;
use crate::model::json::Json;
use crate::model::place::{Position, Version};
use crate::model::redacted::Redacted;
use crate::state::restorable;
use crate::state::snapshot::{Rejected, SnapshotReason, SnapshotWarning};
use crate::storage;
use crate::storage::append::Transaction;
use crate::storage::load::{FoldedEvent, LoadRequest, Loader, Until};
use crate::storage::snapshots::{FoldId, NewSnapshot, SnapshotRow};
use crate::trace::{self, Span};

/// A state, and how it was computed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Replayed<S> {
    /// The state.
    pub state: S,
    /// The version of its last event, which the next append expects.
    pub version: Version,
    /// The version of the snapshot that the replay started from; `None` if it started from the first event.
    pub from_snapshot: Option<Version>,
    /// The number of events folded after that.
    pub events_folded: u64,
    /// Snapshots that were not used because they are damaged or of another version of the fold; and one that was due but
    /// was not made.
    pub warnings: Vec<SnapshotWarning>,
}

/// A replay's result, with what a snapshot of it needs.
pub(crate) struct Loaded<S> {
    pub(crate) replayed: Replayed<S>,
    /// The greatest event time up to the version, in microseconds.
    pub(crate) latest_event_at: i64,
    /// The number of the newest erasure when it was loaded.
    pub(crate) newest_erasure: i64,
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

/// As [`replay`], but an aggregate without events is not an error.
pub(crate) fn replay_if_any<F: Fold>(
    scope: &Scope,
    fold: &F,
    aggregate_id: &str,
    until: Until,
    use_snapshots: bool,
) -> Result<Option<Loaded<F::State>>> {
    let timer = Timer::start();
    let span = trace::span("replay", fold.aggregate_type());
    let done = match load(scope, fold, aggregate_id, until, use_snapshots) {
        Ok(loaded) => Ok(Some(loaded)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error.during("replay").of(&scope.aggregate(fold.aggregate_type(), aggregate_id))),
    };
    // An aggregate without events does not count as a replay.
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

/// The request that loads an aggregate.
fn request<'a, F: Fold>(
    scope: &'a Scope,
    fold: &'a F,
    aggregate_id: &'a str,
    until: Until,
    use_snapshots: bool,
) -> LoadRequest<'a> {
    let with_context = fold.wants_context();
    let (tenant, aggregate_type) = (&*scope.tenant, fold.aggregate_type());
    let snapshots_of = use_snapshots.then(|| fold_id(fold));
    LoadRequest { tenant, aggregate_type, aggregate_id, until, snapshots_of, with_context }
}

fn load<F: Fold>(scope: &Scope, fold: &F, aggregate_id: &str, until: Until, use_snapshots: bool) -> Result<Loaded<F::State>> {
    let mut folding = Folding::new(fold);
    let facts = scope.engine().load(&request(scope, fold, aggregate_id, until, use_snapshots), &mut folding)?;
    Ok(folding.loaded(&facts))
}

/// Replays an aggregate, if it has events, in an open transaction.
pub(crate) fn replay_in<F: Fold>(
    transaction: &dyn Transaction,
    scope: &Scope,
    fold: &F,
    aggregate_id: &str,
    use_snapshots: bool,
) -> Result<Option<Loaded<F::State>>> {
    let mut folding = Folding::new(fold);
    let facts = transaction.load(&request(scope, fold, aggregate_id, Until::Now, use_snapshots), &mut folding)?;
    Ok(facts.map(|facts| folding.loaded(&facts)))
}

/// A state that is being computed.
struct Folding<'f, F: Fold> {
    fold: &'f F,
    state: F::State,
    warnings: Vec<SnapshotWarning>,
}

impl<'f, F: Fold> Folding<'f, F> {
    fn new(fold: &'f F) -> Folding<'f, F> {
        Folding { fold, state: fold.initial(), warnings: Vec::new() }
    }

    fn loaded(self, facts: &storage::load::Loaded) -> Loaded<F::State> {
        let replayed = Replayed {
            state: self.state,
            version: Version::new(facts.version),
            from_snapshot: facts.from_snapshot.map(Version::new),
            events_folded: facts.events_folded,
            warnings: self.warnings,
        };
        Loaded { replayed, latest_event_at: facts.latest_event_at, newest_erasure: facts.newest_erasure }
    }
}

impl<F: Fold> Loader for Folding<'_, F> {
    fn offer(&mut self, snapshot: SnapshotRow) -> bool {
        let rejected = if !snapshot.is_intact {
            Rejected::Damaged
        } else if snapshot.fold() != fold_id(self.fold) {
            // An aggregate may also have snapshots of other folds.
            if (&*snapshot.fold_name, snapshot.fold_version) == (self.fold.name(), self.fold.version()) {
                Rejected::OtherUpcasters
            } else if snapshot.fold_name == self.fold.name() {
                Rejected::OtherFold { name: snapshot.fold_name, version: snapshot.fold_version }
            } else {
                return false;
            }
        } else {
            match self.fold.load(&snapshot.state) {
                Ok(state) => {
                    self.state = state;
                    return true;
                }
                Err(error) => Rejected::Undecodable(Redacted::from(error).to_string()),
            }
        };
        self.warnings.push(SnapshotWarning { version: Version::new(snapshot.version), rejected });
        false
    }

    fn apply(&mut self, event: FoldedEvent<'_>) -> Result<()> {
        apply(self.fold, &mut self.state, event)
    }
}

/// Applies a stored event to a state.
pub(super) fn apply<F: Fold>(fold: &F, state: &mut F::State, event: FoldedEvent<'_>) -> Result<()> {
    match event.position {
        Some(position) if fold.wants_context() => {
            let created_at = from_micros(event.created_at)?;
            let at = EventContext::new(Version::new(event.version), Position::new(position), created_at, event.metadata);
            fold.apply_recorded(state, event.event_type, event.data, &at)
        }
        _ => fold.apply_stored(state, event.event_type, event.data),
    }
}

/// The snapshots that a fold can start from.
pub(crate) fn fold_id<F: Fold>(fold: &F) -> FoldId<'_> {
    FoldId { name: fold.name(), version: fold.version(), fingerprint: fold.fingerprint() }
}

/// Saves a snapshot of a replayed state without waiting: if somebody else is writing, the next replay will save one. A
/// snapshot is a cache, so a failure to save one does not fail the caller: it is measured, and if the state is the reason,
/// the result has a warning.
pub(crate) fn save_if_due<F: Fold>(scope: &Scope, fold: &F, aggregate_id: &str, loaded: &mut Loaded<F::State>) {
    let timer = Timer::start();
    match try_to_save(scope, fold, aggregate_id, loaded) {
        Ok(true) => scope.meter().snapshot_made(timer.elapsed(), SnapshotReason::Threshold.as_str()),
        Ok(false) => {}
        Err(error) => {
            let version = loaded.replayed.version;
            loaded.replayed.warnings.extend(not_made(scope, version, &error));
        }
    }
}

/// Measures that a snapshot was not made. The warning, if the state is the reason.
pub(super) fn not_made(scope: &Scope, version: Version, error: &Error) -> Option<SnapshotWarning> {
    scope.meter().failed("snapshot", error);
    if error.kind() != ErrorKind::Codec {
        return None;
    }
    let rejected = Rejected::NotRestorable(error.detail().to_owned());
    scope.meter().snapshot_rejected(rejected.label());
    Some(SnapshotWarning { version, rejected })
}

fn try_to_save<F: Fold>(scope: &Scope, fold: &F, aggregate_id: &str, loaded: &Loaded<F::State>) -> Result<bool> {
    let base = loaded.replayed.from_snapshot.unwrap_or(Version::ZERO).get();
    if scope.engine().is_read_only() || !scope.options().snapshots.is_due(base, loaded.replayed.version.get()) {
        return Ok(false);
    }
    let span = trace::span("snapshot", fold.aggregate_type());
    write(scope, fold, aggregate_id, loaded, (SnapshotReason::Threshold, None), false).inspect_err(|error| span.failed(error))
}

/// Saves a requested snapshot, and waits for its turn.
pub(crate) fn save<F: Fold>(
    scope: &Scope,
    fold: &F,
    aggregate_id: &str,
    loaded: &Loaded<F::State>,
    (reason, created_by): (SnapshotReason, Option<&str>),
    timer: Timer,
) -> Result<()> {
    let span = trace::span("snapshot", fold.aggregate_type());
    let saved = write(scope, fold, aggregate_id, loaded, (reason, created_by), true);
    match &saved {
        Ok(_) => scope.meter().snapshot_made(timer.elapsed(), reason.as_str()),
        Err(error) => {
            scope.meter().failed("snapshot", error);
            span.failed(error);
        }
    }
    saved.map(|_| ())
}

fn write<F: Fold>(
    scope: &Scope,
    fold: &F,
    aggregate_id: &str,
    loaded: &Loaded<F::State>,
    (reason, created_by): (SnapshotReason, Option<&str>),
    patiently: bool,
) -> Result<bool> {
    let (state, _) = restorable::save(fold, &loaded.replayed.state)?;
    let snapshot = snapshot_of(scope, fold, loaded, &state, (reason, created_by));
    let retain = scope.options().snapshots.retained();
    scope.engine().save_snapshot(&scope.tenant, (fold.aggregate_type(), aggregate_id), &snapshot, retain, patiently)
}

fn snapshot_of<'a, F: Fold>(
    scope: &Scope,
    fold: &'a F,
    loaded: &Loaded<F::State>,
    state: &'a Json,
    (reason, created_by): (SnapshotReason, Option<&'a str>),
) -> NewSnapshot<'a> {
    NewSnapshot {
        version: loaded.replayed.version.get(),
        fold: fold_id(fold),
        state: state.as_str(),
        latest_event_at: loaded.latest_event_at,
        reason: reason.as_str(),
        event_count: loaded.replayed.events_folded,
        created_by,
        created_at: scope.options().clock.now_micros(),
        newest_erasure: loaded.newest_erasure,
    }
}

/// Saves snapshots of several aggregates in one transaction.
pub(crate) fn save_all<F: Fold>(
    scope: &Scope,
    fold: &F,
    batch: &[(String, Loaded<F::State>, Json)],
    (reason, created_by): (SnapshotReason, Option<&str>),
    timer: Timer,
) -> Result<()> {
    let snapshots: Vec<(&str, NewSnapshot<'_>)> = batch
        .iter()
        .map(|(id, loaded, state)| (id.as_str(), snapshot_of(scope, fold, loaded, state, (reason, created_by))))
        .collect();
    let Ok(count) = u32::try_from(snapshots.len()) else { return Ok(()) };
    if count == 0 {
        return Ok(());
    }
    let span = trace::span("snapshot", fold.aggregate_type());
    let retain = scope.options().snapshots.retained();
    let saved = scope.engine().save_snapshots(&scope.tenant, fold.aggregate_type(), &snapshots, retain);
    match &saved {
        Ok(()) => (0..count).for_each(|_| scope.meter().snapshot_made(timer.elapsed().map(|all| all / count), reason.as_str())),
        Err(error) => {
            scope.meter().failed("snapshot", error);
            span.failed(error);
        }
    }
    saved
}
