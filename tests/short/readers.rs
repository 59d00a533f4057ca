//! Readers beside writers of several processes, short form. The long form: `cargo test --release --test proof -- --long readers`.

use crate::proof::readers;
use crate::support::random::seed;

/// Not a test by itself: what a worker process runs.
#[test]
fn writer() {
    readers::work_if_asked();
}

#[test]
fn every_position_is_seen_once_and_every_version_is_won_once() {
    let arguments = ["readers::writer", "--exact", "--nocapture", "--test-threads=1"];
    readers::run(8_000, 200, &arguments, seed()).expect_clean();
}
