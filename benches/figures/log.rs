//! A large file of interleaved orders: full replay, opening, reading by position.

use std::path::Path;
use std::time::{Duration, Instant};

use foldlog::{Durability, Query, Store};

use crate::support::floor::{Floor, Indexes};
use crate::support::table::Table;
use crate::support::{
    Order, Random, fill_floor, fill_floor_interleaved, fill_interleaved, fill_one, in_turn, options, order_id, pair, timed,
};

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

/// A file that was filled and opened again, as both sides have it.
struct Files {
    store: Store,
    floor: Floor,
    events: u64,
}

impl Files {
    fn make(directory: &Path, name: &str, events: u64, fill: impl FnOnce(&Store, &Floor)) -> Files {
        let (store, floor) = pair(directory, name, Durability::Fast, Indexes::default());
        fill(&store, &floor);
        drop((store, floor));
        let store = options(Durability::Fast).open(directory.join(format!("{name}.db"))).unwrap();
        Files { store, floor: Floor::open(&directory.join(format!("{name}-floor.db")), "NORMAL"), events }
    }

    fn replay(&self, order: &str, length: u64) -> (f64, f64) {
        let orders = self.store.aggregates::<Order>().without_snapshots();
        let repeats = (20_000 / length).clamp(1, 100) as u32;
        in_turn(
            if length > 10_000 { 11 } else { 31 },
            || timed(|| (0..repeats).for_each(|_| assert_eq!(orders.replay(order).unwrap().version, length))) / repeats,
            || timed(|| (0..repeats).for_each(|_| assert_eq!(self.floor.replay(order).1, length))) / repeats,
        )
    }

    /// Reads events from each of these places, in turn; microseconds for each event.
    fn read(&self, starts: &[u64], limit: u64) -> (f64, f64) {
        let (mut ours_at, mut floor_at) = (0, 0);
        let times = in_turn(
            starts.len().max(7),
            || {
                ours_at = (ours_at + 1) % starts.len();
                let query = Query::new().after_position(starts[ours_at]).limit(limit);
                timed(|| assert_eq!(self.store.read(query).map(Result::unwrap).count() as u64, limit))
            },
            || {
                floor_at = (floor_at + 1) % starts.len();
                let mut found = 0;
                let took = timed(|| {
                    self.floor.read(starts[floor_at], limit, |row| {
                        std::hint::black_box(row);
                        found += 1;
                    })
                });
                assert_eq!(found, limit);
                took
            },
        );
        (times.0 / limit as f64, times.1 / limit as f64)
    }
}

pub fn log(directory: &Path, events: u64, lines: &mut Table) {
    let started = Instant::now();
    let lengths = lengths(events);
    let many = Files::make(directory, "interleaved", lengths.iter().sum(), |store, floor| {
        fill_interleaved(store, &lengths);
        fill_floor_interleaved(floor, &lengths);
    });
    eprintln!("made {events} interleaved events twice in {:.1} s", started.elapsed().as_secs_f64());

    for length in [100, 1_000, 5_000, events / 10] {
        let order = order_id(0);
        let alone = Files::make(directory, &format!("alone-{length}"), length, |store, floor| {
            fill_one(store, &order, 0, length);
            fill_floor(floor, &order, 0, length);
        });
        let alone_times = alone.replay(&order, length);
        let most = if length >= 1_000 { 1.25 } else { 1.5 };
        lines.ratio(format!("full replay of {length} events, alone in its file"), alone_times, most);
        let which = lengths.iter().rposition(|other| *other == length).unwrap();
        let times = many.replay(&order_id(which as u64), length);
        lines.ratio(format!("full replay of {length} events among {events} interleaved"), times, most);
        lines.ratio(format!("… against alone in its file ({length} events)"), (times.0, alone_times.0), 1.5);
        if length == 5_000 {
            lines.value("full replay of 5,000 events (the original: 2,500 ms)", alone_times.0 / 1_000.0, "ms", 5.0);
        }
        if length == events / 10 {
            let all = alone.read(&[0], alone.events);
            lines.beside(format!("read all by position, one aggregate, {length} events, per event"), all, "µs");
        }
    }
    lines.beside(format!("read all by position, {events} interleaved, per event"), many.read(&[0], many.events), "µs");
    let mut random = Random(3);
    let starts: Vec<u64> = (0..64).map(|_| random.below(many.events - 1_000)).collect();
    lines.beside("read 1,000 events by position, random place, per event", many.read(&starts, 1_000), "µs");
    lines.beside("read 20 events by position, random place, per event", many.read(&starts, 20), "µs");
    open(&many, lines);
}

fn open(files: &Files, lines: &mut Table) {
    let path = files.store.path().unwrap();
    let floor_path = Path::new(files.floor.connection.path().unwrap());
    let ours = || -> Duration { timed(|| Store::open(path).unwrap().last_position().unwrap()) };
    let floor = || -> Duration { timed(|| Floor::open(floor_path, "FULL").last_position()) };
    let times = in_turn(51, ours, floor);
    lines.ratio(format!("open a file of {} events, first query included, warm", files.events), times, 1.5);
    lines.value("… (bound in time)", times.0 / 1_000.0, "ms", 2.0);
}
