//! The W3C trace context: the trace that an event is part of.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::model::error::{Error, ErrorKind, Result};
use crate::model::json::Json;

/// The metadata members that carry it.
pub(crate) const TRACEPARENT: &str = "traceparent";
pub(crate) const TRACESTATE: &str = "tracestate";
/// The longest `tracestate` that the recommendation asks every system to pass on; a longer one is dropped.
const MOST_STATE_BYTES: usize = 512;
/// `00-`, 32 digits of the trace, `-`, 16 of the span, `-`, 2 of the flags.
const PARENT_BYTES: usize = 55;

/// A trace and the span in it that led to an event, as HTTP carries them in `traceparent` and `tracestate`.
///
/// ```
/// use foldlog::TraceContext;
/// let context = TraceContext::new("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", None)?;
/// assert_eq!(context.trace_id(), "0af7651916cd43dd8448eb211c80319c");
/// assert_eq!(context.span_id(), "b7ad6b7169203331");
/// assert!(context.is_sampled());
/// # Ok::<(), foldlog::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TraceContext {
    traceparent: String,
    tracestate: Option<String>,
}

impl TraceContext {
    /// Takes the two headers. A `tracestate` that is empty, longer than 512 bytes or not printable ASCII is dropped, as
    /// the recommendation says; the trace goes on without it.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] if the `traceparent` is not valid.
    pub fn new(traceparent: impl Into<String>, tracestate: Option<&str>) -> Result<TraceContext> {
        let traceparent = traceparent.into();
        if !is_traceparent(&traceparent) {
            return Err(Error::new(ErrorKind::InvalidInput, "this is not a W3C traceparent"));
        }
        let is_fit = |state: &&str| {
            !state.is_empty() && state.len() <= MOST_STATE_BYTES && state.bytes().all(|byte| matches!(byte, b' '..=b'~'))
        };
        Ok(TraceContext { traceparent, tracestate: tracestate.filter(is_fit).map(str::to_owned) })
    }

    /// The header `traceparent`.
    pub fn traceparent(&self) -> &str {
        &self.traceparent
    }

    /// The header `tracestate`, if there is one.
    pub fn tracestate(&self) -> Option<&str> {
        self.tracestate.as_deref()
    }

    /// The trace id: 32 hexadecimal digits.
    pub fn trace_id(&self) -> &str {
        self.traceparent.get(3..35).unwrap_or_default()
    }

    /// The span id: 16 hexadecimal digits.
    pub fn span_id(&self) -> &str {
        self.traceparent.get(36..52).unwrap_or_default()
    }

    /// Whether the caller records this trace.
    pub fn is_sampled(&self) -> bool {
        let flags = self.traceparent.get(53..55).and_then(|flags| u8::from_str_radix(flags, 16).ok());
        flags.is_some_and(|flags| flags & 1 == 1)
    }

    /// The trace context in an event's metadata; `None` if there is none, or not a valid one.
    pub(crate) fn of_metadata(metadata: &Json) -> Option<TraceContext> {
        let carried: Carried = serde_json::from_str(metadata.as_str()).ok()?;
        let state = carried.tracestate.as_ref().and_then(Value::as_str);
        TraceContext::new(carried.traceparent.as_ref()?.as_str()?, state).ok()
    }

    /// The metadata with this context added and every other byte unchanged; `None` if it already names a trace.
    pub(crate) fn added_to(&self, metadata: Option<&Json>) -> Option<String> {
        let rest = match metadata {
            None => "}",
            Some(metadata) => {
                let carried: Carried = serde_json::from_str(metadata.as_str()).ok()?;
                if carried.traceparent.is_some() {
                    return None;
                }
                metadata.as_str().trim_start().strip_prefix('{')?
            }
        };
        let mut text = format!("{{\"{TRACEPARENT}\":\"{}\"", self.traceparent);
        if let Some(state) = &self.tracestate {
            text.push_str(&format!(",\"{TRACESTATE}\":{}", Value::from(state.as_str())));
        }
        if !rest.trim_start().starts_with('}') {
            text.push(',');
        }
        text.push_str(rest);
        Some(text)
    }
}

#[derive(Deserialize)]
struct Carried {
    #[serde(default)]
    traceparent: Option<Value>,
    #[serde(default)]
    tracestate: Option<Value>,
}

fn is_traceparent(text: &str) -> bool {
    let parts: Vec<&str> = text.splitn(5, '-').collect();
    let [version, trace, span, flags, rest @ ..] = parts.as_slice() else { return false };
    let is_hex =
        |part: &str, digits: usize| part.len() == digits && part.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    let is_number = |part: &str, digits: usize| is_hex(part, digits) && part.bytes().any(|byte| byte != b'0');
    // A later version may append fields after another dash.
    let ends = rest.is_empty() && text.len() == PARENT_BYTES || !rest.is_empty() && *version != "00" && text.len() <= 255;
    is_hex(version, 2) && *version != "ff" && is_number(trace, 32) && is_number(span, 16) && is_hex(flags, 2) && ends
}

/// The application's callback for "what is the current span?".
#[derive(Clone)]
pub(crate) struct TraceSource(Arc<dyn Fn() -> Option<TraceContext> + Send + Sync>);

impl TraceSource {
    pub(crate) fn new(current: impl Fn() -> Option<TraceContext> + Send + Sync + 'static) -> TraceSource {
        TraceSource(Arc::new(current))
    }

    pub(crate) fn current(&self) -> Option<TraceContext> {
        (self.0)()
    }
}

impl fmt::Debug for TraceSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TraceSource")
    }
}
