//! Who leads, in schedules of deaths, slow handlers and clocks that jump by years: real processes, killed.
//!
//! One schedule is one file with one handler or outbox. Three processes work on some files at once; each has a clock of
//! its own for each file. Every attempt is noted at its beginning and at its end, with the time of the machine's clock,
//! which does not jump. Found would be: an event that nobody handled, one that two handled at once, an aggregate's events
//! out of order, a leader that was killed and not replaced within a second.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use foldlog::{Batch, Clock, Durability, Expected, HandlerError, Message, NewEvent, Options, PublishError, Store};
use tempfile::TempDir;

use crate::support::outcome::Outcome;
use crate::support::random::Random;
use crate::worker::Worker;

const DIRECTORY: &str = "FOLDLOG_SCHEDULES_DIRECTORY";
const FILES: &str = "FOLDLOG_SCHEDULES_FILES";
const NUMBER: &str = "FOLDLOG_SCHEDULES_NUMBER";
const SEED: &str = "FOLDLOG_SCHEDULES_SEED";
/// Schedules that run at once, on the same processes.
const AT_ONCE: u64 = 10;
/// How often a process looks whether it is woken in time, and can write to the disk, and a delay that is noted.
const NAP: Duration = Duration::from_millis(10);
const LATE: Duration = Duration::from_millis(5);
const LATE_NOTES: &str = "late.notes";
/// Processes that were kept waiting for so long, all in all, are not judged by their times: a leader's answer takes several wakings,
/// and so does taking over. What is left of the lease, and of the second, is about three times as long.
const STALLED: Duration = Duration::from_millis(120);
const STALLED_TAKING_OVER: Duration = Duration::from_millis(60);
const TAKE_OVER: Duration = Duration::from_secs(1);
const PATIENCE: Duration = Duration::from_secs(60);
const TEN_YEARS: i64 = 3_652;

fn now() -> u64 {
    u64::try_from(SystemTime::UNIX_EPOCH.elapsed().expect("after 1970").as_micros()).expect("before 586000")
}

fn open(directory: &Path, file: u64, clock: Clock) -> Store {
    let path = directory.join(format!("{file}.db"));
    Options::new().durability(Durability::Fast).clock(clock).open(path).expect("opens after any kill")
}

/// Half of the files have a handler, the others an outbox.
fn is_outbox(file: u64) -> bool {
    file % 2 == 1
}

/// What the workers note of one file: one write for each line, so that what a killed process has written is there.
#[derive(Clone)]
struct Notes(Arc<Mutex<File>>, u64);

impl Notes {
    fn open(path: &Path, worker: u64) -> Notes {
        let file = File::options().append(true).create(true).open(path).expect("a file");
        Notes(Arc::new(Mutex::new(file)), worker)
    }

    fn write(&self, what: &str, number: u64) {
        let line = format!("{} {what} {number} {}\n", self.1, now());
        self.0.lock().expect("nobody panics").write_all(line.as_bytes()).expect("a file");
    }

    /// Handles an event: usually at once, now and then for longer than a lease.
    fn handle(&self, random: &mut Random, position: u64) {
        self.write("begins", position);
        let millis = match random.below(100) {
            0..80 => random.below(4),
            80..97 => 20 + random.below(100),
            _ => 550 + random.below(200),
        };
        std::thread::sleep(Duration::from_millis(millis));
        self.write("ends", position);
    }
}

/// Notes when the machine keeps this process waiting, for a processor or for the disk.
struct Probe {
    file: File,
    late: Notes,
}

impl Probe {
    fn new(directory: &Path, worker: u64) -> Probe {
        let file = File::create(directory.join(format!("{worker}.probe"))).expect("a file");
        Probe { file, late: Notes::open(&directory.join(LATE_NOTES), worker) }
    }

