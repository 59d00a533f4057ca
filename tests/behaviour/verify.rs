//! `verify` names each damage, and nothing else.

use std::ops::ControlFlow::Continue;
use std::path::Path;
use std::sync::OnceLock;

use crate::support::raw;
use foldlog::{
    Batch, Durability, ErrorKind, EventId, Expected, Filter, NewEvent, Options, Purge, Query, SnapshotPolicy, SnapshotReason,
    Store, VerifyReport,
};
use serde_json::{Value, json};

fn event(number: u64) -> NewEvent {
    NewEvent::new(if number.is_multiple_of(3) { "Third" } else { "Other" }, &json!({ "n": number })).unwrap()
}

/// 1,400 events of seven aggregates in two tenants, with tags, snapshots and two full blocks.
fn fill(path: &Path) {
    static FILE: OnceLock<Vec<u8>> = OnceLock::new();
    std::fs::write(path, FILE.get_or_init(make)).unwrap();
}

fn make() -> Vec<u8> {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.db");
    let store = Options::new().snapshots(SnapshotPolicy::every(50)).durability(Durability::Fast).open(&path).unwrap();
    let acme = store.tenant("acme");
    for number in 0..700 {
        let tagged = event(number).tag(format!("t-{}", number % 5)).tag("all");
        store.append("order", format!("o-{}", number % 5), Expected::Any, [tagged]).unwrap();
        acme.append("order", format!("o-{}", number % 2), Expected::Any, [event(number)]).unwrap();
    }
    for id in 0..5 {
        store.json_aggregates("order").create_snapshot(format!("o-{id}"), SnapshotReason::Manual).unwrap();
    }
    drop((acme, store));
    std::fs::read(&path).unwrap()
}

fn verify(path: &Path) -> VerifyReport {
    Store::open(path).unwrap().maintenance().verify(|_| Continue(())).unwrap()
}

fn damaged_by(sql: &str) -> VerifyReport {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.db");
    fill(&path);
    let bare = raw(&path);
    bare.execute_batch("PRAGMA ignore_check_constraints = ON").unwrap();
    bare.execute_batch(sql).unwrap();
    drop(bare);
    verify(&path)
}

/// The index that a query by type or time passes over the log with says nothing that could hide an event.
#[test]
fn a_query_ends_with_an_error_at_a_changed_summary() {
    for sql in [
        "UPDATE block_summaries SET counts = '[]' WHERE id = 1",
        "UPDATE block_summaries SET latest = earliest WHERE id = 1",
        "UPDATE block_summaries SET earliest = latest WHERE id = 1",
        "UPDATE block_summaries SET checksum = checksum + 1 WHERE id = 1",
        "DELETE FROM block_summaries WHERE id = 0",
        "DELETE FROM block_summaries WHERE id = 1",
    ] {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.db");
        fill(&path);
        raw(&path).execute_batch(sql).unwrap();
        let store = Store::open(&path).unwrap();
        let old = "2000-01-01T00:00:00Z".parse().unwrap();
        for query in [
            Query::matching(Filter::new().event_type("Third")),
            Query::matching(Filter::new().event_type("Third")).newest_first(),
            Query::matching(Filter::new().to(old)),
        ] {
            let error = store.read(query.clone()).find_map(Result::err).unwrap_or_else(|| panic!("{sql}: {query:?}"));
            assert_eq!(error.kind(), ErrorKind::Corrupt, "{sql}");
        }
        assert_eq!(store.read(Filter::new().all_tenants()).map(Result::unwrap).count(), 1_400, "the log itself is sound");
    }
}

/// A name that damage took out of its table gives its number free: nobody else may get it.
#[test]
fn a_lost_number_is_not_given_to_another_name() {
    for sql in [
        "DELETE FROM aggregate_types WHERE id = (SELECT max(id) FROM aggregate_types)",
        "DELETE FROM tenants WHERE id = (SELECT max(id) FROM tenants)",
    ] {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.db");
        fill(&path);
        raw(&path).execute_batch(sql).unwrap();
        let store = Store::open(&path).unwrap();
        let error = store.tenant("new").append("order", "o-0", Expected::Any, [event(1)]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{sql}: {error}");
        assert_eq!(store.last_position().unwrap(), 1_400);
    }
}

#[test]
fn a_sound_file_is_clean() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.db");
    fill(&path);
    let store = Store::open(&path).unwrap();
    let mut steps = Vec::new();
    let report = store
        .maintenance()
        .verify(|progress| {
            steps.push(progress.step);
            Continue(())
        })
        .unwrap();
    assert!(report.is_clean(), "{:?}", report.damages);
    assert_eq!((report.events, report.aggregates, report.snapshots), (1_400, 7, 5));
    steps.dedup();
    assert_eq!(steps.len(), 15, "{steps:?}");
}

