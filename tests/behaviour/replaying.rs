//! Replay: to now, to a version, to a time; and rebuilding everything.

use foldlog::{Clock, ErrorKind, Expected, FoldError, Purge, SnapshotPolicy, SnapshotReason};
use serde_json::json;

use crate::domain::{Account, AccountEvent, deposits, opened};
use crate::support::{Place, at, fast, noted, refused, says};

fn deposit(cents: u64, second: i64) -> foldlog::NewEvent {
    foldlog::NewEvent::of(&AccountEvent::Deposited { cents }).unwrap().created_at(at(second))
}

#[test]
fn the_state_now() {
    let place = Place::new();
    let accounts = place.open().aggregates::<Account>();
    accounts.append("a", Expected::New, [opened()]).unwrap();
    accounts.append("a", 1, [AccountEvent::Deposited { cents: 500 }, AccountEvent::Withdrawn { cents: 20 }]).unwrap();
    accounts.append("a", 3, [AccountEvent::Closed]).unwrap();
    let replayed = accounts.replay("a").unwrap();
    assert_eq!(replayed.state, Account { owner: "Ada".into(), cents: 480, closed: true });
    assert_eq!((replayed.version.get(), replayed.from_snapshot, replayed.events_folded), (4, None, 4));
    assert!(replayed.warnings.is_empty());
}

#[test]
fn an_aggregate_without_events_is_not_found() {
    let place = Place::new();
    let accounts = place.open().aggregates::<Account>();
    for _ in 0..2 {
        for error in [
            refused(accounts.replay("nobody"), ErrorKind::NotFound),
            refused(accounts.without_snapshots().replay("nobody"), ErrorKind::NotFound),
            refused(accounts.replay_to_version("nobody", 1), ErrorKind::NotFound),
            refused(accounts.replay_to_time("nobody", at(0)), ErrorKind::NotFound),
            refused(accounts.create_snapshot("nobody", SnapshotReason::Manual), ErrorKind::NotFound),
            refused(accounts.snapshot_if_due("nobody"), ErrorKind::NotFound),
            refused(accounts.delete_snapshots("nobody"), ErrorKind::NotFound),
        ] {
            says(&error, &["account \"nobody\"", "no events"]);
        }
        assert_eq!(accounts.history("nobody").count(), 0);
        assert_eq!(accounts.latest_snapshot("nobody").unwrap(), None);
        assert_eq!(accounts.prune_snapshots("nobody").unwrap(), 0);
        // The second time the type is known.
        accounts.append("somebody", Expected::Any, [opened()]).unwrap();
    }
}

#[test]
fn every_version_with_and_without_snapshots() {
    let place = Place::new();
    let store = fast().snapshots(SnapshotPolicy::every(10).retain(3)).open(place.file()).unwrap();
    let accounts = store.aggregates::<Account>();
    for n in 0..55 {
        accounts.append("a", n, deposits(1)).unwrap();
    }
    assert_eq!(accounts.snapshots("a").unwrap().iter().map(|snapshot| snapshot.version.get()).collect::<Vec<_>>(), [50, 40, 30]);
    for version in 1..=55 {
        let replayed = accounts.replay_to_version("a", version).unwrap();
        assert_eq!((replayed.state.cents, replayed.version.get()), (version, version));
        let base = if version < 30 { None } else { Some((version / 10 * 10).min(50).into()) };
        assert_eq!(replayed.from_snapshot, base, "the nearest below {version}");
        assert_eq!(replayed.events_folded, version - base.map_or(0, foldlog::Version::get));
        let full = accounts.without_snapshots().replay_to_version("a", version).unwrap();
        assert_eq!((full.state, full.events_folded, full.from_snapshot), (replayed.state, version, None));
    }
}

