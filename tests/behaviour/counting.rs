//! Counts over time equal those of reading every event, whatever the clocks did; those of aggregates equal the lists of them.

use std::ops::ControlFlow::Continue;
use std::time::Duration;

use foldlog::{Batch, ErrorKind, Expected, Filter, NewEvent, Purge, Query, SnapshotReason, Store, chrono::Utc};
use serde_json::json;

use crate::support::{Place, at, raw, read, refused};

const MINUTE: Duration = Duration::from_secs(60);

/// Events of three types in two aggregate types and two tenants: mostly in order, some with clocks that went wrong.
fn fill(store: &Store) {
    let other = store.tenant("other");
    for n in 0..2_600u64 {
        let second = match n % 97 {
            0 => 9_000 - n as i64,
            _ => n as i64 * 2,
        };
        let event = NewEvent::new(["A", "B", "C"][n as usize % 3], &json!({})).unwrap().created_at(at(second));
        let store = if n % 11 == 0 { &other } else { store };
        store.append(if n % 2 == 0 { "even" } else { "odd" }, n % 40, Expected::Any, [event]).unwrap();
    }
}

/// The same by reading everything.
fn by_reading(store: &Store, filter: &Filter, from: i64, width: Duration, spans: usize) -> Vec<u64> {
    let mut counted = vec![0; spans];
    for event in read(store, Query::matching(filter.clone())) {
        let second = (event.created_at - at(from)).num_seconds();
        if second >= 0 && (second as u64 / width.as_secs()) < spans as u64 {
            counted[second as usize / width.as_secs() as usize] += 1;
        }
    }
    counted
}

#[test]
fn counts_by_time_are_those_of_reading() {
    let place = Place::new();
    let store = place.open();
    fill(&store);
    let compare = |store: &Store| {
        for filter in [
            Filter::new(),
            Filter::new().all_tenants(),
            Filter::new().aggregate_type("odd"),
            Filter::new().event_types(["A", "C"]).all_tenants(),
            Filter::new().event_type("B").aggregate_type("even").from(at(1_000)).to(at(3_333)),
            Filter::new().event_type("never"),
        ] {
            for (from, width, spans) in
                [(0, MINUTE, 200), (-500, 60 * MINUTE, 4), (1_234, MINUTE / 10, 300), (0, 1_000 * MINUTE, 1)]
            {
                let counted = store.count_by_time(&filter, at(from), width, spans).unwrap();
                assert_eq!(counted, by_reading(store, &filter, from, width, spans), "{filter:?} {from} {width:?} {spans}");
            }
        }
    };
    compare(&store);
    assert_eq!(store.count_by_time(&Filter::new().all_tenants(), at(-9_000), 1_000 * MINUTE, 1).unwrap(), [2_600]);

    let evens = store.json_aggregates("even");
    for id in evens.ids() {
        evens.create_snapshot(id.unwrap(), SnapshotReason::Manual).unwrap();
    }
    assert!(store.maintenance().purge(Purge::created_before(at(2_000)).fold(&evens)).unwrap().events_removed > 200);
    compare(&store);
}

#[test]
fn what_cannot_be_counted_by_time_is_refused() {
    let place = Place::new();
    let store = place.open();
    store.append("list", "a", Expected::New, [NewEvent::new("A", &()).unwrap().tag("t")]).unwrap();
    refused(store.count_by_time(&Filter::new().tag("t"), at(0), MINUTE, 1), ErrorKind::InvalidInput);
    refused(store.count_by_time(&Filter::new(), at(0), Duration::ZERO, 1), ErrorKind::InvalidInput);
    refused(store.count_by_time(&Filter::new(), at(0), Duration::MAX, 1), ErrorKind::InvalidInput);
    refused(store.count_by_time(&Filter::new(), at(0), MINUTE, 100_001), ErrorKind::InvalidInput);
    assert!(store.count_by_time(&Filter::new(), at(0), MINUTE, 0).unwrap().is_empty());
}

