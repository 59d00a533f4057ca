use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use foldlog::{
    DeadLetterPolicy, ErrorKind, Expected, Message, NewEvent, Options, Outbox, Position, PublishError, Publisher, Query,
    StopReason, Store,
};

use super::{count, event, store};

/// What was published: (position, attempt).
type Seen = Arc<Mutex<Vec<(u64, u32)>>>;

fn seen(of: &Seen) -> Vec<(u64, u32)> {
    std::mem::take(&mut of.lock().unwrap())
}

/// Notes every attempt, and answers as it is told.
fn noting<A: FnMut(u64) -> Result<(), PublishError> + Send>(seen: &Seen, answer: A) -> impl Publisher + use<A> {
    let (seen, mut answer) = (seen.clone(), answer);
    move |message: &Message<'_>| {
        let position = message.event.position.get();
        seen.lock().unwrap().push((position, message.attempt));
        answer(position)
    }
}

/// An outbox that tries again at once.
fn eager(store: &Store) -> Outbox {
    store.outbox("out").backoff(Duration::ZERO, Duration::ZERO)
}

fn retry() -> Result<(), PublishError> {
    Err(PublishError::Retry("down".into()))
}

/// (position, to retry, waiting, dead)
fn standing(store: &Store) -> (u64, u64, u64, u64) {
    let status = store.outbox_status("out").unwrap();
    (status.position.get(), status.to_retry, status.waiting, status.dead)
}

