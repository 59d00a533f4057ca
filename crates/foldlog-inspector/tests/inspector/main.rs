//! The inspector as a browser and as other programs see it. Needs Debian's chromium and chromium-driver, and npm for the
//! accessibility checker; without them the tests of pages say that they were skipped and, in CI, fail.
#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

mod api;
mod browser;
mod client;
mod extremes;
mod gate;
mod hostile;
mod pages;
mod picture;
mod removed;
mod sample;
mod speed;
mod writes;
