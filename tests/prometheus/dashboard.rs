//! The dashboard, without Grafana: its JSON taken apart, its expressions parsed by promtool.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::tools::{dashboards, exists, names_in, promtool, said};

fn dashboard() -> Value {
    serde_json::from_str(&std::fs::read_to_string(dashboards().join("foldlog.json")).unwrap()).unwrap()
}

fn panels(dashboard: &Value) -> Vec<&Value> {
    dashboard["panels"].as_array().unwrap().iter().filter(|panel| panel["type"] != "row").collect()
}

fn expressions(dashboard: &Value) -> Vec<&str> {
    let targets = panels(dashboard).into_iter().flat_map(|panel| panel["targets"].as_array().unwrap());
    targets.map(|target| target["expr"].as_str().unwrap()).collect()
}

#[test]
fn panels_are_complete_and_do_not_overlap() {
    let dashboard = dashboard();
    let all = dashboard["panels"].as_array().unwrap();
    let ids: BTreeSet<_> = all.iter().map(|panel| panel["id"].as_u64().unwrap()).collect();
    assert_eq!(ids.len(), all.len(), "two panels share an id");
    let mut cells = BTreeSet::new();
    for panel in all {
        let place = |name: &str| panel["gridPos"][name].as_u64().unwrap();
        assert!(place("x") + place("w") <= 24, "{} leaves the grid", panel["title"]);
        for x in place("x")..place("x") + place("w") {
            for y in place("y")..place("y") + place("h") {
                assert!(cells.insert((x, y)), "{} lies on another panel", panel["title"]);
            }
        }
    }
    for panel in panels(&dashboard) {
        let title = panel["title"].as_str().unwrap();
        assert!(!panel["description"].as_str().unwrap().is_empty(), "{title} is not explained");
        assert!(!panel["fieldConfig"]["defaults"]["unit"].as_str().unwrap().is_empty(), "{title} has no unit");
        assert_eq!(panel["datasource"]["uid"], "${datasource}", "{title} is bound to one data source");
        for target in panel["targets"].as_array().unwrap() {
            assert_eq!(target["datasource"]["uid"], "${datasource}", "{title}");
            assert!(!target["legendFormat"].as_str().unwrap().is_empty(), "{title}");
        }
    }
}

#[test]
fn units_fit_the_metrics() {
    let dashboard = dashboard();
    for panel in panels(&dashboard) {
        let unit = panel["fieldConfig"]["defaults"]["unit"].as_str().unwrap();
        for target in panel["targets"].as_array().unwrap() {
            let expression = target["expr"].as_str().unwrap();
            let quantile_of_seconds = expression.starts_with("histogram_quantile") && expression.contains("_seconds_bucket");
            assert_eq!(quantile_of_seconds, unit == "s", "{}: {expression}", panel["title"]);
            let bytes = expression.contains("_bytes");
            assert_eq!(bytes, unit == "bytes", "{}: {expression}", panel["title"]);
        }
    }
}

#[test]
fn the_originals_four_panels_are_there_and_every_metric_has_a_place() {
    let dashboard = dashboard();
    for title in
        ["Event throughput", "Replay duration, 99th percentile", "Version conflicts per event", "Replays that may use snapshots"]
    {
        assert!(panels(&dashboard).iter().any(|panel| panel["title"] == title), "{title}");
    }
    let all = expressions(&dashboard).join("\n");
    for metric in foldlog::metrics::METRICS {
        assert!(all.contains(metric.name), "no panel shows {}", metric.name);
    }
}

#[test]
fn expressions_name_only_metrics_and_labels_that_exist() {
    let dashboard = dashboard();
    for expression in expressions(&dashboard) {
        let names = names_in(expression);
        assert!(!names.is_empty(), "{expression}");
        for name in names {
            assert!(exists(name), "{name} is not exported: {expression}");
        }
        assert!(expression.contains(r#"job=~"$job", instance=~"$instance""#), "{expression}");
    }
    for panel in panels(&dashboard) {
        for target in panel["targets"].as_array().unwrap() {
            let (expression, legend) = (target["expr"].as_str().unwrap(), target["legendFormat"].as_str().unwrap());
            for label in legend.split("{{").skip(1).filter_map(|rest| rest.split_once("}}")).map(|(label, _)| label) {
                assert!(expression.contains(label), "{{{{{label}}}}} is empty in {expression}");
            }
        }
    }
}

#[test]
fn expressions_parse() {
    let dashboard = dashboard();
    let mut rules = String::from("groups:\n  - name: dashboard\n    rules:\n");
    for (number, expression) in expressions(&dashboard).into_iter().enumerate() {
        let expression = expression.replace("$__rate_interval", "5m");
        rules.push_str(&format!(
            "      - record: panel:{number}\n        expr: {}\n",
            serde_json::to_string(&expression).unwrap()
        ));
    }
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("dashboard.yml");
    std::fs::write(&file, rules).unwrap();
    let Some(checked) = promtool(&["check", "rules", file.to_str().unwrap()], "") else { return };
    assert!(checked.status.success(), "{}", said(&checked));
    assert!(said(&checked).contains(&format!("{} rules found", expressions(&dashboard).len())));
}
