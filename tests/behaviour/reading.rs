//! Reading: each option by itself, and what is counted. The combinations are in tests/model.rs.

use foldlog::{ErrorKind, Expected, Filter, NewEvent, Query, RecordedEvent, SnapshotPolicy, Store};
use serde_json::json;

use crate::support::{Place, at, fast, noted, notes, read, refused, says};

fn event(event_type: &str, second: i64, tag: &str) -> NewEvent {
    NewEvent::new(event_type, &json!({})).unwrap().created_at(at(second)).tag(tag)
}

/// Eight events: of two types, two aggregates of one type and one of another, times not in order, two tenants.
fn sample() -> (Place, Store) {
    let place = Place::new();
    let store = place.open();
    store.append("list", "a", 0, [event("Made", 10, "red"), event("Noted", 30, "red")]).unwrap();
    store.append("list", "b", 0, [event("Made", 20, "blue")]).unwrap();
    store.append("book", "a", 0, [event("Made", 5, "red")]).unwrap();
    store.tenant("acme").append("list", "a", 0, [event("Made", 15, "red"), event("Noted", 25, "red")]).unwrap();
    store.append("list", "a", 2, [event("Noted", 20, "blue"), event("Gone", 40, "red")]).unwrap();
    (place, store)
}

fn positions(events: &[RecordedEvent]) -> Vec<u64> {
    events.iter().map(|event| event.position.get()).collect()
}

#[test]
fn each_option_by_itself() {
    let (_place, store) = sample();
    for (query, expected) in [
        (Query::new(), vec![1, 2, 3, 4, 7, 8]),
        (Query::new().newest_first(), vec![8, 7, 4, 3, 2, 1]),
        (Query::aggregate("list", "a"), vec![1, 2, 7, 8]),
        (Query::aggregate("list", "a").newest_first(), vec![8, 7, 2, 1]),
        (Query::aggregate("list", "a").after_version(2), vec![7, 8]),
        (Query::aggregate("list", "a").after_version(2).newest_first(), vec![8, 7]),
        (Query::aggregate("list", "a").after_version(4), vec![]),
        (Query::aggregate("list", "missing"), vec![]),
        (Query::aggregate("missing", "a"), vec![]),
        (Query::matching(Filter::new().aggregate_type("list")), vec![1, 2, 3, 7, 8]),
        (Query::matching(Filter::new().aggregate_type("missing")), vec![]),
        (Query::matching(Filter::new().event_type("Made")), vec![1, 3, 4]),
        (Query::matching(Filter::new().event_type("Made").event_type("Gone")), vec![1, 3, 4, 8]),
        (Query::matching(Filter::new().event_type("Made").event_type("Never")), vec![1, 3, 4]),
        (Query::matching(Filter::new().event_type("Never")), vec![]),
        (Query::matching(Filter::new().event_type("Noted")).newest_first().limit(1), vec![7]),
        (Query::matching(Filter::new().tag("red")), vec![1, 2, 4, 8]),
        (Query::matching(Filter::new().tag("re")), vec![]),
        (Query::matching(Filter::new().from(at(20))), vec![2, 3, 7, 8]),
        (Query::matching(Filter::new().to(at(20))), vec![1, 3, 4, 7]),
        (Query::matching(Filter::new().from(at(20)).to(at(20))), vec![3, 7]),
        (Query::matching(Filter::new().from(at(21)).to(at(20))), vec![]),
        (Query::new().after_position(3), vec![4, 7, 8]),
        (Query::new().up_to_position(3), vec![1, 2, 3]),
        (Query::new().after_position(3).up_to_position(7), vec![4, 7]),
        (Query::new().after_position(7).up_to_position(3), vec![]),
        (Query::new().after_position(u64::MAX), vec![]),
        (Query::new().up_to_position(u64::MAX).limit(u64::MAX), vec![1, 2, 3, 4, 7, 8]),
        (Query::new().limit(2), vec![1, 2]),
        (Query::new().limit(0), vec![]),
        (Query::matching(Filter::new().all_tenants()), vec![1, 2, 3, 4, 5, 6, 7, 8]),
        (Query::matching(Filter::new().all_tenants().aggregate_type("list").event_type("Noted")), vec![2, 6, 7]),
        (Query::aggregate("list", "a").filter(Filter::new().tag("red").event_type("Noted").from(at(1)).to(at(50))), vec![2]),
        (Query::aggregate("list", "a").after_position(1).up_to_position(7), vec![2, 7]),
    ] {
        let shown = format!("{query:?}");
        assert_eq!(positions(&read(&store, query)), expected, "{shown}");
    }
}

