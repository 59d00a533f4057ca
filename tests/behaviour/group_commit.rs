//! Group commit: appends that wait together share a transaction, and each keeps its own result.

use std::ops::ControlFlow::Continue;
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use foldlog::{Appended, Batch, ErrorKind, EventId, Expected, Query, Result, Store};

use crate::gate::{Gate, event};
use crate::support::{Place, fast, noted, read, refused};

const TIMEOUT: Duration = Duration::from_secs(60);
/// How long threads that have begun are given to join the queue. One that is later joins a later group.
const UNTIL_QUEUED: Duration = Duration::from_secs(1);

/// Runs `others` while an append holds the writer, and lets it go when the last of them waits. Returns what the others got,
/// and how many commits the append and they took.
fn behind_an_append<'s, T: Send>(
    place: &Place,
    store: &'s Store,
    others: Vec<Box<dyn FnOnce() -> T + Send + 's>>,
) -> (Vec<T>, usize) {
    let (gate, is_here, go_on) = Gate::new();
    store.project_inline(gate).unwrap();
    thread::scope(|scope| {
        scope.spawn(|| store.append("list", "first", 0, [event("Wait")]).unwrap());
        is_here.recv().unwrap();
        let before = commits(place);
        let (begun, has_begun) = channel();
        let run = |work: Box<dyn FnOnce() -> T + Send + 's>| {
            let begun = begun.clone();
            scope.spawn(move || {
                begun.send(()).unwrap();
                work()
            })
        };
        let others: Vec<_> = others.into_iter().map(run).collect();
        others.iter().for_each(|_| has_begun.recv().unwrap());
        thread::sleep(UNTIL_QUEUED);
        go_on.send(()).unwrap();
        let results = others.into_iter().map(|other| other.join().unwrap()).collect();
        (results, commits(place) - before)
    })
}

/// The commits that the file's write-ahead log has had.
fn commits(place: &Place) -> usize {
    let log = std::fs::read(place.file().with_extension("db-wal")).unwrap();
    // The header has 32 bytes; a frame's 24, of which bytes 4 to 7 are not 0 at the end of a transaction.
    log[32..].chunks_exact(24 + 4_096).filter(|frame| frame[4..8] != [0; 4]).count()
}

#[test]
fn appends_that_wait_share_a_commit_and_each_keeps_its_own_result() {
    let place = Place::new();
    let store = fast().busy_timeout(TIMEOUT).open(place.file()).unwrap();
    let known = EventId::from_u128(7);
    store.append("list", "known", 0, [event("Other").id(known)]).unwrap();
    type Work<'a> = Box<dyn FnOnce() -> Result<Appended> + Send + 'a>;
    let store = &store;
    let mut others: Vec<Work<'_>> =
        (0..6).map(|n| Box::new(move || store.append("list", format!("own-{n}"), 0, [noted(n), noted(n)])) as Work<'_>).collect();
    others.push(Box::new(|| store.append("list", "known", 7, [noted(1)])));
    others.push(Box::new(|| store.append("list", "known", 0, [event("Other").id(known)])));
    others.push(Box::new(|| store.append("list", "fails", 0, [noted(1), event("Fail")])));
    others.push(Box::new(|| store.append("new type", "panics", 0, [noted(1), event("Panic")])));
    let both = Batch::new().append("list", "x", Expected::New, [noted(1)]).append("list", "y", Expected::Existing, [noted(1)]);
    others.push(Box::new(|| store.commit(both).map(|mut appended| appended.remove(0))));
    others.push(Box::new(|| store.append("new type", "own", 0, [noted(1)])));

    let before = store.last_position().unwrap().get();
    let (results, commits) = behind_an_append(&place, store, others);
    assert!(commits <= 4, "{commits} commits of 9 appends: the one that made the others wait, and one for all of them");
    let mut results = results.into_iter();

    let mut positions = Vec::new();
    for (n, result) in results.by_ref().take(6).enumerate() {
        let appended = result.unwrap();
        assert_eq!((appended.version.get(), appended.was_duplicate), (2, false), "{n}");
        assert_eq!(appended.commit_id.get(), appended.position.get() - 1, "each is a commit of its own");
        positions.push(appended.position.get());
    }
    let conflict = refused(results.next().unwrap(), ErrorKind::Conflict);
    assert_eq!(conflict.conflict().unwrap().actual, 1);
    let repeated = results.next().unwrap().unwrap();
    assert!(repeated.was_duplicate && repeated.event_ids == [known]);
    refused(results.next().unwrap(), ErrorKind::Handler);
    refused(results.next().unwrap(), ErrorKind::Handler);
    refused(results.next().unwrap(), ErrorKind::Conflict);
    positions.push(results.next().unwrap().unwrap().position.get());

    // "first" and the 13 events of seven appends, without a gap; nothing of the others.
    positions.sort_unstable();
    positions.dedup();
    assert_eq!(positions.len(), 7);
    let events = read(store, Query::new().after_position(before));
    assert_eq!(
        events.iter().map(|event| event.position.get()).collect::<Vec<_>>(),
        (before + 1..=before + 14).collect::<Vec<_>>()
    );
    assert!(events.iter().all(|event| !["fails", "panics", "x", "y"].contains(&&*event.aggregate_id)));
    assert!(store.maintenance().verify(|_| Continue(())).unwrap().is_clean());
    // And the store goes on as after any append.
    assert_eq!(store.append("new type", "panics", 0, [noted(1)]).unwrap().version, 1);
    assert_eq!(store.append("list", "own-3", 2, [noted(1)]).unwrap().version, 3);
}

#[test]
fn who_waits_too_long_leaves_the_queue_and_appends_nothing() {
    let place = Place::new();
    let store = fast().busy_timeout(Duration::from_millis(50)).open(place.file()).unwrap();
    let store = &store;
    let others = (0..4).map(|n| Box::new(move || store.append("list", format!("o-{n}"), 0, [noted(n)])) as Box<_>).collect();
    for result in behind_an_append(&place, store, others).0 {
        refused(result, ErrorKind::Busy);
    }
    assert_eq!(read(store, Query::new()).len(), 1);
    store.append("list", "o-1", 0, [noted(1)]).unwrap();
}

#[test]
fn many_threads_lose_and_double_nothing() {
    const THREADS: u64 = 8;
    const EACH: u64 = 100;
    let place = Place::new();
    for store in [place.open(), fast().in_memory().unwrap()] {
        thread::scope(|scope| {
            for thread in 0..THREADS {
                let store = &store;
                scope.spawn(move || {
                    for n in 0..EACH {
                        let id = format!("own-{thread}");
                        assert_eq!(store.append("list", &id, n, [noted(n)]).unwrap().version, n + 1);
                        let shared = store.append("list", "shared", Expected::Any, [noted(n)]).unwrap();
                        assert_eq!(shared.commit_id, shared.position);
                    }
                });
            }
        });
        assert_eq!(store.version("list", "shared").unwrap(), THREADS * EACH);
        let events = read(&store, Query::new());
        let positions: Vec<_> = events.iter().map(|event| event.position.get()).collect();
        assert_eq!(positions, (1..=2 * THREADS * EACH).collect::<Vec<_>>());
        assert!(store.maintenance().verify(|_| Continue(())).unwrap().is_clean());
    }
}
