//! Snapshots: when they are made, by whom, how many are kept, and the operations on them.

use std::cell::Cell;
use std::ops::ControlFlow::Continue;
use std::time::Duration;

use foldlog::{Aggregate, Aggregates, Clock, Metadata, NewEvent, Options, SnapshotPolicy, SnapshotReason};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::domain::{Account, AccountEvent, deposits};
use crate::support::{Place, at, fast, noted};

fn accounts(options: Options) -> (Place, Aggregates<Account>) {
    let place = Place::new();
    let accounts = options.open(place.file()).unwrap().aggregates();
    (place, accounts)
}

fn versions(accounts: &Aggregates<Account>, id: &str) -> Vec<u64> {
    accounts.snapshots(id).unwrap().iter().map(|snapshot| snapshot.version.get()).collect()
}

#[test]
fn append_makes_one_at_exactly_the_threshold() {
    let (_place, accounts) = accounts(fast());
    for n in 0..99 {
        accounts.append("a", n, deposits(1)).unwrap();
    }
    assert_eq!(versions(&accounts, "a"), [0; 0]);
    accounts.append("a", 99, deposits(1)).unwrap();
    assert_eq!(versions(&accounts, "a"), [100]);
    accounts.append("a", 100, deposits(99)).unwrap();
    assert_eq!(versions(&accounts, "a"), [100]);
    accounts.append("a", 199, deposits(7)).unwrap();
    assert_eq!(versions(&accounts, "a"), [206, 100], "counted from the last one");
    accounts.append("b", 0, deposits(100)).unwrap();
    assert_eq!(versions(&accounts, "b"), [100]);
}

#[test]
fn execute_makes_one_at_exactly_the_threshold() {
    let (_place, accounts) = accounts(fast());
    for n in 0..100 {
        assert_eq!(versions(&accounts, "a"), [0; 0], "{n}");
        accounts.execute("a", |_| deposits(1)).unwrap();
    }
    let snapshot = accounts.latest_snapshot("a").unwrap().unwrap();
    assert_eq!((snapshot.version.get(), snapshot.event_count, snapshot.reason), (100, 100, SnapshotReason::Threshold));
    let replayed = accounts.replay("a").unwrap();
    assert_eq!((replayed.state, replayed.events_folded), (accounts.without_snapshots().replay("a").unwrap().state, 0));
    accounts.execute("a", |_| deposits(150)).unwrap();
    assert_eq!(versions(&accounts, "a"), [250, 100]);
}

#[test]
fn an_app_that_appends_through_the_store_gets_them_by_replay() {
    let (_place, accounts) = accounts(fast());
    let store = _place.open();
    let event = || NewEvent::of(&AccountEvent::Deposited { cents: 1 }).unwrap();
    store.append("account", "a", 0, (0..99).map(|_| event())).unwrap();
    accounts.replay("a").unwrap();
    assert_eq!(versions(&accounts, "a"), [0; 0]);
    store.append("account", "a", 99, [event()]).unwrap();
    assert_eq!(versions(&accounts, "a"), [0; 0], "the store knows no fold");
    assert_eq!(accounts.replay("a").unwrap().events_folded, 100);
    assert_eq!(versions(&accounts, "a"), [100]);
    assert_eq!(accounts.replay("a").unwrap().events_folded, 0);
}

#[test]
fn without_snapshots_none_is_made_or_used() {
    let (_place, accounts) = accounts(fast().snapshots(SnapshotPolicy::every(3)));
    let without = accounts.without_snapshots();
    for n in 0..7 {
        without.append("a", n, deposits(1)).unwrap();
        without.execute("b", |_| deposits(1)).unwrap();
        without.replay("a").unwrap();
    }
    assert_eq!((versions(&accounts, "a"), versions(&accounts, "b")), (vec![], vec![]));
}

thread_local! { static APPLIED: Cell<u64> = const { Cell::new(0) } }

#[derive(Default, Serialize, Deserialize)]
struct Watched;

impl Aggregate for Watched {
    const TYPE: &'static str = Account::TYPE;
    type Event = AccountEvent;

    fn apply(&mut self, _: AccountEvent) {
        APPLIED.set(APPLIED.get() + 1);
    }
}

#[test]
fn an_append_folds_only_for_a_snapshot() {
    let (place, _) = accounts(fast().snapshots(SnapshotPolicy::every(3)));
    let watched = fast().snapshots(SnapshotPolicy::every(3)).open(place.file()).unwrap().aggregates::<Watched>();
    let folded = |work: &dyn Fn()| {
        APPLIED.set(0);
        work();
        APPLIED.get()
    };
    let append = |id: &'static str, n: u64| watched.append(id, n, deposits(1)).map(drop).unwrap();
    let folds: Vec<u64> = (0..7).map(|n| folded(&|| append("a", n))).collect();
    assert_eq!(folds, [0, 0, 3, 0, 0, 3, 0]);
    let without = watched.without_snapshots();
    assert_eq!(folded(&|| (0..7).for_each(|n| drop(without.append("b", n, deposits(1)).unwrap()))), 0);
}

