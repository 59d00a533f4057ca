use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use foldlog::{
    ErrorKind, Expected, Filter, Message, NewEvent, Options, Outbox, Position, PublishError, Publisher, StopReason, Store,
};

use super::{count, event, store};

/// What was published: (position, attempt).
pub type Seen = Arc<Mutex<Vec<(u64, u32)>>>;

/// What was published so far.
fn out_of(seen: &Seen) -> Vec<(u64, u32)> {
    seen.lock().unwrap().clone()
}

/// What was published since the last look.
pub fn seen(of: &Seen) -> Vec<(u64, u32)> {
    std::mem::take(&mut of.lock().unwrap())
}

/// Notes every attempt, and answers as it is told.
pub fn noting<A: FnMut(u64) -> Result<(), PublishError> + Send>(seen: &Seen, answer: A) -> impl Publisher + use<A> {
    let (seen, mut answer) = (seen.clone(), answer);
    move |message: &Message<'_>| {
        let position = message.event.position.get();
        seen.lock().unwrap().push((position, message.attempt));
        answer(position)
    }
}

/// An outbox that tries again at once.
pub fn eager(store: &Store) -> Outbox {
    store.outbox("out").backoff(Duration::ZERO, Duration::ZERO)
}

pub fn retry() -> Result<(), PublishError> {
    Err(PublishError::Retry("down".into()))
}

/// (position, to retry, waiting, dead)
pub fn standing(store: &Store) -> (u64, u64, u64, u64) {
    let status = store.outbox("out").status().unwrap();
    (status.position.get(), status.to_retry, status.waiting, status.dead)
}

pub fn until(what: &str, mut done: impl FnMut() -> bool) {
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
    let mut outbox = store.outbox("out").filter(Filter::new().event_type("Noted")).publisher(noting(&out, |_| Ok(())));
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
    // Long enough for a busy machine to append and run once more before the event is due.
    let pause = Duration::from_secs(2);
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

    let letter = store.outbox("out").dead_letters().unwrap().iter().next().unwrap().unwrap();
    assert_eq!((letter.position, letter.attempts, letter.last_error.as_str()), (Position::new(1), 3, "down"));
    assert_eq!(letter.event.unwrap().data.as_str(), r#"{"n":0}"#);
}

#[test]
fn a_panicking_publisher_is_a_failed_attempt() {
    let (_directory, store) = store();
    count(&store, 0, 12);
    let mut outbox = eager(&store).publisher(|message: &Message<'_>| -> Result<(), PublishError> {
        if message.event.position == 2 { panic!("on purpose") } else { Ok(()) }
    });
    assert_eq!(outbox.run_to_end().unwrap(), 10);
    let letter = store.outbox("out").dead_letters().unwrap().iter().next().unwrap().unwrap();
    assert_eq!((letter.position, letter.attempts, letter.last_error.as_str()), (Position::new(2), 3, "the publisher panicked"));
}

/// With a lease that is renewed between two attempts, and with one that no renewal wakes in time.
#[test]
fn a_follower_waits_for_what_falls_due_and_for_what_is_done_to_dead_letters() {
    for lease in [Duration::from_millis(90), Duration::from_secs(600)] {
        let (_directory, store) = store();
        let out = Seen::default();
        let failures = Arc::new(AtomicU64::new(2));
        let left = failures.clone();
        let answer = move |_| {
            let fails = left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok();
            if fails { retry() } else { Ok(()) }
        };
        let pause = Duration::from_millis(250);
        let follower = store.outbox("out").lease(lease).backoff(pause, pause).publisher(noting(&out, answer)).follow().unwrap();
        let append = || drop(store.append("counter", "c", Expected::Any, [event(0)]).unwrap());
        append();
        until("tried three times and marked", || out_of(&out).len() == 3 && standing(&store) == (1, 0, 0, 0));
        assert_eq!(seen(&out), [(1, 1), (1, 2), (1, 3)]);

        let letters = store.outbox("out").dead_letters().unwrap();
        let die_and_wait = || {
            failures.store(3, Ordering::Relaxed);
            append();
            until("dead", || letters.count().unwrap() == 1);
            append();
            until("waiting", || standing(&store).2 == 1);
            seen(&out);
        };
        die_and_wait();
        letters.retry_all().unwrap();
        until("both are through", || standing(&store) == (3, 0, 0, 0));
        assert_eq!(seen(&out), [(2, 1), (3, 1)]);
        die_and_wait();
        letters.discard_all().unwrap();
        until("the second is through", || standing(&store) == (5, 0, 0, 0));
        assert_eq!(seen(&out), [(5, 1)]);
        assert!(matches!(follower.stop(), StopReason::Stopped));
    }
}

