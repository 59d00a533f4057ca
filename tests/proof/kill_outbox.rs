//! kill -9 of an outbox between publish and mark: each event at least once, in order per aggregate, no attempt twice.

use std::collections::{BTreeMap, HashSet};
use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use foldlog::{Expected, Message, NewEvent, PublishError, Store};

use crate::support::outcome::Outcome;
use crate::support::random::Random;
use crate::worker::Worker;

const DIRECTORY: &str = "FOLDLOG_OUTBOX_DIRECTORY";
const POISON: &str = "FOLDLOG_OUTBOX_POISON";
const LEASE_MS: &str = "FOLDLOG_OUTBOX_LEASE_MS";
const MAX_ATTEMPTS: &str = "FOLDLOG_OUTBOX_MAX_ATTEMPTS";
/// Rounds on one file; then a new one.
const ROUNDS_EACH: u64 = 50;

/// How a worker is started.
pub struct Setting<'a> {
    /// Make this program come to [`work_if_asked`].
    pub arguments: &'a [&'a str],
    pub lease_ms: u64,
    /// The position of the event that kills it; 0 for none.
    pub poison: u64,
    pub max_attempts: u32,
}

impl<'a> Setting<'a> {
    fn harmless(arguments: &'a [&'a str], lease_ms: u64) -> Setting<'a> {
        Setting { arguments, lease_ms, poison: 0, max_attempts: u32::MAX }
    }

    pub fn start(&self, directory: &Path) -> Worker {
        let settings = [
            (DIRECTORY, directory.display().to_string()),
            (LEASE_MS, self.lease_ms.to_string()),
            (POISON, self.poison.to_string()),
            (MAX_ATTEMPTS, self.max_attempts.to_string()),
        ];
        Worker::start(self.arguments, &settings, "published")
    }
}

fn number(name: &str) -> u64 {
    std::env::var(name).expect("it is set").parse().expect("a number")
}

/// If this process was started as a worker: publishes into a file that all workers append to, and says so on stdout, line
/// by line. Returns whether it was.
pub fn work_if_asked() -> bool {
    let Ok(directory) = std::env::var(DIRECTORY) else { return false };
    let directory = Path::new(&directory);
    let store = Store::open(directory.join("events.db")).expect("opens after any kill");
    let mut out = File::options().append(true).create(true).open(directory.join("out")).expect("a file");
    let poison = number(POISON);
    let mut outbox = store
        .outbox("out")
        .lease(Duration::from_millis(number(LEASE_MS)))
        .max_attempts(u32::try_from(number(MAX_ATTEMPTS)).expect("a small number"))
        .backoff(Duration::ZERO, Duration::ZERO)
        .publisher(move |message: &Message<'_>| {
            let position = message.event.position.get();
            if position == poison {
                std::process::abort();
            }
            // Now and then it fails, so that the kills also find events to be tried again and others behind them.
            if poison == 0 && (position + u64::from(message.attempt)).is_multiple_of(7) {
                return Err(PublishError::Retry("now and then".into()));
            }
            let line = format!("{position} {}\n", message.attempt);
            // One write each: what a killed process has written is there.
            out.write_all(line.as_bytes()).expect("a file");
            std::io::stdout().write_all(format!("\npublished {line}").as_bytes()).expect("the parent listens");
            Ok(())
        });
    loop {
        match outbox.run_to_end() {
            Ok(_) => return true,
            // The one that was killed still has the lead.
            Err(error) if error.is_retryable() => std::thread::sleep(Duration::from_millis(5)),
            Err(error) => panic!("{error:?}"),
        }
    }
}

/// What was published, in the order in which it was: (position, attempt).
pub fn published(directory: &Path) -> Vec<(u64, u32)> {
    let text = std::fs::read_to_string(directory.join("out")).unwrap_or_default();
    let numbers = |line: &str| {
        let (position, attempt) = line.split_once(' ').expect("two numbers");
        (position.parse().expect("a number"), attempt.parse().expect("a number"))
    };
    text.lines().map(numbers).collect()
}

