//! A replay step by step: every event with the state after it.

use std::fmt;

use serde::Serialize;

use crate::log::query::Events;
use crate::model::error::{Error, ErrorKind, Result};
use crate::model::event::RecordedEvent;
use crate::model::fold::AggregateKind;
use crate::model::fold::sealed::Fold;
use crate::model::json::Json;
use crate::model::place::Version;

/// An event, and the state after it.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Step {
    /// The event.
    pub event: RecordedEvent,
    /// The state, as a snapshot of it would be stored.
    pub state: Json,
}

/// A replay step by step; see [`Aggregates::steps`](crate::Aggregates::steps). Between two pages of events nothing is held
/// open. After an error the iterator ends.
#[must_use = "an iterator does nothing until it is asked for the next item"]
pub struct Steps<A: AggregateKind> {
    fold: A::Fold,
    state: A::State,
    version: Version,
    events: Events,
    has_ended: bool,
}

impl<A: AggregateKind> Steps<A> {
    /// `state` is that at `version`; `events` are those after it.
    pub(crate) fn new(fold: A::Fold, state: A::State, version: Version, events: Events) -> Steps<A> {
        Steps { fold, state, version, events, has_ended: false }
    }

    /// The state before the next step.
    pub fn state(&self) -> &A::State {
        &self.state
    }

    /// The state before the next step, as a snapshot of it would be stored.
    ///
    /// # Errors
    /// [`ErrorKind::Codec`] if the state cannot be written as JSON.
    pub fn state_json(&self) -> Result<Json> {
        self.fold.save(&self.state)
    }

    /// The version before the next step.
    pub fn version(&self) -> Version {
        self.version
    }

    fn step(&mut self, event: RecordedEvent) -> Result<Step> {
        if event.version != self.version + 1 {
            return Err(Error::new(ErrorKind::HistoryRemoved, "the events before this one were removed")
                .advice("begin after the version of a snapshot"));
        }
        self.fold.apply_recorded(&mut self.state, &event.event_type, event.data.as_str(), &event.context())?;
        self.version = event.version;
        Ok(Step { state: self.fold.save(&self.state)?, event })
    }
}

impl<A: AggregateKind> Iterator for Steps<A> {
    type Item = Result<Step>;

    fn next(&mut self) -> Option<Result<Step>> {
        if self.has_ended {
            return None;
        }
        let step = self.events.next()?.and_then(|event| {
            let (aggregate, version, position) = (event.aggregate(), event.version, event.position);
            self.step(event).map_err(|error| error.of(&aggregate).at_version(version).at_position(position))
        });
        self.has_ended = step.is_err();
        Some(step.map_err(|error| error.during("replay by steps")))
    }
}

impl<A: AggregateKind> fmt::Debug for Steps<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Steps").field("version", &self.version).field("events", &self.events).finish_non_exhaustive()
    }
}
