//! The one file that calls the `metrics` facade, and its empty twin for a build without the feature.
//!
//! A handle is looked up for each call and never kept. A kept handle goes silent once the exporter's idle time-out has
//! removed its metric, and one from before the recorder was installed never works.

pub(super) use chosen::*;

#[cfg(feature = "metrics")]
mod chosen {
    use std::cell::Cell;
    use std::sync::Arc;

    use metrics::{IntoF64, Key, KeyName, Label, Level, Metadata, Recorder, SharedString, with_recorder};

    use crate::metrics::names::{self, Kind, Metric};

    static METADATA: Metadata<'static> = Metadata::new("foldlog", Level::INFO, Some("foldlog"));

    /// A label's value: static, or shared with the set of admitted values. Neither copies the text.
    pub(in crate::metrics) type Text = SharedString;

    pub(in crate::metrics) fn shared(text: Arc<str>) -> Text {
        SharedString::from_shared(text)
    }

    /// Whether a recorder is installed. Takes two nanoseconds, so that nothing else is spent if there is none.
    pub(in crate::metrics) fn is_live() -> bool {
        // The placeholder recorder has no fields. A real one may have none either, so the second test checks whether
        // its gauge takes a number.
        with_recorder(|recorder| size_of_val(recorder) != 0 || takes_numbers(recorder))
    }

    fn takes_numbers(recorder: &dyn Recorder) -> bool {
        struct Nothing<'a>(&'a Cell<bool>);
        impl IntoF64 for Nothing<'_> {
            // A no-op gauge does not ask for the number.
            fn into_f64(self) -> f64 {
                self.0.set(true);
                0.0
            }
        }
        let asked = Cell::new(false);
        recorder.register_gauge(&Key::from_static_name(names::SNAPSHOTS), &METADATA).increment(Nothing(&asked));
        asked.get()
    }

    fn key<const N: usize>(name: &'static str, labels: [(&'static str, Text); N]) -> Key {
        if N == 0 {
            return Key::from_static_name(name);
        }
        Key::from_parts(name, Vec::from(labels.map(|(label, value)| Label::new(label, value))))
    }

    pub(in crate::metrics) fn count<const N: usize>(name: &'static str, labels: [(&'static str, Text); N], by: u64) {
        with_recorder(|recorder| recorder.register_counter(&key(name, labels), &METADATA).increment(by));
    }

    pub(in crate::metrics) fn set<const N: usize>(name: &'static str, labels: [(&'static str, Text); N], value: f64) {
        with_recorder(|recorder| recorder.register_gauge(&key(name, labels), &METADATA).set(value));
    }

    pub(in crate::metrics) fn observe<const N: usize>(name: &'static str, labels: [(&'static str, Text); N], value: f64) {
        with_recorder(|recorder| recorder.register_histogram(&key(name, labels), &METADATA).record(value));
    }

    pub(in crate::metrics) fn describe(metric: &Metric) {
        let name = KeyName::from_const_str(metric.name);
        let unit = Some(match metric.unit {
            names::Unit::Count => metrics::Unit::Count,
            names::Unit::Seconds => metrics::Unit::Seconds,
            names::Unit::Bytes => metrics::Unit::Bytes,
        });
        let help = SharedString::const_str(metric.help);
        with_recorder(|recorder| match metric.kind {
            Kind::Counter => recorder.describe_counter(name, unit, help),
            Kind::Gauge => recorder.describe_gauge(name, unit, help),
            Kind::Histogram => recorder.describe_histogram(name, unit, help),
        });
    }
}

#[cfg(not(feature = "metrics"))]
mod chosen {
    use std::sync::Arc;

    use crate::metrics::names::Metric;

    #[derive(Clone)]
    pub(in crate::metrics) struct Text;

    impl From<&'static str> for Text {
        #[inline(always)]
        fn from(_: &'static str) -> Text {
            Text
        }
    }

    #[inline(always)]
    pub(in crate::metrics) fn shared(_: Arc<str>) -> Text {
        Text
    }

    #[inline(always)]
    pub(in crate::metrics) const fn is_live() -> bool {
        false
    }

    #[inline(always)]
    pub(in crate::metrics) fn count<const N: usize>(_: &'static str, _: [(&'static str, Text); N], _: u64) {}

    #[inline(always)]
    pub(in crate::metrics) fn set<const N: usize>(_: &'static str, _: [(&'static str, Text); N], _: f64) {}

    #[inline(always)]
    pub(in crate::metrics) fn observe<const N: usize>(_: &'static str, _: [(&'static str, Text); N], _: f64) {}

    #[inline(always)]
    pub(in crate::metrics) fn describe(_: &Metric) {}
}
