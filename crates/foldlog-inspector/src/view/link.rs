//! Addresses of pages, and links to them.

use foldlog::RecordedEvent;
use maud::{Markup, html};

use super::text;
use crate::http::encode;
use crate::json::Node;

/// An address with a query; empty values are left out.
pub(crate) fn url(path: &str, query: &[(&str, &str)]) -> String {
    let query: Vec<String> =
        query.iter().filter(|(_, value)| !value.is_empty()).map(|(name, value)| format!("{name}={}", encode(value))).collect();
    if query.is_empty() { path.to_owned() } else { format!("{path}?{}", query.join("&")) }
}

pub(crate) fn aggregate_path(tenant: &str, aggregate_type: &str, aggregate_id: &str) -> String {
    format!("/a/{}/{}/{}", encode(tenant), encode(aggregate_type), encode(aggregate_id))
}

pub(crate) fn aggregate_of(event: &RecordedEvent) -> String {
    aggregate_path(&event.tenant, &event.aggregate_type, &event.aggregate_id)
}

/// The page of an aggregate at the version of an event.
pub(crate) fn state_of(event: &RecordedEvent) -> String {
    format!("{}?v={}", aggregate_of(event), event.version)
}

pub(crate) fn event(event: &RecordedEvent) -> String {
    format!("/e/{}", event.position)
}

/// Type and id of an event's aggregate; the id links to the state at its version.
pub(crate) fn aggregate(event: &RecordedEvent) -> Markup {
    html! {
        span.muted { (text::text_up_to(&event.aggregate_type, 60)) } " "
        a.mono href=(state_of(event)) { (text::id(&event.aggregate_id)) }
    }
}

/// What an event says, in a line.
pub(crate) fn summary(event: &RecordedEvent) -> Markup {
    text::beginning(&Node::parse(event.data.as_str()).summary(), 300)
}

/// A command to copy.
pub(crate) fn command(command: &str) -> Markup {
    html! {
        span.cmd { code { (text::plain(command)) } button.copy type="button" data-copy=(command) { "Copy" } }
    }
}
