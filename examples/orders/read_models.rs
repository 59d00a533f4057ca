//! Two read models: which orders are open, kept in every append; and what was sold, kept a moment later.

use foldlog::rusqlite::params;
use foldlog::{Filter, HandlerError, Projection, ReadModel, RecordedEvent};

use crate::domain::OrderEvent;

/// One row for each order that is not shipped yet. Inline: whoever has placed an order finds it here.
pub struct OpenOrders;

impl Projection for OpenOrders {
    fn name(&self) -> &str {
        "open_orders"
    }

    fn tables(&self) -> Vec<String> {
        vec!["open_orders".into()]
    }

    fn filter(&self) -> Filter {
        Filter::new().aggregate_type("order")
    }

    fn create(&self, model: &ReadModel<'_>) -> Result<(), HandlerError> {
        Ok(model.execute_batch(
            "CREATE TABLE {open_orders} (order_id TEXT PRIMARY KEY, customer TEXT NOT NULL, status TEXT NOT NULL) STRICT;
             CREATE INDEX {open_orders_by_customer} ON {open_orders} (customer)",
        )?)
    }

    fn apply(&self, event: &RecordedEvent, model: &ReadModel<'_>) -> Result<(), HandlerError> {
        let order = &*event.aggregate_id;
        match event.decode()? {
            OrderEvent::Placed { customer, .. } => {
                model.execute("INSERT INTO {open_orders} VALUES (?1, ?2, 'placed')", params![order, customer])?
            }
            OrderEvent::Paid { .. } => {
                model.execute("UPDATE {open_orders} SET status = 'paid' WHERE order_id = ?1", params![order])?
            }
            OrderEvent::Shipped { .. } => model.execute("DELETE FROM {open_orders} WHERE order_id = ?1", params![order])?,
        };
        Ok(())
    }
}

/// How many of each article were sold; the second version also knows for how much. Following: appends do not wait for it.
pub struct Sales {
    pub version: u32,
}

impl Projection for Sales {
    fn name(&self) -> &str {
        "sales"
    }

    fn version(&self) -> u32 {
        self.version
    }

    fn tables(&self) -> Vec<String> {
        vec!["sales".into()]
    }

    fn filter(&self) -> Filter {
        Filter::new().event_type("Placed")
    }

    fn create(&self, model: &ReadModel<'_>) -> Result<(), HandlerError> {
        Ok(model.execute_batch(match self.version {
            1 => "CREATE TABLE {sales} (article TEXT PRIMARY KEY, sold INTEGER NOT NULL) STRICT",
            _ => "CREATE TABLE {sales} (article TEXT PRIMARY KEY, sold INTEGER NOT NULL, cents INTEGER NOT NULL) STRICT",
        })?)
    }

    fn apply(&self, event: &RecordedEvent, model: &ReadModel<'_>) -> Result<(), HandlerError> {
        let OrderEvent::Placed { article, quantity, cents, .. } = event.decode()? else { return Ok(()) };
        let (sold, cents) = (i64::try_from(quantity)?, i64::try_from(cents)?);
        match self.version {
            1 => model.execute(
                "INSERT INTO {sales} VALUES (?1, ?2) ON CONFLICT DO UPDATE SET sold = sold + ?2",
                params![article, sold],
            )?,
            _ => model.execute(
                "INSERT INTO {sales} VALUES (?1, ?2, ?3) ON CONFLICT DO UPDATE SET sold = sold + ?2, cents = cents + ?3",
                params![article, sold, cents],
            )?,
        };
        Ok(())
    }
}