    fn nap(&mut self) {
        let began = Instant::now();
        std::thread::sleep(NAP);
        self.file.write_all(b".").expect("a file");
        let late = began.elapsed().saturating_sub(NAP);
        if late > LATE {
            self.late.write("late", u64::try_from(late.as_micros()).expect("not so long"));
        }
    }
}

/// A time that is right, or wrong by up to ten years in both directions.
fn some_time(random: &mut Random) -> chrono::DateTime<chrono::Utc> {
    let days = match random.below(4) {
        0 => 0,
        1 => TEN_YEARS,
        2 => -TEN_YEARS,
        _ => random.below(2 * TEN_YEARS as u64) as i64 - TEN_YEARS,
    };
    chrono::Utc::now() + chrono::TimeDelta::days(days)
}

/// If this process was started as a worker: works on all files until it is killed.
pub fn work_if_asked() -> bool {
    let Ok(directory) = std::env::var(DIRECTORY) else { return false };
    let number = |name: &str| -> u64 { std::env::var(name).expect("it is set").parse().expect("a number") };
    let (directory, worker, mut random) = (PathBuf::from(directory), number(NUMBER), Random::new(number(SEED)));
    let (mut followers, mut clocks) = (Vec::new(), Vec::new());
    for file in 0..number(FILES) {
        let clock = Clock::fixed(some_time(&mut random));
        let store = open(&directory, file, clock.clone());
        let notes = Notes::open(&directory.join(format!("{file}.notes")), worker);
        let mut chance = random.fork();
        let follower = if is_outbox(file) {
            let publish = move |message: &Message<'_>| {
                notes.handle(&mut chance, message.event.position.get());
                if chance.chance(20) {
                    return Err(PublishError::Retry("now and then".to_owned()));
                }
                notes.write("delivered", message.event.position.get());
                Ok(())
            };
            let pauses = (Duration::from_millis(5), Duration::from_millis(40));
            store.outbox("s").max_attempts(u32::MAX).backoff(pauses.0, pauses.1).publisher(publish).follow()
        } else {
            let policy = chance.below(3) * 50;
            let handle = move |event: &foldlog::RecordedEvent| -> Result<(), HandlerError> {
                notes.handle(&mut chance, event.position.get());
                notes.write("delivered", event.position.get());
                Ok(())
            };
            store.subscription("s").checkpoint_every(policy).follow(handle)
        };
        followers.push(follower.expect("a thread"));
        clocks.push(clock);
    }
    println!("\nworks");
    let (mut probe, mut jump) = (Probe::new(&directory, worker), 0);
    let began = Instant::now();
    // Longer than any batch: what is left over when the proof itself is killed ends by itself.
    while began.elapsed() < 3 * PATIENCE {
        probe.nap();
        jump = (jump + 1) % 12;
        if jump == 0 {
            clocks.iter().for_each(|clock| clock.set(some_time(&mut random)));
        }
    }
    drop(followers);
    true
}

/// One line of the notes.
struct Note {
    worker: u64,
    what: String,
    number: u64,
    at: u64,
}

fn notes(path: &Path) -> Vec<Note> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let note = |line: &str| {
        let mut parts = line.split(' ');
        let mut next = || parts.next().expect("four parts");
        let (worker, what) = (next().parse().expect("a number"), next().to_owned());
        Note { worker, what, number: next().parse().expect("a number"), at: next().parse().expect("a number") }
    };
    text.lines().map(note).collect()
}

/// The processes, and when which of them was killed.
struct Workers<'a> {
    arguments: &'a [&'a str],
    directory: &'a Path,
    files: u64,
    running: BTreeMap<u64, Worker>,
    /// Worker, just before and just after.
    killed: Vec<(u64, u64, u64)>,
    started: u64,
}

