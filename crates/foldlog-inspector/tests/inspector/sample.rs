//! Stores to look at.

use std::time::Duration;

use foldlog::chrono::{DateTime, TimeDelta, Utc};
use foldlog::serde_json::{Value, json};
use foldlog::uuid::Uuid;
use foldlog::{
    Durability, Expected, HandlerError, Message, Metadata, NewEvent, Options, PublishError, Publisher, SnapshotPolicy,
    SnapshotReason, Store,
};
use tempfile::TempDir;

pub fn open(place: &TempDir) -> Store {
    let options = Options::new().durability(Durability::Fast).snapshots(SnapshotPolicy::every(25));
    options.open(place.path().join("shop.db")).unwrap()
}

/// A fixed moment of yesterday, so that pictures hardly change.
pub fn moment(minute: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(1_795_600_000, 0).unwrap() + TimeDelta::minutes(minute)
}

struct Mail;

impl Publisher for Mail {
    fn publish(&mut self, message: &Message<'_>) -> Result<(), PublishError> {
        if message.event.position.get().is_multiple_of(10) {
            return Err(PublishError::Reject("410 Gone: the mailbox does not exist any more".to_owned()));
        }
        Ok(())
    }
}

/// A shop: orders with causes, a customer's tenant, snapshots, an outbox with dead letters, a handler that stopped.
pub fn shop() -> (TempDir, Store) {
    let place = tempfile::tempdir().unwrap();
    let store = open(&place);
    for order in 1..=30 {
        place_order(&store, order);
    }
    let other = store.tenant("second shop");
    other
        .append("order", "o-1", Expected::New, [NewEvent::new("Placed", &json!({"items": 1})).unwrap().created_at(moment(5))])
        .unwrap();
    let orders = store.json_aggregates("order");
    orders.create_snapshot("o-1", SnapshotReason::Manual).unwrap();
    long_order(&store, "o-long", 90);

    let mail = store.outbox("mail").filter(foldlog::Filter::new().event_type("Paid")).backoff(Duration::ZERO, Duration::ZERO);
    mail.max_attempts(1).publisher(Mail).run_to_end().unwrap();
    let stop = |event: &foldlog::RecordedEvent| match event.position.get() {
        40 => Err(HandlerError::from("field `carrier` is missing: expected one of `DHL`, `UPS`")),
        _ => Ok(()),
    };
    assert!(store.subscription("shipping").run_to_end(stop).is_err());
    store.subscription("search").run_to_end(|_| Ok(())).unwrap();
    place_order(&store, 31);
    (place, store)
}

fn place_order(store: &Store, order: i64) {
    let ids = [Uuid::new_v4(), Uuid::new_v4(), Uuid::new_v4()];
    let correlation = Uuid::new_v4().to_string();
    let event = |step: usize, event_type: &str, data: Value| {
        let mut metadata = Metadata::new().user_id("ada").correlation_id(correlation.clone());
        if step > 0 {
            metadata = metadata.causation_id(ids[step - 1].to_string());
        }
        let event = NewEvent::new(event_type, &data).unwrap().id(ids[step]).metadata(&metadata).unwrap();
        event.created_at(moment(-1_440 * (31 - order) + step as i64 * 7)).tag(format!("customer:c-{}", order % 5))
    };
    let id = format!("o-{order}");
    let placed = json!({"status": "placed", "customer": {"id": format!("c-{}", order % 5), "name": "Ada"}, "total": 129 + order});
    store.append("order", &id, Expected::New, [event(0, "Placed", placed)]).unwrap();
    store.append("order", &id, 1, [event(1, "Paid", json!({"status": "paid", "method": "card"}))]).unwrap();
    let shipped = json!({"status": "shipped", "method": null, "shipment": {"carrier": "DHL", "parcels": [1, 2]}});
    store.append("order", &id, 2, [event(2, "Shipped", shipped)]).unwrap();
}

/// An order that many events change.
pub fn long_order(store: &Store, id: &str, events: i64) {
    let statuses = ["In Progress", "Awaiting Assignment", "Wait"];
    let event = |n: i64| {
        let kind = if n % 7 < 5 { "Accepted" } else { "Queued" };
        let mut data =
            json!({"status": statuses[n as usize % 3], "steps": n, "assignee": {"agent": format!("agent-{}", n % 11)}});
        if n % 5 == 0 {
            data["waiting"] = json!({"on": "User", "since": n});
        }
        if n % 5 == 3 {
            data["waiting"] = Value::Null;
        }
        if n == 1 {
            data["impact"] = json!("Medium");
            data["product"] = json!("PROD328");
            data["big"] = foldlog::serde_json::from_str("12345678901234567890").unwrap();
        }
        NewEvent::new(kind, &data).unwrap().created_at(moment(n * 37 - 3_000)).tag("product:PROD328")
    };
    let orders = store.json_aggregates("order");
    for first in (1..=events).step_by(30) {
        let last = (first + 29).min(events);
        orders.append(id, Expected::Any, (first..=last).map(event)).unwrap();
        orders.snapshot_if_due(id).unwrap();
    }
}