#[test]
fn a_result_is_noted_only_if_that_is_asked_for() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.db");
    fill(&path);
    let store = Store::open(&path).unwrap();
    let maintenance = store.maintenance();
    let report = maintenance.verify(|_| Continue(())).unwrap();
    assert_eq!(maintenance.last_verified().unwrap(), None);
    maintenance.note_verified(&report).unwrap();
    let noted = maintenance.last_verified().unwrap().unwrap();
    assert_eq!((noted.position.get(), noted.events, noted.damage_count), (1_400, 1_400, 0));
    assert_eq!(noted.foldlog_version, env!("CARGO_PKG_VERSION"));

    let stopped = maintenance.verify(|_| std::ops::ControlFlow::Break(())).unwrap();
    assert_eq!(maintenance.note_verified(&stopped).unwrap_err().kind(), ErrorKind::InvalidInput);
    drop((maintenance, store));
    let store = Store::open_read_only(&path).unwrap();
    assert_eq!(store.maintenance().note_verified(&report).unwrap_err().kind(), ErrorKind::ReadOnly);
    assert_eq!(store.maintenance().last_verified().unwrap(), Some(noted), "the last note stays");
    drop(store);

    raw(&path).execute_batch("UPDATE events SET data = '7' WHERE position = 3; UPDATE log_state SET verified = 'x'").unwrap();
    let maintenance = Store::open(&path).unwrap().maintenance();
    assert_eq!(maintenance.last_verified().unwrap_err().kind(), ErrorKind::Corrupt);
    maintenance.note_verified(&maintenance.verify(|_| Continue(())).unwrap()).unwrap();
    assert!(maintenance.last_verified().unwrap().unwrap().damage_count > 0);
}

/// Each index is walked a thousand entries at a time; between two pages nothing is lost and nothing is looked at twice.
#[test]
fn more_than_a_page_of_everything_is_clean() {
    for events in [1_023, 1_024, 1_025, 2_047, 2_048] {
        let store = Options::new().in_memory().unwrap();
        // Names, tags and ids in no order.
        let batch = (0..events).fold(Batch::new(), |batch, number| {
            let place = number * 1_031 % 4_099;
            let id = EventId::from_u128(0x4000_8000_0000_0000 << 64 | u128::from(place + 1));
            let tagged = event(number).tag(format!("t-{place}")).id(id);
            batch.append("order", format!("o-{place}"), 0, [tagged])
        });
        store.commit(batch).unwrap();
        let report = store.maintenance().verify(|_| Continue(())).unwrap();
        assert!(report.is_clean(), "{events}: {:?}", report.damages);
        assert_eq!((report.events, report.aggregates), (events, events));
    }
}

/// Of three thousand ids and tags one leads to something else, on the first page, on another one, and at the end: it is
/// named, and nothing else is.
#[test]
fn each_entry_that_leads_astray_is_named() {
    for (table, change, order, what) in [
        ("event_ids", "position = position % 3000 + 1", "tenant, event_id", &["the index of event ids", "the event's id"][..]),
        ("event_tags", "tag = tag || 'x'", "tenant, tag, position", &["the index of tags", "a tag of the event"]),
    ] {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.db");
        let store = Options::new().durability(Durability::Fast).open(&path).unwrap();
        let id = |number: u64| EventId::from_u128(0x4000_8000_0000_0000 << 64 | u128::from(number + 1));
        let batch = (0..3_000).fold(Batch::new(), |batch, number| {
            batch.append("order", format!("o-{number}"), 0, [event(number).tag(format!("t-{number}")).id(id(number))])
        });
        store.commit(batch).unwrap();
        drop(store);
        let sound = std::fs::read(&path).unwrap();
        // The first, those beside the ends of pages, the last.
        for wrong in [0, 1_023, 1_024, 1_025, 2_999] {
            std::fs::write(&path, &sound).unwrap();
            let bare = raw(&path);
            let place = format!("SELECT {order} FROM {table} ORDER BY {order} LIMIT 1 OFFSET {wrong}");
            let changed = bare.execute(&format!("UPDATE {table} SET {change} WHERE ({order}) = ({place})"), []);
            assert_eq!(changed.unwrap(), 1);
            drop(bare);
            let report = verify(&path);
            let known = |found: &str| what.iter().any(|what| found.contains(what));
            assert!(report.damages.iter().all(|damage| known(&damage.what)), "{table} {wrong}: {:#?}", report.damages);
            assert!((1..=2).contains(&report.damages.len()), "{table} {wrong}: {:#?}", report.damages);
        }
    }
}

