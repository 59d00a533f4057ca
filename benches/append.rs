//! Appends of 1 to 1,000 events per transaction, durable and fast, with an expected version; each beside its floor.

mod support;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use foldlog::Durability;
use support::floor::{Entry, Indexes};
use support::{Order, new_event, order_id, pair};

/// Orders that take turns, so that appends meet more than one leaf of the tree.
const ORDERS: usize = 50;

fn append(criterion: &mut Criterion) {
    let directory = tempfile::tempdir().unwrap();
    for (durability, name) in [(Durability::Durable, "durable"), (Durability::Fast, "fast")] {
        let mut group = criterion.benchmark_group(format!("append/{name}"));
        for count in [1u64, 10, 100, 1_000] {
            group.throughput(Throughput::Elements(count)).sample_size(20);
            let (store, floor) = pair(directory.path(), &format!("{name}-{count}"), durability, Indexes::default());
            let orders = store.aggregates::<Order>();
            let (mut turn, mut versions) = (0, vec![0u64; ORDERS]);
            group.bench_function(BenchmarkId::new("foldlog", count), |bencher| {
                bencher.iter(|| {
                    turn = (turn + 1) % ORDERS;
                    let version = versions[turn];
                    orders.append_events(order_id(turn as u64), version, (version..version + count).map(new_event)).unwrap();
                    versions[turn] += count;
                })
            });
            let (mut turn, mut versions) = (0, vec![0u64; ORDERS]);
            group.bench_function(BenchmarkId::new("floor", count), |bencher| {
                bencher.iter(|| {
                    turn = (turn + 1) % ORDERS;
                    let version = versions[turn];
                    floor.append(&order_id(turn as u64), version, (version..version + count).map(Entry::order)).unwrap();
                    versions[turn] += count;
                })
            });
        }
        group.finish();
    }
}

criterion_group!(benches, append);
criterion_main!(benches);
