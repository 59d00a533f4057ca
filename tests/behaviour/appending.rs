//! Appending: what is expected, what is written, what comes back.

use foldlog::{Batch, Clock, ErrorKind, Expected, Filter, Json, Metadata, NewEvent, Query, Store};
use serde_json::{Value, json};

use crate::domain::{Account, deposits};
use crate::support::{Place, at, fast, noted, notes, read, refused, says};

const NONE: &str = "none";
const SOME: &str = "some";

fn with_some() -> (Place, Store) {
    let place = Place::new();
    let store = place.open();
    store.append("list", SOME, Expected::New, notes(1..=3)).unwrap();
    (place, store)
}

#[test]
fn the_four_expected_versions() {
    let table = [
        (Expected::Any, NONE, true),
        (Expected::Any, SOME, true),
        (Expected::New, NONE, true),
        (Expected::New, SOME, false),
        (Expected::Existing, NONE, false),
        (Expected::Existing, SOME, true),
        (Expected::from(0), NONE, true),
        (Expected::from(0), SOME, false),
        (Expected::from(1), NONE, false),
        (Expected::from(2), SOME, false),
        (Expected::from(3), SOME, true),
        (Expected::from(4), SOME, false),
        (Expected::from(u64::from(u32::MAX)), SOME, false),
        (Expected::from(u64::MAX), NONE, false),
        (Expected::from(u64::MAX), SOME, false),
    ];
    for (expected, id, fits) in table {
        let (_place, store) = with_some();
        let actual = store.version("list", id).unwrap();
        let appended = store.append("list", id, expected, notes([7, 8]));
        if fits {
            let appended = appended.unwrap();
            assert_eq!(appended.version, actual.get() + 2, "{expected} of {id}");
            assert_eq!(store.version("list", id).unwrap(), appended.version);
            assert_eq!(store.last_position().unwrap(), 5);
            continue;
        }
        let error = refused(appended, ErrorKind::Conflict);
        let conflict = error.conflict().unwrap();
        assert_eq!((conflict.expected, conflict.actual), (expected, actual));
        assert_eq!(&*error.aggregate().unwrap().aggregate_id, id);
        assert!(!error.is_retryable());
        says(&error, &["append", "version conflict", &expected.to_string(), id, "replay, decide again"]);
        assert_eq!((store.last_position().unwrap().get(), store.version("list", id).unwrap()), (3, actual));
    }
}

#[test]
fn events_of_one_append_lie_together() {
    let (_place, store) = with_some();
    let appended = store.append("list", SOME, 3, notes(4..=6)).unwrap();
    assert_eq!((appended.version.get(), appended.position.get(), appended.commit_id.get()), (6, 6, 4));
    assert!(!appended.was_duplicate);
    let events = read(&store, Query::new());
    assert_eq!(events.iter().map(|event| event.version.get()).collect::<Vec<_>>(), [1, 2, 3, 4, 5, 6]);
    assert_eq!(events.iter().map(|event| event.position.get()).collect::<Vec<_>>(), [1, 2, 3, 4, 5, 6]);
    assert_eq!(events.iter().map(|event| event.commit_id.get()).collect::<Vec<_>>(), [1, 1, 1, 4, 4, 4]);
    assert_eq!(events[3..].iter().map(|event| event.id).collect::<Vec<_>>(), appended.event_ids);
    assert!(events.chunks(3).all(|commit| commit.is_sorted_by_key(|event| event.id)), "the ids of a commit rise");
    assert!(events.iter().all(|event| event.origin == events[0].origin));
    assert!(events.iter().all(|event| event.id.get_version_num() == 7 && event.schema_version == 1));
}

#[test]
fn a_batch_over_many_aggregates_is_one_commit() {
    let (_place, store) = with_some();
    let batch = Batch::new().append("list", SOME, 3, notes([4])).append("other", "b", Expected::New, notes([1, 2])).append(
        "list",
        "c",
        Expected::Any,
        notes([1]),
    );
    assert_eq!((batch.len(), batch.is_empty(), Batch::new().is_empty()), (4, false, true));
    let appended = store.commit(batch).unwrap();
    assert_eq!(appended.iter().map(|one| one.version.get()).collect::<Vec<_>>(), [4, 2, 1]);
    assert_eq!(appended.iter().map(|one| one.position.get()).collect::<Vec<_>>(), [4, 6, 7]);
    assert!(appended.iter().all(|one| one.commit_id == 4));
    let events = read(&store, Query::new().after_position(3));
    let owners: Vec<_> = events.iter().map(|event| format!("{}/{}", event.aggregate_type, event.aggregate_id)).collect();
    assert_eq!(owners, ["list/some", "other/b", "other/b", "list/c"]);
    assert!(events.iter().all(|event| event.commit_id == 4));
}

