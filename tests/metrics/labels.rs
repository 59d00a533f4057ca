//! Labels are bounded, totals stay right, and nothing of an event's content gets out.

use foldlog::metrics::{Bound, LabelBounds};
use foldlog::{Expected, Metadata, NewEvent, Options, Store};
use serde_json::json;

use crate::support::{Reader, append, event, recorded};

fn bounded(bound: Bound) -> Store {
    let bounds = LabelBounds::default().aggregates(bound).tenants(bound).event_types(bound);
    Options::new().label_bounds(bounds).in_memory().unwrap()
}

/// Ten aggregates in ten tenants with an event type each; a conflict for each.
fn exercise(store: &Store) {
    for n in 0..10 {
        let of_tenant = store.tenant(&format!("tenant-{n}"));
        append(&of_tenant, &format!("agg-{n}"), &format!("Type{n}"));
        of_tenant.append("account", format!("agg-{n}"), 9, [event("Refused")]).unwrap_err();
    }
}

fn values(metrics: &Reader, name: &str) -> usize {
    metrics.of(name).len()
}

#[test]
fn beyond_the_bound_counters_go_to_other_and_totals_stay_right() {
    recorded(|metrics| {
        exercise(&bounded(Bound::AtMost(3)));
        assert_eq!(values(metrics, "event_store_conflicts_total"), 4);
        assert_eq!(metrics.value("event_store_conflicts_total{aggregate_id=\"__other__\"}"), 7.0);
        assert_eq!(metrics.sum("event_store_conflicts_total"), 10.0);
        assert_eq!(metrics.value("event_store_events_total{event_type=\"__other__\",tenant_id=\"__other__\"}"), 7.0);
        assert_eq!(metrics.sum("event_store_events_total"), 10.0);
        assert_eq!(metrics.sum("event_store_save_duration_seconds_count"), 10.0);
        let followed = metrics.of("event_store_events_by_aggregate");
        assert_eq!(followed.len(), 3, "the gauge follows only the first: {followed:?}");
        assert!(followed.contains_key("event_store_events_by_aggregate{aggregate_id=\"agg-0\"}"));
    });
}

#[test]
fn off_leaves_totals_and_no_gauge() {
    recorded(|metrics| {
        exercise(&bounded(Bound::Off));
        assert_eq!(metrics.value("event_store_events_total{event_type=\"__other__\",tenant_id=\"__other__\"}"), 10.0);
        assert_eq!(metrics.value("event_store_conflicts_total{aggregate_id=\"__other__\"}"), 10.0);
        assert_eq!(values(metrics, "event_store_events_by_aggregate"), 0);
    });
}

#[test]
fn unlimited_names_all() {
    recorded(|metrics| {
        let store = bounded(Bound::Unlimited);
        (0..1_500).for_each(|n| append(&store, &format!("agg-{n}"), "Opened"));
        assert_eq!(values(metrics, "event_store_events_by_aggregate"), 1_500);
    });
}

#[test]
fn the_default_bound_is_a_thousand() {
    recorded(|metrics| {
        let store = Options::new().in_memory().unwrap();
        for n in 0..1_010 {
            append(&store, &format!("agg-{n}"), &format!("Type{n}"));
            store.append("account", format!("agg-{n}"), 9, [event("Refused")]).unwrap_err();
        }
        assert_eq!(values(metrics, "event_store_events_by_aggregate"), 1_000);
        assert_eq!(values(metrics, "event_store_conflicts_total"), 1_001);
        assert_eq!(values(metrics, "event_store_events_total"), 1_001);
        // A followed aggregate is followed on.
        append(&store, "agg-5", "Type5");
        assert_eq!(metrics.value("event_store_events_by_aggregate{aggregate_id=\"agg-5\"}"), 2.0);
    });
}

#[test]
fn the_bound_holds_and_totals_stay_right_with_several_threads() {
    let recorder = crate::support::recorder();
    let reader = Reader(recorder.handle());
    let store = bounded(Bound::AtMost(20));
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let (store, recorder) = (&store, &recorder);
            scope.spawn(move || {
                metrics::with_local_recorder(recorder, || {
                    (0..50).for_each(|n| append(store, &format!("agg-{thread}-{n}"), &format!("Type{thread}-{n}")));
                });
            });
        }
    });
    assert_eq!(values(&reader, "event_store_events_by_aggregate"), 20);
    assert_eq!(values(&reader, "event_store_save_duration_seconds_count"), 21);
    assert_eq!(reader.sum("event_store_events_total"), 200.0);
}

#[test]
fn payloads_metadata_and_tags_never_get_out() {
    recorded(|metrics| {
        let store = Options::new().in_memory().unwrap();
        let canary = "canary-4711";
        let secret = || {
            NewEvent::new("Opened", &json!({"owner": canary}))
                .unwrap()
                .metadata(&Metadata::new().user_id(canary).extra("note", canary))
                .unwrap()
                .tag(canary)
        };
        store.append("account", "a", Expected::Any, [secret()]).unwrap();
        store.append("account", "a", 9, [secret()]).unwrap_err();
        let accounts =
            store.json_aggregates("account").fold_with("fails", 1, |_, _, _| Err(foldlog::FoldError::Data(canary.into())));
        accounts.replay("a").unwrap_err();
        assert!(metrics.sum("event_store_events_total") > 0.0);
        assert!(!metrics.text().contains(canary));
    });
}

#[test]
fn hostile_names_stay_inside_their_label() {
    recorded(|metrics| {
        let store = Options::new().in_memory().unwrap();
        append(&store, "a\"} 1\nevil_total 1\n{x=\"\\", "Opened");
        assert!(!metrics.text().lines().any(|line| line.starts_with("evil_total")), "{}", metrics.text());
        assert_eq!(values(metrics, "event_store_events_by_aggregate"), 1);
    });
}
