//! Erasing, wiping, retention, compacting and the archive at once, with the power cut or the process killed at any moment:
//! nothing else is lost, what is erased never comes back, and what is said to be wiped is in none of the files.

use std::collections::BTreeSet;
use std::ops::ControlFlow::Continue;
use std::path::Path;
use std::time::{Duration, Instant};

use foldlog::{
    Archive, Durability, Erase, ErrorKind, Expected, Keep, NewEvent, Options, Query, Retention, SnapshotReason, Store, Upkeep,
};
use serde_json::json;

use super::powercut::{PATH, checkpoint};
use super::worker::Worker;
use crate::support::disk::power::Recording;
use crate::support::disk::{Disk, Files};
use crate::support::model;
use crate::support::outcome::Outcome;
use crate::support::random::Random;

const FILE: &str = "FOLDLOG_ERASE_FILE";
const IMAGES_EACH: u64 = 3;
const USERS: u64 = 5;
/// More than a full block of positions, because the newest are never archived.
const FIRST: u64 = 560;

fn options(durability: Durability) -> Options {
    model::options(durability).snapshots(foldlog::SnapshotPolicy::manual()).audit(true)
}

/// The secret of the event at a position.
fn secret(user: u64, position: u64) -> String {
    format!("canary-{user}-{position}-")
}

/// The secrets in the files: user and position.
fn secrets(files: &Files) -> BTreeSet<(u64, u64)> {
    let mut found = BTreeSet::new();
    for bytes in files.values() {
        for at in bytes.windows(7).enumerate().filter(|(_, window)| *window == b"canary-").map(|(at, _)| at + 7) {
            let text: Vec<u8> = bytes[at..].iter().copied().take_while(|byte| byte.is_ascii_digit() || *byte == b'-').collect();
            let text = String::from_utf8(text).expect("digits");
            let mut numbers = text.split('-').map(str::parse);
            if let (Some(Ok(user)), Some(Ok(position)), Some(_)) = (numbers.next(), numbers.next(), numbers.next()) {
                found.insert((user, position));
            }
        }
    }
    found
}

/// Appends to users and to one aggregate that is kept short.
fn append(store: &Store, events: u64, random: &mut Random) {
    let end = store.last_position().expect("reads").get() + events;
    loop {
        let position = store.last_position().expect("reads").get();
        if position >= end {
            return;
        }
        let count = 1 + random.below(40).min(end - position - 1);
        let user = random.below(USERS);
        let new = (position + 1..=position + count).map(|n| {
            let event = NewEvent::new("Changed", &json!({"n": n, "secret": secret(user, n)})).expect("an event");
            event.tag(format!("t{}", n % 3))
        });
        match store.append("user", user, Expected::Any, new) {
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::Erased => {
                store
                    .append("short", "s", Expected::Any, [NewEvent::new("Noted", &json!({"n": position + 1})).expect("an event")])
                    .expect("appends");
            }
            Err(error) => panic!("{error:?}"),
        }
    }
}

fn make_snapshots(store: &Store) {
    for aggregate_type in ["user", "short"] {
        store.json_aggregates(aggregate_type).snapshot_all(SnapshotReason::Manual, |_| Continue(())).expect("folds");
    }
}

/// One thing that an application does in its years. `frees` names, so that it never runs out of users.
fn step(store: &Store, frees: bool, random: &mut Random) {
    let maintenance = store.maintenance();
    let user = random.below(USERS);
    match random.below(12) {
        0 => append(store, 1 + random.below(60), random),
        1 | 9 => {
            let plan = Erase::aggregate("user", user);
            let plan = if random.chance(50) { plan.without_wiping() } else { plan };
            match maintenance.erase(plan) {
                Ok(_) if frees => maintenance.forget_name("user", user).expect("it was erased"),
                Ok(_) => {}
                Err(error) => assert_eq!(error.kind(), ErrorKind::NotFound, "{error:?}"),
            }
        }
        2 | 10 => {
            let plan = Erase::fields_of("user", user).field("/secret").tag("t1");
            let plan = if random.chance(50) { plan.without_wiping() } else { plan };
            if let Err(error) = maintenance.erase(plan) {
                assert_eq!(error.kind(), ErrorKind::NotFound, "{error:?}");
            }
        }
        3 => {
            make_snapshots(store);
            drop(maintenance.archive(Archive::all_but_newest(random.below(100))).expect("archives"));
        }
        4 => {
            let rules = Retention::new().rule("short", Keep::Newest(2)).fold(&store.json_aggregates("short"));
            let upkeep = Upkeep::new().retention(rules).archive(Archive::all_but_newest(50 + random.below(100)));
            assert!(maintenance.maintain(upkeep, |_| Continue(())).expect("maintains").finished);
        }
        5 => drop(maintenance.compact(|_| Continue(())).expect("compacts")),
        6 | 11 => drop(maintenance.wipe().expect("wipes")),
        7 => drop(maintenance.unarchive_aggregate("user", user).expect("brings back")),
        _ => make_snapshots(store),
    }
}

