//! Appending the same events again, told by their ids.

use foldlog::{Batch, ErrorKind, EventId, Expected, Metadata, NewEvent, Query, Store};
use std::ops::ControlFlow::Continue;

use crate::support::{Place, at, noted, read, refused, says};

fn id(n: u128) -> EventId {
    EventId::from_u128(0x0190_0000_0000_7000_8000_0000_0000_0000 + n)
}

fn known(n: u64) -> NewEvent {
    noted(n).id(id(n.into()))
}

/// Everything about an event that can differ.
fn rich() -> NewEvent {
    known(1).metadata(&Metadata::new().user_id("u-1")).unwrap().tag("t").schema_version(2).created_at(at(1))
}

fn batch() -> Batch {
    Batch::new().append("list", "a", 1, [known(1), known(2)]).append("list", "b", Expected::New, [known(3)])
}

fn with_batch() -> (Place, Store) {
    let place = Place::new();
    let store = place.open();
    store.append("list", "a", 0, [noted(0)]).unwrap();
    store.commit(batch()).unwrap();
    (place, store)
}

#[test]
fn the_same_append_again_returns_the_first_result() {
    let place = Place::new();
    let store = place.open();
    store.append("list", "a", 0, [noted(0)]).unwrap();
    let first = store.commit(batch()).unwrap();
    assert!(first.iter().all(|appended| !appended.was_duplicate));
    assert_eq!(first[0].event_ids, [id(1), id(2)]);
    // Now the expected versions would conflict, and the file was opened anew.
    store.append("list", "a", 3, [noted(9)]).unwrap();
    drop(store);
    let store = place.open();
    let mut again = store.commit(batch()).unwrap();
    assert!(again.iter().all(|appended| appended.was_duplicate));
    assert_eq!(again.iter().map(|appended| appended.skipped).collect::<Vec<_>>(), [2, 1]);
    again.iter_mut().for_each(|appended| (appended.was_duplicate, appended.skipped) = (false, 0));
    assert_eq!(again, first);
    assert_eq!(read(&store, Query::new()).len(), 5);
}

#[test]
fn a_time_that_was_not_given_need_not_be_the_same() {
    let place = Place::new();
    let store = place.open();
    store.append("list", "a", 0, [known(1)]).unwrap();
    std::thread::sleep(std::time::Duration::from_millis(2));
    assert!(store.append("list", "a", 0, [known(1)]).unwrap().was_duplicate);
}

#[test]
fn other_content_under_a_known_id_is_refused() {
    let place = Place::new();
    let store = place.open_any_version();
    store.append("list", "a", 0, [rich()]).unwrap();
    assert!(store.append("list", "a", 0, [rich()]).unwrap().was_duplicate);
    let others = [
        ("list", "b", rich()),
        ("other", "a", rich()),
        ("list", "a", noted(2).id(id(1))),
        ("list", "a", NewEvent::new("Other", &serde_json::json!({"n": 1})).unwrap().id(id(1))),
        ("list", "a", rich().tag("t2")),
        ("list", "a", rich().schema_version(3)),
        ("list", "a", rich().created_at(at(2))),
    ];
    let differ = ["list \"a\"", "list \"a\"", "other data", "the type \"Noted\"", "other tags", "schema version 2", "the time 2"];
    for ((aggregate_type, aggregate_id, event), differs) in others.into_iter().zip(differ) {
        for skip_existing in [false, true] {
            let batch = Batch::new().append(aggregate_type, aggregate_id, Expected::Any, [event.clone(), noted(7)]);
            let batch = if skip_existing { batch.skip_existing() } else { batch };
            let error = refused(store.commit(batch), ErrorKind::DuplicateEventId);
            let expected = if skip_existing { differs } else { "already in the log" };
            says(&error, &["append", &id(1).to_string(), expected]);
        }
        let error = refused(store.append(aggregate_type, aggregate_id, Expected::Any, [event]), ErrorKind::DuplicateEventId);
        says(&error, &["append", &id(1).to_string(), "already in the log", differs, "new ids"]);
        assert_eq!(error.position(), Some(1.into()));
    }
    assert_eq!(store.last_position().unwrap(), 1);
    // Another tenant may use the same id, and is told nothing of this one's.
    let acme = store.tenant("acme");
    assert!(!acme.append("list", "a", Expected::Any, [rich().tag("t2")]).unwrap().was_duplicate);
    assert_eq!(acme.event(id(1)).unwrap().unwrap().position, 2);
    assert_eq!(store.event(id(1)).unwrap().unwrap().position, 1);
}