#[test]
fn a_purged_file_is_clean() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.db");
    fill(&path);
    let store = Store::open(&path).unwrap();
    let plan = Purge::created_before(chrono::Utc::now()).fold(&store.json_aggregates("order"));
    let removed = store.maintenance().purge(plan).unwrap();
    assert_eq!(removed.events_removed, 700);
    let all = Purge::created_before(chrono::Utc::now()).even_if_replay_breaks();
    store.tenant("acme").maintenance().purge(all).unwrap();
    assert!(verify(&path).is_clean(), "{:?}", verify(&path).damages);
    let batch = (0..600).fold(Batch::new(), |batch, n| batch.append("order", format!("o-{}", n % 9), Expected::Any, [event(n)]));
    store.commit(batch).unwrap();
    assert!(verify(&path).is_clean(), "{:?}", verify(&path).damages);
}

#[test]
fn writers_beside_it_are_not_mistaken_for_damage() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.db");
    fill(&path);
    let store = Options::new().snapshots(SnapshotPolicy::every(50)).open(&path).unwrap();
    let orders = store.json_aggregates("order");
    let mut number = 0;
    let report = store
        .maintenance()
        .verify(|_| {
            // Between any two pages something happens, at both ends of the log.
            number += 1;
            orders.append(format!("o-{}", number % 7), Expected::Any, [event(number).tag("all")]).unwrap();
            orders.create_snapshot(format!("o-{}", number % 5), SnapshotReason::Manual).unwrap();
            store
                .maintenance()
                .purge(Purge::created_before(chrono::Utc::now()).aggregate("order", format!("o-{}", number % 5)).fold(&orders))
                .unwrap();
            Continue(())
        })
        .unwrap();
    assert!(report.is_clean(), "{:?}", report.damages);
    assert!(number > 10);
}

/// Each damage is made with SQL, so that it is exactly one; flipped bits are in `corruption.rs`.
#[test]
fn each_damage_is_named() {
    let key = "(SELECT key FROM events WHERE position = 101)";
    let mut unnamed = Vec::new();
    for (sql, named) in [
        (format!("UPDATE events SET data = '{{\"n\": 7}}' WHERE key = {key}"), "the event's checksum is wrong"),
        (format!("UPDATE events SET created_at = created_at - 1 WHERE key = {key}"), "the event's checksum is wrong"),
        (format!("UPDATE events SET event_type = 77 WHERE key = {key}"), "no event type has the number 77"),
        (format!("UPDATE events SET origin = 9 WHERE key = {key}"), "no replica has the number 9"),
        (format!("DELETE FROM events WHERE key = {key}"), "the events from version 11 to 11 are missing"),
        (format!("DELETE FROM events WHERE key = {key}"), "no event is at positions 101 to 101"),
        ("DELETE FROM events WHERE position = 1391".into(), "no event is at positions 1391 to 1391"),
        ("UPDATE aggregates SET aggregate_type = 44 WHERE id = 1".into(), "contradict each other"),
        ("UPDATE aggregates SET aggregate_id = 'x' WHERE id = 1".into(), "a name leads to aggregate number 1"),
        ("INSERT INTO removals VALUES (1, 3, 0, 0)".into(), "removed"),
        ("DELETE FROM aggregates WHERE id = 1".into(), "belong to no aggregate"),
        ("UPDATE event_types SET name = 'Fourth' WHERE name = 'Third'".into(), "the event's checksum is wrong"),
        ("DELETE FROM event_types WHERE name = 'Third'".into(), "no event type has the number"),
        ("DELETE FROM tenants WHERE name = 'acme'".into(), "no aggregate type has the number"),
        ("DELETE FROM event_tags WHERE tag = 't-0' AND position = 101".into(), "missing from the index of tags"),
        ("INSERT INTO event_tags VALUES (1, 'never', 101)".into(), "does not carry the tag"),
        ("INSERT INTO event_tags VALUES (2, 'all', 101)".into(), "does not carry the tag"),
        ("INSERT INTO event_tags VALUES (1, 'all', 9999)".into(), "does not carry the tag"),
        ("INSERT INTO event_ids VALUES (1, randomblob(16), 101)".into(), "an event that does not have the id"),
        ("UPDATE aggregates SET checksum = checksum + 1 WHERE id = 3".into(), "contradict"),
        ("INSERT INTO holes VALUES (200, 201, 0, 0)".into(), "contradict"),
        ("INSERT INTO holes VALUES (2000, 2001, 1, 0)".into(), "contradict"),
        ("DELETE FROM block_summaries WHERE id = 1".into(), "the summary of positions 513 to 1024 is missing or damaged"),
        (
            "UPDATE block_summaries SET latest = latest - 1 WHERE id = 1".into(),
            "the summary of positions 513 to 1024 is missing or damaged",
        ),
        (
            "UPDATE block_summaries SET counts = '[1]' WHERE id = 1".into(),
            "the summary of positions 513 to 1024 is missing or damaged",
        ),
        ("INSERT INTO block_summaries VALUES (5, 0, 0, '[1]', 0)".into(), "1 summaries are of blocks that are not full"),
        ("UPDATE snapshots SET state = '{}' WHERE key >> 32 = 1".into(), "the snapshot's checksum is wrong"),
        ("UPDATE snapshots SET key = (77 << 32) + 1 WHERE key >> 32 = 1".into(), "the snapshot belongs to no aggregate"),
        ("DELETE FROM snapshots WHERE key >> 32 = 1".into(), "there are 4 snapshots, but the stored number is 5"),
    ] {
        let report = damaged_by(&sql);
        let mut found: Vec<&str> = report.damages.iter().map(|damage| damage.what.as_str()).collect();
        found.dedup();
        if !found.iter().any(|what| what.contains(named)) {
            unnamed.push(format!("{sql}: {found:#?}"));
        }
        assert!(report.damages.iter().all(|damage| !damage.advice.is_empty()));
    }
    assert!(unnamed.is_empty(), "{}", unnamed.join("\n"));
}

