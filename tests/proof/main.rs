//! The proofs in their long form, as one table: `cargo test --release --test proof -- --long [NAME] [--rounds N]`.
//!
//! Without `--long` there is nothing to do: the short forms are tests of their own (tests/powercut.rs, tests/corruption.rs).

mod corruption;
mod powercut;
mod questions;
#[path = "../support/mod.rs"]
mod support;

use corruption::{Harms, Sound};
use foldlog::Durability;
use support::outcome::Outcome;
use support::random::{Random, seed};

/// A promise, its name on the command line, its rounds, and how it is tried.
type Proof = (&'static str, &'static str, u64, fn(u64) -> Outcome);

const PROOFS: [Proof; 5] = [
    ("what durable mode returned survives a power cut", "powercut-durable", 100_000, |rounds| {
        powercut::run(Durability::Durable, rounds, seed())
    }),
    ("a power cut takes only an end from fast mode", "powercut-fast", 20_000, |rounds| {
        powercut::run(Durability::Fast, rounds, seed())
    }),
    ("a cut while the file is made leaves a file that opens", "powercut-first", 200, |rounds| {
        powercut::run_first_moments(rounds, seed())
    }),
    ("damage is an error, never another answer", "corruption", 20_000, |rounds| {
        let mut random = Random::new(seed());
        let sounds = [Sound::closed(560, false, &mut random), Sound::closed(560, true, &mut random), Sound::killed(&mut random)];
        corruption::run(&sounds, Harms::Rot, rounds, seed())
    }),
    ("verify finds a page in the place of another", "misdirected", 2_000, |rounds| {
        let mut random = Random::new(seed());
        let sounds = [Sound::closed(560, false, &mut random), Sound::closed(560, true, &mut random)];
        corruption::run(&sounds, Harms::MisdirectedWrites, rounds, seed())
    }),
];

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if !arguments.iter().any(|argument| argument == "--long") {
        println!("the long form runs with: cargo test --release --test proof -- --long");
        return;
    }
    let after = |name: &str| arguments.iter().skip_while(|argument| *argument != name).nth(1);
    let asked = after("--long").filter(|name| !name.starts_with("--"));
    let rounds = after("--rounds").map(|rounds| rounds.parse::<u64>().expect("--rounds takes a number"));
    let chosen: Vec<&Proof> =
        PROOFS.iter().filter(|(_, name, ..)| asked.is_none_or(|asked| name.contains(asked.as_str()))).collect();
    assert!(!chosen.is_empty(), "there is no proof of that name");
    println!("{:<56} {:>9} {:>10} {:>20} {:>9}", "promise", "rounds", "violations", "seed", "time");
    let mut violations = 0;
    for (promise, _, default, prove) in chosen {
        let outcome = prove(rounds.unwrap_or(*default));
        let time = format!("{:.1} s", outcome.time.as_secs_f64());
        println!("{promise:<56} {:>9} {:>10} {:>20} {time:>9}", outcome.rounds, outcome.violations, outcome.seed);
        outcome.described.iter().for_each(|violation| println!("  {violation}"));
        violations += outcome.violations;
    }
    if violations > 0 {
        std::process::exit(1);
    }
}
