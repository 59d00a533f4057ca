//! Purging: explicit, reported, and never at the cost of a replay unless that was asked for.

use foldlog::{ErrorKind, Expected, Filter, Purge, Query, SnapshotPolicy, SnapshotReason, Store};
use std::ops::ControlFlow::Continue;

use crate::domain::{Account, AccountEvent, deposits, opened};
use crate::support::{Place, at, fast, noted, notes, read, refused, says};

/// Ten events a second apart, from second 0.
fn ten_old() -> (Place, Store) {
    let place = Place::new();
    let store = place.open();
    let events = std::iter::once(opened()).chain(deposits(9));
    let events = events.enumerate().map(|(n, event)| foldlog::NewEvent::of(&event).unwrap().created_at(at(n as i64)).tag("t"));
    store.append("account", "a", 0, events).unwrap();
    (place, store)
}

/// Without a fold.
fn later() -> Purge {
    Purge::created_before(at(1_000_000))
}

/// With the fold of accounts.
fn later_of(store: &Store) -> Purge {
    later().fold(&store.aggregates::<Account>())
}

#[test]
fn without_a_snapshot_everything_stays() {
    let (_place, store) = ten_old();
    let report = store.maintenance().purge(later_of(&store)).unwrap();
    assert_eq!((report.events_removed, report.aggregates_purged, report.events_kept), (0, 0, 10));
    assert_eq!(report.kept.len(), 1);
    let kept = &report.kept[0];
    assert_eq!((&*kept.aggregate.aggregate_id, kept.through.get(), kept.events), ("a", 10, 10));
    assert!(kept.to_string().contains("has no snapshot"), "{kept}");
    assert!(report.broken.is_empty());
    assert_eq!(read(&store, Query::new()).len(), 10);
}

#[test]
fn with_a_snapshot_the_replay_stays_the_same() {
    let (place, store) = ten_old();
    let accounts = store.aggregates::<Account>();
    accounts.create_snapshot("a", SnapshotReason::Manual).unwrap();
    accounts.append("a", 10, deposits(2)).unwrap();
    let before = accounts.replay("a").unwrap();
    let report = store.maintenance().purge(later_of(&store)).unwrap();
    assert_eq!((report.events_removed, report.aggregates_purged, report.events_kept), (10, 1, 0));
    assert!(report.kept.is_empty() && report.broken.is_empty());
    assert_eq!(accounts.replay("a").unwrap(), before);
    assert_eq!(accounts.replay_to_version("a", 11).unwrap().state.cents, 10);
    drop((store, accounts));

    let store = place.open();
    let accounts = store.aggregates::<Account>();
    assert_eq!(accounts.replay("a").unwrap(), before);
    assert_eq!(accounts.history("a").map(|event| event.unwrap().version.get()).collect::<Vec<_>>(), [11, 12]);
    assert_eq!(store.version("account", "a").unwrap(), 12);
    assert_eq!(store.count(Query::new()).unwrap(), 2);
    assert_eq!(store.file_statistics().unwrap().events, 2);
    assert_eq!(read(&store, Filter::new().tag("t")), [], "their tags went with them");
}

#[test]
fn what_needs_the_removed_events_says_so() {
    let (_place, store) = ten_old();
    let accounts = store.aggregates::<Account>();
    accounts.create_snapshot("a", SnapshotReason::Manual).unwrap();
    store.maintenance().purge(later_of(&store)).unwrap();
    let kind = ErrorKind::HistoryRemoved;
    says(&refused(accounts.without_snapshots().replay("a"), kind), &["replay", "up to version 10", "account \"a\"", "restore"]);
    refused(accounts.replay_to_version("a", 9), kind);
    refused(accounts.replay_to_time("a", at(3)), kind);
    refused(store.json_aggregates("account").replay("a"), kind);
    assert_eq!(accounts.replay_to_version("a", 10).unwrap().state.cents, 9);
    assert_eq!(accounts.replay_to_time("a", at(9)).unwrap().state.cents, 9);
}

#[test]
fn only_a_beginning_goes() {
    let (_place, store) = ten_old();
    let accounts = store.aggregates::<Account>();
    accounts.append_events("a", 10, [noted_at(500), noted_at(1)]).unwrap();
    accounts.create_snapshot("a", SnapshotReason::Manual).unwrap();
    let report = store.maintenance().purge(Purge::created_before(at(100)).fold(&accounts)).unwrap();
    assert_eq!((report.events_removed, report.events_kept), (10, 0), "an old event behind a younger one stays");
    assert_eq!(store.maintenance().purge(Purge::created_before(at(100)).fold(&accounts)).unwrap().events_removed, 0);
    assert_eq!(store.maintenance().purge(Purge::created_before(at(501)).fold(&accounts)).unwrap().events_removed, 2);
}

