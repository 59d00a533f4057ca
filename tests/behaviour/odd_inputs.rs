//! Inputs of kinds that other stores had trouble with: types that serde writes in one way and reads in another, names that look
//! like something else, numbers that JSON allows and nobody can hold.

use std::collections::BTreeMap;
use std::ops::ControlFlow::Continue;

use foldlog::{Aggregate, ErrorKind, EventId, Expected, Json, Metadata, NewEvent, SnapshotPolicy, SnapshotReason};
use serde::{Deserialize, Serialize};
use serde_json::json;
use serde_json::value::RawValue;

use crate::support::{fast, noted, refused};

/// What is written is not what was held: a default for what is left out, a second name, a flattened rest, a rounding.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum Written {
    LeftOut {
        #[serde(skip_serializing_if = "is_seven", default = "seven")]
        n: i64,
    },
    Renamed {
        #[serde(rename(serialize = "amount", deserialize = "amount"), alias = "cents")]
        n: i64,
    },
    Rest {
        n: i64,
        #[serde(flatten)]
        rest: BTreeMap<String, i64>,
    },
    Rounded {
        #[serde(serialize_with = "in_tens", deserialize_with = "from_tens")]
        n: i64,
    },
    Hidden {
        n: i64,
        #[serde(skip, default = "seven")]
        hidden: i64,
    },
}

fn seven() -> i64 {
    7
}

fn is_seven(n: &i64) -> bool {
    *n == 7
}

fn in_tens<S: serde::Serializer>(n: &i64, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_i64(n / 10)
}

