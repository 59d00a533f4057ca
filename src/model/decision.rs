//! What a decision may return, and how `execute` fails.

use std::convert::Infallible;
use std::error::Error as StdError;
use std::fmt;

use serde::Serialize;
use serde::ser::{SerializeStruct, Serializer};

use crate::model::annotated::Annotated;
use crate::model::error::Error;

/// What a decision returns: events, or the application's own error.
///
/// A decision that cannot fail returns its events as an array, a `Vec` or an `Option`, without `Ok`. One that can fail
/// returns a `Result`; the value is anything that iterates over events, the error can be of any type. An event is bare, or
/// [`Annotated`] with an id, a time, tags or metadata.
///
/// ```
/// use foldlog::{Aggregate, Store};
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Serialize, Deserialize)]
/// enum CounterEvent { Added(u64) }
///
/// #[derive(Debug, Default, Serialize, Deserialize)]
/// struct Counter { sum: u64 }
///
/// impl Aggregate for Counter {
///     const TYPE: &'static str = "counter";
///     type Event = CounterEvent;
///     fn apply(&mut self, CounterEvent::Added(n): CounterEvent) { self.sum += n }
/// }
///
/// impl Counter {
///     fn add(&self, n: u64) -> Result<Vec<CounterEvent>, String> {
///         if self.sum + n > 10 { return Err("too much".into()) }
///         Ok(vec![CounterEvent::Added(n)])
///     }
/// }
///
/// let store = Store::in_memory()?;
/// let counters = store.aggregates::<Counter>();
/// counters.execute("c", |_| [CounterEvent::Added(4)])?;
/// counters.execute("c", |counter| counter.add(5))?;
/// let error = counters.execute("c", |counter| counter.add(5)).unwrap_err();
/// assert_eq!(error.decision().unwrap(), "too much");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not what a decision returns",
    label = "a decision returns events of type `{Event}`",
    note = "return an array, a `Vec` or an `Option` of events, or a `Result` of anything that iterates over events"
)]
pub trait IntoDecision<Event> {
    /// The application's error; [`Infallible`] if there is none.
    type Error;
    /// The events, bare or annotated.
    type Events: IntoIterator<Item: Into<Annotated<Event>>>;

    /// Returns the events, or the application's error.
    ///
    /// # Errors
    /// The decision's own error.
    fn into_decision(self) -> Result<Self::Events, Self::Error>;
}

impl<Event, Events: IntoIterator<Item: Into<Annotated<Event>>>, E> IntoDecision<Event> for Result<Events, E> {
    type Error = E;
    type Events = Events;

    fn into_decision(self) -> Result<Events, E> {
        self
    }
}

macro_rules! infallible {
    ($([$($generics:tt)*] $events:ty),*) => {
        $(impl<Event, E: Into<Annotated<Event>> $($generics)*> IntoDecision<Event> for $events {
            type Error = Infallible;
            type Events = $events;

            fn into_decision(self) -> Result<$events, Infallible> {
                Ok(self)
            }
        })*
    };
}

infallible! { [] Vec<E>, [] Option<E>, [, const N: usize] [E; N] }

/// Why `execute` or `preview` failed: the decision refused, or the store failed.
///
/// `?` turns it into `Box<dyn Error>` or `anyhow::Error` whenever the decision's error can be printed, `String` and
/// `Box<dyn Error>` included. In a function that returns [`foldlog::Result`](crate::Result), `?` works if the decision
/// cannot fail or fails with a [`foldlog::Error`](crate::Error). For your own error type with a variant for the store,
/// use [`ExecuteError::flatten`].
#[derive(Debug)]
// Matched like a `Result`: there is no third side.
#[allow(clippy::exhaustive_enums)]
pub enum ExecuteError<E> {
    /// The decision's own error. Nothing was written.
    Decision(E),
    /// The store's error: the state could not be read, or the events could not be written.
    Store(Error),
}

impl<E> ExecuteError<E> {
    /// The decision's error, if the decision failed.
    pub fn decision(&self) -> Option<&E> {
        match self {
            ExecuteError::Decision(error) => Some(error),
            ExecuteError::Store(_) => None,
        }
    }

    /// The store's error, if the store failed.
    pub fn store(&self) -> Option<&Error> {
        match self {
            ExecuteError::Decision(_) => None,
            ExecuteError::Store(error) => Some(error),
        }
    }

    /// Returns the decision's error by value.
    ///
    /// # Errors
    /// The store's error, if the store failed.
    pub fn into_decision(self) -> Result<E, Error> {
        match self {
            ExecuteError::Decision(error) => Ok(error),
            ExecuteError::Store(error) => Err(error),
        }
    }

    /// Adds to the store's error where it happened.
    pub(crate) fn map_store(self, map: impl FnOnce(Error) -> Error) -> ExecuteError<E> {
        match self {
            ExecuteError::Decision(error) => ExecuteError::Decision(error),
            ExecuteError::Store(error) => ExecuteError::Store(map(error)),
        }
    }

    /// Merges the two into one error, for an error type that has a variant for the store's.
    ///
    /// ```
    /// # use foldlog::{Error, ExecuteError};
    /// #[derive(Debug)]
    /// enum BankError { Overdrawn, Store(Error) }
    ///
    /// impl From<Error> for BankError {
    ///     fn from(error: Error) -> BankError { BankError::Store(error) }
    /// }
    ///
    /// let refused: Result<(), ExecuteError<BankError>> = Err(ExecuteError::Decision(BankError::Overdrawn));
    /// assert!(matches!(refused.map_err(ExecuteError::flatten), Err(BankError::Overdrawn)));
    /// ```
    pub fn flatten(self) -> E
    where
        E: From<Error>,
    {
        self.into_decision().unwrap_or_else(E::from)
    }
}

impl<E> From<Error> for ExecuteError<E> {
    fn from(error: Error) -> ExecuteError<E> {
        ExecuteError::Store(error)
    }
}

impl From<ExecuteError<Error>> for Error {
    fn from(error: ExecuteError<Error>) -> Error {
        error.flatten()
    }
}

impl From<ExecuteError<Infallible>> for Error {
    fn from(error: ExecuteError<Infallible>) -> Error {
        match error {
            ExecuteError::Decision(never) => match never {},
            ExecuteError::Store(error) => error,
        }
    }
}

/// Written like [`Error`]; a decision's error has the kind `"decision"` and its message.
impl<E: fmt::Display> Serialize for ExecuteError<E> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            ExecuteError::Store(error) => error.serialize(serializer),
            ExecuteError::Decision(error) => {
                let mut fields = serializer.serialize_struct("ExecuteError", 2)?;
                fields.serialize_field("kind", "decision")?;
                fields.serialize_field("message", &error.to_string())?;
                fields.end()
            }
        }
    }
}

impl<E: fmt::Display> fmt::Display for ExecuteError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ExecuteError::Decision(error) => error.fmt(f),
            ExecuteError::Store(error) => error.fmt(f),
        }
    }
}

// Not bounded by `E: Error`, because neither `String` nor `Box<dyn Error>` implements it. So a decision's error is
// printed, but is not a `source`.
impl<E: fmt::Display + fmt::Debug> StdError for ExecuteError<E> {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.store().and_then(StdError::source)
    }
}
