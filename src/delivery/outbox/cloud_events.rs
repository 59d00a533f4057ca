//! CloudEvents 1.0 (structured mode, JSON): the form in which other systems expect events.

use chrono::{DateTime, Datelike, SecondsFormat, Utc};
use serde::Serialize;
use serde_json::Value;

use super::publisher::{Message, PublishError};
use crate::model::event::RecordedEvent;
use crate::model::json::Json;

/// Writes events as CloudEvents 1.0 (structured mode, JSON), for publishers of any kind.
///
/// Besides the required attributes it writes, as strings: `tenant`, `aggregatetype`, `aggregateversion`, `position`,
/// `schemaversion`; and from the metadata, if present, `correlationid`, `causationid`, `traceparent` and `tracestate`.
/// `subject` is the aggregate id. `time` is the event's time as RFC 3339 in UTC, with microseconds; RFC 3339 ends with the
/// year 9999, so `time` is left out for an event before the year 0 or after that.
///
/// ```
/// use foldlog::{CloudEvents, Expected, Message, NewEvent, PublishError, Store};
///
/// let store = Store::in_memory()?;
/// store.append("order", "o-1", Expected::Any, [NewEvent::new("Shipped", &serde_json::json!({"parcel": "p-7"}))?])?;
///
/// let cloud_events = CloudEvents::new().source("/shop").type_prefix("com.example.");
/// let mut sent = Vec::new();
/// let mut bus = store.outbox("bus").publisher(|message: &Message<'_>| {
///     sent.push(cloud_events.to_json(message)?);
///     Ok::<(), PublishError>(())
/// });
/// bus.run_to_end()?;
/// drop(bus);
/// let event: serde_json::Value = serde_json::from_slice(&sent[0]).unwrap();
/// assert_eq!((&event["type"], &event["data"]["parcel"]), (&"com.example.Shipped".into(), &"p-7".into()));
/// # Ok::<(), foldlog::Error>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct CloudEvents {
    source: Option<String>,
    type_prefix: String,
}

/// The attributes in the order in which they are written. Numbers are strings, because a CloudEvents integer has 32
/// bits.
#[derive(Serialize)]
struct CloudEvent<'a> {
    specversion: &'static str,
    id: String,
    source: String,
    #[serde(rename = "type")]
    kind: String,
    subject: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    time: Option<String>,
    datacontenttype: &'static str,
    tenant: &'a str,
    aggregatetype: &'a str,
    aggregateversion: String,
    position: String,
    schemaversion: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    correlationid: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    causationid: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    traceparent: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tracestate: Option<String>,
    data: &'a Json,
}

impl CloudEvents {
    /// The media type of what [`to_json`](CloudEvents::to_json) returns.
    pub const CONTENT_TYPE: &'static str = "application/cloudevents+json";

    /// Writes events with the default source and no type prefix.
    pub fn new() -> CloudEvents {
        CloudEvents::default()
    }

    /// Sets the `source` of every event, a URI reference. Default: `urn:uuid:` and the id of the replica in which the
    /// event was appended.
    pub fn source(mut self, source: impl Into<String>) -> CloudEvents {
        self.source = Some(source.into());
        self
    }

    /// Sets what precedes the event type in `type`, such as `com.example.`.
    pub fn type_prefix(mut self, prefix: impl Into<String>) -> CloudEvents {
        self.type_prefix = prefix.into();
        self
    }

    /// The event as one JSON object.
    ///
    /// # Errors
    /// [`PublishError::Reject`] if the event cannot be written as JSON.
    pub fn to_json(&self, message: &Message<'_>) -> Result<Vec<u8>, PublishError> {
        let text = self.written(message.event);
        text.map(String::into_bytes).map_err(|error| PublishError::Reject(format!("the event cannot be written: {error}")))
    }

    pub(crate) fn written(&self, event: &RecordedEvent) -> serde_json::Result<String> {
        // Metadata of an unknown shape does not keep an event from being published.
        let metadata = event.metadata.as_ref().and_then(|json| json.to_value().ok()).unwrap_or_default();
        let text = |name: &str| metadata.get(name).and_then(Value::as_str).map(ToOwned::to_owned);
        let cloud_event = CloudEvent {
            specversion: "1.0",
            id: event.id.to_string(),
            source: self.source.clone().unwrap_or_else(|| format!("urn:uuid:{}", event.origin)),
            kind: format!("{}{}", self.type_prefix, event.event_type),
            subject: &event.aggregate_id,
            time: rfc3339(event.created_at),
            datacontenttype: "application/json",
            tenant: &event.tenant,
            aggregatetype: &event.aggregate_type,
            aggregateversion: event.version.to_string(),
            position: event.position.to_string(),
            schemaversion: event.schema_version.to_string(),
            correlationid: text("correlationId"),
            causationid: text("causationId"),
            traceparent: text("traceparent"),
            tracestate: text("tracestate"),
            data: &event.data,
        };
        serde_json::to_string(&cloud_event)
    }
}

/// The time as RFC 3339; `None` if its year does not have four digits.
fn rfc3339(time: DateTime<Utc>) -> Option<String> {
    (0..=9_999).contains(&time.year()).then(|| time.to_rfc3339_opts(SecondsFormat::Micros, true))
}
