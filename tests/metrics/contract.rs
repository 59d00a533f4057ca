//! Names, labels and label values are a contract with dashboards that exist.

use std::time::{Duration, Instant};

use foldlog::metrics::{Kind, METRICS, event_count_class};
use foldlog::{
    Batch, Error, Expected, HandlerError, Options, Projection, Purge, ReadModel, RecordedEvent, SnapshotPolicy, SnapshotReason,
    Store,
};
use serde_json::{Value, json};

use crate::support::{append, event, in_memory, recorded};

/// The table of the specification, typed off: name, kind, labels, and the bounds that must be among the buckets.
const CONTRACT: &[(&str, Kind, &[&str], &[f64])] = &[
    ("event_store_events_total", Kind::Counter, &["event_type", "tenant_id"], &[]),
    ("event_store_conflicts_total", Kind::Counter, &["aggregate_id"], &[]),
    ("event_replay_requests_total", Kind::Counter, &["success", "use_snapshot"], &[]),
    ("event_snapshots_created_total", Kind::Counter, &["reason"], &[]),
    ("event_store_save_duration_seconds", Kind::Histogram, &["event_type"], &[0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0]),
    (
        "event_replay_duration_seconds",
        Kind::Histogram,
        &["use_snapshot", "event_count"],
        &[0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0, 30.0],
    ),
    (
        "event_handler_duration_seconds",
        Kind::Histogram,
        &["handler_name", "event_type"],
        &[0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0],
    ),
    ("event_snapshot_creation_duration_seconds", Kind::Histogram, &["reason"], &[0.1, 0.5, 1.0, 5.0, 10.0, 30.0]),
    ("event_store_events_by_aggregate", Kind::Gauge, &["aggregate_id"], &[]),
    ("event_snapshots_total", Kind::Gauge, &[], &[]),
    ("event_store_size_estimate_bytes", Kind::Gauge, &[], &[]),
];

#[test]
fn the_eleven_are_as_the_contract_says() {
    for (name, kind, labels, bounds) in CONTRACT {
        let metric = METRICS.iter().find(|metric| metric.name == *name).unwrap_or_else(|| panic!("{name} is missing"));
        assert_eq!((metric.kind, metric.labels), (*kind, *labels), "{name}");
        assert!(bounds.iter().all(|bound| metric.buckets.contains(bound)), "{name} lacks a bound of the original");
    }
    for metric in &METRICS[CONTRACT.len()..] {
        assert!(metric.name.starts_with("foldlog_"), "{} is not of the contract", metric.name);
    }
}

#[test]
fn buckets_rise_and_start_at_microseconds() {
    for (name, bounds) in foldlog::metrics::buckets() {
        assert!(bounds.is_sorted_by(|a, b| a < b), "{name}");
        assert!(!name.ends_with("_seconds") || bounds[0] <= 0.000_01, "{name} starts at {}", bounds[0]);
    }
}

#[test]
fn event_count_classes_change_at_their_bounds() {
    let classes: Vec<_> = [0, 10, 11, 50, 51, 100, 101, 500, 501, 1000, 1001, u64::MAX].map(event_count_class).into();
    let expected =
        ["0-10", "0-10", "11-50", "11-50", "51-100", "51-100", "101-500", "101-500", "501-1000", "501-1000", "1000+", "1000+"];
    assert_eq!(classes, expected);
}

#[test]
fn appends_count_events_by_type_and_tenant_once_a_batch() {
    recorded(|metrics| {
        let store = in_memory();
        append(&store, "a", "Opened");
        let mixed = ["Deposited", "Deposited", "Withdrawn"].map(event);
        store.tenant("acme").append("account", "a", Expected::Any, mixed).unwrap();
        let across = Batch::new().append("account", "a", Expected::Any, [event("Deposited")]).append(
            "account",
            "b",
            Expected::Any,
            [event("Deposited")],
        );
        store.commit(across).unwrap();

        let events = |kind: &str, tenant: &str| {
            metrics.value(&format!("event_store_events_total{{event_type=\"{kind}\",tenant_id=\"{tenant}\"}}"))
        };
        assert_eq!(events("Opened", "default"), 1.0);
        assert_eq!(events("Deposited", "acme"), 2.0);
        assert_eq!(events("Withdrawn", "acme"), 1.0);
        assert_eq!(events("Deposited", "default"), 2.0);
        // One observation for each append and event type in it.
        assert_eq!(metrics.value("event_store_save_duration_seconds_count{event_type=\"Deposited\"}"), 2.0);
        assert_eq!(metrics.value("event_store_save_duration_seconds_count{event_type=\"Opened\"}"), 1.0);
        assert_eq!(metrics.value("foldlog_append_batch_events_sum"), 6.0);
        assert_eq!(metrics.value("foldlog_append_batch_events_count"), 3.0);
        assert_eq!(metrics.value("foldlog_commit_duration_seconds_count"), 3.0);
        assert_eq!(metrics.value("foldlog_write_wait_seconds_count"), 3.0);
    });
}