#[test]
fn one_conflict_in_a_batch_and_nothing_is_written() {
    let (_place, store) = with_some();
    let batch = Batch::new()
        .append("new type", "n", Expected::New, [NewEvent::new("New event type", &1).unwrap().tag("new tag")])
        .append("list", "new", Expected::New, notes([1]))
        .append("list", SOME, 2, notes([9]));
    let error = refused(store.tenant("new tenant").commit(batch.clone()), ErrorKind::Conflict);
    assert_eq!(error.conflict().unwrap().actual, 0);
    let error = refused(store.commit(batch), ErrorKind::Conflict);
    assert_eq!(&*error.aggregate().unwrap().aggregate_id, SOME);
    assert_eq!(store.last_position().unwrap(), 3);
    assert_eq!(store.aggregate_types().unwrap(), ["list"]);
    assert_eq!(store.tenants().unwrap(), ["default"]);
    assert_eq!(store.version("list", "new").unwrap(), 0);
    // Nor does the store remember names that were rolled back: their numbers go to others now.
    store.append("other type", "o", Expected::New, [NewEvent::new("Other event type", &2).unwrap().tag("other")]).unwrap();
    store.append("new type", "n", Expected::New, [NewEvent::new("New event type", &1).unwrap()]).unwrap();
    let types: Vec<_> = read(&store, Query::new().after_position(3)).iter().map(|event| event.event_type.to_string()).collect();
    assert_eq!(types, ["Other event type", "New event type"]);
    assert_eq!(read(&store, Filter::new().tag("new tag")), []);
}

#[test]
fn the_same_aggregate_twice_in_a_batch() {
    let (_place, store) = with_some();
    let batch = || Batch::new().append("list", SOME, 3, notes([4, 5])).append("list", "b", 0, notes([1]));
    let appended = store.commit(batch().append("list", SOME, 5, notes([6])).append("list", "b", 1, notes([2]))).unwrap();
    assert_eq!(appended.iter().map(|one| one.version.get()).collect::<Vec<_>>(), [5, 1, 6, 2]);
    let error = refused(
        store.commit(Batch::new().append("list", "d", 0, notes([1])).append("list", "d", 0, notes([2]))),
        ErrorKind::Conflict,
    );
    assert_eq!(error.conflict().unwrap().actual, 1, "what the batch itself has done counts");
    assert_eq!(store.version("list", "d").unwrap(), 0);
    assert_eq!(store.last_position().unwrap(), 8);
}

#[test]
fn times_of_the_caller_and_of_the_store() {
    let place = Place::new();
    let clock = Clock::fixed(at(100));
    let store = fast().clock(clock.clone()).open(place.file()).unwrap();
    store.append("list", "a", 0, [noted(1), noted(2).created_at(at(5)), noted(3)]).unwrap();
    clock.set(at(50));
    store.append("list", "a", 3, [noted(4)]).unwrap();
    let precise = "1969-12-31T23:59:59.123456789Z".parse().unwrap();
    store.append("list", "a", 4, [noted(5).created_at(precise)]).unwrap();
    let times: Vec<_> = read(&store, Query::new()).iter().map(|event| event.created_at).collect();
    let micros: chrono::DateTime<chrono::Utc> = "1969-12-31T23:59:59.123456Z".parse().unwrap();
    assert_eq!(times, [at(100), at(5), at(100), at(50), micros]);
}