fn noted_at(second: i64) -> foldlog::NewEvent {
    foldlog::NewEvent::of(&AccountEvent::Deposited { cents: 1 }).unwrap().created_at(at(second))
}

#[test]
fn the_bound_itself_is_not_old() {
    let (_place, store) = ten_old();
    store.aggregates::<Account>().create_snapshot("a", SnapshotReason::Manual).unwrap();
    assert_eq!(
        store.maintenance().purge(Purge::created_before(at(0)).fold(&store.aggregates::<Account>())).unwrap().events_removed,
        0
    );
    assert_eq!(
        store.maintenance().purge(Purge::created_before(at(4)).fold(&store.aggregates::<Account>())).unwrap().events_removed,
        4
    );
    assert_eq!(read(&store, Query::new())[0].created_at, at(4));
}

#[test]
fn a_dry_run_changes_nothing() {
    let (place, store) = ten_old();
    store.aggregates::<Account>().create_snapshot("a", SnapshotReason::Manual).unwrap();
    let tried = store.maintenance().purge(later_of(&store).dry_run()).unwrap();
    assert_eq!(tried.events_removed, 10);
    assert_eq!(read(&store, Query::new()).len(), 10);
    drop(store);
    let store = place.open();
    assert_eq!(read(&store, Query::new()).len(), 10);
    assert_eq!(store.maintenance().purge(later_of(&store)).unwrap(), tried);
}

#[test]
fn a_replay_is_broken_only_on_request_and_named() {
    let (_place, store) = ten_old();
    let report = store.maintenance().purge(later().even_if_replay_breaks()).unwrap();
    assert_eq!((report.events_removed, report.events_kept), (10, 0));
    assert_eq!(report.broken.iter().map(ToString::to_string).collect::<Vec<_>>(), ["account \"a\""]);
    refused(store.aggregates::<Account>().replay("a"), ErrorKind::HistoryRemoved);
    assert_eq!(store.version("account", "a").unwrap(), 10);
}

#[test]
fn only_what_was_named_is_purged() {
    let (_place, store) = ten_old();
    let accounts = store.aggregates::<Account>();
    accounts.append_events("b", 0, [noted_at(0)]).unwrap();
    store.append("list", "a", 0, [noted(1).created_at(at(0))]).unwrap();
    let acme = store.tenant("acme");
    acme.append("account", "a", 0, [noted_at(0)]).unwrap();
    let force = |purge: Purge| store.maintenance().purge(purge.even_if_replay_breaks().dry_run()).unwrap().events_removed;
    assert_eq!(force(later().aggregate("account", "a")), 10);
    assert_eq!(force(later().aggregate("account", "missing")), 0);
    assert_eq!(force(later().aggregate_type("account")), 11);
    assert_eq!(force(later()), 12);
    store.maintenance().purge(later().even_if_replay_breaks()).unwrap();
    assert_eq!(read(&store, Query::new()), []);
    assert_eq!(read(&acme, Query::new()).len(), 1, "another tenant's events");
}

#[test]
fn positions_and_versions_are_never_used_twice() {
    let (place, store) = ten_old();
    assert_eq!(store.maintenance().purge(later().even_if_replay_breaks()).unwrap().events_removed, 10);
    assert_eq!(store.last_position().unwrap(), 10, "the newest event of the file is gone, its position is not free");
    drop(store);
    let store = place.open();
    assert_eq!(store.last_position().unwrap(), 10);
    refused(store.append("account", "a", Expected::New, [noted(1)]), ErrorKind::Conflict);
    let appended = store.append("account", "a", 10, [noted(1)]).unwrap();
    assert_eq!((appended.version.get(), appended.position.get(), appended.commit_id.get()), (11, 11, 11));
    let appended = store.append("account", "b", 0, [noted(1)]).unwrap();
    assert_eq!((appended.version.get(), appended.position.get()), (1, 12));
    assert_eq!(store.file_statistics().unwrap().events, 2);
    assert_eq!(store.statistics().unwrap().total_events, 2);
}

