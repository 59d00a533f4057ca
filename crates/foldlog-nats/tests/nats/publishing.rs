use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use foldlog::{CloudEvents, Store};
use foldlog_nats::Nats;
use foldlog_nats::async_nats::ConnectOptions;
use serde_json::Value;

use crate::orders::{place_order, store};
use crate::server::Server;

fn run(store: &Store, name: &str, nats: Nats) -> u64 {
    let nats = nats.timeout(Duration::from_secs(2));
    store.outbox(name).backoff(Duration::ZERO, Duration::ZERO).max_attempts(2).publisher(nats).run_to_end().unwrap()
}

#[test]
fn the_stream_has_each_event_once_although_it_was_published_twice() {
    let (directory, store) = store();
    let Some(server) = Server::start(&directory.path().join("nats")) else { return };
    server.make_stream();
    let ids = place_order(&store, "o-1");
    assert_eq!(run(&store, "bus", Nats::new(&server.url, "shop")), 2);
    assert_eq!(server.messages(), 2);

    let message = server.ask(async |jetstream| jetstream.get_stream("SHOP").await.unwrap().get_raw_message(2).await.unwrap());
    assert_eq!(message.subject.as_str(), "shop.order.Shipped");
    assert_eq!(message.headers.get("Nats-Msg-Id").unwrap().as_str(), ids[1].to_string());
    assert_eq!(message.headers.get("Content-Type").unwrap().as_str(), "application/cloudevents+json");
    let event: Value = serde_json::from_slice(&message.payload).unwrap();
    assert_eq!((&event["id"], &event["subject"]), (&Value::from(ids[1].to_string()), &Value::from("o-1")));

    // As after a death between publish and mark: everything comes again, and the server drops it.
    store.outbox("bus").remove().unwrap();
    assert_eq!(run(&store, "bus", Nats::new(&server.url, "shop")), 2);
    assert_eq!(server.messages(), 2);
}

#[test]
fn without_a_server_or_a_stream_it_is_tried_again() {
    let (directory, store) = store();
    let Some(server) = Server::start(&directory.path().join("nats")) else { return };
    place_order(&store, "o-1");
    let url = server.url.clone();
    let letters = |reason: &str| {
        let letters = store.outbox("bus").dead_letters().unwrap();
        let letter = letters.iter().next().unwrap().unwrap();
        assert_eq!(letter.attempts, 2);
        assert!(letter.last_error.contains(reason), "{}", letter.last_error);
        letters.retry_all().unwrap();
    };
    assert_eq!(run(&store, "bus", Nats::new(&url, "shop")), 0);
    letters("no stream");
    server.make_stream();
    let place = server.stop();
    assert_eq!(run(&store, "bus", Nats::new(&url, "shop")), 0);
    letters("no connection");
    let server = Server::start_at(place);
    assert_eq!(run(&store, "bus", Nats::new(&url, "shop")), 2);
    assert_eq!(server.messages(), 2);
}

#[test]
fn a_connection_that_broke_is_made_anew() {
    let (directory, store) = store();
    let Some(server) = Server::start(&directory.path().join("nats")) else { return };
    server.make_stream();
    let pause = Duration::from_millis(50);
    let nats = Nats::new(&server.url, "shop").timeout(Duration::from_millis(500));
    let follower = store.outbox("bus").backoff(pause, pause).max_attempts(1_000).publisher(nats).follow().unwrap();
    place_order(&store, "o-1");
    store.subscription("bus").wait_until(store.last_position().unwrap(), Duration::from_secs(20)).unwrap();
    let place = server.stop();
    place_order(&store, "o-2");
    // Tried at least once without a server.
    store.subscription("bus").wait_until(store.last_position().unwrap(), Duration::from_secs(20)).unwrap();
    let server = Server::start_at(place);
    let deadline = Instant::now() + Duration::from_secs(20);
    while server.messages() < 4 {
        assert!(Instant::now() < deadline, "{:?}", store.outbox("bus").status());
        std::thread::sleep(Duration::from_millis(20));
    }
    follower.stop();
    assert_eq!(server.messages(), 4);
}

