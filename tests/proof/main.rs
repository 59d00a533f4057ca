//! The long forms of the proofs. Prints a table of what was tried and what was found; exit code 1 if anything was.
//!
//! ```text
//! cargo test --release --test proof -- --long                  all, to the full counts: hours
//! cargo test --release --test proof -- --long --minutes 2      all, each for so long at most
//! cargo test --release --test proof -- --long --threads 1      as before, on fewer threads
//! cargo test --release --test proof -- --long powercut kill    some
//! ```
//!
//! `FOLDLOG_SEED` repeats a run; without it the time is the seed. Violations are printed as they are found, with the seed
//! of their part: with that one as `FOLDLOG_SEED` the part is repeated first.

#[path = "../support/mod.rs"]
mod support;

mod archive;
mod corruption;
mod erase;
mod faults;
mod kill;
mod kill_outbox;
mod kill_projection;
#[cfg(unix)]
mod lost_files;
mod machine;
mod powercut;
mod powercut_delivery;
mod questions;
mod readers;
mod schedules;
mod worker;

use std::process::ExitCode;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
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
    /// Threads that it uses, unless `--threads` allows fewer.
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
        rounds: 100_000,
        part: 500,
        threads: 2,
        run: |rounds, seed| powercut_delivery::run(Durability::Durable, rounds, seed),
    },
    Proof {
        name: "powercut-delivery-fast",
        promise: "3, 5, 8, 9: fast: outbox, handler, projections after a power cut",
        rounds: 100_000,
        part: 500,
        threads: 2,
        run: |rounds, seed| powercut_delivery::run(Durability::Fast, rounds, seed),
    },
    Proof {
        name: "kill",
        promise: "4: kill -9 loses nothing acknowledged",
        rounds: 10_000,
        part: 20,
        threads: 2,
        run: |rounds, seed| kill::run(rounds, &[], seed),
    },
    #[cfg(unix)]
    Proof {
        name: "lost-files",
        promise: "4: files deleted, moved, replaced, hard-linked, copied beside a writer: nothing acknowledged is lost",
        rounds: 10_000,
        part: 12,
        threads: 2,
        run: |rounds, seed| lost_files::run(rounds, &[], seed),
    },
    Proof {
        name: "kill-outbox",
        promise: "9: kill -9 between publish and mark: at least once, in order",
        rounds: 2_000,
        part: 100,
        threads: 2,
        run: |rounds, seed| kill_outbox::run(rounds, &[], seed),
    },
    Proof {
        name: "kill-outbox-takeover",
        promise: "9: kill -9 of one of two outboxes: the other takes over",
        rounds: 300,
        part: 50,
        threads: 1,
        run: |rounds, seed| kill_outbox::run_takeovers(rounds, &[], seed),
    },
    Proof {
        name: "kill-projection",
        promise: "8: kill -9 in a projection's batch: exactly once",
        rounds: 2_000,
        part: 60,
        threads: 2,
        run: |rounds, seed| kill_projection::run(rounds, &[], seed),
    },
    Proof {
        name: "kill-rebuild",
        promise: "8: kill -9 in a rebuild: it goes on, the old tables serve",
        rounds: 100,
        part: 10,
        threads: 1,
        run: |rounds, seed| kill_projection::run_rebuilds(rounds, &[], seed),
    },
    Proof {
        name: "kill-followers",
        promise: "8: kill -9 of one of two followers: exactly once",
        rounds: 300,
        part: 50,
        threads: 1,
        run: |rounds, seed| kill_projection::run_followers(rounds, &[], seed),
    },
    Proof {
        name: "schedules",
        promise: "9: deaths, slow handlers, clocks that jump by years: none missed, none at two runners, taken over within a second",
        rounds: 10_000,
        part: 10,
        threads: 2,
        run: |rounds, seed| schedules::run(rounds, &[], seed),
    },
    Proof {
        name: "archive-powercut",
        promise: "16: a power cut while events move to the archive or back: each is there, once",
        rounds: 100_000,
        part: 100,
        threads: 2,
        run: archive::run_power_cuts,
    },
    Proof {
        name: "archive-kill",
        promise: "16: kill -9 while events move to the archive or back: each is there, once",
        rounds: 10_000,
        part: 50,
        threads: 1,
        run: |rounds, seed| archive::run_kills(rounds, &[], seed),
    },
    Proof {
        name: "erase-powercut",
        promise: "16: a power cut while something is erased, wiped, retained, compacted: the rest is there, nothing comes back",
        rounds: 100_000,
        part: 100,
        threads: 2,
        run: erase::run_power_cuts,
    },
    Proof {
        name: "erase-kill",
        promise: "16: kill -9 while something is erased, wiped, retained, compacted: the rest is there, nothing comes back",
        rounds: 10_000,
        part: 50,
        threads: 1,
        run: |rounds, seed| erase::run_kills(rounds, &[], seed),
    },
    Proof {
        name: "readers",
        promise: "6, 7: readers beside 8 writers in 4 processes: each position once, in order; one winner per version",
        rounds: 1_000_000,
        part: 50_000,
        threads: 1,
        run: |rounds, seed| readers::run(rounds, 100, &[], seed),
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
        name: "lost-entries",
        promise: "14: verify finds a page that has lost or mixed up its entries",
        rounds: 20_000,
        part: 250,
        threads: 2,
        run: |rounds, seed| corruption::run(&sounds(seed), Harms::Entries, rounds, seed),
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

/// What the command line asks for.
struct Asked {
    limit: Duration,
    threads: u64,
    /// Beginnings of names; empty for all.
    names: Vec<String>,
}

impl Asked {
    fn read(mut arguments: impl Iterator<Item = String>) -> Result<Asked, String> {
        let mut asked = Asked { limit: Duration::MAX, threads: 2, names: Vec::new() };
        while let Some(argument) = arguments.next() {
            match argument.as_str() {
                "--long" => {}
                "--minutes" => asked.limit = Duration::from_secs_f64(60.0 * number::<f64>(&argument, arguments.next())?),
                "--threads" => asked.threads = number::<u64>(&argument, arguments.next())?.max(1),
                name if PROOFS.iter().any(|proof| proof.name.starts_with(name)) => asked.names.push(argument),
                other => return Err(format!("there is no proof or option {other:?}")),
            }
        }
        Ok(asked)
    }

    fn wants(&self, proof: &Proof) -> bool {
        self.names.is_empty() || self.names.iter().any(|name| names(name, proof))
    }
}

/// A name that a proof has means that one, another one all that begin with it.
fn names(name: &str, proof: &Proof) -> bool {
    match PROOFS.iter().any(|known| known.name == name) {
        true => proof.name == name,
        false => proof.name.starts_with(name),
    }
}

fn number<N: std::str::FromStr>(option: &str, argument: Option<String>) -> Result<N, String> {
    argument.and_then(|argument| argument.parse().ok()).ok_or_else(|| format!("{option} takes a number"))
}

fn main() -> ExitCode {
    archive::work_if_asked();
    erase::work_if_asked();
    kill::work_if_asked();
    #[cfg(unix)]
    if lost_files::work_if_asked() {
        return ExitCode::SUCCESS;
    }
    if kill_outbox::work_if_asked() || kill_projection::work_if_asked() || readers::work_if_asked() || schedules::work_if_asked()
    {
        return ExitCode::SUCCESS;
    }
    // Other runners ask first what tests there are: none that they could run one by one.
    if std::env::args().any(|argument| argument == "--list") {
        return ExitCode::SUCCESS;
    }
    // `cargo test` comes here as well, with whatever it hands to all test programs.
    if !std::env::args().any(|argument| argument == "--long") {
        println!("the long forms: cargo test --release --test proof -- --long [--minutes M] [--threads N] [NAME...]");
        return ExitCode::SUCCESS;
    }
    let asked = match Asked::read(std::env::args().skip(1)) {
        Ok(asked) => asked,
        Err(wrong) => {
            eprintln!("{wrong}");
            return ExitCode::FAILURE;
        }
    };
    let seed = match std::env::var_os("FOLDLOG_SEED") {
        Some(_) => support::random::seed(),
        None => SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(1, |since| since.as_secs()),
    };
    std::panic::set_hook(Box::new(|panic| eprintln!("{panic}")));
    println!("| promise | rounds | of | violations | seed | time | counts |\n| --- | --- | --- | --- | --- | --- | --- |");
    let mut clean = true;
    for proof in PROOFS.iter().filter(|proof| asked.wants(proof)) {
        let outcome = proof.prove(seed, asked.limit, asked.threads);
        println!("{}", row(proof, &outcome));
        clean &= outcome.violations == 0;
    }
    if clean { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

impl Proof {
    /// Part after part on some threads, until there were enough or the time is over.
    fn prove(&self, seed: u64, limit: Duration, most_threads: u64) -> Outcome {
        let began = Instant::now();
        let threads = self.threads.min(most_threads);
        let share = self.rounds.div_ceil(threads);
        let mut sum = Outcome::new(seed);
        let progress = &Progress::of(self, began);
        std::thread::scope(|scope| {
            let threads: Vec<_> = (0..threads)
                .map(|thread| scope.spawn(move || self.prove_share(seed.wrapping_add(thread << 40), share, limit, progress)))
                .collect();
            threads.into_iter().for_each(|thread| sum.add(thread.join().expect("a proof does not panic")));
        });
        sum.time = began.elapsed();
        sum
    }

    fn prove_share(&self, seed: u64, share: u64, limit: Duration, progress: &Progress) -> Outcome {
        let mut sum = Outcome::new(seed);
        let mut part = 0;
        while sum.rounds < share && progress.began.elapsed() < limit {
            let seed = seed.wrapping_add(part);
            let outcome = (self.run)(self.part.min(share - sum.rounds), seed);
            for violation in &outcome.described {
                eprintln!("{}: FOLDLOG_SEED={seed}: {violation}", self.name);
            }
            outcome.notes.iter().for_each(|note| eprintln!("{}: allowed: {note}", self.name));
            progress.add(outcome.rounds);
            sum.add(outcome);
            part += 1;
        }
        sum
    }
}

/// Says on the error output twice a minute how far a proof has come.
struct Progress {
    name: &'static str,
    rounds: u64,
    began: Instant,
    done: AtomicU64,
    /// Seconds after the beginning.
    next_word: AtomicU64,
}

impl Progress {
    const EVERY: u64 = 30;

    fn of(proof: &Proof, began: Instant) -> Progress {
        let (done, next_word) = (AtomicU64::new(0), AtomicU64::new(Progress::EVERY));
        Progress { name: proof.name, rounds: proof.rounds, began, done, next_word }
    }

    fn add(&self, rounds: u64) {
        let done = self.done.fetch_add(rounds, Relaxed) + rounds;
        let seconds = self.began.elapsed().as_secs();
        let due = self.next_word.load(Relaxed);
        // What is done in one part has no middle.
        if self.rounds > 1
            && seconds >= due
            && self.next_word.compare_exchange(due, seconds + Progress::EVERY, Relaxed, Relaxed).is_ok()
        {
            let left = seconds * self.rounds.saturating_sub(done) / done.max(1) / 60;
            eprintln!("{}: {} of {} rounds, {left} minutes left", self.name, grouped(done), grouped(self.rounds));
        }
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
