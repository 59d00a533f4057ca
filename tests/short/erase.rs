//! Erasing, retention and upkeep under power cuts and kills, short form. The long form:
//! `cargo test --release --test proof -- --long erase`.

use crate::proof::erase;
use crate::support::random::seed;

/// Not a test by itself: what a worker process runs.
#[test]
fn worker() {
    erase::work_if_asked();
}

#[test]
fn a_power_cut_while_something_is_erased_loses_nothing_else_and_brings_nothing_back() {
    let outcome = erase::run_power_cuts(30, seed()).expect_clean();
    assert!(outcome.counted("readable") > 0 && outcome.counted("wiped") > 0, "{:?}", outcome.counts);
}

#[test]
fn a_kill_while_something_is_erased_loses_nothing_else_and_brings_nothing_back() {
    erase::run_kills(12, &["erase::worker", "--exact", "--nocapture", "--test-threads=1"], seed()).expect_clean();
}
