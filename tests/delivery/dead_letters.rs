//! Dead letters of outboxes.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use foldlog::{DeadLetterPolicy, ErrorKind, Expected, Message, NewEvent, PublishError};

use super::outbox::{Seen, eager, noting, retry, seen, standing, until};
use super::{count, event, store};

#[test]
fn a_dead_letter_can_be_passed_by() {
    let (_directory, store) = store();
    count(&store, 0, 30);
    let out = Seen::default();
    let answer = |position| if position == 1 { Err(PublishError::Reject("gone".into())) } else { Ok(()) };
    let mut outbox = eager(&store).on_dead_letter(DeadLetterPolicy::PassOn).publisher(noting(&out, answer));
    assert_eq!(outbox.run_to_end().unwrap(), 29);
    assert_eq!(seen(&out).iter().filter(|(position, _)| *position == 1).count(), 1, "refused: dead at once");
    assert_eq!(standing(&store), (30, 0, 0, 1));
}

#[test]
fn another_policy_frees_what_waited_behind_a_dead_letter() {
    let (_directory, store) = store();
    count(&store, 0, 30);
    let refuse = |message: &Message<'_>| {
        if message.event.position == 1 { Err(PublishError::Reject("no".into())) } else { Ok(()) }
    };
    assert_eq!(eager(&store).publisher(refuse).run_to_end().unwrap(), 27);
    let out = Seen::default();
    let mut outbox = eager(&store).on_dead_letter(DeadLetterPolicy::PassOn).publisher(noting(&out, |_| Ok(())));
    assert_eq!(outbox.run_to_end().unwrap(), 2);
    assert_eq!(seen(&out), [(11, 1), (21, 1)]);
}