/// Appends aggregates of two types in two tenants, in batches, from the nth on.
fn make_aggregates(store: &Store, numbers: std::ops::Range<u64>) {
    let other = store.tenant("other");
    let batch = |parity: u64| {
        numbers.clone().filter(move |n| n % 3 == parity).fold(Batch::new(), |batch, n| {
            let of_type = if n % 5 == 0 { "rare" } else { "usual" };
            batch.append(of_type, format!("a-{n}"), Expected::New, [NewEvent::new("Made", &json!({})).unwrap()])
        })
    };
    for (store, parity) in [(store, 0), (&other, 1), (store, 2)] {
        let batch = batch(parity);
        if !batch.is_empty() {
            store.commit(batch).unwrap();
        }
    }
}

fn are_counted_right(store: &Store) {
    for store in [store.clone(), store.tenant("other"), store.tenant("nobody")] {
        let mut all = 0;
        for of_type in ["rare", "usual"] {
            let handle = store.json_aggregates(of_type);
            let listed = handle.ids().map(Result::unwrap).count() as u64;
            assert_eq!(handle.count().unwrap(), listed, "{of_type} of {}", store.tenant_name());
            all += listed;
        }
        assert_eq!(store.statistics().unwrap().aggregates, all, "{}", store.tenant_name());
    }
}

#[test]
fn aggregates_are_counted_as_they_are_listed() {
    let place = Place::new();
    let store = place.open();
    let mut made = 0;
    for to in [1, 1_000, 1_023, 1_024, 1_025, 2_047, 2_049, 5_000] {
        make_aggregates(&store, made..to);
        made = to;
        are_counted_right(&store);
    }
    let recorded = |sql: &str| raw(&place.file()).query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap();
    assert_eq!(recorded("SELECT through FROM aggregate_counts"), 4_096, "recorded with every 1,024th");
    // An aggregate stays when its events go.
    let rare = store.json_aggregates("rare");
    rare.snapshot_all(SnapshotReason::Manual, |_| Continue(())).unwrap();
    assert!(store.maintenance().purge(Purge::created_before(Utc::now()).fold(&rare)).unwrap().events_removed > 0);
    are_counted_right(&store);
    assert!(store.maintenance().verify(|_| Continue(())).unwrap().is_clean());
    store.maintenance().reindex(|_| Continue(())).unwrap();
    assert_eq!(recorded("SELECT through FROM aggregate_counts"), 4_096);
    are_counted_right(&store);
}

#[test]
fn a_wrong_number_of_aggregates_is_noticed_and_counted_again() {
    for (sql, is_noticed) in [
        ("UPDATE aggregate_counts SET counts = replace(counts, '[1,', '[3,')", true),
        ("UPDATE aggregate_counts SET through = through - 1", true),
        ("UPDATE aggregate_counts SET checksum = checksum + 1", true),
        ("DELETE FROM aggregate_counts", false),
    ] {
        let place = Place::new();
        let store = place.open();
        make_aggregates(&store, 0..1_500);
        drop(store);
        assert_eq!(raw(&place.file()).execute(sql, []).unwrap(), 1, "{sql}");
        let store = place.open();
        let report = store.maintenance().verify(|_| Continue(())).unwrap();
        assert_eq!(report.damage_count, u64::from(is_noticed), "{sql}: {:?}", report.damages);
        if is_noticed {
            refused(store.statistics(), ErrorKind::Corrupt);
            refused(store.json_aggregates("rare").count(), ErrorKind::Corrupt);
        }
        // Appends go on; the next record takes the place of the damaged one.
        make_aggregates(&store, 1_500..1_600);
        let next = if is_noticed { 2_048 } else { 1_600 };
        make_aggregates(&store, 1_600..next);
        are_counted_right(&store);
        assert!(store.maintenance().verify(|_| Continue(())).unwrap().is_clean(), "{sql}");
    }
}
