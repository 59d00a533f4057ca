//! Each setting and default of upkeep and of the archive, told from one that is ignored or doubled.

use std::ops::ControlFlow::Continue;
use std::time::{Duration, Instant};

use foldlog::chrono::TimeDelta;
use foldlog::{Archive, Clock, Expected, NewEvent, Purge, SnapshotPolicy, SnapshotReason, Store, Upkeep, UpkeepReport};

use crate::domain::{Account, deposits};
use crate::support::{Place, at, fast, noted};

const DAY: i64 = 86_400;

fn days(days: u64) -> Duration {
    Duration::from_secs(days * 86_400)
}

fn maintained(store: &Store, upkeep: Upkeep) -> UpkeepReport {
    store.maintenance().maintain(upkeep, |_| Continue(())).unwrap()
}

/// Snapshots that were made at these seconds, each of an aggregate of its own.
fn with_snapshots_at(place: &Place, clock: &Clock, seconds: &[i64]) -> Store {
    let store = fast().clock(clock.clone()).snapshots(SnapshotPolicy::manual()).open(place.file()).unwrap();
    let accounts = store.aggregates::<Account>();
    for second in seconds {
        clock.set(at(*second));
        accounts.append(second, Expected::New, deposits(1)).unwrap();
        accounts.create_snapshot(second, SnapshotReason::Manual).unwrap();
    }
    store
}

#[test]
fn snapshots_go_after_ninety_days_or_as_it_is_set() {
    for (upkeep, age) in [
        (Upkeep::new(), Some(90)),
        (Upkeep::default(), Some(90)),
        (Upkeep::new().snapshots_older_than(days(20)), Some(20)),
        (Upkeep::new().keep_snapshots(), None),
        (Upkeep::new().keep_snapshots().snapshots_older_than(days(7)), Some(7)),
    ] {
        let (place, clock) = (Place::new(), Clock::fixed(at(0)));
        let store = with_snapshots_at(&place, &clock, &[0, 2]);
        // Whatever is set, both are far older than any age, or exactly the first is too old.
        clock.set(at(age.unwrap_or(10_000) * DAY + 1));
        let expired = maintained(&store, upkeep.clone()).snapshots_expired();
        assert_eq!(expired, u64::from(age.is_some()), "{upkeep:?}");
        assert_eq!(store.file_statistics().unwrap().snapshots, 2 - expired);
    }
}

#[test]
fn the_archive_takes_what_is_older_than_two_years_or_as_it_is_set() {
    let now = at(0);
    let clock = Clock::fixed(now);
    let store = fast().clock(clock).snapshots(SnapshotPolicy::manual()).in_memory().unwrap();
    // Each day one event, the newest of today, and as many that are older than anything.
    let lists = store.json_aggregates("list");
    let daily = (0..1_024).rev().map(|day| noted(1).created_at(now - TimeDelta::days(day)));
    lists.append("a", Expected::New, daily.collect::<Vec<NewEvent>>()).unwrap();
    store.append("other", "b", Expected::New, (0..512).map(|_| noted(1).created_at(now))).unwrap();
    lists.create_snapshot("a", SnapshotReason::Manual).unwrap();
    store.json_aggregates("other").create_snapshot("b", SnapshotReason::Manual).unwrap();
    let archived = |plan: Archive| store.maintenance().archive(plan.dry_run()).unwrap().events_archived;
    // Older than 730 days are those of the days 731 to 1,023.
    assert_eq!(archived(Archive::default()), 1_024 - 731);
    assert_eq!(archived(Archive::older_than(days(100))), 1_024 - 101);
    assert_eq!(archived(Archive::created_before(now - TimeDelta::days(100))), 1_024 - 101);
    assert_eq!(archived(Archive::created_before(now).keep_newest(30)), 1_024 - 30);
    assert_eq!(archived(Archive::all_but_newest(30)), 1_024 - 30 + 512 - 30);
    assert_eq!(archived(Archive::all_but_newest(30).aggregate_type("list")), 1_024 - 30);
    assert_eq!(archived(Archive::all_but_newest(30).aggregate("other", "b")), 512 - 30);
    assert_eq!(archived(Archive::all_but_newest(30).aggregate("other", "a")), 0);
}

