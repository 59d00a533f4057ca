//! The file under a store is deleted, moved, replaced, linked or copied while it is open.
#![cfg(unix)]

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use foldlog::{ErrorKind, Expected, Query, Store};

use crate::processes::{finish, start};
use crate::support::{Place, fast, names, noted, read, refused, says};

const FILES: [&str; 3] = ["", "-wal", "-shm"];

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

fn append(store: &Store, n: u64) -> foldlog::Result<foldlog::Appended> {
    store.append("list", "a", Expected::Any, [noted(n)])
}

/// A store with `count` events, all of them still in the write-ahead log.
fn with_events(place: &Place, count: u64) -> Store {
    let store = place.open();
    (0..count).for_each(|n| drop(append(&store, n).unwrap()));
    store
}

fn moved(from: &Path, to: &Path) {
    for suffix in FILES {
        std::fs::rename(beside(from, suffix), beside(to, suffix)).unwrap();
    }
}

#[track_caller]
fn is_lost(store: &Store, part: &str) {
    for error in [
        refused(append(store, 9), ErrorKind::FileMoved),
        refused(store.version("list", "a"), ErrorKind::FileMoved),
        refused(store.read(Query::new()).collect::<foldlog::Result<Vec<_>>>(), ErrorKind::FileMoved),
        refused(store.maintenance().checkpoint(), ErrorKind::FileMoved),
    ] {
        says(&error, &[part, "store.db", "open the store again"]);
    }
}

#[test]
fn nothing_is_acknowledged_after_the_files_were_deleted() {
    let place = Place::new();
    let store = with_events(&place, 3);
    let reader = Store::open_read_only(place.file()).unwrap();
    for suffix in FILES {
        std::fs::remove_file(beside(&place.file(), suffix)).unwrap();
    }
    is_lost(&store, "was deleted or moved");
    refused(reader.version("list", "a"), ErrorKind::FileMoved);
    drop((store, reader));
    assert_eq!(names(place.directory()), [""; 0], "closing makes nothing");
}

#[test]
fn a_moved_file_is_used_again_once_it_is_back() {
    let place = Place::new();
    let store = with_events(&place, 3);
    moved(&place.file(), &place.join("elsewhere.db"));
    is_lost(&store, "was deleted or moved");
    moved(&place.join("elsewhere.db"), &place.file());
    assert_eq!(append(&store, 4).unwrap().version, 4);
    assert_eq!(read(&store, Query::new()).len(), 4);
}

#[test]
fn a_moved_file_has_all_that_was_acknowledged() {
    let place = Place::new();
    let store = with_events(&place, 3);
    moved(&place.file(), &place.join("elsewhere.db"));
    refused(append(&store, 4), ErrorKind::FileMoved);
    drop(store);
    let elsewhere = fast().open(place.join("elsewhere.db")).unwrap();
    assert_eq!(read(&elsewhere, Query::new()).len(), 3);
    assert_eq!(append(&elsewhere, 4).unwrap().version, 4);
}

#[test]
fn another_file_in_its_place_is_not_written_to() {
    let place = Place::new();
    let other = fast().open(place.join("other.db")).unwrap();
    other.append("list", "b", 0, [noted(1)]).unwrap();
    drop(other);
    let before = std::fs::read(place.join("other.db")).unwrap();
    let store = with_events(&place, 3);
    moved(&place.file(), &place.join("old.db"));
    std::fs::rename(place.join("other.db"), place.file()).unwrap();
    is_lost(&store, "was replaced");
    drop(store);
    assert_eq!(std::fs::read(place.file()).unwrap(), before);
    assert_eq!(read(&place.open(), Query::new()).len(), 1);
    assert_eq!(read(&fast().open(place.join("old.db")).unwrap(), Query::new()).len(), 3);
}