#[test]
fn metadata_has_the_fields_of_the_original() {
    let (_place, store) = with_some();
    let metadata = Metadata::new()
        .user_id("u-1")
        .username("ada")
        .ip_address("192.0.2.7")
        .user_agent("curl/8")
        .correlation_id("co-1")
        .causation_id("ca-1")
        .extra("channel", "mobile");
    let raw = Json::from_text(r#"{ "b": 1,  "a": 2.50 }"#).unwrap();
    let events = [
        noted(4).metadata(&metadata).unwrap(),
        noted(5).metadata_json(raw.clone()),
        noted(6).metadata(&Metadata::new()).unwrap(),
    ];
    store.append("list", SOME, 3, events).unwrap();
    let events = read(&store, Query::new().after_position(3));
    let stored: Value = events[0].metadata.as_ref().unwrap().to_value().unwrap();
    assert_eq!(
        stored,
        json!({"userId": "u-1", "username": "ada", "ipAddress": "192.0.2.7", "userAgent": "curl/8",
               "correlationId": "co-1", "causationId": "ca-1", "channel": "mobile"})
    );
    assert_eq!(events[0].metadata().unwrap(), metadata);
    assert_eq!(events[1].metadata.as_ref(), Some(&raw), "byte for byte");
    assert_eq!((events[2].metadata.as_ref(), events[2].metadata().unwrap()), (None, Metadata::new()));
}

#[test]
fn a_handle_with_metadata_fills_in_what_is_missing() {
    let place = Place::new();
    let lists = place.open().json_aggregates("list").with_metadata(&Metadata::new().user_id("u-1")).unwrap();
    let own = noted(2).metadata(&Metadata::new().user_id("u-2")).unwrap();
    lists.append_events("a", 0, [noted(1), own]).unwrap();
    lists.execute("a", |_| [noted(3)]).unwrap();
    let users: Vec<_> = lists.history("a").map(|event| event.unwrap().metadata().unwrap().user_id.unwrap()).collect();
    assert_eq!(users, ["u-1", "u-2", "u-1"]);
}

#[test]
fn what_was_appended_is_read_byte_for_byte() {
    let place = Place::new();
    let store = place.open_any_version();
    let texts = ["{\"b\" : 1,\n\t\"a\":2.50e+3,\"a\":null}", "[]", "\"\\u00fc\\/ü\"", "1e300", "null", "-0", "  {} "];
    let events =
        texts.map(|text| NewEvent::with_json("Raw", Json::from_text(text).unwrap()).schema_version(3).tag("b").tag("a").tag("b"));
    store.append("list", "a", 0, events).unwrap();
    drop(store);
    let events = read(&place.open_any_version(), Query::new());
    assert_eq!(events.iter().map(|event| event.data.as_str()).collect::<Vec<_>>(), texts);
    assert!(events.iter().all(|event| event.tags == ["b", "a", "b"] && event.schema_version == 3));
}

#[test]
fn several_megabytes_there_and_back() {
    let place = Place::new();
    let store = place.open();
    let text = "foldlog ünï 🎈 ".repeat(200_000);
    assert!(text.len() > 3_000_000);
    let lists = store.json_aggregates("list");
    lists.append("a", 0, [NewEvent::new("Written", &json!({ "text": text })).unwrap(), noted(1)]).unwrap();
    assert_eq!(lists.replay("a").unwrap().state, json!({ "text": text, "n": 1 }));
    lists.create_snapshot("a", foldlog::SnapshotReason::Manual).unwrap();
    drop((store, lists));
    let lists = place.open().json_aggregates("list");
    assert_eq!(lists.replay("a").unwrap().state["text"], text);
    assert_eq!(lists.history("a").next().unwrap().unwrap().data.to_value().unwrap()["text"], text);
}

#[test]
fn every_file_has_an_identity_of_its_own() {
    let (first, second) = (Place::new(), Place::new());
    for place in [&first, &second] {
        place.open().append("list", "a", 0, [noted(1)]).unwrap();
    }
    let origin = |place: &Place| read(&place.open(), Query::new())[0].origin;
    assert_eq!(origin(&first), origin(&first));
    assert_ne!(origin(&first), origin(&second));
}

#[test]
fn borrowed_events_are_appended_too() {
    let place = Place::new();
    let accounts = place.open().aggregates::<Account>();
    let events = deposits(3);
    accounts.append("a", 0, &events).unwrap();
    accounts.append("a", 3, &events[1..]).unwrap();
    accounts.execute("a", |_| events.first()).unwrap();
    assert_eq!(accounts.replay("a").unwrap().state.cents, 6);
}

/// A store remembers where its appends ended. Another store on the same file moves the ends.
#[test]
fn two_stores_take_turns() {
    let place = Place::new();
    let stores = [place.open(), place.open()];
    for turn in 0..6 {
        // Twice by each, so that one store's second append finds what its first one left.
        let store = &stores[turn / 2 % 2];
        for id in ["a", "b"] {
            let appended = store.append("list", id, turn as u64, [noted(1)]).unwrap();
            assert_eq!(appended.version, turn as u64 + 1);
        }
        let conflict = refused(store.append("list", "a", turn as u64, [noted(1)]), ErrorKind::Conflict);
        assert_eq!(conflict.conflict().unwrap().actual, turn as u64 + 1);
    }
    let positions: Vec<u64> = read(&stores[0], Query::new()).iter().map(|event| event.position.get()).collect();
    assert_eq!(positions, (1..=12).collect::<Vec<_>>());
    // The events go, their versions and positions do not come back.
    let purge = foldlog::Purge::created_before(chrono::Utc::now() + chrono::TimeDelta::hours(1)).even_if_replay_breaks();
    stores[1].maintenance().purge(purge).unwrap();
    let appended = stores[0].append("list", "b", 6, [noted(1)]).unwrap();
    assert_eq!((appended.version.get(), appended.position.get()), (7, 13));
    assert!(stores[1].maintenance().verify(|_| std::ops::ControlFlow::Continue(())).unwrap().is_clean());
}
