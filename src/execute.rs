//! execute: load, decide, append, and again if somebody else was faster.

use crate::aggregate::Expected;
use crate::append::{self, Appended, Batch};
use crate::error::{Error, ErrorKind};
use crate::event::NewEvent;
use crate::fold::sealed::Fold;
use crate::json::Json;
use crate::metrics::Timer;
use crate::place::Version;
use crate::replay::{self, Loaded};
use crate::scope::Scope;
use crate::snapshot::{Draft, SnapshotReason};
use crate::sqlite::{aggregates, snapshots};
use crate::trace;

/// What a decision led to.
#[derive(Clone, Debug)]
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

/// Runs a decision on the current state and appends its events.
pub(crate) fn execute<F: Fold, I, E>(
    scope: &Scope,
    fold: &F,
    metadata: Option<&Json>,
    aggregate_id: &str,
    use_snapshots: bool,
    mut decide: impl FnMut(&F::State) -> Result<I, E>,
) -> Result<Executed<F::State>, E>
where
    I: IntoIterator<Item = F::Event>,
    E: From<Error>,
{
    let span = trace::span("execute", fold.aggregate_type());
    let of = |error: Error| {
        span.failed(&error);
        error.during("execute").of(&scope.aggregate(fold.aggregate_type(), aggregate_id))
    };
    let most = scope.options().execute_attempts;
    let mut attempts = 0;
    loop {
        attempts += 1;
        let loaded = load(scope, fold, aggregate_id, use_snapshots).map_err(of)?;
        let (mut state, version, base) = match loaded {
            Some(loaded) => {
                let base = loaded.newest_snapshot;
                (loaded.replayed.state, loaded.replayed.version, base)
            }
            None => (fold.initial(), Version::ZERO, 0),
        };
        let decided: Vec<F::Event> = decide(&state)?.into_iter().collect();
        if decided.is_empty() {
            return Ok(Executed { state, version, appended: None, attempts });
        }
        let mut events = Vec::with_capacity(decided.len());
        for event in &decided {
            events.push(with_metadata(fold.encode(event).map_err(of)?, metadata));
        }
        for event in decided {
            fold.apply(&mut state, event).map_err(of)?;
        }
        match append_decided(scope, fold, aggregate_id, version, base, events, &state) {
            Ok(appended) => {
                let version = appended.version;
                return Ok(Executed { state, version, appended: Some(appended), attempts });
            }
            Err(error) if error.kind() == ErrorKind::Conflict && attempts < most => {}
            Err(error) => return Err(of(error).into()),
        }
    }
}

fn load<F: Fold>(scope: &Scope, fold: &F, aggregate_id: &str, use_snapshots: bool) -> Result<Option<Loaded<F::State>>, Error> {
    let loaded = replay::replay_if_any(scope, fold, aggregate_id, use_snapshots)?;
    if let (Some(loaded), true) = (&loaded, use_snapshots) {
        replay::save_if_due(scope, fold, loaded)?;
    }
    Ok(loaded)
}

/// Appends the events; if a snapshot is due, the state at hand is saved in the same transaction.
fn append_decided<F: Fold>(
    scope: &Scope,
    fold: &F,
    aggregate_id: &str,
    version: Version,
    base: u64,
    events: Vec<NewEvent>,
    state: &F::State,
) -> Result<Appended, Error> {
    let policy = scope.options().snapshots;
    let new_version = version.get() + events.len() as u64;
    let drafting = Timer::start();
    let draft = match policy.is_due(base, new_version) {
        true => Some(Draft {
            version: new_version,
            fold_name: fold.name(),
            fold_version: fold.version(),
            state: fold.save(state)?,
            latest_event_at: 0,
            reason: SnapshotReason::Threshold,
            event_count: new_version.saturating_sub(base),
            created_by: None,
        }),
        false => None,
    };
    let drafted = drafting.elapsed();
    let mut made = None;
    let batch = Batch::new().append(fold.aggregate_type(), aggregate_id, Expected::Exactly(version), events);
    let appended = append::commit(scope, &batch, |writing, placed| {
        let (Some(draft), Some(owner)) = (&draft, placed.owners.first()) else { return Ok(()) };
        // Event ids given by the decision may have placed the events elsewhere.
        if placed.appended.first().is_none_or(|appended| appended.version != new_version) {
            return Ok(());
        }
        let saving = Timer::start();
        let now = scope.options().clock.now_micros();
        let mut row = draft.row(owner, now);
        row.latest_event_at = aggregates::latest_at(writing, owner.aggregate)?;
        snapshots::save(writing, &row, policy.retained())?;
        made = drafted.zip(saving.elapsed()).map(|(drafted, saved)| drafted + saved);
        Ok(())
    })?;
    scope.meter().snapshot_made(made, SnapshotReason::Threshold.as_str());
    appended.into_iter().next().ok_or_else(|| Error::new(ErrorKind::Internal, "the append gave no result"))
}

/// The handle's metadata for events that have none of their own.
pub(crate) fn with_metadata(event: NewEvent, metadata: Option<&Json>) -> NewEvent {
    match metadata {
        Some(metadata) if event.metadata.is_none() => event.metadata_json(metadata.clone()),
        _ => event,
    }
}
