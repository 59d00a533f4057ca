//! Files of every format that was ever written: each later version must open them, whole.
//!
//! `FOLDLOG_MAKE_GOLDEN=1 cargo test --test golden` writes the file of today's format, if there is none yet, and what is
//! in it as JSON beside it. Both are committed once and never changed again.

use std::ops::ControlFlow::Continue;
use std::path::{Path, PathBuf};

use foldlog::{
    Batch, Clock, Durability, ErrorKind, Expected, Filter, Metadata, NewEvent, Options, Purge, Query, RecordedEvent,
    SnapshotReason, Store, Version,
};
use serde_json::{Value, json};

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

fn golden_files() -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(directory())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "db"))
        .collect();
    files.sort();
    files
}

/// A copy that may be changed.
fn copy(file: &Path) -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("copy.db");
    std::fs::copy(file, &path).unwrap();
    (directory, path)
}

/// Everything that can be read of a store through the public API.
fn contents(store: &Store) -> Value {
    let mut tenants = serde_json::Map::new();
    for name in store.tenants().unwrap() {
        let tenant = store.tenant(&name);
        let events: Vec<Value> = tenant.read(Query::new()).map(|event| serde_json::to_value(event.unwrap()).unwrap()).collect();
        let mut aggregates = serde_json::Map::new();
        for aggregate_type in tenant.aggregate_types().unwrap() {
            let handle = tenant.json_aggregates(&aggregate_type);
            for id in handle.ids(None, 1_000).unwrap() {
                let replayed = handle.replay(&id).unwrap();
                let snapshots: Vec<Value> =
                    handle.snapshots(&id).unwrap().iter().map(|snapshot| serde_json::to_value(snapshot).unwrap()).collect();
                aggregates.insert(
                    format!("{aggregate_type}/{id}"),
                    json!({ "version": replayed.version, "state": replayed.state, "snapshots": snapshots }),
                );
            }
        }
        tenants.insert(name, json!({ "events": events, "aggregates": aggregates, "statistics": tenant.statistics().unwrap() }));
    }
    json!({ "tenants": tenants, "lastPosition": store.last_position().unwrap() })
}

/// A question that passes over parts of the log finds what a look at every event finds, and `verify` has no complaint.
fn check_derived(store: &Store) {
    let read = |query: Query| -> Vec<RecordedEvent> { store.read(query.all_tenants()).map(Result::unwrap).collect() };
    let all = read(Query::new());
    let mut types: Vec<&str> = all.iter().map(|event| &*event.event_type).collect();
    types.sort_unstable();
    types.dedup();
    for event_type in types {
        let expected: Vec<_> = all.iter().filter(|event| &*event.event_type == event_type).cloned().collect();
        assert_eq!(read(Filter::new().event_type(event_type)), expected, "{event_type}");
        assert_eq!(
            read(Query::matching(Filter::new().event_type(event_type)).newest_first()).len(),
            expected.len(),
            "{event_type}"
        );
    }
    let middle = all[all.len() / 2].created_at;
    let (earlier, later) = (read(Filter::new().to(middle)), read(Filter::new().from(middle)));
    assert_eq!(earlier, all.iter().filter(|event| event.created_at <= middle).cloned().collect::<Vec<_>>());
    assert_eq!(later, all.iter().filter(|event| event.created_at >= middle).cloned().collect::<Vec<_>>());
    let report = store.verify(|_| Continue(())).unwrap();
    assert!(report.is_clean(), "{:?}", report.damages);
}

#[test]
fn every_golden_file_opens_and_holds_what_was_put_into_it() {
    let files = golden_files();
    assert!(!files.is_empty(), "there is no golden file");
    for file in files {
        let truth: Value = serde_json::from_slice(&std::fs::read(file.with_extension("json")).unwrap()).unwrap();
        let (_directory, path) = copy(&file);
        let store = Store::open(&path).unwrap();
        assert_eq!(contents(&store), truth, "{}", file.display());
        check_derived(&store);

        // It is not only readable: it goes on.
        let last = store.last_position().unwrap().get();
        let orders = store.json_aggregates("order");
        let version = orders.version("o-1").unwrap();
        let appended = orders.append("o-1", version, [NewEvent::new("Noted", &json!({ "later": true })).unwrap()]).unwrap();
        assert_eq!((appended.version.get(), appended.position.get()), (version.get() + 1, last + 1));
        assert_eq!(orders.replay("o-1").unwrap().state["later"], json!(true));
        drop((orders, store));
        assert_eq!(Store::open(&path).unwrap().last_position().unwrap(), last + 1);
    }
}

