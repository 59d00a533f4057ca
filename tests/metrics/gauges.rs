//! Gauges say what is in the file, whoever put it there.

use std::ops::ControlFlow::Continue;
use std::time::Duration;

use chrono::{TimeDelta, Utc};
use foldlog::metrics::{Bound, LabelBounds};
use foldlog::{Clock, Expected, Options, Purge, SnapshotReason, Store};

use crate::support::{Reader, append, event, in_memory, recorded, recorder};

fn holds(metrics: &Reader, id: &str) -> Option<f64> {
    metrics.samples().get(&format!("event_store_events_by_aggregate{{aggregate_id=\"{id}\"}}")).copied()
}

#[test]
fn right_after_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.db");
    {
        let store = Store::open(&path).unwrap();
        (0..3).for_each(|_| append(&store, "a", "Opened"));
        append(&store, "b", "Opened");
        store.json_aggregates("account").create_snapshot("a", SnapshotReason::Manual).unwrap();
    }
    recorded(|metrics| {
        let store = Store::open(&path).unwrap();
        assert_eq!(holds(metrics, "a"), Some(3.0));
        assert_eq!(holds(metrics, "b"), Some(1.0));
        assert_eq!(metrics.value("event_snapshots_total"), 1.0);
        let size = store.file_statistics().unwrap().size_bytes;
        assert_eq!(metrics.value("event_store_size_estimate_bytes"), size as f64);
        assert_eq!(metrics.sum("event_store_events_total"), 0.0, "a counter counts what this process did");
        append(&store, "a", "Opened");
        assert_eq!(holds(metrics, "a"), Some(4.0));
    });
}

#[test]
fn a_large_file_leaves_the_label_to_the_aggregates_in_use() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.db");
    let options = || Options::new().label_bounds(LabelBounds::default().aggregates(Bound::AtMost(3)));
    let store = options().open(&path).unwrap();
    (0..5).for_each(|n| append(&store, &format!("agg-{n}"), "Opened"));
    drop(store);
    recorded(|metrics| {
        let store = options().open(&path).unwrap();
        assert_eq!(metrics.of("event_store_events_by_aggregate").len(), 0);
        append(&store, "agg-4", "Opened");
        assert_eq!(holds(metrics, "agg-4"), Some(2.0));
    });
}

#[test]
fn right_after_purge_and_appends_after_it() {
    recorded(|metrics| {
        let clock = Clock::fixed(Utc::now() - TimeDelta::days(900));
        let store = Options::new().clock(clock.clone()).in_memory().unwrap();
        (0..4).for_each(|_| append(&store, "a", "Opened"));
        store.json_aggregates("account").create_snapshot("a", SnapshotReason::Manual).unwrap();
        clock.set(Utc::now());
        append(&store, "a", "Opened");
        assert_eq!(holds(metrics, "a"), Some(5.0));
        let plan = || Purge::created_before(Utc::now() - TimeDelta::days(1)).fold(&store.json_aggregates("account"));
        store.maintenance().purge(plan().dry_run()).unwrap();
        assert_eq!(holds(metrics, "a"), Some(5.0), "a dry run changes nothing");
        let report = store.maintenance().purge(plan()).unwrap();
        assert_eq!(report.events_removed, 4);
        assert_eq!(holds(metrics, "a"), Some(1.0));
        append(&store, "a", "Opened");
        assert_eq!(holds(metrics, "a"), Some(2.0));
    });
}