#[test]
fn the_needed_snapshot_stays() {
    let place = Place::new();
    let clock = foldlog::Clock::fixed(at(0));
    let policy = SnapshotPolicy::manual();
    let store = fast().clock(clock.clone()).snapshots(policy).open(place.file()).unwrap();
    let accounts = store.aggregates::<Account>();
    for id in ["purged", "whole"] {
        for n in 0..3 {
            accounts.append(id, n, deposits(1)).unwrap();
            accounts.create_snapshot(id, SnapshotReason::Manual).unwrap();
        }
    }
    store.maintenance().purge(later_of(&store).aggregate("account", "purged")).unwrap();
    says(&refused(accounts.delete_snapshots("purged"), ErrorKind::HistoryRemoved), &["delete snapshots", "needs a snapshot"]);
    clock.set(at(1_000));
    assert_eq!(store.maintenance().expire_snapshots(std::time::Duration::from_secs(10), |_| Continue(())).unwrap().expired, 5);
    assert_eq!(accounts.snapshots("whole").unwrap(), []);
    assert_eq!(accounts.latest_snapshot("purged").unwrap().unwrap().version, 3);
    assert_eq!(accounts.replay("purged").unwrap().state.cents, 3);
    assert_eq!(accounts.delete_snapshots("whole").unwrap(), 0);
}

#[test]
fn a_damaged_snapshot_stands_in_for_nothing() {
    let (place, store) = ten_old();
    store.aggregates::<Account>().create_snapshot("a", SnapshotReason::Manual).unwrap();
    place.raw().execute_batch("UPDATE snapshots SET state = replace(state, 'Ada', 'Eve')").unwrap();
    let report = store.maintenance().purge(later_of(&store)).unwrap();
    assert_eq!((report.events_removed, report.events_kept), (0, 10));
}

/// A damaged snapshot that names a fold nobody has: those of other folds stand in for their events all the same.
#[test]
fn a_damaged_snapshot_stands_in_nobody_s_way() {
    let (place, store) = ten_old();
    let accounts = store.aggregates::<Account>();
    accounts.create_snapshot("a", SnapshotReason::Manual).unwrap();
    accounts.append("a", 10, deposits(1)).unwrap();
    accounts.create_snapshot("a", SnapshotReason::Manual).unwrap();
    let rename = "UPDATE snapshots SET fold_name = 'nobody' WHERE version = 10";
    assert_eq!(place.raw().execute(rename, []).unwrap(), 1);
    let report = store.maintenance().purge(later_of(&store)).unwrap();
    assert_eq!((report.events_removed, report.events_kept), (10, 0));
}

#[test]
fn a_purge_of_many_aggregates() {
    let place = Place::new();
    let store = place.open();
    let lists = store.json_aggregates("list");
    for n in 0..150 {
        lists.append(format!("l-{n}"), 0, [noted(n).created_at(at(0))]).unwrap();
        if n % 3 == 0 {
            lists.create_snapshot(format!("l-{n}"), SnapshotReason::Manual).unwrap();
        }
    }
    let report = store.maintenance().purge(later().fold(&lists)).unwrap();
    assert_eq!((report.events_removed, report.aggregates_purged, report.events_kept, report.kept.len()), (50, 50, 100, 100));
    assert_eq!(lists.replay_each().run(|_, _| Ok::<_, String>(()), |_| Continue(())).unwrap().succeeded, 150);
}

/// Two folds of the same aggregate: what one's snapshot stands in for, the other may still need.
#[test]
fn every_fold_that_has_snapshots_can_still_replay() {
    let place = Place::new();
    let store = fast().snapshots(SnapshotPolicy::manual().retain(2)).open(place.file()).unwrap();
    let (typed, json) = (store.aggregates::<Account>(), store.json_aggregates("account"));
    typed.append("a", 0, deposits(4)).unwrap();
    typed.create_snapshot("a", SnapshotReason::Manual).unwrap();
    typed.append("a", 4, deposits(4)).unwrap();
    json.create_snapshot("a", SnapshotReason::Manual).unwrap();
    let all = || Purge::created_before(chrono::Utc::now() + chrono::TimeDelta::hours(1)).fold(&typed).fold(&json);
    let report = store.maintenance().purge(all()).unwrap();
    assert_eq!((report.events_removed, report.events_kept), (4, 4), "the typed fold has a snapshot of the first four only");
    let (state, merged) = (typed.replay("a").unwrap().state, json.replay("a").unwrap().state);

    // Neither the number that is kept, nor age, nor a snapshot at the same version takes away a fold's last one.
    for _ in 0..4 {
        let version = json.version("a").unwrap();
        json.append("a", version, [noted(1)]).unwrap();
        json.create_snapshot("a", SnapshotReason::Manual).unwrap();
    }
    assert_eq!(store.maintenance().expire_snapshots(std::time::Duration::ZERO, |_| Continue(())).unwrap().expired, 1);
    assert_eq!(typed.replay_to_version("a", 8).unwrap().state, state);
    typed.prune_snapshots("a").unwrap();
    assert_eq!(typed.replay_to_version("a", 8).unwrap().state, state);
    assert!(json.replay_to_version("a", 8).is_err(), "its own older ones are gone");
    assert_ne!(json.replay("a").unwrap().state, merged);
}

