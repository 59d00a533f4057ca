//! Retention rules, and upkeep by call and on a schedule.

use std::ops::ControlFlow::{Break, Continue};
use std::time::{Duration, Instant};

use foldlog::{
    Archive, Clock, Erase, Expected, Keep, NewEvent, Query, Retention, SnapshotPolicy, SnapshotReason, StartFrom, Store, Upkeep,
};

use crate::domain::{Account, AccountEvent, deposits};
use crate::support::{Place, at, fast, noted, notes, read};

const DAY: i64 = 86_400;

/// A deposit on each of so many days, with a snapshot at the end.
fn deposited(store: &Store, id: &str, days: std::ops::Range<i64>) {
    let accounts = store.aggregates::<Account>();
    let events = days.map(|day| NewEvent::of(&AccountEvent::Deposited { cents: 1 }).unwrap().created_at(at(day * DAY)));
    accounts.append_events(id, Expected::Any, events.collect::<Vec<_>>()).unwrap();
    accounts.create_snapshot(id, SnapshotReason::Manual).unwrap();
}

fn held(store: &Store, id: &str) -> u64 {
    store.count(Query::aggregate("account", id)).unwrap()
}

#[test]
fn each_rule_keeps_what_it_says_and_every_state_stays() {
    let place = Place::new();
    let clock = Clock::fixed(at(100 * DAY));
    let store = fast().clock(clock).open(place.file()).unwrap();
    let accounts = store.aggregates::<Account>();
    for (id, keep, expected) in [
        ("all", Keep::All, 100),
        ("newest", Keep::Newest(10), 10),
        ("more", Keep::Newest(1_000), 100),
        ("none", Keep::Newest(0), 0),
        ("young", Keep::YoungerThan(Duration::from_secs(30 * DAY as u64)), 31),
        // Each deposit has 11 bytes.
        ("bytes", Keep::Bytes(115), 10),
        ("little", Keep::Bytes(5), 0),
        ("open", Keep::UntilClosed(vec!["Closed".into()]), 100),
        ("closed", Keep::UntilClosed(vec!["Deposited".into(), "Closed".into()]), 0),
    ] {
        let store = store.tenant(id);
        deposited(&store, id, 0..100);
        assert_eq!(read(&store, Query::new())[0].data.as_str().len(), 11);
        let rules = Retention::new().rule("account", keep).fold(&accounts);
        let dry = store.maintenance().retain(rules.clone().dry_run()).unwrap();
        assert_eq!(held(&store, id), 100);
        let done = store.maintenance().retain(rules).unwrap();
        assert_eq!(done.types[0].purge.events_removed, dry.types[0].purge.events_removed, "{id}");
        assert_eq!((held(&store, id), done.finished), (expected, true), "{id}: {done:?}");
        let replayed = store.aggregates::<Account>().replay(id).unwrap();
        assert_eq!((replayed.state.cents, replayed.version.get()), (100, 100), "{id}");
    }
}

#[test]
fn archived_events_count_for_the_rules_too() {
    let place = Place::new();
    let store = fast().snapshots(SnapshotPolicy::manual()).open(place.file()).unwrap();
    deposited(&store, "a", 0..100);
    store.append("other", "o", Expected::Any, notes(0..1_100)).unwrap();
    store.maintenance().archive(Archive::all_but_newest(40)).unwrap();
    let rules = |keep| Retention::new().rule("account", keep).fold(&store.aggregates::<Account>());
    assert_eq!(store.maintenance().retain(rules(Keep::Bytes(11 * 70))).unwrap().types[0].purge.events_removed, 30);
    assert_eq!(store.maintenance().retain(rules(Keep::Newest(20))).unwrap().types[0].purge.events_removed, 50);
    assert_eq!((held(&store, "a"), store.aggregates::<Account>().replay("a").unwrap().state.cents), (20, 100));
    let swept = store.maintenance().maintain(Upkeep::new(), |_| Continue(())).unwrap();
    assert_eq!(swept.archived_rows_deleted, 60, "{swept:?}");
    assert!(store.maintenance().verify(|_| Continue(())).unwrap().is_clean());
}

