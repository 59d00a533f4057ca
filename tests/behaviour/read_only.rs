//! Opening for reading: nothing is written, and a medium that takes no writes is no obstacle.

use std::ops::ControlFlow::Continue;
use std::path::Path;
use std::time::Duration;

use foldlog::{ErrorKind, Expected, Purge, Query, SnapshotExpiry, SnapshotReason, Store};

use crate::domain::{Account, AccountEvent, deposits, opened};
use crate::support::{Place, at, contents, noted, notes, read, refused, says};

#[test]
fn reading_changes_no_byte() {
    let place = Place::new();
    place.open().append("account", "a", 0, deposits_as_json(150)).unwrap();
    let before = std::fs::read(place.file()).unwrap();
    let store = Store::open_read_only(place.file()).unwrap();
    assert_eq!(read(&store, Query::new()).len(), 150);
    let replayed = store.aggregates::<Account>().replay("a").unwrap();
    assert_eq!((replayed.state.cents, replayed.from_snapshot), (150, None));
    assert_eq!(store.snapshot_statistics().unwrap().total_snapshots, 0, "a snapshot is due and cannot be written");
    drop(store);
    assert!(std::fs::read(place.file()).unwrap() == before);
}

fn deposits_as_json(count: u64) -> Vec<foldlog::NewEvent> {
    deposits(count).iter().map(|event| foldlog::NewEvent::of(event).unwrap()).collect()
}

#[test]
fn every_write_is_refused() {
    let place = Place::new();
    place.open().append("account", "a", 0, deposits_as_json(2)).unwrap();
    let store = Store::open_read_only(place.file()).unwrap();
    let accounts = store.aggregates::<Account>();
    let kind = ErrorKind::ReadOnly;
    says(&refused(store.append("account", "a", 2, [noted(1)]), kind), &["append", "opened for reading"]);
    refused(accounts.append("b", Expected::Any, [opened()]), kind);
    let executed = accounts.execute("a", |_| [AccountEvent::Closed]).map_err(foldlog::Error::from);
    refused(executed.map(drop), kind);
    refused(accounts.create_snapshot("a", SnapshotReason::Manual), kind);
    refused(accounts.delete_snapshots("a"), kind);
    refused(accounts.prune_snapshots("a"), kind);
    refused(store.maintenance().expire_snapshots(Duration::ZERO, |_| Continue(())), kind);
    refused(store.maintenance().purge(Purge::created_before(at(0))), kind);
    refused(store.maintenance().schedule_snapshot_expiry(SnapshotExpiry::weekly()), kind);
    assert_eq!(store.last_position().unwrap(), 2);
}

#[test]
fn a_missing_file_is_not_made() {
    let place = Place::new();
    says(&refused(Store::open_read_only(place.file()), ErrorKind::Io), &["store.db", "cannot be opened"]);
    std::fs::write(place.file(), b"").unwrap();
    says(&refused(Store::open_read_only(place.file()), ErrorKind::ReadOnly), &["open it for writing"]);
    assert_eq!(contents(place.directory()).len(), 1);
    assert_eq!(place.file().metadata().unwrap().len(), 0);
}

#[test]
fn a_reader_sees_what_a_writer_adds() {
    let place = Place::new();
    let writer = place.open();
    writer.append("list", "a", 0, [noted(1)]).unwrap();
    let reader = Store::open_read_only(place.file()).unwrap();
    assert_eq!(reader.version("list", "a").unwrap(), 1);
    writer.append("list", "a", 1, notes(2..=5)).unwrap();
    assert_eq!(read(&reader, Query::new()), read(&writer, Query::new()));
    assert_eq!(reader.version("list", "a").unwrap(), 5);
}

#[test]
fn a_medium_that_takes_no_writes() {
    let place = Place::new();
    let directory = place.join("medium");
    std::fs::create_dir(&directory).unwrap();
    let Some(medium) = Medium::mount(&directory) else { return };
    let file = directory.join("store.db");
    Store::open(&file).unwrap().append("list", "a", 0, notes(1..=3)).unwrap();
    medium.set_read_only();
    let before = contents(&directory);

    let store = Store::open_read_only(&file).unwrap();
    assert_eq!(read(&store, Query::new()).len(), 3);
    drop(store);
    let error = match Store::open(&file) {
        Ok(store) => refused(store.append("list", "a", 3, [noted(4)]), ErrorKind::ReadOnly),
        Err(error) => error,
    };
    assert!(matches!(error.kind(), ErrorKind::ReadOnly | ErrorKind::Io), "{error:?}");
    refused(Store::open(directory.join("new.db")).map(drop), ErrorKind::Io);
    assert!(contents(&directory) == before);
}

#[test]
fn a_log_that_was_left_on_such_a_medium_is_named() {
    let place = Place::new();
    let directory = place.join("medium");
    std::fs::create_dir(&directory).unwrap();
    let Some(medium) = Medium::mount(&directory) else { return };
    // As after a crash: the events are in the write-ahead log only.
    let source = place.open();
    source.append("list", "a", 0, notes(1..=3)).unwrap();
    for suffix in ["", "-wal"] {
        std::fs::copy(place.join(&format!("store.db{suffix}")), directory.join(format!("store.db{suffix}"))).unwrap();
    }
    medium.set_read_only();
    match Store::open_read_only(directory.join("store.db")) {
        // Newer versions of SQLite build the index of the log in memory.
        Ok(store) => assert_eq!(read(&store, Query::new()), read(&source, Query::new())),
        Err(error) => says(&error, &["-wal", "copy both"]),
    }
}

/// A directory that can be made read-only, also for root, whom permissions do not stop.
struct Medium<'a> {
    directory: &'a Path,
    mounted: bool,
}

impl Medium<'_> {
    /// `None`, said loudly, where neither way works.
    fn mount(directory: &Path) -> Option<Medium<'_>> {
        if !cfg!(target_os = "linux") {
            return skipped("only Linux is prepared for this");
        }
        if !is_root() {
            return Some(Medium { directory, mounted: false });
        }
        match run("mount", &["-t", "tmpfs", "-o", "size=4m", "foldlog-test"], directory) {
            true => Some(Medium { directory, mounted: true }),
            false => skipped("root without the right to mount"),
        }
    }

    fn set_read_only(&self) {
        if self.mounted {
            assert!(run("mount", &["-o", "remount,ro"], self.directory));
        } else {
            chmod("a-w", self.directory);
            for name in contents(self.directory).keys() {
                chmod("a-w", &self.directory.join(name));
            }
        }
    }
}

impl Drop for Medium<'_> {
    fn drop(&mut self) {
        if self.mounted {
            run("umount", &[], self.directory);
        } else {
            chmod("u+w", self.directory);
        }
    }
}

fn is_root() -> bool {
    std::process::Command::new("id").arg("-u").output().is_ok_and(|output| output.stdout.trim_ascii() == b"0")
}

fn chmod(mode: &str, path: &Path) {
    run("chmod", &[mode], path);
}

fn run(program: &str, arguments: &[&str], path: &Path) -> bool {
    std::process::Command::new(program).args(arguments).arg(path).status().is_ok_and(|status| status.success())
}

fn skipped(why: &str) -> Option<Medium<'static>> {
    assert!(std::env::var_os("CI").is_none(), "this must not be skipped here: {why}");
    eprintln!("SKIPPED: a read-only medium: {why}");
    None
}
