use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use foldlog::{ErrorKind, Expected, Filter, NewEvent, Position, StartFrom, StopReason, Store, SubscriptionKind};

use super::{count, event, store};

#[test]
fn every_event_comes_once_in_order_and_the_checkpoint_stays() {
    let (directory, store) = store();
    count(&store, 0, 300);
    let mut seen = Vec::new();
    let handled = store
        .subscription("reader")
        .run_to_end(|event| {
            seen.push(event.position.get());
            Ok(())
        })
        .unwrap();
    assert_eq!((handled, &seen), (300, &(1..=300).collect()));
    drop(store);

    let store = Store::open(directory.path().join("events.db")).unwrap();
    count(&store, 300, 310);
    let mut seen = Vec::new();
    store
        .subscription("reader")
        .run_to_end(|event| {
            seen.push(event.position.get());
            Ok(())
        })
        .unwrap();
    assert_eq!(seen, (301..=310).collect::<Vec<_>>());
    let status = &store.subscriptions().unwrap()[0];
    assert_eq!(
        (status.position, status.lag, status.is_led, status.kind),
        (Position::new(310), 0, false, SubscriptionKind::Handler)
    );
}

#[test]
fn filters_and_starting_points() {
    let (_directory, store) = store();
    count(&store, 0, 20);
    store.append("other", "o-1", Expected::Any, [NewEvent::new("Noted", &()).unwrap()]).unwrap();
    let acme = store.tenant("acme");
    count(&acme, 0, 5);
    let handled = |subscription: foldlog::Subscription| subscription.run_to_end(|_| Ok(())).unwrap();
    assert_eq!(handled(store.subscription("types").filter(Filter::new().event_type("Noted"))), 1);
    assert_eq!(handled(store.subscription("aggregates").filter(Filter::new().aggregate_type("counter"))), 20);
    assert_eq!(handled(store.subscription("all").filter(Filter::new().all_tenants())), 26);
    assert_eq!(handled(acme.subscription("types")), 5, "the same name in another tenant is another subscription");
    assert_eq!(handled(store.subscription("now").start_from(StartFrom::Now)), 0);
    assert_eq!(handled(store.subscription("after").start_from(StartFrom::After(Position::new(15)))), 6);
    // What the filter passed over is done, too.
    assert!(store.subscriptions().unwrap().iter().all(|status| status.lag == 0));
}

#[test]
fn a_failing_handler_stops_before_its_event_which_can_be_skipped_or_retried() {
    let (_directory, store) = store();
    count(&store, 0, 10);
    let subscription = store.subscription("fragile").checkpoint_every(100);
    let error =
        subscription.run_to_end(|event| if event.position == 4 { Err("no such customer".into()) } else { Ok(()) }).unwrap_err();
    assert_eq!((error.kind(), error.position()), (ErrorKind::Handler, Some(Position::new(4))));
    assert_eq!(std::error::Error::source(&error).unwrap().to_string(), "no such customer");
    let status = store.subscriptions().unwrap().remove(0);
    let failure = status.failure.unwrap();
    assert_eq!((status.position, failure.position, failure.reason.as_str()), (3.into(), 4.into(), "no such customer"));

    // Tried again it begins with that event.
    let mut first = None;
    let _ = subscription.run_to_end(|event| {
        first.get_or_insert(event.position);
        Err("still".into())
    });
    assert_eq!(first, Some(Position::new(4)));
    assert_eq!(store.subscription("fragile").skip_failed().unwrap(), 4);
    assert_eq!(store.subscription("fragile").skip_failed().unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(subscription.run_to_end(|_| Ok(())).unwrap(), 6);
}

#[test]
fn a_panicking_handler_is_a_failing_one() {
    let (_directory, store) = store();
    count(&store, 0, 3);
    let error =
        store.subscription("p").run_to_end(|event| if event.position == 2 { panic!("on purpose") } else { Ok(()) }).unwrap_err();
    assert_eq!((error.kind(), error.position()), (ErrorKind::Handler, Some(Position::new(2))));
    count(&store, 3, 4);
    assert_eq!(store.subscription("p").run_to_end(|_| Ok(())).unwrap(), 3);
}

#[test]
fn a_follower_gets_each_event_and_stops_when_asked() {
    let (_directory, store) = store();
    let (sender, receiver) = mpsc::channel();
    let follower = store.subscription("live").follow(move |event| Ok(sender.send(event.position)?)).unwrap();
    for n in 0..50 {
        let appended = store.append("counter", "c", n, [event(n)]).unwrap();
        assert_eq!(receiver.recv_timeout(Duration::from_secs(10)).unwrap(), appended.position);
    }
    store.subscription("live").wait_until(Position::new(50), Duration::from_secs(10)).unwrap();
    assert!(follower.is_leading());
    assert!(matches!(follower.stop(), StopReason::Stopped));
    count(&store, 50, 51);
    assert!(receiver.recv_timeout(Duration::from_millis(100)).is_err());
}

/// After five quiet seconds a follower looks every 50 ms by itself. One that is woken does not need half of that, most times
/// at least, however busy the machine is.
#[test]
fn a_follower_is_woken_at_once() {
    let made = [0; 12].map(|_| {
        let (sender, handled) = mpsc::channel();
        let (directory, store) = store();
        let follower = store.subscription("live").follow(move |_| Ok(sender.send(Instant::now())?)).unwrap();
        (directory, store, follower, handled)
    });
    std::thread::sleep(Duration::from_secs(5));
    let late = made.iter().filter(|(_, store, _, handled)| {
        count(store, 0, 1);
        let committed = Instant::now();
        let handled = handled.recv_timeout(Duration::from_secs(10)).unwrap();
        handled.saturating_duration_since(committed) > Duration::from_millis(25)
    });
    let late = late.count();
    assert!(late <= 3, "{late} of {}", made.len());
}

#[test]
fn a_follower_says_why_it_ended() {
    let (_directory, store) = store();
    let follower = store.subscription("f").follow(|_| Err("broken".into())).unwrap();
    count(&store, 0, 1);
    let deadline = Instant::now() + Duration::from_secs(10);
    while !follower.has_ended() && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(5));
    }
    let StopReason::Failed(error) = follower.stop() else { panic!("it was not asked to stop") };
    assert_eq!((error.kind(), error.position()), (ErrorKind::Handler, Some(Position::new(1))));
}