#[test]
fn a_deleted_log_is_saved_into_the_file() {
    let place = Place::new();
    let store = with_events(&place, 3);
    for round in 0..3 {
        std::fs::remove_file(beside(&place.file(), "-wal")).unwrap();
        if round == 1 {
            assert_eq!(store.version("list", "a").unwrap(), 4, "a reading notices it too");
        }
        assert_eq!(append(&store, round).unwrap().version, 4 + round);
        assert!(beside(&place.file(), "-wal").is_file(), "there is a new one");
    }
    let raw = place.raw();
    let events: i64 = raw.query_row("SELECT count(*) FROM events", [], |row| row.get(0)).unwrap();
    assert_eq!(events, 6, "others find them too");
    drop(raw);
    std::fs::remove_file(beside(&place.file(), "-wal")).unwrap();
    drop(store);
    assert_eq!(read(&place.open(), Query::new()).len(), 6, "closing saves it too");
    assert_eq!(names(place.directory()), ["store.db"]);
}

#[test]
fn a_deleted_log_is_saved_by_a_store_that_has_only_read() {
    for ended in [false, true] {
        let place = Place::new();
        // So that the file itself says that it is one of foldlog's.
        drop(place.open());
        let writer = with_events(&place, 3);
        let reader = place.open();
        assert_eq!(reader.version("list", "a").unwrap(), 3);
        std::fs::remove_file(beside(&place.file(), "-wal")).unwrap();
        if ended {
            std::mem::forget(writer);
            drop(reader);
        } else {
            assert_eq!(append(&reader, 4).unwrap().version, 4);
            refused(append(&writer, 5), ErrorKind::FileMoved);
            drop((writer, reader));
            assert_eq!(append(&place.open(), 5).unwrap().version, 5);
        }
        let events: i64 = place.raw().query_row("SELECT count(*) FROM events", [], |row| row.get(0)).unwrap();
        assert_eq!(events, if ended { 3 } else { 5 });
    }
}

/// Two processes that close one after the other, while a third one opens: SQLite deletes a log by its path.
#[test]
fn closing_leaves_the_log_that_another_is_just_making() {
    let place = Place::new();
    let store = with_events(&place, 3);
    let log = beside(&place.file(), "-wal");
    std::fs::remove_file(&log).unwrap();
    let others = std::fs::File::create(&log).unwrap();
    others.lock().unwrap();
    drop(store);
    assert!(log.is_file(), "it was deleted");
    drop(others);
    assert_eq!(read(&place.open(), Query::new()).len(), 3, "what was in the own log is in the file");
}

#[test]
fn a_log_of_another_is_not_taken_for_the_own() {
    let place = Place::new();
    let other = fast().open(place.join("other.db")).unwrap();
    other.append("list", "b", 0, [noted(1)]).unwrap();
    let store = with_events(&place, 3);
    let log = beside(&place.file(), "-wal");
    std::fs::rename(&log, place.join("kept")).unwrap();
    std::fs::copy(place.join("other.db-wal"), &log).unwrap();
    std::thread::sleep(std::time::Duration::from_millis(20));
    says(&refused(append(&store, 4), ErrorKind::FileMoved), &["store.db-wal was replaced"]);
    let foreign = std::fs::read(&log).unwrap();
    std::fs::rename(place.join("kept"), place.join("kept-2")).unwrap();
    drop(store);
    assert_eq!(std::fs::read(&log).unwrap(), foreign, "what is not the store's own is left alone");
    std::fs::rename(place.join("kept-2"), &log).unwrap();
    assert_eq!(read(&place.open(), Query::new()).len(), 3);
}

#[test]
fn a_file_with_two_names_is_not_opened() {
    let place = Place::new();
    drop(with_events(&place, 1));
    std::fs::hard_link(place.file(), place.join("second.db")).unwrap();
    for path in [place.file(), place.join("second.db")] {
        for opened in [fast().open(&path), Store::open_read_only(&path)] {
            says(&refused(opened, ErrorKind::HardLink), &["hard link", "Store::backup"]);
        }
    }
    std::fs::remove_file(place.join("second.db")).unwrap();
    assert_eq!(append(&place.open(), 2).unwrap().version, 2);
}

