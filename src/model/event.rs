//! Events and the words for their places.

use std::fmt;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use serde::de::DeserializeOwned;
use serde::ser::{Error as _, Serializer};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use uuid::Uuid;

use crate::model::codec;
use crate::model::error::{Error, ErrorKind, Result};
use crate::model::json::{self, Json};
use crate::model::place::{AggregateRef, Position, Version};
use crate::model::trace_context::{TRACEPARENT, TRACESTATE, TraceContext};

/// An event's identity: unique in a file, and the key by which appends are idempotent.
pub type EventId = Uuid;

/// Who caused an event, from where, and because of what; stored as a JSON object under the names in the comments.
///
/// ```
/// use foldlog::Metadata;
/// let metadata = Metadata::new().user_id("u-1").ip_address("192.0.2.7").extra("channel", "mobile");
/// assert_eq!(metadata.user_id.as_deref(), Some("u-1"));
/// ```
#[derive(Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Metadata {
    /// `userId`
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_id: Option<String>,
    /// `username`
    #[serde(skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    /// `ipAddress`
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ip_address: Option<String>,
    /// `userAgent`
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_agent: Option<String>,
    /// `correlationId`: shared by everything that one request set off.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub correlation_id: Option<String>,
    /// `causationId`: the event or command that was the immediate cause.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub causation_id: Option<String>,
    /// Whatever else the application wants to remember, under names of its own. With one of the six names above in it the
    /// metadata is refused.
    #[serde(flatten, serialize_with = "names_of_its_own")]
    pub extra: Map<String, Value>,
}

impl Metadata {
    /// Nothing known yet.
    pub fn new() -> Metadata {
        Metadata::default()
    }

    /// Sets `userId`.
    pub fn user_id(mut self, value: impl Into<String>) -> Metadata {
        self.user_id = Some(value.into());
        self
    }

    /// Sets `username`.
    pub fn username(mut self, value: impl Into<String>) -> Metadata {
        self.username = Some(value.into());
        self
    }

    /// Sets `ipAddress`.
    pub fn ip_address(mut self, value: impl Into<String>) -> Metadata {
        self.ip_address = Some(value.into());
        self
    }

    /// Sets `userAgent`.
    pub fn user_agent(mut self, value: impl Into<String>) -> Metadata {
        self.user_agent = Some(value.into());
        self
    }

    /// Sets `correlationId`.
    pub fn correlation_id(mut self, value: impl Into<String>) -> Metadata {
        self.correlation_id = Some(value.into());
        self
    }

    /// Sets `causationId`.
    pub fn causation_id(mut self, value: impl Into<String>) -> Metadata {
        self.causation_id = Some(value.into());
        self
    }

    /// Sets `traceparent` and `tracestate`: the trace that the event is part of. It comes back as
    /// [`RecordedEvent::trace_context`].
    pub fn trace_context(mut self, context: &TraceContext) -> Metadata {
        self.extra.insert(TRACEPARENT.to_owned(), context.traceparent().into());
        match context.tracestate() {
            Some(state) => self.extra.insert(TRACESTATE.to_owned(), state.into()),
            None => self.extra.remove(TRACESTATE),
        };
        self
    }

    /// Sets a member of the application's own. Under one of the six names of the fields it sets that field, if it is a text;
    /// any other value makes the metadata one that is refused.
    ///
    /// ```
    /// use foldlog::Metadata;
    /// let metadata = Metadata::new().user_id("u-1").extra("userId", "u-2").extra("channel", "mobile");
    /// assert_eq!(metadata.user_id.as_deref(), Some("u-2"));
    /// assert_eq!(metadata.extra.len(), 1);
    /// ```
    pub fn extra(mut self, name: impl Into<String>, value: impl Into<Value>) -> Metadata {
        match (name.into(), value.into()) {
            (name, Value::String(value)) => match self.field(&name) {
                Some(field) => *field = Some(value),
                None => drop(self.extra.insert(name, Value::String(value))),
            },
            (name, value) => drop(self.extra.insert(name, value)),
        }
        self
    }

