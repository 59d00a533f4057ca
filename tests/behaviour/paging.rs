//! An iterator over a long log holds nothing open, and ends where the log ended when it began.

use std::time::{Duration, Instant};

use foldlog::{ErrorKind, Expected, Filter, Json, Metadata, NewEvent, Purge, Query, SnapshotPolicy, SnapshotReason, Store};
use serde_json::json;

use crate::support::{Place, at, fast, noted, notes, read};

/// Enough for several pages and several blocks.
const MANY: u64 = 5_000;

fn long_log() -> (Place, Store) {
    let place = Place::new();
    let store = place.open();
    store.append("list", "a", 0, notes(1..=MANY)).unwrap();
    (place, store)
}

#[test]
fn every_event_once_in_both_orders() {
    let (_place, store) = long_log();
    let up: Vec<u64> = (1..=MANY).collect();
    let down: Vec<u64> = (1..=MANY).rev().collect();
    for base in [Query::new(), Query::aggregate("list", "a"), Query::matching(Filter::new().event_type("Noted"))] {
        let positions = |query: Query| read(&store, query).iter().map(|event| event.position.get()).collect::<Vec<_>>();
        assert_eq!(positions(base.clone()), up);
        assert_eq!(positions(base.newest_first()), down);
    }
}

#[test]
fn a_long_query_with_few_answers_finds_them_all() {
    let place = Place::new();
    let store = place.open();
    let events = (1..=MANY).map(|n| {
        let event = noted(n).created_at(at((n % 7) as i64));
        if n % 1_000 == 1 { NewEvent::new("Rare", &json!({})).unwrap().tag("rare").created_at(at(900)) } else { event }
    });
    store.append("list", "a", 0, events).unwrap();
    let rare = [1, 1_001, 2_001, 3_001, 4_001];
    for filter in [
        Filter::new().event_type("Rare"),
        Filter::new().tag("rare"),
        Filter::new().from(at(100)),
        Filter::new().event_type("Rare").from(at(8)),
    ] {
        let of_aggregate = Query::aggregate("list", "a").filter(filter.clone());
        for (query, aggregate) in [(Query::matching(filter), false), (of_aggregate, true)] {
            let found = |query: Query| read(&store, query).iter().map(|event| event.position.get()).collect::<Vec<_>>();
            assert_eq!(found(query.clone()), rare, "{aggregate}");
            assert_eq!(found(query.clone().newest_first()), [4_001, 3_001, 2_001, 1_001, 1], "{aggregate}");
            assert_eq!(found(query.limit(2)), [1, 1_001], "{aggregate}");
        }
    }
}

/// No summary passes over these: each event is looked at and left out, page after page.
#[test]
fn pages_without_an_answer_are_not_the_end() {
    let place = Place::new();
    let store = place.open();
    for aggregate_type in ["few", "list", "few"] {
        let count = if aggregate_type == "few" { 2 } else { MANY };
        let events = (1..=count).map(|n| noted(n).tag("all").created_at(at((n % 7) as i64)));
        let rare = NewEvent::new("Rare", &json!({})).unwrap().tag("all");
        store.append(aggregate_type, "a", Expected::Any, events.chain([rare])).unwrap();
    }
    let few = [1, 2, 3, MANY + 5, MANY + 6, MANY + 7];
    let rare = [3, MANY + 4, MANY + 7];
    for (query, expected) in [
        (Query::matching(Filter::new().aggregate_type("few")), &few[..]),
        (Query::matching(Filter::new().tag("all").aggregate_type("few")), &few),
        (Query::matching(Filter::new().tag("all").event_type("Rare")), &rare),
    ] {
        let mut expected = expected.to_vec();
        let found = |query: Query| read(&store, query).iter().map(|event| event.position.get()).collect::<Vec<_>>();
        assert_eq!(found(query.clone()), expected);
        expected.reverse();
        assert_eq!(found(query.newest_first()), expected);
    }
}

#[test]
fn the_first_and_the_last_time_of_a_block_belong_to_it() {
    let place = Place::new();
    let store = place.open();
    // Two full blocks of 512 positions: seconds 10 to 521, and 610 to 1121.
    let seconds = (10..522).chain(610..1_122);
    store.append("list", "a", 0, seconds.map(|second| noted(0).created_at(at(second)))).unwrap();
    for (from, to, position) in [(0, 10, 1), (521, 609, 512), (522, 610, 513), (1_121, 9_999, 1_024)] {
        for query in [Query::new(), Query::new().newest_first()] {
            let found = read(&store, query.filter(Filter::new().from(at(from)).to(at(to))));
            assert_eq!(found.iter().map(|event| event.position.get()).collect::<Vec<_>>(), [position], "{from} to {to}");
        }
    }
}

