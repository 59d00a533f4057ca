//! Damage, short form. The long form: `cargo test --release --test proof -- --long corruption`.

use crate::proof::corruption::{Harms, Sound};
use crate::proof::{corruption, lies};
use crate::support::random::{Random, seed};

#[test]
fn a_damaged_file_answers_with_the_truth_or_with_an_error() {
    let mut random = Random::new(seed());
    let sounds = [Sound::closed(560, false, &mut random), Sound::closed(560, true, &mut random)];
    corruption::run(&sounds, Harms::Rot, 400, seed()).expect_clean();
}

#[test]
fn a_damaged_write_ahead_log_answers_with_one_truth_or_with_an_error() {
    let mut random = Random::new(seed());
    let sounds = [Sound::killed(&mut random), Sound::killed(&mut random)];
    corruption::run(&sounds, Harms::Rot, 400, seed()).expect_clean();
}

#[test]
fn entries_that_a_page_has_lost_or_mixed_up_are_never_silent() {
    let mut random = Random::new(seed());
    let sounds = [Sound::closed(560, false, &mut random), Sound::closed(560, true, &mut random)];
    corruption::run(&sounds, Harms::Entries, 400, seed()).expect_clean();
}

#[test]
fn verify_finds_a_page_in_the_place_of_another() {
    let mut random = Random::new(seed());
    let sounds = [Sound::closed(560, false, &mut random), Sound::closed(560, true, &mut random)];
    corruption::run(&sounds, Harms::MisdirectedWrites, 100, seed()).expect_clean();
}

/// Of the lies that the long form tells, every so manieth.
const STRIDE: usize = 7;

#[test]
fn no_lie_of_an_index_of_events_is_believed() {
    lies::run(&lies::TREES[..3], false, STRIDE, seed()).expect_clean();
}

#[test]
fn no_lie_of_names_holes_or_rows_is_believed() {
    lies::run(&lies::TREES[3..], true, STRIDE, seed()).expect_clean();
}

#[test]
fn nothing_is_refused_where_nothing_lies() {
    lies::nothing_is_refused_without_a_lie();
}
