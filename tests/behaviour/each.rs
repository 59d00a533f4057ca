//! What goes over all aggregates of a type: ids, states, snapshots; and finding one that may not be there.

use std::ops::ControlFlow::{Break, Continue};

use foldlog::{ErrorKind, Expected, Purge, SnapshotPolicy, SnapshotReason};

use crate::domain::{Account, AccountEvent, deposits};
use crate::support::{Place, at, fast, noted, refused};

const MANY: u64 = 1_100;

fn id(n: u64) -> String {
    format!("a-{n:04}")
}

/// So many accounts, of one to three events; the third position is that of the second account's first event.
fn filled(place: &Place) -> foldlog::Store {
    let store = fast().snapshots(SnapshotPolicy::manual()).open(place.file()).unwrap();
    for n in 0..MANY {
        store.aggregates::<Account>().append(id(n), 0, deposits(n % 3 + 1)).unwrap();
    }
    store
}

#[test]
fn ids_come_in_order_whatever_a_page_holds() {
    let place = Place::new();
    let accounts = filled(&place).aggregates::<Account>();
    let ids: Vec<String> = accounts.ids().map(Result::unwrap).collect();
    assert_eq!(ids, (0..MANY).map(id).collect::<Vec<_>>());
    assert_eq!(accounts.count().unwrap(), MANY);
    for after in [0, 31, 32, 600, MANY - 1] {
        let rest: Vec<String> = accounts.ids().after(id(after)).map(Result::unwrap).collect();
        assert_eq!(rest, ids[after as usize + 1..]);
    }
    assert_eq!(accounts.ids().after("a").take(2).map(Result::unwrap).collect::<Vec<_>>(), ids[..2]);
    assert_eq!(accounts.ids().after("b").count(), 0);
}

#[test]
fn one_that_may_not_be_there() {
    let place = Place::new();
    let accounts = place.open().aggregates::<Account>();
    assert!(accounts.find("a").unwrap().is_none());
    accounts.append("a", 0, deposits(2)).unwrap();
    assert_eq!(accounts.find("a").unwrap(), Some(accounts.replay("a").unwrap()));
    place.open().append("account", "b", 0, [noted(1)]).unwrap();
    refused(accounts.find("b"), ErrorKind::UnknownEventType);
}

#[test]
fn states_as_of_a_position_or_a_time() {
    let place = Place::new();
    let store = place.open();
    let accounts = store.aggregates::<Account>();
    let mut told = Vec::new();
    for n in 1..=60 {
        let (name, event) = (format!("a-{}", n % 7), AccountEvent::Deposited { cents: 1 });
        // The times run against the positions.
        let event = foldlog::Annotated::new(event).created_at(at(100 - i64::try_from(n).unwrap()));
        accounts.append(&name, Expected::Any, [event]).unwrap();
        told.push((name, n));
        if n % 20 == 0 {
            accounts.create_snapshot(format!("a-{}", n % 7), SnapshotReason::Manual).unwrap();
        }
    }
    let states = |each: foldlog::ReplayEach<Account>| -> Vec<(String, u64)> {
        each.map(|each| each.unwrap()).map(|(id, replayed)| (id, replayed.state.cents)).collect()
    };
    let counted = |is_in: &dyn Fn(u64) -> bool| -> Vec<(String, u64)> {
        let names = (0..7).map(|n| format!("a-{n}"));
        let count = |name: &String| told.iter().filter(|(of, n)| of == name && is_in(*n)).count() as u64;
        names.map(|name| (name.clone(), count(&name))).filter(|(_, cents)| *cents > 0).collect()
    };
    assert_eq!(states(accounts.replay_each()), counted(&|_| true));
    assert_eq!(states(accounts.replay_each().after("a-4")), counted(&|_| true)[5..]);
    for end in [0, 1, 3, 7, 20, 21, 41, 60, 1_000] {
        assert_eq!(states(accounts.replay_each().to_position(end)), counted(&|n| n <= end), "to position {end}");
        let time = at(100 - i64::try_from(end).unwrap());
        assert_eq!(states(accounts.replay_each().to_time(time)), counted(&|n| n >= end), "from {end} in time");
    }
    assert_eq!(accounts.replay_to_position("a-1", 8).unwrap().version, 2);
    assert_eq!(accounts.without_snapshots().replay_to_position("a-1", 43).unwrap(), {
        let mut with = accounts.replay_to_position("a-1", 43).unwrap();
        (with.events_folded, with.from_snapshot) = (with.version.get(), None);
        with
    });
    refused(accounts.replay_to_position("a-2", 1), ErrorKind::NotFound);
}

