//! Damage, short form. The long form: `cargo test --release --test proof -- --long corruption`.

use crate::proof::corruption;
use crate::proof::corruption::{Harms, Sound};
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
fn verify_names_entries_that_a_page_has_lost_or_mixed_up() {
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
