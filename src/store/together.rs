//! Decisions over several aggregates.

use std::convert::Infallible;
use std::fmt;

use serde::Serialize;

use super::Store;
use crate::log::append::{self, Batch, Snapshots};
use crate::log::scope::Scope;
use crate::model::annotated::Annotated;
use crate::model::decision::ExecuteError;
use crate::model::error::{Error, ErrorKind, Result};
use crate::model::fold::AggregateKind;
use crate::model::fold::sealed::Fold;
use crate::model::place::{AggregateRef, Version};
use crate::state::execute::{Deciding, with_retries};
use crate::storage::append::{Appended, Transaction};
use crate::store::aggregates::Aggregates;
use crate::trace;

/// One aggregate of a decision over several; see [`Aggregates::aggregate`].
pub struct OneAggregate<A: AggregateKind> {
    handle: Aggregates<A>,
    aggregate_id: String,
}

/// The aggregates of a decision: arrays, `Vec`s and tuples (up to four members) of [`OneAggregate`] and of each other. Sealed: you
/// cannot implement it.
pub trait AggregateSet: sealed::Set {}

/// The events of a decision, in the form of its [`AggregateSet`]: what iterates over events for each aggregate, in the
/// same arrays, `Vec`s and tuples.
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not have the form of the aggregates",
    note = "return events for each aggregate, in the same arrays, `Vec`s and tuples as the aggregates"
)]
pub trait EventsOf<S> {
    #[doc(hidden)]
    fn add(self, set: &S, adding: &mut sealed::Adding<'_>) -> Result<()>;
}

/// What a decision over several aggregates returns: [`EventsOf`] the set, or a `Result` of them and any type of error.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not what a decision over these aggregates returns",
    note = "return events for each aggregate, in the same arrays, `Vec`s and tuples as the aggregates, or a `Result` of them"
)]
pub trait IntoDecisions<S> {
    /// The application's error; [`Infallible`] if there is none.
    type Error;
    /// The events.
    type Events: EventsOf<S>;

    /// Returns the events, or the application's error.
    ///
    /// # Errors
    /// The decision's own error.
    fn into_decisions(self) -> Result<Self::Events, Self::Error>;
}

/// The result of a decision over several aggregates.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct ExecutedTogether {
    /// What was appended to each aggregate, in their order; `None` for those without new events.
    pub appended: Vec<Option<Appended>>,
    /// How often the decision ran: more than once if another writer was faster.
    pub attempts: u32,
}

impl<A: AggregateKind> Aggregates<A> {
    /// One aggregate, for a decision over several with [`Store::execute`].
    pub fn aggregate(&self, aggregate_id: impl fmt::Display) -> OneAggregate<A> {
        OneAggregate { handle: self.clone(), aggregate_id: aggregate_id.to_string() }
    }
}