#[test]
fn versions_that_are_not_there() {
    let place = Place::new();
    let accounts = place.open().aggregates::<Account>();
    accounts.append("a", 0, deposits(3)).unwrap();
    says(&refused(accounts.replay_to_version("a", 0), ErrorKind::NotFound), &["version 0", "account \"a\""]);
    for version in [4, u64::from(u32::MAX), u64::MAX] {
        let error = refused(accounts.replay_to_version("a", version), ErrorKind::NotFound);
        says(&error, &["is at version 3", &format!("version {version}")]);
    }
}

#[test]
fn a_point_in_time_when_clocks_go_backwards() {
    let place = Place::new();
    let accounts = place.open().aggregates::<Account>();
    // Versions 1 to 5; the sum tells which were taken.
    accounts.append_events("a", 0, [deposit(1, 10), deposit(2, 30), deposit(4, 20), deposit(8, 40), deposit(16, 5)]).unwrap();
    for (second, cents, version) in
        [(5, 16, 5), (9, 16, 5), (10, 17, 5), (20, 21, 5), (29, 21, 5), (30, 23, 5), (40, 31, 5), (99, 31, 5)]
    {
        let replayed = accounts.replay_to_time("a", at(second)).unwrap();
        assert_eq!((replayed.state.cents, replayed.version.get()), (cents, version), "second {second}");
    }
    refused(accounts.replay_to_time("a", at(4)), ErrorKind::NotFound);
    refused(accounts.replay_to_time("a", chrono::DateTime::<chrono::Utc>::MIN_UTC), ErrorKind::NotFound);
    assert_eq!(accounts.replay_to_time("a", chrono::DateTime::<chrono::Utc>::MAX_UTC).unwrap().state.cents, 31);
    accounts.append_events("a", 5, [deposit(32, 50)]).unwrap();
    let replayed = accounts.replay_to_time("a", at(45)).unwrap();
    assert_eq!((replayed.state.cents, replayed.version.get()), (31, 5), "the version of the last event in it");
}

#[test]
fn a_snapshot_serves_a_point_in_time_only_where_that_is_right() {
    let place = Place::new();
    let accounts = place.open().aggregates::<Account>();
    accounts.append_events("a", 0, [deposit(1, 10), deposit(2, 20)]).unwrap();
    accounts.create_snapshot("a", SnapshotReason::Manual).unwrap();
    accounts.append_events("a", 2, [deposit(4, 50), deposit(8, 15)]).unwrap();
    accounts.create_snapshot("a", SnapshotReason::Manual).unwrap();
    accounts.append_events("a", 4, [deposit(16, 60)]).unwrap();
    for (second, cents, base) in
        [(10, 1, None), (19, 9, None), (20, 11, Some(2)), (49, 11, Some(2)), (50, 15, Some(4)), (60, 31, Some(4))]
    {
        let replayed = accounts.replay_to_time("a", at(second)).unwrap();
        assert_eq!((replayed.state.cents, replayed.from_snapshot.map(|version| version.get())), (cents, base), "second {second}");
        assert_eq!(accounts.without_snapshots().replay_to_time("a", at(second)).unwrap().state.cents, cents);
        assert!(replayed.warnings.is_empty(), "nothing is wrong with a snapshot that is too young");
    }
}

#[test]
fn a_snapshot_of_execute_knows_its_latest_time() {
    let place = Place::new();
    let clock = Clock::fixed(at(100));
    let store = fast().clock(clock.clone()).snapshots(SnapshotPolicy::every(2)).open(place.file()).unwrap();
    let lists = store.json_aggregates("list");
    let note = |n| [crate::support::noted(n)];
    lists.execute("a", |_| note(1)).unwrap();
    clock.set(at(10));
    lists.execute("a", |_| note(2)).unwrap();
    assert_eq!(lists.snapshots("a").unwrap().len(), 1);
    let early = lists.replay_to_time("a", at(50)).unwrap();
    assert_eq!((early.state["n"].as_u64(), early.events_folded, early.from_snapshot), (Some(2), 1, None));
}