#[test]
fn none_by_themselves_under_a_manual_policy() {
    let (_place, accounts) = accounts(fast().snapshots(SnapshotPolicy::manual()));
    accounts.append("a", 0, deposits(300)).unwrap();
    accounts.replay("a").unwrap();
    accounts.execute("a", |_| deposits(1)).unwrap();
    assert_eq!(accounts.snapshot_if_due("a").unwrap(), None);
    assert_eq!(versions(&accounts, "a"), [0; 0]);
    assert_eq!(accounts.create_snapshot("a", SnapshotReason::Manual).unwrap(), 301);
    assert_eq!(accounts.replay("a").unwrap().from_snapshot, Some(301.into()), "but those that exist are used");
}

#[test]
fn the_newest_five_are_kept() {
    let (_place, accounts) = accounts(fast());
    for n in 0..8 {
        accounts.append("a", n * 100, deposits(100)).unwrap();
        accounts.append("b", n, deposits(1)).unwrap();
        accounts.create_snapshot("b", SnapshotReason::Scheduled).unwrap();
    }
    assert_eq!(versions(&accounts, "a"), [800, 700, 600, 500, 400]);
    assert_eq!(versions(&accounts, "b"), [8, 7, 6, 5, 4]);
}

#[test]
fn what_a_snapshot_says_of_itself() {
    let clock = Clock::fixed(at(7));
    let (_place, accounts) = accounts(fast().clock(clock));
    accounts.append("a", 0, deposits(3)).unwrap();
    assert_eq!(accounts.create_snapshot("a", SnapshotReason::Manual).unwrap(), 3);
    accounts.append("a", 3, deposits(2)).unwrap();
    let by_ada = accounts.with_metadata(&Metadata::new().user_id("ada")).unwrap();
    by_ada.create_snapshot("a", SnapshotReason::Scheduled).unwrap();

    let [second, first] = &accounts.snapshots("a").unwrap()[..] else { panic!("two were made") };
    assert_eq!(accounts.latest_snapshot("a").unwrap().as_ref(), Some(second));
    assert_eq!((first.version.get(), first.event_count, first.reason), (3, 3, SnapshotReason::Manual));
    assert_eq!((second.version.get(), second.event_count, second.reason), (5, 2, SnapshotReason::Scheduled));
    assert_eq!((first.created_by.as_deref(), second.created_by.as_deref()), (None, Some("ada")));
    assert_eq!((second.fold_name.as_str(), second.fold_version, second.created_at), (Account::fold_name(), 1, at(7)));
    assert_eq!(second.state.to_value().unwrap(), json!({ "owner": "", "cents": 5, "closed": false }));
    assert_eq!(second.snapshot_size, second.state.as_str().len() as u64);
    assert_eq!(&*second.aggregate.aggregate_id, "a");
    let reasons = [SnapshotReason::Manual, SnapshotReason::Scheduled, SnapshotReason::Threshold];
    assert_eq!(reasons.map(SnapshotReason::as_str), ["manual", "scheduled", "threshold"]);
}

#[test]
fn one_on_request_only_if_it_is_due() {
    let (place, accounts) = accounts(fast().snapshots(SnapshotPolicy::every(10)));
    let store = place.open();
    let event = || NewEvent::of(&AccountEvent::Deposited { cents: 1 }).unwrap();
    store.append("account", "a", 0, (0..9).map(|_| event())).unwrap();
    assert_eq!(accounts.snapshot_if_due("a").unwrap(), None);
    store.append("account", "a", 9, [event()]).unwrap();
    assert_eq!(accounts.snapshot_if_due("a").unwrap(), Some(10.into()));
    assert_eq!(accounts.snapshot_if_due("a").unwrap(), None);
    assert_eq!(accounts.latest_snapshot("a").unwrap().unwrap().reason, SnapshotReason::Threshold);
}

#[test]
fn at_the_same_version_the_new_one_replaces_the_old() {
    let (place, accounts) = accounts(fast());
    accounts.append("a", 0, deposits(3)).unwrap();
    accounts.create_snapshot("a", SnapshotReason::Manual).unwrap();
    accounts.create_snapshot("a", SnapshotReason::Scheduled).unwrap();
    assert_eq!(versions(&accounts, "a"), [3]);
    assert_eq!(accounts.latest_snapshot("a").unwrap().unwrap().reason, SnapshotReason::Scheduled);
    assert_eq!(place.open().file_statistics().unwrap().snapshots, 1);
}

