//! A store with orders in it, for the tests of the publishers.

use foldlog::{EventId, Metadata, NewEvent, Options, Store, Upcasters};
use serde_json::json;

/// A store in a real file, which goes with the directory.
pub fn store() -> (tempfile::TempDir, Store) {
    let directory = tempfile::tempdir().unwrap();
    let upcasters = Upcasters::new().compatible("Shipped", 1);
    let store = Options::new().upcasters(upcasters).unwrap().open(directory.path().join("events.db")).unwrap();
    (directory, store)
}

/// Appends two events of one order, with all that an envelope shows; returns their ids.
pub fn place_order(store: &Store, order: &str) -> Vec<EventId> {
    let metadata = Metadata::new()
        .user_id("u-1")
        .correlation_id("request-1")
        .extra("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01");
    let placed = NewEvent::new("Placed", &json!({"total": "9.50"})).unwrap().metadata(&metadata).unwrap();
    let shipped = NewEvent::new("Shipped", &json!({"parcel": "é\u{1F4E6}"})).unwrap();
    store.append("order", order, 0, [placed, shipped]).unwrap();
    store.read(foldlog::Query::aggregate("order", order)).map(|event| event.unwrap().id).collect()
}
