//! `verify` names each damage, and nothing else.

use std::ops::ControlFlow::Continue;
use std::path::Path;
use std::sync::OnceLock;

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
        store.append("order", &format!("o-{}", number % 5), Expected::Any, [tagged]).unwrap();
        acme.append("order", &format!("o-{}", number % 2), Expected::Any, [event(number)]).unwrap();
    }
    for id in 0..5 {
        store.json_aggregates("order").create_snapshot(&format!("o-{id}"), SnapshotReason::Manual).unwrap();
    }
    drop((acme, store));
    std::fs::read(&path).unwrap()
}

fn verify(path: &Path) -> VerifyReport {
    Store::open(path).unwrap().verify(|_| Continue(())).unwrap()
}

fn damaged_by(sql: &str) -> VerifyReport {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.db");
    fill(&path);
    let bare = rusqlite::Connection::open(&path).unwrap();
    bare.execute_batch("PRAGMA ignore_check_constraints = ON").unwrap();
    bare.execute_batch(sql).unwrap();
    drop(bare);
    verify(&path)
}

/// The index that a query by type or time passes over the log with says nothing that could hide an event.
#[test]
fn a_query_ends_with_an_error_at_a_changed_summary() {
    for sql in [
        "UPDATE block_summaries SET event_types = '[]' WHERE block = 1",
        "UPDATE block_summaries SET latest = earliest WHERE block = 1",
        "UPDATE block_summaries SET earliest = latest WHERE block = 1",
        "UPDATE block_summaries SET checksum = checksum + 1 WHERE block = 1",
        "DELETE FROM block_summaries WHERE block = 0",
        "DELETE FROM block_summaries WHERE block = 1",
        "INSERT INTO block_summaries SELECT 2, earliest, latest, event_types, checksum FROM block_summaries WHERE block = 1",
    ] {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.db");
        fill(&path);
        rusqlite::Connection::open(&path).unwrap().execute_batch(sql).unwrap();
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
        rusqlite::Connection::open(&path).unwrap().execute_batch(sql).unwrap();
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
    let report = store.verify(|progress| steps.push(progress.step)).unwrap();
    assert!(report.is_clean(), "{:?}", report.damages);
    assert_eq!((report.events, report.aggregates, report.snapshots), (1_400, 7, 5));
    steps.dedup();
    assert_eq!(steps.len(), 10, "{steps:?}");
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
        let report = store.verify(|_| Continue(())).unwrap();
        assert!(report.is_clean(), "{events}: {:?}", report.damages);
        assert_eq!((report.events, report.aggregates), (events, events));
    }
}

/// Of three thousand ids, names and tags one is not linked any more, on the first page, on another one, and at the end: it
/// is named, once, and nothing else is.
#[test]
fn each_link_that_is_wrong_is_named() {
    for (table, column, order, what) in [
        ("events", "id_link", "event_id", "the index of event ids"),
        ("aggregate_names", "link", "aggregate_type, aggregate_id", "the index of aggregates by name"),
        ("event_tags", "link", "tenant, tag, position", "the index of tags"),
    ] {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.db");
        let store = Options::new().durability(Durability::Fast).open(&path).unwrap();
        let batch = (0..3_000).fold(Batch::new(), |batch, number| {
            batch.append("order", format!("o-{number}"), 0, [event(number).tag(format!("t-{number}"))])
        });
        store.commit(batch).unwrap();
        drop(store);
        let sound = std::fs::read(&path).unwrap();
        // The first, those beside the ends of pages, the last.
        for wrong in [0, 1_023, 1_024, 1_025, 2_999] {
            std::fs::write(&path, &sound).unwrap();
            let bare = rusqlite::Connection::open(&path).unwrap();
            let place = format!("SELECT {order} FROM {table} ORDER BY {order} LIMIT 1 OFFSET {wrong}");
            let changed = bare.execute(&format!("UPDATE {table} SET {column} = {column} + 1 WHERE ({order}) = ({place})"), []);
            assert_eq!(changed.unwrap(), 1);
            drop(bare);
            let report = verify(&path);
            assert!(report.damages.iter().all(|damage| damage.what.starts_with(what)), "{table} {wrong}: {:?}", report.damages);
            assert_eq!(report.damages.len(), 1, "{table} {wrong}");
        }
    }
}