#[test]
fn each_fold_keeps_its_own_snapshots() {
    let place = Place::new();
    let store = fast().snapshots(SnapshotPolicy::manual()).open(place.file()).unwrap();
    let (typed, json) = (store.aggregates::<Account>(), store.json_aggregates("account"));
    typed.append("a", 0, deposits(3)).unwrap();
    json.create_snapshot("a", SnapshotReason::Manual).unwrap();
    typed.append("a", 3, deposits(3)).unwrap();
    json.create_snapshot("a", SnapshotReason::Manual).unwrap();
    typed.create_snapshot("a", SnapshotReason::Manual).unwrap();
    assert_eq!(typed.replay("a").unwrap().from_snapshot, Some(6.into()));
    let report =
        store.maintenance().purge(Purge::created_before(chrono::Utc::now() + chrono::TimeDelta::hours(1)).fold(&typed)).unwrap();
    assert_eq!(report.events_removed, 6);
    let before = typed.replay("a").unwrap();
    json.create_snapshot("a", SnapshotReason::Manual).unwrap();
    assert_eq!(typed.replay("a").unwrap(), before);
    assert_eq!(before.from_snapshot.map(|version| version.get()), Some(6));
}

/// Nothing is counted as removed that was lost before.
#[test]
fn an_event_that_is_missing_is_named() {
    for lost in ["4", "5", "1, 2"] {
        let place = Place::new();
        let store = place.open();
        store.append("list", "a", 0, notes(1..=5)).unwrap();
        store.append("list", "b", 0, notes(1..=1)).unwrap();
        drop(store);
        let sql = format!("DELETE FROM events WHERE key >> 32 = 1 AND key & 4294967295 IN ({lost})");
        assert!(place.raw().execute(&sql, []).unwrap() > 0);
        let store = place.open();
        let purge = || Purge::created_before(chrono::Utc::now() + chrono::TimeDelta::hours(1)).even_if_replay_breaks();
        let error = refused(store.maintenance().purge(purge()), ErrorKind::Corrupt);
        assert_eq!(error.operation(), Some("purge"));
    }
}

/// Removed positions are noted as holes, and holes that touch are one, whichever came first.
#[test]
fn holes_that_touch_are_one() {
    let orders = [["a", "b", "c"], ["a", "c", "b"], ["b", "a", "c"], ["b", "c", "a"], ["c", "a", "b"], ["c", "b", "a"]];
    for order in orders {
        let place = Place::new();
        let store = place.open();
        // a at 1, 4, 7; b at 2, 5, 8; c at 3, 6, 9; then one that stays, and each of them once more.
        for n in 1..=3 {
            for id in ["a", "b", "c"] {
                store.append("list", id, n - 1, [noted(n)]).unwrap();
            }
        }
        store.append("list", "stays", 0, [noted(1)]).unwrap();
        for id in ["a", "b", "c"] {
            store.append("list", id, 3, [noted(4)]).unwrap();
        }
        for (done, id) in order.iter().enumerate() {
            let purge = Purge::created_before(chrono::Utc::now() + chrono::TimeDelta::hours(1)).even_if_replay_breaks();
            assert_eq!(store.maintenance().purge(purge.aggregate("list", *id)).unwrap().events_removed, 4);
            let place_of = |id: &str| u64::from(id.as_bytes()[0] - b'a') + 1;
            let mut gone: Vec<u64> = order[..=done].iter().flat_map(|id| [0, 3, 6, 10].map(|n| n + place_of(id))).collect();
            gone.sort_unstable();
            let expected: Vec<(u64, u64)> =
                gone.chunk_by(|one, next| one + 1 == *next).map(|run| (run[0], run[run.len() - 1])).collect();
            let raw = place.raw();
            let mut statement = raw.prepare("SELECT first, last FROM holes ORDER BY first").unwrap();
            let holes: Vec<(u64, u64)> =
                statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap().map(Result::unwrap).collect();
            assert_eq!(holes, expected, "{order:?} up to {id}");
            assert!(store.maintenance().verify(|_| Continue(())).unwrap().is_clean());
            assert_eq!(store.last_position().unwrap(), 13);
        }
        assert_eq!(store.append("list", "a", 4, [noted(5)]).unwrap().position, 14);
        let left: Vec<u64> = store.read(Query::new()).map(|event| event.unwrap().position.get()).collect();
        assert_eq!(left, [10, 14]);
    }
}

