//! Recorders come late, forget what is idle, or have no fields; none of that may silence a store.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use metrics::{Counter, CounterFn, Gauge, Histogram, Key, KeyName, Metadata, Recorder, SharedString, Unit};
use metrics_util::MetricKindMask;

use crate::support::{Reader, append, builder, in_memory, recorded};

#[test]
fn a_recorder_that_comes_after_the_store_gets_everything() {
    let store = in_memory();
    append(&store, "a", "Opened");
    recorded(|metrics| {
        assert_eq!(metrics.text(), "");
        append(&store, "a", "Opened");
        assert_eq!(metrics.sum("event_store_events_total"), 1.0);
        let by_aggregate = metrics.value("event_store_events_by_aggregate{aggregate_id=\"a\"}");
        assert_eq!(by_aggregate, 2.0, "a gauge also knows what was before");
        assert!(metrics.value("event_store_size_estimate_bytes") > 0.0);
        assert!(metrics.text().contains("# HELP event_store_events_total Events appended."), "described by itself");
    });
}

#[test]
fn describing_again_changes_nothing() {
    recorded(|metrics| {
        let store = in_memory();
        append(&store, "a", "Opened");
        foldlog::metrics::describe();
        foldlog::metrics::describe();
        let text = metrics.text();
        assert_eq!(text.matches("# HELP event_store_events_total ").count(), 1, "{text}");
        for metric in foldlog::metrics::METRICS {
            let shown = text.contains(&format!("# TYPE {} ", metric.name));
            let described = text.contains(&format!("# HELP {} {}\n", metric.name, metric.help));
            assert_eq!(shown, described, "{}", metric.name);
        }
    });
}

#[test]
fn a_metric_that_the_exporter_dropped_for_idleness_comes_back_with_its_value() {
    let recorder = builder().idle_timeout(MetricKindMask::ALL, Some(Duration::from_millis(500))).build_recorder();
    let reader = Reader(recorder.handle());
    metrics::with_local_recorder(&recorder, || {
        let store = in_memory();
        (0..3).for_each(|_| append(&store, "a", "Opened"));
        assert_eq!(reader.sum("event_store_events_total"), 3.0);
        std::thread::sleep(Duration::from_millis(600));
        reader.text();
        std::thread::sleep(Duration::from_millis(600));
        assert_eq!(reader.text(), "", "the exporter has dropped everything");

        std::thread::sleep(Duration::from_millis(1_000));
        append(&store, "a", "Opened");
        assert_eq!(reader.sum("event_store_events_total"), 1.0, "a counter begins anew, which rate() understands");
        assert_eq!(reader.value("event_store_events_by_aggregate{aggregate_id=\"a\"}"), 4.0);
        assert!(reader.value("event_store_size_estimate_bytes") > 0.0);
        assert!(reader.text().contains("event_snapshots_total 0"));
    });
}

/// A recorder without fields, as the facade's own stand-in for "none" is.
struct Bare;

static COUNTED: AtomicU64 = AtomicU64::new(0);

struct Count;

impl CounterFn for Count {
    fn increment(&self, value: u64) {
        COUNTED.fetch_add(value, Ordering::Relaxed);
    }

    fn absolute(&self, _: u64) {}
}

impl metrics::GaugeFn for Count {
    fn increment(&self, _: f64) {}

    fn decrement(&self, _: f64) {}

    fn set(&self, _: f64) {}
}

impl Recorder for Bare {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        match key.name() {
            "event_store_events_total" => Counter::from_arc(std::sync::Arc::new(Count)),
            _ => Counter::noop(),
        }
    }

    fn register_gauge(&self, _: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::from_arc(std::sync::Arc::new(Count))
    }

    fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::noop()
    }
}

#[test]
fn a_recorder_without_fields_is_not_taken_for_none() {
    assert_eq!(size_of::<Bare>(), 0);
    metrics::with_local_recorder(&Bare, || append(&in_memory(), "a", "Opened"));
    assert_eq!(COUNTED.load(Ordering::Relaxed), 1);
}
