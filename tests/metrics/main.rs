//! What a monitoring system gets to see.
//!
//! A recorder of its own for each test, on the test's thread: the process has only one global recorder.
#![cfg(feature = "metrics")]

mod contract;
mod gauges;
mod labels;
#[cfg(target_os = "linux")]
mod memory;
mod recorder;
mod support;