#[test]
fn a_writer_does_not_prolong_a_reading() {
    let (_place, store) = long_log();
    for query in [
        Query::new(),
        Query::aggregate("list", "a"),
        Query::matching(Filter::new().event_type("Noted")),
        Query::new().newest_first(),
    ] {
        let head = store.last_position().unwrap();
        let mut events = store.read(query.clone());
        let mut seen = 1;
        let mut highest = events.next().unwrap().unwrap().position;
        store.append("list", "a", Expected::Any, notes(1..=10)).unwrap();
        for event in events {
            highest = highest.max(event.unwrap().position);
            seen += 1;
        }
        assert_eq!((seen, highest), (head.get(), head), "{query:?}");
        assert_eq!(store.last_position().unwrap(), head.get() + 10);
    }
}

#[test]
fn an_unfinished_reading_does_not_hold_the_log() {
    let (place, store) = long_log();
    let mut unfinished: Vec<_> =
        [Query::new(), Query::aggregate("list", "a"), Query::new().newest_first(), Query::matching(Filter::new().tag("none"))]
            .into_iter()
            .map(|query| store.read(query))
            .collect();
    for events in &mut unfinished {
        let _ = events.next();
    }
    store.append("list", "a", MANY, notes(1..=1_000)).unwrap();
    let wal = place.join("store.db-wal");
    assert!(wal.metadata().unwrap().len() > 0);
    let (busy, left): (i64, i64) =
        place.raw().query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
    assert_eq!((busy, left), (0, 0), "somebody holds the log");
    assert_eq!(wal.metadata().unwrap().len(), 0);
    let rest: usize =
        unfinished.into_iter().map(|events| events.filter(|event| event.as_ref().unwrap().position > 0).count()).sum();
    assert_eq!(rest, 3 * (MANY as usize - 1), "and all go on afterwards");
}

#[test]
fn the_log_beside_the_file_stays_small_under_readers() {
    let place = Place::new();
    let store = place.open();
    store.append("list", "a", 0, notes(1..=MANY)).unwrap();
    let text = Json::from_serialize(&"x".repeat(10_000)).unwrap();
    let mut events = store.read(Query::new());
    for n in 0..26 {
        let batch = (0..100).map(|_| NewEvent::with_json("Written", text.clone()));
        store.append("list", format!("b-{n}"), 0, batch).unwrap();
        events.by_ref().take(50).for_each(|event| drop(event.unwrap()));
    }
    // 26 MB were written through a log of 16 MiB.
    assert!(place.join("store.db-wal").metadata().unwrap().len() < 20 << 20);
}

#[test]
fn readers_do_not_wait_for_a_writer() {
    let (place, _) = long_log();
    let store = fast().busy_timeout(Duration::from_secs(60)).open(place.file()).unwrap();
    let writer = place.raw();
    writer.execute_batch("BEGIN IMMEDIATE; DELETE FROM event_tags").unwrap();
    let began = Instant::now();
    assert_eq!(read(&store, Query::new()).len() as u64, MANY);
    let lists = store.json_aggregates("list");
    let replayed = lists.replay("a").unwrap();
    assert_eq!(replayed.version, MANY);
    assert_eq!(store.statistics().unwrap().total_events, MANY);
    // A snapshot is due and is left to the next replay.
    assert!(began.elapsed() < Duration::from_secs(30), "{:?}", began.elapsed());
    assert_eq!(lists.snapshots("a").unwrap(), []);
    writer.execute_batch("ROLLBACK").unwrap();
    lists.replay("a").unwrap();
    assert_eq!(lists.snapshots("a").unwrap().len(), 1);
}

/// Large events are read a few at a time: what is purged meanwhile was not in memory yet.
#[test]
fn a_page_of_large_events_is_short() {
    let large = "x".repeat(600_000);
    let tags: Vec<String> = (0..60).map(|n| format!("{n}-{}", "t".repeat(200))).collect();
    let in_data = NewEvent::new("Noted", &json!({ "text": large })).unwrap();
    let in_metadata = noted(1).metadata(&Metadata::new().user_id(&large)).unwrap();
    let in_tags = tags.iter().fold(noted(1), |event, tag| event.tag(tag.as_str()));
    for (what, event, count) in [("data", in_data, 8), ("metadata", in_metadata, 8), ("tags", in_tags, 300)] {
        let place = Place::new();
        let store = fast().snapshots(SnapshotPolicy::manual()).open(place.file()).unwrap();
        store.append("list", "a", 0, vec![event; count]).unwrap();
        let lists = store.json_aggregates("list");
        lists.create_snapshot("a", SnapshotReason::Manual).unwrap();
        let mut history = lists.history("a");
        assert_eq!(history.next().unwrap().unwrap().version, 1, "{what}");
        let all = Purge::created_before(chrono::Utc::now() + chrono::TimeDelta::hours(1));
        store.maintenance().purge(all.fold(&lists)).unwrap();
        let rest: Vec<_> = history.collect();
        assert!(rest.len() < count - 1, "{what}: {} events were in memory", rest.len());
        assert_eq!(rest.last().unwrap().as_ref().unwrap_err().kind(), ErrorKind::HistoryRemoved, "{what}");
    }
}
