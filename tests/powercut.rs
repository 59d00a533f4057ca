//! Power cuts, short form. The long form: `cargo test --release --test proof -- --long powercut`.

#[path = "proof/powercut.rs"]
mod powercut;
mod support;

use foldlog::Durability;
use support::random::seed;

#[test]
fn durable_loses_nothing_that_was_acknowledged() {
    powercut::run(Durability::Durable, 2_000, seed()).expect_clean();
}

#[test]
fn fast_loses_nothing_but_an_end() {
    powercut::run(Durability::Fast, 1_000, seed()).expect_clean();
}

/// A file that was being made when the power went has rubbish in it and a journal beside it: it was once refused for ever
/// as somebody else's.
#[test]
fn a_cut_while_the_file_is_made_leaves_a_file_that_opens() {
    powercut::run_first_moments(25, seed()).expect_clean();
}
