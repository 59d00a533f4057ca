//! One domain and its data. Nothing of foldlog is in it: the floor writes the same events.

use serde::{Deserialize, Serialize};

pub const ORDER: &str = "order";

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

impl Order {
    /// Folds one event into the state.
    pub fn take(&mut self, event: OrderEvent) {
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

/// What an application notes beside an event. foldlog writes it as an event's metadata.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Noted {
    pub user_id: String,
    pub correlation_id: String,
}

pub fn noted(n: u64) -> Noted {
    let mixed = n.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    Noted {
        user_id: format!("user-{:06}-berlin-mitte", mixed % 1_000_000),
        correlation_id: format!("{mixed:016x}{:016x}", mixed.rotate_left(17)),
    }
}

/// Two tags, as a shop would have them: one of few, one of many.
pub fn tags(n: u64) -> [String; 2] {
    let mixed = n.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    [format!("branch:{}", n % 20), format!("customer:{}", mixed % 5_000)]
}

pub fn order_id(n: u64) -> String {
    format!("order-{:016x}", (n + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15))
}

/// Events of many orders, taking turns, so that those of one order lie far apart in time: which order, and its nth event.
/// `lengths` gives the length of each order; orders end when they are full.
pub fn interleaved(lengths: &[u64]) -> impl Iterator<Item = (u64, u64)> + use<> {
    let mut left: Vec<(u64, u64, u64)> = lengths.iter().enumerate().map(|(order, length)| (order as u64, 0, *length)).collect();
    let mut random = Random(7);
    std::iter::from_fn(move || {
        if left.is_empty() {
            return None;
        }
        let at = random.below(left.len() as u64) as usize;
        let (order, done, length) = &mut left[at];
        let next = (*order, *done);
        *done += 1;
        if *done == *length {
            left.swap_remove(at);
        }
        Some(next)
    })
}

/// The same numbers in each run.
pub struct Random(pub u64);

impl Random {
    pub fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (self.0 >> 33) % end
    }
}
