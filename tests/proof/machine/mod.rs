//! Any sequence of calls of the public API, on several handles, with files closed and opened again: each call ends as
//! plain Rust says it must, and the log is then what plain Rust says it is.

mod calls;
mod reference;
mod system;

use std::time::Instant;

use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use proptest_state_machine::{ReferenceStateMachine, StateMachineTest};

use crate::support::outcome::Outcome;
use reference::Reference;
use system::Machine;

/// Tries this many sequences of calls.
pub fn run(cases: u64, seed: u64) -> Outcome {
    let began = Instant::now();
    let mut outcome = Outcome::new(seed);
    let config = Config { cases: cases as u32, failure_persistence: None, ..Config::default() };
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let mut runner = TestRunner::new_with_rng(config.clone(), TestRng::from_seed(RngAlgorithm::ChaCha, &bytes));
    let calls = std::cell::Cell::new(0);
    let done = runner.run(&Reference::sequential_strategy(1..40), |(reference, transitions, seen)| {
        calls.set(calls.get() + transitions.len() as u64);
        Machine::test_sequential(config.clone(), reference, transitions, seen);
        Ok(())
    });
    if let Err(error) = done {
        outcome.violation(error.to_string());
    }
    outcome.rounds = cases;
    outcome.count("calls", calls.get());
    outcome.time = began.elapsed();
    outcome
}