fn until(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !done() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn every_event_goes_out_once_in_order_and_leaves_nothing_behind() {
    let (directory, store) = store();
    count(&store, 0, 300);
    let out = Seen::default();
    assert_eq!(store.outbox("out").publisher(noting(&out, |_| Ok(()))).run_to_end().unwrap(), 300);
    assert_eq!(seen(&out), (1..=300).map(|position| (position, 1)).collect::<Vec<_>>());
    assert_eq!(standing(&store), (300, 0, 0, 0));
    drop(store);
    let store = Store::open(directory.path().join("events.db")).unwrap();
    count(&store, 300, 305);
    assert_eq!(store.outbox("out").publisher(noting(&out, |_| Ok(()))).run_to_end().unwrap(), 5);
    assert_eq!(seen(&out).len(), 5);
}

#[test]
fn a_filter_passes_over_what_it_does_not_want() {
    let (_directory, store) = store();
    count(&store, 0, 20);
    store.append("other", "o-1", Expected::Any, [NewEvent::new("Noted", &()).unwrap()]).unwrap();
    let out = Seen::default();
    let mut outbox = store.outbox("out").filter(Query::new().event_type("Noted")).publisher(noting(&out, |_| Ok(())));
    assert_eq!(outbox.run_to_end().unwrap(), 1);
    count(&store, 20, 25);
    assert_eq!(outbox.run_to_end().unwrap(), 0);
    assert_eq!((seen(&out), standing(&store)), (vec![(21, 1)], (26, 0, 0, 0)));
}

#[test]
fn a_failing_event_holds_up_its_aggregate_and_nobody_else() {
    let (_directory, store) = store();
    // Ten counters: 1, 11, 21 … are of the same one.
    count(&store, 0, 30);
    let out = Seen::default();
    let down = Arc::new(AtomicBool::new(true));
    let of_publisher = down.clone();
    let answer = move |position| if position == 1 && of_publisher.load(Ordering::Relaxed) { retry() } else { Ok(()) };
    let pause = Duration::from_millis(300);
    let mut outbox = store.outbox("out").backoff(pause, pause).publisher(noting(&out, answer));
    assert_eq!(outbox.run_to_end().unwrap(), 27, "all but those of the first counter");
    assert_eq!(seen(&out).iter().filter(|(position, _)| position % 10 == 1).collect::<Vec<_>>(), [&(1, 1)]);
    assert_eq!(standing(&store), (30, 1, 2, 0));

    // What comes now waits, too, although the first one is not due.
    count(&store, 30, 40);
    assert_eq!(outbox.run_to_end().unwrap(), 9);
    assert_eq!(standing(&store), (40, 1, 3, 0));
    seen(&out);

    down.store(false, Ordering::Relaxed);
    std::thread::sleep(pause);
    assert_eq!(outbox.run_to_end().unwrap(), 4);
    assert_eq!(seen(&out), [(1, 2), (11, 1), (21, 1), (31, 1)], "in order; waiting is not an attempt");
    assert_eq!(standing(&store), (40, 0, 0, 0));
}

#[test]
fn a_poison_event_at_the_head_becomes_a_dead_letter_that_holds_its_aggregate() {
    let (_directory, store) = store();
    count(&store, 0, 30);
    let out = Seen::default();
    let mut outbox = eager(&store).publisher(noting(&out, |position| if position == 1 { retry() } else { Ok(()) }));
    assert_eq!(outbox.run_to_end().unwrap(), 27);
    let tried = seen(&out);
    assert_eq!(tried.iter().filter(|(position, _)| *position == 1).collect::<Vec<_>>(), [&(1, 1), &(1, 2), &(1, 3)]);
    assert!(!tried.iter().any(|(position, _)| [11, 21].contains(position)));
    assert_eq!(standing(&store), (30, 0, 2, 1));

    let letter = store.outbox_dead_letters("out").unwrap().iter().next().unwrap().unwrap();
    assert_eq!((letter.position, letter.attempts, letter.last_error.as_str()), (Position::new(1), 3, "down"));
    assert_eq!(letter.event.unwrap().data.as_str(), r#"{"n":0}"#);
}

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
    let letters = store.outbox_dead_letters("out").unwrap();
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
        store.outbox_dead_letters("out").unwrap().iter().map(|letter| letter.unwrap().position.get()).collect();
    assert_eq!(positions, (1..=150).collect::<Vec<_>>());
}

#[test]
fn a_panicking_publisher_is_a_failed_attempt() {
    let (_directory, store) = store();
    count(&store, 0, 12);
    let mut outbox = eager(&store).publisher(|message: &Message<'_>| -> Result<(), PublishError> {
        if message.event.position == 2 { panic!("on purpose") } else { Ok(()) }
    });
    assert_eq!(outbox.run_to_end().unwrap(), 10);
    let letter = store.outbox_dead_letters("out").unwrap().iter().next().unwrap().unwrap();
    assert_eq!((letter.position, letter.attempts, letter.last_error.as_str()), (Position::new(2), 3, "the publisher panicked"));
}