#[test]
fn every_golden_file_can_be_read_without_being_changed() {
    for file in golden_files() {
        let (_directory, path) = copy(&file);
        let before = std::fs::read(&path).unwrap();
        let truth: Value = serde_json::from_slice(&std::fs::read(file.with_extension("json")).unwrap()).unwrap();
        let store = Store::open_read_only(&path).unwrap();
        assert_eq!(contents(&store), truth, "{}", file.display());
        check_derived(&store);
        drop(store);
        assert_eq!(std::fs::read(&path).unwrap(), before, "{}", file.display());
    }
}

/// Events that no purge removed are missing: bringing the file up would make that the truth.
#[test]
fn an_older_file_that_has_lost_events_is_not_brought_up() {
    for (format, lose) in [(1, "position = 100"), (2, "position = 601"), (3, "position > 613"), (3, "position <= 1")] {
        let (_directory, path) = copy(&directory().join(format!("format-{format}.db")));
        let raw = rusqlite::Connection::open(&path).unwrap();
        assert!(raw.execute(&format!("DELETE FROM events WHERE {lose}"), []).unwrap() > 0, "{lose}");
        drop(raw);
        let before = std::fs::read(&path).unwrap();
        let error = Store::open(&path).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
        assert!(error.to_string().contains("has lost events"), "{error}");
        assert!(error.to_string().contains("opened for reading"), "{error}");
        assert_eq!(std::fs::read(&path).unwrap(), before);
        let reading = Store::open_read_only(&path).unwrap();
        assert!(!reading.verify(|_| Continue(())).unwrap().is_clean());
        assert_eq!(reading.event("0198f2c4-9d3a-7c1e-8a55-0123456789ab".parse().unwrap()).unwrap().unwrap().schema_version, 3);
    }
}

/// An older file that is read tells a purge from damage only by whether there was a purge at all.
#[test]
fn an_older_file_without_purges_has_no_gaps() {
    for format in [1, 2, 3] {
        let (_directory, path) = copy(&directory().join(format!("format-{format}.db")));
        let first_error =
            |path: &Path| Store::open_read_only(path).unwrap().read(Filter::new().all_tenants()).find_map(Result::err);
        assert!(first_error(&path).is_none(), "its events were purged");
        rusqlite::Connection::open(&path).unwrap().execute("UPDATE log_state SET events_removed = 0", []).unwrap();
        assert_eq!(first_error(&path).unwrap().kind(), ErrorKind::Corrupt);
    }
}

/// Who has an older file open for reading goes on while another process brings it up.
#[test]
fn a_reader_outlives_a_new_format() {
    for file in golden_files() {
        let truth: Value = serde_json::from_slice(&std::fs::read(file.with_extension("json")).unwrap()).unwrap();
        let (_directory, path) = copy(&file);
        let reading = Store::open_read_only(&path).unwrap();
        let tagged = |store: &Store, tag: &str| store.read(Filter::new().tag(tag)).map(Result::unwrap).count();
        assert_eq!((tagged(&reading, "branch:7"), tagged(&reading, "never")), (1, 0));
        let writing = Store::open(&path).unwrap();
        for store in [&reading, &writing] {
            assert_eq!(contents(store), truth, "{}", file.display());
            assert_eq!((tagged(store, "branch:7"), tagged(store, "ä b"), tagged(store, "never")), (1, 1, 0));
            assert_eq!(store.read(Query::matching(Filter::new().tag("branch:7")).newest_first()).map(Result::unwrap).count(), 1);
            assert_eq!(store.event("0198f2c4-9d3a-7c1e-8a55-0123456789ac".parse().unwrap()).unwrap(), None);
            assert_eq!(store.json_aggregates("order").replay("never").unwrap_err().kind(), ErrorKind::NotFound);
            check_derived(store);
        }
    }
}

