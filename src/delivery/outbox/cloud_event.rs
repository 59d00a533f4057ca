//! CloudEvents 1.0, structured mode, JSON: how the ready publishers write an event.

use chrono::SecondsFormat;
use serde::Serialize;
use serde_json::Value;

use super::publisher::{Message, PublishError};
use crate::model::json::Json;

/// What an application can say about the envelope.
#[derive(Clone, Debug, Default)]
pub(super) struct Envelope {
    /// The `source` of every event; by default the replica in which it was appended.
    pub(super) source: Option<String>,
    /// Put before the event type.
    pub(super) type_prefix: String,
}

/// The attributes, in the order in which they are written. Numbers are strings: an integer of CloudEvents has 32 bits.
#[derive(Serialize)]
struct CloudEvent<'a> {
    specversion: &'static str,
    id: String,
    source: String,
    #[serde(rename = "type")]
    kind: String,
    subject: &'a str,
    time: String,
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

/// The media type of what [`Envelope::write`] gives.
pub(super) const CONTENT_TYPE: &str = "application/cloudevents+json";

impl Envelope {
    pub(super) fn write(&self, message: &Message<'_>) -> Result<Vec<u8>, PublishError> {
        let event = message.event;
        // Metadata of another shape than ours is no reason not to publish.
        let metadata = event.metadata.as_ref().and_then(|json| json.to_value().ok()).unwrap_or_default();
        let text = |name: &str| metadata.get(name).and_then(Value::as_str).map(ToOwned::to_owned);
        let cloud_event = CloudEvent {
            specversion: "1.0",
            id: message.id().to_string(),
            source: self.source.clone().unwrap_or_else(|| format!("urn:uuid:{}", event.origin)),
            kind: format!("{}{}", self.type_prefix, event.event_type),
            subject: &event.aggregate_id,
            time: event.created_at.to_rfc3339_opts(SecondsFormat::Micros, true),
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
        serde_json::to_vec(&cloud_event).map_err(|error| PublishError::Reject(format!("the event cannot be written: {error}")))
    }
}
