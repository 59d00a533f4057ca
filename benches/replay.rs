//! Replay: every event, and from a snapshot with 50 events after it; each beside its floor.

mod support;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use foldlog::{Durability, SnapshotReason};
use support::floor::Indexes;
use support::{Order, fill_floor, fill_one, order_id, pair};

fn replay(criterion: &mut Criterion) {
    let directory = tempfile::tempdir().unwrap();
    for length in [100u64, 1_000, 5_000, 100_000] {
        let (store, floor) = pair(directory.path(), &format!("{length}"), Durability::Fast, Indexes::default());
        let orders = store.aggregates::<Order>();
        fill_one(&store, &order_id(0), 0, length - 50);
        fill_floor(&floor, &order_id(0), 0, length - 50);
        orders.create_snapshot(order_id(0), SnapshotReason::Manual).unwrap();
        fill_one(&store, &order_id(0), length - 50, 50);
        floor.transaction(|| floor.snapshot_within(&order_id(0)));
        fill_floor(&floor, &order_id(0), length - 50, 50);
        let every_event = orders.without_snapshots();

        let mut group = criterion.benchmark_group("replay/full");
        group.throughput(Throughput::Elements(length)).sample_size(if length > 10_000 { 10 } else { 50 });
        group.bench_function(BenchmarkId::new("foldlog", length), |bencher| {
            bencher.iter(|| every_event.replay(order_id(0)).unwrap())
        });
        group.bench_function(BenchmarkId::new("floor", length), |bencher| bencher.iter(|| floor.replay(&order_id(0))));
        group.finish();

        let mut group = criterion.benchmark_group("replay/snapshot");
        group.bench_function(BenchmarkId::new("foldlog", length), |bencher| bencher.iter(|| orders.replay(order_id(0)).unwrap()));
        group.bench_function(BenchmarkId::new("floor", length), |bencher| {
            bencher.iter(|| floor.replay_from_snapshot(&order_id(0)))
        });
        group.finish();
    }
}

criterion_group!(benches, replay);
criterion_main!(benches);
