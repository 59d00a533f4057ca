//! A real Prometheus recorder on the test's own thread, and its output taken apart.

use std::collections::BTreeMap;

use foldlog::{Expected, NewEvent, Options, Store};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle, PrometheusRecorder};
use serde_json::json;

/// A recorder with the library's buckets.
pub fn recorder() -> PrometheusRecorder {
    builder().build_recorder()
}

pub fn builder() -> PrometheusBuilder {
    foldlog::metrics::buckets().fold(PrometheusBuilder::new(), |builder, (name, bounds)| {
        builder.set_buckets_for_metric(Matcher::Full(name.to_owned()), bounds).unwrap()
    })
}

/// Runs a test under a recorder; it is handed what reads the metrics.
pub fn recorded<T>(test: impl FnOnce(&Reader) -> T) -> T {
    let recorder = recorder();
    let reader = Reader(recorder.handle());
    metrics::with_local_recorder(&recorder, || test(&reader))
}

pub struct Reader(pub PrometheusHandle);

impl Reader {
    pub fn text(&self) -> String {
        self.0.render()
    }

    /// Every sample line: `name{labels}` in the exporter's order of labels, and the value.
    pub fn samples(&self) -> BTreeMap<String, f64> {
        self.text()
            .lines()
            .filter(|line| !line.starts_with('#') && !line.is_empty())
            .map(|line| {
                let (series, value) = line.rsplit_once(' ').unwrap();
                (series.to_owned(), value.parse().unwrap())
            })
            .collect()
    }

    /// The value of one series; 0 if it is not there.
    #[track_caller]
    pub fn value(&self, series: &str) -> f64 {
        self.samples().get(series).copied().unwrap_or(0.0)
    }

    /// The sum over all series of a name.
    pub fn sum(&self, name: &str) -> f64 {
        self.of(name).values().sum()
    }

    /// All series of a name.
    pub fn of(&self, name: &str) -> BTreeMap<String, f64> {
        self.samples().into_iter().filter(|(series, _)| series.split('{').next() == Some(name)).collect()
    }
}

pub fn event(event_type: &str) -> NewEvent {
    NewEvent::new(event_type, &json!({"n": 1})).unwrap()
}

pub fn in_memory() -> Store {
    Options::new().in_memory().unwrap()
}

pub fn append(store: &Store, id: &str, event_type: &str) {
    store.append("account", id, Expected::Any, [event(event_type)]).unwrap();
}
