//! Events: new ones, and those read from the log.

use std::fmt;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::model::blank;
use crate::model::codec;
use crate::model::error::{Error, ErrorKind, Result};
use crate::model::json::{self, Json};
use crate::model::metadata::Metadata;
use crate::model::place::{AggregateRef, Position, Version};
use crate::model::trace_context::TraceContext;

/// An event's identity: unique in its tenant. An append with the same ids is recognised as a repeat, also after a purge of its
/// events if the caller gave the ids.
pub type EventId = Uuid;

/// An event to append.
///
/// ```
/// use foldlog::{Metadata, NewEvent};
/// let event = NewEvent::new("Deposited", &serde_json::json!({"cents": 500}))?
///     .metadata(&Metadata::new().user_id("u-1"))?
///     .tag("branch:7");
/// # Ok::<(), foldlog::Error>(())
/// ```
///
/// Its JSON form has the names of a [`RecordedEvent`], so that a line of an export can be appended again. Only
/// `eventType` and `data` are required.
///
/// ```
/// let event: foldlog::NewEvent = serde_json::from_str(r#"{"eventType":"Deposited","data":{"cents":500}}"#)?;
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NewEvent {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) id: Option<EventId>,
    pub(crate) event_type: String,
    /// `None`: the current one of its type.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) schema_version: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) created_at: Option<DateTime<Utc>>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) tags: Vec<String>,
    pub(crate) data: Json,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) metadata: Option<Json>,
}

impl NewEvent {
    /// Makes an event of this type, with any serialisable value as its data.
    ///
    /// # Errors
    /// [`ErrorKind::Codec`] as for [`Json::from_serialize`].
    pub fn new<T: Serialize + ?Sized>(event_type: impl Into<String>, data: &T) -> Result<NewEvent> {
        let event_type = event_type.into();
        let data = Json::from_serialize(data).map_err(|error| error.event_type_is(&event_type))?;
        Ok(NewEvent::with_json(event_type, data))
    }

    /// Makes an event of this type, with JSON that is stored byte for byte.
    pub fn with_json(event_type: impl Into<String>, data: Json) -> NewEvent {
        NewEvent {
            id: None,
            event_type: event_type.into(),
            schema_version: None,
            data,
            metadata: None,
            created_at: None,
            tags: Vec::new(),
        }
    }

    /// Makes an event from an enum with serde's derives. The variant's serde name is the event type, its content the
    /// data. A unit variant has the data `{}`.
    ///
    /// The enum may be tagged externally (serde's default), internally or adjacently. What is stored is the same,
    /// because the tag becomes the event type and is left out of the data. An external enum may have an untagged
    /// variant for unknown event types, such as `#[serde(untagged)] Other(serde_json::Value)`; it holds `{event type:
    /// data}`.
    ///
    /// # Errors
    /// [`ErrorKind::Codec`] if the value is not an enum with named variants, or if what was written cannot be read back
    /// as the same type: a NaN, for example, becomes `null` in JSON. Because it is refused here, such an event cannot
    /// make its aggregate unreadable.
    ///
    /// ```
    /// #[derive(serde::Serialize, serde::Deserialize)]
    /// enum Account { Deposited { cents: u64 }, Closed }
    /// let event = foldlog::NewEvent::of(&Account::Deposited { cents: 5 })?;
    /// # Ok::<(), foldlog::Error>(())
    /// ```
    pub fn of<E: Serialize + DeserializeOwned>(event: &E) -> Result<NewEvent> {
        NewEvent::encode_and_read_back(event).map(|(event, _)| event)
    }

    /// As [`NewEvent::of`], and also returns the event as it will be read from the log.
    pub(crate) fn encode_and_read_back<E: Serialize + DeserializeOwned>(event: &E) -> Result<(NewEvent, E)> {
        let (event_type, data) = codec::encode(event)?;
        let data = Json::written(data).map_err(|error| error.event_type_is(&event_type))?;
        match codec::decode::<E>(&event_type, data.as_str()) {
            Ok(stored) => Ok((NewEvent::with_json(event_type, data), stored)),
            Err(error) => Err(Error::new(
                ErrorKind::Codec,
                format!("the event cannot be read back from the JSON that it turns into: {error}"),
            )
            .event_type_is(&event_type)
            .advice("a float that is not finite and fields that are skipped only when written are the usual reasons")),
        }
    }

    /// Sets the event's id. Appending the same event again then returns the first append's result.
    pub fn id(mut self, id: EventId) -> NewEvent {
        self.id = Some(id);
        self
    }

    /// Sets the schema version of the data, at least 1, for instance for an event from an old file. Default: the current
    /// version of its type, see [`Upcasters`](crate::Upcasters).
    pub fn schema_version(mut self, schema_version: u32) -> NewEvent {
        self.schema_version = Some(schema_version);
        self
    }

    /// Sets the metadata.
    ///
    /// # Errors
    /// [`ErrorKind::Codec`] as for [`Json::from_serialize`].
    pub fn metadata(mut self, metadata: &Metadata) -> Result<NewEvent> {
        self.metadata = if metadata.is_empty() { None } else { Some(Json::from_serialize(metadata)?) };
        Ok(self)
    }

    /// Sets the metadata as JSON that is stored byte for byte; it must be an object.
    pub fn metadata_json(mut self, metadata: Json) -> NewEvent {
        self.metadata = Some(metadata);
        self
    }

