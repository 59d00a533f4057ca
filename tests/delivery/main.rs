//! Subscriptions, projections, outbox.

mod dead_letters;
mod documents;
mod hostile_names;
#[path = "../support/names.rs"]
mod names;
mod outbox;
mod outbox_processes;
mod preview;
mod processes;
mod projection_processes;
mod projections;
#[cfg(any(feature = "nats", feature = "webhook"))]
mod publishers;
mod subscriptions;
mod two_tenants;

use foldlog::{Expected, NewEvent, Store};
use serde_json::json;

/// A store in a real file, which goes with the directory.
pub fn store() -> (tempfile::TempDir, Store) {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(directory.path().join("events.db")).unwrap();
    (directory, store)
}

/// Appends `Counted` events with the numbers `from..to` to one of ten counters each.
pub fn count(store: &Store, from: u64, to: u64) {
    for n in from..to {
        store.append("counter", &format!("c-{}", n % 10), Expected::Any, [event(n)]).unwrap();
    }
}

pub fn event(n: u64) -> NewEvent {
    NewEvent::new("Counted", &json!({ "n": n })).unwrap()
}
