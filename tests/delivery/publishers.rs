//! The ready publishers, each against a real server.

#[cfg(any(feature = "nats", feature = "webhook-tls"))]
mod certificates;
#[cfg(feature = "webhook")]
mod http_server;
#[cfg(feature = "nats")]
mod nats;
#[cfg(feature = "nats")]
mod nats_impostor;
#[cfg(feature = "nats")]
mod nats_server;
#[cfg(feature = "nats")]
mod nats_tls;
#[cfg(feature = "webhook")]
mod webhook;
#[cfg(feature = "webhook-tls")]
mod webhook_tls;

use foldlog::{EventId, Metadata, NewEvent, Store};
use serde_json::json;

/// Appends two events of one order, with all that an envelope shows; returns their ids.
fn place_order(store: &Store, order: &str) -> Vec<EventId> {
    let metadata = Metadata::new()
        .user_id("u-1")
        .correlation_id("request-1")
        .extra("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01");
    let placed = NewEvent::new("Placed", &json!({"total": "9.50"})).unwrap().metadata(&metadata).unwrap();
    let shipped = NewEvent::new("Shipped", &json!({"parcel": "é\u{1F4E6}"})).unwrap().schema_version(2);
    store.append("order", order, 0, [placed, shipped]).unwrap();
    store.read(foldlog::Query::new().aggregate("order", order)).map(|event| event.unwrap().id).collect()
}
