//! Several threads that append at the same time, against one alone.

use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use foldlog::{Durability, Store};

use crate::support::table::Table;
use crate::support::{ORDER, median, new_event, options, timed};

const THREADS: u64 = 16;
const ROUNDS: usize = 5;

pub fn threads(directory: &Path, _: u64, lines: &mut Table) {
    for (durability, mode, appends) in [(Durability::Durable, "durable", 4_000), (Durability::Fast, "fast", 16_000)] {
        let store = options(durability).open(directory.join(format!("{mode}.db"))).unwrap();
        let mut waits = Vec::new();
        let (mut together, mut alone) = (Vec::new(), Vec::new());
        for round in 0..ROUNDS {
            let run = |threads: u64, appends: u64| {
                let mut all = Vec::new();
                let took = timed(|| all = append(&store, round, threads, appends / threads));
                (appends as f64 / took.as_secs_f64(), all)
            };
            alone.push(run(1, appends / 4).0);
            let (rate, times) = run(THREADS, appends);
            together.push(rate);
            waits.extend(times);
        }
        let rates = (median(&mut together), median(&mut alone));
        let least = if durability == Durability::Durable { 3.0 } else { 1.0 };
        lines.share(format!("appends a second, {mode}, {THREADS} threads against one"), rates, least);
        waits.sort_unstable();
        let slowest = waits[waits.len() * 999 / 1_000].as_secs_f64() * 1e3;
        lines.value(format!("append 1, {mode}, {THREADS} threads: 99.9 % are done within"), slowest, "ms", 5.0);
    }
}

/// Each thread appends `each` events, one at a time, to an aggregate of its own. Returns how long each append took.
fn append(store: &Store, round: usize, threads: u64, each: u64) -> Vec<Duration> {
    let of_thread = |thread: u64| -> Vec<Duration> {
        let order = format!("order-{round}-{threads}-{thread}");
        let append = |version| {
            let began = Instant::now();
            store.append(ORDER, &order, version, [new_event(version)]).unwrap();
            began.elapsed()
        };
        (0..each).map(append).collect()
    };
    thread::scope(|scope| {
        let threads: Vec<_> = (0..threads).map(|thread| scope.spawn(move || of_thread(thread))).collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    })
}