#[test]
fn snapshots_in_the_file_follow_every_change() {
    recorded(|metrics| {
        let clock = Clock::fixed(Utc::now() - TimeDelta::days(100));
        let store = Options::new().clock(clock.clone()).in_memory().unwrap();
        let accounts = store.json_aggregates("account");
        for id in ["a", "b", "c"] {
            append(&store, id, "Opened");
            accounts.create_snapshot(id, SnapshotReason::Manual).unwrap();
        }
        assert_eq!(metrics.value("event_snapshots_total"), 3.0);
        accounts.delete_snapshots("a").unwrap();
        assert_eq!(metrics.value("event_snapshots_total"), 2.0);
        clock.set(Utc::now());
        assert_eq!(store.maintenance().expire_snapshots(Duration::from_secs(90 * 86_400), |_| Continue(())).unwrap().expired, 2);
        assert_eq!(metrics.value("event_snapshots_total"), 0.0);
        assert!(metrics.text().contains("event_snapshots_total 0"), "zero is a value, not an absence");
    });
}

/// Two stores on one file know as little of each other as two processes do; `example.rs` has real processes.
#[test]
fn what_another_store_did_to_the_file_shows() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.db");
    let (ours, other) = (Store::open(&path).unwrap(), Store::open(&path).unwrap());
    let elsewhere = recorder();
    recorded(|metrics| {
        append(&ours, "a", "Opened");
        metrics::with_local_recorder(&elsewhere, || {
            append(&other, "a", "Opened");
            other.json_aggregates("account").create_snapshot("a", SnapshotReason::Manual).unwrap();
        });
        assert_eq!(holds(metrics, "a"), Some(1.0), "nobody told us yet");
        ours.maintenance().refresh_metrics().unwrap();
        assert_eq!(holds(metrics, "a"), Some(2.0));
        assert_eq!(metrics.value("event_snapshots_total"), 1.0);

        metrics::with_local_recorder(&elsewhere, || {
            other.json_aggregates("account").delete_snapshots("a").unwrap();
        });
        std::thread::sleep(Duration::from_millis(1_100));
        ours.json_aggregates("account").replay("a").unwrap();
        assert_eq!(metrics.value("event_snapshots_total"), 0.0, "read again once a second while in use");
    });
}

#[test]
fn aggregates_of_one_id_count_together() {
    recorded(|metrics| {
        let store = in_memory();
        append(&store, "1", "Opened");
        store.append("order", "1", Expected::Any, [event("Placed"), event("Paid")]).unwrap();
        store.tenant("acme").append("account", "1", Expected::Any, [event("Opened")]).unwrap();
        assert_eq!(holds(metrics, "1"), Some(4.0));
    });
}

#[test]
fn the_write_ahead_log_shows_and_a_checkpoint_empties_it() {
    recorded(|metrics| {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.db");
        let store = Store::open(&path).unwrap();
        append(&store, "a", "Opened");
        store.maintenance().refresh_metrics().unwrap();
        let wal = std::fs::metadata(directory.path().join("a.db-wal")).unwrap().len();
        assert!(wal > 0);
        assert_eq!(metrics.value("foldlog_wal_bytes"), wal as f64);
        let done = store.maintenance().checkpoint().unwrap();
        assert!(done.complete && done.pages_left == 0, "{done:?}");
        assert_eq!(metrics.value("foldlog_wal_bytes"), 0.0);
        assert_eq!(metrics.value("foldlog_checkpoint_duration_seconds_count"), 1.0);
        assert!(in_memory().maintenance().checkpoint().unwrap().complete, "a store in memory has none");
    });
}

#[test]
fn waiting_for_another_writer_shows() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.db");
    let store = Options::new().busy_timeout(Duration::from_millis(20)).open(&path).unwrap();
    let blocker = rusqlite::Connection::open(&path).unwrap();
    recorded(|metrics| {
        blocker.execute_batch("BEGIN IMMEDIATE").unwrap();
        let error = store.append("account", "a", Expected::Any, [event("Opened")]).unwrap_err();
        assert!(error.is_retryable());
        blocker.execute_batch("ROLLBACK").unwrap();
        assert_eq!(metrics.value("foldlog_busy_waits_total"), 1.0);
        assert_eq!(metrics.value("foldlog_busy_timeouts_total"), 1.0);
        assert_eq!(metrics.value("foldlog_errors_total{operation=\"append\",kind=\"busy\"}"), 1.0);
    });
}
