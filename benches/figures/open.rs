//! Opening, and what the check of the files costs: fixed bounds, no floor.

use std::fs::File;
use std::path::Path;

use foldlog::{Durability, Options, Store};

use crate::support::table::Table;
use crate::support::{median, new_event, options, timed};

const ROUNDS: usize = 501;

fn micros(mut work: impl FnMut()) -> f64 {
    let mut times: Vec<f64> = (0..ROUNDS).map(|_| timed(&mut work).as_secs_f64() * 1e6).collect();
    median(&mut times)
}

pub fn open(directory: &Path, _: u64, lines: &mut Table) {
    lines.value("open in memory, close", micros(|| drop(Store::in_memory().unwrap())), "µs", 150.0);
    let first = |n: u64| {
        let store = Options::new().in_memory().unwrap();
        store.append("order", "o", 0, [new_event(n)]).unwrap();
    };
    lines.note("open in memory, append 1, close", micros(|| first(0)), "µs");

    // The calls of src/sqlite/connection/guard.rs for an append: two for the lock, one for each file.
    let path = directory.join("checked.db");
    let store = options(Durability::Fast).open(&path).unwrap();
    store.append("order", "o", 0, [new_event(0)]).unwrap();
    let log = File::open(directory.join("checked.db-wal")).unwrap();
    let calls = || {
        log.try_lock().unwrap();
        std::fs::metadata(&path).unwrap();
        log.metadata().unwrap();
        log.unlock().unwrap();
    };
    // A hundred at once: a clock's own cost is not small beside them.
    let check = micros(|| (0..100).for_each(|_| calls())) / 100.0;
    lines.value("what the check of the files asks of the system, for an append", check, "µs", 2.0);
    let lock = || {
        log.try_lock().unwrap();
        log.unlock().unwrap();
    };
    let alone = |work: &dyn Fn()| micros(|| (0..100).for_each(|_| work())) / 100.0;
    lines.note("— of it: lock and unlock the log", alone(&lock), "µs");
    lines.note("— of it: look at the file's path", alone(&|| assert!(std::fs::metadata(&path).is_ok())), "µs");
    lines.note("— of it: look at the open log", alone(&|| assert!(log.metadata().is_ok())), "µs");
}