    fn field(&mut self, name: &str) -> Option<&mut Option<String>> {
        match name {
            "userId" => Some(&mut self.user_id),
            "username" => Some(&mut self.username),
            "ipAddress" => Some(&mut self.ip_address),
            "userAgent" => Some(&mut self.user_agent),
            "correlationId" => Some(&mut self.correlation_id),
            "causationId" => Some(&mut self.causation_id),
            _ => None,
        }
    }

    /// Whether there is nothing to store.
    pub fn is_empty(&self) -> bool {
        *self == Metadata::default()
    }
}

/// Refuses what would be in the JSON twice.
fn names_of_its_own<S: Serializer>(extra: &Map<String, Value>, serializer: S) -> std::result::Result<S::Ok, S::Error> {
    let mut fields = Metadata::default();
    match extra.keys().find(|name| fields.field(name).is_some()) {
        Some(name) => Err(S::Error::custom(format!("{name} is a field of Metadata, and a text; it cannot be in `extra`"))),
        None => extra.serialize(serializer),
    }
}

impl fmt::Debug for Metadata {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Personal data: only which members are there.
        f.debug_struct("Metadata")
            .field("user_id", &self.user_id.is_some())
            .field("username", &self.username.is_some())
            .field("ip_address", &self.ip_address.is_some())
            .field("user_agent", &self.user_agent.is_some())
            .field("correlation_id", &self.correlation_id)
            .field("causation_id", &self.causation_id)
            .field("extra", &self.extra.len())
            .finish()
    }
}

/// An event that is to be appended.
///
/// ```
/// use foldlog::{Metadata, NewEvent};
/// let event = NewEvent::new("Deposited", &serde_json::json!({"cents": 500}))?
///     .metadata(&Metadata::new().user_id("u-1"))?
///     .tag("branch:7");
/// # Ok::<(), foldlog::Error>(())
/// ```
///
/// As JSON it has the names of a [`RecordedEvent`], so that a line of an export can be appended again; all but `eventType`
/// and `data` may be missing.
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
    #[serde(default = "first_schema_version")]
    pub(crate) schema_version: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) created_at: Option<DateTime<Utc>>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) tags: Vec<String>,
    pub(crate) data: Json,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) metadata: Option<Json>,
}

fn first_schema_version() -> u32 {
    1
}

impl NewEvent {
    /// An event of this type with any serialisable value as its data.
    ///
    /// # Errors
    /// [`ErrorKind::Codec`] as for [`Json::from_serialize`].
    pub fn new<T: Serialize + ?Sized>(event_type: impl Into<String>, data: &T) -> Result<NewEvent> {
        let event_type = event_type.into();
        let data = Json::from_serialize(data).map_err(|error| error.event_type_is(&event_type))?;
        Ok(NewEvent::with_json(event_type, data))
    }

    /// An event of this type with JSON that is stored byte for byte.
    pub fn with_json(event_type: impl Into<String>, data: Json) -> NewEvent {
        NewEvent {
            id: None,
            event_type: event_type.into(),
            schema_version: first_schema_version(),
            data,
            metadata: None,
            created_at: None,
            tags: Vec::new(),
        }
    }

    /// An event from an enum with serde's derives: the variant's serde name is the event type, its content the data.
    /// A unit variant has the data `{}`.
    ///
    /// The enum may be tagged externally (serde's default), internally or adjacently: what is stored is the same, for the
    /// tag is the event type and not in the data. An external enum may have an untagged variant for event types that it
    /// does not know, such as `#[serde(untagged)] Other(serde_json::Value)`; it holds `{event type: data}`.
    ///
    /// # Errors
    /// [`ErrorKind::Codec`] if the value is not an enum with named variants, or if what was written could not be read back
    /// as the same type: a NaN, for example, becomes `null` in JSON. Refused here, such an event cannot make its aggregate
    /// unreadable.
    ///
    /// ```
    /// #[derive(serde::Serialize, serde::Deserialize)]
    /// enum Account { Deposited { cents: u64 }, Closed }
    /// let event = foldlog::NewEvent::of(&Account::Deposited { cents: 5 })?;
    /// # Ok::<(), foldlog::Error>(())
    /// ```
    pub fn of<E: Serialize + DeserializeOwned>(event: &E) -> Result<NewEvent> {
        NewEvent::there_and_back(event).map(|(event, _)| event)
    }

