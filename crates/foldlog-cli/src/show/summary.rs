//! An event on one line: the first of its data, and who caused it.

use foldlog::{Json, RecordedEvent, Store};
use serde_json::Value;

use super::text;

/// The most members of the data that are shown.
const MOST_MEMBERS: usize = 6;
/// The longest text that is shown of one member.
const LONGEST: usize = 40;

/// The first members of the data: `customer c-12, items [3]`.
pub(crate) fn of_data(data: &Json) -> String {
    match data.to_value() {
        Ok(Value::Object(members)) => {
            let mut shown: Vec<String> =
                members.iter().take(MOST_MEMBERS).map(|(name, value)| format!("{name} {}", brief(value))).collect();
            if members.len() > MOST_MEMBERS {
                shown.push("…".to_owned());
            }
            shown.join(", ")
        }
        Ok(value) => brief(&value),
        Err(_) => text::shorten(data.as_str(), LONGEST).into_owned(),
    }
}

/// A value in a few characters.
pub(crate) fn brief(value: &Value) -> String {
    match value {
        Value::String(text) => text::shorten(text, LONGEST).into_owned(),
        Value::Array(items) => format!("[{}]", items.len()),
        Value::Object(members) => format!("{{{}}}", members.len()),
        other => other.to_string(),
    }
}

/// Who caused an event: `by ada  from 192.0.2.7  caused by payment/88 v2`.
pub(crate) fn of_cause(store: &Store, event: &RecordedEvent) -> String {
    let Ok(metadata) = event.metadata() else { return String::new() };
    let mut said = Vec::new();
    if let Some(user) = metadata.username.or(metadata.user_id) {
        said.push(format!("by {user}"));
    }
    if let Some(address) = metadata.ip_address {
        said.push(format!("from {address}"));
    }
    if let Some(cause) = metadata.causation_id {
        said.push(format!("caused by {}", cause_of(store, &cause)));
    }
    said.join("  ")
}

fn cause_of(store: &Store, cause: &str) -> String {
    let found = cause.parse().ok().and_then(|id| store.event(id).ok().flatten());
    match found {
        Some(event) => format!("{}/{} v{}", event.aggregate_type, event.aggregate_id, event.version),
        None => cause.to_owned(),
    }
}
