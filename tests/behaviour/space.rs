//! Space on the disk: how large the write-ahead log may be, and how a file becomes smaller.

use std::ops::ControlFlow::{Break, Continue};

use foldlog::{ErrorKind, Expected, NewEvent, Options, Purge, Query, Store};

use crate::support::{Place, at, fast, noted, read, refused};

fn size(place: &Place, name: &str) -> u64 {
    std::fs::metadata(place.join(name)).map_or(0, |file| file.len())
}

fn large(n: u64) -> NewEvent {
    NewEvent::new("Noted", &"x".repeat(2_000)).unwrap().created_at(at(n as i64))
}

/// Three MiB of events.
fn fill(store: &Store) {
    for part in 0..30 {
        store.append("list", format!("l-{part}"), Expected::New, (0..50).map(large)).unwrap();
    }
}

#[test]
fn the_write_ahead_log_keeps_its_limit() {
    let largest = |options: Options| {
        let place = Place::new();
        let store = options.open(place.file()).unwrap();
        let mut largest = 0;
        for n in 0..600 {
            store.append("list", "a", Expected::Any, [large(n)]).unwrap();
            largest = largest.max(size(&place, "store.db-wal"));
        }
        // One append that is larger than the limit.
        store.append("list", "b", Expected::Any, (0..400).map(large)).unwrap();
        (0..3).for_each(|n| drop(store.append("list", "a", Expected::Any, [large(n)]).unwrap()));
        (largest, size(&place, "store.db-wal"))
    };
    let limit = 256 << 10;
    let (growing, after) = largest(fast().wal_limit(limit));
    assert!(growing > limit / 2 && growing <= limit + (64 << 10), "{growing}");
    assert!(after <= limit + (64 << 10), "{after}: cut back after a large append");
    let (unlimited, _) = largest(fast());
    assert!(unlimited > 2 << 20, "{unlimited}");
    assert_eq!(fast().get_wal_limit(), 16 << 20);
    assert_eq!(fast().wal_limit(limit).get_wal_limit(), limit);
    assert_eq!((fast().wal_limit(0).get_wal_limit(), fast().wal_limit(u64::MAX).get_wal_limit()), (64 << 10, 1 << 40));
}

#[test]
fn compacting_gives_back_what_a_purge_left() {
    let place = Place::new();
    let store = place.open();
    fill(&store);
    store.maintenance().checkpoint().unwrap();
    let full = size(&place, "store.db");
    assert!(full > 3 << 20);
    let old = Purge::created_before(at(40)).even_if_replay_breaks();
    assert_eq!(store.maintenance().purge(old).unwrap().events_removed, 30 * 40);
    store.maintenance().checkpoint().unwrap();
    assert_eq!(size(&place, "store.db"), full, "a purge alone gives nothing back");

    let mut last = None;
    let stopped = store.maintenance().compact(|progress| {
        last = Some(progress);
        Break(())
    });
    let first = last.unwrap();
    assert!(stopped.unwrap() == first && !first.finished && first.done > 0 && first.done < first.total);
    let partly = size(&place, "store.db");
    assert!(partly < full);

    let before = read(&store, Query::new());
    let mut slices = 0;
    let finished = store.maintenance().compact(|progress| {
        // The application works on.
        store.append("list", "new", slices, [noted(slices)]).unwrap();
        slices += 1;
        assert!(progress.done <= progress.total && progress.done <= slices * 64);
        Continue(())
    });
    assert!(finished.unwrap().finished && slices > 2);
    assert!(size(&place, "store.db") < full / 3, "{} of {full}", size(&place, "store.db"));
    assert_eq!(read(&store, Query::new())[..before.len()], before);
    assert!(store.maintenance().verify(|_| Continue(())).unwrap().is_clean());
    assert!(store.maintenance().compact(|_| panic!("nothing is left to do")).unwrap().finished);
    let read_only = Store::open_read_only(place.file()).unwrap();
    refused(read_only.maintenance().compact(|_| Continue(())), ErrorKind::ReadOnly);
}
