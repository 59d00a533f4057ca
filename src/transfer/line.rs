//! One event on a line of JSON: as foldlog writes it, and as others do.

use std::str::FromStr;

use chrono::{DateTime, SecondsFormat, Utc};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use uuid::Uuid;
use xxhash_rust::xxh3::xxh3_128;

use crate::model::error::{Error, ErrorKind, Result};
use crate::model::event::{EventId, NewEvent, RecordedEvent};
use crate::model::json::Json;
use crate::model::redacted::Redacted;

/// An event as it is exported.
#[derive(Serialize)]
struct Written<'a> {
    aggregate_type: &'a str,
    aggregate_id: &'a str,
    event_type: &'a str,
    data: &'a Json,
    #[serde(skip_serializing_if = "Option::is_none")]
    metadata: Option<&'a Json>,
    occurred_at: String,
    event_id: EventId,
    #[serde(skip_serializing_if = "is_first")]
    schema_version: u32,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    tags: &'a [String],
    tenant: &'a str,
    version: u64,
    position: u64,
    commit: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_first(schema_version: &u32) -> bool {
    *schema_version == 1
}

/// The event as JSON.
pub(super) fn write(event: &RecordedEvent) -> serde_json::Result<String> {
    let whole_millis = event.created_at.timestamp_subsec_micros().is_multiple_of(1_000);
    let written = Written {
        aggregate_type: &event.aggregate_type,
        aggregate_id: &event.aggregate_id,
        event_type: &event.event_type,
        data: &event.data,
        metadata: event.metadata.as_ref(),
        occurred_at: event
            .created_at
            .to_rfc3339_opts(if whole_millis { SecondsFormat::Millis } else { SecondsFormat::Micros }, true),
        event_id: event.id,
        schema_version: event.schema_version,
        tags: &event.tags,
        tenant: &event.tenant,
        version: event.version.get(),
        position: event.position.get(),
        commit: event.commit_id.get(),
    };
    serde_json::to_string(&written)
}

/// JSON that was appended with line breaks keeps its value: outside of strings they are white space, and inside there are
/// none.
pub(super) fn on_one_line(json: String) -> String {
    if json.contains(['\n', '\r']) { json.replace(['\n', '\r'], " ") } else { json }
}

/// An event as it is imported: the names of an export, and those of an event's own JSON form.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Given {
    #[serde(rename = "aggregateType", alias = "aggregate_type")]
    aggregate_type: String,
    #[serde(alias = "aggregateId")]
    aggregate_id: String,
    #[serde(alias = "eventType")]
    event_type: String,
    data: Json,
    #[serde(default)]
    metadata: Option<Json>,
    #[serde(default, alias = "createdAt")]
    occurred_at: Option<DateTime<Utc>>,
    #[serde(default, alias = "id")]
    event_id: Option<EventId>,
    #[serde(default, alias = "schemaVersion")]
    schema_version: Option<u32>,
    #[serde(default)]
    tags: Vec<String>,
    #[serde(default)]
    tenant: Option<String>,
    #[serde(default)]
    version: Option<u64>,
    #[serde(default, alias = "commitId")]
    commit: Option<u64>,
    // Of the file that it comes from; here it gets its own.
    #[serde(default, rename = "position")]
    _position: Option<u64>,
    #[serde(default, rename = "origin")]
    _origin: Option<Uuid>,
}

/// A line that was read.
pub(super) struct Line {
    pub(super) aggregate_type: String,
    pub(super) aggregate_id: String,
    pub(super) tenant: Option<String>,
    pub(super) version: Option<u64>,
    /// Lines one after the other with the same one are one commit.
    pub(super) commit: Option<String>,
    pub(super) event: NewEvent,
}

/// How lines are understood.
pub(super) struct Reading<'a> {
    /// A JSON Pointer to what lines of one commit have in common.
    pub(super) commit_by: Option<&'a str>,
    /// What precedes the event type in the type of a CloudEvent.
    pub(super) type_prefix: &'a str,
    /// The aggregate type of CloudEvents that name none.
    pub(super) aggregate_type: Option<&'a str>,
}