#[test]
fn a_part_of_a_known_append_is_refused() {
    let (_place, store) = with_batch();
    let partly = [
        ("a new event behind", vec![known(1), known(2), known(4)]),
        ("a new event before", vec![known(4), known(1), known(2)]),
        ("an event without an id", vec![known(1), known(2), noted(5)]),
        ("the other order", vec![known(2), known(1)]),
        ("without the last", vec![known(1)]),
        ("without the first", vec![known(2)]),
    ];
    for (what, events) in partly {
        let batch = Batch::new().append("list", "a", Expected::Any, events).append("list", "b", Expected::Any, [known(3)]);
        assert_eq!(store.commit(batch).map(drop).unwrap_err().kind(), ErrorKind::DuplicateEventId, "{what}");
    }
    refused(store.append("list", "a", 1, [known(1), known(2)]), ErrorKind::DuplicateEventId);
    assert_eq!(store.last_position().unwrap(), 4);
}

#[test]
fn two_appends_are_not_one() {
    let place = Place::new();
    let store = place.open();
    store.append("list", "a", 0, [known(1)]).unwrap();
    store.append("list", "a", 1, [known(2)]).unwrap();
    refused(store.append("list", "a", 0, [known(1), known(2)]), ErrorKind::DuplicateEventId);
    assert!(store.append("list", "a", 0, [known(1)]).unwrap().was_duplicate);
    assert!(store.append("list", "a", 1, [known(2)]).unwrap().was_duplicate);
}

#[test]
fn an_id_twice_in_one_append_is_refused() {
    let place = Place::new();
    let store = place.open();
    let error = refused(store.append("list", "a", 0, [known(1), known(1)]), ErrorKind::DuplicateEventId);
    says(&error, &[&id(1).to_string(), "twice"]);
    let batch = Batch::new().append("list", "a", 0, [known(1)]).append("list", "b", 0, [known(1)]);
    refused(store.commit(batch), ErrorKind::DuplicateEventId);
    assert_eq!(store.last_position().unwrap(), 0);
}

#[test]
fn the_ids_that_the_store_made_can_be_used_too() {
    let place = Place::new();
    let store = place.open();
    let first = store.append("list", "a", 0, [noted(1)]).unwrap();
    let again = store.append("list", "a", 0, [noted(1).id(first.event_ids[0])]).unwrap();
    assert!(again.was_duplicate);
    assert_eq!((again.version, again.event_ids), (first.version, first.event_ids));
}

/// Ids of one's own need not rise: each is put in at its place in the order of ids, beside those of earlier appends and of the
/// same one, and those that the store makes.
#[test]
fn ids_in_any_order_keep_their_order() {
    let place = Place::new();
    let store = place.open();
    let mut ids = Vec::new();
    for append in 0..60 {
        // From one to seven events, their ids now rising, now falling, now in no order; some without one.
        let events = (0..append % 7 + 1).map(|event| {
            let number = append * 7 + event;
            let place_in_order = match append % 4 {
                0 => number,
                1 => 10_000 - number,
                2 => number * 383 % 997 + 2_000,
                _ => return noted(number),
            };
            noted(number).id(id(place_in_order.into()))
        });
        ids.extend(store.append("list", "a", Expected::Any, events.collect::<Vec<_>>()).unwrap().event_ids);
        assert!(store.maintenance().verify(|_| Continue(())).unwrap().is_clean(), "append {append}");
    }
    for (at, event_id) in ids.iter().enumerate() {
        assert_eq!(store.event(*event_id).unwrap().unwrap().version.get(), at as u64 + 1);
    }
    for number in 1_000..2_000 {
        assert_eq!(store.event(id(number)).unwrap(), None);
    }
}

