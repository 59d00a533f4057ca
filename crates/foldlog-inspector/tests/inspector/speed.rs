//! Every page of a file of many events, measured.

use std::time::{Duration, Instant};

use foldlog::serde_json::json;
use foldlog::{Batch, Durability, Expected, NewEvent, Options, Store};
use foldlog_inspector::Inspector;

use crate::client::get;
use crate::sample::moment;

/// Events in batches, of 5 types, in aggregates of two types; one of them with a long history.
fn fill(store: &Store, events: u64) {
    const EACH: u64 = 500;
    for first in (0..events).step_by(EACH as usize) {
        let mut batch = Batch::new();
        for n in first..(first + EACH).min(events) {
            let (kind, id) = if n % 10 == 0 { ("ledger", n / 100_000) } else { ("order", n / 7 % (events / 12 + 1)) };
            let status = ["placed", "paid", "shipped"][n as usize % 3];
            let data = json!({"status": status, "total": n % 977, "customer": {"id": n % 5_000, "name": "Ada Lovelace"}});
            // Ninety days, in order but for a clock that went wrong now and then.
            let minute = n as i64 * 129_600 / events as i64 - if n % 5_003 == 0 { 5_000 } else { 0 };
            let event = NewEvent::new(["Placed", "Paid", "Shipped", "Returned", "Closed"][n as usize % 5], &data).unwrap();
            let event = event.created_at(moment(minute - 129_600)).tag(format!("customer:{}", n % 5_000));
            batch = batch.append(kind, id, Expected::Any, [event]);
        }
        store.commit(batch).unwrap();
    }
}

/// 100,000 events; with FOLDLOG_LONG, a million.
#[test]
fn every_page_of_a_large_file_is_quick() {
    let is_long = std::env::var_os("FOLDLOG_LONG").is_some();
    let events = if is_long { 1_000_000 } else { 100_000 };
    let place = tempfile::tempdir().unwrap();
    let store = Options::new().durability(Durability::Fast).open(place.path().join("large.db")).unwrap();
    let began = Instant::now();
    fill(&store, events);
    println!("{events} events made in {:.1} s", began.elapsed().as_secs_f64());
    let server = Inspector::new(store.clone()).serve("127.0.0.1:0").unwrap();
    let ledger = store.version("ledger", 0).unwrap().get();
    let mut slow = Vec::new();
    // Debug builds are several times slower, and other tests run beside this one: there it only shows what reads the whole
    // file.
    let bound = Duration::from_millis(if cfg!(debug_assertions) { 5_000 } else { 100 });
    for path in [
        "/".to_owned(),
        "/aggregates".to_owned(),
        format!("/aggregates?before={}", events / 2),
        "/aggregates?after=0".to_owned(),
        "/aggregates?order=id&q=10".to_owned(),
        "/aggregates?order=id&after=9&after-tenant=default&after-type=order".to_owned(),
        "/a/default/order/1".to_owned(),
        "/a/default/ledger/0".to_owned(),
        format!("/a/default/ledger/0?v={}", ledger / 2),
        format!("/a/default/ledger/0?from=10&to={ledger}"),
        format!("/e/{}", events / 2),
        "/log".to_owned(),
        format!("/log?before={}", events / 2),
        "/log?type=Paid&atype=ledger".to_owned(),
        "/log?tenant=default&tag=customer%3A77".to_owned(),
        format!("/log?from={}&to={}", moment(-60_000).date_naive(), moment(-50_000).date_naive()),
        "/log?path=%24.total%20%3D%20976".to_owned(),
        "/delivery".to_owned(),
        "/storage".to_owned(),
        "/aggregates?show=snapshot".to_owned(),
        "/statistics.json".to_owned(),
    ] {
        let mut times: Vec<Duration> = (0..3)
            .map(|_| {
                let began = Instant::now();
                let answer = get(&server, &path);
                assert_eq!(answer.status, 200, "{path}: {}", answer.body);
                began.elapsed()
            })
            .collect();
        let first = times[0];
        times.sort();
        println!("{:>7.1} ms, first {:>7.1} ms  {path}", times[1].as_secs_f64() * 1e3, first.as_secs_f64() * 1e3);
        if times[1] > bound {
            slow.push(format!("{path}: {:?}", times[1]));
        }
    }
    assert!(slow.is_empty(), "{slow:#?}");
}
