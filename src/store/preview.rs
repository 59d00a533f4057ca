//! Preview: what a decision would do, without doing it.

use serde::Serialize;

use crate::log::append::{self, Appended, Batch};
use crate::log::scope::Scope;
use crate::model::aggregate::Expected;
use crate::model::decision::{ExecuteError, IntoDecision};
use crate::model::error::{ErrorKind, Result};
use crate::model::event::RecordedEvent;
use crate::model::fold::Folds;
use crate::model::fold::sealed::Fold;
use crate::model::json::Json;
use crate::model::place::Version;
use crate::sqlite::changes::{self, Change};
use crate::sqlite::{Writing, log};
use crate::state::execute::{self, Decided};
use crate::state::replay::{self, Until};
use crate::store::aggregates::Aggregates;

/// What a decision would do.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Preview<S> {
    /// The state with the new events in it.
    pub state: S,
    /// The version of the aggregate with them.
    pub version: Version,
    /// The events, as they would stand in the log if nobody appended before.
    pub events: Vec<RecordedEvent>,
    /// What they would change in the tables of the projections that run inside this process's appends, in the order in
    /// which it would happen.
    pub changes: Vec<RowChange>,
}

/// What would happen to one row of a read model.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct RowChange {
    /// The table.
    pub table: String,
    /// What would happen to the row.
    pub kind: ChangeKind,
    /// The row as it is, as a JSON object of its columns; `None` for an insert. A blob is the text of its SQL literal.
    pub before: Option<Json>,
    /// The row as it would be; `None` for a delete.
    pub after: Option<Json>,
}

/// What would happen to a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ChangeKind {
    /// It would be there.
    Insert,
    /// It would be another.
    Update,
    /// It would be gone.
    Delete,
}

impl<A: Folds> Aggregates<A> {
    /// Shows what [`execute`](Aggregates::execute) would append, and what that would change in the tables of inline
    /// projections, without keeping any of it: no event, no position, no name, no snapshot.
    ///
    /// The decision is appended and projected for real, in a transaction that is rolled back; other writers wait for it.
    /// Rows are noticed in the tables that the projections name in [`Projection::tables`](crate::Projection::tables).
    ///
    /// ```
    /// use foldlog::{ChangeKind, Documents, NewEvent, Store};
    /// use serde_json::json;
    ///
    /// let store = Store::in_memory()?;
    /// store.project_inline(Documents::new("orders", 1, |event| Some(event.aggregate_id.to_string()), |order, event| {
    ///     *order = event.data.to_value()?;
    ///     Ok(())
    /// }))?;
    /// let orders = store.json_aggregates("order");
    /// let preview = orders.preview("o-1", |_| NewEvent::new("Placed", &json!({"items": 3})).map(|event| [event]))?;
    /// assert_eq!((preview.events.len(), preview.changes.len()), (1, 1));
    /// assert_eq!((preview.changes[0].table.as_str(), preview.changes[0].kind), ("orders", ChangeKind::Insert));
    /// assert_eq!(store.last_position()?, 0);
    /// # Ok::<(), foldlog::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`ExecuteError::Decision`] with the decision's own; [`ExecuteError::Store`] for whatever would make the append fail.
    pub fn preview<D: IntoDecision<A::Event>>(
        &self,
        aggregate_id: &str,
        mut decide: impl FnMut(&A::State) -> D,
    ) -> Result<Preview<A::State>, ExecuteError<D::Error>> {
        let (scope, fold) = (&self.scope, &self.fold);
        let mut attempts = 1;
        loop {
            match self.attempt_preview(aggregate_id, &mut decide) {
                Err(ExecuteError::Store(error))
                    if error.kind() == ErrorKind::Conflict && attempts < scope.options().execute_attempts =>
                {
                    attempts += 1;
                }
                Err(ExecuteError::Store(error)) => {
                    let aggregate = scope.aggregate(fold.aggregate_type(), aggregate_id);
                    return Err(error.during("preview").of(&aggregate).into());
                }
                done => return done,
            }
        }
    }

    fn attempt_preview<D: IntoDecision<A::Event>>(
        &self,
        aggregate_id: &str,
        decide: impl FnOnce(&A::State) -> D,
    ) -> Result<Preview<A::State>, ExecuteError<D::Error>> {
        let (scope, fold) = (&self.scope, &self.fold);
        let loaded = replay::replay_if_any(scope, fold, aggregate_id, self.use_snapshots)?;
        let Decided { mut state, version, events, .. } = execute::decide_on(fold, self.metadata.as_ref(), loaded, decide)?;
        if events.is_empty() {
            return Ok(Preview { state, version, events: Vec::new(), changes: Vec::new() });
        }
        let batch = Batch::new().append(fold.aggregate_type(), aggregate_id, Expected::Exactly(version), events);
        let Rehearsed { appended, events, changes } = rehearse(scope, &batch)?;
        if appended.already_there {
            // Told by its event ids, the decision was taken before: the state at hand holds the events twice.
            let now = replay::replay(scope, fold, aggregate_id, Until::Now, self.use_snapshots)?.replayed;
            return Ok(Preview { state: now.state, version: now.version, events: Vec::new(), changes: Vec::new() });
        }
        if fold.wants_context() {
            for event in &events {
                fold.apply_recorded(&mut state, &event.event_type, event.data.as_str(), &event.context())?;
            }
        }
        Ok(Preview { state, version: appended.version, events, changes })
    }
}

/// What came of an append that was rolled back.
struct Rehearsed {
    appended: Appended,
    events: Vec<RecordedEvent>,
    changes: Vec<RowChange>,
}

fn rehearse(scope: &Scope, batch: &Batch) -> Result<Rehearsed> {
    let watch = |writing: &Writing<'_>| {
        // What other processes appended without the projections is not this decision's doing.
        scope.run_inline(writing)?;
        changes::watch(writing, &scope.inline_tables())
    };
    append::rehearse(scope, batch, watch, |writing, (), appended| {
        let changes = changes::noted(writing)?.into_iter().map(row_change).collect::<Result<_>>()?;
        let appended = appended.into_iter().next().ok_or_else(append::no_result)?;
        let events = recorded(writing, &appended)?;
        Ok(Rehearsed { appended, events, changes })
    })
}

/// The events that were appended.
fn recorded(writing: &Writing<'_>, appended: &Appended) -> Result<Vec<RecordedEvent>> {
    let mut recorded = Vec::new();
    let range = (appended.commit_id.get(), appended.position.get());
    let count = appended.event_ids.len();
    log::scan_log(writing, log::Along::Log, range, false, count, |raw, aggregate_type, aggregate_id| {
        recorded.push(raw.recorded(aggregate_type, aggregate_id.into())?);
        Ok(true)
    })?;
    Ok(recorded)
}

fn row_change(change: Change) -> Result<RowChange> {
    let kind = match change.kind.as_str() {
        "insert" => ChangeKind::Insert,
        "update" => ChangeKind::Update,
        _ => ChangeKind::Delete,
    };
    Ok(RowChange { table: change.table, kind, before: change.before.map(Json::stored), after: change.after.map(Json::stored) })
}
