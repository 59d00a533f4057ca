//! Reading: pages of the log, the history of an aggregate, a type in a time range, the newest events of a type.

mod support;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use foldlog::{Durability, Expected, Filter, NewEvent, Query, Result};
use support::floor::Indexes;
use support::{fill_floor_interleaved, fill_interleaved, order_id, pair};

const EVENTS: u64 = 200_000;

fn read(criterion: &mut Criterion) {
    let directory = tempfile::tempdir().unwrap();
    let (store, floor) = pair(directory.path(), "log", Durability::Fast, Indexes::default());
    fill_interleaved(&store, &[EVENTS / 200; 200]);
    fill_floor_interleaved(&floor, &[EVENTS / 200; 200]);
    store.append("order", order_id(0), Expected::Any, [NewEvent::new("Refunded", &7).unwrap()]).unwrap();
    let count = |query: Query| store.read(query).map(Result::unwrap).count();

    let mut group = criterion.benchmark_group("read");
    group.throughput(Throughput::Elements(1_000)).sample_size(30);
    group.bench_function("page of 1,000 by position/foldlog", |bencher| {
        bencher.iter(|| assert_eq!(count(Query::new().after_position(EVENTS / 2).limit(1_000)), 1_000))
    });
    group.bench_function("page of 1,000 by position/floor", |bencher| {
        bencher.iter(|| floor.read(EVENTS / 2, 1_000, |row| drop(std::hint::black_box(row))))
    });
    group.bench_function("history of 1,000 events", |bencher| {
        bencher.iter(|| assert_eq!(count(Query::aggregate("order", order_id(7))), 1_000))
    });
    group.bench_function("newest 100 of a type", |bencher| {
        bencher.iter(|| assert_eq!(count(Query::matching(Filter::new().event_type("Paid")).newest_first().limit(100)), 100))
    });
    group.bench_function("the one event of a type, behind all others", |bencher| {
        bencher.iter(|| assert_eq!(count(Query::matching(Filter::new().event_type("Refunded"))), 1))
    });
    let times: Vec<_> = [EVENTS / 2, EVENTS / 2 + 2_000]
        .map(|position| store.read(Query::new().after_position(position).limit(1)).next().unwrap().unwrap().created_at)
        .into();
    group.bench_function("a type in a window of 1 % of the time", |bencher| {
        bencher.iter(|| count(Query::matching(Filter::new().event_type("ItemAdded").from(times[0]).to(times[1]))))
    });
    group.finish();
}

criterion_group!(benches, read);
criterion_main!(benches);
