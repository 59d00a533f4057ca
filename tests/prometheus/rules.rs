//! The alerts, by promtool.

use crate::tools::{dashboards, exists, names_in, promtool, root, said};

#[test]
fn the_alerts_are_valid_and_fire_when_they_should_and_only_then() {
    let Some(checked) = promtool(&["check", "rules", "alerts.yml"], "") else { return };
    assert!(checked.status.success(), "{}", said(&checked));
    let tested = promtool(&["test", "rules", "alerts_test.yml"], "").unwrap();
    assert!(tested.status.success(), "{}", said(&tested));
}

#[test]
fn the_alerts_name_only_metrics_that_exist() {
    let alerts = std::fs::read_to_string(dashboards().join("alerts.yml")).unwrap();
    let names = names_in(&alerts);
    assert!(names.len() > 10, "{names:?}");
    for name in names {
        assert!(exists(name), "alerts.yml names {name}, which is not exported");
    }
}

#[test]
fn every_alert_is_tested_firing_and_silent_and_explained() {
    let read = |name: &str| std::fs::read_to_string(root().join(name)).unwrap();
    let (alerts, cases, manual) = (read("dashboards/alerts.yml"), read("dashboards/alerts_test.yml"), read("docs/metrics.md"));
    let names: Vec<_> = alerts.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).collect();
    assert_eq!(names.len(), 9, "{names:?}");
    for name in names {
        assert!(cases.contains(&format!("- alertname: {name}\n")), "{name} has no case in which it fires");
        assert!(cases.contains(&format!("{{alertname: {name}, eval_time: 4h, exp_alerts: []}}")), "{name} is never silent");
        assert!(manual.contains(&format!("### {name}")), "docs/metrics.md does not explain {name}");
    }
}

#[test]
fn the_manual_lists_every_metric_with_its_labels_and_no_other() {
    let manual = std::fs::read_to_string(root().join("docs/metrics.md")).unwrap();
    for metric in foldlog::metrics::METRICS {
        let row = manual.lines().find(|line| line.starts_with(&format!("| `{}` |", metric.name)));
        let row = row.unwrap_or_else(|| panic!("docs/metrics.md has no row for {}", metric.name));
        let cells: Vec<_> = row.split('|').map(str::trim).collect();
        let labels: Vec<_> =
            cells[3].split(", ").map(|label| label.trim_matches('`')).filter(|label| !label.is_empty()).collect();
        assert_eq!(cells[2], format!("{:?}", metric.kind).to_lowercase(), "{}", metric.name);
        assert_eq!(labels, metric.labels, "{}", metric.name);
    }
    for (name, bounds) in foldlog::metrics::buckets() {
        let bounds: Vec<_> = bounds.iter().map(f64::to_string).collect();
        assert!(manual.contains(&format!("| {} |", bounds.join(" "))), "docs/metrics.md has other bounds for {name}");
    }
    for name in names_in(&manual) {
        let is_metric = foldlog::metrics::METRICS.iter().any(|metric| metric.name == name);
        assert!(is_metric || exists(name), "docs/metrics.md names {name}, which is not exported");
    }
}
