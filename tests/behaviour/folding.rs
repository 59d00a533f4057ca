//! Aggregates with types and without: what a variant is in the log, and what happens to events that a fold does not know.

use foldlog::{Aggregate, ErrorKind, Expected, FoldError, NewEvent, UnknownEvents};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::domain::{Account, opened};
use crate::support::{Place, refused, says};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Point {
    x: i64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum ShapeEvent {
    ShapeClosed,
    MovedTo(Point),
    Counted(Option<u64>),
    Scaled(f64, String),
    #[serde(rename_all = "camelCase")]
    OutlineDrawn {
        line_width: u8,
        at: Point,
    },
    #[serde(rename = "Re named!")]
    Renamed {
        name: String,
    },
}

#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
struct Shape {
    seen: Vec<ShapeEvent>,
}

impl Aggregate for Shape {
    const TYPE: &'static str = "shape";
    type Event = ShapeEvent;

    fn apply(&mut self, event: ShapeEvent) {
        self.seen.push(event);
    }
}

fn all_forms() -> Vec<ShapeEvent> {
    vec![
        ShapeEvent::ShapeClosed,
        ShapeEvent::MovedTo(Point { x: -1 }),
        ShapeEvent::Counted(Some(u64::MAX)),
        ShapeEvent::Counted(None),
        ShapeEvent::Scaled(0.1, "ünï".into()),
        ShapeEvent::OutlineDrawn { line_width: 3, at: Point { x: 2 } },
        ShapeEvent::Renamed { name: String::new() },
    ]
}

#[test]
fn every_form_of_variant() {
    let place = Place::new();
    let shapes = place.open().aggregates::<Shape>();
    shapes.append("s", Expected::New, all_forms()).unwrap();
    let stored: Vec<_> = place.open().aggregates::<Shape>().history("s").map(|event| event.unwrap()).collect();
    let written: Vec<_> = stored.iter().map(|event| (&*event.event_type, event.data.as_str())).collect();
    assert_eq!(
        written,
        [
            ("shape_closed", "{}"),
            ("moved_to", r#"{"x":-1}"#),
            ("counted", "18446744073709551615"),
            ("counted", "null"),
            ("scaled", r#"[0.1,"ünï"]"#),
            ("outline_drawn", r#"{"lineWidth":3,"at":{"x":2}}"#),
            ("Re named!", r#"{"name":""}"#),
        ]
    );
    assert_eq!(stored.iter().map(|event| event.decode::<ShapeEvent>().unwrap()).collect::<Vec<_>>(), all_forms());
    assert_eq!(shapes.replay("s").unwrap().state.seen, all_forms());
    shapes.create_snapshot("s", foldlog::SnapshotReason::Manual).unwrap();
    let from_snapshot = shapes.replay("s").unwrap();
    assert_eq!((from_snapshot.state.seen, from_snapshot.events_folded), (all_forms(), 0));
}

/// What comes of an event of a type that nobody knew when this program was written.
fn with_an_event_of_the_future(aggregate_type: &str) -> Place {
    let place = Place::new();
    let first = NewEvent::of(&opened()).unwrap();
    let unknown = NewEvent::new("FrozenByCourt", &json!({ "case": 7 })).unwrap();
    let third = NewEvent::new("Deposited", &json!({ "cents": 5 })).unwrap();
    place.open().append(aggregate_type, "a", Expected::New, [first, unknown, third]).unwrap();
    place
}

#[test]
fn an_unknown_event_type_is_an_error_that_names_it() {
    let place = with_an_event_of_the_future("account");
    let accounts = place.open().aggregates::<Account>();
    let error = refused(accounts.replay("a"), ErrorKind::UnknownEventType);
    assert_eq!((error.event_type(), error.version(), error.operation()), (Some("FrozenByCourt"), Some(2.into()), Some("replay")));
    assert_eq!(&*error.aggregate().unwrap().aggregate_id, "a");
    says(&error, &["replay", "account \"a\"", "version 2", "\"FrozenByCourt\"", "add the variant", "Ignore"]);
    let error = refused(accounts.replay_to_time("a", chrono::Utc::now()), ErrorKind::UnknownEventType);
    assert_eq!((error.version(), error.event_type()), (Some(2.into()), Some("FrozenByCourt")));
    assert_eq!(accounts.replay_to_version("a", 1).unwrap().state.owner, "Ada");
    let executed = accounts.execute("a", |_| [opened()]).map_err(foldlog::Error::from);
    assert_eq!(refused(executed.map(drop), ErrorKind::UnknownEventType).event_type(), Some("FrozenByCourt"));
    assert_eq!(accounts.version("a").unwrap(), 3);
}

#[derive(Debug, Deserialize, Serialize)]
enum FewEvents {
    Deposited { cents: u64 },
}

#[derive(Debug, Default, Deserialize, Serialize)]
struct Tolerant {
    cents: u64,
}

impl Aggregate for Tolerant {
    const TYPE: &'static str = "account";
    const UNKNOWN_EVENTS: UnknownEvents = UnknownEvents::Ignore;
    type Event = FewEvents;

    fn apply(&mut self, FewEvents::Deposited { cents }: FewEvents) {
        self.cents += cents;
    }
}

#[test]
fn a_fold_can_pass_over_unknown_events() {
    let place = with_an_event_of_the_future("account");
    let replayed = place.open().aggregates::<Tolerant>().replay("a").unwrap();
    assert_eq!((replayed.state.cents, replayed.version.get(), replayed.events_folded), (5, 3, 3), "they count as versions");
}

#[derive(Debug, Deserialize, Serialize)]
enum CatchAll {
    Deposited {
        cents: u64,
    },
    #[serde(other)]
    SomethingElse,
}

#[derive(Debug, Default, Deserialize, Serialize)]
struct Counting {
    cents: u64,
    others: u64,
}

impl Aggregate for Counting {
    const TYPE: &'static str = "account";
    type Event = CatchAll;

    fn apply(&mut self, event: CatchAll) {
        match event {
            CatchAll::Deposited { cents } => self.cents += cents,
            CatchAll::SomethingElse => self.others += 1,
        }
    }
}

#[test]
fn serdes_other_takes_unknown_events() {
    let place = with_an_event_of_the_future("account");
    let state = place.open().aggregates::<Counting>().replay("a").unwrap().state;
    assert_eq!((state.cents, state.others), (5, 2));
}

#[test]
fn data_that_does_not_fit_is_an_error_although_unknown_types_are_ignored() {
    let place = with_an_event_of_the_future("account");
    let store = place.open();
    store.append("account", "a", 3, [NewEvent::new("Deposited", &json!({ "cents": -1 })).unwrap()]).unwrap();
    let error = refused(store.aggregates::<Tolerant>().replay("a"), ErrorKind::Codec);
    assert_eq!((error.event_type(), error.version()), (Some("Deposited"), Some(4.into())));
}

#[test]
fn without_types_the_state_follows_by_merge_patch() {
    let place = Place::new();
    let users = place.open().json_aggregates("user");
    let patch = |event_type, data: Value| NewEvent::new(event_type, &data).unwrap();
    users
        .append(
            "u",
            Expected::New,
            [
                patch("UserCreated", json!({ "username": "ada", "phone": "1", "address": { "city": "London", "zip": "W1" } })),
                patch("UserUpdated", json!({ "phone": null, "address": { "city": "Paris" } })),
                patch("RolesAssigned", json!({ "roleIds": ["admin"] })),
            ],
        )
        .unwrap();
    let expected = json!({ "username": "ada", "address": { "city": "Paris", "zip": "W1" }, "roleIds": ["admin"] });
    assert_eq!(users.replay("u").unwrap().state, expected);
    assert_eq!(users.aggregate_type(), "user");
    let executed = users.execute("u", |state| {
        assert_eq!(*state, expected);
        [patch("UserDeleted", json!({ "status": "deleted" }))]
    });
    assert_eq!(executed.unwrap().state["status"], "deleted");
    assert_eq!(users.replay("u").unwrap().state["status"], "deleted");
}

#[test]
fn without_types_the_state_follows_by_a_function() {
    let place = Place::new();
    let store = place.open();
    let counters = store.json_aggregates("counter").fold_with("count", 1, |state, event_type, data| match event_type {
        "Added" => {
            let n = data["n"].as_i64().ok_or_else(|| FoldError::Data("n is not a whole number".into()))?;
            state["sum"] = json!(state["sum"].as_i64().unwrap_or(0) + n);
            Ok(())
        }
        "Ignored" => Ok(()),
        _ => Err(FoldError::UnknownEventType),
    });
    let event = |event_type, data: Value| NewEvent::new(event_type, &data).unwrap();
    counters
        .append("c", 0, [event("Added", json!({ "n": 2 })), event("Ignored", json!(1)), event("Added", json!({ "n": 3 }))])
        .unwrap();
    assert_eq!(counters.replay("c").unwrap().state, json!({ "sum": 5 }));
    counters.append("nothing added", 0, [event("Ignored", json!(1))]).unwrap();
    assert_eq!(counters.replay("nothing added").unwrap().state, json!({}));
    counters.append("c", 3, [event("Never heard of", json!({}))]).unwrap();
    let error = refused(counters.replay("c"), ErrorKind::UnknownEventType);
    assert_eq!((error.event_type(), error.version()), (Some("Never heard of"), Some(4.into())));
    counters.append("d", 0, [event("Added", json!({ "n": "two" }))]).unwrap();
    let error = refused(counters.replay("d"), ErrorKind::Codec);
    assert!(format!("{error:?}").contains("n is not a whole number"), "{error:?}");
}
