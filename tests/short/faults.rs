//! A disk that fails, short form. The long form: `cargo test --release --test proof -- --long faults`.

use std::path::Path;
use std::process::Command;

use crate::proof::{effects, faults};
use crate::support::disk::{Disk, Fault};
use crate::support::model::{self, Planner, World};
use crate::support::random::{Random, seed};
use foldlog::{Durability, ErrorKind, Expected, NewEvent, Options, Purge, Store};
use std::ops::ControlFlow::Continue;

#[test]
fn an_error_at_any_call_is_typed_and_leaves_nothing() {
    let outcome = faults::run(23, seed()).expect_clean();
    assert!(outcome.counted("calls of the workloads") >= 8 * 300, "the workload is too small");
    assert!(outcome.counted("errors") > 100, "hardly anything failed");
}

/// An append that failed is not there for the next process, unless the error says that this is open: at each call of one
/// append the disk fails and the process ends.
#[test]
fn what_a_failed_append_says_of_its_outcome_is_true() {
    let (disk, copy) = (Disk::new(), Disk::new());
    let open = |disk: &Disk| model::options(Durability::Durable).vfs(disk.name()).open("/disk/store.db").unwrap();
    let append = |store: &Store| store.append("list", "a", Expected::Any, [NewEvent::new("Noted", &1).unwrap()]);
    append(&open(&disk)).unwrap();
    let before = disk.files();
    let mut open_and_there = 0;
    for sticky in [false, true] {
        for at in 0.. {
            disk.load(&before);
            let store = open(&disk);
            disk.fail(Fault { at, sticky, full: false });
            let done = append(&store);
            copy.load(&disk.files());
            let (calls, _) = disk.heal();
            let is_there = open(&copy).last_position().unwrap() == 2;
            match done {
                Ok(_) => assert!(is_there, "acknowledged, and gone: {at}"),
                Err(error) if error.kind() == ErrorKind::OutcomeUnknown => open_and_there += u32::from(is_there),
                Err(error) => assert!(!is_there, "failed, and there all the same: {at}, {error:?}"),
            }
            if at >= calls {
                break;
            }
        }
    }
    assert!(open_and_there > 0, "no failure came after the commit was written");
}

#[test]
fn events_tables_and_checkpoint_are_all_or_nothing() {
    let outcome = effects::run().expect_clean();
    assert!(outcome.counted("calls") > 100, "the workload is too small");
}

/// A real file system that is full, and then is not.
#[test]
fn a_full_file_system_takes_nothing_partial_and_works_on_once_there_is_space() {
    let Some(mounted) = Mounted::new("size=1m") else { return };
    let path = mounted.0.path().join("store.db");
    for durability in [Durability::Durable, Durability::Fast] {
        let _ = std::fs::remove_file(&path);
        let store = model::options(durability).open(&path).unwrap();
        let ballast = mounted.0.path().join("ballast");
        std::fs::write(&ballast, vec![0; 300 << 10]).unwrap();
        let (mut planner, mut world, mut refused) = (Planner::new(Random::new(seed())), World::default(), 0);
        while refused < 5 {
            for step in planner.plan(&world) {
                match model::perform(&store, &step) {
                    Ok(()) => world.apply(&step),
                    Err(error) => {
                        assert!(matches!(error.kind(), ErrorKind::DiskFull | ErrorKind::Io), "{error:?}");
                        refused += 1;
                    }
                }
            }
            assert_eq!(model::rows(&store).unwrap(), world.rows, "reads go on, and see nothing partial");
        }
        std::fs::remove_file(&ballast).unwrap();
        for step in planner.plan(&world) {
            model::perform(&store, &step).unwrap();
            world.apply(&step);
        }
        assert_eq!(model::difference(&store, &world), None);
        drop(store);
        assert_eq!(model::difference(&Store::open(&path).unwrap(), &world), None);
    }
}

/// The store has filled its disk. A purge makes room, although it needs some itself.
#[test]
fn a_purge_makes_room_on_a_full_disk() {
    let Some(mounted) = Mounted::new("size=8m") else { return };
    let path = mounted.0.path().join("store.db");
    let open = || Options::new().durability(Durability::Fast).wal_limit(1 << 20).reserve(true).open(&path).unwrap();
    assert!(open().options().get_reserve() && !Options::new().get_reserve());
    let store = open();
    assert_eq!(std::fs::metadata(mounted.0.path().join("store.db-reserve")).unwrap().len(), 2 << 20);
    let append = |id: u64| store.append("list", id, Expected::Any, [NewEvent::new("Noted", &"x".repeat(1_000)).unwrap()]);
    let mut appended = 0;
    for round in 0..3 {
        let before = appended;
        let full = loop {
            match append(appended % 3) {
                Ok(_) => appended += 1,
                Err(error) => break error,
            }
        };
        assert_eq!(full.kind(), ErrorKind::DiskFull, "{full:?}");
        assert!(appended - before > 500, "round {round}: only {before} to {appended}");
        if round > 0 {
            // The reserve is used up. It is made again when a store is opened and there is space for it.
            break;
        }
        let everything = Purge::created_before(chrono::Utc::now() + chrono::TimeDelta::days(1)).even_if_replay_breaks();
        let report = store.maintenance().purge(everything).unwrap();
        assert_eq!((report.events_removed, report.aggregates_purged, report.finished), (appended, 3, true));
        assert_eq!(store.count(foldlog::Query::new()).unwrap(), 0);
        assert!(store.maintenance().compact(|_| Continue(())).unwrap().finished);
    }
    assert!(store.maintenance().verify(|_| Continue(())).unwrap().is_clean());
}

/// A small file system of its own, for as long as it lives.
struct Mounted(tempfile::TempDir);

impl Mounted {
    fn new(options: &str) -> Option<Mounted> {
        let directory = tempfile::tempdir().unwrap();
        let mount = Command::new("mount").args(["-t", "tmpfs", "-o", options, "tmpfs"]).arg(directory.path()).output();
        if mount.is_ok_and(|output| output.status.success()) {
            return Some(Mounted(directory));
        }
        eprintln!("SKIPPED: no file system could be mounted; run as root to test a full one");
        None
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        unmount(self.0.path());
    }
}

fn unmount(path: &Path) {
    let _ = Command::new("umount").arg("--lazy").arg(path).status();
}
