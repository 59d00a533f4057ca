//! Backups: whole, checked, made while others write, and never over anything.

use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};

use foldlog::{BackupProgress, BackupStep, ErrorKind, Expected, Query, Store};

use crate::support::{Place, contents, names, noted, notes, raw, read, refused, says};

fn go_on(_: &BackupProgress) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

#[test]
fn a_backup_holds_what_was_there() {
    let place = Place::new();
    let store = place.open();
    store.append("list", "a", 0, notes(1..=3_000)).unwrap();
    let mut steps = Vec::new();
    let done = store.backup(place.join("copy.db"), |done| {
        if steps.last() != Some(&done.step) {
            steps.push(done.step);
        }
        assert!(!done.finished && (done.total == 0 || done.done <= done.total), "{done:?}");
        ControlFlow::Continue(())
    });
    let done = done.unwrap();
    assert_eq!((done.finished, done.last_position.get()), (true, 3_000));
    assert_eq!(done.bytes, place.join("copy.db").metadata().unwrap().len());
    assert_eq!(steps, [BackupStep::Copy, BackupStep::Verify]);
    let events = read(&store, Query::new());
    drop(store);
    assert_eq!(names(place.directory()), ["copy.db", "store.db"], "nothing else is left");
    assert_eq!(read(&Store::open_read_only(place.join("copy.db")).unwrap(), Query::new()), events);
}

#[cfg(unix)]
#[test]
fn only_its_owner_may_read_a_backup() {
    use std::os::unix::fs::PermissionsExt;
    let place = Place::new();
    place.open().backup(place.join("copy.db"), go_on).unwrap();
    assert_eq!(place.join("copy.db").metadata().unwrap().permissions().mode() & 0o777, 0o600);
}

#[test]
fn writers_do_not_disturb_it() {
    let place = Place::new();
    let store = place.open();
    for batch in 0..20 {
        store.append("list", "a", Expected::Any, notes(batch * 1_000..(batch + 1) * 1_000)).unwrap();
    }
    let (writer, is_done) = (Store::open(place.file()).unwrap(), AtomicBool::new(false));
    std::thread::scope(|scope| {
        let writing = scope.spawn(|| {
            let mut written = 0;
            while !is_done.load(Ordering::Relaxed) {
                writer.append("list", "b", Expected::Any, [noted(written)]).unwrap();
                written += 1;
            }
            written
        });
        for copy in ["one.db", "two.db"] {
            let done = store.backup(place.join(copy), go_on).unwrap();
            let copy = Store::open_read_only(place.join(copy)).unwrap();
            assert_eq!(copy.last_position().unwrap(), done.last_position);
            assert_eq!(copy.version("list", "a").unwrap(), 20_000);
        }
        is_done.store(true, Ordering::Relaxed);
        assert!(writing.join().unwrap() > 0);
    });
}

#[test]
fn nothing_is_replaced() {
    let place = Place::new();
    let store = place.open();
    store.append("list", "a", 0, [noted(1)]).unwrap();
    for name in ["there.db", "left.db-wal", "left.db-journal"] {
        std::fs::write(place.join(name), "theirs").unwrap();
    }
    says(&refused(store.backup(place.join("there.db"), go_on), ErrorKind::InvalidInput), &["backup", "there.db already"]);
    says(&refused(store.backup(place.join("left.db"), go_on), ErrorKind::InvalidInput), &["left behind", "left.db-wal"]);
    refused(store.backup(place.file(), go_on), ErrorKind::InvalidInput);
    refused(store.backup(place.join("no/where.db"), go_on), ErrorKind::Io);
    let there = contents(place.directory());
    assert!(["there.db", "left.db-wal", "left.db-journal"].iter().all(|name| there[*name] == b"theirs"));
    assert!(!there.keys().any(|name| name.contains(".tmp")), "{:?}", there.keys());
}