#[test]
fn a_second_name_ends_writing_until_it_is_gone() {
    let place = Place::new();
    let store = with_events(&place, 1);
    std::fs::hard_link(place.file(), place.join("second.db")).unwrap();
    refused(append(&store, 2), ErrorKind::HardLink);
    assert_eq!(store.version("list", "a").unwrap(), 1, "reading goes on");
    std::fs::remove_file(place.join("second.db")).unwrap();
    assert_eq!(append(&store, 2).unwrap().version, 2);
}

/// Reads every file as a careless backup does. Closing them drops this process's POSIX locks.
fn copy_by_hand(place: &Place) {
    for suffix in FILES {
        drop(std::fs::read(beside(&place.file(), suffix)));
    }
}

#[test]
fn what_a_copy_by_hand_does_to_the_locks_loses_nothing() {
    let place = Place::new();
    let store = with_events(&place, 3);
    let mut count = 3;
    for _ in 0..3 {
        copy_by_hand(&place);
        // Opens the store, appends one event and closes it, as the only one that SQLite knows of.
        finish(start("visit", &place.file(), 0).spawn().unwrap());
        count += 1;
        for n in 0..5 {
            append(&store, n).unwrap();
            count += 1;
        }
        assert_eq!(store.last_position().unwrap(), count);
    }
    drop(store);
    assert_eq!(read(&place.open(), Query::new()).len() as u64, count);
}

#[test]
fn a_copy_by_hand_beside_a_reading_loses_nothing() {
    let place = Place::new();
    let store = with_events(&place, 3);
    copy_by_hand(&place);
    // The reading begins after the locks were dropped, so it keeps a part of the log from being moved.
    let mut events = store.read(Query::new());
    assert_eq!(events.next().unwrap().unwrap().version, 1);
    let raw = place.raw();
    raw.execute_batch("BEGIN").unwrap();
    let _: i64 = raw.query_row("SELECT count(*) FROM events", [], |row| row.get(0)).unwrap();
    append(&store, 4).unwrap();
    finish(start("visit", &place.file(), 0).spawn().unwrap());
    append(&store, 5).unwrap();
    drop(raw);
    drop((events, store));
    assert_eq!(read(&place.open(), Query::new()).len(), 6);
}

#[test]
fn writers_that_copy_and_other_processes_lose_nothing() {
    let place = Place::new();
    drop(place.open());
    let children: Vec<_> = (0..3).map(|worker| start("copy", &place.file(), worker).spawn().unwrap()).collect();
    children.into_iter().for_each(|child| drop(finish(child)));
    let store = place.open();
    for worker in 0..3 {
        assert_eq!(store.version("list", format!("copier-{worker}")).unwrap(), 100);
    }
    assert!(store.maintenance().verify(|_| std::ops::ControlFlow::Continue(())).unwrap().is_clean());
}

#[test]
fn a_link_that_leads_elsewhere_later_changes_nothing() {
    let place = Place::new();
    for name in ["one", "two"] {
        std::fs::create_dir(place.join(name)).unwrap();
    }
    symlink("one", place.join("current")).unwrap();
    let store = fast().open(place.join("current/store.db")).unwrap();
    append(&store, 1).unwrap();
    std::fs::remove_file(place.join("current")).unwrap();
    symlink("two", place.join("current")).unwrap();
    append(&store, 2).unwrap();
    assert_eq!(store.path().unwrap(), place.join("one").canonicalize().unwrap().join("store.db"));
    drop(store);
    assert_eq!(read(&fast().open(place.join("one/store.db")).unwrap(), Query::new()).len(), 2);
    assert_eq!(names(&place.join("two")), [""; 0]);
}

#[test]
fn a_relative_path_is_kept_when_the_working_directory_changes() {
    let place = Place::new();
    std::fs::create_dir(place.join("sub")).unwrap();
    finish(start("elsewhere", Path::new("store.db"), 0).current_dir(place.directory()).spawn().unwrap());
    assert_eq!(read(&place.open(), Query::new()).len(), 2);
    assert_eq!(names(&place.join("sub")), [""; 0]);
}
