//! The archive under power cuts and kills, short form. The long form: `cargo test --release --test proof -- --long archive`.

use crate::proof::archive;
use crate::support::random::seed;

/// Not a test by itself: what a worker process runs.
#[test]
fn worker() {
    archive::work_if_asked();
}

#[test]
fn a_power_cut_while_events_move_loses_and_doubles_none() {
    archive::run_power_cuts(40, seed()).expect_clean();
}

#[test]
fn a_kill_while_events_move_loses_and_doubles_none() {
    archive::run_kills(12, &["archive::worker", "--exact", "--nocapture", "--test-threads=1"], seed()).expect_clean();
}
