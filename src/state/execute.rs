//! execute: load, decide, append; and again if another writer was faster.

use serde::Serialize;

use crate::log::append::{self, Batch, Snapshots};
use crate::log::scope::Scope;
use crate::model::decision::{ExecuteError, IntoDecision};
use crate::model::error::{Error, ErrorKind, Result};
use crate::model::event::NewEvent;
use crate::model::expected::Expected;
use crate::model::fold::sealed::Fold;
use crate::model::json::Json;
use crate::model::place::Version;
use crate::state::replay::{self, Loaded};
use crate::state::restorable;
use crate::state::snapshot::{Rejected, SnapshotReason, SnapshotWarning};
use crate::storage::append::{Appended, Transaction};
use crate::storage::load::Until;
use crate::storage::snapshots::NewSnapshot;
use crate::trace;

/// The result of a decision.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Executed<S> {
    /// The state after the new events.
    pub state: S,
    /// The version of the aggregate after the new events.
    pub version: Version,
    /// What was appended; `None` if the decision returned no events and nothing was written.
    pub appended: Option<Appended>,
    /// How often the decision ran: more than once if another writer was faster.
    pub attempts: u32,
    /// Snapshots that were not used or not made; as [`Replayed::warnings`](crate::Replayed::warnings).
    pub warnings: Vec<SnapshotWarning>,
}

/// What a decision needs.
pub(crate) struct Deciding<'a, F> {
    pub(crate) scope: &'a Scope,
    pub(crate) fold: &'a F,
    pub(crate) metadata: Option<&'a Json>,
    pub(crate) aggregate_id: &'a str,
    pub(crate) use_snapshots: bool,
}

/// A decision whose events are ready to be appended.
pub(crate) struct Decided<S> {
    /// The state after the events; before them if the fold wants their context.
    pub(crate) state: S,
    /// The version before the events.
    pub(crate) version: Version,
    pub(crate) events: Vec<NewEvent>,
    newest_snapshot: u64,
    latest_event_at: i64,
    newest_erasure: i64,
    warnings: Vec<SnapshotWarning>,
}