impl Store {
    /// Loads several aggregates, decides on their states, and appends the decision's events to all of them or to none.
    /// If another writer changed one of them meanwhile, also one without new events, it tries again, as often as
    /// [`Options::execute_attempts`](crate::Options::execute_attempts) says.
    ///
    /// The decision gets the states in the form in which the aggregates are given, and returns the events in the same
    /// form. As for [`Aggregates::execute`], aggregates without events start from their initial state, a decision
    /// without any events writes nothing, and `decide` must have no side effects.
    ///
    /// ```
    /// use foldlog::{Aggregate, Store};
    /// use serde::{Deserialize, Serialize};
    ///
    /// #[derive(Serialize, Deserialize)]
    /// enum AccountEvent { Deposited { cents: u64 }, Withdrawn { cents: u64 } }
    /// # #[derive(Debug, Default, Serialize, Deserialize)]
    /// # struct Account { cents: u64 }
    /// # impl Aggregate for Account {
    /// #     const TYPE: &'static str = "account";
    /// #     type Event = AccountEvent;
    /// #     fn apply(&mut self, event: AccountEvent) {
    /// #         match event {
    /// #             AccountEvent::Deposited { cents } => self.cents += cents,
    /// #             AccountEvent::Withdrawn { cents } => self.cents -= cents,
    /// #         }
    /// #     }
    /// # }
    ///
    /// fn transfer(from: &Account, cents: u64) -> Result<[Vec<AccountEvent>; 2], String> {
    ///     if from.cents < cents { return Err("not enough money".into()) }
    ///     Ok([vec![AccountEvent::Withdrawn { cents }], vec![AccountEvent::Deposited { cents }]])
    /// }
    ///
    /// let store = Store::in_memory()?;
    /// let accounts = store.aggregates::<Account>();
    /// accounts.execute("acc-1", |_| [AccountEvent::Deposited { cents: 50 }])?;
    /// store.execute([accounts.aggregate("acc-1"), accounts.aggregate("acc-2")], |[from, _to]| transfer(from, 20))?;
    /// assert_eq!(accounts.replay("acc-2")?.state.cents, 20);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// It makes no snapshots with the append: the next load of an aggregate makes one that is due.
    ///
    /// # Errors
    /// [`ExecuteError::Decision`] with the decision's own error; [`ExecuteError::Store`] with those of
    /// [`Aggregates::append`] and [`Aggregates::replay`], and with
    /// [`ErrorKind::InvalidInput`] if an aggregate is named twice or a handle belongs to another tenant. After any of
    /// them nothing of the decision is in the log.
    pub fn execute<S: AggregateSet, D: IntoDecisions<S>>(
        &self,
        aggregates: S,
        mut decide: impl FnMut(&S::States) -> D,
    ) -> Result<ExecutedTogether, ExecuteError<D::Error>> {
        let span = trace::span("execute", "");
        let done = with_retries(&self.scope, |open| {
            let mut loading = sealed::Loading { scope: &self.scope, open, loaded: Vec::new() };
            let states = aggregates.load(&mut loading)?;
            let decided = decide(&states).into_decisions().map_err(ExecuteError::Decision)?;
            let mut adding = sealed::Adding { loaded: loading.loaded.iter(), batch: Batch::new(), has_events: Vec::new() };
            decided.add(&aggregates, &mut adding)?;
            let sealed::Adding { batch, has_events, .. } = adding;
            let mut appended = match batch.is_empty() {
                true => Vec::new(),
                false => append::commit(&self.scope, &batch, Snapshots::default(), open)?.appended,
            }
            .into_iter();
            Ok(has_events.into_iter().map(|has_events| has_events.then(|| appended.next()).flatten()).collect())
        });
        let (appended, attempts) = done.map_err(|error| {
            error.map_store(|error| {
                span.failed(&error);
                error.during("execute")
            })
        })?;
        Ok(ExecutedTogether { appended, attempts })
    }
}

pub(crate) mod sealed {
    use super::*;

    /// What can be loaded together.
    pub trait Set {
        type States;

        fn load(&self, loading: &mut Loading<'_>) -> Result<Self::States>;
    }

    /// Loads the aggregates of a set.
    #[allow(missing_debug_implementations)]
    pub struct Loading<'a> {
        pub(super) scope: &'a Scope,
        pub(super) open: Option<&'a dyn Transaction>,
        /// The aggregates and their versions, in the set's order.
        pub(super) loaded: Vec<(AggregateRef, Version)>,
    }

    /// Adds the events of a decision to a batch.
    #[allow(missing_debug_implementations)]
    pub struct Adding<'a> {
        pub(super) loaded: std::slice::Iter<'a, (AggregateRef, Version)>,
        pub(super) batch: Batch,
        pub(super) has_events: Vec<bool>,
    }
}

impl<A: AggregateKind> fmt::Debug for OneAggregate<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OneAggregate").field("handle", &self.handle).field("aggregate_id", &self.aggregate_id).finish()
    }
}

impl<A: AggregateKind> AggregateSet for OneAggregate<A> {}

impl<A: AggregateKind> sealed::Set for OneAggregate<A> {
    type States = A::State;

    fn load(&self, loading: &mut sealed::Loading<'_>) -> Result<A::State> {
        let OneAggregate { handle, aggregate_id } = self;
        let aggregate = handle.scope.aggregate(handle.aggregate_type(), aggregate_id);
        if aggregate.tenant != loading.scope.tenant {
            return Err(Error::new(ErrorKind::InvalidInput, "the aggregate's handle belongs to another tenant").of(&aggregate));
        }
        if loading.loaded.iter().any(|(known, _)| *known == aggregate) {
            return Err(Error::new(ErrorKind::InvalidInput, "the aggregate is named twice").of(&aggregate));
        }
        let deciding = Deciding { scope: loading.scope, ..handle.deciding(aggregate_id) };
        let loaded = deciding.load_for(loading.open).map_err(|error| error.of(&aggregate))?.map(|loaded| loaded.replayed);
        loading.loaded.push((aggregate, loaded.as_ref().map_or(Version::ZERO, |replayed| replayed.version)));
        Ok(loaded.map_or_else(|| handle.fold.initial(), |replayed| replayed.state))
    }
}