#[test]
fn an_append_repeated_with_the_same_event_ids_counts_once() {
    recorded(|metrics| {
        let store = in_memory();
        let opened = event("Opened").id(uuid::Uuid::now_v7());
        for _ in 0..3 {
            store.append("account", "a", Expected::New, [opened.clone()]).unwrap();
        }
        assert_eq!(metrics.sum("event_store_events_total"), 1.0);
    });
}

#[test]
fn a_refused_append_is_a_conflict_and_no_event() {
    recorded(|metrics| {
        let store = in_memory();
        append(&store, "a", "Opened");
        store.append("account", "a", Expected::New, [event("Opened")]).unwrap_err();
        store.append("account", "a", 7, [event("Opened")]).unwrap_err();
        assert_eq!(metrics.value("event_store_conflicts_total{aggregate_id=\"a\"}"), 2.0);
        assert_eq!(metrics.sum("event_store_events_total"), 1.0);
        assert_eq!(metrics.sum("foldlog_errors_total"), 0.0, "a conflict is no failure");
    });
}

#[test]
fn a_conflict_that_execute_settles_by_itself_counts() {
    recorded(|metrics| {
        let store = in_memory();
        let accounts = store.json_aggregates("account");
        append(&store, "a", "Opened");
        let mut rounds = 0;
        let done = accounts
            .execute("a", |_| {
                rounds += 1;
                if rounds < 3 {
                    append(&store, "a", "Interfered");
                }
                [event("Decided")]
            })
            .unwrap();
        assert_eq!(done.attempts, 3);
        assert_eq!(metrics.value("event_store_conflicts_total{aggregate_id=\"a\"}"), 2.0);
    });
}

#[test]
fn replays_of_every_kind_count_with_outcome_and_mode() {
    recorded(|metrics| {
        let store = in_memory();
        let accounts = store.json_aggregates("account");
        (0..60).for_each(|_| append(&store, "a", "Deposited"));
        accounts.replay("a").unwrap();
        accounts.replay_to_version("a", 11).unwrap();
        accounts.replay_to_time("a", chrono::Utc::now()).unwrap();
        accounts.without_snapshots().replay("a").unwrap();
        accounts.replay_each().run(|_, _| Ok::<_, Error>(()), |_| std::ops::ControlFlow::Continue(())).unwrap();
        accounts.execute("a", |_| [event("Decided")]).unwrap();
        accounts.replay("nobody").unwrap_err();
        accounts.without_snapshots().replay("nobody").unwrap_err();

        let requests = |success: bool, snapshots: bool| {
            metrics.value(&format!("event_replay_requests_total{{success=\"{success}\",use_snapshot=\"{snapshots}\"}}"))
        };
        assert_eq!(requests(true, true), 5.0);
        assert_eq!(requests(true, false), 1.0);
        assert_eq!(requests(false, true), 1.0);
        assert_eq!(requests(false, false), 1.0);
        let durations = |snapshots: bool, class: &str| {
            let labels = format!("use_snapshot=\"{snapshots}\",event_count=\"{class}\"");
            metrics.value(&format!("event_replay_duration_seconds_count{{{labels}}}"))
        };
        assert_eq!(durations(true, "51-100"), 4.0);
        assert_eq!(durations(true, "11-50"), 1.0);
        assert_eq!(durations(false, "51-100"), 1.0);
        assert_eq!(metrics.sum("event_replay_duration_seconds_count"), 8.0, "one observation for each request");
    });
}

#[test]
fn executing_on_a_new_aggregate_is_no_failed_replay() {
    recorded(|metrics| {
        let accounts = in_memory().json_aggregates("account");
        accounts.execute("new", |_| [event("Opened")]).unwrap();
        assert_eq!(metrics.sum("event_replay_requests_total"), 0.0);
        assert_eq!(metrics.sum("foldlog_errors_total"), 0.0);
    });
}

