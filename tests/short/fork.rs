//! A forked process gets an error from a store that its parent opened, and harms nothing; a store that it opens itself
//! works.

use std::ops::ControlFlow::Continue;

use crate::support::fork::in_a_fork;
use crate::support::model::{self, Account, AccountEvent, accounts};
use foldlog::{Aggregate, Durability, ErrorKind, Expected, NewEvent, Query, Store};

fn append(store: &Store, id: &str) -> foldlog::Result<()> {
    store.append(Account::TYPE, id, Expected::Any, [NewEvent::of(&AccountEvent::Closed)?]).map(drop)
}

fn is_forked<T>(result: foldlog::Result<T>) -> bool {
    result.err().is_some_and(|error| error.kind() == ErrorKind::Forked && error.to_string().contains("open the store"))
}

/// A fork copies locks as they are: one that another thread of this process holds inside SQLite would stay locked in the
/// child for ever. The tests below therefore run one after the other, where nothing else runs.
#[test]
fn a_forked_process_may_not_use_its_parent_s_store() {
    crate::run_alone("fork::");
}

#[test]
#[ignore = "run by the first test in a process of its own"]
fn every_call_in_the_child_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let store = model::options(Durability::Fast).open(directory.path().join("store.db")).unwrap();
    append(&store, "a").unwrap();
    accounts(&store, "default").replay("a").unwrap();
    assert!(in_a_fork(|| {
        is_forked(append(&store, "a"))
            && is_forked(accounts(&store, "default").replay("a"))
            && is_forked(accounts(&store, "default").execute("a", |_| [AccountEvent::Closed]).map_err(foldlog::Error::from))
            && is_forked(store.read(Query::new()).collect::<foldlog::Result<Vec<_>>>())
            && is_forked(store.maintenance().verify(|_| Continue(())))
            && is_forked(store.last_position())
            && is_forked(store.file_statistics())
    }));
    append(&store, "a").unwrap();
    assert_eq!(store.last_position().unwrap(), 2);
}

#[test]
#[ignore = "run by the first test in a process of its own"]
fn the_child_may_drop_the_store_while_the_parent_writes() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store.db");
    let store = model::options(Durability::Fast).open(&path).unwrap();
    append(&store, "a").unwrap();
    for _ in 0..20 {
        // The fork comes in the middle of a transaction: the decision runs outside of one, a failing batch inside.
        let parents = store.clone();
        let decided = accounts(&store, "default").execute("a", |_| {
            let other = parents.clone();
            assert!(in_a_fork(move || {
                drop(other);
                true
            }));
            [AccountEvent::Closed]
        });
        decided.unwrap();
        let moved = model::options(Durability::Fast).open(&path).unwrap();
        let forked = moved.clone();
        drop(moved);
        // The last handle of a store goes in the child: closing it would take the log away under the parent.
        let mut held = Some(forked);
        assert!(in_a_fork(|| {
            drop(held.take());
            true
        }));
        append(&store, "b").unwrap();
    }
    assert_eq!(store.last_position().unwrap(), 41);
    assert!(store.maintenance().verify(|_| Continue(())).unwrap().is_clean());
}

#[test]
#[ignore = "run by the first test in a process of its own"]
fn a_store_that_the_child_opens_itself_works() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store.db");
    let store = model::options(Durability::Fast).open(&path).unwrap();
    append(&store, "a").unwrap();
    assert!(in_a_fork(|| {
        let own = model::options(Durability::Fast).open(&path).unwrap();
        append(&own, "a").is_ok() && own.last_position().unwrap() == 2
    }));
    append(&store, "a").unwrap();
    assert_eq!(store.last_position().unwrap(), 3);
    assert!(store.maintenance().verify(|_| Continue(())).unwrap().is_clean());
}