#[test]
fn a_file_that_lost_its_identity_while_it_was_open_is_named() {
    for (sql, named) in
        [("DELETE FROM replicas", "a row that must be in the file is missing"), ("DELETE FROM log_state", "log_state has 0 rows")]
    {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.db");
        fill(&path);
        let store = Store::open(&path).unwrap();
        raw(&path).execute_batch(sql).unwrap();
        let report = store.maintenance().verify(|_| Continue(())).unwrap();
        assert!(report.damages.iter().any(|damage| damage.what.contains(named)), "{sql}: {:#?}", report.damages);
        drop(store);
        assert_eq!(Store::open(&path).unwrap_err().kind(), ErrorKind::Corrupt);
    }
}

#[test]
fn a_damaged_event_is_named_with_its_place() {
    let report = damaged_by("UPDATE events SET data = '{\"n\": 7}' WHERE position = 101");
    let damage = &report.damages[0];
    assert_eq!(damage.aggregate.as_ref().unwrap().to_string(), "order \"o-0\"");
    assert_eq!((damage.version.unwrap().get(), damage.position.unwrap().get()), (11, 101));
}

#[test]
fn a_snapshot_that_differs_from_the_replay_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.db");
    fill(&path);
    let store = Store::open(&path).unwrap();
    let orders = store.json_aggregates("order");
    assert!(orders.verify_snapshots(|_| Continue(())).unwrap().is_clean());
    // The same name and version, another function: what a forgotten fold version looks like.
    let fold = |add: u64| {
        store.json_aggregates("order").fold_with("sum", 1, move |state: &mut Value, _, data| {
            state["sum"] = json!(state["sum"].as_u64().unwrap_or(0) + data["n"].as_u64().unwrap_or(0) + add);
            Ok(())
        })
    };
    fold(0).create_snapshot("o-1", SnapshotReason::Manual).unwrap();
    assert!(fold(0).verify_snapshots(|_| Continue(())).unwrap().is_clean());
    let report = fold(1).verify_snapshots(|_| Continue(())).unwrap();
    assert_eq!((report.aggregates, report.snapshots, report.snapshots_not_compared, report.damage_count), (5, 6, 5, 1));
    assert_eq!(report.damages[0].aggregate.as_ref().unwrap().to_string(), "order \"o-1\"");
}

#[test]
fn snapshots_that_cannot_be_compared_are_counted_and_events_that_cannot_be_folded_named() {
    let place = crate::support::Place::new();
    let store = place.open();
    let orders = store.json_aggregates("order");
    for id in ["purged", "whole"] {
        orders.append(id, Expected::New, (0..10).map(event)).unwrap();
        orders.create_snapshot(id, SnapshotReason::Manual).unwrap();
    }
    let later = chrono::Utc::now() + chrono::TimeDelta::hours(1);
    store.maintenance().purge(Purge::created_before(later).aggregate("order", "purged").fold(&orders)).unwrap();
    let report = orders.verify_snapshots(|_| Continue(())).unwrap();
    assert_eq!((report.aggregates, report.snapshots, report.snapshots_not_compared, report.damage_count), (2, 2, 1, 0));
    let harm = "UPDATE events SET data = replace(data, '3', '4') WHERE key & 4294967295 = 4";
    assert_eq!(place.raw().execute(harm, []).unwrap(), 1);
    let report = orders.verify_snapshots(|_| Continue(())).unwrap();
    assert_eq!((report.snapshots, report.snapshots_not_compared, report.damage_count), (2, 2, 1));
    let damage = &report.damages[0];
    assert_eq!((damage.aggregate.as_ref().unwrap().to_string(), damage.version.unwrap().get()), ("order \"whole\"".into(), 4));
    // Stopped after the first one.
    let stopped = orders.verify_snapshots(|_| std::ops::ControlFlow::Break(())).unwrap();
    assert_eq!((stopped.aggregates, stopped.finished), (1, false));
}
