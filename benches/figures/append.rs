//! Appends: of one event and of batches, with callers' ids, with tags; purging.

use std::path::Path;

use foldlog::{Aggregates, Durability, Expected, Filter, Json, NewEvent, Purge, Query, Store};
use uuid::Uuid;

use crate::support::floor::{Entry, Floor, Indexes};
use crate::support::table::Table;
use crate::support::turns::{Appender, Cost, appends};
use crate::support::{
    ORDER, Order, Random, fill_floor_interleaved, fill_interleaved, in_turn, new_event, order_id, pair, tagged_event, timed,
};

const MODES: [(Durability, &str); 2] = [(Durability::Durable, "durable"), (Durability::Fast, "fast")];

/// Orders that are appended to in turn or at random, and how many events each has.
pub struct Orders {
    lengths: Vec<u64>,
    turn: usize,
    random: Option<Random>,
    name: fn(u64) -> String,
}

impl Orders {
    pub fn in_turn(lengths: Vec<u64>) -> Orders {
        Orders { lengths, turn: 0, random: None, name: order_id }
    }

    pub fn at_random(lengths: Vec<u64>, name: fn(u64) -> String) -> Orders {
        Orders { lengths, turn: 0, random: Some(Random(11)), name }
    }

    /// The next order, and its version before `events` more.
    pub fn next(&mut self, events: u64) -> (String, u64) {
        self.turn = match &mut self.random {
            Some(random) => random.below(self.lengths.len() as u64) as usize,
            None => (self.turn + 1) % self.lengths.len(),
        };
        let length = &mut self.lengths[self.turn];
        *length += events;
        ((self.name)(self.turn as u64), *length - events)
    }

    /// How many events each has now.
    pub fn into_lengths(self) -> Vec<u64> {
        self.lengths
    }
}

/// Appends of `count` events, each to the next order.
pub fn appender<'a>(
    store: &'a Store,
    mut orders: Orders,
    count: u64,
    mut event: impl FnMut(u64) -> NewEvent + 'a,
) -> Appender<'a> {
    Appender::new(store.path().unwrap(), move || {
        let (order, version) = orders.next(count);
        store.append(ORDER, &order, version, (version..version + count).map(&mut event)).unwrap();
    })
}

/// The same for the floor.
pub fn floor_appender<'a>(
    floor: &'a Floor,
    mut orders: Orders,
    count: u64,
    mut entry: impl FnMut(u64) -> Entry + 'a,
) -> Appender<'a> {
    Appender::new(Path::new(floor.connection.path().unwrap()), move || {
        let (order, version) = orders.next(count);
        floor.append(&order, version, (version..version + count).map(&mut entry)).unwrap();
    })
}

/// The median for each event, with what each append writes.
pub fn line(lines: &mut Table, what: String, count: u64, [ours, floor]: [Cost; 2], most: Option<f64>) {
    let per_event = (ours.median / count as f64, floor.median / count as f64);
    let line = lines.beside(what, per_event, "µs").wal(ours.wal_bytes(), floor.wal_bytes());
    if let Some(most) = most {
        line.at_most_times(most);
    }
}

/// Frames of the write-ahead log for each append.
fn frames(lines: &mut Table, what: &str, [ours, floor]: [Cost; 2]) {
    let median = (ours.median_frames, floor.median_frames);
    lines.beside(format!("{what}: pages written to the log"), median, "").at_most(3.0);
    let mean = (ours.mean_frames, floor.mean_frames);
    lines.beside(format!("{what}: pages written to the log, mean"), mean, "").at_most_times(1.5);
}

pub fn append(directory: &Path, _: u64, lines: &mut Table) {
    for (durability, mode) in MODES {
        let (store, floor) = pair(directory, &format!("one-{mode}"), durability, Indexes::default());
        let orders = || Orders::in_turn(vec![0; 50]);
        let ours = appender(&store, orders(), 1, new_event);
        let costs = appends(100, 5_000, 10, [ours, floor_appender(&floor, orders(), 1, Entry::order)]);
        let what = format!("append 1, {mode}, 50 aggregates");
        line(lines, what.clone(), 1, costs, Some(1.25));
        lines.beside(format!("{what}, mean"), (costs[0].mean, costs[1].mean), "µs");
        frames(lines, &what, costs);
        for (count, appended) in [(100, 300), (1_000, 40)] {
            let (store, floor) = pair(directory, &format!("{count}-{mode}"), durability, Indexes::default());
            let ours = appender(&store, orders(), count, new_event);
            let costs = appends(50, appended, 10, [ours, floor_appender(&floor, orders(), count, Entry::order)]);
            line(lines, format!("append {count}, {mode}, per event"), count, costs, Some(1.4));
        }
        with_snapshots(directory, durability, mode, lines);
    }
    one_of_a_thousand(directory, lines);
    after_a_large_one(directory, lines);
}

