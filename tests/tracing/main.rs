//! Tracing: the spans (feature `tracing`), and the trace context on its way through the log (always there).

#[cfg(feature = "tracing")]
mod canary;
mod context;
#[cfg(feature = "tracing")]
mod spans;

use std::sync::{Mutex, MutexGuard, PoisonError};

/// The tests take turns: a place in the code that one thread enters for the first time, without a subscriber, while another
/// thread installs one, can stay switched off for both.
fn turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}
