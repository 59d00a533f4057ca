//! What is not ours to write is refused and left as it was, to the byte.

use std::collections::BTreeMap;
use std::ops::ControlFlow::Continue;
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
        "PRAGMA user_version = 4",
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
    let place = changed("PRAGMA user_version = 2");
    is_refused(&place.file(), ErrorKind::FormatTooNew, &["format 2", "up to 1", "update the application"]);
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
        ("CREATE TRIGGER evil AFTER UPDATE OF position ON subscriptions BEGIN DELETE FROM deliveries; END", "evil"),
        ("ALTER TABLE events ADD COLUMN extra TEXT", "events"),
        ("ALTER TABLE events ADD COLUMN made TEXT GENERATED ALWAYS AS (upper(data)) VIRTUAL", "events"),
        ("ALTER TABLE tenants ADD COLUMN made TEXT AS (abs(id)) VIRTUAL", "tenants"),
        ("ALTER TABLE snapshots RENAME COLUMN state TO stated", "snapshots"),
        ("ALTER TABLE deliveries DROP COLUMN last_error", "deliveries"),
        ("ALTER TABLE events RENAME TO moved; CREATE TABLE events AS SELECT * FROM moved", "events"),
        ("CREATE INDEX slow ON events (created_at)", "slow"),
        ("CREATE UNIQUE INDEX one_only ON events (event_type)", "one_only"),
        ("CREATE INDEX computed ON events (json_extract(data, '$.n'))", "computed"),
        ("CREATE INDEX computed ON events (key) WHERE abs(position) > 1", "computed"),
        ("DROP TABLE event_tags", "event_tags"),
        ("DROP INDEX snapshots_created_at", "snapshots_created_at"),
        ("DROP INDEX deliveries_due; CREATE INDEX deliveries_due ON deliveries (subscription, due_at)", "deliveries_due"),
        ("DROP INDEX deliveries_due; CREATE TABLE other (x); CREATE INDEX deliveries_due ON other (x)", "deliveries_due"),
        (
            "DROP TABLE block_summaries; CREATE VIEW block_summaries AS SELECT 1 AS block, 2 AS earliest, 3 AS latest",
            "block_summaries",
        ),
        (
            "DROP TABLE block_summaries; CREATE TABLE block_summaries (block INTEGER PRIMARY KEY, earliest, latest)",
            "block_summaries",
        ),
        (
            "DROP TABLE block_summaries; CREATE VIRTUAL TABLE block_summaries USING fts5(block, earliest, latest)",
            "block_summaries",
        ),
    ] {
        let place = changed(sql);
        is_refused(&place.file(), ErrorKind::ForeignFile, &["schema was changed", names, "restore the file"]);
    }
}

/// What SQLite itself offers no statement for.
#[test]
fn a_schema_that_was_written_over() {
    let rewritten = |from: &str, to: &str| format!("sql = replace(sql, '{from}', '{to}')");
    for (table, change) in [
        ("events", rewritten("commit_offset >= 0", "commit_offset >= -1")),
        ("events", rewritten(" CHECK (commit_offset >= 0)", "")),
        ("events", rewritten("data TEXT", "data ANY")),
        ("events", rewritten("data TEXT NOT NULL", "data TEXT NOT NULL DEFAULT (hex(1))")),
        ("events", rewritten(" STRICT", "")),
        ("events", rewritten("position INTEGER NOT NULL UNIQUE", "position INTEGER UNIQUE")),
        ("aggregates", rewritten("aggregate_id TEXT", "aggregate_id TEXT COLLATE NOCASE")),
        ("event_tags", rewritten(", WITHOUT ROWID", "")),
        ("snapshots_created_at", rewritten("(created_at)", "(created_at DESC)")),
        ("snapshots_created_at", rewritten("ON snapshots (created_at)", "ON events (created_at)")),
        ("tenants", "type = 'view'".to_owned()),
        ("tenants", "tbl_name = 'events'".to_owned()),
    ] {
        let place = changed(&format!("PRAGMA writable_schema = ON; UPDATE sqlite_schema SET {change} WHERE name = '{table}'"));
        for open in [|path| Store::open(path), |path| Store::open_read_only(path)] as [fn(&Path) -> Result<Store>; 2] {
            let before = lasting_contents(&place.file());
            // Some of it SQLite itself calls damage before we come to look.
            let error = open(&place.file()).map(|_| panic!("{table}: {change}")).unwrap_err();
            assert!(matches!(error.kind(), ErrorKind::ForeignFile | ErrorKind::Corrupt), "{table}: {change}: {error:?}");
            says(&error, &["open", "restore"]);
            let mut after = lasting_contents(&place.file());
            // Where SQLite gives up by itself, a log without a byte can be left over.
            after.retain(|name, bytes| !(name.ends_with("-wal") && bytes.is_empty()));
            assert!(before == after, "{table}: {change}: something was written");
        }
    }
}

/// A view that reads our tables changes nothing; whatever hangs on the application's own tables is its own affair.
#[test]
fn views_and_triggers_of_the_application_are_tolerated() {
    let place = changed(
        "CREATE VIEW latest AS SELECT position, data FROM events ORDER BY position DESC LIMIT 10;
         CREATE TABLE app (events INTEGER, snapshots TEXT, made AS (events + 1)); CREATE INDEX app_events ON app (abs(events));
         CREATE TRIGGER app_trigger AFTER INSERT ON app BEGIN UPDATE app SET snapshots = 'x'; END;
         CREATE VIEW app_view AS SELECT count(*) AS events FROM app;
         CREATE TRIGGER app_instead INSTEAD OF INSERT ON app_view BEGIN INSERT INTO app VALUES (1, 'y'); END",
    );
    let store = place.open();
    store.append("list", "a", 1, [noted(2)]).unwrap();
    assert!(store.maintenance().verify(|_| Continue(())).unwrap().is_clean());
    assert_eq!(read(&Store::open_read_only(place.file()).unwrap(), Query::new()).len(), 2);
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

/// SQLite takes a log without its file for a leftover and deletes it, even for a reader. Found by the fuzz target `open`.
#[test]
fn a_log_whose_file_is_gone_stays() {
    for is_missing in [true, false] {
        let place = Place::new();
        let store = place.open();
        store.append("list", "a", 0, [noted(1)]).unwrap();
        let log = std::fs::read(place.join("store.db-wal")).unwrap();
        drop(store);
        std::fs::write(place.join("store.db-wal"), &log).unwrap();
        match is_missing {
            true => std::fs::remove_file(place.file()).unwrap(),
            false => std::fs::write(place.file(), b"").unwrap(),
        }
        says(&refused(Store::open(place.file()), ErrorKind::Corrupt), &["its -wal file holds changes", "restore the file"]);
        // A reader that finds no file at all says that.
        refused(Store::open_read_only(place.file()), if is_missing { ErrorKind::Io } else { ErrorKind::Corrupt });
        assert!(std::fs::read(place.join("store.db-wal")).unwrap() == log, "the log was changed");
        std::fs::remove_file(place.join("store.db-wal")).unwrap();
        place.open().append("list", "a", 0, [noted(1)]).unwrap();
    }
}

#[test]
fn places_where_no_file_can_be() {
    let place = Place::new();
    std::fs::create_dir(place.join("directory")).unwrap();
    is_refused(&place.join("directory"), ErrorKind::Io, &["directory is a directory"]);
    let missing = place.join("not/there/store.db");
    says(&refused(Store::open(&missing), ErrorKind::Io), &["not/there does not exist", "create it first"]);
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