/// A repeated call has another correlation id, and its JSON may be written in another way.
#[test]
fn a_repeat_is_known_by_its_content() {
    let place = Place::new();
    let store = place.open();
    let event = |data: &str| NewEvent::with_json("Placed", data.parse().unwrap()).id(id(1)).tag("b").tag("a");
    let by = |name: &str| Metadata::new().user_id("u-1").correlation_id(name);
    store.append("order", "a", 0, [event(r#"{"items":[{"n":1,"price":2.5}],"to":"Zoë"}"#).metadata(&by("1")).unwrap()]).unwrap();
    let again = NewEvent::with_json("Placed", r#"{ "to": "Zo\u00eb", "items": [{"price": 2.50, "n": 1.0}] }"#.parse().unwrap());
    let again = again.id(id(1)).tag("a").tag("b");
    for metadata in [by("2"), by("3").extra("channel", "web"), Metadata::new()] {
        assert!(store.append("order", "a", 0, [again.clone().metadata(&metadata).unwrap()]).unwrap().was_duplicate);
    }
    let event = store.event(id(1)).unwrap().unwrap();
    assert_eq!(event.metadata().unwrap().correlation_id.as_deref(), Some("1"), "the first append counts");
    for other in [r#"{"items":[{"n":1,"price":2.51}],"to":"Zoë"}"#, r#"{"items":[],"to":"Zoë"}"#] {
        let event = NewEvent::with_json("Placed", other.parse().unwrap()).id(id(1)).tag("a").tag("b");
        says(&refused(store.append("order", "a", 0, [event]), ErrorKind::DuplicateEventId), &["there it has other data"]);
    }
}

fn skipping(expected: impl Into<Expected>, events: Vec<NewEvent>) -> Batch {
    Batch::new().append("list", "a", expected, events).skip_existing()
}

#[test]
fn an_import_goes_on_with_other_batches() {
    for expected in [Expected::Any, Expected::New] {
        let place = Place::new();
        let store = place.open();
        store.append("list", "a", expected, (1..=4).map(known)).unwrap();
        let done = store.commit(skipping(expected, (1..=10).map(known).collect())).unwrap();
        let [done] = &done[..] else { panic!("one aggregate") };
        assert_eq!((done.skipped, done.was_duplicate, done.version.get(), done.position.get()), (4, false, 10, 10));
        assert_eq!((done.commit_id.get(), &done.event_ids), (5, &(1..=10).map(id).collect::<Vec<_>>()));
        let ids: Vec<EventId> = read(&store, Query::new()).iter().map(|event| event.id).collect();
        assert_eq!(ids, (1..=10).map(id).collect::<Vec<_>>());
        let again = store.commit(skipping(expected, (3..=8).map(known).collect())).unwrap();
        assert_eq!((again[0].skipped, again[0].was_duplicate, again[0].version.get()), (6, true, 8));
        assert_eq!(store.last_position().unwrap(), 10);
        assert!(store.maintenance().verify(|_| Continue(())).unwrap().is_clean());
    }
}

#[test]
fn a_batch_that_skips_puts_the_rest_where_it_belongs() {
    let (_place, store) = with_batch();
    // Of a: 1 and 2 are there; of b: 3; c is new. Tags belong to the right event.
    let batch = Batch::new()
        .append("list", "a", 1, [known(1), known(2), known(11).tag("eleven")])
        .append("list", "b", Expected::New, [known(3)])
        .append("list", "c", Expected::New, [known(12).tag("twelve"), noted(13)])
        .skip_existing();
    let done = store.commit(batch).unwrap();
    let told: Vec<_> = done.iter().map(|one| (one.skipped, one.was_duplicate, one.version.get(), one.commit_id.get())).collect();
    assert_eq!(told, [(2, false, 4, 5), (1, true, 1, 2), (0, false, 2, 5)]);
    for (tag, expected) in [("eleven", id(11)), ("twelve", id(12))] {
        let found = read(&store, foldlog::Filter::new().tag(tag));
        assert_eq!(found.iter().map(|event| event.id).collect::<Vec<_>>(), [expected]);
    }
    assert_eq!(store.last_position().unwrap(), 7);
    assert!(store.maintenance().verify(|_| Continue(())).unwrap().is_clean());
}

/// The caller's order is kept, and an aggregate that moved on is a conflict.
#[test]
fn skipping_never_turns_an_order() {
    let start = || {
        let place = Place::new();
        let store = place.open();
        store.append("list", "a", 0, [known(1), known(2)]).unwrap();
        (place, store)
    };
    let (_place, store) = start();
    for (what, expected, events) in [
        ("a new event before a known one", 0, vec![known(9), known(1)]),
        ("the other order", 0, vec![known(2), known(1), known(3)]),
        ("another beginning", 1, vec![known(1), known(2), known(3)]),
        ("a gap", 0, vec![known(2), known(3)]),
    ] {
        let error = store.commit(skipping(expected, events)).map(drop).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::DuplicateEventId, "{what}: {error}");
    }
    store.append("list", "a", 2, [noted(77)]).unwrap();
    let error = refused(store.commit(skipping(0, (1..=4).map(known).collect())), ErrorKind::Conflict);
    says(&error, &["expected version 2, found version 3"]);
    let done = store.commit(skipping(Expected::Existing, vec![known(9), known(1), known(10)])).unwrap();
    assert_eq!((done[0].skipped, done[0].version.get()), (1, 5));
    assert_eq!(store.last_position().unwrap(), 5);
    refused(store.commit(Batch::new().append("list", "b", Expected::Existing, [known(20)]).skip_existing()), ErrorKind::Conflict);
}
