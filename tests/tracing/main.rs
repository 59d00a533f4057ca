//! Tracing: the spans (feature `tracing`), and the trace context on its way through the log (always there).

mod context;
#[cfg(feature = "tracing")]
mod spans;
