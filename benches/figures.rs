//! Every figure that the project promises, measured in one run, each beside its floor, printed as one table.
//!
//! `cargo bench --bench figures` takes about two minutes; `-- --quick` uses smaller files; `-- --only replay` measures one
//! part; `-- --json` prints one object, `-- --markdown` a table for a document; `-- --check` fails if a bound is broken.

mod support;

use std::path::Path;
use std::time::Instant;

use foldlog::{Durability, Purge, Query, SnapshotReason, Store};
use support::floor::Floor;
use support::table::Table;
use support::{Order, event, fill_interleaved, fill_one, in_turn, median, metadata, new_event, options, order_id, tags, timed};

/// Measures something: where files may lie, how many events a large one has, where the figures go.
type Part = fn(&Path, u64, &mut Table);

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let has = |name: &str| arguments.iter().any(|argument| argument == name);
    // `cargo test --benches` runs this too; it measures nothing then.
    if has("--test") {
        return;
    }
    let events = if has("--quick") { 100_000 } else { 1_000_000 };
    let directory = tempfile::tempdir().unwrap();
    let only = arguments.iter().skip_while(|argument| *argument != "--only").nth(1).map(String::as_str);
    let mut lines = Table::default();
    let parts: [(&str, Part); 4] = [("size", size), ("append", append), ("replay", replay), ("tags", tagged)];
    for (name, part) in parts {
        if only.is_none_or(|only| only == name) {
            eprintln!("measuring {name} …");
            part(directory.path(), events, &mut lines);
        }
    }
    lines.print_and_check(&arguments);
}

/// Appends of 1, 10, 100 and 1,000 events per transaction to 50 small orders, in turn with the floor's.
fn append(directory: &Path, _: u64, lines: &mut Table) {
    for (durability, synchronous, name) in [(Durability::Durable, "FULL", "durable"), (Durability::Fast, "NORMAL", "fast")] {
        for (count, rounds, repeats) in [(1, 41, 50), (10, 31, 20), (100, 31, 10), (1_000, 21, 2)] {
            let store = options(durability).open(directory.join(format!("ours-{name}-{count}.db"))).unwrap();
            let floor = Floor::create(&directory.join(format!("floor-{name}-{count}.db")), synchronous);
            let orders = store.aggregates::<Order>();
            let ids: Vec<String> = (0..50).map(order_id).collect();
            let (mut ours_at, mut floor_at) = (vec![0u64; 50], vec![0u64; 50]);
            let (mut ours_turn, mut floor_turn) = (0, 0);
            let measured = in_turn(
                rounds,
                || {
                    timed(|| {
                        for _ in 0..repeats {
                            ours_turn = (ours_turn + 1) % 50;
                            let at = &mut ours_at[ours_turn];
                            let events = (*at..*at + count)
                                .map(|n| foldlog::NewEvent::of(&event(n)).unwrap().metadata(&metadata(n)).unwrap());
                            orders.append_events(&ids[ours_turn], *at, events).unwrap();
                            *at += count;
                        }
                    }) / repeats
                },
                || {
                    timed(|| {
                        for _ in 0..repeats {
                            floor_turn = (floor_turn + 1) % 50;
                            let at = &mut floor_at[floor_turn];
                            floor.append(&ids[floor_turn], *at, count);
                            *at += count;
                        }
                    }) / repeats
                },
            );
            let most = match (count, name) {
                (1, "durable") => 1.15,
                (1, _) => 1.3,
                _ => 1.4,
            };
            let per_event = (measured.0 / count as f64, measured.1 / count as f64);
            lines.ratio(format!("append, {name}, {count} per transaction, per event"), per_event, most);
        }
    }
}