#[test]
fn deleting_and_cleaning_up() {
    let (place, accounts) = accounts(fast().snapshots(SnapshotPolicy::manual().retain(10)));
    for n in 0..6 {
        accounts.append("a", n, deposits(1)).unwrap();
        accounts.create_snapshot("a", SnapshotReason::Manual).unwrap();
    }
    let fewer = fast().snapshots(SnapshotPolicy::manual().retain(2)).open(place.file()).unwrap().aggregates::<Account>();
    assert_eq!(accounts.prune_snapshots("a").unwrap(), 0);
    assert_eq!(fewer.prune_snapshots("a").unwrap(), 4);
    assert_eq!(versions(&accounts, "a"), [6, 5]);
    assert_eq!(accounts.delete_snapshots("a").unwrap(), 2);
    assert_eq!((versions(&accounts, "a"), accounts.latest_snapshot("a").unwrap()), (vec![], None));
    assert_eq!(accounts.replay("a").unwrap().state.cents, 6);
    assert_eq!(place.open().file_statistics().unwrap().snapshots, 0);
}

#[test]
fn those_that_are_too_old_expire() {
    let clock = Clock::fixed(at(0));
    let (place, accounts) = accounts(fast().clock(clock.clone()));
    for (second, id) in [(0, "a"), (10, "a"), (20, "b")] {
        clock.set(at(second));
        accounts.append(id, foldlog::Expected::Any, deposits(1)).unwrap();
        accounts.create_snapshot(id, SnapshotReason::Manual).unwrap();
    }
    let store = fast().clock(clock.clone()).open(place.file()).unwrap();
    clock.set(at(100));
    for (age, expired) in [(101, 0), (100, 0), (90, 1), (90, 0), (79, 2)] {
        assert_eq!(
            store.maintenance().expire_snapshots(Duration::from_secs(age), |_| Continue(())).unwrap().expired,
            expired,
            "older than {age} s"
        );
    }
    assert_eq!(store.maintenance().expire_snapshots(Duration::MAX, |_| Continue(())).unwrap().expired, 0);
    assert_eq!(store.file_statistics().unwrap().snapshots, 0);
}

#[test]
fn statistics() {
    let clock = Clock::fixed(at(0));
    let (place, accounts) = accounts(fast().clock(clock.clone()));
    let store = place.open();
    let empty = store.snapshot_statistics().unwrap();
    assert_eq!(
        (empty.total_snapshots, empty.average_snapshot_size, empty.oldest_snapshot, empty.newest_snapshot),
        (0, 0, None, None)
    );
    for (second, id) in [(5, "a"), (1, "a"), (9, "b")] {
        clock.set(at(second));
        accounts.append(id, foldlog::Expected::Any, deposits(1)).unwrap();
        accounts.create_snapshot(id, SnapshotReason::Manual).unwrap();
    }
    let statistics = store.snapshot_statistics().unwrap();
    assert_eq!(statistics.total_snapshots, 3);
    let by_aggregate: Vec<_> = statistics
        .snapshots_by_aggregate
        .iter()
        .map(|of| (of.aggregate_type.as_str(), of.aggregate_id.as_str(), of.snapshots))
        .collect();
    assert_eq!(by_aggregate, [("account", "a", 2), ("account", "b", 1)]);
    let sizes: Vec<u64> = ["a", "b"].iter().flat_map(|id| accounts.snapshots(id).unwrap()).map(|one| one.snapshot_size).collect();
    assert_eq!(statistics.average_snapshot_size, sizes.iter().sum::<u64>() / 3);
    assert_eq!((statistics.oldest_snapshot, statistics.newest_snapshot), (Some(at(1)), Some(at(9))));
    let shown = serde_json::to_value(&statistics).unwrap();
    for name in ["totalSnapshots", "snapshotsByAggregate", "averageSnapshotSize", "oldestSnapshot", "newestSnapshot"] {
        assert!(!shown[name].is_null(), "{shown}");
    }
}

#[test]
fn expiry_can_be_stopped_between_two_transactions() {
    let clock = Clock::fixed(at(0));
    let store = fast().clock(clock.clone()).in_memory().unwrap();
    let lists = store.json_aggregates("list");
    let all = (0..1_001).fold(foldlog::Batch::new(), |batch, n| batch.append("list", n, 0, [noted(n)]));
    store.commit(all).unwrap();
    lists.snapshot_all(SnapshotReason::Manual, |_| Continue(())).unwrap();
    clock.set(at(9));
    let expire = |more| {
        let flow = move |_| if more { Continue(()) } else { std::ops::ControlFlow::Break(()) };
        let done = store.maintenance().expire_snapshots(Duration::from_secs(1), flow).unwrap();
        (done.expired, done.finished, store.file_statistics().unwrap().snapshots)
    };
    assert_eq!(expire(false), (1_000, false, 1));
    assert_eq!(expire(true), (1, true, 0));
}
