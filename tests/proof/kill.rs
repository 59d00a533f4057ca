//! kill -9 at any moment: every acknowledgement that a worker printed is in the log afterwards, and nothing is half there.
//!
//! A worker is this program itself, started again. It appends to an aggregate of its own, to one that all share and to
//! both at once, makes snapshots, and prints a line after each append that returned. Of several workers on one file some
//! are killed while the others go on.

use std::io::{BufRead, BufReader, Write};
use std::ops::ControlFlow::Continue;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use foldlog::{Aggregate, Appended, Batch, Durability, Expected, NewEvent, Options, Query, SnapshotPolicy, Store};

use crate::support::model::{Account, AccountEvent, accounts};
use crate::support::outcome::Outcome;
use crate::support::random::Random;

const WORKER: &str = "FOLDLOG_KILL_WORKER";
const FILE: &str = "FOLDLOG_KILL_FILE";
/// Rounds on one file; then a new one.
const ROUNDS_EACH: u64 = 10;
const SHARED: &str = "shared";

/// If this process was started as a worker: works until it is killed.
pub fn work_if_asked() {
    let (Ok(worker), Ok(file)) = (std::env::var(WORKER), std::env::var(FILE)) else { return };
    let number: u64 = worker.parse().expect("a number");
    work(Path::new(&file), number);
}

fn options(number: u64) -> Options {
    // Even workers lose nothing to a power cut, odd ones nothing to a kill: here both must lose nothing.
    let durability = if number.is_multiple_of(2) { Durability::Durable } else { Durability::Fast };
    Options::new()
        .durability(durability)
        .snapshots(SnapshotPolicy::every(10).retain(2))
        .busy_timeout(Duration::from_secs(60))
        .execute_attempts(1_000)
}

fn work(file: &Path, number: u64) {
    let store = options(number).open(file).expect("opens after any kill");
    let accounts = store.aggregates::<Account>();
    let own = format!("own-{number}");
    let mut random = Random::new(std::process::id().into());
    loop {
        let cents = random.below(1_000_000) as i64;
        let event = AccountEvent::Deposited { cents, note: "x".repeat(random.index(2_000)) };
        match random.below(4) {
            0 => say(&own, cents, &accounts.append(&own, Expected::Any, [event]).expect("appends")),
            1 => {
                let done = accounts.execute(SHARED, |_| [event.clone()]).expect("executes");
                say(SHARED, cents, &done.appended.expect("an event"));
            }
            _ => {
                let new = |event: &AccountEvent| NewEvent::of(event).expect("an event");
                let batch = Batch::new()
                    .append(Account::TYPE, own.as_str(), Expected::Any, vec![new(&event); 1 + random.index(5)])
                    .append(Account::TYPE, SHARED, Expected::Any, [new(&event)]);
                let done = store.commit(batch).expect("appends");
                say(&own, cents, &done[0]);
                say(SHARED, cents, &done[1]);
            }
        }
    }
}

/// What an append returned, on one line.
fn say(id: &str, cents: i64, appended: &Appended) {
    // The test harness writes to the same pipe: a mark, and a line of its own.
    let line = format!("\nack {id} {} {} {cents}\n", appended.version, appended.position);
    let mut out = std::io::stdout().lock();
    out.write_all(line.as_bytes()).and_then(|()| out.flush()).expect("the parent listens");
}

struct Acknowledged {
    id: String,
    version: u64,
    position: u64,
    cents: i64,
}

fn read_line(line: &str) -> Option<Acknowledged> {
    let mut words = line.strip_prefix("ack ")?.split(' ');
    Some(Acknowledged {
        id: words.next()?.to_owned(),
        version: words.next()?.parse().ok()?,
        position: words.next()?.parse().ok()?,
        cents: words.next()?.parse().ok()?,
    })
}

/// All that a worker says until its end. A line that the kill has cut off is none.
fn listen(mut out: impl BufRead) -> Vec<Acknowledged> {
    let (mut acknowledged, mut line) = (Vec::new(), String::new());
    while out.read_line(&mut line).is_ok_and(|length| length > 0) {
        acknowledged.extend(line.strip_suffix('\n').and_then(read_line));
        line.clear();
    }
    acknowledged
}

struct Worker {
    child: Child,
    listener: JoinHandle<Vec<Acknowledged>>,
}

impl Worker {
    /// `arguments` make this program come to [`work_if_asked`].
    fn start(arguments: &[&str], file: &Path, number: u64) -> Worker {
        let mut child = Command::new(std::env::current_exe().expect("this program"))
            .args(arguments)
            .env(WORKER, number.to_string())
            .env(FILE, file)
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .expect("a process");
        let out = BufReader::new(child.stdout.take().expect("a pipe"));
        Worker { child, listener: std::thread::spawn(move || listen(out)) }
    }

