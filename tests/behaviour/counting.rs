//! Counts over time equal those of reading every event, whatever the clocks did.

use std::time::Duration;

use foldlog::{ErrorKind, Expected, Filter, NewEvent, Purge, Query, SnapshotReason, Store};
use serde_json::json;

use crate::support::{Place, at, read, refused};

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