/// Kills a worker this many times; each time another one goes on.
pub fn run(rounds: u64, arguments: &[&str], seed: u64) -> Outcome {
    let setting = Setting::harmless(arguments, 60);
    on_files(rounds, seed, &setting, |directory, random, events| {
        let mut worker = setting.start(directory);
        worker.wait_for(1 + random.below(events + 5));
        worker.kill();
        Ok(())
    })
}

/// Of two workers one is killed and the other takes over, this many times.
pub fn run_takeovers(rounds: u64, arguments: &[&str], seed: u64) -> Outcome {
    let setting = Setting::harmless(arguments, 300);
    on_files(rounds, seed, &setting, |directory, random, events| {
        let (mut one, other) = (setting.start(directory), setting.start(directory));
        one.wait_for(1 + random.below(events));
        one.kill();
        other.finishes()
    })
}

/// A file, and what must come out of it.
struct Log {
    directory: tempfile::TempDir,
    store: Store,
    /// Which aggregate the event at a position is of.
    owners: BTreeMap<u64, u64>,
}

/// Does rounds on one file after another, each with new events; at the end of each file a worker comes to its end.
fn on_files(
    rounds: u64,
    seed: u64,
    setting: &Setting<'_>,
    mut round: impl FnMut(&Path, &mut Random, u64) -> Result<(), String>,
) -> Outcome {
    let began = Instant::now();
    let (mut outcome, mut random) = (Outcome::new(seed), Random::new(seed));
    while outcome.rounds < rounds {
        let mut log = Log::new();
        let done = (0..ROUNDS_EACH.min(rounds - outcome.rounds)).try_for_each(|_| {
            outcome.rounds += 1;
            let events = 1 + random.below(40);
            log.append(&mut random, events);
            round(log.directory.path(), &mut random, events)
        });
        let checked = done.and_then(|()| setting.start(log.directory.path()).finishes()).and_then(|()| log.check());
        match checked {
            Ok(again) => outcome.count("published again", again),
            Err(violation) => outcome.violation(violation),
        }
        outcome.count("events", log.owners.len() as u64);
    }
    outcome.time = began.elapsed();
    outcome
}

impl Log {
    fn new() -> Log {
        let directory = tempfile::tempdir().expect("a directory");
        let store = Store::open(directory.path().join("events.db")).expect("a file");
        Log { directory, store, owners: BTreeMap::new() }
    }

    /// To some of five aggregates.
    fn append(&mut self, random: &mut Random, events: u64) {
        for _ in 0..events {
            let owner = random.below(5);
            let event = NewEvent::new("Counted", &()).expect("an event");
            let appended = self.store.append("counter", format!("c-{owner}"), Expected::Any, [event]).expect("appends");
            self.owners.insert(appended.position.get(), owner);
        }
    }

    /// Each event at least once, the first deliveries of each aggregate in order, no attempt twice, nothing left over.
    /// Returns how many came more than once.
    fn check(&self) -> Result<u64, String> {
        let published = published(self.directory.path());
        let (mut first, mut attempts) = (HashSet::new(), BTreeMap::new());
        let mut newest: BTreeMap<u64, u64> = BTreeMap::new();
        for &(position, attempt) in &published {
            if attempts.insert(position, attempt).is_some_and(|before| before >= attempt) {
                return Err(format!("attempt {attempt} of {position} came after a later one, or twice"));
            }
            if first.insert(position) {
                let before = newest.insert(self.owners[&position], position);
                if before.is_some_and(|before| before > position) {
                    return Err(format!("{position} came after {before:?} of its aggregate"));
                }
            }
        }
        let missing: Vec<_> = self.owners.keys().filter(|position| !first.contains(position)).collect();
        if !missing.is_empty() {
            return Err(format!("never published: {missing:?}"));
        }
        let status = self.store.outbox("out").status().map_err(|error| format!("{error:?}"))?;
        match (status.lag, status.to_retry, status.waiting, status.dead) {
            (0, 0, 0, 0) => Ok((published.len() - first.len()) as u64),
            _ => Err(format!("something is left over: {status:?}")),
        }
    }
}
