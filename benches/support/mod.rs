//! What the benchmarks share: one domain, its data, and the floor: bare rusqlite doing the same work.
#![allow(dead_code, reason = "each benchmark uses its part")]

pub mod floor;
pub mod table;

use std::time::{Duration, Instant};

use foldlog::{Aggregate, Batch, Durability, Expected, Metadata, NewEvent, Options, SnapshotPolicy, Store};
use serde::{Deserialize, Serialize};

/// Events of an order: data and metadata together have 181 bytes of JSON on average.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum OrderEvent {
    Placed(Placed),
    ItemAdded(Item),
    ItemRemoved(Removed),
    Paid(Paid),
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Placed {
    pub customer: String,
    pub currency: String,
    pub city: String,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Item {
    pub sku: String,
    pub name: String,
    pub quantity: u64,
    pub unit_price_cents: u64,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Removed {
    pub sku: String,
    pub quantity: u64,
    pub reason: String,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Paid {
    pub payment: String,
    pub amount_cents: u64,
    pub method: String,
}

/// A state of about 1 KB, as a snapshot of a small aggregate has.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Order {
    pub customer: String,
    pub currency: String,
    pub city: String,
    pub items: Vec<Line>,
    pub paid_cents: u64,
    pub events: u64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Line {
    pub sku: String,
    pub name: String,
    pub quantity: u64,
    pub unit_price_cents: u64,
}

impl Aggregate for Order {
    const TYPE: &'static str = "order";
    type Event = OrderEvent;

    fn apply(&mut self, event: OrderEvent) {
        self.events += 1;
        match event {
            OrderEvent::Placed(placed) => {
                self.customer = placed.customer;
                self.currency = placed.currency;
                self.city = placed.city;
            }
            OrderEvent::ItemAdded(item) => match self.items.iter_mut().find(|line| line.sku == item.sku) {
                Some(line) => line.quantity += item.quantity,
                None => self.items.push(Line {
                    sku: item.sku,
                    name: item.name,
                    quantity: item.quantity,
                    unit_price_cents: item.unit_price_cents,
                }),
            },
            OrderEvent::ItemRemoved(removed) => {
                if let Some(line) = self.items.iter_mut().find(|line| line.sku == removed.sku) {
                    line.quantity = line.quantity.saturating_sub(removed.quantity);
                }
            }
            OrderEvent::Paid(paid) => self.paid_cents += paid.amount_cents,
        }
    }
}

/// The nth event of an order.
pub fn event(n: u64) -> OrderEvent {
    let mixed = n.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let sku = format!("SKU-{:06}", n % 8);
    match n {
        0 => OrderEvent::Placed(Placed {
            customer: format!("c-{:016x}", mixed),
            currency: "EUR".into(),
            city: "Berlin, Prenzlauer Berg, Kastanienallee 12".into(),
        }),
        _ if n % 10 < 6 => OrderEvent::ItemAdded(Item {
            sku,
            name: format!("Wireless mouse, black, model {:02}", n % 8),
            quantity: 1 + n % 9,
            unit_price_cents: 1_000 + mixed % 9_000,
        }),
        _ if n % 10 < 9 => {
            OrderEvent::ItemRemoved(Removed { sku, quantity: 1, reason: "the customer asked for it by telephone".into() })
        }
        _ => OrderEvent::Paid(Paid {
            payment: format!("{mixed:016x}"),
            amount_cents: mixed % 100_000,
            method: "credit card, by instalments".into(),
        }),
    }
}

pub fn metadata(n: u64) -> Metadata {
    let mixed = n.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    Metadata::new()
        .correlation_id(format!("{mixed:016x}{:016x}", mixed.rotate_left(17)))
        .user_id(format!("user-{:06}-berlin-mitte", mixed % 1_000_000))
}

pub fn new_event(n: u64) -> NewEvent {
    NewEvent::of(&event(n)).unwrap().metadata(&metadata(n)).unwrap()
}

/// Two tags, as a shop would have them: one of few, one of many.
pub fn tags(n: u64) -> [String; 2] {
    let mixed = n.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    [format!("branch:{}", n % 20), format!("customer:{}", mixed % 5_000)]
}

pub fn order_id(n: u64) -> String {
    format!("order-{:016x}", (n + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15))
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

/// Appends events to many orders, taking turns, so that those of one order lie far apart in time.
/// `lengths` gives the length of each order; orders end when they are full.
pub fn fill_interleaved(store: &Store, lengths: &[u64]) {
    let mut left: Vec<(u64, u64)> = lengths.iter().enumerate().map(|(order, length)| (order as u64, *length)).collect();
    let mut done = vec![0u64; lengths.len()];
    let mut random = 7u64;
    while !left.is_empty() {
        let mut batch = Batch::new();
        for _ in 0..1_000 {
            if left.is_empty() {
                break;
            }
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let at = (random >> 33) as usize % left.len();
            let (order, remaining) = &mut left[at];
            // Short runs, as requests of a service make them.
            batch = batch.append("order", order_id(*order), Expected::Any, [new_event(done[*order as usize])]);
            done[*order as usize] += 1;
            *remaining -= 1;
            if *remaining == 0 {
                left.swap_remove(at);
            }
        }
        store.commit(batch).unwrap();
    }
}

/// The middle one of a list of times.
pub fn median(times: &mut [f64]) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

/// Runs two pieces of work in turn, `rounds` times each, and returns their median times in microseconds.
/// Taking turns is what makes the ratio hold on a machine whose speed drifts.
pub fn in_turn(rounds: usize, mut ours: impl FnMut() -> Duration, mut floor: impl FnMut() -> Duration) -> (f64, f64) {
    let (mut first, mut second) = (Vec::new(), Vec::new());
    for round in 0..rounds + 1 {
        let (a, b) = match round % 2 {
            0 => {
                let a = ours();
                (a, floor())
            }
            _ => {
                let b = floor();
                (ours(), b)
            }
        };
        // The first round warms the caches.
        if round > 0 {
            first.push(a.as_secs_f64() * 1e6);
            second.push(b.as_secs_f64() * 1e6);
        }
    }
    (median(&mut first), median(&mut second))
}

pub fn timed<T>(work: impl FnOnce() -> T) -> Duration {
    let start = Instant::now();
    std::hint::black_box(work());
    start.elapsed()
}