    /// Kills it; what it had acknowledged, or `None` if it had ended by itself, which it must not.
    fn kill(mut self) -> Option<Vec<Acknowledged>> {
        let ended = self.child.try_wait().expect("a child").is_some();
        self.child.kill().expect("a child");
        self.child.wait().expect("a child");
        let acknowledged = self.listener.join().expect("the listener");
        (!ended).then_some(acknowledged)
    }
}

/// Starts and kills workers this many times, 1, 2 and 4 at once.
pub fn run(rounds: u64, arguments: &[&str], seed: u64) -> Outcome {
    let began = Instant::now();
    let mut outcome = Outcome::new(seed);
    let mut random = Random::new(seed);
    while outcome.rounds < rounds {
        let directory = tempfile::tempdir().expect("a directory");
        let file = directory.path().join("store.db");
        let mut seen = 0;
        for _ in 0..ROUNDS_EACH.min(rounds - outcome.rounds) {
            outcome.rounds += 1;
            let workers = [1, 2, 4][random.index(3)];
            match round(&file, workers, arguments, &mut random, &mut seen) {
                Ok(acknowledged) => outcome.count("acknowledgements", acknowledged),
                Err(violation) => outcome.violation(format!("{workers} workers: {violation}")),
            }
        }
        if let Err(violation) = check_all(&file, &mut outcome) {
            outcome.violation(violation);
        }
    }
    outcome.time = began.elapsed();
    outcome
}

fn round(file: &Path, workers: u64, arguments: &[&str], random: &mut Random, seen: &mut u64) -> Result<u64, String> {
    let mut running: Vec<Worker> = (0..workers).map(|number| Worker::start(arguments, file, number)).collect();
    // Long enough that most get to work, short enough that some die while they open the file.
    std::thread::sleep(Duration::from_micros(random.below(60_000)));
    let mut acknowledged = Vec::new();
    while !running.is_empty() {
        std::thread::sleep(Duration::from_micros(random.below(15_000)));
        let victim = running.swap_remove(random.index(running.len()));
        acknowledged.extend(victim.kill().ok_or("a worker ended by itself")?);
    }
    let count = acknowledged.len() as u64;
    look_up(file, acknowledged, seen).map(|()| count)
}

/// Every acknowledgement of the round, in the log after the part that was looked at before.
fn look_up(file: &Path, mut acknowledged: Vec<Acknowledged>, seen: &mut u64) -> Result<(), String> {
    let store = options(0).open(file).map_err(|error| format!("does not open: {error:?}"))?;
    acknowledged.sort_by_key(|one| one.position);
    let mut wanted = acknowledged.into_iter().peekable();
    for event in store.read(Query::new().after_position(*seen)) {
        let event = event.map_err(|error| format!("{error:?}"))?;
        *seen += 1;
        if event.position != *seen {
            return Err(format!("position {} follows {}", event.position, *seen - 1));
        }
        let Some(one) = wanted.next_if(|one| one.position == *seen) else { continue };
        let expected = format!(r#"{{"cents":{},"#, one.cents);
        if *event.aggregate_id != *one.id || event.version != one.version || !event.data.as_str().starts_with(&expected) {
            return Err(format!("another event stands at position {seen} than was acknowledged"));
        }
    }
    match wanted.next() {
        None => Ok(()),
        Some(one) => Err(format!("position {} of {} was acknowledged and is lost", one.position, one.id)),
    }
}

/// Batches are whole, states are right, verify is clean.
fn check_all(file: &Path, outcome: &mut Outcome) -> Result<(), String> {
    let store = options(0).open(file).map_err(|error| format!("does not open: {error:?}"))?;
    let of = |error: foldlog::Error| format!("{error:?}");
    let report = store.maintenance().verify(|_| Continue(())).map_err(of)?;
    if !report.is_clean() {
        return Err(format!("verify: {:?}", report.damages));
    }
    outcome.count("events", report.events);
    check_batches(&store)?;
    let accounts = accounts(&store, "default");
    for id in accounts.ids().collect::<foldlog::Result<Vec<_>>>().map_err(of)? {
        let (fast, full) = (accounts.replay(&id).map_err(of)?, accounts.without_snapshots().replay(&id).map_err(of)?);
        if fast.state != full.state || fast.version != full.version {
            return Err(format!("{id} replays differently with and without snapshots"));
        }
    }
    Ok(())
}

/// A commit of several events ends with that of the shared aggregate.
fn check_batches(store: &Store) -> Result<(), String> {
    let mut last: Option<(u64, bool, u64)> = None;
    for event in store.read(Query::new()) {
        let event = event.map_err(|error| format!("{error:?}"))?;
        let (commit, shared) = (event.commit_id.get(), &*event.aggregate_id == SHARED);
        if let Some((before, ended_shared, count)) = last
            && before != commit
            && count > 1
            && !ended_shared
        {
            return Err(format!("the commit at position {before} is not whole"));
        }
        let count = match last {
            Some((before, _, count)) if before == commit => count + 1,
            _ => 1,
        };
        last = Some((commit, shared, count));
    }
    Ok(())
}