#[test]
fn questions_that_make_no_sense_are_refused() {
    let (_place, store) = sample();
    for query in [
        Query::aggregate("list", "a").filter(Filter::new().all_tenants()),
        Query::matching(Filter::new().all_tenants().tag("red")),
    ] {
        let mut events = store.read(query);
        says(&refused(events.next().unwrap(), ErrorKind::InvalidInput), &["read", "all_tenants"]);
        assert!(events.next().is_none(), "after an error the iterator is at its end");
    }
}

#[test]
fn an_event_by_its_id() {
    let (_place, store) = sample();
    for event in read(&store, Query::new()) {
        assert_eq!(store.event(event.id).unwrap(), Some(event));
    }
    assert_eq!(store.event(foldlog::EventId::from_u128(7)).unwrap(), None);
    let theirs = read(&store.tenant("acme"), Query::new()).remove(0);
    assert_eq!(store.event(theirs.id).unwrap(), None, "another tenant's event");
}

#[test]
fn recent_events_and_history() {
    let (_place, store) = sample();
    assert_eq!(positions(&store.recent_events(3).unwrap()), [8, 7, 4]);
    assert_eq!(positions(&store.recent_events(100).unwrap()).len(), 6);
    assert_eq!(store.recent_events(0).unwrap(), []);
    let history: Vec<_> = store.json_aggregates("list").history("a").map(|event| event.unwrap()).collect();
    assert_eq!(history, read(&store, Query::aggregate("list", "a")));
    assert_eq!(history.iter().map(|event| event.version.get()).collect::<Vec<_>>(), [1, 2, 3, 4]);
}

#[test]
fn counts() {
    let (_place, store) = sample();
    let of_type = |aggregate_type| Filter::new().aggregate_type(aggregate_type);
    for (query, count) in [
        (Query::new(), 6),
        (Filter::new().event_type("Made").into(), 3),
        (Filter::new().event_type("Never").into(), 0),
        (of_type("list").into(), 5),
        (of_type("list").event_type("Noted").into(), 2),
        (Query::aggregate("list", "a"), 4),
        (Query::aggregate("list", "a").filter(Filter::new().event_type("Noted")), 2),
        (Query::aggregate("list", "missing"), 0),
        (of_type("missing").into(), 0),
        (of_type("list").event_type("Noted").all_tenants().into(), 3),
        (Query::new().limit(5), 5),
        (Query::new().up_to_position(3), 3),
        (Filter::new().tag("red").into(), 4),
    ] {
        let shown = format!("{query:?}");
        assert_eq!(store.count(query).unwrap(), count, "{shown}");
    }
    assert_eq!(store.tenant("acme").count(Query::new()).unwrap(), 2);
    assert_eq!(store.tenant("nobody").count(Query::new()).unwrap(), 0);
}

#[test]
fn statistics() {
    let (place, store) = sample();
    let statistics = store.statistics().unwrap();
    assert_eq!((statistics.total_events, statistics.aggregates), (6, 3));
    let by_type: Vec<_> = statistics.events_by_type.iter().map(|(name, count)| (name.as_str(), *count)).collect();
    assert_eq!(by_type, [("Gone", 1), ("Made", 3), ("Noted", 2)]);
    assert_eq!(store.tenant("acme").statistics().unwrap().total_events, 2);

    store.json_aggregates("list").create_snapshot("a", foldlog::SnapshotReason::Manual).unwrap();
    let file = store.file_statistics().unwrap();
    assert_eq!((file.last_position.get(), file.events, file.snapshots), (8, 8, 1));
    drop(store);
    let store = place.open();
    assert_eq!(store.file_statistics().unwrap().size_bytes, place.file().metadata().unwrap().len());
    assert_eq!(
        (store.aggregate_types().unwrap(), store.tenants().unwrap()),
        (vec!["book".into(), "list".into()], vec!["acme".to_owned(), "default".to_owned()])
    );
}

#[test]
fn ids_of_aggregates_page_by_page() {
    let place = Place::new();
    let lists = place.open().json_aggregates("list");
    for id in ["c", "a", "d", "b"] {
        lists.append(id, Expected::New, [noted(1)]).unwrap();
    }
    assert_eq!(lists.ids().collect::<foldlog::Result<Vec<_>>>().unwrap(), ["a", "b", "c", "d"]);
    assert_eq!(lists.ids().take(2).collect::<foldlog::Result<Vec<_>>>().unwrap(), ["a", "b"]);
    assert_eq!(lists.ids().after("b").take(2).collect::<foldlog::Result<Vec<_>>>().unwrap(), ["c", "d"]);
    assert_eq!(lists.ids().after("bb").take(1).collect::<foldlog::Result<Vec<_>>>().unwrap(), ["c"]);
    assert_eq!(lists.ids().after("d").take(2).collect::<foldlog::Result<Vec<_>>>().unwrap(), [""; 0]);
    assert_eq!(place.open().json_aggregates("missing").ids().take(1).collect::<foldlog::Result<Vec<_>>>().unwrap(), [""; 0]);
}

