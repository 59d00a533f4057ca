//! The archive: events move to a second file, and everything still reads them.

use foldlog::{
    Archive, Batch, ErrorKind, Expected, Filter, NewEvent, Purge, Query, RecordedEvent, SnapshotPolicy, SnapshotReason,
    StartFrom, Store,
};
use std::ops::ControlFlow::Continue;
use std::time::Duration;
use uuid::Uuid;

use crate::domain::{Account, AccountEvent, deposits, opened};
use crate::support::{Place, at, fast, read, refused, says};

const ACCOUNTS: u64 = 7;
const ROUNDS: u64 = 300;

fn id(account: u64, round: u64) -> Uuid {
    Uuid::from_u128(u128::from(account << 32 | round) | 0x8000_4000_0000_0000 << 62)
}

/// Seven interleaved accounts with 300 events each, one every second; some in commits of two; with tags, ids and
/// snapshots. Positions 1 to 2,100, and other aggregates without a snapshot in between.
fn filled() -> (Place, Store) {
    let place = Place::new();
    let store = fast().snapshots(SnapshotPolicy::every(0)).open(place.file()).unwrap();
    for round in 0..ROUNDS {
        for account in 0..ACCOUNTS {
            let event = if round == 0 { opened() } else { AccountEvent::Deposited { cents: round } };
            let mut event = NewEvent::of(&event).unwrap().created_at(at(round as i64)).tag(format!("round-{}", round % 10));
            if account % 2 == 0 {
                event = event.id(id(account, round));
            }
            store.append("account", account, Expected::Any, [event]).unwrap();
        }
        if round % 50 == 0 {
            let note = || crate::support::noted(round).created_at(at(round as i64));
            let batch =
                Batch::new().append("other", "a", Expected::Any, [note()]).append("other", "b", Expected::Any, [note(), note()]);
            store.commit(batch).unwrap();
        }
    }
    store.aggregates::<Account>().snapshot_all(SnapshotReason::Manual, |_| Continue(())).unwrap();
    (place, store)
}

/// Everything that can be asked, in one comparable value.
#[derive(Debug, PartialEq)]
struct Answers {
    states: Vec<String>,
    events: Vec<Vec<RecordedEvent>>,
    counts: Vec<u64>,
    statistics: String,
}

fn answers(store: &Store) -> Answers {
    let accounts = store.aggregates::<Account>();
    let full = accounts.clone().without_snapshots();
    let mut states = Vec::new();
    let mut events = Vec::new();
    for account in 0..ACCOUNTS {
        states.push(format!("{:?}", full.replay(account).unwrap()));
        for version in [1, 2, 99, 150, 200, 299, 300] {
            states.push(format!("{:?}", full.replay_to_version(account, version).unwrap()));
        }
        states.push(format!("{:?}", accounts.replay_to_time(account, at(120)).unwrap().state));
        states.push(format!("{:?}", accounts.replay_to_position(account, 777).unwrap().state));
        events.push(accounts.history(account).collect::<Result<_, _>>().unwrap());
        events.push(read(store, Query::aggregate("account", account).newest_first().limit(250)));
        events.push(read(store, Query::aggregate("account", account).after_version(40).up_to_version(260)));
        events.push(store.event(id(account, 17)).unwrap().into_iter().collect());
    }
    for query in [
        Query::new(),
        Query::new().newest_first(),
        Query::new().after_position(500).up_to_position(1_500),
        Query::new().after_position(500).up_to_position(1_500).newest_first().limit(700),
        Filter::new().event_type("Opened").into(),
        Filter::new().aggregate_type("other").into(),
        Filter::new().tag("round-3").into(),
        Query::matching(Filter::new().tag("round-3")).newest_first().limit(90),
        Filter::new().from(at(10)).to(at(200)).into(),
    ] {
        events.push(read(store, query));
    }
    let counts = vec![
        store.count(Query::new()).unwrap(),
        store.count(Query::aggregate("account", 3)).unwrap(),
        store.count(Query::aggregate("account", 3).filter(Filter::new().event_type("Deposited"))).unwrap(),
        store.count(Filter::new().event_type("Opened")).unwrap(),
        store.file_statistics().unwrap().events,
        store.last_position().unwrap().get(),
    ];
    Answers { states, events, counts, statistics: format!("{:?}", store.statistics().unwrap()) }
}

#[track_caller]
fn clean(store: &Store) {
    let report = store.maintenance().verify(|_| Continue(())).unwrap();
    assert!(report.is_clean(), "{:#?}", report.damages);
    assert_eq!(report.events, store.count(Query::new()).unwrap());
}

fn older_than_second(second: i64) -> Archive {
    Archive::created_before(at(second))
}