#[test]
fn what_is_too_large_for_the_stream_is_a_failure_and_not_a_loss() {
    let (directory, store) = store();
    let Some(server) = Server::start(&directory.path().join("nats")) else { return };
    server.make_stream();
    let large = foldlog::NewEvent::new("Placed", &"x".repeat(10_000)).unwrap();
    store.append("order", "o-1", 0, [large]).unwrap();
    let huge = foldlog::NewEvent::new("Placed", &"x".repeat(2_000_000)).unwrap();
    store.append("order", "o-2", 0, [huge]).unwrap();
    assert_eq!(run(&store, "bus", Nats::new(&server.url, "shop")), 0);
    let letters: Vec<_> = store.outbox("bus").dead_letters().unwrap().iter().map(Result::unwrap).collect();
    assert_eq!((letters[0].attempts, letters[1].attempts), (2, 1), "above the server's own limit it is refused at once");
    assert_eq!(server.messages(), 0);
}

/// Takes connections and never says a word.
fn silent() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").unwrap()
}

#[test]
fn a_server_that_says_nothing_is_waited_for_as_long_as_it_is_set() {
    let (_directory, store) = store();
    place_order(&store, "o-1");
    let server = silent();
    let url = format!("nats://{}", server.local_addr().unwrap());
    for timeout in [Duration::ZERO, Duration::from_millis(300), Duration::from_millis(900)] {
        let began = Instant::now();
        let nats = Nats::new(&url, "shop").timeout(timeout);
        store.outbox("bus").max_attempts(1).publisher(nats).run_to_end().unwrap();
        let waited = began.elapsed();
        assert!(waited >= timeout && waited < timeout * 2 + Duration::from_secs(2), "{timeout:?}: {waited:?}");
        assert_eq!(store.outbox("bus").status().unwrap().dead, 1);
        store.outbox("bus").remove().unwrap();
    }
}

#[test]
fn an_event_may_take_for_ever() {
    let (directory, store) = store();
    let Some(server) = Server::start(&directory.path().join("nats")) else { return };
    server.make_stream();
    place_order(&store, "o-1");
    for timeout in [Duration::from_secs(u64::from(u32::MAX)), Duration::MAX] {
        let nats = Nats::new(&server.url, "shop").timeout(timeout);
        assert_eq!(store.outbox("bus").publisher(nats).run_to_end().unwrap(), 2, "{timeout:?}");
        store.outbox("bus").remove().unwrap();
    }
}

#[test]
fn the_subject_the_form_and_the_options_are_those_that_are_set() {
    let (directory, store) = store();
    let Some(server) = Server::start(&directory.path().join("nats")) else { return };
    server.make_stream();
    place_order(&store, "o-1");
    let asked = Arc::new(AtomicUsize::new(0));
    let count = asked.clone();
    let nats = Nats::new(&server.url, "unused")
        .subject(|event| format!("shop.at.{}", event.position))
        .cloud_events(CloudEvents::new().source("/shop").type_prefix("com.example."))
        .connect_options(move || {
            count.fetch_add(1, Ordering::Relaxed);
            ConnectOptions::new().name("test")
        });
    assert_eq!(run(&store, "bus", nats), 2);
    assert_eq!(asked.load(Ordering::Relaxed), 1, "one connection for both");
    let message = server.ask(async |jetstream| jetstream.get_stream("SHOP").await.unwrap().get_raw_message(2).await.unwrap());
    assert_eq!(message.subject.as_str(), "shop.at.2");
    let event: Value = serde_json::from_slice(&message.payload).unwrap();
    assert_eq!((&event["source"], &event["type"]), (&"/shop".into(), &"com.example.Shipped".into()));
}
