//! Preview: what a decision would do, without doing it.

use std::fmt;

use serde::Serialize;

use crate::log::append;
use crate::model::decision::{ExecuteError, IntoDecision};
use crate::model::error::{Error, ErrorKind, Result};
use crate::model::event::RecordedEvent;
use crate::model::fold::AggregateKind;
use crate::model::fold::sealed::Fold;
use crate::model::place::Version;
use crate::state::execute::Decided;
use crate::storage::append::Rehearsed;
use crate::storage::delivery::RowChange;
use crate::store::aggregates::Aggregates;

/// What a decision would do.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Preview<S> {
    /// The state after the new events.
    pub state: S,
    /// The version of the aggregate after the new events.
    pub version: Version,
    /// The events as they would be in the log if nobody else appended first.
    pub events: Vec<RecordedEvent>,
    /// The changes to the tables of this process's inline projections, in the order in which they would happen.
    pub changes: Vec<RowChange>,
}

impl<A: AggregateKind> Aggregates<A> {
    /// Shows what [`execute`](Aggregates::execute) would append, and what this would change in the tables of inline
    /// projections. Nothing is kept: no event, no position, no name, no snapshot.
    ///
    /// The decision is really appended and projected, in a transaction that is rolled back; other writers wait for it.
    /// Changes are recorded in the tables that the projections name in
    /// [`Projection::tables`](crate::Projection::tables).
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
    /// [`ExecuteError::Decision`] with the decision's own error; [`ExecuteError::Store`] with any error that the append
    /// would have.
    pub fn preview<D: IntoDecision<A::Event>>(
        &self,
        aggregate_id: impl fmt::Display,
        mut decide: impl FnMut(&A::State) -> D,
    ) -> Result<Preview<A::State>, ExecuteError<D::Error>> {
        let aggregate_id = &*aggregate_id.to_string();
        let deciding = self.deciding(aggregate_id);
        let of = |error: Error| deciding.of("preview", error);
        let mut attempts = 0;
        loop {
            attempts += 1;
            let loaded = deciding.load_alone().map_err(of)?;
            let Decided { mut state, version, events, .. } =
                deciding.decide_on(loaded, &mut decide).map_err(|error| error.map_store(of))?;
            if events.is_empty() {
                return Ok(Preview { state, version, events: Vec::new(), changes: Vec::new() });
            }
            match append::rehearse(&self.scope, &deciding.batch(version, events)) {
                Ok(Rehearsed { appended, events, changes }) => {
                    let appended = appended.into_iter().next().ok_or_else(append::no_result).map_err(of)?;
                    if appended.was_duplicate {
                        // By its event ids, this decision was already appended, so the state at hand has the events
                        // twice.
                        let now = self.replay(aggregate_id)?;
                        return Ok(Preview { state: now.state, version: now.version, events: Vec::new(), changes: Vec::new() });
                    }
                    self.apply_in_context(&mut state, &events).map_err(of)?;
                    return Ok(Preview { state, version: appended.version, events, changes });
                }
                Err(error) if error.kind() == ErrorKind::Conflict && attempts < self.scope.options().execute_attempts => {}
                Err(error) => return Err(of(error).into()),
            }
        }
    }

    /// A fold that wants the events' context can apply them only once they have one.
    fn apply_in_context(&self, state: &mut A::State, events: &[RecordedEvent]) -> Result<()> {
        if !self.fold.wants_context() {
            return Ok(());
        }
        events
            .iter()
            .try_for_each(|event| self.fold.apply_recorded(state, &event.event_type, event.data.as_str(), &event.context()))
    }
}
