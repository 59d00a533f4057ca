//! Every page of a large file, measured.
//!
//! `FOLDLOG_LONG=1 cargo test --release -p foldlog-inspector --test inspector every_page -- --nocapture` makes a file of
//! 1,000,000 events and prints a table of pages and times; no page may take longer than 100 ms, but for searches that end by the
//! clock.

use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use foldlog::serde_json::json;
use foldlog::{
    Batch, Durability, Expected, Filter, HandlerError, Message, NewEvent, Options, PublishError, RecordedEvent, SnapshotReason,
    Store,
};
use foldlog_inspector::Inspector;

use crate::client::get;
use crate::sample::moment;

const TENANTS: u64 = 12;
const TYPES: [&str; 4] = ["order", "payment", "cart", "ledger"];

fn tenant(store: &Store, number: u64) -> Store {
    if number == 0 { store.clone() } else { store.tenant(&format!("tenant-{number}")) }
}

/// Events of five types with tags, in batches of 500; ten for each aggregate of four types in twelve tenants, but for one ledger,
/// which has half of the events of its tenant.
fn fill(store: &Store, events: u64) {
    const EACH: u64 = 500;
    let aggregates = events / 10 / TENANTS;
    for (number, first) in (0..events).step_by(EACH as usize).enumerate() {
        let of_tenant = number as u64 % TENANTS;
        let mut batch = Batch::new();
        for n in first..(first + EACH).min(events) {
            let id = n * 7_919 % aggregates;
            let (kind, id) = if of_tenant == 0 && n % 2 == 0 {
                ("ledger", "long".to_owned())
            } else {
                (TYPES[id as usize % 4], format!("{id:06}"))
            };
            let status = ["placed", "paid", "shipped"][n as usize % 3];
            let data = json!({"status": status, "total": n % 977, "customer": {"id": n % 5_000, "name": "Ada Lovelace"}});
            // Ninety days, in order but for a clock that went wrong now and then.
            let minute = n as i64 * 129_600 / events as i64 - if n % 5_003 == 0 { 5_000 } else { 0 };
            let event = NewEvent::new(["Placed", "Paid", "Shipped", "Returned", "Closed"][n as usize % 5], &data).unwrap();
            let event = event.created_at(moment(minute - 129_600)).tag(format!("customer:{}", n % 5_000));
            batch = batch.append(kind, id, Expected::Any, [event]);
        }
        tenant(store, of_tenant).commit(batch).unwrap();
    }
}

/// A snapshot of every cart and of the long ledger, an outbox with dead letters, a handler that stopped.
fn finish(store: &Store, events: u64) {
    for number in 0..TENANTS {
        let carts = tenant(store, number).json_aggregates("cart");
        carts.snapshot_all(SnapshotReason::Manual, |_| ControlFlow::Continue(())).unwrap();
    }
    for version in [10, 1_000] {
        store.json_aggregates("ledger").create_snapshot_at("long", version, SnapshotReason::Manual).unwrap();
    }
    let reject = |message: &Message<'_>| match message.event.position.get().is_multiple_of(500) {
        true => Err(PublishError::Reject("410 Gone".to_owned())),
        false => Ok(()),
    };
    let returned = Filter::new().event_type("Returned").aggregate_type("ledger");
    store.outbox("mail").filter(returned).max_attempts(1).publisher(reject).run_to_end().unwrap();
    let stop = |event: &RecordedEvent| match event.position.get() > events / 2 {
        true => Err(HandlerError::from("field `carrier` is missing")),
        false => Ok(()),
    };
    assert!(store.tenant("tenant-3").subscription("shipping").run_to_end(stop).is_err());
}

/// 30,000 events; with FOLDLOG_LONG, a million.
#[test]
fn every_page_of_a_large_file_is_quick() {
    let is_long = std::env::var_os("FOLDLOG_LONG").is_some();
    let events = if is_long { 1_000_000 } else { 30_000 };
    let place = tempfile::tempdir().unwrap();
    let store = Options::new().durability(Durability::Fast).open(place.path().join("large.db")).unwrap();
    let began = Instant::now();
    fill(&store, events);
    finish(&store, events);
    let file = store.file_statistics().unwrap();
    let aggregates: u64 = store.statistics_by_type().unwrap().iter().map(|of_type| of_type.aggregates).sum();
    println!(
        "{events} events of {aggregates} aggregates in {TENANTS} tenants, {} snapshots, {} MB, made in {:.1} s",
        file.snapshots,
        file.size_bytes / 1_000_000,
        began.elapsed().as_secs_f64()
    );
    let server = Inspector::new(store.clone()).serve("127.0.0.1:0").unwrap();
    let ledger = store.version("ledger", "long").unwrap().get();
    let mut slow = Vec::new();
    // Debug builds are several times slower, and other tests run beside this one: there it only shows what reads the whole
    // file.
    let bound = Duration::from_millis(if cfg!(debug_assertions) { 5_000 } else { 100 });
    for path in [
        "/".to_owned(),
        "/aggregates".to_owned(),
        "/aggregates?tenant=tenant-5&type=cart".to_owned(),
        format!("/aggregates?before={}", events / 2),
        "/aggregates?after=0".to_owned(),
        "/aggregates?order=id&q=00010".to_owned(),
        "/aggregates?order=id&after=000009&after-tenant=default&after-type=order".to_owned(),
        "/aggregates?show=snapshot".to_owned(),
        "/aggregates?show=dead".to_owned(),
        "/aggregates?show=removed".to_owned(),
        "/a/tenant-5/order/000012".to_owned(),
        "/a/default/ledger/long".to_owned(),
        format!("/a/default/ledger/long?v={}", ledger / 2),
        format!("/a/default/ledger/long?from=10&to={ledger}"),
        format!("/e/{}", events / 2),
        "/log".to_owned(),
        format!("/log?before={}", events / 2),
        "/log?type=Paid&atype=ledger".to_owned(),
        "/log?tenant=tenant-7".to_owned(),
        "/log?tenant=default&tag=customer%3A77".to_owned(),
        format!("/log?from={}&to={}", moment(-60_000).date_naive(), moment(-50_000).date_naive()),
        "/log?path=%24.total%20%3D%20976".to_owned(),
        "/find?q=000012".to_owned(),
        "/delivery".to_owned(),
        "/delivery/default/mail".to_owned(),
        "/storage".to_owned(),
        "/statistics.json".to_owned(),
    ] {
        let mut times: Vec<Duration> = (0..5)
            .map(|_| {
                let began = Instant::now();
                let answer = get(&server, &path);
                assert!(matches!(answer.status, 200 | 303), "{path}: {} {}", answer.status, answer.body);
                began.elapsed()
            })
            .collect();
        let first = times[0];
        times.sort();
        println!("{:>7.1} ms, first {:>7.1} ms  {path}", times[2].as_secs_f64() * 1e3, first.as_secs_f64() * 1e3);
        // These walk the log until the page is full or their own time, up to 2 s, is over: then they say so and offer to go on.
        let is_search =
            ["before=", "after=0", "path="].iter().any(|search| path.contains(search)) && !path.starts_with("/log?before");
        let bound = if is_search { bound.max(Duration::from_millis(2_500)) } else { bound };
        if times[2] > bound {
            slow.push(format!("{path}: {:?}", times[2]));
        }
    }
    assert!(slow.is_empty(), "{slow:#?}");
}
