//! What an application writes: its aggregates, and what it expects of them.

use std::fmt;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::model::event::EventContext;
use crate::model::place::Version;

/// Something whose history is kept, and how its state follows from its events.
///
/// The event type needs nothing but serde's derives: the variant's (serde) name is the event type in the log, its
/// content the event's data, in whatever tagged form serde gives the enum; see [`NewEvent::of`](crate::NewEvent::of). `apply` must be pure: the same events always give the same state.
///
/// ```
/// use foldlog::Aggregate;
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Serialize, Deserialize)]
/// enum AccountEvent { Opened { owner: String }, Deposited { cents: u64 } }
///
/// #[derive(Default, Serialize, Deserialize)]
/// struct Account { owner: String, cents: u64 }
///
/// impl Aggregate for Account {
///     const TYPE: &'static str = "account";
///     type Event = AccountEvent;
///     fn apply(&mut self, event: AccountEvent) {
///         match event {
///             AccountEvent::Opened { owner } => self.owner = owner,
///             AccountEvent::Deposited { cents } => self.cents += cents,
///         }
///     }
/// }
/// ```
pub trait Aggregate: Default + Serialize + DeserializeOwned {
    /// The name of the aggregate type in the file. Renaming it leaves the old history behind.
    const TYPE: &'static str;

    /// Raise this whenever `apply` or the state's shape changes: snapshots of another fold version are passed over and
    /// replaced, so that a replay never starts from what an older program computed.
    const FOLD_VERSION: u32 = 1;

    /// What a replay does with an event type that [`Aggregate::Event`] does not have.
    const UNKNOWN_EVENTS: UnknownEvents = UnknownEvents::Refuse;

    /// Whether a replay calls [`Aggregate::apply_recorded`] in place of [`Aggregate::apply`]. Off by default: then neither
    /// time nor metadata of the events are read.
    const WANTS_CONTEXT: bool = false;

    /// The events: an enum with serde's derives.
    type Event: Serialize + DeserializeOwned;

    /// Takes one event into the state.
    fn apply(&mut self, event: Self::Event);

    /// Takes one event into the state with its version, position, time and metadata. It is called only if
    /// [`Aggregate::WANTS_CONTEXT`] is `true`. `execute` then replays its events after the append, for they have no time
    /// and no position before.
    ///
    /// ```
    /// use foldlog::{Aggregate, EventContext};
    /// # use serde::{Deserialize, Serialize};
    /// # #[derive(Serialize, Deserialize)]
    /// # enum AccountEvent { Deposited { cents: u64 } }
    ///
    /// #[derive(Default, Serialize, Deserialize)]
    /// struct Account { cents: u64, last_used: Option<chrono::DateTime<chrono::Utc>> }
    ///
    /// impl Aggregate for Account {
    ///     const TYPE: &'static str = "account";
    ///     const WANTS_CONTEXT: bool = true;
    ///     type Event = AccountEvent;
    ///     fn apply(&mut self, AccountEvent::Deposited { cents }: AccountEvent) { self.cents += cents }
    ///     fn apply_recorded(&mut self, event: AccountEvent, at: &EventContext<'_>) {
    ///         self.last_used = Some(at.created_at());
    ///         self.apply(event);
    ///     }
    /// }
    /// ```
    fn apply_recorded(&mut self, event: Self::Event, at: &EventContext<'_>) {
        let _ = at;
        self.apply(event);
    }
}

/// What a replay does with an event type that the fold does not know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum UnknownEvents {
    /// The replay fails with [`ErrorKind::UnknownEventType`](crate::ErrorKind::UnknownEventType) and names the type.
    Refuse,
    /// The event is passed over; it still counts as a version.
    Ignore,
}

/// What a writer believes about an aggregate. If it is wrong, nothing is written and the error says what is true.
///
/// ```
/// use foldlog::{Expected, Version};
/// assert_eq!(Expected::from(3), Expected::Exactly(Version::new(3)));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Expected {
    /// Anything: append after whatever is there.
    Any,
    /// The aggregate has no events yet.
    New,
    /// The aggregate has events.
    Existing,
    /// The aggregate is exactly at this version; 0 is the same as `New`.
    Exactly(Version),
}

impl Expected {
    /// The versions that satisfy it, both ends included.
    pub(crate) fn range(self) -> (u64, u64) {
        match self {
            Expected::Any => (0, Version::MAX.get()),
            Expected::New => (0, 0),
            Expected::Existing => (1, Version::MAX.get()),
            Expected::Exactly(version) => (version.get(), version.get()),
        }
    }
}

impl From<Version> for Expected {
    fn from(version: Version) -> Expected {
        Expected::Exactly(version)
    }
}

macro_rules! from_unsigned {
    ($($number:ty)*) => {
        $(impl From<$number> for Expected {
            fn from(version: $number) -> Expected {
                Expected::Exactly(Version::new(version as u64))
            }
        })*
    };
}

macro_rules! from_signed {
    ($($number:ty)*) => {
        $(
            /// A negative number is a version that no aggregate has: the append conflicts.
            impl From<$number> for Expected {
                fn from(version: $number) -> Expected {
                    Expected::Exactly(Version::new(u64::try_from(version).unwrap_or(u64::MAX)))
                }
            }
        )*
    };
}

from_unsigned! { u8 u16 u32 u64 usize }
// Where several integers can be meant a bare literal is an i32.
from_signed! { i32 i64 }

impl fmt::Display for Expected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Expected::Any => f.write_str("any version"),
            Expected::New => f.write_str("no events"),
            Expected::Existing => f.write_str("at least one event"),
            Expected::Exactly(version) if *version > Version::MAX => f.write_str("a version that no aggregate can have"),
            Expected::Exactly(version) => write!(f, "version {version}"),
        }
    }
}