#[test]
fn a_long_history_in_pages() {
    let place = Place::new();
    let store = fast().snapshots(SnapshotPolicy::manual()).open(place.file()).unwrap();
    let accounts = store.aggregates::<Account>();
    accounts.append("a", 0, deposits(5_000)).unwrap();
    for version in [1_023, 1_024, 1_025, 2_048, 5_000] {
        assert_eq!(accounts.replay_to_version("a", version).unwrap().state.cents, version);
    }
    assert_eq!(accounts.replay_to_time("a", chrono::Utc::now()).unwrap().state.cents, 5_000);
    assert_eq!(accounts.replay("a").unwrap().events_folded, 5_000);
    assert_eq!(accounts.history("a").count(), 5_000);
}

#[test]
fn everything_is_rebuilt_with_counts_failures_and_progress() {
    let place = Place::new();
    let store = place.open();
    let accounts = store.aggregates::<Account>();
    for n in 0..300 {
        accounts.append(format!("a-{n:03}"), 0, deposits(n % 10 + 1)).unwrap();
    }
    store.append("account", "a-007", 8, [crate::support::noted(1)]).unwrap();
    store.append("list", "not an account", 0, [crate::support::noted(1)]).unwrap();
    let mut read_model = Vec::new();
    let mut progress = Vec::new();
    let rebuilt = accounts
        .replay_each()
        .run(
            |id, replayed| {
                if id == "a-011" {
                    return Err("the read model refuses");
                }
                read_model.push((id.to_owned(), replayed.state.cents));
                Ok(())
            },
            |rebuilt| {
                progress.push((rebuilt.total, rebuilt.succeeded + rebuilt.failed));
                std::ops::ControlFlow::Continue(())
            },
        )
        .unwrap();
    assert_eq!((rebuilt.total, rebuilt.succeeded, rebuilt.failed), (300, 298, 2));
    assert_eq!(rebuilt.failures[0].0, "a-007");
    assert!(rebuilt.failures[0].1.contains("\"Noted\""), "{:?}", rebuilt.failures);
    assert_eq!(rebuilt.failures[1], ("a-011".into(), "the read model refuses".into()));
    assert_eq!(progress, (1..=300).map(|n| (300, n)).collect::<Vec<_>>());
    let expected = (0..300).filter(|n| ![7, 11].contains(n)).map(|n| (format!("a-{n:03}"), n % 10 + 1)).collect::<Vec<_>>();
    assert_eq!(read_model, expected);
    assert_eq!(
        place
            .open()
            .json_aggregates("none")
            .replay_each()
            .run(|_, _| Ok::<_, String>(()), |_| std::ops::ControlFlow::Continue(()))
            .unwrap()
            .total,
        0
    );
}

/// A purge comes between the first page of a long replay, 1,024 events, and the second one.
#[test]
fn a_purge_beside_a_replay_is_noticed() {
    for (removed, expected) in [(1_024, Ok(1_100)), (1_025, Err(ErrorKind::HistoryRemoved))] {
        let place = Place::new();
        let store = fast().snapshots(SnapshotPolicy::manual()).open(place.file()).unwrap();
        let events = (1..=1_100).map(|n| noted(n).created_at(at(if n <= removed { 0 } else { 10 })));
        store.append("list", "a", 0, events).unwrap();
        store.json_aggregates("list").create_snapshot("a", SnapshotReason::Manual).unwrap();
        let purging = store.clone();
        let counted = store.json_aggregates("list").fold_with("count", 1, move |state, _, data| {
            if data["n"] == 5 {
                let report = purging
                    .maintenance()
                    .purge(Purge::created_before(at(10)).fold(&purging.json_aggregates("list")))
                    .map_err(|error| FoldError::Data(error.to_string()))?;
                assert_eq!(report.events_removed, removed);
            }
            state["count"] = json!(state["count"].as_u64().unwrap_or(0) + 1);
            Ok(())
        });
        let replayed = counted.replay("a");
        assert_eq!(replayed.map(|replayed| replayed.state["count"].as_u64().unwrap()).map_err(|error| error.kind()), expected);
    }
}