    /// Sets the event's time, instead of the store's clock. Cut off to whole microseconds.
    pub fn created_at(mut self, created_at: DateTime<Utc>) -> NewEvent {
        self.created_at = Some(created_at);
        self
    }

    /// Adds a tag, by which [`Filter::tag`](crate::Filter::tag) finds the event across aggregates.
    pub fn tag(mut self, tag: impl Into<String>) -> NewEvent {
        self.tags.push(tag.into());
        self
    }
}

/// So that `&Vec<NewEvent>` and slices can be appended.
impl From<&NewEvent> for NewEvent {
    fn from(event: &NewEvent) -> NewEvent {
        event.clone()
    }
}

/// What the log knows of an event besides its type and data, for a fold that asks for it with
/// [`Aggregate::WANTS_CONTEXT`](crate::Aggregate::WANTS_CONTEXT).
#[derive(Clone, Copy)]
pub struct EventContext<'a> {
    version: Version,
    position: Position,
    created_at: DateTime<Utc>,
    metadata: Option<&'a str>,
}

impl<'a> EventContext<'a> {
    pub(crate) fn new(
        version: Version,
        position: Position,
        created_at: DateTime<Utc>,
        metadata: Option<&'a str>,
    ) -> EventContext<'a> {
        EventContext { version, position, created_at, metadata }
    }

    /// The event's place in its aggregate.
    pub fn version(&self) -> Version {
        self.version
    }

    /// The event's place in the log.
    pub fn position(&self) -> Position {
        self.position
    }

    /// The event's time, from the caller or the store's clock.
    pub fn created_at(&self) -> DateTime<Utc> {
        self.created_at
    }

    /// Reads the metadata; empty if there is none.
    ///
    /// # Errors
    /// [`ErrorKind::Codec`] if its shape is not that of [`Metadata`].
    pub fn metadata(&self) -> Result<Metadata> {
        self.metadata.map_or_else(|| Ok(Metadata::default()), json::parse)
    }

    /// The metadata as JSON text, byte for byte as it was appended.
    pub fn metadata_text(&self) -> Option<&'a str> {
        self.metadata
    }
}

impl fmt::Debug for EventContext<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The metadata is left out: it may hold personal data.
        f.debug_struct("EventContext")
            .field("version", &self.version)
            .field("position", &self.position)
            .field("created_at", &self.created_at)
            .finish_non_exhaustive()
    }
}

/// An event in the log.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct RecordedEvent {
    /// Its place in the log.
    pub position: Position,
    /// Its identity.
    pub id: EventId,
    /// The tenant; `"default"` if none was named.
    pub tenant: Arc<str>,
    /// The type of its aggregate.
    pub aggregate_type: Arc<str>,
    /// The id of its aggregate.
    pub aggregate_id: Arc<str>,
    /// Its place in its aggregate.
    pub version: Version,
    /// The event type.
    pub event_type: Arc<str>,
    /// The schema version of its data.
    pub schema_version: u32,
    /// Its time, from the caller or the store's clock.
    pub created_at: DateTime<Utc>,
    /// The position of the first event of its atomic append.
    pub commit_id: Position,
    /// The replica in which it was first appended.
    pub origin: Uuid,
    /// Its tags, in the caller's order.
    pub tags: Vec<String>,
    /// What happened, in detail, as JSON.
    pub data: Json,
    /// Who caused it, from where, and why; `None` if the caller gave none.
    pub metadata: Option<Json>,
}

impl RecordedEvent {
    /// Its aggregate.
    pub fn aggregate(&self) -> AggregateRef {
        AggregateRef {
            tenant: self.tenant.clone(),
            aggregate_type: self.aggregate_type.clone(),
            aggregate_id: self.aggregate_id.clone(),
        }
    }

    pub(crate) fn context(&self) -> EventContext<'_> {
        EventContext::new(self.version, self.position, self.created_at, self.metadata.as_ref().map(Json::as_str))
    }

    /// What was erased of it, as JSON pointers into the event: `/data/email`, `/metadata/ipAddress`, `/tags`. Empty values
    /// stand in the place of erased ones.
    pub fn erased_fields(&self) -> Vec<String> {
        blank::marks(self.metadata.as_ref().map(Json::as_str))
    }

    /// Reads the event as an enum with serde's derives, the reverse of [`NewEvent::of`].
    ///
    /// # Errors
    /// [`ErrorKind::UnknownEventType`] if the enum has no such variant, [`ErrorKind::Codec`] if the data does not fit it.
    pub fn decode<E: DeserializeOwned>(&self) -> Result<E> {
        codec::decode(&self.event_type, self.data.as_str()).map_err(|error| {
            error
                .into_error(&self.event_type)
                .during("decode")
                .of(&self.aggregate())
                .at_version(self.version)
                .at_position(self.position)
        })
    }

    /// The trace that the event is part of, for a handler's span to link to. `None` if the metadata has none, or not a
    /// valid W3C trace context.
    pub fn trace_context(&self) -> Option<TraceContext> {
        self.metadata.as_ref().and_then(TraceContext::of_metadata)
    }

    /// Reads the metadata; empty if there is none.
    ///
    /// # Errors
    /// [`ErrorKind::Codec`] if its shape is not that of [`Metadata`].
    pub fn metadata(&self) -> Result<Metadata> {
        self.metadata.as_ref().map_or_else(|| Ok(Metadata::default()), Json::parse)
    }
}
