//! Power cuts, short form. The long form: `cargo test --release --test proof -- --long powercut`.

use std::ops::ControlFlow;

use crate::proof::powercut_delivery::read_models::Totals;
use crate::proof::{powercut, powercut_delivery};
use crate::support::disk::Disk;
use crate::support::random::{Random, seed};
use foldlog::{Batch, Durability, Expected, NewEvent};

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

#[test]
fn durable_what_was_handed_out_is_there_and_what_was_not_is_handed_out() {
    powercut_delivery::run(Durability::Durable, 250, seed()).expect_clean();
}

#[test]
fn fast_what_was_handed_out_is_there_and_what_was_not_is_handed_out() {
    powercut_delivery::run(Durability::Fast, 250, seed()).expect_clean();
}

/// The parts of a rebuild wait for no disk, but the last one must: once the part that ended it was not taken for the last.
#[test]
fn a_rebuild_that_has_returned_is_there_after_a_power_cut() {
    for events in [1, 512, 513, 600, 1_024, 1_025, 1_100] {
        let (disk, ruin) = (Disk::new(), Disk::new());
        let store = crate::support::model::options(Durability::Durable).vfs(disk.name()).open(powercut::PATH).unwrap();
        let event = || NewEvent::new("Closed", &()).unwrap();
        store.commit(Batch::new().append("account", "a", Expected::Any, (0..events).map(|_| event()))).unwrap();
        store.projection(Totals::following(1)).unwrap().run_to_end().unwrap();
        let runner = store.projection(Totals::following(2)).unwrap();
        disk.record();
        assert!(runner.rebuild(|_| ControlFlow::Continue(())).unwrap().finished);
        let recording = disk.recorded();
        let (mut cutter, mut random) = (recording.cutter(), Random::new(seed()));
        for _ in 0..40 {
            ruin.load(&cutter.cut_at(recording.len(), &mut random).files);
            let store = crate::support::model::options(Durability::Durable).vfs(ruin.name()).open(powercut::PATH).unwrap();
            assert_eq!(store.subscriptions().unwrap()[0].version, 2, "{events} events");
        }
    }
}
