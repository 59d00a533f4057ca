//! execute: load, decide, append, and again if somebody was faster.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

use foldlog::{Aggregate, ErrorKind, EventId, Expected, Query, SnapshotPolicy, Version};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::domain::{Account, AccountEvent, deposits, opened};
use crate::support::{Place, fast, noted, read, refused, says};

/// An error of the application's own: it has no place for the store's, and no `From`.
#[derive(Debug, PartialEq)]
enum Refusal {
    Overdrawn { missing: u64 },
}

fn withdraw(account: &Account, cents: u64) -> Result<Vec<AccountEvent>, Refusal> {
    match account.cents.checked_sub(cents) {
        Some(_) => Ok(vec![AccountEvent::Withdrawn { cents }]),
        None => Err(Refusal::Overdrawn { missing: cents - account.cents }),
    }
}

#[test]
fn a_new_aggregate_is_decided_on_its_initial_state() {
    let place = Place::new();
    let accounts = place.open().aggregates::<Account>();
    let executed = accounts
        .execute("a", |account| {
            assert_eq!(*account, Account::default());
            [opened(), AccountEvent::Deposited { cents: 5 }]
        })
        .unwrap();
    assert_eq!((executed.version.get(), executed.attempts, executed.state.cents), (2, 1, 5));
    let appended = executed.appended.unwrap();
    assert_eq!((appended.version.get(), appended.position.get(), appended.event_ids.len()), (2, 2, 2));
    assert_eq!(accounts.replay("a").unwrap().state, executed.state);
    let lists = place.open().json_aggregates("list");
    let executed = lists.execute("a", |state| {
        assert_eq!(*state, json!({}), "without types it is an object without members");
        [noted(1)]
    });
    assert_eq!(executed.unwrap().state, json!({ "n": 1 }));
}

#[test]
fn the_applications_own_error_comes_back_as_it_is() {
    let place = Place::new();
    let accounts = place.open().aggregates::<Account>();
    accounts.append("a", 0, deposits(7)).unwrap();
    let refusal = accounts.execute("a", |account| withdraw(account, 10)).unwrap_err();
    assert_eq!(refusal.decision(), Some(&Refusal::Overdrawn { missing: 3 }));
    assert_eq!(accounts.version("a").unwrap(), 7);
    assert_eq!(accounts.execute("a", |account| withdraw(account, 7)).unwrap().state.cents, 0);
}

#[test]
fn a_decision_without_events_writes_nothing() {
    let place = Place::new();
    let accounts = place.open().aggregates::<Account>();
    let executed = accounts.execute("new", |_| [] as [AccountEvent; 0]).unwrap();
    assert_eq!((executed.version, executed.appended, executed.state), (Version::ZERO, None, Account::default()));
    accounts.append("a", 0, deposits(2)).unwrap();
    let executed = accounts.execute("a", |_| Vec::<AccountEvent>::new()).unwrap();
    assert_eq!((executed.version.get(), executed.appended, executed.state.cents), (2, None, 2));
    assert_eq!(place.open().last_position().unwrap(), 2);
}

#[test]
fn after_a_conflict_it_decides_again() {
    let place = Place::new();
    let store = fast().execute_attempts(3).open(place.file()).unwrap();
    let accounts = store.aggregates::<Account>();
    accounts.append("a", 0, deposits(10)).unwrap();
    let other = place.open().aggregates::<Account>();
    let mut seen = Vec::new();
    let executed = accounts
        .execute("a", |account| {
            seen.push(account.cents);
            if seen.len() < 3 {
                other.append("a", Expected::Any, deposits(1)).unwrap();
            }
            withdraw(account, 4)
        })
        .unwrap();
    assert_eq!((seen, executed.attempts), (vec![10, 11, 12], 3));
    assert_eq!((executed.state.cents, executed.version.get()), (8, 13));
    assert_eq!(accounts.replay("a").unwrap().state.cents, 8);
}

/// The last attempt decides under the lock, so that nobody can be faster.
#[test]
fn the_last_attempt_cannot_conflict() {
    let place = Place::new();
    for most in [0, 1, 4] {
        let store = fast().execute_attempts(most).open(place.file()).unwrap();
        let accounts = store.aggregates::<Account>();
        accounts.append("a", Expected::Any, deposits(2)).unwrap();
        let mut attempts = 0;
        let executed = accounts.execute("a", |account| {
            attempts += 1;
            if attempts < most {
                accounts.append("a", Expected::Any, deposits(1)).unwrap();
            }
            withdraw(account, 1)
        });
        assert_eq!((executed.unwrap().attempts, attempts), (most.max(1), most.max(1)));
    }
}

