//! Paused and resumed: handlers, projections, outboxes.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use foldlog::{ErrorKind, Message, Store};

use super::outbox::{eager, until};
use super::projections::Sums;
use super::versions::App;
use super::{count, store};

const LONG: Duration = Duration::from_secs(20);

/// How much of the log a subscription has behind it.
fn reached(store: &Store, name: &str) -> u64 {
    store.subscription(name).status().unwrap().position.get()
}

#[test]
fn each_kind_stands_still_while_it_is_paused_and_goes_on_where_it_was() {
    let (directory, store) = store();
    let (handled, published) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let counting = |of: &Arc<AtomicU64>| {
        let of = of.clone();
        move || {
            of.fetch_add(1, Ordering::Relaxed);
        }
    };
    let (handle, publish) = (counting(&handled), counting(&published));
    let handler = store.subscription("handler").follow(move |_| {
        handle();
        Ok(())
    });
    let projection = store.projection(Sums::new(1)).unwrap().follow().unwrap();
    let outbox = eager(&store).publisher(move |_: &Message<'_>| {
        publish();
        Ok(())
    });
    let (handler, outbox) = (handler.unwrap(), outbox.follow().unwrap());
    let names = ["handler", "sums", "out"];
    count(&store, 0, 5);
    names.iter().for_each(|name| store.subscription(name).wait_until(5, LONG).unwrap());

    for name in names {
        let named = store.subscription(name);
        assert!(named.pause().unwrap() && !named.pause().unwrap());
        until("its runner has stopped", || !named.status().unwrap().is_led);
        assert!(named.status().unwrap().is_paused);
    }
    assert!(eager(&store).status().unwrap().is_paused);
    count(&store, 5, 9);
    // Another store is another process: it is paused there too.
    let other = Store::open(directory.path().join("events.db")).unwrap();
    let runs = [
        other.subscription("handler").run_to_end(|_| Ok(())),
        other.projection(Sums::new(1)).unwrap().run_to_end(),
        eager(&other).publisher(|_: &Message<'_>| Ok(())).run_to_end(),
    ];
    for run in runs {
        let error = run.unwrap_err();
        assert!(error.kind() == ErrorKind::Busy && error.to_string().contains("is paused; call resume"), "{error}");
    }
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(names.map(|name| reached(&store, name)), [5; 3]);
    assert_eq!((handled.load(Ordering::Relaxed), published.load(Ordering::Relaxed)), (5, 5));
    assert!(!handler.has_ended() && !projection.has_ended() && !outbox.has_ended());

    for name in names {
        assert!(other.subscription(name).resume().unwrap() && !other.subscription(name).resume().unwrap());
        store.subscription(name).wait_until(9, LONG).unwrap();
        assert!(!store.subscription(name).status().unwrap().is_paused);
    }
    assert_eq!((handled.load(Ordering::Relaxed), published.load(Ordering::Relaxed)), (9, 9), "none came twice");
    assert!(handler.is_leading() && projection.is_leading() && outbox.is_leading());
    assert_eq!(store.subscription("nobody").pause().unwrap_err().kind(), ErrorKind::NotFound);
}

/// A pause in the midst of a slow batch: the event in hand is finished, what was done is written down, the rest comes later.
#[test]
fn a_pause_in_a_batch_repeats_nothing() {
    let (_directory, store) = store();
    count(&store, 0, 20);
    for kind in ["handler", "out"] {
        let (began, begun) = mpsc::channel();
        let work = move |position: u64| {
            began.send(position).unwrap();
            std::thread::sleep(Duration::from_millis(60));
        };
        let follower = match kind {
            "handler" => store.subscription(kind).checkpoint_every(1_000).follow(move |event| {
                work(event.position.get());
                Ok(())
            }),
            _ => eager(&store)
                .publisher(move |message: &Message<'_>| {
                    work(message.event.position.get());
                    Ok(())
                })
                .follow(),
        };
        let follower = follower.unwrap();
        let next = || begun.recv_timeout(LONG).unwrap();
        assert_eq!((next(), next()), (1, 2));
        store.subscription(kind).pause().unwrap();
        until("its runner has stopped", || !store.subscription(kind).status().unwrap().is_led);
        let done = reached(&store, kind);
        assert!((2..20).contains(&done), "{kind}: {done}");
        store.subscription(kind).resume().unwrap();
        store.subscription(kind).wait_until(20, LONG).unwrap();
        let rest: Vec<u64> = begun.try_iter().collect();
        let after_pause: Vec<u64> = rest.iter().copied().filter(|position| *position > done).collect();
        assert_eq!(after_pause, (done + 1..=20).collect::<Vec<_>>(), "{kind}");
        assert_eq!(rest.len() as u64, 18, "{kind}: {rest:?}");
        follower.stop();
    }
    assert_eq!(eager(&store).status().unwrap().dead, 0);
}

/// A pause outlives the processes; appends that run a projection inline are not concerned by it.
#[test]
fn a_pause_stays_when_everybody_has_gone_and_through_a_seek_and_a_reset() {
    let (directory, store) = store();
    count(&store, 0, 5);
    let mut app = App::start(1, &directory);
    app.does("inline");
    store.subscription("numbers").pause().unwrap();
    app.does("append 9");
    assert_eq!(reached(&store, "numbers"), 6);
    store.subscription("s").run_to_end(|_| Ok(())).unwrap();
    store.subscription("s").pause().unwrap();
    drop((app, store));
    let store = Store::open(directory.path().join("events.db")).unwrap();
    store.subscription("s").seek(2).unwrap();
    store.subscription("s").reset().unwrap();
    assert!(!store.subscription("s").break_lease().unwrap());
    assert_eq!(store.subscription("s").run_to_end(|_| Ok(())).unwrap_err().kind(), ErrorKind::Busy);
    store.subscription("s").resume().unwrap();
    assert_eq!(store.subscription("s").run_to_end(|_| Ok(())).unwrap(), 6);
}
