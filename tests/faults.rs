//! A disk that fails, short form. The long form: `cargo test --release --test proof -- --long faults`.

#[path = "proof/effects.rs"]
mod effects;
#[path = "proof/faults.rs"]
mod faults;
mod support;

use std::path::Path;
use std::process::Command;

use foldlog::{Durability, ErrorKind, Store};
use support::model::{self, Planner, World};
use support::random::{Random, seed};

#[test]
fn an_error_at_any_call_is_typed_and_leaves_nothing() {
    let outcome = faults::run(23, seed()).expect_clean();
    assert!(outcome.counted("calls of the workloads") >= 8 * 300, "the workload is too small");
    assert!(outcome.counted("errors") > 100, "hardly anything failed");
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
