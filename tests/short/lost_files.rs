//! Lost and replaced files, short form. The long form: `cargo test --release --test proof -- --long lost-files`.

use crate::proof::lost_files;
use crate::support::random::seed;

/// Not a test by itself: what a worker process runs.
#[test]
fn worker() {
    lost_files::work_if_asked();
}

#[test]
fn nothing_acknowledged_is_lost_with_the_files() {
    let arguments = ["lost_files::worker", "--exact", "--nocapture", "--test-threads=1"];
    let outcome = lost_files::run(60, &arguments, seed()).expect_clean();
    assert!(outcome.counted("acknowledgements") > 300, "no worker got to work");
}
