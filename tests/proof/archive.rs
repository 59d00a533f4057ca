//! Archiving and un-archiving, with the power cut or the process killed at any moment: every event is there, once, and
//! both files together give what was appended.

use std::ops::ControlFlow::Continue;
use std::path::Path;
use std::time::{Duration, Instant};

use foldlog::{Aggregate, Archive, Durability, Expected, NewEvent, Query, SnapshotReason, Store};

use super::powercut::{PATH, checkpoint};
use super::worker::Worker;
use crate::support::disk::Disk;
use crate::support::disk::power::Recording;
use crate::support::model::{self, Account};
use crate::support::outcome::Outcome;
use crate::support::random::Random;

const FILE: &str = "FOLDLOG_ARCHIVE_FILE";
const IMAGES_EACH: u64 = 20;
const AGGREGATES: u64 = 3;
/// More than two full blocks of positions, because the newest are never archived.
const FIRST: u64 = 1_100;

/// Appends events whose data is their position.
fn append(store: &Store, events: u64, random: &mut Random) {
    let mut position = store.last_position().expect("reads").get();
    let end = position + events;
    while position < end {
        let count = 1 + random.below(40).min(end - position - 1);
        let new =
            (position + 1..=position + count).map(|n| NewEvent::new("Noted", &n).expect("an event").tag(format!("t{}", n % 3)));
        let id = random.below(AGGREGATES).to_string();
        store.append(Account::TYPE, id, Expected::Any, new).expect("appends");
        position += count;
    }
}

/// Snapshots by a fold that knows no event of these: what is proven here is where events are, not what they mean.
fn make_snapshots(store: &Store) {
    store.json_aggregates(Account::TYPE).snapshot_all(SnapshotReason::Manual, |_| Continue(())).expect("folds");
}

/// One thing that moves events, or adds some.
fn step(store: &Store, random: &mut Random) {
    match random.below(5) {
        0 => append(store, 1 + random.below(60), random),
        1 => drop(store.maintenance().unarchive().expect("brings back")),
        2 => drop(store.maintenance().unarchive_aggregate(Account::TYPE, random.below(AGGREGATES)).expect("brings back")),
        _ => drop(store.maintenance().archive(Archive::all_but_newest(random.below(300))).expect("archives")),
    }
}

/// Everything is there: at least so many events, each once, through every path.
fn check(store: &Store, promised: u64) -> Result<u64, String> {
    let fails = |error: foldlog::Error| format!("{error:?}");
    let last = store.last_position().map_err(fails)?.get();
    if last < promised {
        return Err(format!("ends at {last}, {promised} were promised"));
    }
    let mut next = 1;
    for event in store.read(Query::new()) {
        let event = event.map_err(fails)?;
        if (event.position.get(), event.data.as_str()) != (next, next.to_string().as_str()) {
            return Err(format!("{event:?} in the place of {next}"));
        }
        next += 1;
    }
    if next != last + 1 {
        return Err(format!("a reading of all ends before {next}, the log at {last}"));
    }
    let mut of_aggregates = 0;
    for aggregate in store.json_aggregates(Account::TYPE).ids() {
        of_aggregates += store.json_aggregates(Account::TYPE).history(aggregate.map_err(fails)?).count() as u64;
    }
    let tagged = store.count(foldlog::Filter::new().any_tag(["t0", "t1", "t2"])).map_err(fails)?;
    if (of_aggregates, tagged) != (last, last) {
        return Err(format!("{of_aggregates} events by aggregate and {tagged} by tag, not {last}"));
    }
    let report = store.maintenance().verify(|_| Continue(())).map_err(fails)?;
    if report.is_clean() { Ok(last) } else { Err(format!("{:?}", report.damages)) }
}

/// Opens this many images of power cuts.
pub fn run_power_cuts(images: u64, seed: u64) -> Outcome {
    let began = Instant::now();
    let mut outcome = Outcome::new(seed);
    let mut random = Random::new(seed);
    let (work, ruin) = (Disk::new(), Disk::new());
    while outcome.rounds < images {
        let recording = record(&work, &mut random);
        outcome.count("histories", 1);
        let count = IMAGES_EACH.min(images - outcome.rounds);
        recording.try_images(count, &mut random, &mut outcome, |image, outcome| {
            ruin.load(&image.files);
            let store = model::options(Durability::Durable).vfs(ruin.name()).open(PATH).map_err(|error| format!("{error:?}"))?;
            let events = check(&store, image.promised)?;
            outcome.count("events", events);
            store.maintenance().archive(Archive::all_but_newest(10)).map_err(|error| format!("does not go on: {error:?}"))?;
            check(&store, events).map(drop)
        });
    }
    outcome.time = began.elapsed();
    outcome
}

fn record(disk: &Disk, random: &mut Random) -> Recording {
    disk.load(&Default::default());
    let store = model::options(Durability::Durable).vfs(disk.name()).open(PATH).expect("the disk is sound");
    append(&store, FIRST, random);
    make_snapshots(&store);
    if random.chance(2) {
        step(&store, random);
    }
    disk.record();
    disk.mark(store.last_position().expect("reads").get());
    for _ in 0..2 + random.below(4) {
        step(&store, random);
        disk.mark(store.last_position().expect("reads").get());
        if random.chance(4) {
            checkpoint(disk, random);
        }
    }
    disk.recorded()
}

/// If this process was started as a worker: moves events to and fro until it is killed.
pub fn work_if_asked() {
    let Ok(file) = std::env::var(FILE) else { return };
    let store = Store::open(Path::new(&file)).expect("opens after any kill");
    let mut random = Random::new(std::process::id().into());
    println!("\nready");
    loop {
        step(&store, &mut random);
    }
}

/// Kills a worker this many times.
pub fn run_kills(rounds: u64, arguments: &[&str], seed: u64) -> Outcome {
    let began = Instant::now();
    let mut outcome = Outcome::new(seed);
    let mut random = Random::new(seed);
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("store.db");
    let store = Store::open(&file).expect("opens");
    append(&store, FIRST, &mut random);
    make_snapshots(&store);
    let mut promised = FIRST;
    while outcome.rounds < rounds {
        outcome.rounds += 1;
        let mut worker = Worker::start(arguments, &[(FILE, file.display().to_string())], "ready");
        if !worker.wait_for(1) {
            outcome.violation("a worker ended by itself".to_owned());
            continue;
        }
        std::thread::sleep(Duration::from_micros(random.below(60_000)));
        worker.kill();
        match check(&store, promised) {
            Ok(events) => promised = events,
            Err(violation) => outcome.violation(violation),
        }
    }
    outcome.time = began.elapsed();
    outcome
}
