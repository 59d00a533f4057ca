//! execute: load, decide, append, and again if somebody else was faster.

use serde::Serialize;

use crate::log::append::{self, Appended, Batch};
use crate::log::scope::Scope;
use crate::metrics::Timer;
use crate::model::aggregate::Expected;
use crate::model::decision::{ExecuteError, IntoDecision};
use crate::model::error::{Error, ErrorKind};
use crate::model::event::NewEvent;
use crate::model::fold::sealed::Fold;
use crate::model::json::Json;
use crate::model::place::Version;
use crate::sqlite::{aggregates, snapshots};
use crate::state::replay::{self, Loaded, Until};
use crate::state::snapshot::{Draft, SnapshotReason};
use crate::trace;

/// What a decision led to.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Executed<S> {
    /// The state with the new events in it.
    pub state: S,
    /// The version of the aggregate after them.
    pub version: Version,
    /// What was appended; `None` if the decision gave no events, and then nothing was written.
    pub appended: Option<Appended>,
    /// How often the decision was made: more than once if another writer came in between.
    pub attempts: u32,
}

/// Runs a decision on the current state and appends its events; again, while another writer is faster and attempts are
/// left.
pub(crate) fn execute<F: Fold, D: IntoDecision<F::Event>>(
    scope: &Scope,
    fold: &F,
    metadata: Option<&Json>,
    aggregate_id: &str,
    use_snapshots: bool,
    mut decide: impl FnMut(&F::State) -> D,
) -> Result<Executed<F::State>, ExecuteError<D::Error>> {
    let span = trace::span("execute", fold.aggregate_type());
    let most = scope.options().execute_attempts;
    let mut attempts = 1;
    loop {
        match attempt(scope, fold, metadata, aggregate_id, use_snapshots, &mut decide) {
            Err(ExecuteError::Store(error)) if error.kind() == ErrorKind::Conflict && attempts < most => attempts += 1,
            Err(ExecuteError::Store(error)) => {
                span.failed(&error);
                let aggregate = scope.aggregate(fold.aggregate_type(), aggregate_id);
                return Err(error.during("execute").of(&aggregate).into());
            }
            done => return done.map(|executed| Executed { attempts, ..executed }),
        }
    }
}

/// One attempt: load, decide, append.
fn attempt<F: Fold, D: IntoDecision<F::Event>>(
    scope: &Scope,
    fold: &F,
    metadata: Option<&Json>,
    aggregate_id: &str,
    use_snapshots: bool,
    decide: impl FnOnce(&F::State) -> D,
) -> Result<Executed<F::State>, ExecuteError<D::Error>> {
    let loaded = load(scope, fold, aggregate_id, use_snapshots)?;
    let Decided { state, version, newest_snapshot, events } = decide_on(fold, metadata, loaded, decide)?;
    if events.is_empty() {
        return Ok(Executed { state, version, appended: None, attempts: 1 });
    }
    let due = use_snapshots && scope.options().snapshots.is_due(newest_snapshot, version.get() + events.len() as u64);
    let draft = if due { draft(fold, version, newest_snapshot, &events, &state) } else { None };
    let appended = append_decided(scope, fold, aggregate_id, version, events, draft)?;
    let (state, version) = match until(fold, &appended) {
        None => (state, appended.version),
        Some(until) => {
            let now = replay::replay(scope, fold, aggregate_id, until, use_snapshots)?.replayed;
            (now.state, now.version)
        }
    };
    Ok(Executed { state, version, appended: Some(appended), attempts: 1 })
}

/// How far to replay after the append, where the state at hand is not the one that it led to.
fn until<F: Fold>(fold: &F, appended: &Appended) -> Option<Until> {
    if appended.already_there {
        // An earlier call took this decision, told by its event ids: the state at hand holds the events twice.
        Some(Until::Now)
    } else if fold.wants_context() {
        // Only now the events have the times and positions that the fold asks for.
        Some(Until::Version(appended.version.get()))
    } else {
        None
    }
}