impl Workers<'_> {
    fn start(&mut self, random: &mut Random) {
        let settings = [
            (DIRECTORY, self.directory.display().to_string()),
            (FILES, self.files.to_string()),
            (NUMBER, self.started.to_string()),
            (SEED, random.next().to_string()),
        ];
        let mut worker = Worker::start(self.arguments, &settings, "works");
        assert!(worker.wait_for(1), "a worker does not begin");
        self.running.insert(self.started, worker);
        self.started += 1;
    }

    fn kill(&mut self, number: u64) {
        if let Some(worker) = self.running.remove(&number) {
            let before = now();
            worker.kill();
            self.killed.push((number, before, now()));
        }
    }
}

/// Runs so many schedules. `arguments` make this program come to [`work_if_asked`].
pub fn run(schedules: u64, arguments: &[&str], seed: u64) -> Outcome {
    let mut outcome = Outcome::new(seed);
    let mut random = Random::new(seed);
    while outcome.rounds < schedules {
        let files = AT_ONCE.min(schedules - outcome.rounds);
        batch(files, arguments, &mut random, &mut outcome);
        outcome.rounds += files;
    }
    outcome
}

fn append(stores: &[Store], random: &mut Random) {
    for store in stores {
        let batch = (0..3 + random.below(6)).fold(Batch::new(), |batch, _| {
            let event = NewEvent::new("Happened", &()).expect("an event");
            batch.append("thing", format!("t-{}", random.below(3)), Expected::Any, [event])
        });
        store.commit(batch).expect("appends");
    }
}

fn batch(files: u64, arguments: &[&str], random: &mut Random, outcome: &mut Outcome) {
    let directory = tempfile::tempdir().expect("a directory");
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        // This process holds the files' locks too, when it appends.
        scope.spawn(|| {
            let mut probe = Probe::new(directory.path(), u64::MAX);
            while !is_over.load(Ordering::Relaxed) {
                probe.nap();
            }
        });
        let done = catch_unwind(AssertUnwindSafe(|| batch_in(&directory, files, arguments, random, outcome)));
        is_over.store(true, Ordering::Relaxed);
        done.unwrap_or_else(|panic| resume_unwind(panic));
    });
}

fn batch_in(directory: &TempDir, files: u64, arguments: &[&str], random: &mut Random, outcome: &mut Outcome) {
    let stores: Vec<Store> = (0..files).map(|file| open(directory.path(), file, Clock::system())).collect();
    let mut workers =
        Workers { arguments, directory: directory.path(), files, running: BTreeMap::new(), killed: Vec::new(), started: 0 };
    append(&stores, random);
    workers.start(random);
    workers.start(random);
    for _ in 0..2 {
        append(&stores, random);
        std::thread::sleep(Duration::from_millis(150 + random.below(500)));
        append(&stores, random);
        // The first one leads most files; now and then it is one that stands by.
        let numbers: Vec<u64> = workers.running.keys().copied().collect();
        workers.kill(numbers[usize::from(random.chance(25))]);
        append(&stores, random);
        std::thread::sleep(Duration::from_millis(random.below(300)));
        workers.start(random);
    }
    append(&stores, random);
    let deadline = Instant::now() + PATIENCE;
    for (file, store) in stores.iter().enumerate() {
        while !is_done(store, file as u64) && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(10));
        }
        if !is_done(store, file as u64) {
            outcome.violation(format!("file {file}: not done after {PATIENCE:?}: {:?}", store.subscriptions()));
        }
    }
    std::mem::take(&mut workers.running).into_values().for_each(Worker::kill);
    let stalls = notes(&directory.path().join(LATE_NOTES));
    for (file, store) in stores.iter().enumerate() {
        let last = store.last_position().expect("reads").get();
        judge(file as u64, store, &notes(&directory.path().join(format!("{file}.notes"))), &workers.killed, &stalls, outcome);
        outcome.count("events", last);
    }
    outcome.count("killed", workers.killed.len() as u64);
}

