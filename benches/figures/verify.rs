//! Verification of a large file, and which of its steps takes how long.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::Path;
use std::time::{Duration, Instant};

use foldlog::{Durability, Store};

use crate::support::table::Table;
use crate::support::{fill_interleaved, median, options, timed};

/// Microseconds for each event: 500,000 events a second.
const MOST: f64 = 2.0;

pub fn verify(directory: &Path, events: u64, lines: &mut Table) {
    let path = directory.join("verify.db");
    fill_interleaved(&options(Durability::Fast).open(&path).unwrap(), &vec![events / 1_000; 1_000]);
    let store = Store::open(&path).unwrap();
    let mut steps: BTreeMap<String, Duration> = BTreeMap::new();
    let mut verified = || {
        let mut before = Instant::now();
        let took = timed(|| {
            let report = store.maintenance().verify(|reached| {
                *steps.entry(format!("{:?}", reached.step)).or_default() += before.elapsed();
                before = Instant::now();
                ControlFlow::Continue(())
            });
            assert!(report.is_ok_and(|report| report.is_clean() && report.events == events));
        });
        took.as_secs_f64() * 1e6 / events as f64
    };
    let mut times: Vec<f64> = (0..5).map(|_| verified()).collect();
    lines.value(format!("verify a file of {events} events, per event"), median(&mut times), "µs", MOST);
    for (step, took) in steps {
        let each = took.as_secs_f64() * 1e6 / events as f64 / times.len() as f64;
        if each > 0.01 {
            eprintln!("  {step}: {each:.2} µs per event");
        }
    }
}
