//! Every small lie that a page of a small file can tell: entries lost, in each other's place, one shown in the place of
//! another, rows that were removed and are back. Each question is then answered with the truth or with an error, and what
//! comes before the error is the truth as well; and so it is after whatever the store still takes.

mod answers;
mod pages;
mod truth;

use std::ops::ControlFlow::Continue;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Instant;

use answers::Answers;
use foldlog::{ErrorKind, Store};
use pages::Lie;
use truth::{Place, Truth, WORKS, file, open};

use crate::support::outcome::Outcome;

/// The kinds of file: nothing is gone, the first and the last event are, or the first is.
const FILES: [(bool, bool); 3] = [(false, false), (true, false), (true, true)];

/// What has a page of its own: two indexes, and tables.
pub const TREES: [&str; 6] = ["position", "event_id", "event_tags", "holes", "events", "aggregates"];

/// Tells every `stride`-th lie, that of the trees and that of rows, and asks for every `stride`-th range of positions after it.
pub fn run(trees: &[&str], rows: bool, stride: usize, seed: u64) -> Outcome {
    let began = Instant::now();
    let mut outcome = Outcome::new(seed);
    for (purged, middle) in FILES {
        let (place, truth) = file(purged, middle);
        let mut lies: Vec<Lie> = trees.iter().flat_map(|tree| pages::of_page(&place, tree)).collect();
        if rows && purged {
            lies.extend(pages::of_rows(&place));
            lies.extend(pages::of_numbers(&place));
        }
        let first = usize::try_from(seed).unwrap_or(0) % stride;
        for (number, lie) in lies.iter().enumerate().skip(first).step_by(stride) {
            outcome.rounds += 1;
            if let Err(panic) = catch_unwind(AssertUnwindSafe(|| is_honest(&truth, lie, (number / stride, stride), &mut outcome)))
            {
                let said = panic.downcast_ref::<String>().cloned().unwrap_or_default();
                outcome.violation(format!("purged {purged}, middle {middle}, {}: {said}", lie.0));
            }
        }
    }
    outcome.time = began.elapsed();
    outcome
}

/// Asks a lying file everything, and then after each thing that it may be told.
fn is_honest(truth: &Truth, lie: &Lie, ranges: (usize, usize), outcome: &mut Outcome) {
    let place = Place::new();
    let told = || -> Option<Store> {
        std::fs::write(place.file(), &lie.1).expect("a file");
        open(&place.file()).map_err(|error| assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}")).ok()
    };
    let mut answers = Answers { sound: false, errors: 0 };
    let Some(store) = told() else { return outcome.count("not opened", 1) };
    answers.all(&store, truth);
    answers.ranges(&store, truth, ranges);
    outcome.count("answers that were errors", answers.errors);
    let clean = store.maintenance().verify(|_| Continue(())).is_ok_and(|report| report.is_clean());
    assert!(!clean, "verify sees nothing");
    drop(store);
    for work in WORKS {
        let Some(store) = told() else { continue };
        let mut truth = truth.clone();
        match work(&mut truth, &store) {
            Ok(()) => outcome.count("changes taken", 1),
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
                outcome.count("changes refused", 1);
            }
        }
        answers.all(&store, &truth);
    }
}

/// The questions are answered by files that do not lie.
#[allow(dead_code)]
pub fn nothing_is_refused_without_a_lie() {
    for (purged, middle) in FILES {
        for work in WORKS {
            let (place, mut truth) = file(purged, middle);
            let store = open(&place.file()).expect("a sound file");
            let mut answers = Answers { sound: true, errors: 0 };
            answers.all(&store, &truth);
            answers.ranges(&store, &truth, (0, 1));
            work(&mut truth, &store).expect("a sound file");
            answers.all(&store, &truth);
            answers.ranges(&store, &truth, (0, 1));
            assert!(store.maintenance().verify(|_| Continue(())).expect("a sound file").is_clean());
        }
    }
}