/// Appends of 100 events, each of which makes a snapshot by the default policy.
fn with_snapshots(directory: &Path, durability: Durability, mode: &str, lines: &mut Table) {
    let (_, floor) = pair(directory, &format!("snapshots-{mode}"), durability, Indexes::default());
    let path = directory.join(format!("default-{mode}.db"));
    let store = foldlog::Options::new().durability(durability).open(&path).unwrap();
    let (handle, mut ours_at): (Aggregates<Order>, _) = (store.aggregates(), Orders::in_turn(vec![0; 50]));
    let ours = Appender::new(&path, || {
        let (order, version) = ours_at.next(100);
        handle.append_events(&order, version, (version..version + 100).map(new_event)).unwrap();
    });
    let mut floor_at = Orders::in_turn(vec![0; 50]);
    let theirs = Appender::new(Path::new(floor.connection.path().unwrap()), || {
        let (order, version) = floor_at.next(100);
        floor.transaction(|| {
            floor.append_within(ORDER, &order, version, (version..version + 100).map(Entry::order)).unwrap();
            floor.snapshot_within(&order);
        });
    });
    let costs = appends(50, 300, 10, [ours, theirs]);
    assert_eq!(handle.latest_snapshot(order_id(0)).unwrap().map(|snapshot| snapshot.version.get()), Some(700));
    line(lines, format!("append 100, {mode}, with default snapshots, per event"), 100, costs, None);
}

fn one_of_a_thousand(directory: &Path, lines: &mut Table) {
    let (store, floor) = pair(directory, "thousand", Durability::Fast, Indexes::default());
    let lengths = vec![100; 1_000];
    fill_interleaved(&store, &lengths);
    fill_floor_interleaved(&floor, &lengths);
    let orders = || Orders::at_random(lengths.clone(), order_id);
    let ours = appender(&store, orders(), 1, new_event);
    let costs = appends(100, 3_000, 10, [ours, floor_appender(&floor, orders(), 1, Entry::order)]);
    let what = "append 1, fast, a random one of 1,000 aggregates";
    line(lines, what.to_owned(), 1, costs, Some(1.25));
    lines.beside(format!("{what}, mean"), (costs[0].mean, costs[1].mean), "µs");
    frames(lines, what, costs);
}

/// Small appends, each behind an event of 10 MB.
fn after_a_large_one(directory: &Path, lines: &mut Table) {
    let (store, floor) = pair(directory, "large", Durability::Fast, Indexes::default());
    let text = format!("\"{}\"", "x".repeat(10_000_000));
    let (mut ours_at, mut floor_at) = (0, 0);
    let times = in_turn(
        11,
        || {
            let large = NewEvent::with_json("Placed", Json::from_text(text.clone()).unwrap());
            store.append(ORDER, "large", ours_at, [large]).unwrap();
            ours_at += 2;
            timed(|| store.append(ORDER, "large", ours_at - 1, [new_event(1)]).unwrap())
        },
        || {
            let large = Entry { data: text.clone(), ..Entry::order(0) };
            floor.append("large", floor_at, [large]).unwrap();
            floor_at += 2;
            timed(|| floor.append("large", floor_at - 1, [Entry::order(1)]).unwrap())
        },
    );
    lines.beside("append 1, fast, after an event of 10 MB", times, "µs");
}

