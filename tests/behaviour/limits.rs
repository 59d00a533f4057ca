//! What is refused before it is written, at the bound itself and on both sides of it.

use std::collections::HashMap;

use foldlog::{Batch, ErrorKind, Expected, Json, NewEvent, Options, Query, Store};
use serde::{Deserialize, Serialize};

use crate::support::{Place, fast, noted, notes, read, refused, says};

fn place_with(options: Options) -> (Place, Store) {
    let place = Place::new();
    let store = options.open(place.file()).unwrap();
    (place, store)
}

/// An event of exactly this many bytes.
fn of_bytes(bytes: usize) -> NewEvent {
    NewEvent::new("Sized", &"x".repeat(bytes - 2)).unwrap()
}

#[test]
fn bytes_of_an_event() {
    let (_place, store) = place_with(fast().max_event_bytes(100));
    for (event, fits) in [
        (of_bytes(99), true),
        (of_bytes(100), true),
        (of_bytes(101), false),
        (of_bytes(90).metadata_json(Json::from_text(r#"{"a": 1 }"#).unwrap()), true),
        (of_bytes(91).metadata_json(Json::from_text(r#"{"a":  1 }"#).unwrap()), false),
        (of_bytes(93).tag("abc"), true),
        (of_bytes(94).tag("abc"), false),
    ] {
        let before = store.last_position().unwrap();
        let appended = store.append("list", "a", Expected::Any, [noted(0), event]);
        if fits {
            appended.unwrap();
        } else {
            says(&refused(appended, ErrorKind::LimitExceeded), &["101 bytes", "at most 100", "max_event_bytes", "Sized"]);
            assert_eq!(store.last_position().unwrap(), before);
        }
    }
}

#[test]
fn the_default_bound_of_an_event_is_16_mebibytes() {
    let (_place, store) = place_with(fast());
    // One long text and spaces around it, which count too.
    let text = format!("\"{}\"", "x".repeat((16 << 20) - 2));
    let event = |text| NewEvent::with_json("Sized", Json::from_text(text).unwrap());
    refused(store.append("list", "a", 0, [event(format!("{text} "))]), ErrorKind::LimitExceeded);
    store.append("list", "a", 0, [event(text)]).unwrap();
    assert_eq!(store.last_position().unwrap(), 1);
}

#[test]
fn events_of_a_batch() {
    let (_place, store) = place_with(fast().max_batch_events(3));
    store.append("list", "a", 0, notes(1..=2)).unwrap();
    store.commit(Batch::new().append("list", "a", 2, notes(3..=4)).append("list", "b", 0, notes(1..=1))).unwrap();
    let too_many = Batch::new().append("list", "a", 4, notes(5..=6)).append("list", "b", 1, notes(2..=3));
    says(&refused(store.commit(too_many), ErrorKind::LimitExceeded), &["4 events", "at most 3", "max_batch_events"]);
    refused(store.append("list", "a", 4, notes(5..=8)), ErrorKind::LimitExceeded);
    assert_eq!(store.last_position().unwrap(), 5);
}

/// Appends with a name in each place where one can stand.
fn with_name_in(store: &Store, place: &str, name: &str) -> foldlog::Result<foldlog::Appended> {
    match place {
        "tenant" => store.tenant(name).append("list", "a", Expected::Any, [noted(1)]),
        "aggregate type" => store.append(name, "a", Expected::Any, [noted(1)]),
        "aggregate id" => store.append("list", name, Expected::Any, [noted(1)]),
        "event type" => store.append("list", "a", Expected::Any, [NewEvent::new(name, &1).unwrap()]),
        _ => store.append("list", "a", Expected::Any, [noted(1).tag("fine").tag(name)]),
    }
}

#[test]
fn bytes_of_a_name() {
    let (_place, store) = place_with(fast());
    let (_other, small) = place_with(fast().max_name_bytes(7));
    for place in ["tenant", "aggregate type", "aggregate id", "event type", "tag"] {
        for (store, most) in [(&store, 1_024), (&small, 7)] {
            for length in [most - 1, most] {
                with_name_in(store, place, &"n".repeat(length)).unwrap();
            }
            let before = store.last_position().unwrap();
            let error = refused(with_name_in(store, place, &"n".repeat(most + 1)), ErrorKind::LimitExceeded);
            says(&error, &[place, &format!("{} bytes", most + 1), "max_name_bytes"]);
            let error = refused(with_name_in(store, place, ""), ErrorKind::InvalidInput);
            says(&error, &[place, "empty"]);
            let error = refused(with_name_in(store, place, "a\0b"), ErrorKind::InvalidInput);
            says(&error, &[place, "NUL"]);
            assert_eq!(store.last_position().unwrap(), before);
        }
    }
}

#[test]
fn bytes_are_counted_not_characters() {
    let (_place, store) = place_with(fast().max_name_bytes(8));
    store.append("list", "🎈🎈", Expected::Any, [noted(1)]).unwrap();
    refused(store.append("list", "🎈🎈x", Expected::Any, [noted(1)]), ErrorKind::LimitExceeded);
}

fn nested(depth: usize) -> String {
    format!("{}{}", "[".repeat(depth), "]".repeat(depth))
}

#[test]
fn depth_of_json() {
    let (_place, store) = place_with(fast());
    let value = |depth| (1..depth).fold(serde_json::json!([]), |inner, _| serde_json::json!([inner]));
    for depth in [126, 127] {
        let raw = NewEvent::with_json("Deep", Json::from_text(nested(depth)).unwrap());
        store.append("list", "a", Expected::Any, [raw, NewEvent::new("Deep", &value(depth)).unwrap()]).unwrap();
        assert_eq!(store.json_aggregates("list").replay("a").unwrap().state, value(depth));
    }
    says(&refused(NewEvent::new("Deep", &value(128)), ErrorKind::Codec), &["nested deeper than 127", "Deep"]);
    refused(Json::from_text(nested(128)), ErrorKind::Codec);
    assert_eq!(read(&store, Query::new()).len(), 4);
}

#[test]
fn what_cannot_be_an_event() {
    let (_place, store) = place_with(fast());
    let list = |event: NewEvent| store.append("list", "a", Expected::Any, [event]);
    says(&refused(list(noted(1).schema_version(0)), ErrorKind::InvalidInput), &["schema version is 0"]);
    says(&refused(list(noted(1).id(foldlog::EventId::nil())), ErrorKind::InvalidInput), &["nil UUID"]);
    for text in ["[]", "null", "\"{}\"", "1"] {
        let event = noted(1).metadata_json(Json::from_text(text).unwrap());
        says(&refused(list(event), ErrorKind::InvalidInput), &["metadata is not a JSON object"]);
    }
    says(&refused(store.append("list", "a", Expected::Any, notes([])), ErrorKind::InvalidInput), &["no events to append"]);
    refused(store.commit(Batch::new()), ErrorKind::InvalidInput);
    let half = Batch::new().append("list", "a", Expected::Any, [noted(1)]).append("list", "b", Expected::Any, notes([]));
    says(&refused(store.commit(half), ErrorKind::InvalidInput), &["no events to append", "\"b\""]);
    assert_eq!(store.last_position().unwrap(), 0);
    assert_eq!(store.tenants().unwrap(), [""; 0]);
}

#[derive(Serialize, Deserialize)]
enum Reading {
    Measured { kelvin: f64 },
    Counted(HashMap<Vec<u8>, u8>),
}

#[derive(Serialize, Deserialize)]
struct NotAnEnum {
    kelvin: f64,
}

#[test]
fn a_typed_event_that_json_cannot_carry() {
    for kelvin in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        let error = refused(NewEvent::of(&Reading::Measured { kelvin }), ErrorKind::Codec);
        says(&error, &["cannot be read back", "Measured", "not finite"]);
    }
    refused(NewEvent::of(&Reading::Counted(HashMap::from([(vec![1], 1)]))), ErrorKind::Codec);
    for error in [
        refused(NewEvent::of(&NotAnEnum { kelvin: 1.0 }), ErrorKind::Codec),
        refused(NewEvent::of(&"text".to_owned()), ErrorKind::Codec),
        refused(NewEvent::of(&Some(Reading::Measured { kelvin: 1.0 })), ErrorKind::Codec),
    ] {
        says(&error, &["must be an enum"]);
    }
    NewEvent::of(&Reading::Measured { kelvin: f64::MIN_POSITIVE }).unwrap();
}

#[test]
fn the_highest_version_is_the_last() {
    let (place, store) = place_with(fast());
    store.append("list", "a", 0, [noted(1)]).unwrap();
    drop(store);
    // Four thousand million appends, all but the last purged.
    let version = i64::from(u32::MAX) - 1;
    let numbers = [1, version - 1, 0];
    let checksum = numbers.iter().fold(0, |sum, number: &i64| xxhash_rust::xxh3::xxh3_64_with_seed(&number.to_le_bytes(), sum));
    place
        .raw()
        .execute_batch(&format!(
            "UPDATE events SET key = {};
             INSERT INTO removals VALUES (1, {}, 0, {})",
            1 << 32 | version,
            version - 1,
            checksum.cast_signed()
        ))
        .unwrap();
    let store = place.open();
    let highest = foldlog::Version::MAX.get();
    says(
        &refused(store.append("list", "a", Expected::Any, notes([2, 3])), ErrorKind::LimitExceeded),
        &["4294967294", "new aggregate"],
    );
    assert_eq!(store.append("list", "a", highest - 1, [noted(2)]).unwrap().version, highest);
    for expected in [Expected::Any, Expected::Existing, Expected::from(highest)] {
        refused(store.append("list", "a", expected, [noted(3)]), ErrorKind::LimitExceeded);
    }
    refused(store.append("list", "a", Expected::New, [noted(3)]), ErrorKind::Conflict);
    assert_eq!(store.version("list", "a").unwrap(), highest);
    assert_eq!(store.last_position().unwrap(), 2);
    let newest = read(&store, Query::aggregate("list", "a").after_version(highest - 1));
    assert_eq!(newest.len(), 1);
    assert_eq!(read(&store, Query::aggregate("list", "a").after_version(highest)), []);
    assert_eq!(read(&store, Query::aggregate("list", "a").after_version(u64::MAX)), []);
}