fn is_done(store: &Store, file: u64) -> bool {
    let last = store.last_position().expect("reads");
    if !is_outbox(file) {
        return store.subscription("s").status().is_ok_and(|status| status.position == last);
    }
    let done = |status: foldlog::OutboxStatus| status.position == last && status.to_retry + status.waiting + status.dead == 0;
    store.outbox("s").status().is_ok_and(done)
}

/// Whether one of the processes was kept waiting for so long, all in all, in this span of time.
fn stood_still(stalls: &[Note], length: Duration, from: u64, to: u64) -> bool {
    let mut late: BTreeMap<u64, u64> = BTreeMap::new();
    for stall in stalls.iter().filter(|stall| stall.at >= from && stall.at.saturating_sub(stall.number) <= to) {
        *late.entry(stall.worker).or_default() += stall.number;
    }
    late.values().any(|late| Duration::from_micros(*late) > length)
}

fn judge(file: u64, store: &Store, notes: &[Note], killed: &[(u64, u64, u64)], stalls: &[Note], outcome: &mut Outcome) {
    let delivered = || notes.iter().filter(|note| note.what == "delivered");
    let all: BTreeSet<u64> = delivered().map(|note| note.number).collect();
    let mut order: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    for event in store.read(foldlog::Query::new()) {
        let event = event.expect("reads");
        let position = event.position.get();
        if !all.contains(&position) {
            outcome.violation(format!("file {file}: event {position} was missed"));
        }
        order.entry(event.aggregate_id.to_string()).or_default().push(position);
    }
    let mut first: BTreeMap<u64, usize> = BTreeMap::new();
    for (at, note) in delivered().enumerate() {
        first.entry(note.number).or_insert(at);
    }
    for positions in order.values().filter(|positions| !positions.is_sorted_by_key(|position| first.get(position))) {
        outcome.violation(format!("file {file}: out of order: {positions:?}"));
    }
    let spans = spans(notes, killed);
    for (at, one) in spans.iter().enumerate() {
        for other in spans[..at].iter().filter(|other| other.worker != one.worker && other.from < one.to && one.from < other.to) {
            match stood_still(stalls, STALLED, one.from.min(other.from).saturating_sub(1_000_000), one.to.max(other.to)) {
                true => outcome.count("not judged: the machine stood still", 1),
                false => outcome.violation(format!("file {file}: two runners at once: {other:?} and {one:?}")),
            }
        }
    }
    for (worker, before, after) in killed {
        // Only where it led: the last event that was begun before its death was its.
        let led = spans.iter().rfind(|span| span.from < *before).is_some_and(|span| span.worker == *worker);
        let Some(next) = spans.iter().find(|span| span.from >= *after && span.worker != *worker).filter(|_| led) else {
            continue;
        };
        let waited = Duration::from_micros(next.from - after);
        outcome.count("taken over", 1);
        if waited < TAKE_OVER {
            outcome.count("of them within a second", 1);
            continue;
        }
        match stood_still(stalls, STALLED_TAKING_OVER, *before, next.from) {
            true => outcome.count("later, while the machine kept processes waiting", 1),
            false => outcome.violation(format!("file {file}: taken over after {waited:?}")),
        }
    }
}

/// From the beginning of an attempt to its end, or to the death of its process.
#[derive(Debug)]
struct Span {
    worker: u64,
    from: u64,
    to: u64,
}

fn spans(notes: &[Note], killed: &[(u64, u64, u64)]) -> Vec<Span> {
    let mut spans: Vec<Span> = Vec::new();
    for note in notes {
        match note.what.as_str() {
            "begins" => {
                let death = killed.iter().find(|(worker, ..)| *worker == note.worker);
                spans.push(Span { worker: note.worker, from: note.at, to: death.map_or(u64::MAX, |(_, _, after)| *after) });
            }
            "ends" => {
                if let Some(span) = spans.iter_mut().rfind(|span| span.worker == note.worker) {
                    span.to = note.at;
                }
            }
            _ => {}
        }
    }
    spans
}