#[test]
fn upkeep_archives_only_when_asked_and_then_what_the_plan_says() {
    let (place, clock) = (Place::new(), Clock::fixed(at(0)));
    let store = fast().clock(clock.clone()).snapshots(SnapshotPolicy::manual()).open(place.file()).unwrap();
    let lists = store.json_aggregates("list");
    lists.append("a", Expected::New, (0..600).map(|second| noted(1).created_at(at(second)))).unwrap();
    lists.create_snapshot("a", SnapshotReason::Manual).unwrap();
    clock.set(at(300) + TimeDelta::days(730));
    assert_eq!(maintained(&store, Upkeep::new().keep_snapshots()).tenants[0].archive, None);
    assert!(!place.join("store.db.archive").exists());
    let done = maintained(&store, Upkeep::new().keep_snapshots().archive(Archive::default()));
    assert_eq!(done.tenants[0].archive.as_ref().unwrap().events_archived, 300);
    assert_eq!(done.tenants[0].retention, None);
    let done = maintained(&store, Upkeep::new().keep_snapshots().archive(Archive::all_but_newest(200)));
    assert_eq!(done.tenants[0].archive.as_ref().unwrap().events_archived, 400 - 300);
}

#[test]
fn free_space_is_given_back_unless_it_is_to_be_kept() {
    let place = Place::new();
    let store = place.open();
    let large = |n: i64| NewEvent::new("Noted", &"x".repeat(2_000)).unwrap().created_at(at(n));
    store.append("list", "a", Expected::New, (0..400).map(large)).unwrap();
    store.maintenance().checkpoint().unwrap();
    let size = || std::fs::metadata(place.file()).unwrap().len();
    let full = size();
    store.maintenance().purge(Purge::created_before(at(390)).even_if_replay_breaks()).unwrap();
    let kept = maintained(&store, Upkeep::new().without_compacting());
    assert_eq!((kept.pages_given_back, kept.finished, size()), (0, true, full));
    let done = maintained(&store, Upkeep::new());
    assert_eq!(size(), full - done.pages_given_back * 4_096);
    assert!(done.pages_given_back > 150, "{done:?}");
}

#[test]
fn a_schedule_comes_again_after_the_time_that_is_set() {
    let (place, clock) = (Place::new(), Clock::fixed(at(0)));
    let store = fast().clock(clock.clone()).open(place.file()).unwrap();
    maintained(&store, Upkeep::new());
    let runs = |second: i64, upkeep: Upkeep| {
        clock.set(at(second));
        let task = store.maintenance().schedule(upkeep).unwrap();
        // It looks at once, and then not for a long time.
        for _ in 0..200 {
            if task.runs() > 0 {
                break;
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        assert_eq!(task.last_failure(), None);
        task.runs()
    };
    assert_eq!(runs(3 * DAY - 1, Upkeep::new().every(days(3))), 0);
    assert_eq!(runs(3 * DAY, Upkeep::new().every(days(3))), 1);
    // The week counts from the run before, whoever ran it.
    assert_eq!(runs(10 * DAY - 1, Upkeep::new()), 0);
    assert_eq!(runs(10 * DAY, Upkeep::new()), 1);
    // A time of the last run that lies far ahead is of a wrong clock.
    assert_eq!(runs(2 * DAY, Upkeep::new()), 1);
}

#[test]
fn a_failure_is_told_and_tried_again() {
    let place = Place::new();
    let store = fast().busy_timeout(Duration::from_millis(20)).open(place.file()).unwrap();
    store.append("list", "a", Expected::New, [noted(1)]).unwrap();
    let other = place.raw();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let task = store.maintenance().schedule(Upkeep::new().every(Duration::ZERO)).unwrap();
    let within_seconds = |done: &dyn Fn() -> bool| {
        let deadline = Instant::now() + Duration::from_secs(20);
        while !done() {
            assert!(Instant::now() < deadline, "{:?}", task.last_failure());
            std::thread::sleep(Duration::from_millis(2));
        }
    };
    within_seconds(&|| task.last_failure().is_some_and(|failure| failure.contains("busy time-out")));
    assert_eq!((task.runs(), task.has_ended()), (0, false));
    other.execute_batch("ROLLBACK").unwrap();
    within_seconds(&|| task.runs() > 0);
    assert_eq!(task.last_failure(), None);
}