fn from_tens<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<i64, D::Error> {
    i64::deserialize(deserializer).map(|tens| tens * 10)
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Total(i64);

impl Aggregate for Total {
    const TYPE: &'static str = "total";
    type Event = Written;

    fn apply(&mut self, event: Written) {
        self.0 += match event {
            Written::LeftOut { n } | Written::Renamed { n } | Written::Rounded { n } => n,
            Written::Rest { n, rest } => n + rest.values().sum::<i64>(),
            Written::Hidden { n, hidden } => n + hidden,
        };
    }
}

/// Whatever an event held, what is folded and saved is what is stored.
#[test]
fn a_decision_folds_what_is_stored() {
    let events = [
        Written::LeftOut { n: 7 },
        Written::LeftOut { n: 3 },
        Written::Renamed { n: 4 },
        Written::Rest { n: 1, rest: BTreeMap::from([("a".to_owned(), 2), ("n2".to_owned(), 3)]) },
        Written::Rounded { n: 47 },
        Written::Hidden { n: 1, hidden: 1_000 },
    ];
    for policy in [SnapshotPolicy::every(1), SnapshotPolicy::manual()] {
        let store = fast().snapshots(policy).in_memory().unwrap();
        let totals = store.aggregates::<Total>();
        for event in &events {
            let done = totals.execute("a", |_| Ok::<_, String>([event.clone()])).unwrap();
            let (with, without) = (totals.replay("a").unwrap(), totals.without_snapshots().replay("a").unwrap());
            assert_eq!((&done.state, &with.state), (&without.state, &without.state), "{event:?}");
        }
        assert_eq!(totals.replay("a").unwrap().state, Total(7 + 3 + 4 + 6 + 40 + 1 + 7));
        assert!(totals.verify_snapshots(|_| Continue(())).unwrap().is_clean());
    }
}

/// A flattened rest that holds a member of the event's own name would be written twice.
#[test]
fn a_member_that_would_be_written_twice_is_refused() {
    let rest = BTreeMap::from([("n".to_owned(), 2)]);
    refused(NewEvent::of(&Written::Rest { n: 1, rest }), ErrorKind::Codec);
    // As data without a type it is JSON, and read as JSON is: the last one counts, for every reader.
    let store = fast().in_memory().unwrap();
    store.append("list", "a", 0, [NewEvent::with_json("Twice", Json::from_text(r#"{"n":1,"n":2}"#).unwrap())]).unwrap();
    assert_eq!(store.json_aggregates("list").replay("a").unwrap().state, json!({"n": 2}));
}

#[test]
fn every_name_of_metadata_can_be_set_by_its_field_and_as_an_extra() {
    let own =
        ["userId", "ipAddress", "userAgent", "correlationId", "causationId", "sessionId", "requestId", "source", "traceparent"];
    for name in own {
        for first in [true, false] {
            let metadata = Metadata::new().extra(name, "one").extra(name, "two").extra("other", 3);
            let metadata = if first { Metadata::new().user_id("u").extra(name, "two") } else { metadata };
            let store = fast().in_memory().unwrap();
            let event = noted(1).metadata(&metadata).unwrap();
            store.append("list", "a", 0, [event]).unwrap();
            let event = store.recent_events(1).unwrap().remove(0);
            let text = event.metadata.as_ref().unwrap().as_str();
            assert_eq!(text.matches(&format!("\"{name}\"")).count(), 1, "{text}");
            assert_eq!(serde_json::from_str::<serde_json::Value>(text).unwrap()[name], json!("two"), "{text}");
            event.metadata().unwrap();
        }
    }
}

/// Two places that look the same when they are joined are two places.
#[test]
fn names_that_join_to_the_same_text_stay_apart() {
    let store = fast().in_memory().unwrap();
    let pairs = [
        ("a", "b/c"),
        ("a/b", "c"),
        ("a", "b%2Fc"),
        ("a b", "c"),
        ("a", "b c"),
        ("a\"b", "c"),
        ("A", "b/c"),
        ("é", "c"),
        ("e\u{301}", "c"),
    ];
    for (n, (aggregate_type, id)) in (1..).zip(pairs) {
        store.append(aggregate_type, id, Expected::New, vec![noted(1); n]).unwrap();
        store.json_aggregates(aggregate_type).create_snapshot(id, SnapshotReason::Manual).unwrap();
    }
    let statistics = store.snapshot_statistics().unwrap();
    assert_eq!(statistics.snapshots_by_aggregate.len(), pairs.len());
    for (n, (aggregate_type, id)) in (1u64..).zip(pairs) {
        assert_eq!(store.version(aggregate_type, id).unwrap(), n);
        assert_eq!(store.json_aggregates(aggregate_type).snapshots(id).unwrap().len(), 1);
    }
}

/// A tenant cannot ask for another's ids, by any call, and uses the same ones freely.
#[test]
fn an_id_says_nothing_to_another_tenant() {
    let store = fast().in_memory().unwrap();
    let (one, other) = (store.tenant("one"), store.tenant("other"));
    let given = EventId::from_u128(77);
    let made = one.append("list", "a", 0, [noted(1)]).unwrap().event_ids[0];
    one.append("list", "a", 1, [noted(2).id(given)]).unwrap();
    for id in [given, made] {
        assert_eq!(other.event(id).unwrap(), None);
        let appended = other.append("list", "b", Expected::Any, [noted(9).id(id)]).unwrap();
        assert!(!appended.was_duplicate);
        assert!(other.append("list", "b", Expected::Any, [noted(9).id(id)]).unwrap().was_duplicate);
        let message =
            refused(other.append("list", "b", Expected::Any, [noted(8).id(id)]), ErrorKind::DuplicateEventId).to_string();
        assert!(!message.contains("one") && !message.contains("list \"a\""), "{message}");
        assert_eq!(&*one.event(id).unwrap().unwrap().aggregate_id, "a");
    }
    assert!(store.maintenance().verify(|_| Continue(())).unwrap().is_clean());
}

#[test]
fn raw_values_are_held_to_what_can_be_read() {
    for text in ["1e400", "-1e309", r#""\ud800""#, "[1e999]", r#"{"a":{"b":-1e400}}"#] {
        let raw = RawValue::from_string(text.to_owned()).unwrap();
        refused(NewEvent::new("Raw", &raw), ErrorKind::Codec);
        refused(
            NewEvent::new("Raw", &json!({"ok": 1})).unwrap().metadata(&Metadata::new()).and(Json::from_serialize(&raw)),
            ErrorKind::Codec,
        );
        refused(Json::from_text(text), ErrorKind::Codec);
    }
    for text in ["1e308", "1e-400", "-0", "123456789012345678901234567890", r#""\ud83e\udd80""#] {
        let raw = RawValue::from_string(text.to_owned()).unwrap();
        let store = fast().in_memory().unwrap();
        store.append("list", "a", 0, [NewEvent::new("Raw", &raw).unwrap()]).unwrap();
        assert_eq!(store.recent_events(1).unwrap()[0].data.as_str(), text);
        store.json_aggregates("list").replay("a").unwrap();
    }
}
