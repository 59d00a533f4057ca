//! What the benchmarks share: one domain, its data, and the floor: bare rusqlite doing the same work.
#![allow(dead_code, unused_imports, reason = "each benchmark uses its part")]

pub mod domain;
pub mod floor;
pub mod table;
pub mod turns;
pub mod wal;

use std::path::Path;

use foldlog::{Aggregate, Batch, Durability, Expected, Metadata, NewEvent, Options, SnapshotPolicy, Store};

pub use domain::{ORDER, Order, OrderEvent, Random, event, interleaved, noted, order_id, tags};
pub use turns::{in_turn, median, timed};

use floor::{Entry, Floor, Indexes};

impl Aggregate for Order {
    const TYPE: &'static str = ORDER;
    type Event = OrderEvent;

    fn apply(&mut self, event: OrderEvent) {
        self.take(event);
    }
}

pub fn new_event(n: u64) -> NewEvent {
    let noted = noted(n);
    let metadata = Metadata::new().correlation_id(noted.correlation_id).user_id(noted.user_id);
    NewEvent::of(&event(n)).unwrap().metadata(&metadata).unwrap()
}

/// The same with its two tags.
pub fn tagged_event(n: u64) -> NewEvent {
    tags(n).into_iter().fold(new_event(n), NewEvent::tag)
}

/// Options without automatic snapshots: the benchmarks make theirs when they want them.
pub fn options(durability: Durability) -> Options {
    Options::new().durability(durability).snapshots(SnapshotPolicy::manual())
}

/// Appends `events` further events to one order.
pub fn fill_one(store: &Store, order: &str, from: u64, events: u64) {
    let mut at = from;
    while at < from + events {
        let part = (from + events - at).min(10_000);
        store.append("order", order, Expected::Any, (at..at + part).map(new_event)).unwrap();
        at += part;
    }
}

/// The same for the floor.
pub fn fill_floor(floor: &Floor, order: &str, from: u64, events: u64) {
    floor.append(order, from, (from..from + events).map(Entry::order)).unwrap();
}

/// Appends events of many orders that take turns.
pub fn fill_interleaved(store: &Store, lengths: &[u64]) {
    let mut events = interleaved(lengths).peekable();
    while events.peek().is_some() {
        let batch = events
            .by_ref()
            .take(1_000)
            .fold(Batch::new(), |batch, (order, n)| batch.append(ORDER, order_id(order), Expected::Any, [new_event(n)]));
        store.commit(batch).unwrap();
    }
}

/// The same for the floor.
pub fn fill_floor_interleaved(floor: &Floor, lengths: &[u64]) {
    let mut events = interleaved(lengths).peekable();
    while events.peek().is_some() {
        floor.transaction(|| {
            for (order, n) in events.by_ref().take(1_000) {
                floor.append_within(ORDER, &order_id(order), n, [Entry::order(n)]).unwrap();
            }
        });
    }
}

/// A store and a floor with nothing in them, beside each other.
pub fn pair(directory: &Path, name: &str, durability: Durability, indexes: Indexes) -> (Store, Floor) {
    let synchronous = if durability == Durability::Durable { "FULL" } else { "NORMAL" };
    let store = options(durability).open(directory.join(format!("{name}.db"))).unwrap();
    (store, Floor::create(&directory.join(format!("{name}-floor.db")), synchronous, indexes))
}
