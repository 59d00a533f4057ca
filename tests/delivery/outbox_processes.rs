//! Outboxes whose process is killed: this binary starts itself again as the worker.

use std::collections::{BTreeMap, HashSet};
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use foldlog::{Expected, Message, PublishError, Store};

use super::event;
use super::processes::{Random, rounds};

const DIRECTORY: &str = "FOLDLOG_OUTBOX_DIRECTORY";
const POISON: &str = "FOLDLOG_OUTBOX_POISON";
const LEASE_MS: &str = "FOLDLOG_OUTBOX_LEASE_MS";
const MAX_ATTEMPTS: &str = "FOLDLOG_OUTBOX_MAX_ATTEMPTS";

fn number(name: &str) -> u64 {
    std::env::var(name).unwrap().parse().unwrap()
}

/// Publishes into a file that all workers append to, and says so on stdout, line by line.
#[test]
#[ignore = "a process that the other tests start and kill"]
fn worker() {
    let Ok(directory) = std::env::var(DIRECTORY) else { return };
    let directory = Path::new(&directory);
    let store = Store::open(directory.join("events.db")).unwrap();
    let mut out = File::options().append(true).create(true).open(directory.join("out")).unwrap();
    let poison = number(POISON);
    let mut outbox = store
        .outbox("out")
        .lease(Duration::from_millis(number(LEASE_MS)))
        .max_attempts(u32::try_from(number(MAX_ATTEMPTS)).unwrap())
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
            out.write_all(line.as_bytes()).unwrap();
            std::io::stdout().write_all(format!("published {line}").as_bytes()).unwrap();
            Ok(())
        });
    loop {
        match outbox.run_to_end() {
            Ok(_) => break,
            // The one that was killed still has the lead.
            Err(error) if error.is_retryable() => std::thread::sleep(Duration::from_millis(5)),
            Err(error) => panic!("{error:?}"),
        }
    }
}

struct Worker {
    child: Child,
    lines: BufReader<ChildStdout>,
}

fn start(directory: &Path, lease_ms: u64, poison: u64, max_attempts: u32) -> Worker {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "outbox_processes::worker", "--ignored", "--nocapture"])
        .env(DIRECTORY, directory)
        .env(LEASE_MS, lease_ms.to_string())
        .env(POISON, poison.to_string())
        .env(MAX_ATTEMPTS, max_attempts.to_string())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap());
    Worker { child, lines }
}

impl Worker {
    /// Waits until it has published so many events, or has ended.
    fn wait_for(&mut self, mut events: u64) {
        let mut line = String::new();
        while events > 0 && self.lines.read_line(&mut line).unwrap() > 0 {
            events -= u64::from(line.starts_with("published"));
            line.clear();
        }
    }

    fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    fn succeeds(mut self) -> bool {
        self.wait_for(u64::MAX);
        self.child.wait().unwrap().success()
    }
}

/// Appends events to some of five aggregates; notes whose each position is.
fn append(store: &Store, random: &mut Random, owners: &mut BTreeMap<u64, u64>, events: u64) {
    for n in 0..events {
        let owner = random.below(5);
        let appended = store.append("counter", &format!("c-{owner}"), Expected::Any, [event(n)]).unwrap();
        owners.insert(appended.position.get(), owner);
    }
}

/// What was published, in the order in which it was: (position, attempt).
fn published(directory: &Path) -> Vec<(u64, u32)> {
    let text = std::fs::read_to_string(directory.join("out")).unwrap_or_default();
    let numbers = |line: &str| {
        let (position, attempt) = line.split_once(' ').unwrap();
        (position.parse().unwrap(), attempt.parse().unwrap())
    };
    text.lines().map(numbers).collect()
}

/// Each event at least once, the first deliveries of each aggregate in order, no attempt counted twice, nothing left over.
/// Returns how many came more than once.
fn check(store: &Store, directory: &Path, owners: &BTreeMap<u64, u64>) -> usize {
    let published = published(directory);
    let (mut first, mut attempts) = (HashSet::new(), HashSet::new());
    let mut newest: BTreeMap<u64, u64> = BTreeMap::new();
    for &(position, attempt) in &published {
        assert!(attempts.insert((position, attempt)), "attempt {attempt} of {position} was made twice");
        if first.insert(position) {
            let before = newest.insert(owners[&position], position);
            assert!(before.is_none_or(|before| before < position), "{position} came after {before:?} of its aggregate");
        }
    }
    let missing: Vec<_> = owners.keys().filter(|position| !first.contains(position)).collect();
    assert!(missing.is_empty(), "never published: {missing:?}");
    let status = store.outbox_status("out").unwrap();
    assert_eq!((status.lag, status.to_retry, status.waiting, status.dead), (0, 0, 0, 0));
    published.len() - first.len()
}

#[test]
fn killed_between_publish_and_mark() {
    let (directory, store) = super::store();
    let (mut random, mut owners) = (Random::new(), BTreeMap::new());
    let rounds = rounds(30, 2_000);
    for _ in 0..rounds {
        let events = 1 + random.below(40);
        append(&store, &mut random, &mut owners, events);
        let mut worker = start(directory.path(), 60, 0, u32::MAX);
        worker.wait_for(1 + random.below(events + 5));
        worker.kill();
    }
    assert!(start(directory.path(), 60, 0, u32::MAX).succeeds());
    let again = check(&store, directory.path(), &owners);
    println!("{} events in {rounds} rounds, {again} published again", owners.len());
    assert!(again > 0, "no kill came between publish and mark: the test shows nothing");
    let mut last: BTreeMap<u64, u32> = BTreeMap::new();
    for (position, attempt) in published(directory.path()) {
        assert!(last.insert(position, attempt).is_none_or(|before| before < attempt), "attempts of {position} went back");
    }
}

#[test]
fn of_two_processes_the_other_takes_over_when_one_is_killed() {
    let (directory, store) = super::store();
    let (mut random, mut owners) = (Random::new(), BTreeMap::new());
    for _ in 0..rounds(5, 300) {
        let events = 5 + random.below(60);
        append(&store, &mut random, &mut owners, events);
        let mut one = start(directory.path(), 300, 0, u32::MAX);
        let other = start(directory.path(), 300, 0, u32::MAX);
        one.wait_for(1 + random.below(events));
        one.kill();
        assert!(other.succeeds());
        check(&store, directory.path(), &owners);
    }
}

#[test]
fn an_event_that_kills_its_process_becomes_a_dead_letter() {
    let (directory, store) = super::store();
    super::count(&store, 0, 40);
    let mut deaths = 0;
    while !start(directory.path(), 60, 7, 3).succeeds() {
        deaths += 1;
        assert!(deaths <= 3, "it kills for ever");
    }
    assert_eq!(deaths, 3);
    let letters: Vec<_> = store.outbox_dead_letters("out").unwrap().iter().map(Result::unwrap).collect();
    let [letter] = &letters[..] else { panic!("{letters:?}") };
    assert_eq!((letter.position.get(), letter.attempts), (7, 3));
    assert_eq!(letter.last_error, "the process died in the last attempt");
    let first: HashSet<u64> = published(directory.path()).into_iter().map(|(position, _)| position).collect();
    assert_eq!(first.len(), 36, "all but the poison and the three behind it");
    assert_eq!(store.outbox_status("out").unwrap().waiting, 3);
}
