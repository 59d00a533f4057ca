//! Another program holds the file: a bounded wait, then an error that can be retried, and nothing written.

use std::ops::ControlFlow::Continue;
use std::thread;
use std::time::{Duration, Instant};

use foldlog::{ErrorKind, Query, SnapshotReason, Store};

use crate::domain::{Account, AccountEvent, deposits};
use crate::gate::{Gate, event};
use crate::support::{Place, fast, noted, read, refused, says};

const TIMEOUT: Duration = Duration::from_millis(300);
/// A machine with other work to do may be late, but not by this much.
const PATIENCE: Duration = Duration::from_secs(5);

fn locked() -> (Place, Store, rusqlite::Connection) {
    let place = Place::new();
    let store = fast().busy_timeout(TIMEOUT).open(place.file()).unwrap();
    store.aggregates::<Account>().append("a", 0, deposits(2)).unwrap();
    let other = place.raw();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    (place, store, other)
}

#[track_caller]
fn is_busy<T>(work: impl FnOnce() -> foldlog::Result<T>) {
    let began = Instant::now();
    let error = refused(work(), ErrorKind::Busy);
    let waited = began.elapsed();
    assert!(waited >= TIMEOUT && waited < TIMEOUT + PATIENCE, "{waited:?}");
    assert!(error.is_retryable());
    says(&error, &["longer than the busy time-out", "try again", "Options::busy_timeout"]);
}

#[test]
fn every_write_gives_up_after_the_time_out() {
    let (_place, store, other) = locked();
    let accounts = store.aggregates::<Account>();
    is_busy(|| store.append("list", "new", 0, [noted(1)]));
    is_busy(|| accounts.append("a", 2, deposits(1)));
    is_busy(|| accounts.execute("a", |_| deposits(1)).map_err(foldlog::Error::from));
    is_busy(|| accounts.create_snapshot("a", SnapshotReason::Manual));
    is_busy(|| accounts.delete_snapshots("a"));
    is_busy(|| store.maintenance().purge(foldlog::Purge::created_before(chrono::Utc::now())));
    is_busy(|| store.maintenance().expire_snapshots(Duration::ZERO, |_| Continue(())));
    assert_eq!(read(&store, Query::new()).len(), 2);
    other.execute_batch("ROLLBACK").unwrap();
    assert_eq!(store.version("list", "new").unwrap(), 0);
    assert_eq!(store.append("list", "new", 0, [noted(1)]).unwrap().position, 3);
    accounts.execute("a", |_| [AccountEvent::Closed]).unwrap();
}

#[test]
fn a_lock_that_goes_in_time_is_waited_for() {
    let (place, _, other) = locked();
    let store = fast().busy_timeout(Duration::from_secs(30)).open(place.file()).unwrap();
    let holder = thread::spawn(move || {
        thread::sleep(Duration::from_millis(200));
        other.execute_batch("ROLLBACK").unwrap();
    });
    let began = Instant::now();
    store.append("account", "a", 2, [noted(1)]).unwrap();
    assert!(began.elapsed() >= Duration::from_millis(100), "it was not locked");
    holder.join().unwrap();
}

#[test]
fn a_conflict_is_not_waited_out() {
    let place = Place::new();
    let store = fast().busy_timeout(Duration::from_secs(60)).open(place.file()).unwrap();
    let began = Instant::now();
    for _ in 0..50 {
        refused(store.append("list", "a", 7, [noted(1)]), ErrorKind::Conflict);
    }
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
}

#[test]
fn opening_does_not_need_the_lock() {
    let (place, _, _other) = locked();
    let store = place.open();
    assert_eq!(read(&store, Query::new()).len(), 2);
    assert_eq!(read(&Store::open_read_only(place.file()).unwrap(), Query::new()).len(), 2);
}

#[test]
fn a_new_file_that_somebody_else_is_making() {
    let place = Place::new();
    let other = place.raw();
    other.execute_batch("BEGIN EXCLUSIVE").unwrap();
    is_busy(|| fast().busy_timeout(TIMEOUT).open(place.file()));
    other.execute_batch("ROLLBACK").unwrap();
    place.open().append("list", "a", 0, [noted(1)]).unwrap();
}

#[test]
fn a_snapshot_that_is_due_waits_for_nobody() {
    let place = Place::new();
    let store = fast().busy_timeout(Duration::from_secs(30)).open(place.file()).unwrap();
    let event = || foldlog::NewEvent::of(&AccountEvent::Deposited { cents: 1 }).unwrap();
    store.append("account", "a", 0, (0..150).map(|_| event())).unwrap();
    let other = place.raw();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let accounts = store.aggregates::<Account>();
    let began = Instant::now();
    assert_eq!(accounts.replay("a").unwrap().state.cents, 150);
    assert!(began.elapsed() < Duration::from_secs(15), "{:?}", began.elapsed());
    other.execute_batch("ROLLBACK").unwrap();
    assert_eq!(accounts.snapshots("a").unwrap(), []);
    accounts.replay("a").unwrap();
    assert_eq!(accounts.snapshots("a").unwrap().len(), 1);
    // And the patience for what must be written is back.
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    thread::scope(|scope| {
        scope.spawn(|| store.append("account", "a", 150, [event()]).unwrap());
        thread::sleep(Duration::from_millis(100));
        other.execute_batch("ROLLBACK").unwrap();
    });
}

#[test]
fn a_thread_waits_for_another_one_no_longer_than_for_another_program() {
    let place = Place::new();
    let store = fast().busy_timeout(TIMEOUT).open(place.file()).unwrap();
    let (gate, is_here, go_on) = Gate::new();
    store.project_inline(gate).unwrap();
    let first = thread::spawn({
        let store = store.clone();
        move || store.append("list", "a", 0, [event("Wait")]).map(|appended| appended.position)
    });
    is_here.recv().unwrap();
    is_busy(|| store.append("list", "b", 0, [noted(1)]));
    is_busy(|| store.maintenance().checkpoint());
    assert!(read(&store, Query::new()).is_empty(), "readers do not wait");
    go_on.send(()).unwrap();
    assert_eq!(first.join().unwrap().unwrap(), 1);
    assert_eq!(store.append("list", "b", 0, [noted(1)]).unwrap().position, 2);
}
