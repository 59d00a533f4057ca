//! What is not ours to write is refused and left as it was, to the byte.

use std::collections::BTreeMap;
use std::path::Path;

use foldlog::{ErrorKind, Expected, Query, Result, Store};

use crate::support::{Place, contents, noted, read, refused, says};

/// Opens for writing and for reading; both must fail in this way and change nothing in the directory.
#[track_caller]
fn is_refused(path: &Path, kind: ErrorKind, parts: &[&str]) {
    let openings: [fn(&Path) -> Result<Store>; 2] = [|path| Store::open(path), |path| Store::open_read_only(path)];
    for open in openings {
        let before = lasting_contents(path);
        let error = refused(open(path), kind);
        says(&error, parts);
        assert!(error.operation().is_some_and(|operation| operation.starts_with("open")), "{error:?}");
        assert!(!error.is_retryable());
        assert!(before == lasting_contents(path), "something was written: {error}");
    }
}

/// The files beside a path. Of a write-ahead log the index is left out: it is shared memory, rebuilt by whoever needs it.
fn lasting_contents(path: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut files = path.parent().filter(|parent| parent.is_dir()).map(contents).unwrap_or_default();
    if files.keys().any(|name| name.ends_with("-wal")) {
        files.retain(|name, _| !name.ends_with("-shm"));
    }
    files
}

/// A good file that somebody changed.
fn changed(sql: &str) -> Place {
    let place = Place::new();
    place.open().append("list", "a", 0, [noted(1)]).unwrap();
    place.raw().execute_batch(sql).unwrap();
    place
}

#[test]
fn a_file_of_another_application() {
    for sql in [
        "CREATE TABLE theirs (x)",
        "PRAGMA journal_mode = WAL; CREATE TABLE theirs (x); INSERT INTO theirs VALUES (1)",
        "PRAGMA application_id = 7; CREATE TABLE events (x)",
        "PRAGMA user_version = 1; PRAGMA application_id = 7",
        "PRAGMA user_version = 3",
    ] {
        let place = Place::new();
        place.raw().execute_batch(sql).unwrap();
        is_refused(&place.file(), ErrorKind::ForeignFile, &["another application", "choose another path"]);
    }
}

#[test]
fn a_file_that_is_no_database() {
    for bytes in [&b"x"[..], b"just a note\n", &[0; 4_096], &[b'a'; 100_000], b"SQLite format 3\0 and then nothing of the sort"] {
        let place = Place::new();
        std::fs::write(place.file(), bytes).unwrap();
        is_refused(&place.file(), ErrorKind::ForeignFile, &["not a foldlog file"]);
    }
}

#[test]
fn a_file_of_a_newer_format() {
    let place = changed("PRAGMA user_version = 4");
    is_refused(&place.file(), ErrorKind::FormatTooNew, &["format 4", "up to 3", "update the application"]);
}

#[test]
fn a_format_that_never_was() {
    for version in ["0", "-1"] {
        let place = changed(&format!("PRAGMA user_version = {version}"));
        is_refused(&place.file(), ErrorKind::ForeignFile, &["format"]);
    }
}

#[test]
fn a_schema_that_was_tampered_with() {
    for (sql, names) in [
        ("CREATE TRIGGER evil AFTER INSERT ON events BEGIN DELETE FROM events; END", "evil"),
        ("CREATE TRIGGER evil BEFORE UPDATE ON aggregates BEGIN SELECT RAISE(IGNORE); END", "evil"),
        ("ALTER TABLE events ADD COLUMN extra TEXT", "events"),
        ("ALTER TABLE snapshots RENAME COLUMN state TO stated", "snapshots"),
        ("CREATE INDEX slow ON events (created_at)", "slow"),
        ("CREATE UNIQUE INDEX one_only ON events (event_type)", "one_only"),
        ("DROP TABLE event_tags", "event_tags"),
        ("DROP INDEX snapshots_created_at", "snapshots_created_at"),
        (
            "DROP TABLE block_summaries; CREATE VIEW block_summaries AS SELECT 1 AS block, 2 AS earliest, 3 AS latest",
            "block_summaries",
        ),
        (
            "DROP TABLE block_summaries; CREATE TABLE block_summaries (block INTEGER PRIMARY KEY, earliest, latest)",
            "block_summaries",
        ),
    ] {
        let place = changed(sql);
        is_refused(&place.file(), ErrorKind::ForeignFile, &["schema was changed", names, "restore the file"]);
    }
}

#[test]
fn a_write_ahead_log_beside_a_refused_file_stays() {
    let place = Place::new();
    let theirs = place.raw();
    theirs.execute_batch("PRAGMA journal_mode = WAL; CREATE TABLE theirs (x); INSERT INTO theirs VALUES (1)").unwrap();
    assert!(place.join("store.db-wal").metadata().unwrap().len() > 0);
    is_refused(&place.file(), ErrorKind::ForeignFile, &["another application"]);
    let rows: i64 = theirs.query_row("SELECT count(*) FROM theirs", [], |row| row.get(0)).unwrap();
    assert_eq!(rows, 1);
}

#[test]
fn places_where_no_file_can_be() {
    let place = Place::new();
    std::fs::create_dir(place.join("directory")).unwrap();
    is_refused(&place.join("directory"), ErrorKind::Io, &["directory is a directory"]);
    let missing = place.join("not/there/store.db");
    says(&refused(Store::open(&missing), ErrorKind::Io), &["not/there does not exist", "make it first"]);
    refused(Store::open_read_only(&missing), ErrorKind::Io);
    assert!(!place.join("not").exists());
    std::fs::write(place.join("file"), b"x").unwrap();
    refused(Store::open(place.join("file/store.db")), ErrorKind::Io);
    is_refused(Path::new(""), ErrorKind::InvalidInput, &["the path is empty"]);
    is_refused(&place.join("a\0b"), ErrorKind::InvalidInput, &["NUL"]);
    is_refused(Path::new("\0"), ErrorKind::InvalidInput, &["NUL"]);
    assert_eq!(contents(place.directory()).len(), 1);
}

#[test]
fn after_a_refusal_the_restored_file_opens() {
    let place = changed("CREATE INDEX slow ON events (created_at)");
    refused(Store::open(place.file()), ErrorKind::ForeignFile);
    place.raw().execute_batch("DROP INDEX slow").unwrap();
    let store = place.open();
    store.append("list", "a", Expected::Exactly(1.into()), [noted(2)]).unwrap();
    assert_eq!(read(&store, Query::new()).len(), 2);
}