#[test]
fn snapshots_count_by_reason_wherever_they_are_made() {
    recorded(|metrics| {
        let store = Options::new().snapshots(SnapshotPolicy::every(10)).in_memory().unwrap();
        let accounts = store.json_aggregates("account");
        accounts.append("a", Expected::Any, (0..10).map(|_| event("Deposited"))).unwrap();
        accounts.execute("a", |_| (0..10).map(|_| event("Deposited")).collect::<Vec<_>>()).unwrap();
        (0..10).for_each(|_| append(&store, "a", "Deposited"));
        accounts.replay("a").unwrap();
        append(&store, "a", "Deposited");
        accounts.create_snapshot("a", SnapshotReason::Manual).unwrap();
        append(&store, "a", "Deposited");
        accounts.create_snapshot("a", SnapshotReason::Scheduled).unwrap();
        (0..10).for_each(|_| append(&store, "a", "Deposited"));
        assert!(accounts.snapshot_if_due("a").unwrap().is_some());

        for (reason, made) in [("threshold", 4.0), ("manual", 1.0), ("scheduled", 1.0)] {
            assert_eq!(metrics.value(&format!("event_snapshots_created_total{{reason=\"{reason}\"}}")), made, "{reason}");
            let observed = metrics.value(&format!("event_snapshot_creation_duration_seconds_count{{reason=\"{reason}\"}}"));
            assert_eq!(observed, made, "{reason}");
        }
        assert_eq!(metrics.value("event_snapshots_total"), 5.0, "five are kept");
    });
}

#[test]
fn a_replay_says_whether_it_found_a_snapshot_and_why_not() {
    recorded(|metrics| {
        let store = Options::new().snapshots(SnapshotPolicy::manual()).in_memory().unwrap();
        let of_version = |version| {
            let count = |state: &mut Value, _: &str, _: &Value| {
                state["n"] = json!(state["n"].as_u64().unwrap_or(0) + 1);
                Ok(())
            };
            store.json_aggregates("account").fold_with("count", version, count)
        };
        append(&store, "a", "Deposited");
        of_version(1).replay("a").unwrap();
        of_version(1).create_snapshot("a", SnapshotReason::Manual).unwrap();
        of_version(1).replay("a").unwrap();
        of_version(2).replay("a").unwrap();
        of_version(2).without_snapshots().replay("a").unwrap();
        // One replay more than the eye sees: the snapshot's own.
        assert_eq!(metrics.value("foldlog_snapshot_lookups_total{result=\"miss\"}"), 3.0);
        assert_eq!(metrics.value("foldlog_snapshot_lookups_total{result=\"hit\"}"), 1.0);
        assert_eq!(metrics.value("foldlog_snapshots_rejected_total{reason=\"other_fold\"}"), 1.0);
    });
}

#[test]
fn handlers_are_timed_by_name_and_event_type() {
    recorded(|metrics| {
        let store = in_memory();
        append(&store, "a", "Opened");
        let opened = store.recent_events(1).unwrap().remove(0);
        assert_eq!(store.run_handler("mail", &opened, |event| event.version.get()), 1);
        store
            .json_aggregates("account")
            .replay_each()
            .run(|_, _| Ok::<_, Error>(()), |_| std::ops::ControlFlow::Continue(()))
            .unwrap();
        let ran = |name: &str, event_type: &str| {
            let labels = format!("handler_name=\"{name}\",event_type=\"{event_type}\"");
            metrics.value(&format!("event_handler_duration_seconds_count{{{labels}}}"))
        };
        assert_eq!(ran("mail", "Opened"), 1.0);
        assert_eq!(ran("rebuild", "*"), 1.0);
    });
}

