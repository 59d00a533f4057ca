//! Replay from a snapshot with 50 events after it, at several lengths of history.

use std::path::Path;

use foldlog::{Durability, SnapshotReason};

use crate::support::floor::Indexes;
use crate::support::table::Table;
use crate::support::{Order, fill_floor, fill_one, in_turn, median, order_id, pair, timed};

pub fn snapshots(directory: &Path, events: u64, lines: &mut Table) {
    let mut by_length = Vec::new();
    let mut lengths = vec![100, 5_000, 100_000, events];
    lengths.dedup();
    let order = order_id(0);
    for length in lengths {
        let (store, floor) = pair(directory, &format!("{length}"), Durability::Fast, Indexes::default());
        fill_one(&store, &order, 0, length - 50);
        fill_floor(&floor, &order, 0, length - 50);
        let orders = store.aggregates::<Order>();
        orders.create_snapshot(&order, SnapshotReason::Manual).unwrap();
        floor.transaction(|| floor.snapshot_within(&order));
        fill_one(&store, &order, length - 50, 50);
        fill_floor(&floor, &order, length - 50, 50);
        let times = in_turn(
            51,
            || timed(|| (0..100).for_each(|_| assert_eq!(orders.replay(&order).unwrap().events_folded, 50))) / 100,
            || timed(|| (0..100).for_each(|_| assert_eq!(floor.replay_from_snapshot(&order).1, 50))) / 100,
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
            || timed(|| (0..100).for_each(|_| drop(orders.replay(&order).unwrap()))) / 100,
            || timed(|| (0..100).for_each(|_| drop(shortest.replay(&order).unwrap()))) / 100,
        );
        lines.ratio(format!("… history of {length} against history of 100"), times, 1.2);
    }
    let orders = by_length[1].1.aggregates::<Order>();
    let mut times: Vec<f64> = (0..1_001).map(|_| timed(|| orders.replay(&order).unwrap()).as_secs_f64() * 1e3).collect();
    lines.value("replay of 5,000 events with a snapshot (the original: 5 ms)", median(&mut times), "ms", 0.1);
}