    /// The same, with the event as it will be read from the log.
    pub(crate) fn there_and_back<E: Serialize + DeserializeOwned>(event: &E) -> Result<(NewEvent, E)> {
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

    /// Gives the event an id of the caller's. Appending the same event again then returns the first append's result.
    pub fn id(mut self, id: EventId) -> NewEvent {
        self.id = Some(id);
        self
    }

    /// Sets the schema version of the data, 1 or more; 1 by default.
    pub fn schema_version(mut self, schema_version: u32) -> NewEvent {
        self.schema_version = schema_version;
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

    /// Sets the time at which it happened, in place of the store's clock. Cut off to whole microseconds.
    pub fn created_at(mut self, created_at: DateTime<Utc>) -> NewEvent {
        self.created_at = Some(created_at);
        self
    }

    /// Adds a tag by which [`Query::tag`](crate::Query::tag) finds the event across aggregates.
    pub fn tag(mut self, tag: impl Into<String>) -> NewEvent {
        self.tags.push(tag.into());
        self
    }
}

/// What the log knows of an event beside its type and data, for a fold that asks for it with
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

    /// When it happened, as the caller or the store's clock said.
    pub fn created_at(&self) -> DateTime<Utc> {
        self.created_at
    }

    /// Reads the metadata; empty if there is none.
    ///
    /// # Errors
    /// [`ErrorKind::Codec`] if it was written with another shape than [`Metadata`]'s.
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
        // The metadata may hold personal data.
        f.debug_struct("EventContext")
            .field("version", &self.version)
            .field("position", &self.position)
            .field("created_at", &self.created_at)
            .finish_non_exhaustive()
    }
}

/// An event as it stands in the log.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct RecordedEvent {
    /// Its place in the file.
    pub position: Position,
    /// Its identity.
    pub id: EventId,
    /// The tenant; `"default"` when none was named.
    pub tenant: Arc<str>,
    /// The type of its aggregate.
    pub aggregate_type: Arc<str>,
    /// The id of its aggregate.
    pub aggregate_id: Arc<str>,
    /// Its place in its aggregate.
    pub version: Version,
    /// What happened.
    pub event_type: Arc<str>,
    /// The shape of its data.
    pub schema_version: u32,
    /// When it happened, as the caller or the store's clock said.
    pub created_at: DateTime<Utc>,
    /// The position of the first event of the atomic append that it was part of.
    pub commit_id: Position,
    /// The replica in which it was appended first.
    pub origin: Uuid,
    /// Its tags, in the caller's order.
    pub tags: Vec<String>,
    /// What happened, in detail.
    pub data: Json,
    /// Who, from where, because of what; `None` if the caller gave nothing.
    pub metadata: Option<Json>,
}

impl RecordedEvent {
    /// The aggregate that it belongs to.
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

    /// The trace that the event is part of, for the span of a handler to link to; `None` if the metadata does not say, or
    /// says something else than a W3C trace context.
    pub fn trace_context(&self) -> Option<TraceContext> {
        self.metadata.as_ref().and_then(TraceContext::of_metadata)
    }

    /// Reads the metadata; empty if there is none.
    ///
    /// # Errors
    /// [`ErrorKind::Codec`] if it was written with another shape than [`Metadata`]'s.
    pub fn metadata(&self) -> Result<Metadata> {
        self.metadata.as_ref().map_or_else(|| Ok(Metadata::default()), Json::parse)
    }
}