#[test]
fn a_purged_file_is_clean() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.db");
    fill(&path);
    let store = Store::open(&path).unwrap();
    let removed = store.purge(Purge::created_before(chrono::Utc::now())).unwrap();
    assert_eq!(removed.events_removed, 700);
    let all = Purge::created_before(chrono::Utc::now()).even_if_replay_breaks();
    store.tenant("acme").purge(all).unwrap();
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
        .verify(|_| {
            // Between any two pages something happens, at both ends of the log.
            number += 1;
            orders.append(&format!("o-{}", number % 7), Expected::Any, [event(number).tag("all")]).unwrap();
            orders.create_snapshot(&format!("o-{}", number % 5), SnapshotReason::Manual).unwrap();
            store.purge(Purge::created_before(chrono::Utc::now()).aggregate("order", format!("o-{}", number % 5))).unwrap();
        })
        .unwrap();
    assert!(report.is_clean(), "{:?}", report.damages);
    assert!(number > 10);
}

/// Each damage is made with SQL, so that it is exactly one; flipped bits are in `corruption.rs`.
#[test]
fn each_damage_is_named() {
    let key = "(SELECT key FROM events WHERE position = 101)";
    for (sql, named) in [
        (format!("UPDATE events SET data = '{{\"n\": 7}}' WHERE key = {key}"), "the event's checksum is wrong"),
        (format!("UPDATE events SET created_at = created_at - 1 WHERE key = {key}"), "the event's checksum is wrong"),
        (format!("UPDATE events SET event_type = 77 WHERE key = {key}"), "no event type has the number 77"),
        (format!("UPDATE events SET origin = 9 WHERE key = {key}"), "no replica has the number 9"),
        (format!("DELETE FROM events WHERE key = {key}"), "the events from version 11 to 11 are missing"),
        (format!("DELETE FROM events WHERE key = {key}"), "no event stands at positions 101 to 101"),
        ("DELETE FROM events WHERE position = 1391".into(), "the events after version 139 are missing"),
        ("UPDATE aggregates SET version = version - 1 WHERE id = 1".into(), "the aggregate says it is at version 139"),
        ("UPDATE aggregates SET version = version + 1 WHERE id = 1".into(), "the aggregate says it is at version 141"),
        ("UPDATE aggregates SET latest_at = latest_at + 1 WHERE id = 1".into(), "latest time"),
        ("UPDATE aggregates SET latest_at = latest_at - 1 WHERE id = 1".into(), "latest time"),
        ("UPDATE aggregates SET aggregate_type = 44 WHERE id = 1".into(), "no aggregate type has the number 44"),
        ("UPDATE aggregates SET aggregate_id = 'x' WHERE id = 1".into(), "the event's checksum is wrong"),
        ("UPDATE aggregates SET purged_through = 3 WHERE id = 1".into(), "3 events were removed"),
        ("DELETE FROM aggregates WHERE id = 1".into(), "belong to nobody"),
        ("UPDATE event_types SET name = 'Fourth' WHERE name = 'Third'".into(), "the event's checksum is wrong"),
        ("DELETE FROM event_types WHERE name = 'Third'".into(), "no event type has the number"),
        ("DELETE FROM tenants WHERE name = 'acme'".into(), "no aggregate type has the number"),
        ("DELETE FROM event_tags WHERE tag = 't-0' AND position = 101".into(), "missing from the index of tags"),
        ("INSERT INTO event_tags VALUES (1, 'never', 101, 0)".into(), "does not carry the tag"),
        ("INSERT INTO event_tags VALUES (2, 'all', 101, 0)".into(), "does not carry the tag"),
        ("INSERT INTO event_tags VALUES (1, 'all', 9999, 0)".into(), "does not carry the tag"),
        ("DELETE FROM event_tags WHERE tag = 't-0' AND position = 101".into(), "the index of tags has lost entries"),
        (
            "UPDATE event_tags SET link = link + 1 WHERE tag = 't-0' AND position = 101".into(),
            "the index of tags has lost entries",
        ),
        (format!("DELETE FROM event_tags WHERE tenant = {}", i64::MAX), "an index disagrees with the rows"),
        ("DELETE FROM aggregate_names WHERE aggregate = 3".into(), "the aggregate is not found under its name"),
        ("DELETE FROM aggregate_names WHERE aggregate = 3".into(), "the index of aggregates by name has lost entries"),
        (
            "UPDATE aggregate_names SET aggregate = 4 WHERE aggregate = 3".into(),
            "the index of aggregates by name has lost entries",
        ),
        ("UPDATE aggregate_names SET aggregate = 4 WHERE aggregate = 3".into(), "a name leads to aggregate number 4"),
        ("UPDATE aggregate_names SET aggregate = 99 WHERE aggregate = 3".into(), "a name leads to aggregate number 99"),
        (format!("DELETE FROM aggregate_names WHERE aggregate_type = {}", i64::MAX), "an index disagrees with the rows"),
        (format!("UPDATE events SET id_link = id_link - 1 WHERE key = {key}"), "the index of event ids has lost entries"),
        ("UPDATE log_state SET ids_link = ids_link + 1".into(), "the index of event ids has lost entries"),
        ("INSERT INTO holes VALUES (200, 201)".into(), "2 positions are said to be without an event, and 0 events"),
        ("INSERT INTO holes VALUES (2000, 2001)".into(), "the last that were removed stood at positions 2000 to 2001"),
        ("DELETE FROM block_summaries WHERE block = 1".into(), "the summary of block 1 is missing"),
        (
            "UPDATE block_summaries SET latest = latest - 1 WHERE block = 1".into(),
            "the checksum of the summary of block 1 is wrong",
        ),
        (
            "UPDATE block_summaries SET event_types = '[1]' WHERE block = 1".into(),
            "the checksum of the summary of block 1 is wrong",
        ),
        ("INSERT INTO block_summaries VALUES (5, 0, 0, '[1]', 0)".into(), "1 summaries are of blocks that are not full"),
        ("UPDATE snapshots SET state = '{}' WHERE key >> 32 = 1".into(), "the snapshot's checksum is wrong"),
        ("UPDATE snapshots SET key = (77 << 32) + 1 WHERE key >> 32 = 1".into(), "the snapshot belongs to nobody"),
        ("DELETE FROM snapshots WHERE key >> 32 = 1".into(), "there are 4 snapshots, the log says 5"),
        ("UPDATE log_state SET events_removed = 1".into(), "0 events by purging, the log says 1"),
        ("UPDATE log_state SET position_floor = 5000".into(), "the log ends at position 5000, its newest event is at 1400"),
    ] {
        let report = damaged_by(&sql);
        assert!(report.damages.iter().any(|damage| damage.what.contains(named)), "{sql}: {:#?}", report.damages);
        assert!(report.damages.iter().all(|damage| !damage.advice.is_empty()));
    }
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
        rusqlite::Connection::open(&path).unwrap().execute_batch(sql).unwrap();
        let report = store.verify(|_| Continue(())).unwrap();
        assert!(report.damages.iter().any(|damage| damage.what.contains(named)), "{sql}: {:#?}", report.damages);
        drop(store);
        assert_eq!(Store::open(&path).unwrap_err().kind(), ErrorKind::Corrupt);
    }
}

#[test]
fn a_damaged_event_is_named_with_its_place() {
    let report = damaged_by("UPDATE events SET data = '{\"n\": 7}' WHERE position = 101");
    assert_eq!(report.damage_count, 1, "{:#?}", report.damages);
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
    assert_eq!((report.aggregates, report.snapshots, report.snapshots_not_compared, report.damage_count), (5, 5, 4, 1));
    assert_eq!(report.damages[0].aggregate.as_ref().unwrap().to_string(), "order \"o-1\"");
}