#[test]
fn two_that_make_the_same_new_aggregate() {
    let place = Place::new();
    let accounts = place.open().aggregates::<Account>();
    let executed = accounts
        .execute("a", |account| {
            if account.owner.is_empty() {
                accounts.append("a", Expected::New, [opened()]).unwrap();
                return Some(opened());
            }
            None
        })
        .unwrap();
    assert_eq!((executed.attempts, executed.appended, executed.version.get()), (2, None, 1));
}

#[test]
fn events_that_cannot_be_stored_leave_nothing() {
    let place = Place::new();
    let lists = place.open().json_aggregates("list");
    let executed = lists.execute("a", |_| [noted(1), noted(2).schema_version(0)]);
    let error = refused(executed.map(drop).map_err(foldlog::Error::from), ErrorKind::InvalidInput);
    says(&error, &["list \"a\"", "Noted"]);
    assert_eq!(lists.version("a").unwrap(), 0);
}

#[test]
fn a_decision_that_was_stored_before_is_not_taken_twice() {
    let place = Place::new();
    let counters = place.open().json_aggregates("counter").fold_with("count", 1, |state, _, data| {
        state["sum"] = json!(state["sum"].as_u64().unwrap_or(0) + data["n"].as_u64().unwrap_or(0));
        Ok(())
    });
    let decide = |_: &serde_json::Value| [noted(5).id(EventId::from_u128(7))];
    assert_eq!(counters.execute("c", decide).unwrap().state, json!({ "sum": 5 }));
    counters.append("c", 1, [noted(1)]).unwrap();
    let again = counters.execute("c", decide).unwrap();
    assert_eq!((again.state, again.version.get()), (json!({ "sum": 6 }), 2));
    let appended = again.appended.unwrap();
    assert!(appended.was_duplicate);
    assert_eq!(appended.version, 1);
}

#[derive(Default, Serialize, Deserialize)]
struct Unwritable {
    // JSON has no such keys.
    seen: HashMap<Vec<u8>, u64>,
}

impl Aggregate for Unwritable {
    const TYPE: &'static str = "account";
    type Event = AccountEvent;

    fn apply(&mut self, _: AccountEvent) {
        *self.seen.entry(vec![1]).or_default() += 1;
    }
}

#[test]
fn a_state_that_no_snapshot_can_hold_stops_nothing() {
    let place = Place::new();
    let store = fast().snapshots(SnapshotPolicy::every(3)).open(place.file()).unwrap();
    let accounts = store.aggregates::<Unwritable>();
    for n in 1..=8 {
        let executed = accounts.execute("a", |_| deposits(1)).unwrap();
        assert_eq!(executed.state.seen[&vec![1]], n);
    }
    accounts.append("a", 8, deposits(1)).unwrap();
    assert_eq!(accounts.replay("a").unwrap().state.seen[&vec![1]], 9);
    refused(accounts.create_snapshot("a", foldlog::SnapshotReason::Manual), ErrorKind::Codec);
}

#[derive(Default, Serialize, Deserialize)]
struct Explosive;

#[derive(Serialize, Deserialize)]
enum Fuse {
    Laid,
    Lit,
}

impl Aggregate for Explosive {
    const TYPE: &'static str = "explosive";
    type Event = Fuse;

    fn apply(&mut self, event: Fuse) {
        assert!(matches!(event, Fuse::Laid), "apply panics");
    }
}

#[test]
fn a_panic_of_the_application_leaves_the_store_usable() {
    let place = Place::new();
    let store = place.open();
    let (accounts, explosives) = (store.aggregates::<Account>(), store.aggregates::<Explosive>());
    accounts.append("a", 0, deposits(1)).unwrap();
    explosives.append("e", 0, [Fuse::Laid, Fuse::Lit]).unwrap();
    let panics = |work: &mut dyn FnMut()| assert!(catch_unwind(AssertUnwindSafe(work)).is_err());
    for _ in 0..20 {
        panics(&mut || drop(accounts.execute("a", |_| -> [AccountEvent; 0] { panic!("decide panics") })));
        panics(&mut || drop(explosives.execute("f", |_| [Fuse::Lit])));
        panics(&mut || drop(explosives.replay("e")));
        panics(&mut || drop(explosives.replay_each().run(|_, _| Ok::<_, String>(()), |_| std::ops::ControlFlow::Continue(()))));
        panics(&mut || {
            drop(
                accounts
                    .replay_each()
                    .run(|_, _| -> Result<(), String> { panic!("a read model panics") }, |_| std::ops::ControlFlow::Continue(())),
            )
        });
    }
    assert_eq!((explosives.version("f").unwrap().get(), store.last_position().unwrap().get()), (0, 3));
    accounts.execute("a", |_| deposits(2)).unwrap();
    assert_eq!(accounts.replay("a").unwrap().state.cents, 3);
    assert_eq!(read(&store, Query::new()).len(), 5);
    // Not from this store alone: no lock is left on the file.
    place.open().append("account", "a", 3, [noted(1)]).unwrap();
}