impl<A: AggregateKind, V: IntoIterator<Item: Into<Annotated<A::Event>>>> EventsOf<OneAggregate<A>> for V {
    fn add(self, set: &OneAggregate<A>, adding: &mut sealed::Adding<'_>) -> Result<()> {
        let Some((aggregate, version)) = adding.loaded.next() else { return Err(append::no_result()) };
        let events = set.handle.encode(self).map_err(|error| error.of(aggregate))?;
        adding.has_events.push(!events.is_empty());
        let batch = std::mem::take(&mut adding.batch);
        adding.batch = match events.is_empty() {
            true => batch.expect_of(&set.handle, &set.aggregate_id, *version),
            false => batch.append(set.handle.aggregate_type(), &set.aggregate_id, *version, events),
        };
        Ok(())
    }
}

impl<S: AggregateSet> AggregateSet for Vec<S> {}

impl<S: AggregateSet> sealed::Set for Vec<S> {
    type States = Vec<S::States>;

    fn load(&self, loading: &mut sealed::Loading<'_>) -> Result<Vec<S::States>> {
        self.iter().map(|set| set.load(loading)).collect()
    }
}

impl<S, V: EventsOf<S>> EventsOf<Vec<S>> for Vec<V> {
    fn add(self, set: &Vec<S>, adding: &mut sealed::Adding<'_>) -> Result<()> {
        if self.len() != set.len() {
            let what = format!("the decision returned the events of {} aggregates, not of {}", self.len(), set.len());
            return Err(Error::new(ErrorKind::InvalidInput, what).advice("return an empty list for one without new events"));
        }
        set.iter().zip(self).try_for_each(|(set, events)| events.add(set, adding))
    }
}

impl<S: AggregateSet, const N: usize> AggregateSet for [S; N] {}

impl<S: AggregateSet, const N: usize> sealed::Set for [S; N] {
    type States = [S::States; N];

    fn load(&self, loading: &mut sealed::Loading<'_>) -> Result<[S::States; N]> {
        let states: Vec<S::States> = self.iter().map(|set| set.load(loading)).collect::<Result<_>>()?;
        states.try_into().map_err(|_| append::no_result())
    }
}

impl<S, V: EventsOf<S>, const N: usize> EventsOf<[S; N]> for [V; N] {
    fn add(self, set: &[S; N], adding: &mut sealed::Adding<'_>) -> Result<()> {
        set.iter().zip(self).try_for_each(|(set, events)| events.add(set, adding))
    }
}

macro_rules! infallible {
    ($([$($generics:tt)*] $events:ty => $set:ty;)*) => {$(
        impl<$($generics)*> IntoDecisions<$set> for $events {
            type Error = Infallible;
            type Events = $events;

            fn into_decisions(self) -> Result<$events, Infallible> {
                Ok(self)
            }
        }
    )*};
}

macro_rules! tuples {
    ($(($($set:ident $events:ident $at:tt),*);)*) => {$(
        impl<$($set: AggregateSet),*> AggregateSet for ($($set,)*) {}

        impl<$($set: AggregateSet),*> sealed::Set for ($($set,)*) {
            type States = ($($set::States,)*);

            fn load(&self, loading: &mut sealed::Loading<'_>) -> Result<Self::States> {
                Ok(($(self.$at.load(loading)?,)*))
            }
        }

        impl<$($set, $events: EventsOf<$set>),*> EventsOf<($($set,)*)> for ($($events,)*) {
            fn add(self, set: &($($set,)*), adding: &mut sealed::Adding<'_>) -> Result<()> {
                $(self.$at.add(&set.$at, adding)?;)*
                Ok(())
            }
        }

        infallible! { [$($set, $events: EventsOf<$set>),*] ($($events,)*) => ($($set,)*); }
    )*};
}

impl<S, V: EventsOf<S>, E> IntoDecisions<S> for Result<V, E> {
    type Error = E;
    type Events = V;

    fn into_decisions(self) -> Result<V, E> {
        self
    }
}

infallible! {
    [S, V: EventsOf<S>] Vec<V> => Vec<S>;
    [S, V: EventsOf<S>, const N: usize] [V; N] => [S; N];
}

tuples! {
    (A E 0, B F 1);
    (A E 0, B F 1, C G 2);
    (A E 0, B F 1, C G 2, D H 3);
}