/// Lengths of the orders of the large file: one of 100,000, ten of 5,000, a hundred of 1,000, the rest alike.
fn lengths(events: u64) -> Vec<u64> {
    let mut lengths = vec![events / 10];
    lengths.extend([5_000; 10]);
    lengths.extend([1_000; 100].iter().take(if events >= 1_000_000 { 100 } else { 10 }));
    lengths.extend([100; 100]);
    let left = events - lengths.iter().sum::<u64>();
    let others = if events >= 1_000_000 { 789 } else { 79 };
    lengths.extend(vec![left / others; others as usize]);
    lengths
}

fn replay(directory: &Path, events: u64, lines: &mut Table) {
    let path = directory.join("interleaved.db");
    let store = options(Durability::Fast).open(&path).unwrap();
    let started = Instant::now();
    fill_interleaved(&store, &lengths(events));
    eprintln!("made {events} interleaved events in {:.1} s", started.elapsed().as_secs_f64());
    drop(store);
    let store = options(Durability::Fast).open(&path).unwrap();
    let floor = Floor::open(&path);
    let orders = store.aggregates::<Order>().without_snapshots();

    let long = events / 10;
    for (length, which) in [(100, 111u64), (1_000, 11), (5_000, 1), (long, 0)] {
        let which = if events < 1_000_000 && length == 100 { 21 } else { which };
        let alone_path = directory.join(format!("alone-{length}.db"));
        let alone_store = options(Durability::Fast).open(&alone_path).unwrap();
        fill_one(&alone_store, &order_id(0), 0, length);
        drop(alone_store);
        let alone_store = options(Durability::Fast).open(&alone_path).unwrap();
        let alone = alone_store.aggregates::<Order>().without_snapshots();
        let alone_floor = Floor::open(&alone_path);
        let repeats = (20_000 / length).clamp(1, 100) as u32;
        let rounds = if length > 10_000 { 11 } else { 31 };
        let alone_times = in_turn(
            rounds,
            || timed(|| (0..repeats).for_each(|_| assert_eq!(alone.replay(&order_id(0)).unwrap().version, length))) / repeats,
            || timed(|| (0..repeats).for_each(|_| assert_eq!(alone_floor.replay(&order_id(0)).events, length))) / repeats,
        );
        let most = if length >= 1_000 { 1.25 } else { 1.5 };
        lines.ratio(format!("full replay of {length} events, alone in its file"), alone_times, most);
        let id = order_id(which);
        let times = in_turn(
            rounds,
            || timed(|| (0..repeats).for_each(|_| assert_eq!(orders.replay(&id).unwrap().version, length))) / repeats,
            || timed(|| (0..repeats).for_each(|_| assert_eq!(floor.replay(&id).events, length))) / repeats,
        );
        lines.ratio(format!("full replay of {length} events among {events} interleaved"), times, most);
        lines.ratio(format!("… against alone in its file ({length} events)"), (times.0, alone_times.0), 1.5);
        if length == 5_000 {
            lines.value("full replay of 5,000 events (the original: 2,500 ms)", alone_times.0 / 1_000.0, "ms", 5.0);
        }
    }
    snapshots(directory, events, lines);
    let mut opened: Vec<f64> =
        (0..31).map(|_| timed(|| Store::open(&path).unwrap().last_position().unwrap()).as_secs_f64() * 1e3).collect();
    lines.value(format!("open a file of {events} events, first query included, warm"), median(&mut opened), "ms", 2.0);
    read(&store, &floor, events, lines);
}

