//! Several threads on one store, and on several stores of one file.

use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use foldlog::{Appended, Batch, ErrorKind, Query, Result, Store};

use crate::domain::{Account, AccountEvent};
use crate::support::{Place, fast, noted, read};

const THREADS: usize = 8;

/// All threads append at the same expected version at the same moment, round after round. What comes of it is looked at
/// afterwards: a thread that panicked between two barriers would keep the others waiting for ever.
fn race(stores: &[Store], rounds: u64) {
    let barrier = Barrier::new(stores.len());
    let run = |store: &Store| -> Vec<Result<Appended>> {
        let attempt = |round| {
            barrier.wait();
            let outcome = store.append("list", "a", round, [noted(round)]);
            barrier.wait();
            outcome
        };
        (0..rounds).map(attempt).collect()
    };
    let outcomes: Vec<_> = thread::scope(|scope| {
        let threads: Vec<_> = stores.iter().map(|store| scope.spawn(|| run(store))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    for round in 0..rounds {
        let of_round = || outcomes.iter().map(|of_thread| &of_thread[round as usize]);
        let winners: Vec<u64> = of_round().flatten().map(|appended| appended.version.get()).collect();
        assert_eq!(winners, [round + 1], "exactly one winner");
        for error in of_round().filter_map(|outcome| outcome.as_ref().err()) {
            assert_eq!(error.kind(), ErrorKind::Conflict, "{error:?}");
            assert_eq!(error.conflict().unwrap().actual, round + 1);
        }
    }
    let versions: Vec<u64> = read(&stores[0], Query::new()).iter().map(|event| event.version.get()).collect();
    assert_eq!(versions, (1..=rounds).collect::<Vec<_>>());
}

#[test]
fn one_winner_per_expected_version_on_one_store() {
    let place = Place::new();
    let store = place.open();
    race(&vec![store; THREADS], 60);
}

#[test]
fn one_winner_per_expected_version_on_stores_of_one_file() {
    let place = Place::new();
    let stores: Vec<_> = (0..THREADS).map(|_| place.open()).collect();
    race(&stores, 25);
}

#[test]
fn one_winner_per_expected_version_in_memory() {
    race(&vec![fast().in_memory().unwrap(); THREADS], 60);
}

#[test]
fn readers_see_whole_commits_without_gaps_while_writers_write() {
    let place = Place::new();
    let store = place.open();
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let writers: Vec<_> = (0..3)
            .map(|writer| {
                let store = &store;
                scope.spawn(move || {
                    for n in 0..40 {
                        let own = format!("own-{writer}");
                        let batch = Batch::new().append("list", own, n * 2, [noted(n), noted(n)]).append(
                            "list",
                            "shared",
                            foldlog::Expected::Any,
                            [noted(n)],
                        );
                        store.commit(batch).unwrap();
                    }
                })
            })
            .collect();
        for _ in 0..3 {
            scope.spawn(|| {
                while !done.load(Ordering::SeqCst) {
                    let events = read(&store, Query::new());
                    assert_eq!(events.len() % 3, 0, "a part of a commit");
                    assert!(events.iter().zip(1..).all(|(event, position)| event.position == position), "a gap");
                    let shared = read(&store, Query::aggregate("list", "shared"));
                    assert!(shared.iter().zip(1..).all(|(event, version)| event.version == version));
                    assert!(shared.len() >= events.len() / 3);
                }
            });
        }
        writers.into_iter().for_each(|writer| writer.join().unwrap());
        done.store(true, Ordering::SeqCst);
    });
    assert_eq!(store.last_position().unwrap(), 360);
    assert_eq!(store.version("list", "shared").unwrap(), 120);
}

#[test]
fn nothing_is_lost_when_all_execute_on_one_aggregate() {
    let place = Place::new();
    let store = fast().execute_attempts(10_000).open(place.file()).unwrap();
    let attempts = AtomicU64::new(0);
    thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                let accounts = store.aggregates::<Account>();
                for _ in 0..30 {
                    let executed = accounts.execute("a", |_| [AccountEvent::Deposited { cents: 1 }]);
                    attempts.fetch_add(u64::from(executed.unwrap().attempts), Ordering::Relaxed);
                }
            });
        }
    });
    let accounts = store.aggregates::<Account>();
    let replayed = accounts.replay("a").unwrap();
    assert_eq!((replayed.state.cents, replayed.version.get()), (240, 240));
    assert_eq!(accounts.without_snapshots().replay("a").unwrap().state, replayed.state);
    assert!(replayed.from_snapshot.is_some(), "snapshots were made in between");
    assert!(attempts.load(Ordering::Relaxed) > 240, "there were conflicts to retry");
}

/// As in a file: who reads sees what was committed, and does not wait for what is not.
#[test]
fn readers_in_memory_do_not_wait_for_the_writer() {
    let store = fast().busy_timeout(std::time::Duration::from_millis(300)).execute_attempts(1).in_memory().unwrap();
    let accounts = store.aggregates::<Account>();
    accounts.append("a", 0, [AccountEvent::Deposited { cents: 1 }]).unwrap();
    let (deciding, read) = (Barrier::new(2), Barrier::new(2));
    thread::scope(|scope| {
        // The only attempt decides under the write lock.
        let slow = scope.spawn(|| {
            accounts.execute("a", |_| {
                deciding.wait();
                read.wait();
                [AccountEvent::Deposited { cents: 10 }]
            })
        });
        deciding.wait();
        let began = std::time::Instant::now();
        let seen = accounts.replay("a").map(|account| account.state.cents);
        let verified = store.maintenance().verify(|_| std::ops::ControlFlow::Continue(()));
        let took = began.elapsed();
        let busy = store.append("account", "b", 0, [noted(1)]);
        read.wait();
        assert_eq!(seen.unwrap(), 1);
        assert!(verified.unwrap().is_clean());
        assert!(took < std::time::Duration::from_millis(300), "{took:?}");
        assert_eq!(busy.unwrap_err().kind(), ErrorKind::Busy, "there is one writer");
        slow.join().unwrap().unwrap();
    });
    assert_eq!(accounts.replay("a").unwrap().state.cents, 11);
}

/// Commits change pages that others read: each reading must be of one moment.
#[test]
fn readers_in_memory_see_whole_commits() {
    let store = fast().in_memory().unwrap();
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                let mut last = 0;
                while !done.load(Ordering::Relaxed) {
                    let positions: Vec<u64> = read(&store, Query::new()).iter().map(|event| event.position.get()).collect();
                    assert!(positions.len().is_multiple_of(3) && positions.len() >= last);
                    assert!(positions.iter().zip(1..).all(|(position, expected)| *position == expected));
                    last = positions.len();
                }
            });
        }
        for n in 0..200 {
            store.append("list", format!("l-{n}"), 0, (0..3).map(noted)).unwrap();
        }
        done.store(true, Ordering::Relaxed);
    });
    assert_eq!(store.last_position().unwrap(), 600);
}
