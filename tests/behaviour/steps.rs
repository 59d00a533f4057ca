//! A replay step by step gives what a replay to each version gives.

use foldlog::{Aggregate, ErrorKind, Expected, FoldError, Purge, Result, SnapshotReason, Step};
use serde_json::json;

use crate::domain::{Account, AccountEvent, deposits, opened};
use crate::support::{Place, at, fast, noted, notes, refused, says};

#[test]
fn each_step_is_the_state_of_its_version() {
    let place = Place::new();
    // Snapshots in between: a beginning at one of them must not change what follows.
    let store = fast().snapshots(foldlog::SnapshotPolicy::every(7)).open(place.file()).unwrap();
    let accounts = store.aggregates::<Account>();
    accounts.append("a", 0, std::iter::once(opened()).chain(deposits(28)).chain([AccountEvent::Closed])).unwrap();
    for after in [0, 1, 13, 14, 29, 30] {
        let mut steps = accounts.steps("a", after).unwrap();
        assert_eq!(steps.version(), after);
        let mut versions = after;
        while let Some(step) = steps.next() {
            let Step { event, state, .. } = step.unwrap();
            versions += 1;
            assert_eq!(event.version, versions);
            let replayed = accounts.without_snapshots().replay_to_version("a", versions).unwrap().state;
            assert_eq!(state.as_str(), serde_json::to_string(&replayed).unwrap(), "version {versions}");
            assert_eq!((steps.state(), steps.version()), (&replayed, event.version));
        }
        assert_eq!(versions, 30, "after {after}");
    }
    refused(accounts.steps("a", 31), ErrorKind::NotFound);
    assert_eq!(accounts.steps("nobody", 0).unwrap().count(), 0);
    assert_eq!(accounts.fold_id(), (Account::fold_name(), 1));
}

#[test]
fn an_event_that_cannot_be_folded_ends_the_steps_with_its_place() {
    let place = Place::new();
    let store = place.open();
    store.append("list", "a", Expected::New, notes(1..=3)).unwrap();
    let lists = store.json_aggregates("list").fold_with("n", 1, |state, _, data| {
        if data["n"] == json!(3) {
            return Err(FoldError::Data("three is too many".to_owned()));
        }
        state["n"] = data["n"].clone();
        Ok(())
    });
    let mut steps = lists.steps("a", 0).unwrap();
    assert_eq!(
        steps.by_ref().take(2).map(|step| step.unwrap().state.as_str().to_owned()).collect::<Vec<_>>(),
        [r#"{"n":1}"#, r#"{"n":2}"#]
    );
    let error = steps.next().unwrap().unwrap_err();
    says(&error, &["replay by steps", "three is too many", "list", "version 3"]);
    assert_eq!((error.version(), error.position().map(|position| position.get())), (Some(3.into()), Some(3)));
    assert!(steps.next().is_none());
    assert_eq!(steps.state_json().unwrap().as_str(), r#"{"n":2}"#, "the state before it stays");
}

#[test]
fn steps_do_not_pass_over_what_was_purged() {
    let place = Place::new();
    let store = place.open();
    let lists = store.json_aggregates("list");
    lists.append("a", 0, (0..6).map(|n| noted(n).created_at(at(n as i64)))).unwrap();
    lists.create_snapshot("a", SnapshotReason::Manual).unwrap();
    lists.append("a", 6, notes(6..9)).unwrap();
    assert_eq!(store.maintenance().purge(Purge::created_before(at(100)).fold(&lists)).unwrap().events_removed, 6);
    let steps: Result<Vec<Step>> = lists.steps("a", 0).unwrap().collect();
    refused(steps, ErrorKind::HistoryRemoved);
    refused(lists.steps("a", 3), ErrorKind::HistoryRemoved);
    assert_eq!(lists.steps("a", 6).unwrap().last().unwrap().unwrap().state.as_str(), r#"{"n":8}"#);
}