/// Replay from a snapshot with 50 events after it, at several lengths of history.
fn snapshots(directory: &Path, events: u64, lines: &mut Table) {
    let mut by_length = Vec::new();
    let mut lengths = vec![100, 5_000, 100_000, events];
    lengths.dedup();
    for length in lengths {
        let path = directory.join(format!("snapshot-{length}.db"));
        let store = options(Durability::Fast).open(&path).unwrap();
        fill_one(&store, &order_id(0), 0, length - 50);
        let orders = store.aggregates::<Order>();
        orders.create_snapshot(&order_id(0), SnapshotReason::Manual).unwrap();
        fill_one(&store, &order_id(0), length - 50, 50);
        let floor = Floor::open(&path);
        let times = in_turn(
            51,
            || timed(|| (0..100).for_each(|_| assert_eq!(orders.replay(&order_id(0)).unwrap().events_folded, 50))) / 100,
            || timed(|| (0..100).for_each(|_| assert_eq!(floor.replay_from_snapshot(&order_id(0)).events, length))) / 100,
        );
        lines.ratio(format!("replay from a snapshot, 50 events after it, history of {length}"), times, 1.3);
        by_length.push((length, store));
    }
    // The comparison between lengths takes turns too.
    let (_, shortest) = &by_length[0];
    let shortest = shortest.aggregates::<Order>();
    for (length, store) in &by_length[1..] {
        let orders = store.aggregates::<Order>();
        let times = in_turn(
            51,
            || timed(|| (0..100).for_each(|_| drop(orders.replay(&order_id(0)).unwrap()))) / 100,
            || timed(|| (0..100).for_each(|_| drop(shortest.replay(&order_id(0)).unwrap()))) / 100,
        );
        lines.ratio(format!("… history of {length} against history of 100"), times, 1.2);
    }
    let orders = by_length[1].1.aggregates::<Order>();
    let mut times: Vec<f64> = (0..1_001).map(|_| timed(|| orders.replay(&order_id(0)).unwrap()).as_secs_f64() * 1e3).collect();
    lines.value("replay of 5,000 events with a snapshot (the original: 5 ms)", median(&mut times), "ms", 0.1);
}

fn read(store: &Store, floor: &Floor, events: u64, lines: &mut Table) {
    let mut at = 0;
    let mut next = || {
        at = (at * 31 + 977) % (events - 1_000);
        at
    };
    let starts: Vec<u64> = (0..64).map(|_| next()).collect();
    let (mut ours_at, mut floor_at) = (0, 0);
    let times = in_turn(
        31,
        || {
            ours_at = (ours_at + 1) % 64;
            let query = Query::new().after_position(starts[ours_at]).limit(1_000);
            timed(|| assert_eq!(store.read(query).map(Result::unwrap).count(), 1_000))
        },
        || {
            floor_at = (floor_at + 1) % 64;
            timed(|| assert_eq!(floor.page(starts[floor_at] as i64, 1_000).len(), 1_000))
        },
    );
    lines.ratio("read 1,000 events by position, random place, whole events", times, 1.6);
}

/// Fifty small orders in turn, and how many events each has.
struct Turns {
    turn: usize,
    lengths: [u64; 50],
}

impl Turns {
    fn new() -> Turns {
        Turns { turn: 0, lengths: [0; 50] }
    }

    /// The next order, and its version before `events` more.
    fn next(&mut self, events: u64) -> (String, u64) {
        self.turn = (self.turn + 1) % 50;
        let length = &mut self.lengths[self.turn];
        *length += events;
        (order_id(self.turn as u64), *length - events)
    }
}

/// Events with two tags each: appending them, reading along a tag, and purging them again.
fn tagged(directory: &Path, _: u64, lines: &mut Table) {
    let event = |n: u64| tags(n).into_iter().fold(new_event(n), |event, tag| event.tag(tag));
    for (count, rounds, repeats) in [(1, 41, 50), (100, 15, 10)] {
        let store = options(Durability::Fast).open(directory.join(format!("ours-tagged-{count}.db"))).unwrap();
        let floor = Floor::create(&directory.join(format!("floor-tagged-{count}.db")), "NORMAL");
        let (mut ours_at, mut floor_at) = (Turns::new(), Turns::new());
        let mut ours = || {
            let (order, version) = ours_at.next(count);
            store.append("order", &order, version, (version..version + count).map(event)).unwrap();
        };
        let mut theirs = || {
            let (order, version) = floor_at.next(count);
            floor.append_tagged(&order, version, count);
        };
        let measured = in_turn(
            rounds,
            || timed(|| (0..repeats).for_each(|_| ours())) / repeats,
            || timed(|| (0..repeats).for_each(|_| theirs())) / repeats,
        );
        let per_event = (measured.0 / count as f64, measured.1 / count as f64);
        lines.ratio(format!("append with two tags, fast, {count} per transaction, per event"), per_event, 2.0);
        if count > 1 {
            along_a_tag(&store, &floor, lines);
            purge(&store, &floor, lines);
        }
    }
}

