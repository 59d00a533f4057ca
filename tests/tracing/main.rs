//! Tracing: the spans (feature `tracing`), and the trace context on its way through the log (always there).

#[cfg(feature = "tracing")]
mod canary;
mod context;
#[cfg(feature = "tracing")]
mod spans;
