//! Opening: what becomes a store, where, and beside what.

use std::thread;
use std::time::Duration;

use foldlog::{Expected, Options, Query, Store};

use crate::support::{Place, fast, names, noted, notes, read};

#[test]
fn a_new_file_is_made_and_found_again() {
    let place = Place::new();
    let store = Store::open(place.file()).unwrap();
    assert_eq!(store.path().unwrap(), place.file());
    assert_eq!(store.file_statistics().unwrap().events, 0);
    store.append("list", "a", Expected::New, notes(1..=3)).unwrap();
    let before = read(&store, Query::new());
    drop(store);
    assert_eq!(names(place.directory()), ["store.db"], "the last handle takes the write-ahead log into the file");

    let store = Store::open(place.file()).unwrap();
    assert_eq!(read(&store, Query::new()), before);
    assert_eq!(before.len(), 3);
    store.append("list", "a", 3, [noted(4)]).unwrap();
    assert_eq!(store.version("list", "a").unwrap(), 4);
}

#[test]
fn the_file_carries_our_marks() {
    let place = Place::new();
    drop(place.open());
    let raw = place.raw();
    let pragma = |name: &str| raw.pragma_query_value(None, name, |row| row.get::<_, i64>(0)).unwrap();
    assert_eq!(pragma("application_id"), i64::from(u32::from_be_bytes(*b"FLOG")));
    assert_eq!(pragma("user_version"), 1);
    let mode: String = raw.pragma_query_value(None, "journal_mode", |row| row.get(0)).unwrap();
    assert_eq!(mode, "wal");
}

#[test]
fn a_file_of_no_bytes_becomes_a_store() {
    let place = Place::new();
    std::fs::write(place.file(), b"").unwrap();
    place.open().append("list", "a", 0, [noted(1)]).unwrap();
    assert_eq!(read(&place.open(), Query::new()).len(), 1);
}

#[test]
fn paths_are_taken_literally() {
    let place = Place::new();
    for name in ["账本 ünï ?mode=memory#x%20y.db", "file:store.db?mode=ro", "%2e%00", "-wal", " ", "a'b\"c;--"] {
        let path = place.join(name);
        fast().open(&path).unwrap().append("list", "a", 0, [noted(1)]).unwrap();
        assert!(path.is_file(), "{name}");
        assert_eq!(fast().open(&path).unwrap().version("list", "a").unwrap(), 1, "{name}");
        assert_eq!(Store::open_read_only(&path).unwrap().version("list", "a").unwrap(), 1, "{name}");
        std::fs::remove_dir_all(place.directory()).unwrap();
        std::fs::create_dir(place.directory()).unwrap();
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_name_that_is_not_utf8_can_be_opened_again() {
    use std::os::unix::ffi::OsStrExt;

    let place = Place::new();
    let path = place.directory().join(std::ffi::OsStr::from_bytes(b"caf\xe9.db"));
    fast().open(&path).unwrap().append("list", "a", 0, [noted(1)]).unwrap();
    assert_eq!(fast().open(&path).unwrap().version("list", "a").unwrap(), 1);
    assert_eq!(Store::open_read_only(&path).unwrap().version("list", "a").unwrap(), 1);
}

#[test]
fn two_stores_of_one_file_see_each_other() {
    let place = Place::new();
    let (one, other) = (place.open(), place.open());
    one.append("list", "a", Expected::New, [noted(1)]).unwrap();
    other.append("list", "a", 1, [noted(2)]).unwrap();
    one.append("list", "a", 2, [noted(3)]).unwrap();
    assert_eq!(read(&one, Query::new()), read(&other, Query::new()));
    assert_eq!(read(&other, Query::new()).len(), 3);
}

#[test]
fn a_store_in_memory_is_one_store_to_all_its_threads() {
    let store = fast().in_memory().unwrap();
    assert!(store.path().is_none());
    thread::scope(|scope| {
        for writer in 0..4 {
            let store = store.clone();
            scope.spawn(move || {
                for n in 0..25 {
                    store.append("list", format!("l-{writer}"), n, [noted(n)]).unwrap();
                    assert_eq!(store.version("list", format!("l-{writer}")).unwrap(), n + 1);
                }
            });
        }
    });
    let positions: Vec<u64> = read(&store, Query::new()).iter().map(|event| event.position.get()).collect();
    assert_eq!(positions, (1..=100).collect::<Vec<u64>>());
    assert_eq!(Store::in_memory().unwrap().last_position().unwrap(), 0, "another store in memory is another one");
}

#[test]
fn tables_of_the_application_are_left_alone() {
    let place = Place::new();
    place.open().append("list", "a", 0, [noted(1)]).unwrap();
    place
        .raw()
        .execute_batch(
            "CREATE TABLE app_users (id INTEGER PRIMARY KEY, name TEXT); CREATE INDEX app_by_name ON app_users (name);
             CREATE TABLE _litestream_lock (id INTEGER); CREATE VIEW app_view AS SELECT name FROM app_users;
             CREATE TRIGGER app_trigger AFTER INSERT ON app_users BEGIN INSERT INTO _litestream_lock VALUES (1); END;
             INSERT INTO app_users (name) VALUES ('Ada');",
        )
        .unwrap();
    place.open().append("list", "a", 1, [noted(2)]).unwrap();
    assert_eq!(Store::open_read_only(place.file()).unwrap().version("list", "a").unwrap(), 2);
    let name: String = place.raw().query_row("SELECT name FROM app_view", [], |row| row.get(0)).unwrap();
    assert_eq!(name, "Ada");
}

#[test]
fn extreme_settings_are_no_reason_to_panic() {
    let place = Place::new();
    for timeout in [Duration::ZERO, Duration::MAX] {
        for bytes in [0, usize::MAX] {
            let options = fast().busy_timeout(timeout).cache_bytes(bytes);
            let store = options.open(place.file()).unwrap();
            store.append("list", "a", Expected::Any, [noted(1)]).unwrap();
        }
    }
    assert_eq!(read(&place.open(), Query::new()).len(), 4);
}

#[test]
fn the_defaults_are_those_that_are_documented() {
    let options = Options::new();
    let policy = Store::in_memory().unwrap().options().clone();
    assert_eq!(format!("{options:?}"), format!("{policy:?}"));
    assert_eq!(foldlog::SnapshotPolicy::default().threshold(), Some(100));
    assert_eq!(foldlog::SnapshotPolicy::default().retained(), 5);
    assert_eq!(foldlog::Durability::default(), foldlog::Durability::Durable);
}
