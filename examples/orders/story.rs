//! What happens in the shop.

use std::collections::BTreeMap;
use std::error::Error;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use foldlog::{Aggregate as _, Batch, ErrorKind, Expected, NewEvent, Query, Store, Webhook};

use crate::billing::{Billing, Booking};
use crate::domain::{Order, OrderEvent, ShopError, Stock, StockEvent, Wish, place};
use crate::read_models::{OpenOrders, Sales};
use crate::telling::Telling;

type Done = Result<(), Box<dyn Error>>;

/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(60);

pub fn tell(store: &Store, telling: &mut Telling, orders: u64, mended: bool) -> Done {
    store.aggregates::<Stock>().append("lamp", Expected::NoStream, [StockEvent::Received { quantity: 1_000_000 }])?;
    store.aggregates::<Stock>().append("chair", Expected::NoStream, [StockEvent::Received { quantity: 3 }])?;
    inline(store, telling)?;
    following(store, telling)?;
    outbox(store, telling, mended)?;
    rebuild(store, telling, orders)
}

fn status(store: &Store, order: &str) -> foldlog::Result<Option<String>> {
    let sql = "SELECT status FROM open_orders WHERE order_id = ?1";
    Ok(store.query_read_model(sql, [order], |row| row.get(0))?.pop())
}

/// In the append's own transaction: what was appended is in the table when the append returns.
fn inline(store: &Store, telling: &mut Telling) -> Done {
    telling.part("An inline projection: open_orders");
    store.project_inline(OpenOrders)?;
    place(store, &Wish { order: "o-1", customer: "Ada", article: "chair", quantity: 2 })?;
    telling.say("Ada ordered two chairs: the order and the reserved stock are one append");
    telling.check("the order is in the table at once", status(store, "o-1")?, Some("placed".to_owned()));
    let refused = place(store, &Wish { order: "o-9", customer: "Bob", article: "chair", quantity: 2 });
    telling.check("the third chair is left", matches!(refused, Err(ShopError::SoldOut { free: 1 })), true);
    telling.check("nothing is left of what was refused", status(store, "o-9")?, None);

    let paid = store.aggregates::<Order>().preview("o-1", |order| order.pay("p-1"))?;
    for change in &paid.changes {
        let text = |json: &Option<foldlog::Json>| json.as_ref().map_or("nothing".to_owned(), |json| json.as_str().to_owned());
        telling.say(format!(
            "preview of the payment: in {}, {} becomes {}",
            change.table,
            text(&change.before),
            text(&change.after)
        ));
    }
    telling.check("the preview shows one event and one row", (paid.events.len(), paid.changes.len()), (1, 1));
    telling.check("and it did not happen", status(store, "o-1")?, Some("placed".to_owned()));
    Ok(())
}

/// A moment later, on its own thread and with its own checkpoint.
fn following(store: &Store, telling: &mut Telling) -> Done {
    telling.part("A following projection: sales");
    let follower = store.projection(Sales { version: 1 })?.follow()?;
    for (order, customer) in [("o-2", "Bob"), ("o-3", "Cleo")] {
        place(store, &Wish { order, customer, article: "lamp", quantity: 1 })?;
    }
    let wrote = store.last_position()?;
    store.wait_until("sales", wrote, PATIENCE)?;
    telling.say(format!("it has reached position {wrote}: whoever waits for that reads his own writes"));
    let sold: Vec<(String, u64)> =
        store.query_read_model("SELECT article, sold FROM sales ORDER BY article", [], |row| Ok((row.get(0)?, row.get(1)?)))?;
    telling.check("two chairs and two lamps were sold", sold, vec![("chair".to_owned(), 2), ("lamp".to_owned(), 2)]);
    drop(follower);
    Ok(())
}

/// To the outside world, at least once and in order per order, although the other side is down.
fn outbox(store: &Store, telling: &mut Telling, mended: bool) -> Done {
    telling.part("An outbox: billing hears of payments and parcels");
    let billing = Billing::start(3, "o-3")?;
    let hook = Webhook::new(&billing.url())?.source("/shop");
    let follower = store
        .outbox("billing")
        .filter(Query::new().event_type("Paid").event_type("Shipped"))
        .max_attempts(5)
        .backoff(Duration::from_millis(20), Duration::from_millis(200))
        .publisher(hook)
        .follow()?;
    let orders = store.aggregates::<Order>();
    for (order, number) in [("o-1", 1), ("o-2", 2), ("o-3", 3)] {
        orders.execute(order, |order| order.pay(&format!("p-{number}")))?;
        orders.execute(order, |order| order.ship(&format!("parcel-{number}")))?;
    }
    telling.say("three orders were paid and shipped while the billing service answered 503");
    settle(store)?;
    telling.say(format!("{} requests later it has {} bookings", billing.requests(), billing.bookings().len()));
    let both = |order: &str| ["Paid", "Shipped"].map(|what| Booking { order: order.to_owned(), what: what.to_owned() }).to_vec();
    let booked = |order: &str| billing.bookings().into_iter().filter(|booking| booking.order == order).collect::<Vec<_>>();
    telling.check("o-1 arrived, in its order", booked("o-1"), both("o-1"));
    telling.check("o-2 arrived, in its order", booked("o-2"), both("o-2"));
    telling.check("o-3 was refused, and its parcel waits behind it", booked("o-3"), vec![]);

    let letters = store.outbox_dead_letters("billing")?;
    let dead: Vec<_> = letters.iter().collect::<Result<_, _>>()?;
    for letter in &dead {
        let event = letter.event.as_ref().map_or("?", |event| &*event.event_type);
        telling.say(format!("dead letter at position {}: {event}, {}", letter.position, letter.last_error));
    }
    telling.check("there is one dead letter", dead.len(), 1);
    if mended {
        billing.mend();
    }
    telling.say("the billing service was mended; the letter is tried again");
    letters.retry_all()?;
    settle(store)?;
    telling.check("o-3 arrived, in its order", booked("o-3"), both("o-3"));
    telling.check("no dead letter is left", letters.count()?, 0);
    drop(follower);
    Ok(())
}