#[test]
fn a_state_that_fails_does_not_end_the_others() {
    let place = Place::new();
    let store = filled(&place);
    store.append("account", id(5), Expected::Existing, [noted(1)]).unwrap();
    let accounts = store.aggregates::<Account>();
    let failed: Vec<_> = accounts.replay_each().filter_map(Result::err).collect();
    assert_eq!(failed.len(), 1);
    assert_eq!(&*failed[0].aggregate().unwrap().aggregate_id, id(5));
    assert_eq!(accounts.replay_each().flatten().count() as u64, MANY - 1);

    let mut seen = 0;
    let stopped = accounts.replay_each().run(
        |_, _| Ok::<_, String>(()),
        |_| {
            seen += 1;
            if seen == 9 { Break(()) } else { Continue(()) }
        },
    );
    let stopped = stopped.unwrap();
    assert_eq!((stopped.succeeded, stopped.failed, stopped.total, stopped.finished), (8, 1, MANY, false));
    let early = accounts.replay_each().to_position(1).run(|_, _| Ok::<_, String>(()), |_| Continue(())).unwrap();
    assert_eq!((early.succeeded, early.skipped, early.finished), (1, MANY - 1, true));
}

#[test]
fn a_snapshot_of_each_lets_a_purge_take_everything() {
    let place = Place::new();
    let store = filled(&place);
    let accounts = store.aggregates::<Account>();
    accounts.create_snapshot(id(7), SnapshotReason::Scheduled).unwrap();
    let stopped = accounts.snapshot_all(SnapshotReason::Manual, |_| Break(())).unwrap();
    assert!((1..MANY - 1).contains(&stopped.succeeded) && !stopped.finished, "{stopped:?}");

    let mut calls = 0;
    let done = accounts.snapshot_all(SnapshotReason::Manual, |done| {
        calls += 1;
        assert!(done.succeeded + done.skipped <= done.total);
        Continue(())
    });
    let done = done.unwrap();
    assert_eq!((done.succeeded, done.skipped, done.failed), (MANY - 1 - stopped.succeeded, stopped.succeeded + 1, 0));
    assert!(done.finished && (2..=10).contains(&calls), "{calls} transactions");
    let again = accounts.snapshot_all(SnapshotReason::Manual, |_| Continue(())).unwrap();
    assert_eq!((again.succeeded, again.skipped), (0, MANY));
    assert_eq!(accounts.latest_snapshot(id(7)).unwrap().unwrap().reason, SnapshotReason::Scheduled);

    let before: Vec<_> = accounts.without_snapshots().replay_each().map(|each| each.unwrap().1.state).collect();
    assert!(accounts.verify_snapshots(|_| Continue(())).unwrap().is_clean());
    let all = || Purge::created_before(chrono::Utc::now() + chrono::TimeDelta::hours(1)).fold(&accounts);
    let stopped = store.maintenance().purge_by_steps(all(), |_| Break(())).unwrap();
    assert!((1..MANY).contains(&stopped.aggregates_purged) && !stopped.finished, "{stopped:?}");
    let report = store.maintenance().purge(all()).unwrap();
    assert_eq!((report.events_kept, report.aggregates_purged), (0, MANY - stopped.aggregates_purged));
    assert!(report.finished);
    let after: Vec<_> = accounts.replay_each().map(|each| each.unwrap().1.state).collect();
    assert_eq!(before, after);
}

#[test]
fn an_aggregate_without_a_state_gets_no_snapshot_and_stops_no_other() {
    let place = Place::new();
    let store = place.open();
    for n in 0..3 {
        store.append("account", id(n), 0, [noted(1)]).unwrap();
        store.aggregates::<Account>().append(id(n + 3), 0, deposits(1)).unwrap();
    }
    let done = store.aggregates::<Account>().snapshot_all(SnapshotReason::Manual, |_| Continue(())).unwrap();
    assert_eq!((done.total, done.succeeded, done.failed, done.failures.len()), (6, 3, 3, 3));
    assert_eq!(done.failures[2].0, id(2));
}
