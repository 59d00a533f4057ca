//! The command as a process: what it prints, what it returns, what it leaves in files.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

#[allow(dead_code, reason = "shared with programs that need more of it")]
#[path = "../../../../tests/common/streams.rs"]
mod streams;
mod support;

mod app_tool;
mod basics;
mod data;
mod destroying;
mod extremes;
mod guide;
mod hostile;
mod inspecting;
mod interrupting;
mod json_shapes;
mod moving;
mod postgres;
