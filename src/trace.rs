//! Coarse spans with OpenTelemetry's database attributes (feature `tracing`). Without the feature they do nothing.
//!
//! A span names the operation, the aggregate type and the error. It never contains data of events.

pub(crate) use chosen::*;

#[cfg(feature = "tracing")]
mod chosen {
    use tracing::field::Empty;
    use tracing::span::EnteredSpan;

    use crate::model::error::Error;
    use crate::model::event::RecordedEvent;

    /// A span that lasts as long as this value.
    pub(crate) struct Span(EnteredSpan);

    /// An operation on aggregates of this type; the type is empty if there are several.
    pub(crate) fn span(operation: &'static str, aggregate_type: &str) -> Span {
        let span = tracing::info_span!(
            "foldlog",
            "otel.name" = format!("{operation} {aggregate_type}").trim_end(),
            "otel.kind" = "client",
            "otel.status_code" = Empty,
            "db.system.name" = "sqlite",
            "db.operation.name" = operation,
            "db.collection.name" = (!aggregate_type.is_empty()).then_some(aggregate_type),
            "db.operation.batch.size" = Empty,
            "error.type" = Empty,
        );
        Span(span.entered())
    }

    /// A handler's work on an event, linked to the span that appended the event. It is a link and not a parent, because
    /// the handler may run much later.
    pub(crate) fn handler_span(name: &str, event: &RecordedEvent) -> Span {
        let span = tracing::info_span!(
            "foldlog",
            "otel.name" = format!("handle {}", event.event_type),
            "otel.kind" = "consumer",
            "foldlog.handler.name" = name,
            "foldlog.event.type" = &*event.event_type,
            "foldlog.event.position" = event.position.get(),
            "foldlog.link.traceparent" = Empty,
            "foldlog.link.tracestate" = Empty,
        );
        if !span.is_disabled()
            && let Some(context) = event.trace_context()
        {
            span.record("foldlog.link.traceparent", context.traceparent());
            span.record("foldlog.link.tracestate", context.tracestate());
        }
        Span(span.entered())
    }

    impl Span {
        /// Sets the number of events, if it is more than one. The convention has no size for a single event.
        pub(crate) fn has_events(&self, events: usize) {
            if events > 1 {
                self.0.record("db.operation.batch.size", events as u64);
            }
        }

        pub(crate) fn failed(&self, error: &Error) {
            self.0.record("error.type", error.kind().as_str());
            self.0.record("otel.status_code", "ERROR");
        }
    }
}

#[cfg(not(feature = "tracing"))]
mod chosen {
    use crate::model::error::Error;
    use crate::model::event::RecordedEvent;

    pub(crate) struct Span;

    #[inline(always)]
    pub(crate) fn span(_: &'static str, _: &str) -> Span {
        Span
    }

    #[inline(always)]
    pub(crate) fn handler_span(_: &str, _: &RecordedEvent) -> Span {
        Span
    }

    impl Span {
        #[inline(always)]
        pub(crate) fn has_events(&self, _: usize) {}

        #[inline(always)]
        pub(crate) fn failed(&self, _: &Error) {}
    }
}