fn along_a_tag(store: &Store, floor: &Floor, lines: &mut Table) {
    let times = in_turn(
        31,
        || timed(|| assert_eq!(store.read(Query::new().tag("branch:7").limit(500)).map(Result::unwrap).count(), 500)),
        || timed(|| assert_eq!(floor.page_of_tag("branch:7", 0, 500).len(), 500)),
    );
    lines.ratio("read 500 events by tag, whole events", times, 1.6);
}

fn purge(store: &Store, floor: &Floor, lines: &mut Table) {
    let (mut ours, mut theirs) = (0..50, 0..50);
    let mut events = 0;
    let times = in_turn(
        21,
        || {
            let order = order_id(ours.next().unwrap());
            timed(|| {
                let all = Purge::created_before(chrono::Utc::now() + chrono::TimeDelta::hours(1)).even_if_replay_breaks();
                events = store.purge(all.aggregate("order", order)).unwrap().events_removed;
            })
        },
        || {
            let order = order_id(theirs.next().unwrap());
            timed(|| floor.purge(&order))
        },
    );
    assert!(events > 200);
    lines.ratio(format!("purge of {events} events with two tags"), times, 3.0);
}

/// Bytes per event and memory. The first part, while the process is small: what counts is how far its peak rises.
fn size(directory: &Path, events: u64, lines: &mut Table) {
    let path = directory.join("size.db");
    let mut json = 0;
    for n in 0..1_000 {
        json += serde_json::to_string(&serde_json::to_value(event(n)).unwrap().as_object().unwrap().values().next().unwrap())
            .unwrap()
            .len();
        json += serde_json::to_string(&metadata(n)).unwrap().len();
    }
    let before = peak_bytes();
    let store = options(Durability::Fast).open(&path).unwrap();
    fill_one(&store, &order_id(0), 0, events);
    lines.value(format!("memory grown by an import of {events} events"), grown(before, peak_bytes()), "MB", 16.0);
    drop(store);
    let store = options(Durability::Fast).open(&path).unwrap();
    let before = peak_bytes();
    assert_eq!(store.read(Query::new()).map(Result::unwrap).count() as u64, events);
    lines.value(format!("memory grown by reading {events} events"), grown(before, peak_bytes()), "MB", 16.0);
    let before = peak_bytes();
    assert_eq!(store.aggregates::<Order>().without_snapshots().replay(&order_id(0)).unwrap().version, events);
    lines.value(format!("memory grown by replaying {events} events"), grown(before, peak_bytes()), "MB", 16.0);
    drop(store);
    let orders: Vec<u64> = vec![events / 2 / 1_000; 1_000];
    let interleaved = directory.join("size-interleaved.db");
    let store = options(Durability::Fast).open(&interleaved).unwrap();
    fill_interleaved(&store, &orders);
    for (file, count, what) in [(&path, events, "one aggregate"), (&interleaved, orders.iter().sum(), "1,000 interleaved")] {
        drop(Store::open(file).unwrap());
        let store = Store::open(file).unwrap();
        let bytes = store.file_statistics().unwrap().size_bytes as f64 / count as f64;
        lines.value(format!("bytes of file per event of {:.0} B JSON, {what}", json as f64 / 1_000.0), bytes, "B", 330.0);
    }
}

fn grown(before: u64, after: u64) -> f64 {
    after.saturating_sub(before) as f64 / 1e6
}

/// The most memory that the process has had, where the system tells it.
fn peak_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap_or("VmHWM: 0 kB");
    line.split_whitespace().nth(1).and_then(|number| number.parse::<u64>().ok()).unwrap_or(0) * 1_024
}
