//! A file of very many aggregates with an event each.

use std::path::Path;
use std::time::Instant;

use foldlog::{Batch, Durability, Expected};

use crate::append::{Orders, appender, floor_appender, line};
use crate::queries::COUNTED;
use crate::size::bytes_per_event;
use crate::support::floor::{Entry, Floor, Indexes};
use crate::support::table::Table;
use crate::support::turns::appends;
use crate::support::{ORDER, Order, fill_interleaved, in_turn, new_event, options, order_id, pair, timed};

/// The name of the nth aggregate: short, so that the file shows what an aggregate costs beyond its name.
fn name(n: u64) -> String {
    format!("order-{n}")
}

/// Ids asked for at once.
const PAGE: usize = 1_000;

pub fn many(directory: &Path, events: u64, lines: &mut Table) {
    let (store, floor) = pair(directory, "many", Durability::Fast, Indexes::default());
    let started = Instant::now();
    for from in (0..events).step_by(10_000) {
        let ours =
            (from..from + 10_000).fold(Batch::new(), |batch, n| batch.append(ORDER, name(n), Expected::from(0), [new_event(n)]));
        store.commit(ours).unwrap();
        floor.transaction(|| {
            for n in from..from + 10_000 {
                floor.append_within(ORDER, &name(n), 0, [Entry::order(n)]).unwrap();
            }
        });
    }
    eprintln!("made {events} aggregates twice in {:.1} s", started.elapsed().as_secs_f64());
    drop((store, floor));
    let (path, floor_path) = (directory.join("many.db"), directory.join("many-floor.db"));
    bytes_per_event(lines, &format!("{events} aggregates"), &path, &floor_path, events, (events >= 1_000_000).then_some(310.0));

    let store = options(Durability::Fast).open(&path).unwrap();
    let floor = Floor::open(&floor_path, "NORMAL");
    ids(&store.aggregates(), &floor, events, lines);
    let times = in_turn(
        7,
        || timed(|| assert_eq!(store.statistics().unwrap().aggregates, events)),
        || timed(|| assert_eq!(floor.statistics().1, events)),
    );
    lines.beside(format!("statistics, {events} aggregates"), times, "µs").at_most(COUNTED);

    let what = format!("append 1, fast, a random one of {events} aggregates");
    let mut lengths = vec![1; events as usize];
    let ours = appender(&store, Orders::at_random(lengths.clone(), name), 1, new_event);
    let theirs = floor_appender(&floor, Orders::at_random(lengths.clone(), name), 1, Entry::order);
    line(lines, what.clone(), 1, appends(200, 2_000, 10, [ours, theirs]), Some(1.25));

    let fewer = options(Durability::Fast).open(directory.join("fewer.db")).unwrap();
    fill_interleaved(&fewer, &[100; 1_000]);
    let mut orders = Orders::at_random(lengths.clone(), name);
    (0..2_200).for_each(|_| drop(orders.next(1)));
    lengths = orders.into_lengths();
    let ours = appender(&store, Orders::at_random(lengths, name), 1, new_event);
    let theirs = appender(&fewer, Orders::at_random(vec![100; 1_000], order_id), 1, new_event);
    let [ours, theirs] = appends(200, 2_000, 10, [ours, theirs]);
    lines.ratio(format!("{what}, against one of 1,000"), (ours.median, theirs.median), 1.5);
}

fn ids_after(orders: &foldlog::Aggregates<Order>, after: Option<&str>) -> Vec<String> {
    let ids = orders.ids();
    let ids = match after {
        Some(after) => ids.after(after),
        None => ids,
    };
    ids.take(PAGE).collect::<foldlog::Result<_>>().unwrap()
}

fn ids(orders: &foldlog::Aggregates<Order>, floor: &Floor, events: u64, lines: &mut Table) {
    let ours = |after: Option<&str>| ids_after(orders, after);
    let theirs = |after: Option<&str>| floor.ids(after.unwrap_or_default(), PAGE as u64);
    let all = |page: &dyn Fn(Option<&str>) -> Vec<String>| {
        let (mut after, mut count) = (None, 0);
        loop {
            let ids = page(after.as_deref());
            count += ids.len() as u64;
            match ids.into_iter().last() {
                Some(last) => after = Some(last),
                None => return assert_eq!(count, events),
            }
        }
    };
    let times = in_turn(5, || timed(|| all(&ours)), || timed(|| all(&theirs)));
    let per_id = (times.0 / events as f64, times.1 / events as f64);
    lines.ratio(format!("ids of {events} aggregates in pages of 1,000, per id"), per_id, 1.25);
}
