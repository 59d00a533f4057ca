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
pub trait Aggregate: Default + Serialize + DeserializeOwned + 'static {
    /// The name of the aggregate type in the file. If it is changed, the old history is no longer found.
    const TYPE: &'static str;

    /// Raise this when `apply` or the state's shape changes. A replay only uses snapshots of its own fold version, so it
    /// never starts from what an older program computed; both may run on the same file. After a
    /// [purge](crate::Purge) the events that a new version would have to fold are gone: carry the old version's
    /// snapshots over with [`Aggregates::migrate_snapshots`](crate::Aggregates::migrate_snapshots).
    const FOLD_VERSION: u32 = 1;

    /// What a replay does with an event type that [`Aggregate::Event`] does not have.
    const UNKNOWN_EVENTS: UnknownEvents = UnknownEvents::Refuse;

    /// Whether a replay calls [`Aggregate::apply_recorded`] instead of [`Aggregate::apply`]. Off by default: the
    /// events' times and metadata are then not even read.
    const WANTS_CONTEXT: bool = false;

    /// The name of the fold. Together with [`Aggregate::FOLD_VERSION`] it decides which snapshots a replay may start
    /// from, so two types with the same [`Aggregate::TYPE`] must not share it.
    ///
    /// The default is the type's path, such as `bank::account::Account`. If the type is renamed or moved, its snapshots
    /// are not found any more; the next replay folds all events and makes a new one. Before that costs you something,
    /// after a purge or with very long histories, give the fold a name of its own, which never changes.
    fn fold_name() -> &'static str {
        std::any::type_name::<Self>()
    }

    /// Whether two states are equal. It is asked whether a state comes back from JSON as it went in: if not, it gets no
    /// snapshot, and a [`SnapshotWarning`](crate::SnapshotWarning) says so.
    ///
    /// foldlog also compares the JSON of both, which does not show what serde skips or rounds. So if your state
    /// implements `PartialEq`, return `self == other`. The default is `true`.
    fn is_same(&self, other: &Self) -> bool {
        let _ = other;
        true
    }

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
