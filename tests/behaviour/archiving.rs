//! The archive: events move to a second file, and everything still reads them.

use foldlog::{
    Archive, Batch, ErrorKind, Expected, Filter, NewEvent, Purge, Query, RecordedEvent, SnapshotPolicy, SnapshotReason,
    StartFrom, Store,
};
use std::ops::ControlFlow::Continue;
use std::time::Duration;
use uuid::Uuid;

use crate::domain::{Account, AccountEvent, deposits, opened};
use crate::support::{Place, at, fast, raw, read, refused, says};

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
    assert_eq!(report.kept[0].reason, "it has no intact snapshot");
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

/// 1,500 events of one document with some hundred bytes each, and of another one.
fn documents() -> (Place, Store) {
    let place = Place::new();
    let store = fast().snapshots(SnapshotPolicy::manual()).open(place.file()).unwrap();
    for number in 0..1_500 {
        let data = serde_json::json!({"number": number, "owner": "ada@example.org", "text": "so it goes, ".repeat(40)});
        store.append("document", "d-1", Expected::Any, [NewEvent::new("Written", &data).unwrap()]).unwrap();
    }
    store.json_aggregates("document").create_snapshot("d-1", SnapshotReason::Manual).unwrap();
    (place, store)
}

#[test]
#[cfg(feature = "zstd")]
fn a_compressed_archive_is_smaller_and_reads_alike() {
    let (place, store) = documents();
    let before = (read(&store, Query::new()), store.json_aggregates("document").replay_to_version("d-1", 700).unwrap().state);
    let now = |store: &Store| {
        let full = store.json_aggregates("document").without_snapshots();
        (read(store, Query::new()), full.replay_to_version("d-1", 700).unwrap().state)
    };
    // Both kinds of rows in one file.
    store.maintenance().archive(Archive::all_but_newest(1_400)).unwrap();
    assert_eq!(store.maintenance().archive(Archive::all_but_newest(100).zstd()).unwrap().events_archived, 924);
    let archive = raw(&place.join("store.db.archive"));
    let kinds: (u64, u64, u64) = archive
        .query_row(
            "SELECT sum(typeof(data) = 'text'), sum(typeof(data) = 'blob'), max(length(data)) FILTER (WHERE typeof(data) = 'blob')
             FROM events",
            [],
            |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)),
        )
        .unwrap();
    assert!((kinds.0, kinds.1) == (100, 924) && kinds.2 < 150, "{kinds:?}");
    assert_eq!(now(&store), before);
    assert_eq!(now(&place.open()), before);
    assert_eq!(read(&store.copy_to_memory().unwrap(), Query::new()), before.0);
    clean(&store);
    assert!(store.maintenance().reindex(|_| Continue(())).unwrap().finished);
    clean(&store);
    // A damaged frame is damage.
    archive.execute("UPDATE events SET data = zeroblob(90) WHERE key & 4294967295 = 500", []).unwrap();
    drop(archive);
    refused(store.json_aggregates("document").without_snapshots().replay("d-1"), ErrorKind::Corrupt);
    assert!(!store.maintenance().verify(|_| Continue(())).unwrap().is_clean());
}

#[test]
#[cfg(feature = "zstd")]
fn a_compressed_archive_comes_back_and_is_erased() {
    let (_place, store) = documents();
    let before = read(&store, Query::new());
    store.maintenance().archive(Archive::all_but_newest(100).zstd()).unwrap();
    assert_eq!(store.maintenance().unarchive().unwrap(), 1_024);
    assert_eq!(read(&store, Query::new()), before);
    clean(&store);
    store.maintenance().archive(Archive::all_but_newest(100).zstd()).unwrap();
    let erased = store.maintenance().erase(foldlog::Erase::fields_of("document", "d-1").field("/owner")).unwrap();
    assert_eq!(erased.events, 1_500);
    assert!(read(&store, Query::new()).iter().all(|event| event.data.to_value().unwrap()["owner"] == ""));
    clean(&store);
}

#[test]
fn the_report_names_the_fold_that_still_needs_the_events() {
    let (_place, store) = documents();
    let old = store.json_aggregates("document").fold_with("titles", 1, |_, _, _| Ok(()));
    let later = store.json_aggregates("document").fold_with("titles", 2, |_, _, _| Ok(()));
    store.maintenance().archive(Archive::all_but_newest(1_400)).unwrap();
    old.create_snapshot("d-1", SnapshotReason::Manual).unwrap();
    store.append("document", "d-1", Expected::Any, [NewEvent::new("Written", &()).unwrap()]).unwrap();
    store.append("other", "o-1", Expected::Any, (0..600).map(|_| crate::support::noted(1))).unwrap();
    later.create_snapshot("d-1", SnapshotReason::Manual).unwrap();
    store.json_aggregates("document").create_snapshot("d-1", SnapshotReason::Manual).unwrap();
    let report = store.maintenance().archive(Archive::all_but_newest(0).aggregate_type("document")).unwrap();
    assert_eq!((report.events_archived, report.events_kept), (1_400, 1));
    assert_eq!(report.kept[0].reason, "the newest snapshot of fold \"fn:titles\" version 1 is of version 1500");
}

/// A backup is put in the place of the main file, and the archive stays the newer one.
#[test]
fn an_older_main_file_costs_the_archive_nothing() {
    let (place, store) = filled();
    store.maintenance().archive(older_than_second(100)).unwrap();
    let deposit = |store: &Store, count| store.aggregates::<Account>().append(0, Expected::Any, deposits(count)).unwrap();
    let snapshot = |store: &Store| store.aggregates::<Account>().create_snapshot(0, SnapshotReason::Manual).unwrap();
    store.backup(place.join("older.db"), |_| Continue(())).unwrap();
    deposit(&store, 700);
    snapshot(&store);
    let of_account = || Archive::all_but_newest(0).aggregate("account", 0);
    assert!(store.maintenance().archive(of_account()).unwrap().events_archived > 300);
    let newer = answers(&store);
    drop(store);
    std::fs::rename(place.file(), place.join("newer.db")).unwrap();
    std::fs::copy(place.join("older.db"), place.file()).unwrap();

    let store = place.open();
    let report = store.maintenance().maintain(foldlog::Upkeep::new(), |_| Continue(())).unwrap();
    assert_eq!((report.archived_rows_deleted, report.archived_rows_unknown > 100), (0, true), "{report:?}");
    // It goes on in its own way, and must not take the others' place.
    deposit(&store, 1_200);
    snapshot(&store);
    says(&refused(store.maintenance().archive(of_account()), ErrorKind::Corrupt), &["an older file took the place"]);
    clean(&store);
    // What the message advises.
    store.maintenance().unarchive().unwrap();
    std::fs::rename(place.join("store.db.archive"), place.join("newer.db.archive")).unwrap();
    assert!(store.maintenance().archive(of_account()).unwrap().events_archived > 1_000);
    clean(&store);
    drop(store);

    // And the newer file, with its archive, still has everything.
    let store = fast().open(place.join("newer.db")).unwrap();
    assert_eq!(answers(&store), newer);
    clean(&store);
}