#[test]
fn what_could_not_be_removed_is_named() {
    let place = Place::new();
    let clock = Clock::fixed(at(100 * DAY));
    let store = fast().clock(clock.clone()).snapshots(SnapshotPolicy::manual()).open(place.file()).unwrap();
    let accounts = store.aggregates::<Account>();
    deposited(&store, "snapshot", 0..100);
    accounts.append("no snapshot", Expected::New, deposits(5)).unwrap();
    let newest = |events| Retention::new().rule("account", Keep::Newest(events));
    let without_fold = store.maintenance().retain(newest(1)).unwrap();
    assert_eq!((without_fold.types[0].purge.events_removed, without_fold.types[0].purge.events_kept), (0, 103));
    let report = store.maintenance().retain(newest(50).fold(&accounts)).unwrap();
    assert_eq!(report.types[0].purge.events_removed, 50);
    let report = store.maintenance().retain(newest(1).fold(&accounts)).unwrap();
    assert_eq!((report.types[0].purge.events_removed, report.types[0].purge.events_kept), (49, 4), "{report:?}");
    assert!(report.types[0].purge.kept[0].reason.contains("has no snapshot"), "{report:?}");

    // A reader that lags.
    store.subscription("mails").start_from(StartFrom::Beginning).run_to_end(|_| Err("not now".into())).unwrap_err();
    accounts.create_snapshot("no snapshot", SnapshotReason::Manual).unwrap();
    let report = store.maintenance().retain(newest(0).fold(&accounts)).unwrap();
    assert_eq!((report.types[0].purge.events_removed, &*report.types[0].purge.held_back_by[0].subscription), (0, "mails"));
    store.subscription("mails").remove().unwrap();

    // A clock that is ten years ahead removes nothing: no event is as young as that.
    deposited(&store, "aged", 90..100);
    clock.set(at(4_000 * DAY));
    let young = Retention::new().rule("account", Keep::YoungerThan(Duration::from_secs(20 * DAY as u64))).fold(&accounts);
    store.maintenance().retain(young).unwrap();
    assert_eq!(held(&store, "aged"), 10);
    // One that was ahead for a while: the events behind stay, and the report says so.
    accounts.append_events("ahead", Expected::New, [at(3_000 * DAY), at(0), at(1)].map(deposit_at)).unwrap();
    accounts.create_snapshot("ahead", SnapshotReason::Manual).unwrap();
    clock.set(at(200 * DAY));
    accounts.append_events("now", Expected::New, [deposit_at(at(199 * DAY))]).unwrap();
    let young = Retention::new().rule("account", Keep::YoungerThan(Duration::from_secs(20 * DAY as u64))).fold(&accounts);
    let report = store.maintenance().retain(young).unwrap();
    assert_eq!(report.types[0].purge.events_behind_younger, 2, "{report:?}");
}

fn deposit_at(time: foldlog::chrono::DateTime<foldlog::chrono::Utc>) -> NewEvent {
    NewEvent::of(&AccountEvent::Deposited { cents: 1 }).unwrap().created_at(time)
}

/// A store on which everything is due, in two tenants.
fn neglected(place: &Place, clock: &Clock) -> Store {
    let store = fast().clock(clock.clone()).snapshots(SnapshotPolicy::manual()).open(place.file()).unwrap();
    for tenant in ["default", "acme"] {
        let store = store.tenant(tenant);
        clock.set(at(0));
        deposited(&store, "old", 0..800);
        deposited(&store, "plain", 0..10);
        store.append("other", "o", Expected::Any, (0..300).map(|n| noted(n).created_at(at(0)))).unwrap();
        store.append("session", "s", Expected::Any, (0..300).map(|n| noted(n).created_at(at(0)))).unwrap();
        store.json_aggregates("session").create_snapshot("s", SnapshotReason::Manual).unwrap();
    }
    store.append("other", "last", Expected::Any, notes(0..520)).unwrap();
    store.append("other", "secret", Expected::Any, notes(0..50)).unwrap();
    clock.set(at(1_000 * DAY));
    store.maintenance().erase(Erase::aggregate("other", "secret").without_wiping()).unwrap();
    store
}

fn plan(store: &Store) -> Upkeep {
    let rules = Retention::new().rule("session", Keep::Newest(10)).fold(&store.json_aggregates("session"));
    Upkeep::new().retention(rules).archive(Archive::created_before(at(700 * DAY)))
}

#[test]
fn one_call_does_all_that_is_due() {
    let place = Place::new();
    let clock = Clock::fixed(at(0));
    let store = neglected(&place, &clock);
    let (mut steps, mut stopped) = (0, 0);
    // However often it is stopped, it gets there.
    let report = loop {
        let mut first = true;
        let report = store
            .maintenance()
            .maintain(plan(&store), |_| {
                steps += 1;
                if std::mem::take(&mut first) || stopped >= 5 { Continue(()) } else { Break(()) }
            })
            .unwrap();
        if report.finished {
            break report;
        }
        stopped += 1;
    };
    assert!(stopped == 5 && steps > 10, "{steps}");
    assert!(store.erasures(0).unwrap()[0].is_wiped);
    for tenant in ["default", "acme"] {
        let store = store.tenant(tenant);
        assert_eq!(store.count(Query::aggregate("session", "s")).unwrap(), 10, "{report:?}");
        assert_eq!(store.aggregates::<Account>().replay("old").unwrap().state.cents, 800);
        assert_eq!(held(&store, "old"), 800, "archived, not gone");
        assert_eq!(store.aggregates::<Account>().snapshots("old").unwrap().len(), 1, "a replay needs it");
    }
    assert_eq!(report.tenants.iter().map(|done| &*done.tenant).collect::<Vec<_>>(), ["acme", "default"]);
    assert!(
        report.tenants.iter().all(|done| done.retention.as_ref().unwrap().finished && done.archive.as_ref().unwrap().finished),
        "{report:?}"
    );
    assert!(place.join("store.db.archive").exists());
    assert_eq!(std::fs::metadata(place.join("store.db-wal")).unwrap().len(), 0);
    let again = store.maintenance().maintain(plan(&store), |_| Continue(())).unwrap();
    assert_eq!((again.snapshots_expired(), again.archived_rows_deleted, again.pages_given_back), (0, 0, 0));
    assert!(store.maintenance().verify(|_| Continue(())).unwrap().is_clean());
}

