//! Decisions: given events, when a decision runs, then events, an error or nothing.

use std::fmt::{self, Debug, Display};

use super::{difference, unexpected};
use crate::{Aggregate, Aggregates, ErrorKind, Expected, IntoDecision, Store};

/// The aggregate that the given events belong to.
const ID: &str = "given";

/// An aggregate with a history, returned by [`given`].
pub struct Given<A: Aggregate> {
    aggregates: Aggregates<A>,
}

/// Starts with an aggregate that has these events. They go through a store, so an event that cannot be stored or read
/// again fails the test.
#[track_caller]
pub fn given<A: Aggregate>(events: impl IntoIterator<Item = A::Event>) -> Given<A> {
    let aggregates = match Store::in_memory() {
        Ok(store) => store.aggregates::<A>(),
        Err(error) => unexpected("there is no store in memory", &error),
    };
    let given = Given { aggregates };
    given.append(events.into_iter().collect());
    given
}

impl<A: Aggregate> fmt::Debug for Given<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Given").field("aggregates", &self.aggregates).finish_non_exhaustive()
    }
}

impl<A: Aggregate> Given<A> {
    /// Runs the decision on the state. It is what [`Aggregates::execute`] takes.
    #[track_caller]
    pub fn when<D: IntoDecision<A::Event>>(self, decide: impl FnOnce(&A) -> D) -> Then<A, D::Error> {
        let decided = decide(&self.state()).into_decision();
        let decided = decided.map(|events| events.into_iter().map(|event| event.into().into_event()).collect());
        Then { given: self, decided }
    }

    /// Checks the state: after the given events, and after those of [`Then::then_events`].
    #[track_caller]
    pub fn and_state(self, check: impl FnOnce(&A)) -> Given<A> {
        check(&self.state());
        self
    }

    #[track_caller]
    fn append(&self, events: Vec<A::Event>) {
        if events.is_empty() {
            return;
        }
        if let Err(error) = self.aggregates.append(ID, Expected::Any, events) {
            unexpected("the events cannot be appended", &error);
        }
    }

    #[track_caller]
    fn state(&self) -> A {
        match self.aggregates.replay(ID) {
            Ok(replayed) => replayed.state,
            Err(error) if error.kind() == ErrorKind::NotFound => A::default(),
            Err(error) => unexpected("the events cannot be replayed", &error),
        }
    }
}

/// The result of a decision.
#[must_use = "say what is expected: then_events, then_nothing, then_error, then_error_eq or then_error_says"]
pub struct Then<A: Aggregate, E> {
    given: Given<A>,
    decided: Result<Vec<A::Event>, E>,
}

impl<A: Aggregate, E> fmt::Debug for Then<A, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Then").field("given", &self.given).finish_non_exhaustive()
    }
}

impl<A: Aggregate, E> Then<A, E> {
    /// Expects exactly these events, in this order. A store must be able to keep them.
    #[track_caller]
    pub fn then_events(self, expected: impl IntoIterator<Item = A::Event>) -> Given<A>
    where
        A::Event: PartialEq + Debug,
        E: Debug,
    {
        let expected: Vec<A::Event> = expected.into_iter().collect();
        match self.decided {
            Ok(events) if events == expected => {
                self.given.append(events);
                self.given
            }
            Ok(events) => panic!(
                "the decision gave other events than expected (- expected, + given, = both):{}",
                difference(&expected, &events)
            ),
            Err(error) => panic!("the decision failed, where events were expected: {error:?}{}", difference(&expected, &[])),
        }
    }

    /// Expects no event and no error.
    #[track_caller]
    pub fn then_nothing(self)
    where
        A::Event: Debug,
        E: Debug,
    {
        match self.decided {
            Ok(events) if events.is_empty() => {}
            Ok(events) => panic!("the decision gave events, where nothing was expected:{}", list(&events)),
            Err(error) => panic!("the decision failed, where nothing was expected: {error:?}"),
        }
    }

    /// Expects an error, and passes it to `check`.
    #[track_caller]
    pub fn then_error(self, check: impl FnOnce(E))
    where
        A::Event: Debug,
    {
        match self.decided {
            Err(error) => check(error),
            Ok(events) => panic!("the decision did not fail, as was expected; it gave{}", list(&events)),
        }
    }

    /// Expects an error with this text in it: for `String` and `Box<dyn Error>`, and for every error that can be
    /// printed.
    #[track_caller]
    pub fn then_error_says(self, expected: &str)
    where
        A::Event: Debug,
        E: Display,
    {
        match self.decided.map_err(|error| error.to_string()) {
            Err(error) if error.contains(expected) => {}
            Err(error) => panic!("the decision failed with another error:\n  - {expected}\n  + {error}"),
            Ok(events) => panic!("the decision did not fail with {expected:?}; it gave{}", list(&events)),
        }
    }

    /// Expects this error.
    #[track_caller]
    pub fn then_error_eq<X>(self, expected: X)
    where
        A::Event: Debug,
        E: PartialEq<X> + Debug,
        X: Debug,
    {
        match self.decided {
            Err(error) if error == expected => {}
            Err(error) => panic!("the decision failed with another error:\n  - {expected:?}\n  + {error:?}"),
            Ok(events) => panic!("the decision did not fail with {expected:?}; it gave{}", list(&events)),
        }
    }
}

fn list(events: &[impl Debug]) -> String {
    match events {
        [] => " no events".to_owned(),
        events => events.iter().map(|event| format!("\n  + {event:?}")).collect(),
    }
}