/// The first event is dated 2099, the other thousand are old.
#[test]
fn an_event_of_a_wrong_clock_does_not_block_in_silence() {
    let store = Store::in_memory().unwrap();
    let ahead = noted(0).created_at(at(2_300_000_000));
    store.append("list", "a", 0, [ahead]).unwrap();
    store.append("list", "a", 1, (1..=1_000).map(|n| noted(n).created_at(at(n as i64)))).unwrap();
    store.append("list", "sound", 0, [noted(1).created_at(at(1)), noted(2).created_at(at(2_000_000))]).unwrap();
    let report = store.maintenance().purge(later().even_if_replay_breaks()).unwrap();
    assert_eq!((report.events_removed, report.events_kept, report.events_behind_younger), (1, 0, 1_000));
    assert_eq!(report.behind_younger.len(), 1, "times that rise are no reason to name an aggregate");
    assert_eq!((&*report.behind_younger[0].0.aggregate_id, report.behind_younger[0].1.get()), ("a", 1));

    let report = store.maintenance().purge(later().even_if_younger_before().even_if_replay_breaks()).unwrap();
    assert_eq!((report.events_removed, report.events_behind_younger), (1_001, 0));
    assert!(report.behind_younger.is_empty());
}

#[test]
fn a_few_of_a_wrong_clock_in_the_middle_are_counted_too() {
    let store = Store::in_memory().unwrap();
    let times = [1, 2, 2_000_000, 2_000_001, 3, 4, 2_000_002, 5];
    store.append("list", "a", 0, times.map(|second| noted(1).created_at(at(second)))).unwrap();
    let report = store.maintenance().purge(later().even_if_replay_breaks().dry_run()).unwrap();
    assert_eq!((report.events_removed, report.events_behind_younger), (2, 3));
    assert_eq!(report.behind_younger[0].1, 3);
    let report = store.maintenance().purge(later().even_if_replay_breaks().even_if_younger_before()).unwrap();
    assert_eq!(report.events_removed, 8);
}

/// A snapshot of an earlier version, made after that of the last one, is the newest but does not replace the purged events.
#[test]
fn a_newer_snapshot_of_an_earlier_version_hides_none() {
    let (_place, store) = ten_old();
    let accounts = store.aggregates::<Account>();
    accounts.create_snapshot("a", SnapshotReason::Manual).unwrap();
    accounts.create_snapshot_at("a", 4, SnapshotReason::Manual).unwrap();
    assert_eq!(store.maintenance().purge(later_of(&store)).unwrap().events_removed, 10);
    let replayed = accounts.replay("a").unwrap();
    assert_eq!((replayed.version.get(), replayed.from_snapshot.unwrap().get()), (10, 10));
    assert!(accounts.steps("a", 10).unwrap().next().is_none());
    assert_eq!(accounts.replay_to_version("a", 6).unwrap_err().kind(), ErrorKind::HistoryRemoved);
}

#[test]
fn what_was_removed_is_told() {
    let (_place, store) = ten_old();
    store.append("account", "whole", 0, [opened()].map(|event| foldlog::NewEvent::of(&event).unwrap())).unwrap();
    assert_eq!(store.removed("account", "a").unwrap(), foldlog::Removed::default());
    store.maintenance().purge(later().even_if_replay_breaks()).unwrap();
    assert_eq!(store.removed("account", "a").unwrap().purged_through, 10);
    assert_eq!(store.removed("account", "nobody").unwrap(), foldlog::Removed::default());
    let of = store.removed_aggregates(10).unwrap();
    assert_eq!(of.len(), 1);
    assert_eq!((&*of[0].aggregate.aggregate_id, of[0].version.get()), ("a", 10));
    assert!(store.removed_aggregates(0).unwrap().is_empty());
    assert!(store.tenant("other").removed_aggregates(10).unwrap().is_empty());
    let sizes = store.table_sizes().unwrap();
    let index = sizes.iter().find(|size| size.name == "sqlite_autoindex_events_1").unwrap();
    assert!(index.table == "events" && index.bytes >= 4_096 && index.unused < index.bytes, "{index:?}");
    assert!(sizes.is_sorted_by_key(|size| std::cmp::Reverse(size.bytes)));
}