/// Waits until the outbox has tried everything, and nothing is to be tried again.
fn settle(store: &Store) -> Done {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let status = store.outbox_status("billing")?;
        if status.lag == 0 && status.to_retry == 0 {
            return Ok(());
        }
        if Instant::now() > deadline {
            return Err(format!("the outbox does not come to rest: {status:?}").into());
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// The read model gets another shape while the shop goes on.
fn rebuild(store: &Store, telling: &mut Telling, orders: u64) -> Done {
    telling.part("A rebuild while appends go on: sales, version 2");
    let mut placed = 0;
    while placed < orders {
        let some = (orders - placed).min(500);
        bulk(store, "old", placed, some)?;
        placed += some;
    }
    store.projection(Sales { version: 1 })?.run_to_end()?;
    let sales = store.projection(Sales { version: 2 })?;
    let outdated = sales.run_to_end().map_err(|error| error.kind());
    telling.check("the new definition does not write into the old tables", outdated, Err(ErrorKind::ProjectionOutdated));

    let (done, meanwhile) = (AtomicBool::new(false), AtomicU64::new(0));
    let rebuilt = std::thread::scope(|scope| {
        let shop = scope.spawn(|| -> foldlog::Result<()> {
            while !done.load(Ordering::Relaxed) {
                bulk(store, "new", meanwhile.fetch_add(1, Ordering::Relaxed), 1)?;
            }
            Ok(())
        });
        let mut parts = 0u32;
        let rebuilt = sales.rebuild(|progress| {
            parts += 1;
            // A machine with other things to do may not have let the shop begin.
            let deadline = Instant::now() + PATIENCE;
            while !progress.finished && meanwhile.load(Ordering::Relaxed) == 0 && Instant::now() < deadline {
                std::thread::yield_now();
            }
            ControlFlow::Continue(())
        });
        done.store(true, Ordering::Relaxed);
        let shop = shop.join().map_err(|_| "the shop panicked")?;
        shop?;
        rebuilt.map(|rebuilt| (rebuilt, parts)).map_err(Box::<dyn Error>::from)
    });
    let (rebuilt, parts) = rebuilt?;
    let meanwhile = meanwhile.into_inner();
    telling.say(format!("{} orders in {parts} transactions; {meanwhile} were placed meanwhile", rebuilt.events));
    telling.check("the new tables are in place", rebuilt.finished, true);
    telling.check("orders were placed meanwhile", meanwhile > 0, true);
    sales.run_to_end()?;
    let sql = "SELECT article, sold, cents FROM sales ORDER BY article";
    let table: Vec<(String, u64, u64)> = store.query_read_model(sql, [], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
    telling.check("the table is what all events of the log make", table, from_the_log(store)?);
    Ok(())
}

/// Places orders for lamps, all in one append, without asking for the stock.
fn bulk(store: &Store, name: &str, from: u64, count: u64) -> foldlog::Result<()> {
    let mut batch = Batch::new();
    for number in from..from + count {
        let article = if number % 3 == 0 { "desk lamp" } else { "lamp" };
        let placed = OrderEvent::Placed {
            customer: format!("c-{}", number % 97),
            article: article.into(),
            quantity: 1,
            cents: number % 50,
        };
        batch = batch.append(Order::TYPE, format!("{name}-{number}"), Expected::NoStream, [NewEvent::of(&placed)?]);
    }
    store.commit(batch).map(drop)
}

/// The same figures without a projection.
fn from_the_log(store: &Store) -> Result<Vec<(String, u64, u64)>, Box<dyn Error>> {
    let mut sales: BTreeMap<String, (u64, u64)> = BTreeMap::new();
    for event in store.read(Query::new().event_type("Placed")) {
        let OrderEvent::Placed { article, quantity, cents, .. } = event?.decode()? else { continue };
        let row = sales.entry(article).or_default();
        row.0 += quantity;
        row.1 += cents;
    }
    Ok(sales.into_iter().map(|(article, (sold, cents))| (article, sold, cents)).collect())
}