/// A decision that is ready to be appended.
pub(crate) struct Decided<S> {
    /// The state with the events in it; without them if the fold wants their context.
    pub(crate) state: S,
    /// The version without them.
    pub(crate) version: Version,
    pub(crate) newest_snapshot: u64,
    pub(crate) events: Vec<NewEvent>,
}

/// Decides on what was loaded, or on the initial state.
pub(crate) fn decide_on<F: Fold, D: IntoDecision<F::Event>>(
    fold: &F,
    metadata: Option<&Json>,
    loaded: Option<Loaded<F::State>>,
    decide: impl FnOnce(&F::State) -> D,
) -> Result<Decided<F::State>, ExecuteError<D::Error>> {
    let (mut state, version, newest_snapshot) = match loaded {
        Some(loaded) => (loaded.replayed.state, loaded.replayed.version, loaded.newest_snapshot),
        None => (fold.initial(), Version::ZERO, 0),
    };
    let decided = decide(&state).into_decision().map_err(ExecuteError::Decision)?;
    let mut events = Vec::new();
    for event in decided {
        let event = if fold.wants_context() { fold.encode(event) } else { fold.take(&mut state, event) };
        events.push(with_metadata(event?, metadata));
    }
    Ok(Decided { state, version, newest_snapshot, events })
}

fn load<F: Fold>(scope: &Scope, fold: &F, aggregate_id: &str, use_snapshots: bool) -> Result<Option<Loaded<F::State>>, Error> {
    let loaded = replay::replay_if_any(scope, fold, aggregate_id, use_snapshots)?;
    if let (Some(loaded), true) = (&loaded, use_snapshots) {
        // A snapshot is a cache: failing to write one does not stop the work.
        let _ = replay::save_if_due(scope, fold, loaded);
    }
    Ok(loaded)
}

/// The snapshot of a state with events in it that are about to be appended. `None` if it cannot be written as JSON, for a
/// cache must not keep events out of the log, or if the state does not hold the events yet; then the next replay makes one.
fn draft<'a, F: Fold>(fold: &'a F, version: Version, base: u64, events: &[NewEvent], state: &F::State) -> Option<Draft<'a>> {
    if fold.wants_context() {
        return None;
    }
    let new_version = version.get() + events.len() as u64;
    Some(Draft {
        version: new_version,
        fold_name: fold.name(),
        fold_version: fold.version(),
        state: fold.save(state).ok()?,
        latest_event_at: 0,
        reason: SnapshotReason::Threshold,
        event_count: new_version.saturating_sub(base),
        created_by: None,
    })
}

/// Appends the events; if there is a snapshot of the state with them, it is saved in the same transaction.
fn append_decided<F: Fold>(
    scope: &Scope,
    fold: &F,
    aggregate_id: &str,
    version: Version,
    events: Vec<NewEvent>,
    draft: Option<Draft<'_>>,
) -> Result<Appended, Error> {
    let mut made = None;
    let batch = Batch::new().append(fold.aggregate_type(), aggregate_id, Expected::Exactly(version), events);
    let appended = append::commit(scope, &batch, |writing, owners| {
        let (Some(draft), Some(owner)) = (&draft, owners.first()) else { return Ok(()) };
        let saving = Timer::start();
        let mut row = draft.row(owner, scope.options().clock.now_micros());
        row.latest_event_at = aggregates::latest_at(writing, owner.aggregate)?;
        snapshots::save(writing, &row, scope.options().snapshots.retained())?;
        made = saving.elapsed();
        Ok(())
    })?;
    scope.meter().snapshot_made(made, SnapshotReason::Threshold.as_str());
    appended.into_iter().next().ok_or_else(append::no_result)
}

/// The handle's metadata for events that have none of their own.
pub(crate) fn with_metadata(event: NewEvent, metadata: Option<&Json>) -> NewEvent {
    match metadata {
        Some(metadata) if event.metadata.is_none() => event.metadata_json(metadata.clone()),
        _ => event,
    }
}
