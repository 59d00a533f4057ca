//! The exporter, and everything that is made for Prometheus and Grafana, against the real tools.
//!
//! promtool and prometheus come with the Debian package `prometheus`. Without them the tests that need them say so loudly,
//! and fail where CI is set.
#![cfg(feature = "prometheus")]

mod dashboard;
mod example;
mod http;
mod rules;
mod tools;

use std::sync::OnceLock;

use foldlog::prometheus::{Exporter, install};
use foldlog::{ErrorKind, NewEvent, Store};

/// The process has one recorder, so the tests share it.
fn exporter() -> &'static Exporter {
    static EXPORTER: OnceLock<Exporter> = OnceLock::new();
    EXPORTER.get_or_init(|| install().unwrap())
}

#[test]
fn one_call_gives_buckets_descriptions_and_fresh_gauges() {
    let exporter = exporter();
    let directory = tempfile::tempdir().unwrap();
    let (ours, other) = (Store::open(directory.path().join("a.db")).unwrap(), directory.path().join("a.db"));
    ours.append("account", "exporter-1", 0, [NewEvent::new("Opened", &()).unwrap()]).unwrap();
    let text = exporter.render();
    assert!(text.contains("# HELP event_store_events_total Events appended."), "{text}");
    assert!(text.contains(r#"event_store_save_duration_seconds_bucket{event_type="Opened",le="0.001"}"#), "{text}");
    assert!(!text.contains("quantile="), "a summary where a histogram belongs");
    for (name, bounds) in foldlog::metrics::buckets().filter(|(name, _)| text.contains(&format!("{name}_bucket"))) {
        for bound in bounds {
            assert!(
                text.lines().any(|line| line.starts_with(name) && line.contains(&format!("le=\"{bound}\""))),
                "{name} {bound}"
            );
        }
    }
    // What a writer of another process does shows at the next look, without a call of ours.
    let mut child = std::process::Command::new(std::env::current_exe().unwrap());
    child.args(["--exact", "append_in_another_process", "--ignored", "--nocapture"]).env("FOLDLOG_TEST_DB", &other);
    assert!(child.status().unwrap().success());
    assert!(exporter.render().contains(r#"event_store_events_by_aggregate{aggregate_id="exporter-1"} 2"#));
}

#[test]
#[ignore = "run by the test above in a process of its own"]
fn append_in_another_process() {
    let store = Store::open(std::env::var_os("FOLDLOG_TEST_DB").unwrap()).unwrap();
    store.append("account", "exporter-1", 1, [NewEvent::new("Opened", &()).unwrap()]).unwrap();
}

#[test]
fn a_second_recorder_is_an_error_that_says_what_to_do() {
    exporter();
    let error = install().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    assert!(error.to_string().contains("foldlog::metrics::buckets()"), "{error}");
}
