//! What happens in the shop.

use std::error::Error;
use std::time::{Duration, Instant};

use foldlog::{Expected, Filter, Json, Message, Store};

use crate::billing::Billing;
use crate::domain::{Order, ShopError, Stock, StockEvent, Wish, place};
use crate::read_models::{OpenOrders, Sales};
use crate::telling::Telling;

pub type Done<T = ()> = Result<T, Box<dyn Error>>;

/// Longer than anything here takes.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// How many requests find the billing service down.
const DOWN_FOR: usize = 3;

/// Returns the billing service.
pub fn tell(store: &Store, telling: &mut Telling, mended: bool) -> Done<Billing> {
    store.aggregates::<Stock>().append("lamp", Expected::New, [StockEvent::Received { quantity: 10 }])?;
    store.aggregates::<Stock>().append("chair", Expected::New, [StockEvent::Received { quantity: 3 }])?;
    inline(store, telling)?;
    following(store, telling)?;
    outbox(store, telling, mended)
}

fn status(store: &Store, order: &str) -> foldlog::Result<Option<String>> {
    let sql = "SELECT status FROM open_orders WHERE order_id = ?1";
    Ok(store.query_read_model(sql, [order], |row| row.get(0))?.pop())
}

/// In the append's own transaction: what was appended is in the table when the append returns.
fn inline(store: &Store, telling: &mut Telling) -> Done {
    telling.part("An inline projection: the table open_orders is part of every append");
    store.project_inline(OpenOrders)?;
    place(store, &Wish { order: "o-1", customer: "Ada", article: "chair", quantity: 2 })?;
    telling.say("Ada orders two of three chairs: her order and the reserved stock are one append.");
    telling.check("the order is in the table when the append returns", status(store, "o-1")?.as_deref(), Some("placed"));

    let refused = place(store, &Wish { order: "o-9", customer: "Bob", article: "chair", quantity: 2 });
    telling.say(format!("Bob wants two as well: {}.", refused.as_ref().err().map_or("granted".into(), ShopError::to_string)));
    telling.check("Bob is refused", matches!(refused, Err(ShopError::SoldOut { free: 1 })), true);
    telling.check("nothing of his order is in the table", status(store, "o-9")?, None);

    let preview = store.aggregates::<Order>().preview("o-1", |order| order.pay("p-1"))?;
    telling.say("What would Ada's payment change?");
    for change in &preview.changes {
        let row = |row: &Option<Json>| row.as_ref().map_or("nothing".to_owned(), |row| row.as_str().to_owned());
        telling.say(format!("   {}: {}", change.table, row(&change.before)));
        telling.say(format!("   becomes      {}", row(&change.after)));
    }
    telling.check("the preview shows one event and one row", (preview.events.len(), preview.changes.len()), (1, 1));
    telling.check("it did not happen", status(store, "o-1")?.as_deref(), Some("placed"));
    Ok(())
}

/// A moment later, on its own thread and with its own checkpoint.
fn following(store: &Store, telling: &mut Telling) -> Done {
    telling.part("A following projection: the table sales is kept up by a thread, a moment later");
    let follower = store.projection(Sales { version: 1 })?.follow()?;
    for (order, customer) in [("o-2", "Bob"), ("o-3", "Cleo")] {
        place(store, &Wish { order, customer, article: "lamp", quantity: 1 })?;
    }
    let wrote = store.last_position()?;
    store.subscription("sales").wait_until(wrote, PATIENCE)?;
    telling.say(format!("Bob and Cleo order a lamp each. The shop waits until the table has reached position {wrote}."));
    let sql = "SELECT article, sold FROM sales ORDER BY article";
    let sold: Vec<(String, u64)> = store.query_read_model(sql, [], |row| Ok((row.get(0)?, row.get(1)?)))?;
    for (article, sold) in &sold {
        telling.say(format!("   {article:<8} {sold}"));
    }
    telling.check("every sale is in it", sold, vec![("chair".into(), 2), ("lamp".into(), 2)]);
    follower.stop();
    Ok(())
}

/// To the outside world, at least once and in order per aggregate, although the other side is down.
fn outbox(store: &Store, telling: &mut Telling, mended: bool) -> Done<Billing> {
    telling.part("An outbox: billing hears of payments and parcels, although it is down at first");
    let billing = Billing::new(DOWN_FOR, "o-3");
    let service = billing.clone();
    let follower = store
        .outbox("billing")
        .filter(Filter::new().event_type("Paid").event_type("Shipped"))
        .max_attempts(5)
        .backoff(Duration::from_millis(20), Duration::from_millis(200))
        .publisher(move |message: &Message<'_>| service.post(message))
        .follow()?;
    let orders = store.aggregates::<Order>();
    for (order, number) in [("o-1", 1), ("o-2", 2), ("o-3", 3)] {
        orders.execute(order, |order| order.pay(&format!("p-{number}")))?;
        orders.execute(order, |order| order.ship(&format!("parcel-{number}")))?;
    }
    settle(store)?;
    telling.say("Three orders were paid and shipped. What the service was sent, and what it answered:");
    let first = billing.requests();
    answers(telling, &billing, 0);
    telling.check("it was down", first.iter().filter(|request| request.answer.starts_with("503")).count(), DOWN_FOR);
    telling.check("o-1 is booked all the same, in its order", billing.booked("o-1"), both());
    telling.check("o-2 as well", billing.booked("o-2"), both());
    let parcels = first.iter().filter(|request| request.order == "o-3" && request.what == "Shipped").count();
    telling.check("o-3 is refused, and its parcel was not even sent", (billing.booked("o-3"), parcels), (vec![], 0));
    dead_letter(store, telling, &billing, mended)?;
    follower.stop();
    Ok(billing)
}

fn both() -> Vec<String> {
    vec!["Paid".into(), "Shipped".into()]
}

/// An event that was given up is looked at; the fault is mended; it is tried again.
fn dead_letter(store: &Store, telling: &mut Telling, billing: &Billing, mended: bool) -> Done {
    let letters = store.outbox("billing").dead_letters()?;
    telling.say("The dead letters, read again from the log:");
    for letter in letters.iter() {
        let letter = letter?;
        let event = letter.event.ok_or("the event of the dead letter is gone")?;
        let (what, order) = (event.event_type, event.aggregate_id);
        telling.say(format!(
            "   position {}: {what} of {order}, attempts: {}, {}",
            letter.position, letter.attempts, letter.last_error
        ));
    }
    let status = store.outbox("billing").status()?;
    telling.check("one dead letter, and one event that waits behind it", (status.dead, status.waiting), (1, 1));

    if mended {
        billing.mend();
    }
    telling.say("The billing service is mended, and the letter is retried:");
    let before = billing.requests().len();
    letters.retry_all()?;
    settle(store)?;
    answers(telling, billing, before);
    telling.check("o-3 is booked, in its order", billing.booked("o-3"), both());
    telling.check("no dead letter is left", letters.count()?, 0);
    Ok(())
}

fn answers(telling: &mut Telling, billing: &Billing, from: usize) {
    for request in billing.requests().iter().skip(from) {
        telling.say(format!("   {} {:<8} {}", request.order, request.what, request.answer));
    }
}

/// Waits until the outbox has tried everything, and nothing is to be tried again.
fn settle(store: &Store) -> Done {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let status = store.outbox("billing").status()?;
        if status.lag == 0 && status.to_retry == 0 {
            return Ok(());
        }
        if Instant::now() > deadline {
            return Err(format!("the outbox does not come to rest: {status:?}").into());
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}
