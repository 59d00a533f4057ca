//! Aggregates: what an application defines.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::model::event::EventContext;

/// Something whose history is kept, and how its state follows from its events.
///
/// The event type needs only serde's derives. The variant's serde name becomes the event type in the log, its content
/// the event's data, whichever tagged form serde gives the enum; see [`NewEvent::of`](crate::NewEvent::of). `apply`
/// must be pure: the same events always give the same state.
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
    /// The name of the aggregate type in the file. If it is changed, the old history is no longer found.
    const TYPE: &'static str;

    /// Raise this when `apply` or the state's shape changes. Snapshots of another fold version are rejected and
    /// replaced, so a replay never starts from what an older program computed.
    const FOLD_VERSION: u32 = 1;

    /// What a replay does with an event type that [`Aggregate::Event`] does not have.
    const UNKNOWN_EVENTS: UnknownEvents = UnknownEvents::Refuse;

    /// Whether a replay calls [`Aggregate::apply_recorded`] instead of [`Aggregate::apply`]. Off by default: the
    /// events' times and metadata are then not even read.
    const WANTS_CONTEXT: bool = false;

    /// The events: an enum with serde's derives.
    type Event: Serialize + DeserializeOwned;

    /// Applies one event to the state.
    fn apply(&mut self, event: Self::Event);

    /// Applies one event to the state, with its version, position, time and metadata. It is called only if
    /// [`Aggregate::WANTS_CONTEXT`] is `true`. `execute` then replays its own events after the append, because they
    /// have no time and no position before.
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
    /// The event is skipped; it still counts as a version.
    Ignore,
}