#[test]
fn an_event_that_is_gone_becomes_a_dead_letter() {
    let (_directory, store) = store();
    count(&store, 0, 11);
    let pause = Duration::from_millis(200);
    store.outbox("out").backoff(pause, pause).publisher(|_: &Message<'_>| retry()).run_to_end().unwrap();
    store.purge(foldlog::Purge::created_before(chrono::Utc::now() + chrono::TimeDelta::days(1)).even_if_replay_breaks()).unwrap();
    assert_eq!(store.count_events(None, None, None).unwrap(), 0);
    std::thread::sleep(pause);
    assert_eq!(eager(&store).publisher(|_: &Message<'_>| Ok(())).run_to_end().unwrap(), 0);
    let letters: Vec<_> = store.outbox_dead_letters("out").unwrap().iter().map(Result::unwrap).collect();
    assert_eq!(letters.len(), 10, "the eleventh waits behind the first");
    assert!(letters.iter().all(|letter| letter.event.is_none()), "{letters:?}");
    assert_eq!(letters[0].last_error, "the event is not in the file any more");
}

#[test]
fn a_follower_waits_for_what_falls_due_and_for_a_retried_dead_letter() {
    let (_directory, store) = store();
    let out = Seen::default();
    let failures = Arc::new(AtomicU64::new(2));
    let left = failures.clone();
    let answer = move |_| {
        let fails = left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok();
        if fails { retry() } else { Ok(()) }
    };
    // The lease is shorter than the pauses: it is renewed while nothing is due.
    let follower = store
        .outbox("out")
        .lease(Duration::from_millis(90))
        .backoff(Duration::from_millis(250), Duration::from_millis(250))
        .publisher(noting(&out, answer))
        .follow()
        .unwrap();
    count(&store, 0, 1);
    until("tried three times", || out.lock().unwrap().len() == 3);
    until("marked", || standing(&store) == (1, 0, 0, 0));
    assert_eq!(seen(&out), [(1, 1), (1, 2), (1, 3)]);

    failures.store(3, Ordering::Relaxed);
    count(&store, 1, 2);
    until("dead", || standing(&store).3 == 1);
    until("it leads still", || follower.is_leading());
    store.outbox_dead_letters("out").unwrap().retry_all().unwrap();
    until("published", || standing(&store) == (2, 0, 0, 0));
    assert!(matches!(follower.stop(), StopReason::Stopped));
}

#[test]
fn the_other_side_can_ask_for_a_longer_pause() {
    let (_directory, store) = store();
    count(&store, 0, 1);
    let answer = |_: &Message<'_>| Err(PublishError::RetryAfter("busy".into(), Duration::from_millis(400)));
    let mut outbox = eager(&store).publisher(answer);
    let began = Instant::now();
    outbox.run_to_end().unwrap();
    outbox.run_to_end().unwrap();
    assert_eq!(standing(&store), (1, 1, 0, 0));
    // Not a sleep that has to be exact: until it is due, nothing is tried.
    let out = Seen::default();
    let mut up = eager(&store).publisher(noting(&out, |_| Ok(())));
    until("due", || up.run_to_end().unwrap() == 1);
    assert!(began.elapsed() >= Duration::from_millis(390), "{:?}", began.elapsed());
    assert_eq!(seen(&out), [(1, 2)]);
}

#[test]
fn a_slow_publisher_is_stopped_within_a_batch_and_nothing_is_lost() {
    let (_directory, store) = store();
    count(&store, 0, 128);
    let out = Seen::default();
    let slow = |_| {
        std::thread::sleep(Duration::from_millis(20));
        Ok(())
    };
    let follower = store.outbox("out").lease(Duration::from_millis(150)).publisher(noting(&out, slow)).follow().unwrap();
    until("it has begun", || out.lock().unwrap().len() >= 2);
    follower.stop();
    let first = seen(&out).len();
    assert!(first < 128, "a batch goes on for as long as it takes");
    assert_eq!(standing(&store), (first as u64, 0, 0, 0), "what was not tried left nothing behind");
    assert_eq!(store.outbox("out").publisher(noting(&out, |_| Ok(()))).run_to_end().unwrap(), 128 - first as u64);
    assert_eq!(seen(&out), (first as u64 + 1..=128).map(|position| (position, 1)).collect::<Vec<_>>());
}

#[test]
fn of_two_workers_one_publishes_and_the_other_takes_over() {
    let (directory, store) = store();
    let other = Store::open(directory.path().join("events.db")).unwrap();
    let (first_out, second_out) = (Seen::default(), Seen::default());
    let run = |store: &Store, out: &Seen| {
        store.outbox("out").lease(Duration::from_millis(400)).publisher(noting(out, |_| Ok(()))).follow().unwrap()
    };
    let first = run(&store, &first_out);
    until("it leads", || first.is_leading());
    let second = run(&other, &second_out);
    count(&store, 0, 50);
    store.wait_until("out", Position::new(50), Duration::from_secs(20)).unwrap();
    assert_eq!((seen(&first_out).len(), seen(&second_out).len()), (50, 0));
    let busy = store.outbox("out").publisher(|_: &Message<'_>| Ok(())).run_to_end().unwrap_err();
    assert_eq!(busy.kind(), ErrorKind::Busy);
    first.stop();
    count(&store, 50, 90);
    store.wait_until("out", Position::new(90), Duration::from_secs(20)).unwrap();
    assert_eq!((seen(&first_out).len(), seen(&second_out).len()), (0, 40));
    second.stop();
}

/// A worker hangs for longer than its lease; another takes over; the first one wakes up and must not mark anything.
#[test]
fn who_has_lost_the_lead_marks_nothing() {
    let (directory, store) = store();
    count(&store, 0, 20);
    let other = Store::open(directory.path().join("events.db")).unwrap();
    let (slow_out, fast_out) = (Seen::default(), Seen::default());
    let release = Arc::new(AtomicBool::new(false));
    let wait = release.clone();
    let hangs = move |position| {
        while position == 3 && !wait.load(Ordering::Relaxed) {
            std::thread::sleep(Duration::from_millis(2));
        }
        if position == 3 { retry() } else { Ok(()) }
    };
    let hanging = store.outbox("out").lease(Duration::from_millis(150)).publisher(noting(&slow_out, hangs)).follow().unwrap();
    until("it hangs", || slow_out.lock().unwrap().len() == 3);
    let mut next = other.outbox("out").lease(Duration::from_millis(150)).publisher(noting(&fast_out, |_| Ok(())));
    until("the lease has run out", || match next.run_to_end() {
        Ok(published) => published == 20,
        Err(error) => {
            assert!(error.is_retryable(), "{error}");
            false
        }
    });
    // The whole batch came again, with its attempts counted.
    assert_eq!(seen(&fast_out), (1..=20).map(|position| (position, 2)).collect::<Vec<_>>());
    release.store(true, Ordering::Relaxed);
    until("it has given up its batch", || !hanging.is_leading() || standing(&store) == (20, 0, 0, 0));
    hanging.stop();
    assert_eq!(seen(&slow_out), [(1, 1), (2, 1), (3, 1)], "the rest of its batch is not its own any more");
    assert_eq!(standing(&store), (20, 0, 0, 0), "its failure was not written down");
}

#[test]
fn in_fast_mode_too() {
    let directory = tempfile::tempdir().unwrap();
    let store = Options::new().durability(foldlog::Durability::Fast).open(directory.path().join("events.db")).unwrap();
    count(&store, 0, 200);
    let out = Seen::default();
    assert_eq!(store.outbox("out").publisher(noting(&out, |_| Ok(()))).run_to_end().unwrap(), 200);
    assert_eq!(standing(&store), (200, 0, 0, 0));
}

#[test]
fn names_and_kinds_are_checked() {
    let (_directory, store) = store();
    store.subscription("reader").run_to_end(|_| Ok(())).unwrap();
    let publisher = |_: &Message<'_>| Ok(());
    assert_eq!(store.outbox("reader").publisher(publisher).run_to_end().unwrap_err().kind(), ErrorKind::InvalidInput);
    assert_eq!(store.outbox("").publisher(publisher).run_to_end().unwrap_err().kind(), ErrorKind::InvalidInput);
    assert_eq!(store.outbox_dead_letters("reader").unwrap_err().kind(), ErrorKind::InvalidInput);
    assert_eq!(store.outbox_dead_letters("nobody").unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(store.outbox_status("nobody").unwrap_err().kind(), ErrorKind::NotFound);
    let limited = store.outbox("out").filter(Query::new().limit(1)).publisher(publisher).run_to_end();
    assert_eq!(limited.unwrap_err().kind(), ErrorKind::InvalidInput);
    store.append("counter", "c", Expected::Any, [event(1)]).unwrap();
    store.outbox("out").publisher(publisher).run_to_end().unwrap();
    store.remove_subscription("out").unwrap();
    assert_eq!(store.outbox_status("out").unwrap_err().kind(), ErrorKind::NotFound);
}
