//! Typed events with ids, times, tags and metadata: in appends, decisions and batches. Ids of every kind; waiting.

use std::fmt;
use std::time::{Duration, Instant};

use foldlog::{Annotated, Batch, ErrorKind, Expected, Metadata, Query};
use uuid::Uuid;

use crate::domain::{Account, AccountEvent, deposits};
use crate::support::{Place, at, read, refused};

fn deposited(cents: u64) -> AccountEvent {
    AccountEvent::Deposited { cents }
}

fn user(id: &str) -> Metadata {
    Metadata::new().user_id(id)
}

#[test]
fn all_that_is_said_of_an_event_is_in_the_log() {
    let place = Place::new();
    let store = place.open();
    let accounts = store.aggregates::<Account>().with_metadata(&user("handle")).unwrap();
    let id = Uuid::new_v4();
    let full = || Annotated::new(deposited(1)).id(id).created_at(at(7)).tag("x").tag("y").metadata(user("own"));
    assert_eq!((full().event(), full().into_event()), (&deposited(1), deposited(1)));
    accounts.append("a", 0, [full()]).unwrap();
    accounts.execute("a", |_| [Annotated::new(deposited(2)).tag("z"), deposited(3).into()]).unwrap();
    accounts.execute("a", |account| if account.cents == 6 { Ok(vec![Annotated::new(deposited(4))]) } else { Err("?") }).unwrap();

    let events = read(&store, Query::aggregate("account", "a"));
    let said = |n: usize| (events[n].tags.join(" "), events[n].metadata().unwrap().user_id.unwrap());
    let told = |tags: &str, user: &str| (tags.to_owned(), user.to_owned());
    assert_eq!((events[0].id, events[0].created_at), (id, at(7)));
    assert_eq!(
        [said(0), said(1), said(2), said(3)],
        [("x y", "own"), ("z", "handle"), ("", "handle"), ("", "handle")].map(|(a, b)| told(a, b))
    );
    assert!(accounts.append("a", Expected::Any, [full()]).unwrap().was_duplicate);
    assert_eq!(accounts.replay("a").unwrap().state.cents, 10);
    assert_eq!(accounts.preview("a", |_| [Annotated::new(deposited(1)).tag("p")]).unwrap().events[0].tags, ["p"]);
}

#[test]
fn a_batch_takes_typed_events_and_the_metadata_of_their_handles() {
    let place = Place::new();
    let store = place.open();
    let (ada, ben) = (user("ada"), user("ben"));
    let accounts = store.aggregates::<Account>();
    let (ada, ben) = (accounts.with_metadata(&ada).unwrap(), accounts.with_metadata(&ben).unwrap());
    let batch = Batch::new()
        .append_to(&ada, "a", Expected::New, deposits(2))
        .and_then(|batch| {
            batch.append_to(&ben, "b", Expected::New, [Annotated::new(deposited(5)).tag("gift").metadata(user("own"))])
        })
        .and_then(|batch| batch.append_to(&ben, "a", 2, [deposited(1)]))
        .unwrap();
    assert_eq!(batch.len(), 4);
    let done = store.commit(batch).unwrap();
    assert!(done.iter().all(|part| part.commit_id == 1));
    let who: Vec<_> = read(&store, Query::new()).iter().map(|event| event.metadata().unwrap().user_id.unwrap()).collect();
    assert_eq!(who, ["ada", "ada", "own", "ben"]);
    assert_eq!((accounts.replay("a").unwrap().state.cents, accounts.replay("b").unwrap().state.cents), (3, 5));
}

#[test]
fn a_batch_of_one_tenant_does_not_get_into_another() {
    let place = Place::new();
    let store = place.open();
    let (ours, acme) = (store.aggregates::<Account>(), store.tenant("acme").aggregates::<Account>());
    let of_acme = || Batch::new().append_to(&acme, "a", Expected::Any, deposits(1)).unwrap();
    let mixed = of_acme().append_to(&ours, "a", Expected::Any, deposits(1)).unwrap();
    for (store, batch) in [(&store, of_acme()), (&store, mixed.clone()), (&store.tenant("acme"), mixed)] {
        refused(store.commit(batch), ErrorKind::InvalidInput);
    }
    store.tenant("acme").commit(of_acme()).unwrap();
    assert_eq!((acme.count().unwrap(), ours.count().unwrap()), (1, 0));
}

struct AccountId(Uuid);

impl fmt::Display for AccountId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[test]
fn ids_are_whatever_displays() {
    let place = Place::new();
    let store = place.open();
    let accounts = store.aggregates::<Account>();
    let uuid = Uuid::new_v4();
    accounts.append(AccountId(uuid), Expected::New, deposits(1)).unwrap();
    accounts.append(uuid, 1, deposits(1)).unwrap();
    accounts.append(uuid.to_string(), 2, deposits(1)).unwrap();
    accounts.append(uuid.to_string(), 3, deposits(1)).unwrap();
    accounts.execute(AccountId(uuid), |_| deposits(1)).unwrap();
    store.commit(Batch::new().append_to(&accounts, uuid, 5, deposits(1)).unwrap()).unwrap();
    assert_eq!(accounts.replay(&*uuid.to_string()).unwrap().version, 6);
    assert_eq!((accounts.version(uuid).unwrap(), accounts.history(uuid).count()), (6.into(), 6));
    assert_eq!(store.count(Query::aggregate("account", AccountId(uuid))).unwrap(), 6);
    accounts.append(17, 0, deposits(1)).unwrap();
    let mut ids = vec!["17".to_string(), uuid.to_string()];
    ids.sort();
    assert_eq!(accounts.ids().map(Result::unwrap).collect::<Vec<_>>(), ids);
}

#[test]
fn a_reader_without_a_subscription_waits() {
    let place = Place::new();
    let store = place.open();
    let began = Instant::now();
    assert!(!store.wait_for(1, Duration::from_millis(20)).unwrap());
    assert!(began.elapsed() >= Duration::from_millis(20));
    // The other store is another process to this one: no signal of its appends comes here.
    for other in [store.clone(), place.open()] {
        let next = store.last_position().unwrap() + 1;
        let appending = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(30));
            other.aggregates::<Account>().append("a", Expected::Any, deposits(1)).unwrap();
        });
        assert!(store.wait_for(next, Duration::MAX).unwrap());
        assert_eq!(store.last_position().unwrap(), next);
        appending.join().unwrap();
    }
    assert!(store.wait_for(2, Duration::ZERO).unwrap() && !store.wait_for(3, Duration::ZERO).unwrap());
    assert!(store.subscriptions().unwrap().is_empty(), "it leaves nothing in the file");
}