/// Appends whose events carry ids of the caller's, rising or random, to a file that holds 100,000 of them.
pub fn ids(directory: &Path, events: u64, lines: &mut Table) {
    let indexes = Indexes { ids: true, ..Indexes::default() };
    for kind in ["rising", "random"] {
        let id = if kind == "rising" { Uuid::now_v7 } else { Uuid::new_v4 };
        let (store, floor) = pair(directory, kind, Durability::Fast, indexes);
        let event = |n| new_event(n).id(id());
        let entry = |n| Entry { id: Some(id()), ..Entry::order(n) };
        let filled = events / 10 / 1_000;
        for n in 0..1_000 {
            store.append(ORDER, order_id(n), Expected::Any, (0..filled).map(event)).unwrap();
            floor.append(&order_id(n), 0, (0..filled).map(entry)).unwrap();
        }
        let (warm_up, single) = (100, 2_000);
        let orders = |appended| Orders::in_turn(vec![filled + appended / 50; 50]);
        let ours = appender(&store, orders(0), 1, event);
        let costs = appends(warm_up, single, 10, [ours, floor_appender(&floor, orders(0), 1, entry)]);
        line(lines, format!("append 1, fast, the caller's id, {kind}"), 1, costs, Some(1.3));
        let orders = || orders((warm_up + single) as u64);
        let ours = appender(&store, orders(), 100, event);
        let costs = appends(50, 200, 10, [ours, floor_appender(&floor, orders(), 100, entry)]);
        line(lines, format!("append 100, fast, the caller's ids, {kind}, per event"), 100, costs, Some(1.3));
        repeats(&store, &floor, id(), lines, kind);
    }
}

/// An append that is in the file already, found by its id.
fn repeats(store: &Store, floor: &Floor, id: Uuid, lines: &mut Table, kind: &str) {
    let event = || [new_event(0).id(id)];
    let entry = || [Entry { id: Some(id), ..Entry::order(0) }];
    let first = store.append(ORDER, "repeated", Expected::Any, event()).unwrap();
    let position = floor.append("repeated", 0, entry()).unwrap();
    let times = in_turn(
        51,
        || {
            timed(|| {
                (0..20).for_each(|_| assert_eq!(store.append(ORDER, "repeated", 0, event()).unwrap().version, first.version))
            }) / 20
        },
        || timed(|| (0..20).for_each(|_| assert_eq!(floor.append("repeated", 0, entry()), Ok(position)))) / 20,
    );
    lines.beside(format!("append that is repeated, id {kind}"), times, "µs");
}

/// Events with two tags each: appending them, reading along a tag, and purging them again.
pub fn tags(directory: &Path, _: u64, lines: &mut Table) {
    let indexes = Indexes { tags: true, ..Indexes::default() };
    for (count, warm_up, appended) in [(1, 100, 2_000), (100, 50, 150)] {
        let (store, floor) = pair(directory, &format!("tagged-{count}"), Durability::Fast, indexes);
        let orders = || Orders::in_turn(vec![0; 50]);
        let ours = appender(&store, orders(), count, tagged_event);
        let costs = appends(warm_up, appended, 10, [ours, floor_appender(&floor, orders(), count, Entry::tagged)]);
        line(lines, format!("append {count}, fast, two tags, per event"), count, costs, Some(1.3));
        if count > 1 {
            along_a_tag(&store, &floor, lines);
            purge(&store, &floor, lines);
        }
    }
}

fn along_a_tag(store: &Store, floor: &Floor, lines: &mut Table) {
    let found = store.read(Query::matching(Filter::new().tag("branch:7"))).count().min(1_000);
    let query = || Query::matching(Filter::new().tag("branch:7")).limit(1_000);
    let times = in_turn(
        31,
        || timed(|| assert_eq!(store.read(query()).map(Result::unwrap).count(), found)),
        || timed(|| assert_eq!(floor.of_tag("branch:7"), found)),
    );
    lines.beside(format!("read {found} whole events by tag"), times, "µs");
}

fn purge(store: &Store, floor: &Floor, lines: &mut Table) {
    let (mut ours, mut theirs) = (0..50, 0..50);
    let mut events = 0;
    let times = in_turn(
        41,
        || {
            let order = order_id(ours.next().unwrap());
            timed(|| {
                let all = Purge::created_before(chrono::Utc::now() + chrono::TimeDelta::hours(1)).even_if_replay_breaks();
                events = store.maintenance().purge(all.aggregate(ORDER, order)).unwrap().events_removed;
            })
        },
        || {
            let order = order_id(theirs.next().unwrap());
            timed(|| assert!(floor.purge(&order) > 200))
        },
    );
    assert!(events > 200);
    lines.ratio(format!("purge {events} events with two tags"), times, 1.5);
}