#[test]
fn everything_reads_through_it() {
    let (place, store) = filled();
    let before = answers(&store);
    let report = store.maintenance().archive(older_than_second(200)).unwrap();
    assert_eq!((report.events_archived, report.aggregates_archived, report.finished), (ACCOUNTS * 200, ACCOUNTS, true));
    assert_eq!((report.events_kept, report.kept.len()), (4 + 8, 2), "{:?}: without a snapshot they stay", report.kept);
    let in_main: u64 = place.raw().query_row("SELECT count(*) FROM events", [], |row| row.get(0)).unwrap();
    assert_eq!(in_main, before.counts[0] - ACCOUNTS * 200);
    assert_eq!(answers(&store), before);
    clean(&store);

    let other = place.open();
    assert_eq!(answers(&other), before, "another handle, which attaches the archive itself");
    assert_eq!(store.maintenance().archive(older_than_second(200)).unwrap().events_archived, 0, "again: nothing is left to do");
    let report = store.maintenance().archive(Archive::all_but_newest(50)).unwrap();
    assert_eq!(report.events_archived, read_through(&store), "as far as full blocks of 512 positions");
    assert_eq!(answers(&other), before);
    assert_eq!(answers(&store.copy_to_memory().map_err(|error| error.to_string()).unwrap()).counts, before.counts);
    clean(&other);
    assert!(store.maintenance().reindex(|_| Continue(())).unwrap().finished);
    assert_eq!(answers(&store), before);
    clean(&store);

    let archived = archived_of(&place, 3);
    assert_eq!((store.maintenance().unarchive_aggregate("account", 3).unwrap(), archived > 200), (archived, true));
    assert_eq!(answers(&store), before);
    clean(&store);
    store.maintenance().unarchive().unwrap();
    let holes: u64 = place.raw().query_row("SELECT count(*) FROM holes", [], |row| row.get(0)).unwrap();
    assert_eq!(holes, 0);
    std::fs::remove_file(place.join("store.db.archive")).unwrap();
    let store = place.open();
    assert_eq!(answers(&store), before, "without the archive, which nothing needs any more");
    clean(&store);
}

/// The accounts' events up to the last full block, but for the newest 50 of each and those archived before.
fn read_through(store: &Store) -> u64 {
    let full = store.last_position().unwrap().get() / 512 * 512;
    read(store, Query::new().up_to_position(full))
        .iter()
        .filter(|event| &*event.aggregate_type == "account" && (201..=250).contains(&event.version.get()))
        .count() as u64
}

fn archived_of(place: &Place, account: u64) -> u64 {
    let sql = "SELECT r.archived_through FROM removals r JOIN aggregates a ON a.id = r.aggregate WHERE a.aggregate_id = ?1";
    place.raw().query_row(sql, [account.to_string()], |row| row.get(0)).unwrap()
}

#[test]
fn without_it_the_state_loads_and_the_rest_says_what_is_missing() {
    let (place, store) = filled();
    let accounts = store.aggregates::<Account>();
    let state = accounts.replay(1).unwrap().state;
    store.maintenance().archive(older_than_second(200)).unwrap();
    drop((store, accounts));
    let (path, away) = (place.join("store.db.archive"), place.join("away"));
    std::fs::rename(&path, &away).unwrap();

    let store = place.open();
    let accounts = store.aggregates::<Account>();
    assert_eq!(accounts.replay(1).unwrap().state, state);
    accounts.append(1, 300, deposits(1)).unwrap();
    assert_eq!(store.count(Filter::new().event_type("Opened")).unwrap(), ACCOUNTS, "the summaries know");
    let error = refused(accounts.without_snapshots().replay(1), ErrorKind::ArchiveMissing);
    says(&error, &["replay", "store.db.archive", "not there", "Options::archive_path"]);
    refused(accounts.history(1).collect::<Result<Vec<_>, _>>(), ErrorKind::ArchiveMissing);
    refused(accounts.replay_to_version(1, 5), ErrorKind::ArchiveMissing);
    refused(store.read(Query::new()).collect::<Result<Vec<_>, _>>(), ErrorKind::ArchiveMissing);
    assert_eq!(read(&store, Query::aggregate("account", 1).after_version(250)).len(), 51, "this needs no archived event");
    assert!(!store.maintenance().verify(|_| Continue(())).unwrap().is_clean());
    refused(store.maintenance().archive(older_than_second(250)), ErrorKind::ArchiveMissing);
    refused(store.maintenance().unarchive(), ErrorKind::ArchiveMissing);
    refused(store.maintenance().reindex(|_| Continue(())), ErrorKind::ArchiveMissing);
    assert!(!path.exists(), "no empty archive was made");

    // Another file's archive is not taken for this one's.
    let (elsewhere, other) = filled();
    other.maintenance().archive(older_than_second(200)).unwrap();
    drop(other);
    std::fs::copy(elsewhere.join("store.db.archive"), &path).unwrap();
    says(&refused(accounts.without_snapshots().replay(1), ErrorKind::ArchiveMissing), &["not the one of this file"]);

    std::fs::remove_file(&path).unwrap();
    let moved = fast().archive_path(&away).open(place.file()).unwrap();
    assert_eq!(moved.aggregates::<Account>().without_snapshots().replay(1).unwrap().events_folded, 301);
    std::fs::rename(&away, &path).unwrap();
    assert_eq!(accounts.without_snapshots().replay(1).unwrap().events_folded, 301, "an open store finds it again");
    clean(&store);
}

