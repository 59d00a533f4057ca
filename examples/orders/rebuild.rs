//! The read model gets another shape while the shop goes on.

use std::collections::BTreeMap;
use std::error::Error;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use foldlog::{Aggregate as _, Batch, ErrorKind, Expected, Filter, NewEvent, ProjectionRunner, Store};

use crate::billing::Billing;
use crate::domain::{Order, OrderEvent};
use crate::read_models::Sales;
use crate::story::{Done, PATIENCE};
use crate::telling::Telling;

/// Article, how many were sold, for how much.
type Row = (String, u64, u64);

/// What was seen of a rebuild.
struct Seen {
    transactions: u64,
    /// Orders that it took.
    events: u64,
    finished: bool,
    /// Whether the old table gave its answer until the end.
    old_served: bool,
    /// Orders that were placed while it ran.
    placed: u64,
}

pub fn tell(store: &Store, telling: &mut Telling, billing: &Billing, orders: u64) -> Done {
    telling.part("A rebuild while appends go on: sales, version 2, knows the turnover, too");
    let mut placed = 0;
    while placed < orders {
        let some = (orders - placed).min(500);
        sell(store, "old", placed, some)?;
        placed += some;
    }
    store.projection(Sales { version: 1 })?.run_to_end()?;
    let sales = store.projection(Sales { version: 2 })?;
    let outdated = sales.run_to_end().is_err_and(|error| error.kind() == ErrorKind::ProjectionOutdated);
    telling.check("the new definition does not write into the old table", outdated, true);

    let sent = billing.requests().len();
    let seen = rebuild_while_selling(store, &sales)?;
    let Seen { transactions, events, placed, .. } = seen;
    telling
        .say(format!("{events} orders were taken in {transactions} transactions, between which {placed} new ones were placed."));
    telling.check("the old table served until the new one was in place", seen.old_served, true);
    telling.check("it took more than one transaction, and orders came between them", transactions > 1 && placed > 0, true);
    telling.check("the new table is in place", seen.finished, true);
    sales.run_to_end()?;
    let sql = "SELECT article, sold, cents FROM sales ORDER BY article";
    let table: Vec<Row> = store.query_read_model(sql, [], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
    for (article, sold, cents) in &table {
        telling.say(format!("   {article:<10} {sold:>8} {:>12}.{:02}", cents / 100, cents % 100));
    }
    telling.check("it is what all events of the log make", table, from_the_log(store)?);
    telling.check("nothing was sent to billing again", billing.requests().len(), sent);
    Ok(())
}

fn sold(store: &Store) -> foldlog::Result<Option<u64>> {
    Ok(store.query_read_model("SELECT sum(sold) FROM sales", [], |row| row.get(0))?.pop())
}

fn rebuild_while_selling(store: &Store, sales: &ProjectionRunner) -> Done<Seen> {
    let before = sold(store)?;
    let (done, placed) = (AtomicBool::new(false), AtomicU64::new(0));
    let (mut transactions, mut old_served) = (0, true);
    let (rebuilt, shop) = std::thread::scope(|scope| {
        let shop = scope.spawn(|| -> foldlog::Result<()> {
            let mut next = 0;
            while !done.load(Ordering::Relaxed) {
                sell(store, "new", next, 1)?;
                next += 1;
                placed.store(next, Ordering::Relaxed);
            }
            Ok(())
        });
        let rebuilt = sales.rebuild(|progress| {
            transactions += 1;
            if !progress.finished {
                old_served &= sold(store).is_ok_and(|sold| sold == before);
                // On a machine with other things to do the shop may not have come to its turn yet.
                let deadline = Instant::now() + PATIENCE;
                while placed.load(Ordering::Relaxed) == 0 && !shop.is_finished() && Instant::now() < deadline {
                    std::thread::yield_now();
                }
            }
            ControlFlow::Continue(())
        });
        let placed = placed.load(Ordering::Relaxed);
        done.store(true, Ordering::Relaxed);
        (rebuilt.map(|rebuilt| (rebuilt, placed)), shop.join())
    });
    shop.map_err(|_| "the shop panicked")??;
    let (rebuilt, placed) = rebuilt?;
    Ok(Seen { transactions, events: rebuilt.events, finished: rebuilt.finished, old_served, placed })
}

/// Places orders, all in one append, without asking for the stock.
fn sell(store: &Store, name: &str, from: u64, count: u64) -> foldlog::Result<()> {
    let mut batch = Batch::new();
    for number in from..from + count {
        let article = if number.is_multiple_of(3) { "desk lamp" } else { "lamp" };
        let customer = format!("c-{}", number % 97);
        let placed = OrderEvent::Placed { customer, article: article.into(), quantity: 1, cents: 1_990 + number % 50 };
        batch = batch.append(Order::TYPE, format!("{name}-{number}"), Expected::New, [NewEvent::of(&placed)?]);
    }
    store.commit(batch).map(drop)
}

/// The same figures without a projection.
fn from_the_log(store: &Store) -> Result<Vec<Row>, Box<dyn Error>> {
    let mut sales: BTreeMap<String, (u64, u64)> = BTreeMap::new();
    for event in store.read(Filter::new().event_type("Placed")) {
        let OrderEvent::Placed { article, quantity, cents, .. } = event?.decode()? else { continue };
        let row = sales.entry(article).or_default();
        row.0 += quantity;
        row.1 += cents;
    }
    Ok(sales.into_iter().map(|(article, (sold, cents))| (article, sold, cents)).collect())
}