#[test]
fn of_two_runners_one_leads_and_the_other_takes_over() {
    let (directory, store) = store();
    let other = Store::open(directory.path().join("events.db")).unwrap();
    let counts = [Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0))];
    let run = |store: &Store, count: &Arc<AtomicU64>| {
        let count = count.clone();
        store
            .subscription("shared")
            .lease(Duration::from_millis(400))
            .follow(move |_| {
                count.fetch_add(1, Ordering::Relaxed);
                Ok(())
            })
            .unwrap()
    };
    let first = run(&store, &counts[0]);
    count(&store, 0, 20);
    store.subscription("shared").wait_until(Position::new(20), Duration::from_secs(10)).unwrap();
    let second = run(&other, &counts[1]);
    count(&store, 20, 40);
    store.subscription("shared").wait_until(Position::new(40), Duration::from_secs(10)).unwrap();
    assert_eq!((counts[0].load(Ordering::Relaxed), counts[1].load(Ordering::Relaxed)), (40, 0));
    assert!(!second.is_leading());
    assert_eq!(store.subscription("shared").run_to_end(|_| Ok(())).unwrap_err().kind(), ErrorKind::Busy);
    first.stop();
    count(&store, 40, 60);
    store.subscription("shared").wait_until(Position::new(60), Duration::from_secs(10)).unwrap();
    assert_eq!((counts[0].load(Ordering::Relaxed), counts[1].load(Ordering::Relaxed)), (40, 20));
    second.stop();
}

#[test]
fn a_follower_sees_what_others_commit_and_is_quiet_meanwhile() {
    let (directory, store) = store();
    // A store of its own knows nothing of the other's signals, as if it were in another process.
    let other = Store::open(directory.path().join("events.db")).unwrap();
    let follower = other.subscription("far").lease(Duration::from_secs(30)).follow(|_| Ok(())).unwrap();
    for n in 0..20 {
        count(&store, n, n + 1);
        store.subscription("far").wait_until(Position::new(n + 1), Duration::from_secs(10)).unwrap();
    }
    // Whoever has nothing to do writes nothing.
    std::thread::sleep(Duration::from_millis(50));
    let written = wal(&directory);
    std::thread::sleep(Duration::from_millis(200));
    assert_eq!(wal(&directory), written, "an idle follower writes");
    assert!(follower.is_leading());
}

/// The write-ahead log of the store's file.
fn wal(directory: &tempfile::TempDir) -> Vec<u8> {
    std::fs::read(directory.path().join("events.db-wal")).unwrap()
}

#[test]
fn a_lead_is_given_up_at_a_stop_also_after_it_was_renewed() {
    let (_directory, store) = store();
    for _ in 0..5 {
        // Renewed every 100 ms.
        let follower = store.subscription("s").lease(Duration::from_millis(300)).follow(|_| Ok(())).unwrap();
        std::thread::sleep(Duration::from_millis(450));
        assert!(follower.is_leading());
        assert!(store.subscriptions().unwrap()[0].is_led);
        follower.stop();
        assert!(!store.subscriptions().unwrap()[0].is_led);
    }
}

#[test]
fn waiting_says_what_is_the_matter() {
    let (_directory, store) = store();
    count(&store, 0, 2);
    let short = Duration::from_millis(30);
    assert_eq!(store.subscription("nobody").wait_until(Position::new(1), short).unwrap_err().kind(), ErrorKind::NotFound);
    let _ = store.subscription("s").run_to_end(|event| if event.position == 2 { Err("no".into()) } else { Ok(()) });
    store.subscription("s").wait_until(Position::new(1), short).unwrap();
    assert_eq!(store.subscription("s").wait_until(Position::new(2), short).unwrap_err().kind(), ErrorKind::Handler);
    store.subscription("s").skip_failed().unwrap();
    assert_eq!(store.subscription("s").wait_until(Position::new(9), short).unwrap_err().kind(), ErrorKind::Busy);
}

#[test]
fn what_a_subscription_cannot_be_is_refused() {
    let (_directory, store) = store();
    assert_eq!(store.subscription("").run_to_end(|_| Ok(())).unwrap_err().kind(), ErrorKind::InvalidInput);
}
