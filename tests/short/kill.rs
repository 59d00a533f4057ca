//! kill -9, short form. The long form: `cargo test --release --test proof -- --long kill`.

use crate::proof::kill;
use crate::support::random::seed;

/// Not a test by itself: what a worker process runs.
#[test]
fn worker() {
    kill::work_if_asked();
}

#[test]
fn a_kill_loses_nothing_that_was_acknowledged() {
    let outcome = kill::run(60, &["kill::worker", "--exact", "--nocapture", "--test-threads=1"], seed()).expect_clean();
    assert!(outcome.counted("acknowledgements") > 0, "no worker got to work");
}