/// Everything that was not erased is there, and what was erased is gone. Returns the last position and the secrets that can
/// be read.
fn check(store: &Store, promised: u64) -> Result<(u64, BTreeSet<(u64, u64)>), String> {
    let fails = |error: foldlog::Error| format!("{error:?}");
    let last = store.last_position().map_err(fails)?.get();
    if last < promised {
        return Err(format!("ends at {last}, {promised} were promised"));
    }
    let (mut before, mut readable) = (0, BTreeSet::new());
    for event in store.read(Query::new()) {
        let event = event.map_err(fails)?;
        let data = event.data.to_value().map_err(fails)?;
        if event.position.get() <= before || data["n"] != event.position.get() {
            return Err(format!("{event:?} behind {before}"));
        }
        before = event.position.get();
        if &*event.aggregate_type == "user" {
            let user: u64 = event.aggregate_id.parse().map_err(|_| format!("a user {:?}", event.aggregate_id))?;
            match data["secret"].as_str() {
                Some("") if !event.erased_fields().is_empty() => {}
                Some(found) if found == secret(user, before) => drop(readable.insert((user, before))),
                other => return Err(format!("the secret {other:?} at {before}")),
            }
        }
    }
    for aggregate_type in ["user", "short"] {
        let handle = store.json_aggregates(aggregate_type);
        for id in handle.ids() {
            let id = id.map_err(fails)?;
            let version = store.version(aggregate_type, &id).map_err(fails)?;
            match handle.replay(&id) {
                Ok(replayed) if replayed.version == version => {}
                Ok(replayed) => return Err(format!("{id} replays to {} of {version}", replayed.version)),
                Err(error) if error.kind() == ErrorKind::Erased => continue,
                Err(error) => return Err(format!("{error:?}")),
            }
            let held = store.count(Query::aggregate(aggregate_type, &id)).map_err(fails)?;
            if aggregate_type == "user" && held != version.get() {
                return Err(format!("user {id} has {held} events of {version}"));
            }
        }
    }
    let report = store.maintenance().verify(|_| Continue(())).map_err(fails)?;
    if report.is_clean() { Ok((last, readable)) } else { Err(format!("{:?}", report.damages)) }
}

/// Where a text is: the file, its length, the place in it.
fn places(files: &Files, text: &str) -> Vec<(String, usize, usize)> {
    let in_file = |(name, bytes): (&String, &Vec<u8>)| {
        let at = bytes.windows(text.len()).position(|window| window == text.as_bytes())?;
        Some((name.clone(), bytes.len(), at))
    };
    files.iter().filter_map(in_file).collect()
}

/// What the records say is wiped is in none of the files.
fn check_wiped(store: &Store, files: &Files) -> Result<(), String> {
    let found = secrets(files);
    for erasure in store.erasures(0).map_err(|error| format!("{error:?}"))?.into_iter().filter(|erasure| erasure.is_wiped) {
        let Ok(user) = erasure.aggregate.aggregate_id.parse::<u64>() else { continue };
        let left = found.range((user, 0)..=(user, erasure.position.get())).next();
        if let Some((user, position)) = left {
            let at = places(files, &secret(*user, *position));
            return Err(format!("the secret of {user} at {position} is in {at:?}, but {erasure:?} is wiped"));
        }
    }
    Ok(())
}

