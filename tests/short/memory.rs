//! Memory that does not grow with the log: importing, reading and replaying many events.
//!
//! In a process of its own, for the figure is the process's. It takes 200,000 events;
//! `FOLDLOG_MEMORY_EVENTS=1000000 cargo test --release --test short memory -- --nocapture` takes more and prints the
//! figures.
use std::fs;

use foldlog::{Aggregate, Durability, Expected, Filter, NewEvent, Options, Query, SnapshotPolicy, Store};
use serde::{Deserialize, Serialize};
use serde_json::json;

const MOST_KB: u64 = 16 << 10;
const EVENTS_PER_COMMIT: u64 = 1_000;
/// Half of the events belong to one aggregate, the other half to this many.
const OTHER_AGGREGATES: u64 = 1_000;

#[derive(Default, Serialize, Deserialize)]
struct Account {
    deposits: u64,
    cents: u64,
}

#[derive(Serialize, Deserialize)]
enum AccountEvent {
    Deposited { cents: u64 },
}

impl Aggregate for Account {
    const TYPE: &'static str = "account";
    type Event = AccountEvent;

    fn apply(&mut self, AccountEvent::Deposited { cents }: AccountEvent) {
        self.deposits += 1;
        self.cents += cents;
    }
}

/// A line of the process's own status, in kilobytes.
fn status_kb(name: &str) -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("no {name}:\n{status}"));
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// The process before there was a store.
struct Baseline(u64);

impl Baseline {
    /// Runs `work` and panics if the process has been more than 16 MB larger than at first, in this part or an earlier
    /// one: what one part gives back to the allocator would otherwise hide what the next one takes.
    fn bounded<T>(&self, what: &str, work: impl FnOnce() -> T) -> T {
        let result = work();
        let most = status_kb("VmHWM:") - self.0;
        eprintln!("{what}: at most {most} kB above the {} kB at first, now {} kB", self.0, status_kb("VmRSS:"));
        assert!(most < MOST_KB, "after {what} the process has been {most} kB larger than at first");
        result
    }
}

fn event(n: u64) -> NewEvent {
    // About the size of the events in the file format's budget.
    let data = json!({"cents": n % 100, "note": "a payment of the synthetic sort, long enough to be like one", "n": n,
        "from": "DE00 0000 0000 0000 0000 00", "to": "FR00 0000 0000 0000 0000 0000 000"});
    NewEvent::new("Deposited", &data).unwrap()
}

fn import(store: &Store, events: u64) {
    let mut n = 0;
    while n < events {
        let one = (0..EVENTS_PER_COMMIT / 2).map(|i| event(n + i));
        let mut batch = foldlog::Batch::new().append("account", "large", n / 2, one);
        for i in EVENTS_PER_COMMIT / 2..EVENTS_PER_COMMIT {
            let id = format!("acc-{}", (n / 2 + i) * 7919 % OTHER_AGGREGATES);
            batch = batch.append("account", id, Expected::Any, [event(n + i)]);
        }
        store.commit(batch).unwrap();
        n += EVENTS_PER_COMMIT;
    }
}

#[test]
fn stays_below_16_mb() {
    crate::run_alone("memory::importing_reading_and_replaying");
}

#[test]
#[ignore = "run by the test above in a process of its own"]
fn importing_reading_and_replaying() {
    let events: u64 = std::env::var("FOLDLOG_MEMORY_EVENTS").map_or(200_000, |events| events.parse().unwrap());
    assert_eq!(events % EVENTS_PER_COMMIT, 0, "whole commits only");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("large.db");
    let options = || Options::new().durability(Durability::Fast).snapshots(SnapshotPolicy::manual());

    let baseline = Baseline(status_kb("VmRSS:"));
    baseline.bounded("import", || import(&options().open(&path).unwrap(), events));
    let store = baseline.bounded("open", || options().open(&path).unwrap());
    let size = store.file_statistics().unwrap().size_bytes;
    assert!(size > events * 100, "the file, {size} bytes, is to be larger than what is allowed");
    for (what, query) in [("read", Query::new()), ("read, newest first", Query::new().newest_first())] {
        assert_eq!(baseline.bounded(what, || store.read(query).map(Result::unwrap).count() as u64), events);
    }
    let query = Query::aggregate("account", "large").filter(Filter::new().event_type("Deposited"));
    assert_eq!(baseline.bounded("read one aggregate", || store.read(query).map(Result::unwrap).count() as u64), events / 2);

    let replayed = baseline.bounded("replay", || store.aggregates::<Account>().replay("large").unwrap());
    assert_eq!((replayed.state.deposits, replayed.from_snapshot), (events / 2, None));
    assert!(replayed.state.cents > 0);
    let rebuilt = baseline.bounded("rebuild", || {
        store
            .aggregates::<Account>()
            .replay_each()
            .run(|_, _| Ok::<(), String>(()), |_| std::ops::ControlFlow::Continue(()))
            .unwrap()
    });
    assert_eq!(rebuilt.succeeded, OTHER_AGGREGATES + 1);
}