#[test]
fn readers_and_repeats_reach_archived_events() {
    let (_place, store) = filled();
    let first = read(&store, Query::aggregate("account", 2).limit(1)).remove(0);
    store.maintenance().archive(older_than_second(200)).unwrap();
    let mut seen = 0;
    store
        .subscription("late")
        .filter(Filter::new().aggregate_type("account"))
        .start_from(StartFrom::Beginning)
        .run_to_end(|_| {
            seen += 1;
            Ok(())
        })
        .unwrap();
    assert_eq!(seen, ACCOUNTS * ROUNDS);
    let again = NewEvent::of(&opened()).unwrap().created_at(at(0)).tag("round-0").id(id(2, 0));
    let appended = store.append("account", 2, Expected::Any, [again]).unwrap();
    assert!(appended.was_duplicate);
    assert_eq!(appended.position, first.position);
}

#[test]
fn archived_events_are_purged() {
    let (place, store) = filled();
    store.maintenance().archive(older_than_second(200)).unwrap();
    let plan = Purge::created_before(at(220)).aggregate_type("account");
    let report = store.maintenance().purge(plan.fold(&store.aggregates::<Account>())).unwrap();
    assert_eq!(report.events_removed, ACCOUNTS * 220);
    clean(&store);
    assert_eq!(read(&store, Query::aggregate("account", 1)).len(), 80);
    assert_eq!(store.event(id(2, 17)).unwrap(), None);
    std::fs::remove_file(place.join("store.db.archive")).unwrap();
    assert_eq!(store.count(Filter::new().aggregate_type("account")).unwrap(), ACCOUNTS * 80, "nothing leads there any more");
    clean(&store);
}

#[test]
fn readers_beside_it_never_miss_an_event() {
    let (place, store) = filled();
    let all: Vec<_> = read(&store, Query::new()).iter().map(|event| event.position).collect();
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            let (other, done, all) = (place.open(), &done, &all);
            scope.spawn(move || {
                let accounts = other.aggregates::<Account>().without_snapshots();
                while !done.load(std::sync::atomic::Ordering::Relaxed) {
                    assert_eq!(read(&other, Query::new()).iter().map(|event| event.position).collect::<Vec<_>>(), *all);
                    assert_eq!(accounts.replay(4).unwrap().events_folded, ROUNDS);
                }
            });
        }
        for _ in 0..3 {
            for second in [40, 90, 200] {
                store.maintenance().archive(older_than_second(second)).unwrap();
            }
            store.maintenance().unarchive().unwrap();
        }
        done.store(true, std::sync::atomic::Ordering::Relaxed);
    });
    clean(&store);
}

#[test]
fn a_backup_brings_it_along() {
    let (place, store) = filled();
    let before = answers(&store);
    store.maintenance().archive(older_than_second(200)).unwrap();
    store.backup(place.join("copy.db"), |_| Continue(())).unwrap();
    assert!(place.join("copy.db.archive").is_file());
    drop(store);
    for name in ["store.db", "store.db.archive"] {
        std::fs::remove_file(place.join(name)).unwrap();
    }
    let copy = fast().open(place.join("copy.db")).unwrap();
    assert_eq!(answers(&copy), before);
    clean(&copy);
}

#[test]
fn a_store_in_memory_has_none() {
    let store = Store::in_memory().unwrap();
    store.append("account", "a", Expected::New, (0..600).map(|_| NewEvent::of(&opened()).unwrap().created_at(at(0)))).unwrap();
    store.aggregates::<Account>().snapshot_all(SnapshotReason::Manual, |_| Continue(())).unwrap();
    let dry = store.maintenance().archive(Archive::older_than(Duration::ZERO).dry_run()).unwrap();
    assert_eq!(dry.events_archived, 512);
    let error =
        refused(store.maintenance().archive(Archive::older_than(Duration::ZERO).keep_newest(1)), ErrorKind::ArchiveMissing);
    says(&error, &["archive", "in memory", "use a store in a file"]);
    assert_eq!(store.count(Query::new()).unwrap(), 600);
}
