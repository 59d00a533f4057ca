//! Memory, and bytes of file for each event.

use std::path::Path;

use foldlog::{Durability, Query};

use crate::support::domain::noted;
use crate::support::floor::{Entry, Floor, Indexes};
use crate::support::table::Table;
use crate::support::{Order, fill_floor_interleaved, fill_interleaved, fill_one, options, order_id, pair};

pub fn size(directory: &Path, events: u64, lines: &mut Table) {
    let path = directory.join("one.db");
    let before = peak_bytes();
    let store = options(Durability::Fast).open(&path).unwrap();
    fill_one(&store, &order_id(0), 0, events);
    lines.value(format!("memory grown by an import of {events} events"), grown(before), "MB", 16.0);
    drop(store);
    let store = options(Durability::Fast).open(&path).unwrap();
    let before = peak_bytes();
    assert_eq!(store.read(Query::new()).map(Result::unwrap).count() as u64, events);
    lines.value(format!("memory grown by reading {events} events"), grown(before), "MB", 16.0);
    let before = peak_bytes();
    assert_eq!(store.aggregates::<Order>().without_snapshots().replay(order_id(0)).unwrap().version, events);
    lines.value(format!("memory grown by replaying {events} events"), grown(before), "MB", 16.0);
    drop(store);
    let floor_path = directory.join("one-floor.db");
    let floor = Floor::create(&floor_path, "NORMAL", Indexes::default());
    floor.append(&order_id(0), 0, (0..events).map(Entry::order)).unwrap();
    drop(floor);
    // What format 4 needed. In a small file the pages are emptier.
    let most = |most| (events >= 1_000_000).then_some(most);
    bytes_per_event(lines, "one aggregate", &path, &floor_path, events, most(306.2));

    let (store, floor) = pair(directory, "interleaved", Durability::Fast, Indexes::default());
    let lengths = vec![events / 2 / 1_000; 1_000];
    fill_interleaved(&store, &lengths);
    fill_floor_interleaved(&floor, &lengths);
    drop((store, floor));
    let (path, floor_path) = (directory.join("interleaved.db"), directory.join("interleaved-floor.db"));
    bytes_per_event(lines, "1,000 interleaved", &path, &floor_path, events / 2, most(320.9));
}

/// Sizes of files that nobody has open.
pub fn bytes_per_event(lines: &mut Table, what: &str, ours: &Path, floor: &Path, events: u64, most: Option<f64>) {
    let each = |path: &Path| std::fs::metadata(path).unwrap().len() as f64 / events as f64;
    let json: usize = (0..1_000).map(|n| Entry::order(n).data.len() + serde_json::to_string(&noted(n)).unwrap().len()).sum();
    let what = format!("bytes of file for an event of {:.0} B JSON, {what}", json as f64 / 1_000.0);
    let line = lines.beside(what, (each(ours), each(floor)), "B");
    if let Some(most) = most {
        line.at_most(most);
    }
}

fn grown(before: u64) -> f64 {
    peak_bytes().saturating_sub(before) as f64 / 1e6
}

/// The most memory that the process has had, where the system tells it.
fn peak_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap_or("VmHWM: 0 kB");
    line.split_whitespace().nth(1).and_then(|number| number.parse::<u64>().ok()).unwrap_or(0) * 1_024
}