#[test]
fn appends_go_on_while_it_works() {
    let place = Place::new();
    let clock = Clock::fixed(at(0));
    let store = neglected(&place, &clock);
    let beside = store.clone();
    std::thread::scope(|scope| {
        let writer = scope.spawn(move || {
            let mut longest = Duration::ZERO;
            for n in 0..200 {
                let began = Instant::now();
                beside.append("beside", n % 7, Expected::Any, [noted(n)]).unwrap();
                longest = longest.max(began.elapsed());
            }
            longest
        });
        store.maintenance().maintain(plan(&store), |_| Continue(())).unwrap();
        assert!(writer.join().unwrap() < Duration::from_secs(4));
    });
    assert_eq!(store.count(foldlog::Filter::new().aggregate_type("beside")).unwrap(), 200);
    assert!(store.maintenance().verify(|_| Continue(())).unwrap().is_clean());
}

#[track_caller]
fn within_seconds(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !done() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn a_schedule_runs_once_a_week_and_ends_with_the_store() {
    let place = Place::new();
    let clock = Clock::fixed(at(0));
    let store = neglected(&place, &clock);
    let task = store.maintenance().schedule(plan(&store)).unwrap();
    within_seconds("the first run comes at once", || task.runs() == 1);
    assert!(task.last_report().unwrap().finished && task.last_failure().is_none());
    drop((task, store));

    // The time of the last run is in the file.
    let open = || fast().clock(clock.clone()).open(place.file()).unwrap();
    let store = open();
    clock.set(at(1_006 * DAY));
    let task = store.maintenance().schedule(Upkeep::new()).unwrap();
    std::thread::sleep(Duration::from_millis(200));
    assert_eq!(task.runs(), 0);
    drop(task);
    clock.set(at(1_007 * DAY));
    let task = store.maintenance().schedule(Upkeep::new()).unwrap();
    within_seconds("a week later it comes again", || task.runs() == 1);
    drop(task);

    // It holds no store open, and ends when the last handle goes.
    let task = store.maintenance().schedule(Upkeep::new().every(Duration::from_millis(5))).unwrap();
    drop(store);
    within_seconds("the thread ends", || task.has_ended());
    assert!(!place.join("store.db-wal").exists(), "the file is closed");
    drop(task);
    assert_eq!(open().count(Query::aggregate("session", "s")).unwrap(), 10);
}

#[test]
fn a_size_report_says_who_takes_the_room() {
    let place = Place::new();
    let store = fast().snapshots(SnapshotPolicy::manual()).open(place.file()).unwrap();
    deposited(&store, "a", 0..100);
    deposited(&store.tenant("acme"), "b", 0..10);
    store.append("other", "o", Expected::Any, (0..1_100).map(|n| noted(n).tag("t"))).unwrap();
    store.maintenance().archive(Archive::all_but_newest(40)).unwrap();
    store.maintenance().unarchive_aggregate("account", "a").unwrap();
    store.maintenance().archive(Archive::all_but_newest(60)).unwrap();
    let report = store.size_report(2, |_| Continue(())).unwrap();
    let of = |tenant: &str, aggregate_type: &str| {
        let found = report.types.iter().find(|one| &*one.tenant == tenant && &*one.aggregate_type == aggregate_type);
        found.unwrap_or_else(|| panic!("{report:?}")).clone()
    };
    let (accounts, others, acme) = (of("default", "account"), of("default", "other"), of("acme", "account"));
    // Each deposit has 11 bytes. What came back from the archive counts once.
    assert_eq!((accounts.room.events, accounts.room.event_bytes), (60, 660));
    assert_eq!((accounts.room.archived_events, accounts.room.archived_bytes, accounts.room.snapshots), (40, 440, 1));
    assert_eq!((acme.room.events, acme.aggregates, others.room.events), (10, 1, 1_100));
    let bytes: u64 = read(&store, Query::aggregate("other", "o")).iter().map(|e| e.data.as_str().len() as u64 + 5).sum();
    assert_eq!(others.room.event_bytes, bytes);
    let largest: Vec<_> = report.aggregates.iter().map(|one| &*one.aggregate.aggregate_id).collect();
    assert_eq!(largest, ["o", "a"]);
    assert_eq!(&*report.types[0].aggregate_type, "other");
    assert!(store.size_report(2, |_| Break(())).unwrap().types.len() <= 3);
}