impl Reading<'_> {
    /// Reads a line. `number`: its place in the input, from 1.
    pub(super) fn read(&self, text: &str, number: u64) -> Result<Line> {
        #[derive(Deserialize)]
        struct Probe {
            specversion: Option<serde::de::IgnoredAny>,
        }
        let is_cloud_event = text.contains("\"specversion\"")
            && serde_json::from_str::<Probe>(text).is_ok_and(|probe| probe.specversion.is_some());
        let mut line = if is_cloud_event { self.cloud_event(text)? } else { given(text, number)? };
        if let Some(pointer) = self.commit_by {
            let value: Value = parse(text)?;
            let shared = value.pointer(pointer).ok_or_else(|| refused(format!("it has nothing at {pointer:?}")))?;
            line.commit = Some(shared.to_string());
        }
        Ok(line)
    }

    /// Reads a CloudEvent (1.0, structured mode, JSON), as [`CloudEvents`](crate::CloudEvents) writes it and as others do.
    fn cloud_event(&self, text: &str) -> Result<Line> {
        #[derive(Deserialize)]
        struct Payload {
            data: Option<Json>,
        }
        // Read apart from the attributes, so that it stays byte for byte.
        let Payload { data } = parse(text)?;
        let mut attributes = Attributes(parse(text)?);
        attributes.0.remove("data");
        if attributes.take("specversion")?.as_deref() != Some("1.0") {
            return Err(refused("it is a CloudEvent of another version than 1.0"));
        }
        let is_json = attributes.take("datacontenttype")?.is_none_or(|kind| is_json(&kind));
        if !is_json || attributes.0.contains_key("data_base64") {
            return Err(refused("it is a CloudEvent whose data is not JSON"));
        }
        let kind = attributes.required("type")?;
        let (id, source) = (attributes.required("id")?, attributes.required("source")?);
        let time = attributes.take("time")?.map(|time| DateTime::parse_from_rfc3339(&time).map(|time| time.to_utc()));
        let time = time.transpose().map_err(|_| refused("its time is not one of RFC 3339"))?;
        let named = attributes.take("aggregatetype")?;
        let aggregate_type = named.or_else(|| self.aggregate_type.map(str::to_owned)).ok_or_else(|| {
            refused("it is a CloudEvent without `aggregatetype`").advice("name the aggregate type of such events with the import")
        })?;
        let aggregate_id = attributes.required("subject")?;
        // The id is unique together with the source; an export of foldlog has UUIDs.
        let uuid = id.parse::<Uuid>().ok().filter(|id| !id.is_nil());
        let uuid = uuid.unwrap_or_else(|| derived_id(&[source.as_bytes(), id.as_bytes()], time));
        let data = data.unwrap_or_else(|| Json::stored("null".to_owned()));
        let mut event = NewEvent::with_json(kind.strip_prefix(self.type_prefix).unwrap_or(&kind), data).id(uuid);
        event.created_at = time;
        event.schema_version = Some(attributes.number("schemaversion")?.unwrap_or(1));
        let version = attributes.number("aggregateversion")?;
        let tenant = attributes.take("tenant")?;
        attributes.0.remove("position");
        event.metadata = attributes.into_metadata()?;
        Ok(Line { aggregate_type, aggregate_id, tenant, version, commit: None, event })
    }
}

/// The attributes of a CloudEvent.
struct Attributes(Map<String, Value>);

impl Attributes {
    fn take(&mut self, name: &str) -> Result<Option<String>> {
        match self.0.remove(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(Value::Number(number)) => Ok(Some(number.to_string())),
            Some(_) => Err(refused(format!("it is a CloudEvent whose {name} is not a text"))),
        }
    }

    fn required(&mut self, name: &str) -> Result<String> {
        self.take(name)?.ok_or_else(|| refused(format!("it is a CloudEvent without `{name}`")))
    }

    fn number<T: FromStr>(&mut self, name: &str) -> Result<Option<T>> {
        let parse = |text: String| text.parse().map_err(|_| refused(format!("its {name} is not a whole number")));
        self.take(name)?.map(parse).transpose()
    }

    /// What is left: extensions are metadata.
    fn into_metadata(mut self) -> Result<Option<Json>> {
        for (attribute, member) in [("correlationid", "correlationId"), ("causationid", "causationId")] {
            if let Some(value) = self.0.remove(attribute) {
                self.0.insert(member.to_owned(), value);
            }
        }
        if self.0.is_empty() { Ok(None) } else { Json::from_serialize(&self.0).map(Some) }
    }
}

fn given(text: &str, number: u64) -> Result<Line> {
    let given: Given = parse(text)?;
    // Without an id, the line at its place in the input names the event: the same input again is recognised.
    let id = given.event_id.unwrap_or_else(|| derived_id(&[&number.to_le_bytes(), text.trim().as_bytes()], given.occurred_at));
    let mut event = NewEvent::with_json(given.event_type, given.data).id(id).schema_version(given.schema_version.unwrap_or(1));
    event.created_at = given.occurred_at;
    event.tags = given.tags;
    // Sources that always write the member mean nothing by an empty object.
    event.metadata = given.metadata.filter(|metadata| !matches!(metadata.as_str(), "{}" | "null"));
    Ok(Line {
        aggregate_type: given.aggregate_type,
        aggregate_id: given.aggregate_id,
        tenant: given.tenant,
        version: given.version,
        commit: given.commit.map(|commit| commit.to_string()),
        event,
    })
}

/// An id that follows from what names the event: a UUID of version 8 that begins with the time, so that the index of ids
/// grows mostly at its end.
fn derived_id(parts: &[&[u8]], time: Option<DateTime<Utc>>) -> EventId {
    let mut name = Vec::new();
    for part in parts {
        name.extend_from_slice(&(part.len() as u64).to_le_bytes());
        name.extend_from_slice(part);
    }
    let mut bytes = xxh3_128(&name).to_be_bytes();
    let millis = time.map_or(0, |time| time.timestamp_millis()).to_be_bytes();
    for (byte, of_time) in bytes.iter_mut().zip(millis.into_iter().skip(2)) {
        *byte = of_time;
    }
    uuid::Builder::from_custom_bytes(bytes).into_uuid()
}

fn is_json(media_type: &str) -> bool {
    let kind = media_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    kind == "application/json" || kind == "text/json" || kind.ends_with("+json")
}

fn parse<'a, T: Deserialize<'a>>(text: &'a str) -> Result<T> {
    serde_json::from_str(text).map_err(|error| refused(format!("it is not an event: {}", Redacted::from(error))))
}

fn refused(what: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidInput, what)
}
