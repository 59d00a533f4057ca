//! The words: conversions, and what can be written as JSON and read from it.

use std::collections::HashMap;

use foldlog::{ErrorKind, Expected, Json, Metadata, NewEvent, Position, Query, RecordedEvent, Version};
use serde_json::value::RawValue;
use serde_json::{Value, json};

use crate::domain::{Account, AccountEvent, deposits};
use crate::support::{Place, at, noted, read, refused, says};

#[test]
fn numbers_and_places() {
    for expected in
        [Expected::from(3), 3u8.into(), 3u16.into(), 3u32.into(), 3u64.into(), 3usize.into(), 3i64.into(), Version::new(3).into()]
    {
        assert_eq!(expected, Expected::Exactly(Version::new(3)));
    }
    assert_eq!((Position::new(3) + 1, Version::MAX + 1), (Position::new(4), Version::new(4_294_967_296)));
    assert_eq!(Position::new(u64::MAX) + 1, Position::new(u64::MAX));
    assert_eq!((u64::from(Position::new(3)), u64::from(Version::new(4))), (3, 4));
    assert_eq!("17".parse::<Version>().unwrap(), 17);
    assert_eq!(Position::new(5).to_string().parse::<Position>().unwrap(), 5);
    assert!("-1".parse::<Version>().is_err() && "".parse::<Position>().is_err());
    assert_eq!(HashMap::from([(Version::new(1), "one")])[&Version::new(1)], "one");

    let place = Place::new();
    let accounts = place.open().aggregates::<Account>();
    for before in [0, 1] {
        says(&refused(accounts.append("a", -1, deposits(1)), ErrorKind::Conflict), &["a version that no aggregate can have"]);
        accounts.append("a", before, deposits(1)).unwrap();
    }
}

