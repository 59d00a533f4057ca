//! Preview: what a decision would do, without doing it.

use crate::log::append::{self, Appended, Batch};
use crate::log::scope::Scope;
use crate::model::aggregate::Expected;
use crate::model::error::{Error, ErrorKind, Result};
use crate::model::event::RecordedEvent;
use crate::model::fold::Folds;
use crate::model::fold::sealed::Fold;
use crate::model::place::Version;
use crate::sqlite::{Writing, log};
use crate::state::execute::{self, Decided};
use crate::state::replay::{self, Until};
use crate::storage::delivery::RowChange;
use crate::store::aggregates::Aggregates;

/// What a decision would do.
#[derive(Clone, Debug)]
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
    /// The decision's own, and whatever would make the append fail.
    pub fn preview<I, E>(
        &self,
        aggregate_id: &str,
        mut decide: impl FnMut(&A::State) -> Result<I, E>,
    ) -> Result<Preview<A::State>, E>
    where
        I: IntoIterator<Item = A::Event>,
        E: From<Error>,
    {
        let (scope, fold) = (&self.scope, &self.fold);
        let of = |error: Error| error.during("preview").of(&scope.aggregate(fold.aggregate_type(), aggregate_id));
        let mut attempts = 0;
        loop {
            attempts += 1;
            let loaded = replay::replay_if_any(scope, fold, aggregate_id, self.use_snapshots).map_err(of)?;
            let Decided { state, version, events, .. } =
                execute::decide_on(fold, self.metadata.as_ref(), loaded, &mut decide, of)?;
            if events.is_empty() {
                return Ok(Preview { state, version, events: Vec::new(), changes: Vec::new() });
            }
            let batch = Batch::new().append(fold.aggregate_type(), aggregate_id, Expected::Exactly(version), events);
            match rehearse(scope, &batch) {
                Ok(Rehearsed { appended, .. }) if appended.already_there => {
                    // Told by its event ids, the decision was taken before: the state at hand holds the events twice.
                    let now = replay::replay(scope, fold, aggregate_id, Until::Now, self.use_snapshots).map_err(of)?.replayed;
                    return Ok(Preview { state: now.state, version: now.version, events: Vec::new(), changes: Vec::new() });
                }
                Ok(Rehearsed { appended, events, changes }) => {
                    return Ok(Preview { state, version: appended.version, events, changes });
                }
                Err(error) if error.kind() == ErrorKind::Conflict && attempts < scope.options().execute_attempts => {}
                Err(error) => return Err(of(error).into()),
            }
        }
    }
}

/// What came of an append that was rolled back.
struct Rehearsed {
    appended: Appended,
    events: Vec<RecordedEvent>,
    changes: Vec<RowChange>,
}

fn rehearse(scope: &Scope, batch: &Batch) -> Result<Rehearsed> {
    let ((appended, events), changes) = append::rehearse(scope, batch, |writing, appended| {
        let appended = appended.into_iter().next().ok_or_else(append::no_result)?;
        let events = recorded(writing, &appended)?;
        Ok((appended, events))
    })?;
    Ok(Rehearsed { appended, events, changes })
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