/// What the application has made of our tables for itself shows the new ones afterwards.
#[test]
fn the_application_s_views_outlive_a_new_format() {
    for file in golden_files() {
        let (_directory, path) = copy(&file);
        let raw = rusqlite::Connection::open(&path).unwrap();
        raw.execute_batch(
            "CREATE TABLE mine (n INTEGER); INSERT INTO mine VALUES (7);
             CREATE VIEW busiest AS SELECT a.aggregate_id, count(*) AS events FROM aggregates a JOIN events e ON e.key >> 32 = a.id
                                    GROUP BY a.id ORDER BY 2 DESC LIMIT 1;
             CREATE VIEW tagged AS SELECT count(DISTINCT position) FROM event_tags WHERE tag = 'branch:7'",
        )
        .unwrap();
        drop(raw);
        Store::open(&path).unwrap();
        let raw = rusqlite::Connection::open(&path).unwrap();
        let busiest = raw.query_row("SELECT aggregate_id, events FROM busiest", [], |row| Ok((row.get(0)?, row.get(1)?)));
        assert_eq!(busiest.unwrap(), ("o-1".to_owned(), 601));
        assert_eq!(raw.query_row("SELECT * FROM tagged, mine", [], |row| Ok((row.get(0)?, row.get(1)?))).unwrap(), (1, 7));
        let left: u32 =
            raw.query_row("SELECT count(*) FROM sqlite_schema WHERE name LIKE 'former%'", [], |row| row.get(0)).unwrap();
        assert_eq!(left, 0);
    }
}

#[test]
fn today_s_format_has_a_golden_file() {
    let temporary = tempfile::tempdir().unwrap();
    let path = temporary.path().join("new.db");
    make(&path);
    let bytes = std::fs::read(&path).unwrap();
    // The file header of SQLite: user_version is the big-endian number at byte 60.
    let format = u32::from_be_bytes(bytes[60..64].try_into().unwrap());
    let golden = directory().join(format!("format-{format}.db"));
    if std::env::var_os("FOLDLOG_MAKE_GOLDEN").is_some() && !golden.exists() {
        std::fs::copy(&path, &golden).unwrap();
        let contents = contents(&Store::open_read_only(&path).unwrap());
        std::fs::write(golden.with_extension("json"), serde_json::to_string_pretty(&contents).unwrap() + "\n").unwrap();
    }
    assert!(golden.exists(), "make it with FOLDLOG_MAKE_GOLDEN=1 and commit it");
}

/// Something of everything that the format can hold.
fn make(path: &Path) {
    let clock = Clock::fixed("2026-01-02T03:04:05.678901Z".parse().unwrap());
    let store = Options::new().durability(Durability::Fast).clock(clock.clone()).open(path).unwrap();
    let metadata = Metadata::new().user_id("u-1").ip_address("192.0.2.7").correlation_id("r-1").extra("channel", "mobile");
    let orders = store.json_aggregates("order").with_metadata(&metadata).unwrap();
    let note = |n: u64| NewEvent::new("Noted", &json!({ "n": n, "text": "naïve \u{1F980} \"quoted\"" })).unwrap();
    orders.append("o-1", Expected::New, [NewEvent::new("Placed", &json!({ "customer": "c-1", "open": true })).unwrap()]).unwrap();
    // More than one block of 512 positions, with snapshots on the way.
    for n in 0..120 {
        orders.append("o-1", Expected::Any, (0..5).map(|part| note(n * 5 + part))).unwrap();
    }
    clock.set("2025-12-31T00:00:00Z".parse().unwrap());
    let id = "0198f2c4-9d3a-7c1e-8a55-0123456789ab".parse().unwrap();
    let old = "1969-07-20T20:17:40Z".parse().unwrap();
    store
        .commit(
            Batch::new()
                .append("order", "o-2", Expected::Any, [note(1).id(id).schema_version(3).tag("branch:7").tag("ä b"), note(2)])
                .append(
                    "customer",
                    "c-1",
                    Expected::Any,
                    [NewEvent::new("Greeted", &json!({ "loud": null })).unwrap().created_at(old)],
                ),
        )
        .unwrap();
    store.tenant("acme").append("order", "o-1", Expected::Any, [note(9)]).unwrap();
    orders.append("purged", Expected::Any, (0..10).map(note)).unwrap();
    orders.create_snapshot("purged", SnapshotReason::Manual).unwrap();
    orders.append("purged", Expected::Exactly(Version::new(10)), [note(10)]).unwrap();
    let report =
        store.purge(Purge::created_before("2026-01-01T00:00:00Z".parse().unwrap()).aggregate("order", "purged")).unwrap();
    assert_eq!(report.events_removed, 10);
    drop((orders, store));
}
