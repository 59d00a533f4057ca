//! Two aggregates: an order, and the stock of an article. Placing an order changes both in one append.

use foldlog::{Aggregate, Batch, ErrorKind, Expected, NewEvent, Store};
use serde::{Deserialize, Serialize};

#[derive(Debug, Serialize, Deserialize)]
pub enum OrderEvent {
    Placed { customer: String, article: String, quantity: u64, cents: u64 },
    Paid { payment: String },
    Shipped { parcel: String },
}

#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Order {
    placed: bool,
    paid: bool,
    shipped: bool,
}

impl Aggregate for Order {
    const TYPE: &'static str = "order";
    type Event = OrderEvent;

    fn apply(&mut self, event: OrderEvent) {
        match event {
            OrderEvent::Placed { .. } => self.placed = true,
            OrderEvent::Paid { .. } => self.paid = true,
            OrderEvent::Shipped { .. } => self.shipped = true,
        }
    }
}

impl Order {
    pub fn pay(&self, payment: &str) -> Result<Vec<OrderEvent>, ShopError> {
        match (self.placed, self.paid) {
            (false, _) => Err(ShopError::NoSuchOrder),
            // Paid twice is paid.
            (true, true) => Ok(vec![]),
            (true, false) => Ok(vec![OrderEvent::Paid { payment: payment.to_owned() }]),
        }
    }

    pub fn ship(&self, parcel: &str) -> Result<Vec<OrderEvent>, ShopError> {
        match (self.paid, self.shipped) {
            (false, _) => Err(ShopError::NotPaid),
            (true, true) => Ok(vec![]),
            (true, false) => Ok(vec![OrderEvent::Shipped { parcel: parcel.to_owned() }]),
        }
    }
}

#[derive(Debug, Serialize, Deserialize)]
pub enum StockEvent {
    Received { quantity: u64 },
    Reserved { order: String, quantity: u64 },
}

#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Stock {
    pub free: u64,
}

impl Aggregate for Stock {
    const TYPE: &'static str = "stock";
    type Event = StockEvent;

    fn apply(&mut self, event: StockEvent) {
        match event {
            StockEvent::Received { quantity } => self.free += quantity,
            StockEvent::Reserved { quantity, .. } => self.free -= quantity,
        }
    }
}

impl Stock {
    pub fn reserve(&self, order: &str, quantity: u64) -> Result<StockEvent, ShopError> {
        match quantity {
            _ if quantity > self.free => Err(ShopError::SoldOut { free: self.free }),
            _ => Ok(StockEvent::Reserved { order: order.to_owned(), quantity }),
        }
    }
}

/// Why the shop refuses, or the store fails.
#[derive(Debug)]
pub enum ShopError {
    NoSuchOrder,
    NotPaid,
    SoldOut { free: u64 },
    Store(foldlog::Error),
}

impl std::fmt::Display for ShopError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            ShopError::NoSuchOrder => f.write_str("there is no such order"),
            ShopError::NotPaid => f.write_str("the order is not paid"),
            ShopError::SoldOut { free } => write!(f, "no more than {free} left in stock"),
            ShopError::Store(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for ShopError {}

impl From<foldlog::Error> for ShopError {
    fn from(error: foldlog::Error) -> ShopError {
        ShopError::Store(error)
    }
}

/// What a customer asks for.
pub struct Wish<'a> {
    pub order: &'a str,
    pub customer: &'a str,
    pub article: &'a str,
    pub quantity: u64,
}

/// Places an order and reserves its articles: both or neither.
pub fn place(store: &Store, wish: &Wish<'_>) -> Result<(), ShopError> {
    loop {
        let stock = match store.aggregates::<Stock>().replay(wish.article) {
            Ok(replayed) => replayed,
            Err(error) if error.kind() == ErrorKind::NotFound => return Err(ShopError::SoldOut { free: 0 }),
            Err(error) => return Err(error.into()),
        };
        let reserved = NewEvent::of(&stock.state.reserve(wish.order, wish.quantity)?)?;
        let batch = Batch::new().append(Stock::TYPE, wish.article, stock.version, [reserved]).append(
            Order::TYPE,
            wish.order,
            Expected::New,
            [placed(wish)?],
        );
        match store.commit(batch) {
            // Somebody else reserved in between, if it was not this very order that was there.
            Err(error) if error.kind() == ErrorKind::Conflict && store.version(Order::TYPE, wish.order)? == 0 => {}
            done => return Ok(done.map(drop)?),
        }
    }
}

fn placed(wish: &Wish<'_>) -> foldlog::Result<NewEvent> {
    let Wish { customer, article, quantity, .. } = *wish;
    let price = if article == "chair" { 4_900 } else { 1_990 };
    NewEvent::of(&OrderEvent::Placed {
        customer: customer.to_owned(),
        article: article.to_owned(),
        quantity,
        cents: quantity * price,
    })
}