#[test]
fn the_other_side_can_ask_for_a_longer_pause() {
    let (_directory, store) = store();
    count(&store, 0, 1);
    let mut tried = Vec::new();
    let mut outbox = eager(&store).max_attempts(100).publisher(|_: &Message<'_>| {
        tried.push(Instant::now());
        match tried.len() {
            1 | 2 => Err(PublishError::RetryAfter("busy".into(), Duration::from_millis(400))),
            _ => Ok(()),
        }
    });
    assert_eq!(outbox.run_to_end().unwrap(), 0);
    assert_eq!(standing(&store), (1, 1, 0, 0));
    // However long a run takes: until it is due, nothing is tried.
    until("due", || outbox.run_to_end().unwrap() == 1);
    drop(outbox);
    assert_eq!(tried.len(), 3);
    let pauses: Vec<_> = tried.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert!(pauses.iter().all(|pause| *pause >= Duration::from_millis(390)), "{pauses:?}");
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
    // Long, so that a busy machine cannot keep the first one from answering in time. The second does not wait for it:
    // the first one resigns.
    let run = |store: &Store, out: &Seen| {
        store.outbox("out").lease(Duration::from_secs(8)).publisher(noting(out, |_| Ok(()))).follow().unwrap()
    };
    let first = run(&store, &first_out);
    until("it leads", || first.is_leading());
    let second = run(&other, &second_out);
    count(&store, 0, 50);
    store.subscription("out").wait_until(Position::new(50), Duration::from_secs(20)).unwrap();
    assert_eq!((seen(&first_out).len(), seen(&second_out).len()), (50, 0));
    let busy = store.outbox("out").publisher(|_: &Message<'_>| Ok(())).run_to_end().unwrap_err();
    assert_eq!(busy.kind(), ErrorKind::Busy);
    first.stop();
    count(&store, 50, 90);
    store.subscription("out").wait_until(Position::new(90), Duration::from_secs(20)).unwrap();
    assert_eq!((seen(&first_out).len(), seen(&second_out).len()), (0, 40));
    second.stop();
}

/// A worker hangs; an operator takes the lead from it and another takes over; the first one wakes up and must not mark
/// anything.
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
    let refuse = |position| if position == 3 { Err(PublishError::Reject("refused".into())) } else { Ok(()) };
    let mut next = other.outbox("out").lease(Duration::from_millis(150)).publisher(noting(&fast_out, refuse));
    assert_eq!(next.run_to_end().unwrap_err().kind(), ErrorKind::Busy, "a slow publisher keeps the lead");
    assert!(next.break_lease().unwrap());
    assert_eq!(next.run_to_end().unwrap(), 18);
    // The batch came again, with its attempts counted.
    let expected: Vec<_> = (1..=20).filter(|position| *position != 13).map(|position| (position, 2)).collect();
    assert_eq!(seen(&fast_out), expected);
    release.store(true, Ordering::Relaxed);
    until("it leads again", || hanging.is_leading());
    count(&store, 20, 21);
    until("it works again", || out_of(&slow_out).contains(&(21, 1)));
    hanging.stop();
    assert_eq!(seen(&slow_out), [(1, 1), (2, 1), (3, 1), (21, 1)], "the rest of its batch is not its own any more");
    assert_eq!(standing(&store), (21, 0, 1, 1), "its failure was not written down");
    let letter = store.outbox("out").dead_letters().unwrap().iter().next().unwrap().unwrap();
    assert_eq!((letter.attempts, letter.last_error.as_str()), (2, "refused"));
}

/// What waits behind an event goes out with it when that is due, and a batch that ends half-way leaves the rest in order.
#[test]
fn a_long_row_of_waiting_events_keeps_its_order_over_several_batches() {
    let (_directory, store) = store();
    for n in 0..200 {
        store.append("counter", "c", n, [event(n)]).unwrap();
    }
    let out = Seen::default();
    let mut failures = 1;
    let slow = |_| {
        std::thread::sleep(Duration::from_millis(3));
        if failures > 0 {
            failures -= 1;
            return retry();
        }
        Ok(())
    };
    // A step lasts 50 ms, some fifteen events.
    let mut outbox = eager(&store).lease(Duration::from_millis(150)).publisher(noting(&out, slow));
    assert_eq!(outbox.run_to_end().unwrap(), 200);
    let expected: Vec<_> = [(1, 1), (1, 2)].into_iter().chain((2..=200).map(|position| (position, 1))).collect();
    assert_eq!(seen(&out), expected);
    assert_eq!(standing(&store), (200, 0, 0, 0));
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
    assert_eq!(store.outbox("reader").dead_letters().unwrap_err().kind(), ErrorKind::InvalidInput);
    assert_eq!(store.outbox("nobody").dead_letters().unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(store.outbox("nobody").status().unwrap_err().kind(), ErrorKind::NotFound);
    store.append("counter", "c", Expected::Any, [event(1)]).unwrap();
    store.outbox("out").publisher(publisher).run_to_end().unwrap();
    store.subscription("out").remove().unwrap();
    assert_eq!(store.outbox("out").status().unwrap_err().kind(), ErrorKind::NotFound);
}