impl<F: Fold> Deciding<'_, F> {
    /// Runs a decision on the current state and appends its events.
    pub(crate) fn execute<D: IntoDecision<F::Event>>(
        &self,
        mut decide: impl FnMut(&F::State) -> D,
    ) -> Result<Executed<F::State>, ExecuteError<D::Error>> {
        let span = trace::span("execute", self.fold.aggregate_type());
        let done = with_retries(self.scope, |transaction| {
            let decided = self.decide_on(self.load_for(transaction)?, &mut decide)?;
            Ok(self.append(decided, transaction)?)
        });
        done.and_then(|(executed, attempts)| Ok(Executed { attempts, ..self.finish(executed)? })).map_err(|error| {
            error.map_store(|error| {
                span.failed(&error);
                self.of("execute", error)
            })
        })
    }

    pub(crate) fn of(&self, operation: &'static str, error: Error) -> Error {
        error.during(operation).of(&self.scope.aggregate(self.fold.aggregate_type(), self.aggregate_id))
    }

    /// Loads the aggregate, if it has events, and writes nothing.
    pub(crate) fn load_alone(&self) -> Result<Option<Loaded<F::State>>> {
        replay::replay_if_any(self.scope, self.fold, self.aggregate_id, Until::Now, self.use_snapshots)
    }

    /// Loads the aggregate for an attempt, if it has events.
    pub(crate) fn load_for(&self, open: Option<&dyn Transaction>) -> Result<Option<Loaded<F::State>>> {
        match open {
            Some(transaction) => replay::replay_in(transaction, self.scope, self.fold, self.aggregate_id, self.use_snapshots),
            None => self.load(),
        }
    }

    /// Loads the aggregate, if it has events. Saves a snapshot that is due.
    pub(crate) fn load(&self) -> Result<Option<Loaded<F::State>>> {
        let mut loaded = self.load_alone()?;
        if let (Some(loaded), true) = (&mut loaded, self.use_snapshots) {
            replay::save_if_due(self.scope, self.fold, self.aggregate_id, loaded);
        }
        Ok(loaded)
    }

    /// Decides on the loaded state, or on the initial one.
    pub(crate) fn decide_on<D: IntoDecision<F::Event>>(
        &self,
        loaded: Option<Loaded<F::State>>,
        decide: impl FnOnce(&F::State) -> D,
    ) -> Result<Decided<F::State>, ExecuteError<D::Error>> {
        let mut decided = match loaded {
            Some(loaded) => Decided {
                version: loaded.replayed.version,
                newest_snapshot: loaded.replayed.from_snapshot.unwrap_or(Version::ZERO).get(),
                latest_event_at: loaded.latest_event_at,
                newest_erasure: loaded.newest_erasure,
                state: loaded.replayed.state,
                warnings: loaded.replayed.warnings,
                events: Vec::new(),
            },
            None => Decided {
                state: self.fold.initial(),
                version: Version::ZERO,
                newest_snapshot: 0,
                latest_event_at: i64::MIN,
                newest_erasure: i64::MAX,
                warnings: Vec::new(),
                events: Vec::new(),
            },
        };
        for event in decide(&decided.state).into_decision().map_err(ExecuteError::Decision)? {
            let (event, annotations) = event.into().split();
            let event = match self.fold.wants_context() {
                true => self.fold.encode(event),
                false => self.fold.take(&mut decided.state, event),
            };
            decided.events.push(with_metadata(annotations.onto(event?)?, self.metadata));
        }
        Ok(decided)
    }

    /// The append of a decision's events.
    pub(crate) fn batch(&self, version: Version, events: Vec<NewEvent>) -> Batch {
        Batch::new().append(self.fold.aggregate_type(), self.aggregate_id, Expected::Exactly(version), events)
    }

    /// Appends a decision's events. If a snapshot is due, it is saved in the same transaction.
    fn append(&self, decided: Decided<F::State>, open: Option<&dyn Transaction>) -> Result<Executed<F::State>> {
        let Decided { state, version, events, newest_snapshot, latest_event_at, newest_erasure, mut warnings } = decided;
        if events.is_empty() {
            return Ok(Executed { state, version, appended: None, attempts: 0, warnings });
        }
        let new_version = version.get() + events.len() as u64;
        let batch = self.batch(version, events);
        let is_due = self.use_snapshots
            && !self.fold.wants_context()
            && self.scope.options().snapshots.is_due(newest_snapshot, new_version);
        // A state that does not come back from JSON gets no snapshot; it must not keep the events out of the log.
        let text = is_due.then(|| restorable::save(self.fold, &state).map(|(text, _)| text)).transpose();
        let text = text.unwrap_or_else(|error| {
            // The load before has already said so if a snapshot was due then.
            warnings.retain(|warning| !matches!(warning.rejected, Rejected::NotRestorable(_)));
            warnings.extend(replay::not_made(self.scope, Version::new(new_version), &error));
            None
        });
        let save = text.as_ref().map(|text| NewSnapshot {
            version: new_version,
            fold: replay::fold_id(self.fold),
            state: text.as_str(),
            latest_event_at,
            reason: SnapshotReason::Threshold.as_str(),
            event_count: new_version.saturating_sub(newest_snapshot),
            created_by: None,
            created_at: self.scope.options().clock.now_micros(),
            newest_erasure,
        });
        let saving = crate::metrics::Timer::start();
        let outcome = append::commit(self.scope, &batch, Snapshots { save, fold: None }, open)?;
        let appended = outcome.appended.into_iter().next().ok_or_else(append::no_result)?;
        if text.is_some() && !appended.was_duplicate {
            self.scope.meter().snapshot_made(saving.elapsed(), SnapshotReason::Threshold.as_str());
        }
        Ok(Executed { state, version: appended.version, appended: Some(appended), attempts: 0, warnings })
    }

    /// Replays if the state at hand is not the result of the append.
    fn finish(&self, executed: Executed<F::State>) -> Result<Executed<F::State>> {
        let Some(appended) = &executed.appended else { return Ok(executed) };
        let until = if appended.was_duplicate {
            // By its event ids, an earlier call already appended this decision, so the state at hand has the events
            // twice.
            Until::Now
        } else if self.fold.wants_context() {
            // Only now the events have the times and positions that the fold wants.
            Until::Version(appended.version.get())
        } else {
            return Ok(executed);
        };
        let now = replay::replay(self.scope, self.fold, self.aggregate_id, until, self.use_snapshots)?.replayed;
        Ok(Executed { state: now.state, version: now.version, warnings: now.warnings, ..executed })
    }
}

/// Attempts until no other writer was faster; also returns the number of attempts. The last one gets the write lock, so
/// that it cannot lose to another writer.
pub(crate) fn with_retries<T, E>(
    scope: &Scope,
    mut attempt: impl FnMut(Option<&dyn Transaction>) -> Result<T, ExecuteError<E>>,
) -> Result<(T, u32), ExecuteError<E>> {
    let most = scope.options().execute_attempts;
    for attempts in 1..most {
        match attempt(None) {
            Err(ExecuteError::Store(error)) if error.kind() == ErrorKind::Conflict => {}
            done => return Ok((done?, attempts)),
        }
    }
    let done = scope.engine().in_turn(&scope.inline(), |transaction| match attempt(Some(transaction)) {
        Ok(done) => Ok(Ok(done)),
        Err(error) => error.into_decision().map(Err),
    });
    scope.log.appended.raise();
    Ok((done?.map_err(ExecuteError::Decision)?, most))
}

/// Gives the handle's metadata to an event that has none.
pub(crate) fn with_metadata(event: NewEvent, metadata: Option<&Json>) -> NewEvent {
    match metadata {
        Some(metadata) if event.metadata.is_none() => event.metadata_json(metadata.clone()),
        _ => event,
    }
}