#[test]
fn dead_letters_are_retried_and_discarded_one_by_filter_and_all() {
    let (_directory, store) = store();
    count(&store, 0, 20);
    store.append("other", "o-1", Expected::Any, [NewEvent::new("Noted", &()).unwrap()]).unwrap();
    let out = Seen::default();
    let mut down = eager(&store).publisher(|_: &Message<'_>| Err(PublishError::Reject("no".into())));
    let mut up = eager(&store).publisher(noting(&out, |_| Ok(())));
    assert_eq!(down.run_to_end().unwrap(), 0);
    let letters = store.outbox("out").dead_letters().unwrap();
    assert_eq!((letters.count().unwrap(), standing(&store)), (11, (21, 0, 10, 11)));

    // One: its aggregate follows.
    letters.retry(3).unwrap();
    for error in [letters.retry(3), letters.retry(13), letters.discard(99)] {
        assert_eq!(error.unwrap_err().kind(), ErrorKind::NotFound);
    }
    assert_eq!((up.run_to_end().unwrap(), seen(&out)), (2, vec![(3, 1), (13, 1)]));
    // By type, and by what a closure sees.
    assert_eq!(letters.retry_event_type("Noted").unwrap(), 1);
    assert_eq!(letters.retry_where(|letter| letter.event.as_ref().unwrap().aggregate_id.ends_with('4')).unwrap(), 1);
    assert_eq!((up.run_to_end().unwrap(), seen(&out).len()), (3, 3));
    // Given up: what waited behind it goes on, it does not.
    letters.discard(1).unwrap();
    assert_eq!(letters.discard_where(|letter| letter.position == 2).unwrap(), 1);
    assert_eq!((up.run_to_end().unwrap(), seen(&out)), (2, vec![(11, 1), (12, 1)]));
    // All, and what fails again is dead again.
    assert_eq!((letters.retry_all().unwrap(), letters.count().unwrap()), (6, 0));
    assert_eq!((down.run_to_end().unwrap(), letters.count().unwrap()), (0, 6));
    assert_eq!((letters.discard_all().unwrap(), letters.count().unwrap()), (6, 0));
    assert_eq!((up.run_to_end().unwrap(), standing(&store)), (6, (21, 0, 0, 0)));
}

#[test]
fn dead_letters_are_listed_over_several_pages() {
    let (_directory, store) = store();
    count(&store, 0, 150);
    let mut outbox = eager(&store)
        .on_dead_letter(DeadLetterPolicy::PassOn)
        .publisher(|_: &Message<'_>| Err(PublishError::Reject("no".into())));
    outbox.run_to_end().unwrap();
    let positions: Vec<u64> =
        store.outbox("out").dead_letters().unwrap().iter().map(|letter| letter.unwrap().position.get()).collect();
    assert_eq!(positions, (1..=150).collect::<Vec<_>>());
}

#[test]
fn an_event_that_is_gone_becomes_a_dead_letter() {
    let (_directory, store) = store();
    count(&store, 0, 11);
    let pause = Duration::from_millis(200);
    store.outbox("out").backoff(pause, pause).publisher(|_: &Message<'_>| retry()).run_to_end().unwrap();
    store.maintenance().purge(super::purging::everything().even_if_undelivered()).unwrap();
    assert_eq!(store.count(foldlog::Query::new()).unwrap(), 0);
    std::thread::sleep(pause);
    assert_eq!(eager(&store).publisher(|_: &Message<'_>| Ok(())).run_to_end().unwrap(), 0);
    let letters: Vec<_> = store.outbox("out").dead_letters().unwrap().iter().map(Result::unwrap).collect();
    assert_eq!(letters.len(), 10, "the eleventh waits behind the first");
    assert!(letters.iter().all(|letter| letter.event.is_none()), "{letters:?}");
    assert_eq!(letters[0].last_error, "the event is no longer in the file");
}

/// Under one lead: the next leader would tidy up.
#[test]
fn what_is_done_to_a_letter_moves_its_aggregate_and_no_other_at_once() {
    let (_directory, store) = store();
    // 1 and 3 are of a, 2 and 4 of b, 5 and 6 of c.
    for (n, id) in ["a", "b", "a", "b", "c", "c"].into_iter().enumerate() {
        store.append("counter", id, Expected::Any, [event(n as u64)]).unwrap();
    }
    let out = Seen::default();
    let refused = Arc::new(Mutex::new(BTreeSet::from([1, 2, 5])));
    let refusing = refused.clone();
    let answer = move |position| match refusing.lock().unwrap().contains(&position) {
        true => Err(PublishError::Reject("no".into())),
        false => Ok(()),
    };
    let follower = eager(&store).publisher(noting(&out, answer)).follow().unwrap();
    until("three are dead", || standing(&store) == (6, 0, 3, 3));
    seen(&out);
    let letters = store.outbox("out").dead_letters().unwrap();
    letters.discard(2).unwrap();
    until("b goes on", || standing(&store) == (6, 0, 2, 2));
    assert_eq!(seen(&out), [(4, 1)]);
    refused.lock().unwrap().clear();
    letters.retry(5).unwrap();
    until("c goes on", || standing(&store) == (6, 0, 1, 1));
    assert_eq!(seen(&out), [(5, 1), (6, 1)]);
    letters.discard(1).unwrap();
    until("a goes on", || standing(&store) == (6, 0, 0, 0));
    assert_eq!(seen(&out), [(3, 1)]);
    assert!(!follower.has_ended());
}

#[test]
fn what_waits_behind_a_failing_event_goes_on_when_that_is_given_up_and_passed_by() {
    let (_directory, store) = store();
    // More than one batch takes: what is behind the failing event in its own batch goes on without being freed.
    store.append("counter", "a", 0, (0..200).map(event)).unwrap();
    let out = Seen::default();
    let soon = Duration::from_millis(20);
    let outbox = store.outbox("out").backoff(soon, soon).max_attempts(2).on_dead_letter(DeadLetterPolicy::PassOn);
    let answer = |position| if position == 1 { retry() } else { Ok(()) };
    let follower = outbox.publisher(noting(&out, answer)).follow().unwrap();
    until("the others are through", || standing(&store) == (200, 0, 0, 1));
    assert_eq!(seen(&out), [(1, 1), (1, 2)].into_iter().chain((2..=200).map(|position| (position, 1))).collect::<Vec<_>>());
    assert!(!follower.has_ended());
}
