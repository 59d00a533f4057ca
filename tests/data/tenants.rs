//! Two real logs in one file, each of its own tenant, and a third tenant with the same aggregates as the first.

use std::collections::BTreeMap;

use foldlog::{Batch, ErrorKind, EventId, Expected, Filter, Query, SnapshotPolicy, Store};

use crate::streams::{DataSet, Line};
use crate::support::{TestStore, assert_is};

/// Every event has an id of its own: the number of the tenant and of the line.
fn id(tenant: usize, n: usize) -> EventId {
    EventId::from_u128(((tenant as u128) << 64) + n as u128 + 1)
}

/// Appends a few lines of each in turn, so that the tenants' positions interleave.
fn append_in_turn(stores: &[Store], logs: &[&[Line]]) {
    let mut from = 0;
    while logs.iter().any(|lines| from < lines.len()) {
        for (tenant, (store, lines)) in stores.iter().zip(logs).enumerate() {
            let mut batch = Batch::new();
            for (n, line) in lines.iter().enumerate().skip(from).take(50) {
                let event = line.event().id(id(tenant, n));
                batch = batch.append(line.aggregate_type.as_str(), line.aggregate_id.as_str(), Expected::Any, [event]);
            }
            if !batch.is_empty() {
                store.commit(batch).unwrap();
            }
        }
        from += 50;
    }
}

/// The tenant sees its own lines and nothing else, however it asks.
fn assert_sees_only(store: &Store, lines: &[Line]) {
    let mut events = store.read(Query::new());
    for line in lines {
        let event = events.next().unwrap().unwrap();
        assert_is(&event, line);
        assert_eq!(&*event.tenant, store.tenant_name());
    }
    assert!(events.next().is_none());
    let statistics = store.statistics().unwrap();
    let mut by_type: BTreeMap<String, u64> = BTreeMap::new();
    let mut by_aggregate: BTreeMap<(&str, &str), u64> = BTreeMap::new();
    for line in lines {
        *by_type.entry(line.event_type.clone()).or_default() += 1;
        *by_aggregate.entry(line.aggregate()).or_default() += 1;
    }
    assert_eq!(statistics.events_by_type, by_type);
    assert_eq!(statistics.aggregates, by_aggregate.len() as u64);
    assert_eq!(store.aggregate_types().unwrap(), [lines[0].aggregate_type.clone()]);
    for ((aggregate_type, aggregate_id), version) in by_aggregate {
        assert_eq!(store.version(aggregate_type, aggregate_id).unwrap(), version);
    }
    let newest = store.recent_events(3).unwrap();
    newest.iter().zip(lines.iter().rev()).for_each(|(event, line)| assert_is(event, line));
}

#[test]
fn none_sees_another() {
    let (Some(permits), Some(games)) = (DataSet::find("process-receipt"), DataSet::find("chess-bbddnrr-2025")) else { return };
    let file = TestStore::new(SnapshotPolicy::every(3));
    let permits: Vec<Line> = permits.events().collect();
    let games: Vec<Line> = games.events().collect();
    // The same cases, but only half of what happened to them.
    let half: Vec<Line> = permits.iter().step_by(2).cloned().collect();
    let logs = [permits.as_slice(), games.as_slice(), half.as_slice()];
    let stores = ["town", "club", "other town"].map(|name| file.store.tenant(name));
    append_in_turn(&stores, &logs);

    for (store, lines) in stores.iter().zip(logs) {
        assert_sees_only(store, lines);
    }
    assert_eq!(file.store.tenants().unwrap(), ["club", "other town", "town"]);
    assert_eq!(file.store.read(Query::new()).count(), 0, "the default tenant wrote nothing");
    let all = file.store.read(Filter::new().all_tenants()).zip(1u64..);
    let total = all.inspect(|(event, position)| assert_eq!(event.as_ref().unwrap().position, *position)).count();
    assert_eq!(total, permits.len() + games.len() + half.len());

    let [town, club, other_town] = &stores;
    assert_eq!(club.read(Filter::new().event_type(&permits[0].event_type)).count(), 0);
    assert_eq!(town.count(Filter::new().event_type("MovePlayed")).unwrap(), 0);
    assert_eq!(club.version("permit_case", &permits[0].aggregate_id).unwrap(), 0);
    assert!(town.event(id(0, 0)).unwrap().is_some());
    assert!(club.event(id(0, 0)).unwrap().is_none(), "another tenant's event by its id");
    let error = club.json_aggregates("permit_case").replay(&permits[0].aggregate_id).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);

    // Snapshots of one tenant do not serve the other, whose case of the same name is at another version.
    let [cases, other_cases] = [town, other_town].map(|store| store.json_aggregates("permit_case"));
    let case = &permits[0].aggregate_id;
    let before = other_cases.replay(case).unwrap();
    cases.create_snapshot(case, foldlog::SnapshotReason::Manual).unwrap();
    assert_eq!(other_cases.without_snapshots().replay(case).unwrap().state, before.state);
    assert_eq!(town.snapshot_statistics().unwrap().total_snapshots, 1);
    assert_eq!(club.snapshot_statistics().unwrap().total_snapshots, 0);
    assert_eq!(cases.snapshots(case).unwrap().len(), 1);
}