fn transfer(from: &Account, cents: u64) -> Result<[Vec<AccountEvent>; 2], Refusal> {
    Ok([withdraw(from, cents)?, vec![AccountEvent::Deposited { cents }]])
}

#[test]
fn a_decision_over_two_aggregates_appends_to_both_or_to_none() {
    let place = Place::new();
    let store = place.open();
    let accounts = store.aggregates::<Account>();
    accounts.append("a", 0, deposits(7)).unwrap();
    let both = || [accounts.aggregate("a"), accounts.aggregate("b")];
    let refusal = store.execute(both(), |[from, _]| transfer(from, 8)).unwrap_err();
    assert_eq!(refusal.decision(), Some(&Refusal::Overdrawn { missing: 1 }));
    assert_eq!((store.last_position().unwrap().get(), accounts.version("b").unwrap().get()), (7, 0));
    let done = store.execute(both(), |[from, _]| transfer(from, 5)).unwrap();
    let appended: Vec<_> = done.appended.iter().map(|appended| appended.as_ref().unwrap()).collect();
    assert_eq!(appended.iter().map(|appended| appended.version.get()).collect::<Vec<_>>(), [8, 1]);
    assert_eq!((appended[0].commit_id, done.attempts), (appended[1].commit_id, 1));
    assert_eq!((accounts.replay("a").unwrap().state.cents, accounts.replay("b").unwrap().state.cents), (2, 5));
}

#[test]
fn a_decision_over_several_types_sees_the_states_in_the_form_of_the_aggregates() {
    let place = Place::new();
    let store = place.open();
    let (accounts, lists) = (store.aggregates::<Account>(), store.json_aggregates("list"));
    accounts.append("a", 0, deposits(3)).unwrap();
    let of = (accounts.aggregate("a"), vec![lists.aggregate("x"), lists.aggregate("y")]);
    let done = store
        .execute(of, |(account, lists)| {
            assert_eq!((account.cents, lists.len()), (3, 2));
            (None::<AccountEvent>, vec![vec![noted(account.cents)], vec![]])
        })
        .unwrap();
    assert_eq!(done.appended.iter().map(Option::is_some).collect::<Vec<_>>(), [false, true, false]);
    assert_eq!(lists.replay("x").unwrap().state, json!({ "n": 3 }));
    let nothing = store.execute([accounts.aggregate("a")], |_| [None::<AccountEvent>]).unwrap();
    assert_eq!((nothing.appended, store.last_position().unwrap().get()), (vec![None], 4));
}

/// An aggregate that was only looked at counts too.
#[test]
fn a_decision_over_several_is_taken_again_if_one_of_them_has_moved() {
    let place = Place::new();
    for most in [1, 3] {
        let store = fast().execute_attempts(most).open(place.file()).unwrap();
        let accounts = store.aggregates::<Account>();
        let before = accounts.append("seen", Expected::Any, deposits(1)).unwrap().version.get();
        let mut attempts = 0;
        let done = store.execute([accounts.aggregate("seen"), accounts.aggregate("written")], |[seen, _]| {
            attempts += 1;
            if attempts < most {
                accounts.append("seen", Expected::Any, deposits(1)).unwrap();
            }
            [vec![], vec![AccountEvent::Deposited { cents: seen.cents }]]
        });
        assert_eq!((done.unwrap().attempts, attempts), (most, most));
        let last = store.read(Query::aggregate("account", "written").newest_first()).next().unwrap().unwrap();
        assert_eq!(last.data.to_value().unwrap(), json!({ "cents": before + u64::from(most) - 1 }));
    }
}

#[test]
fn what_cannot_be_decided_together_is_refused() {
    let place = Place::new();
    let store = place.open();
    let accounts = store.aggregates::<Account>();
    let one = |id: &str| accounts.aggregate(id);
    let events = || vec![AccountEvent::Closed];
    let twice = store.execute([one("a"), one("a")], |_| [events(), events()]);
    refused(twice.map_err(foldlog::Error::from), ErrorKind::InvalidInput);
    let others = store.tenant("other").aggregates::<Account>().aggregate("a");
    refused(store.execute([others], |_| [events()]).map_err(foldlog::Error::from), ErrorKind::InvalidInput);
    let fewer = store.execute(vec![one("a"), one("b")], |_| vec![events()]);
    refused(fewer.map_err(foldlog::Error::from), ErrorKind::InvalidInput);
    assert_eq!(store.last_position().unwrap(), 0);
}
