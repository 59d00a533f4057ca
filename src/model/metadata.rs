//! Who caused an event, from where, and because of what.

use std::fmt;

use serde::ser::{Error as _, Serializer};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::model::trace_context::{TRACEPARENT, TRACESTATE, TraceContext};

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
    /// The application's own members. If one has one of the six names above, the metadata is refused.
    #[serde(flatten, serialize_with = "unreserved_names")]
    pub extra: Map<String, Value>,
}

impl Metadata {
    /// Empty metadata.
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

    /// Sets `traceparent` and `tracestate`: the trace that the event is part of. It is returned by
    /// [`RecordedEvent::trace_context`](crate::RecordedEvent::trace_context).
    pub fn trace_context(mut self, context: &TraceContext) -> Metadata {
        self.extra.insert(TRACEPARENT.to_owned(), context.traceparent().into());
        match context.tracestate() {
            Some(state) => self.extra.insert(TRACESTATE.to_owned(), state.into()),
            None => self.extra.remove(TRACESTATE),
        };
        self
    }

    /// Sets an additional member. With one of the six names above and a text, it sets that field; with any other value
    /// the metadata is refused.
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

/// Refuses names that the JSON would then hold twice.
fn unreserved_names<S: Serializer>(extra: &Map<String, Value>, serializer: S) -> std::result::Result<S::Ok, S::Error> {
    let mut fields = Metadata::default();
    match extra.keys().find(|name| fields.field(name).is_some()) {
        Some(name) => Err(S::Error::custom(format!("{name} is a field of Metadata, and a text; it cannot be in `extra`"))),
        None => extra.serialize(serializer),
    }
}

impl fmt::Debug for Metadata {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Only the names: the values are personal data.
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
