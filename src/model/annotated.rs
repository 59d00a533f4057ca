//! Typed events with an id, a time, tags or metadata.

use chrono::{DateTime, Utc};

use crate::model::error::Result;
use crate::model::event::{EventId, NewEvent};
use crate::model::metadata::Metadata;

/// An event of the application's type with an id, a time, tags or metadata. [`Aggregates::append`](crate::Aggregates::append),
/// [`Batch::append_to`](crate::Batch::append_to) and decisions take it instead of the bare event; the state sees only the
/// event.
///
/// ```
/// use foldlog::{Aggregate, Annotated, Expected, Filter, Store};
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Serialize, Deserialize)]
/// enum AccountEvent { Deposited { cents: u64 } }
///
/// #[derive(Default, Serialize, Deserialize)]
/// struct Account { cents: u64 }
///
/// impl Aggregate for Account {
///     const TYPE: &'static str = "account";
///     type Event = AccountEvent;
///     fn apply(&mut self, AccountEvent::Deposited { cents }: AccountEvent) { self.cents += cents }
/// }
///
/// let store = Store::in_memory()?;
/// let accounts = store.aggregates::<Account>();
/// accounts.append("acc-1", Expected::New, [AccountEvent::Deposited { cents: 5 }])?;
/// accounts.execute("acc-1", |_| [Annotated::new(AccountEvent::Deposited { cents: 7 }).tag("branch:7")])?;
/// assert_eq!(accounts.replay("acc-1")?.state.cents, 12);
/// assert_eq!(store.count(Filter::new().tag("branch:7"))?, 1);
/// # Ok::<(), foldlog::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Annotated<E> {
    event: E,
    annotations: Annotations,
}

/// What an append adds to an event's data.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Annotations {
    id: Option<EventId>,
    created_at: Option<DateTime<Utc>>,
    tags: Vec<String>,
    metadata: Option<Metadata>,
}

impl<E> Annotated<E> {
    /// The bare event.
    pub fn new(event: E) -> Annotated<E> {
        Annotated { event, annotations: Annotations::default() }
    }

    /// Sets the event's id; see [`NewEvent::id`].
    pub fn id(mut self, id: EventId) -> Annotated<E> {
        self.annotations.id = Some(id);
        self
    }

    /// Sets the event's time, instead of the store's clock; see [`NewEvent::created_at`].
    pub fn created_at(mut self, created_at: DateTime<Utc>) -> Annotated<E> {
        self.annotations.created_at = Some(created_at);
        self
    }

    /// Adds a tag; see [`NewEvent::tag`].
    pub fn tag(mut self, tag: impl Into<String>) -> Annotated<E> {
        self.annotations.tags.push(tag.into());
        self
    }

    /// Sets the metadata, instead of the handle's.
    pub fn metadata(mut self, metadata: Metadata) -> Annotated<E> {
        self.annotations.metadata = Some(metadata);
        self
    }

    /// The event.
    pub fn event(&self) -> &E {
        &self.event
    }

    /// The event without the annotations.
    pub fn into_event(self) -> E {
        self.event
    }

    pub(crate) fn split(self) -> (E, Annotations) {
        (self.event, self.annotations)
    }
}

impl<E> From<E> for Annotated<E> {
    fn from(event: E) -> Annotated<E> {
        Annotated::new(event)
    }
}

/// So that `&Vec<Event>` and slices can be appended.
impl<E: Clone> From<&E> for Annotated<E> {
    fn from(event: &E) -> Annotated<E> {
        Annotated::new(event.clone())
    }
}

impl Annotations {
    /// Adds the annotations to an event to append.
    pub(crate) fn onto(self, mut event: NewEvent) -> Result<NewEvent> {
        event.id = self.id.or(event.id);
        event.created_at = self.created_at.or(event.created_at);
        event.tags.extend(self.tags);
        match self.metadata {
            Some(metadata) => event.metadata(&metadata),
            None => Ok(event),
        }
    }
}