/// After a wipe the files hold no secret but those that can be read.
fn check_files(files: &Files, readable: &BTreeSet<(u64, u64)>) -> Result<(), String> {
    match secrets(files).difference(readable).next() {
        None => Ok(()),
        Some(left) => Err(format!("the secret {left:?} is still in the files")),
    }
}

fn wipe(store: &Store) -> Result<(), String> {
    let wiped = store.maintenance().wipe().map_err(|error| format!("does not go on: {error:?}"))?;
    if wiped.left == 0 { Ok(()) } else { Err(format!("{wiped:?}")) }
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
            let fails = |error| format!("{error:?}");
            let store = options(Durability::Durable).vfs(ruin.name()).open(PATH).map_err(fails)?;
            let (last, _) = check(&store, image.promised)?;
            check_wiped(&store, &image.files)?;
            let erasures = store.erasures(0).map_err(fails)?;
            outcome.count("erased", erasures.len() as u64);
            outcome.count("wiped", erasures.iter().filter(|erasure| erasure.is_wiped).count() as u64);
            wipe(&store)?;
            let (_, readable) = check(&store, last)?;
            drop(store);
            outcome.count("readable", readable.len() as u64);
            check_files(&ruin.files(), &readable)
        });
    }
    outcome.time = began.elapsed();
    outcome
}

fn record(disk: &Disk, random: &mut Random) -> Recording {
    disk.load(&Default::default());
    let store = options(Durability::Durable).vfs(disk.name()).open(PATH).expect("the disk is sound");
    append(&store, FIRST, random);
    make_snapshots(&store);
    if random.chance(50) {
        store.maintenance().archive(Archive::all_but_newest(random.below(60))).expect("archives");
    }
    disk.record();
    disk.mark(store.last_position().expect("reads").get());
    for _ in 0..2 + random.below(4) {
        step(&store, false, random);
        disk.mark(store.last_position().expect("reads").get());
        if random.chance(25) {
            checkpoint(disk, random);
        }
    }
    disk.recorded()
}

/// If this process was started as a worker: goes on until it is killed.
pub fn work_if_asked() {
    let Ok(file) = std::env::var(FILE) else { return };
    let store = options(Durability::Fast).open(Path::new(&file)).expect("opens after any kill");
    let mut random = Random::new(std::process::id().into());
    println!("\nready");
    loop {
        step(&store, true, &mut random);
    }
}

fn files_of(directory: &Path) -> Files {
    let entries = std::fs::read_dir(directory).expect("a directory").map(|entry| entry.expect("an entry"));
    entries
        .map(|entry| (entry.file_name().to_string_lossy().into_owned(), std::fs::read(entry.path()).expect("a file")))
        .collect()
}

/// Kills a worker this many times.
pub fn run_kills(rounds: u64, arguments: &[&str], seed: u64) -> Outcome {
    let began = Instant::now();
    let mut outcome = Outcome::new(seed);
    let mut random = Random::new(seed);
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("store.db");
    let mut promised = {
        let store = options(Durability::Fast).open(&file).expect("opens");
        append(&store, FIRST, &mut random);
        make_snapshots(&store);
        store.last_position().expect("reads").get()
    };
    while outcome.rounds < rounds {
        outcome.rounds += 1;
        let mut worker = Worker::start(arguments, &[(FILE, file.display().to_string())], "ready");
        if !worker.wait_for(1) {
            outcome.violation("a worker ended by itself".to_owned());
            continue;
        }
        std::thread::sleep(Duration::from_micros(random.below(80_000)));
        worker.kill();
        let looked = || -> Result<u64, String> {
            let store = options(Durability::Fast).open(&file).map_err(|error| format!("{error:?}"))?;
            check(&store, promised)?;
            wipe(&store)?;
            let (last, readable) = check(&store, promised)?;
            check_files(&files_of(directory.path()), &readable)?;
            // So that a short run does not end in a log of erased users.
            append(&store, 20, &mut Random::new(last));
            Ok(last)
        };
        match looked() {
            Ok(last) => promised = last,
            Err(violation) => outcome.violation(violation),
        }
    }
    outcome.time = began.elapsed();
    outcome
}
