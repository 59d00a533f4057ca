//! The timetable of clean-up: once per period, whatever is closed and opened in between; gone with its handle.

use std::time::{Duration, Instant};

use foldlog::{Clock, SnapshotExpiry, SnapshotReason, Store};

use crate::domain::{Account, deposits};
use crate::support::{Place, at, fast};

const DAY: i64 = 86_400;

fn open(place: &Place, clock: &Clock) -> Store {
    fast().clock(clock.clone()).busy_timeout(Duration::from_millis(50)).open(place.file()).unwrap()
}

/// Makes a snapshot that is dated.
fn snapshot_at(store: &Store, clock: &Clock, id: &str, day: i64) {
    let now = day * DAY;
    clock.set(at(now));
    let accounts = store.aggregates::<Account>();
    accounts.append(id, foldlog::Expected::Any, deposits(1)).unwrap();
    accounts.create_snapshot(id, SnapshotReason::Manual).unwrap();
}

fn snapshots(store: &Store) -> u64 {
    store.file_statistics().unwrap().snapshots
}

#[track_caller]
fn within_seconds(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !done() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Long enough for a thread that looks every few milliseconds to do what it must not do.
fn some_time() {
    std::thread::sleep(Duration::from_millis(150));
}

#[test]
fn once_a_week_across_reopening() {
    let place = Place::new();
    let clock = Clock::fixed(at(0));
    let store = open(&place, &clock);
    snapshot_at(&store, &clock, "old", 0);
    snapshot_at(&store.tenant("acme"), &clock, "old", 1);
    snapshot_at(&store, &clock, "young", 50);
    clock.set(at(100 * DAY));
    let task = store.maintenance().schedule_snapshot_expiry(SnapshotExpiry::weekly()).unwrap();
    within_seconds("the first clean-up comes at once", || task.expired() == 2);
    assert_eq!(snapshots(&store), 1, "every tenant's, but not the one of 50 days");
    assert_eq!(task.last_failure(), None);
    drop((task, store));

    let store = open(&place, &clock);
    snapshot_at(&store, &clock, "old", 2);
    clock.set(at(107 * DAY - 1));
    let task = store.maintenance().schedule_snapshot_expiry(SnapshotExpiry::weekly()).unwrap();
    some_time();
    assert_eq!((task.expired(), snapshots(&store)), (0, 2), "not yet a week");
    drop((task, store));

    let store = open(&place, &clock);
    clock.set(at(107 * DAY));
    let task = store.maintenance().schedule_snapshot_expiry(SnapshotExpiry::weekly()).unwrap();
    within_seconds("a week later it comes again", || task.expired() == 1);
    assert_eq!(snapshots(&store), 1);
}

#[test]
fn a_running_timetable_comes_again_and_stops_with_its_handle() {
    let place = Place::new();
    let clock = Clock::fixed(at(0));
    let store = open(&place, &clock);
    let plan = SnapshotExpiry::weekly().every(Duration::from_millis(5)).older_than(Duration::from_secs(10));
    let task = store.maintenance().schedule_snapshot_expiry(plan).unwrap();
    for round in 1..=3 {
        snapshot_at(&store, &clock, "a", round);
        clock.set(at(round * DAY + 11));
        within_seconds("each time the period is over", || snapshots(&store) == 0);
    }
    within_seconds("it counts", || task.expired() == 3);
    let began = Instant::now();
    drop(task);
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    snapshot_at(&store, &clock, "a", 5);
    clock.set(at(6 * DAY));
    some_time();
    assert_eq!(snapshots(&store), 1, "nobody cleans up any more");
}

#[test]
fn a_long_period_does_not_delay_the_stop() {
    let place = Place::new();
    let task = place.open().maintenance().schedule_snapshot_expiry(SnapshotExpiry::weekly()).unwrap();
    some_time();
    let began = Instant::now();
    drop(task);
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
}

#[test]
fn a_failure_is_told_and_the_next_try_comes() {
    let place = Place::new();
    let clock = Clock::fixed(at(0));
    let store = open(&place, &clock);
    snapshot_at(&store, &clock, "a", 0);
    clock.set(at(DAY));
    let other = place.raw();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let plan = SnapshotExpiry::weekly().every(Duration::from_millis(5)).older_than(Duration::ZERO);
    let task = store.maintenance().schedule_snapshot_expiry(plan).unwrap();
    within_seconds("the failure shows", || task.last_failure().is_some_and(|failure| failure.contains("busy time-out")));
    assert_eq!(task.expired(), 0);
    other.execute_batch("ROLLBACK").unwrap();
    within_seconds("then it works", || task.expired() == 1 && task.last_failure().is_none());
}
