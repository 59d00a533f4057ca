//! Watching the log without a subscription.

use std::time::{Duration, Instant};

use foldlog::{Expected, Filter, NewEvent, Query, Store};

use super::purging::everything;
use super::versions::App;
use super::{count, event, store};

const LONG: Duration = Duration::from_secs(20);

fn append(store: &Store, event_type: &str) {
    store.append("order", "o-1", Expected::Any, [NewEvent::new(event_type, &()).unwrap()]).unwrap();
}

#[test]
fn a_watch_returns_what_its_filter_wants_from_now_on_or_from_a_position() {
    let (_directory, store) = store();
    count(&store, 0, 9);
    append(&store, "Placed");
    let mut watch = store.watch(Filter::new().event_type("Placed")).unwrap();
    assert_eq!(watch.next_within(Duration::ZERO).unwrap(), None);
    append(&store, "Placed");
    append(&store, "Shipped");
    append(&store, "Placed");
    store.tenant("other").append("order", "o-1", Expected::Any, [NewEvent::new("Placed", &()).unwrap()]).unwrap();
    assert_eq!(watch.next_within(Duration::ZERO).unwrap().unwrap().position, 11);
    assert_eq!(watch.position(), 12);
    assert_eq!(watch.next_within(Duration::ZERO).unwrap().unwrap().position, 13);
    assert_eq!(watch.next_within(Duration::ZERO).unwrap(), None);
    assert_eq!(watch.position(), 14, "what another tenant appended was read and passed over");
    // More than a page, and from a position of one's own.
    count(&store, 10, 400);
    let mut all = store.watch(Filter::new()).unwrap().after(5);
    let mut read = Vec::new();
    while let Some(event) = all.next_within(Duration::ZERO).unwrap() {
        read.push(event);
    }
    let expected: Vec<_> = store.read(Query::new().after_position(5)).map(Result::unwrap).collect();
    assert_eq!(read, expected);
}

#[test]
fn a_watch_waits_for_its_time_and_is_woken_by_a_thread_and_by_another_process() {
    let (directory, store) = store();
    let mut watch = store.watch(Filter::new()).unwrap();
    let began = Instant::now();
    assert_eq!(watch.next_within(Duration::from_millis(80)).unwrap(), None);
    assert!(began.elapsed() >= Duration::from_millis(80));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            std::thread::sleep(Duration::from_millis(30));
            count(&store, 0, 1);
        });
        assert_eq!(watch.next().unwrap().unwrap().position, 1);
    });
    let mut app = App::start(1, &directory);
    let asked = std::thread::spawn(move || {
        let event = watch.next_within(LONG);
        (event, Instant::now(), watch)
    });
    std::thread::sleep(Duration::from_millis(100));
    app.does("append 7");
    let appended = Instant::now();
    let (event, noticed, mut watch) = asked.join().unwrap();
    assert_eq!(event.unwrap().unwrap().data.to_value().unwrap()["n"], 7);
    assert!(noticed.saturating_duration_since(appended) < Duration::from_secs(5), "it was not woken, it waited");
    app.does("append 8");
    assert_eq!(watch.next_within(LONG).unwrap().unwrap().position, 3);
}

#[test]
fn a_watch_leaves_nothing_in_the_file_and_is_in_nobodys_way() {
    let (_directory, store) = store();
    let mut watch = store.watch(Filter::new()).unwrap();
    for n in 0..30 {
        store.append("counter", "c", n, [event(n)]).unwrap();
    }
    assert_eq!(watch.next_within(Duration::ZERO).unwrap().unwrap().position, 1);
    assert!(store.subscriptions().unwrap().is_empty());
    let report = store.maintenance().purge(everything()).unwrap();
    assert_eq!((report.events_removed, report.held_back_by), (30, vec![]));
    // What it has read already is returned; what was purged before that is passed over.
    assert_eq!(watch.next_within(Duration::ZERO).unwrap().unwrap().position, 2);
    let mut late = store.watch(Filter::new()).unwrap().after(0);
    assert_eq!(late.next_within(Duration::ZERO).unwrap(), None);
    let read_only = Store::open_read_only(store.path().unwrap()).unwrap();
    let mut watch = read_only.watch(Filter::new()).unwrap();
    store.append("counter", "c", 30, [event(30)]).unwrap();
    assert_eq!(watch.next_within(LONG).unwrap().unwrap().position, 31, "also of a store that only reads");
    assert_eq!(late.next_within(LONG).unwrap().unwrap().position, 31);
    let memory = Store::in_memory().unwrap();
    let mut watch = memory.watch(Filter::new()).unwrap();
    count(&memory, 0, 1);
    assert_eq!(watch.next_within(LONG).unwrap().unwrap().position, 1);
}
