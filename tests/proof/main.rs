//! The long forms of the proofs. Prints a table of what was tried and what was found; exit code 1 if anything was.
//!
//! ```text
//! cargo test --release --test proof -- --long                  all, to the full counts: hours
//! cargo test --release --test proof -- --long --minutes 2      all, each for so long at most
//! cargo test --release --test proof -- --long powercut kill    some
//! ```
//!
//! `FOLDLOG_SEED` repeats a run; without it the time is the seed. Violations are printed as they are found, with the seed
//! of their part: with that one as `FOLDLOG_SEED` the part is repeated first.

#[path = "../support/mod.rs"]
mod support;

mod corruption;
mod faults;
mod kill;
mod machine;
mod powercut;
mod powercut_delivery;
mod questions;

use std::process::ExitCode;
use std::time::{Duration, Instant, SystemTime};

use corruption::{Harms, Sound};
use foldlog::Durability;
use support::outcome::Outcome;
use support::random::Random;

/// One row of the table.
struct Proof {
    name: &'static str,
    promise: &'static str,
    /// Rounds of the full form.
    rounds: u64,
    /// Rounds in one part: what is done between two looks at the clock.
    part: u64,
    threads: u64,
    run: fn(rounds: u64, seed: u64) -> Outcome,
}

const PROOFS: &[Proof] = &[
    Proof {
        name: "powercut-durable",
        promise: "1: durable: a power cut loses nothing acknowledged",
        rounds: 1_000_000,
        part: 500,
        threads: 2,
        run: |rounds, seed| powercut::run(Durability::Durable, rounds, seed),
    },
    Proof {
        name: "powercut-fast",
        promise: "2: fast: a power cut loses nothing but an end",
        rounds: 200_000,
        part: 500,
        threads: 2,
        run: |rounds, seed| powercut::run(Durability::Fast, rounds, seed),
    },
    Proof {
        name: "powercut-first-moments",
        promise: "1: a power cut while the file is made",
        rounds: 40_000,
        part: 400,
        threads: 2,
        run: |rounds, seed| powercut::run_first_moments(rounds.div_ceil(40), seed),
    },
    Proof {
        name: "powercut-delivery-durable",
        promise: "3, 5, 8, 9: durable: outbox, handler, projections after a power cut",
        rounds: 200_000,
        part: 500,
        threads: 2,
        run: |rounds, seed| powercut_delivery::run(Durability::Durable, rounds, seed),
    },
    Proof {
        name: "powercut-delivery-fast",
        promise: "3, 5, 8, 9: fast: outbox, handler, projections after a power cut",
        rounds: 200_000,
        part: 500,
        threads: 2,
        run: |rounds, seed| powercut_delivery::run(Durability::Fast, rounds, seed),
    },
    Proof {
        name: "kill",
        promise: "4: kill -9 loses nothing acknowledged",
        rounds: 10_000,
        part: 20,
        threads: 1,
        run: |rounds, seed| kill::run(rounds, &[], seed),
    },
    Proof {
        name: "faults",
        promise: "12, 13: an error at every I/O call, once and sticky",
        rounds: 1,
        part: 1,
        threads: 1,
        run: |_, seed| faults::run(1, seed),
    },
    Proof {
        name: "corruption",
        promise: "14: damage is never silent: bits, bytes, sectors, ends",
        rounds: 100_000,
        part: 250,
        threads: 2,
        run: |rounds, seed| corruption::run(&sounds(seed), Harms::Rot, rounds, seed),
    },
    Proof {
        name: "misdirected-writes",
        promise: "14: verify finds a page in another one's place",
        rounds: 10_000,
        part: 250,
        threads: 2,
        run: |rounds, seed| corruption::run(&sounds(seed), Harms::MisdirectedWrites, rounds, seed),
    },
    Proof {
        name: "machine",
        promise: "7: the public API behaves as plain Rust does",
        rounds: 100_000,
        part: 250,
        threads: 2,
        run: machine::run,
    },
];

fn sounds(seed: u64) -> [Sound; 4] {
    let random = &mut Random::new(seed);
    let closed = [Sound::closed(560, false, random), Sound::closed(560, true, random)];
    let [holes, purged] = closed;
    [holes, purged, Sound::killed(random), Sound::killed(random)]
}

fn main() -> ExitCode {
    kill::work_if_asked();
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if !arguments.iter().any(|argument| argument == "--long") {
        println!("the long forms of the proofs: cargo test --release --test proof -- --long [--minutes M] [NAME...]");
        return ExitCode::SUCCESS;
    }
    let minutes = arguments.iter().position(|argument| argument == "--minutes").and_then(|at| arguments.get(at + 1));
    let limit = minutes.map_or(Duration::MAX, |minutes| {
        Duration::from_secs_f64(60.0 * minutes.parse::<f64>().expect("--minutes takes a number"))
    });
    let wanted: Vec<&String> =
        arguments.iter().filter(|argument| !argument.starts_with("--") && Some(*argument) != minutes).collect();
    let chosen = |proof: &&Proof| wanted.is_empty() || wanted.iter().any(|name| proof.name.starts_with(name.as_str()));
    let seed = match std::env::var_os("FOLDLOG_SEED") {
        Some(_) => support::random::seed(),
        None => SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(1, |since| since.as_secs()),
    };
    std::panic::set_hook(Box::new(|panic| eprintln!("{panic}")));
    println!("| promise | rounds | of | violations | seed | time | counts |\n| --- | --- | --- | --- | --- | --- | --- |");
    let mut clean = true;
    for proof in PROOFS.iter().filter(chosen) {
        let outcome = proof.prove(seed, limit);
        println!("{}", row(proof, &outcome));
        clean &= outcome.violations == 0;
    }
    if clean { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

impl Proof {
    /// Part after part on some threads, until there were enough or the time is over.
    fn prove(&self, seed: u64, limit: Duration) -> Outcome {
        let began = Instant::now();
        let share = self.rounds.div_ceil(self.threads);
        let mut sum = Outcome::new(seed);
        std::thread::scope(|scope| {
            let threads: Vec<_> = (0..self.threads)
                .map(|thread| scope.spawn(move || self.prove_share(seed.wrapping_add(thread << 40), share, began, limit)))
                .collect();
            threads.into_iter().for_each(|thread| sum.add(thread.join().expect("a proof does not panic")));
        });
        sum.time = began.elapsed();
        sum
    }

    fn prove_share(&self, seed: u64, share: u64, began: Instant, limit: Duration) -> Outcome {
        let mut sum = Outcome::new(seed);
        let mut part = 0;
        while sum.rounds < share && began.elapsed() < limit {
            let seed = seed.wrapping_add(part);
            let outcome = (self.run)(self.part.min(share - sum.rounds), seed);
            for violation in &outcome.described {
                eprintln!("{}: FOLDLOG_SEED={seed}: {violation}", self.name);
            }
            sum.add(outcome);
            part += 1;
        }
        sum
    }
}

fn row(proof: &Proof, outcome: &Outcome) -> String {
    let counts: Vec<String> = outcome.counts.iter().map(|(name, count)| format!("{} {name}", grouped(*count))).collect();
    format!(
        "| {} | {} | {} | {} | {} | {:.0} s | {} |",
        proof.promise,
        grouped(outcome.rounds),
        if proof.rounds == 1 { "all".to_owned() } else { grouped(proof.rounds) },
        outcome.violations,
        outcome.seed,
        outcome.time.as_secs_f64(),
        counts.join(", "),
    )
}

/// 1234567 as 1,234,567.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}