#[test]
fn versions() {
    let (_place, store) = sample();
    assert_eq!(store.version("list", "a").unwrap(), 4);
    assert_eq!(store.json_aggregates("list").version("b").unwrap(), 1);
    assert_eq!(store.version("list", "missing").unwrap(), 0);
    assert_eq!(store.version("missing", "a").unwrap(), 0);
    assert_eq!(store.last_position().unwrap(), 8);
}

#[test]
fn damage_is_reported_and_never_returned() {
    let place = Place::new();
    place.open().append("list", "a", 0, notes(1..=3)).unwrap();
    place.raw().execute_batch(r#"UPDATE events SET data = '{"n":7}' WHERE position = 2"#).unwrap();
    let store = place.open();
    let events: Vec<_> = store.read(Query::new()).collect();
    let error = events.last().unwrap().as_ref().unwrap_err();
    assert_eq!((error.kind(), error.position(), error.version()), (ErrorKind::Corrupt, Some(2.into()), Some(2.into())));
    assert!(events.len() <= 2);
    let error = refused(store.json_aggregates("list").replay("a"), ErrorKind::Corrupt);
    assert_eq!(error.version(), Some(2.into()));
    says(&error, &["replay", "checksum", "\"a\"", "restore a backup"]);
}

#[test]
fn an_event_that_is_missing_is_reported() {
    let place = Place::new();
    place.open().append("list", "a", 0, notes(1..=5)).unwrap();
    place.raw().execute_batch("DELETE FROM events WHERE position = 3").unwrap();
    let store = place.open();
    let list = store.json_aggregates("list");
    for error in [
        refused(list.replay("a"), ErrorKind::Corrupt),
        refused(list.replay_to_version("a", 4), ErrorKind::Corrupt),
        refused(list.history("a").collect::<foldlog::Result<Vec<_>>>(), ErrorKind::Corrupt),
    ] {
        says(&error, &["an event is missing", "restore a backup"]);
        assert_eq!(error.version(), Some(3.into()));
    }
    refused(store.read(Query::new()).collect::<foldlog::Result<Vec<_>>>(), ErrorKind::Corrupt);
    assert_eq!(list.replay_to_version("a", 2).unwrap().version, 2);
}

/// The first page of a replay, 1,024 events, is whole, and on the second one there is nothing.
#[test]
fn a_page_of_events_that_is_missing_is_reported() {
    let place = Place::new();
    let without_snapshots = fast().snapshots(SnapshotPolicy::manual());
    without_snapshots.open(place.file()).unwrap().append("list", "a", 0, notes(1..=1_100)).unwrap();
    place.raw().execute_batch("DELETE FROM events WHERE position BETWEEN 1025 AND 1090").unwrap();
    let store = place.open();
    let lists = store.json_aggregates("list");
    let error = refused(lists.replay_to_version("a", 1_050), ErrorKind::Corrupt);
    assert_eq!(error.version(), Some(1_025.into()));
    refused(lists.replay("a"), ErrorKind::Corrupt);
    assert_eq!(lists.replay_to_version("a", 1_024).unwrap().version, 1_024);
}

/// The aggregate is there and its events are not: that is not an aggregate that never was.
#[test]
fn an_aggregate_without_events_is_reported() {
    let place = Place::new();
    place.open().append("list", "a", 0, notes(1..=9)).unwrap();
    place.raw().execute_batch("DELETE FROM events").unwrap();
    let store = place.open();
    refused(store.json_aggregates("list").replay("a"), ErrorKind::Corrupt);
    refused(store.version("list", "a"), ErrorKind::Corrupt);
    refused(store.append("list", "a", Expected::Any, notes(1..=1)), ErrorKind::Corrupt);
    assert!(!store.maintenance().verify(|_| std::ops::ControlFlow::Continue(())).unwrap().is_clean());
}

/// Read backwards to a version, the event after it is the last one.
#[test]
fn an_event_that_is_missing_at_the_end_of_a_range_is_reported() {
    let place = Place::new();
    let store = place.open();
    store.append("list", "b", 0, [event("Rare", 1, "t")]).unwrap();
    store.append("list", "a", 0, notes(1..=2_047)).unwrap();
    drop(store);
    place.raw().execute_batch("DELETE FROM events WHERE key & 0xFFFFFFFF = 4").unwrap();
    let store = place.open();
    let query = Query::aggregate("list", "a").after_version(3).newest_first();
    // The second one in one page of 2,048 rows, of which it wants none.
    for query in [query.clone(), query.filter(Filter::new().event_type("Rare"))] {
        let error = refused(store.read(query).collect::<foldlog::Result<Vec<_>>>(), ErrorKind::Corrupt);
        assert_eq!(error.version(), Some(4.into()));
    }
}