#[test]
fn lines_out_and_in() {
    let place = Place::new();
    let store = place.open_any_version();
    let events = [
        noted(1).created_at(at(7)).tag("red").schema_version(2).metadata(&Metadata::new().user_id("ada")).unwrap(),
        NewEvent::with_json("Exact", Json::from_text(r#"{"b":1, "a":2.50}"#).unwrap()),
    ];
    store.append("list", "a", Expected::New, events.clone()).unwrap();
    let recorded = read(&store, Query::new());
    let lines: Vec<String> = recorded.iter().map(|event| serde_json::to_string(event).unwrap()).collect();
    let back: Vec<RecordedEvent> = lines.iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(back, recorded);

    // A line of an export is an event that can be appended, under its id.
    let again: Vec<NewEvent> = lines.iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(store.append("list", "a", Expected::Any, again.clone()).unwrap().was_duplicate);
    let other = Place::new();
    other.open_any_version().append("list", "a", Expected::New, again).unwrap();
    for (there, here) in read(&other.open_any_version(), Query::new()).iter().zip(&recorded) {
        let same = |event: &RecordedEvent| {
            let RecordedEvent { id, event_type, schema_version, created_at, tags, data, metadata, .. } = event.clone();
            (id, event_type, schema_version, created_at, tags, data, metadata)
        };
        assert_eq!(same(there), same(here));
    }

    for event in events {
        let text = serde_json::to_string(&event).unwrap();
        assert_eq!(serde_json::from_str::<NewEvent>(&text).unwrap(), event, "{text}");
    }
    let least: NewEvent = serde_json::from_str(r#"{"eventType":"Noted","data":{"n":1}}"#).unwrap();
    assert_eq!(least, noted(1));
}

#[test]
fn json_takes_only_what_can_be_read_again() {
    let raw = |text: &str| RawValue::from_string(text.to_owned()).unwrap();
    for text in
        ["1e400", r#"[1, -2.5E999]"#, r#"{"a":"\ud800"}"#, &"9".repeat(400), &format!("{}1{}", "[".repeat(128), "]".repeat(128))]
    {
        assert_eq!(Json::from_text(text).unwrap_err().kind(), ErrorKind::Codec, "{text}");
        assert_eq!(Json::from_slice(text.as_bytes()).unwrap_err().kind(), ErrorKind::Codec, "{text}");
        if let Ok(raw) = RawValue::from_string(text.to_owned()) {
            let error =
                refused(NewEvent::new("Raw", &json!({ "raw": 0 })).and_then(|_| NewEvent::new("Raw", &raw)), ErrorKind::Codec);
            assert!(!error.to_string().is_empty());
        }
    }
    for text in ["1e300", r#"{"a":"1e400"}"#, r#"["\\ud800","\ud83d\ude00","\"1e999"]"#, "0.1", &format!("0.{}", "1".repeat(400))]
    {
        assert_eq!(Json::from_serialize(&raw(text)).unwrap().as_str(), text);
        assert_eq!(Json::from_slice(text.as_bytes()).unwrap().as_str(), text);
        assert_eq!(text.parse::<Json>().unwrap(), serde_json::from_str(text).unwrap());
    }
    says(&refused(Json::from_slice(&[b'"', 0xFF, b'"']), ErrorKind::Codec), &["utf-8"]);
    let unsized_text: &str = "text";
    assert_eq!(Json::from_serialize(unsized_text).unwrap().as_str(), r#""text""#);
    assert_eq!(NewEvent::new("Noted", [1, 2].as_slice()).unwrap(), NewEvent::new("Noted", &[1, 2]).unwrap());
}

#[test]
fn metadata_holds_no_name_twice() {
    let place = Place::new();
    let store = place.open();
    let set = Metadata::new().user_id("a").extra("userId", "b").extra("causationId", "c").extra("causation", 1);
    store.append("list", "a", 0, [noted(1).metadata(&set).unwrap()]).unwrap();
    let metadata = read(&store, Query::new()).remove(0).metadata().unwrap();
    assert_eq!((metadata.user_id.as_deref(), metadata.causation_id.as_deref()), (Some("b"), Some("c")));
    assert_eq!(Value::Object(metadata.extra), json!({ "causation": 1 }));

    says(&refused(noted(1).metadata(&Metadata::new().extra("userId", 5)), ErrorKind::Codec), &["userId is a field of Metadata"]);
    let mut by_hand = Metadata::new().user_id("a");
    by_hand.extra.insert("ipAddress".to_owned(), json!("192.0.2.1"));
    says(&refused(noted(1).metadata(&by_hand), ErrorKind::Codec), &["ipAddress is a field of Metadata"]);
    refused(store.aggregates::<Account>().with_metadata(&by_hand), ErrorKind::Codec);
}

#[test]
fn reports_and_errors_as_json() {
    let place = Place::new();
    let store = place.open();
    let accounts = store.aggregates::<Account>();
    let appended = accounts.append("a", 0, deposits(2)).unwrap();
    let as_json = serde_json::to_value(&appended).unwrap();
    assert_eq!((&as_json["version"], &as_json["commitId"], &as_json["wasDuplicate"]), (&json!(2), &json!(1), &json!(false)));
    let executed = serde_json::to_value(accounts.execute("a", |_| deposits(1)).unwrap()).unwrap();
    assert_eq!((&executed["state"]["cents"], &executed["attempts"]), (&json!(3), &json!(1)));
    assert_eq!(serde_json::to_value(accounts.replay("a").unwrap()).unwrap()["eventsFolded"], 3);
    let preview = serde_json::to_value(accounts.preview("a", |_| deposits(1)).unwrap()).unwrap();
    assert_eq!((&preview["version"], &preview["events"][0]["eventType"]), (&json!(4), &json!("Deposited")));
    assert_eq!(
        serde_json::to_value(store.maintenance().verify(|_| std::ops::ControlFlow::Continue(())).unwrap()).unwrap()["damageCount"],
        0
    );

    let error = store.tenant("acme").append("account", "a", 7, [noted(1)]).unwrap_err();
    let expected = json!({
        "kind": "conflict",
        "message": error.to_string(),
        "operation": "append",
        "aggregate": { "tenant": "acme", "aggregateType": "account", "aggregateId": "a" },
        "version": null,
        "position": null,
        "eventType": null,
        "conflict": { "expected": { "exactly": 7 }, "actual": 0 },
        "isRetryable": false,
    });
    assert_eq!(serde_json::to_value(&error).unwrap(), expected);
    assert_eq!(ErrorKind::DiskFull.to_string(), "disk_full");
    let refused = accounts.execute("a", |_| Err::<Vec<AccountEvent>, _>("closed")).unwrap_err();
    assert_eq!(serde_json::to_value(&refused).unwrap(), json!({ "kind": "decision", "message": "closed" }));
    let failed = accounts.execute("", |_| deposits(1)).unwrap_err();
    assert_eq!(serde_json::to_value(&failed).unwrap()["kind"], "invalid_input");
}