#[test]
fn a_stopped_backup_leaves_nothing() {
    let place = Place::new();
    let store = place.open();
    store.append("list", "a", 0, notes(1..=3_000)).unwrap();
    for stop_at in [BackupStep::Copy, BackupStep::Verify] {
        let stopped = store.backup(place.join("copy.db"), |done| {
            if done.step == stop_at { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        assert!(!stopped.unwrap().finished);
        assert!(!names(place.directory()).iter().any(|name| name.contains("copy")), "{:?}", names(place.directory()));
    }
}

#[test]
fn a_damaged_file_makes_no_backup() {
    let place = Place::new();
    place.open().append("list", "a", 0, notes(1..=3)).unwrap();
    raw(&place.file()).execute("UPDATE events SET data = '{\"n\":9}' WHERE position = 2", []).unwrap();
    let error = refused(place.open().backup(place.join("copy.db"), go_on), ErrorKind::Corrupt);
    says(&error, &["backup", "the copy is damaged", "position 2"]);
    assert!(!names(place.directory()).iter().any(|name| name.contains("copy")));
}

#[test]
fn a_restore_is_not_changed_by_the_log_of_an_earlier_file() {
    let place = Place::new();
    let store = place.open();
    store.append("list", "a", 0, notes(1..=3)).unwrap();
    store.backup(place.join("copy.db"), go_on).unwrap();
    store.append("list", "a", 3, notes(4..=6)).unwrap();
    // As after a crash in which the file itself was lost, and its log was not.
    for ending in ["-wal", "-shm"] {
        std::fs::copy(place.join(&format!("store.db{ending}")), place.join(&format!("back.db{ending}"))).unwrap();
    }
    let log = std::fs::read(place.join("back.db-wal")).unwrap();
    let restored = Store::restore(place.join("copy.db"), place.join("back.db"), go_on).unwrap();
    assert!(restored.copied.finished);
    assert_eq!(restored.set_aside.len(), 2);
    assert_eq!(std::fs::read(&restored.set_aside[0]).unwrap(), log, "moved, not deleted");
    let back = Store::open(place.join("back.db")).unwrap();
    assert_eq!(read(&back, Query::new()).len(), 3);
    back.append("list", "a", 3, [noted(7)]).unwrap();

    refused(Store::restore(place.join("copy.db"), place.join("back.db"), go_on), ErrorKind::InvalidInput);
    refused(Store::restore(place.join("no.db"), place.join("new.db"), go_on), ErrorKind::Io);
    std::fs::write(place.join("foreign.db"), [7; 4_096]).unwrap();
    refused(Store::restore(place.join("foreign.db"), place.join("new.db"), go_on), ErrorKind::ForeignFile);
    assert!(!names(place.directory()).iter().any(|name| name.starts_with("new.db")));
}

#[test]
fn a_copy_that_lives_on_its_own_gets_an_identity_of_its_own() {
    let place = Place::new();
    let store = place.open();
    store.append("list", "a", 0, notes(1..=3)).unwrap();
    store.backup(place.join("backup.db"), go_on).unwrap();
    Store::restore(place.join("backup.db"), place.join("same.db"), go_on).unwrap();
    Store::restore_as_new(place.join("backup.db"), place.join("new.db"), go_on).unwrap();
    let origins = |name: &str| {
        let copy = Store::open(place.join(name)).unwrap();
        copy.append("list", "a", 3, [noted(4)]).unwrap();
        assert!(copy.maintenance().verify(|_| ControlFlow::Continue(())).unwrap().is_clean());
        read(&copy, Query::new()).iter().map(|event| event.origin).collect::<Vec<_>>()
    };
    let (same, new) = (origins("same.db"), origins("new.db"));
    assert_eq!(same[0], same[3]);
    assert_eq!(new[..3], same[..3], "what was appended before keeps its origin");
    assert_ne!(new[3], same[0]);

    // A file that was copied by other means, while it is open.
    let own = store.append("list", "a", 3, [noted(4)]).unwrap();
    let renewed = store.maintenance().renew_replica_id().unwrap();
    store.append("list", "a", 4, [noted(5)]).unwrap();
    let events = read(&store, Query::new());
    assert_eq!((events[3].position, events[3].origin, events[4].origin), (own.position, same[0], renewed));
    drop(store);
    place.open().append("list", "a", 5, [noted(6)]).unwrap();
    assert_eq!(read(&place.open(), Query::new())[5].origin, renewed);
}
