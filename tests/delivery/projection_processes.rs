//! Projections whose process is killed: this binary starts itself again as the worker.

use super::kill_projection;
use super::support::random::seed;

const ARGUMENTS: &[&str] = &["--exact", "projection_processes::worker", "--ignored", "--nocapture"];

/// Not a test by itself: what a worker process runs.
#[test]
#[ignore = "a process that the other tests start and kill"]
fn worker() {
    kill_projection::work_if_asked();
}

#[test]
fn killed_in_its_batches_a_projection_takes_each_event_exactly_once() {
    let outcome = kill_projection::run(30, ARGUMENTS, seed()).expect_clean();
    let midway = outcome.counted("with work left");
    assert!(midway >= outcome.rounds / 4, "only {midway} of {} were killed in the midst of their work", outcome.rounds);
}

#[test]
fn a_rebuild_that_is_killed_goes_on_and_the_old_tables_serve_meanwhile() {
    let outcome = kill_projection::run_rebuilds(4, ARGUMENTS, seed()).expect_clean();
    assert!(outcome.counted("went on") > 0, "no rebuild was killed twice");
}

#[test]
fn two_processes_follow_and_each_event_is_taken_once() {
    kill_projection::run_followers(12, ARGUMENTS, seed()).expect_clean();
}
