//! Outboxes whose process is killed: this binary starts itself again as the worker.

use std::collections::HashSet;

use super::kill_outbox::{self, Setting, published};
use super::support::random::seed;

const ARGUMENTS: &[&str] = &["--exact", "outbox_processes::worker", "--ignored", "--nocapture"];

#[test]
#[ignore = "a process that the other tests start and kill"]
fn worker() {
    kill_outbox::work_if_asked();
}

#[test]
fn killed_between_publish_and_mark() {
    let outcome = kill_outbox::run(30, ARGUMENTS, seed()).expect_clean();
    assert!(outcome.counted("published again") > 0, "no kill came between publish and mark: the test shows nothing");
}

#[test]
fn of_two_processes_the_other_takes_over_when_one_is_killed() {
    kill_outbox::run_takeovers(5, ARGUMENTS, seed()).expect_clean();
}

#[test]
fn an_event_that_kills_its_process_becomes_a_dead_letter() {
    let (directory, store) = super::store();
    super::count(&store, 0, 40);
    let setting = Setting { arguments: ARGUMENTS, lease_ms: 60, poison: 7, max_attempts: 3 };
    let mut deaths = 0;
    while !setting.start(directory.path()).succeeds() {
        deaths += 1;
        assert!(deaths <= 3, "it kills for ever");
    }
    assert_eq!(deaths, 3);
    let letters: Vec<_> = store.outbox("out").dead_letters().unwrap().iter().map(Result::unwrap).collect();
    let [letter] = &letters[..] else { panic!("{letters:?}") };
    assert_eq!((letter.position.get(), letter.attempts), (7, 3));
    assert_eq!(letter.last_error, "the process died in the last attempt");
    let first: HashSet<u64> = published(directory.path()).into_iter().map(|(position, _)| position).collect();
    assert_eq!(first.len(), 36, "all but the poison and the three behind it");
    assert_eq!(store.outbox("out").status().unwrap().waiting, 3);
}
