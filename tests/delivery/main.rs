//! Subscriptions, projections, outbox.

mod cloud_events;
mod control;
mod damage;
mod dead_letters;
mod documents;
mod hostile_names;
#[path = "../proof/kill_outbox.rs"]
mod kill_outbox;
#[path = "../proof/kill_projection.rs"]
mod kill_projection;
mod leases;
#[path = "../support/names.rs"]
mod names;
mod outbox;
mod outbox_processes;
mod pausing;
mod preview;
mod projection_processes;
mod projections;
mod purging;
#[path = "../proof/schedules.rs"]
mod schedules;
mod settings;
mod subscriptions;
#[path = "../support/mod.rs"]
mod support;
mod two_tenants;
mod upcasting;
mod versions;
mod watching;
#[path = "../proof/worker.rs"]
mod worker;

use foldlog::{Batch, Expected, NewEvent, Store};
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
        store.append("counter", format!("c-{}", n % 10), Expected::Any, [event(n)]).unwrap();
    }
}

/// As [`count`], in one append: for more events than a projection reads at once.
pub fn count_at_once(store: &Store, from: u64, to: u64) {
    let batch =
        (from..to).fold(Batch::new(), |batch, n| batch.append("counter", format!("c-{}", n % 10), Expected::Any, [event(n)]));
    store.commit(batch).unwrap();
}

pub fn event(n: u64) -> NewEvent {
    NewEvent::new("Counted", &json!({ "n": n })).unwrap()
}