/// Each histogram of times against the clock on the wall: in milliseconds, or counted twice, it would not fit in between.
#[test]
fn durations_are_in_seconds() {
    const NAP: Duration = Duration::from_millis(30);
    struct Slow;
    impl Projection for Slow {
        fn name(&self) -> &str {
            "slow"
        }
        fn tables(&self) -> Vec<String> {
            Vec::new()
        }
        fn create(&self, _: &ReadModel<'_>) -> Result<(), HandlerError> {
            Ok(())
        }
        fn apply(&self, event: &RecordedEvent, _: &ReadModel<'_>) -> Result<(), HandlerError> {
            if &*event.event_type == "Slow" {
                std::thread::sleep(NAP);
            }
            Ok(())
        }
    }
    recorded(|metrics| {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path().join("events.db")).unwrap();
        // Runs `work` and returns what it added to a histogram's sum, and how long it took.
        let added = |name: &str, work: &mut dyn FnMut()| {
            let sum = || metrics.sum(&format!("{name}_sum"));
            let (before, began) = (sum(), Instant::now());
            work();
            (sum() - before, began.elapsed().as_secs_f64())
        };
        let at_least = |name: &str, least: Duration, work: &mut dyn FnMut()| {
            let (measured, took) = added(name, work);
            assert!((least.as_secs_f64() * 0.9..=took).contains(&measured), "{name}: {measured} of {took} s");
        };
        // It takes a part of the time that is far more than a thousandth.
        let a_part = |name: &str, work: &mut dyn FnMut()| {
            let (measured, took) = added(name, work);
            assert!((took / 900.0..=took).contains(&measured), "{name}: {measured} of {took} s");
        };
        for n in 0..20 {
            append(&store, "a", if n % 2 == 0 { "Even" } else { "Odd" });
        }
        let accounts = store.json_aggregates("account").fold_with("slow", 1, |_, _, _| {
            std::thread::sleep(NAP / 10);
            Ok(())
        });
        at_least("event_replay_duration_seconds", NAP * 2, &mut || drop(accounts.replay("a").unwrap()));
        at_least("event_snapshot_creation_duration_seconds", NAP * 2, &mut || {
            accounts.create_snapshot("a", SnapshotReason::Manual).unwrap();
        });
        let event = store.recent_events(1).unwrap().remove(0);
        at_least("event_handler_duration_seconds", NAP, &mut || store.run_handler("nap", &event, |_| std::thread::sleep(NAP)));
        a_part("foldlog_commit_duration_seconds", &mut || (0..100).for_each(|_| append(&store, "b", "Even")));
        a_part("foldlog_checkpoint_duration_seconds", &mut || {
            for _ in 0..20 {
                append(&store, "b", "Even");
                store.maintenance().checkpoint().unwrap();
            }
        });
        store.project_inline(Slow).unwrap();
        at_least("event_store_save_duration_seconds", NAP, &mut || append(&store, "c", "Slow"));
        // Another thread holds the lock for two naps.
        at_least("foldlog_write_wait_seconds", NAP / 2, &mut || {
            std::thread::scope(|scope| {
                let store = &store;
                scope.spawn(|| (0..2).for_each(|_| append(store, "d", "Slow")));
                std::thread::sleep(NAP / 3);
                append(store, "e", "Even");
            });
        });
    });
}

#[test]
fn the_lag_is_that_of_each_reader_and_its_own() {
    recorded(|metrics| {
        let store = in_memory();
        for _ in 0..10 {
            append(&store, "a", "Opened");
        }
        let stop_at = |name: &str, position: u64| {
            let ran = store.subscription(name).run_to_end(|event| match event.position == position {
                true => Err("no further".into()),
                false => Ok(()),
            });
            assert_eq!(ran.is_err(), position <= 10);
        };
        stop_at("third", 3);
        stop_at("eighth", 8);
        stop_at("all", 99);
        let lag = |name: &str| metrics.value(&format!("foldlog_subscription_lag{{subscription=\"{name}\"}}"));
        assert_eq!((lag("third"), lag("eighth"), lag("all")), (8.0, 3.0, 0.0));
        // Each attempt of a handler or a publisher is measured, under its name.
        let handled = |name: &str| {
            metrics.value(&format!("event_handler_duration_seconds_count{{handler_name=\"{name}\",event_type=\"Opened\"}}"))
        };
        assert_eq!((handled("third"), handled("eighth"), handled("all")), (3.0, 8.0, 10.0));
    });
}

#[test]
fn failures_count_by_operation_and_kind() {
    recorded(|metrics| {
        let store = Options::new().max_event_bytes(10).in_memory().unwrap();
        let large = foldlog::NewEvent::new("Large", &json!({"text": "0123456789"})).unwrap();
        store.append("account", "a", Expected::Any, [large]).unwrap_err();
        assert_eq!(metrics.value("foldlog_errors_total{operation=\"append\",kind=\"limit_exceeded\"}"), 1.0);
    });
}

#[test]
fn every_series_has_exactly_the_labels_of_the_table() {
    recorded(|metrics| {
        let store = in_memory();
        let accounts = store.json_aggregates("account");
        append(&store, "a", "Opened");
        store.append("account", "a", 9, [event("Opened")]).unwrap_err();
        accounts.create_snapshot("a", SnapshotReason::Manual).unwrap();
        let opened = store.recent_events(1).unwrap().remove(0);
        store.run_handler("mail", &opened, |_| ());
        store.maintenance().purge(Purge::created_before(chrono::Utc::now()).fold(&accounts)).unwrap();
        let mut seen = std::collections::BTreeSet::new();
        for series in metrics.samples().into_keys() {
            let (name, labels) = series.trim_end_matches('}').split_once('{').unwrap_or((series.as_str(), ""));
            let base = ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end)).unwrap_or(name);
            let metric = METRICS.iter().find(|metric| metric.name == base).unwrap_or_else(|| panic!("{name} is unknown"));
            let labels: Vec<_> = labels.split(',').filter_map(|label| Some(label.split_once('=')?.0)).collect();
            let labels: Vec<_> = labels.into_iter().filter(|label| *label != "le").collect();
            assert_eq!(labels, metric.labels, "{series}");
            seen.insert(base.to_owned());
        }
        for (name, ..) in CONTRACT {
            assert!(seen.contains(*name), "{name} did not move");
        }
    });
}
