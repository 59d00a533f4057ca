//! A power cut at any moment, in any of its shapes: what is left opens, and holds what was promised.
//!
//! Durable: every acknowledged commit is there, and of those after it a beginning. Fast: a beginning of all commits. In
//! both: byte for byte, verify is clean, replay equals plain Rust, and the log goes on at the next position.

use std::time::Instant;

use foldlog::{Durability, Expected, NewEvent};

use crate::support::disk::Disk;
use crate::support::disk::power::{Image, Recording};
use crate::support::model::{self, Account, Planner, World};
use crate::support::outcome::Outcome;
use crate::support::random::Random;

pub const PATH: &str = "/disk/store.db";
/// Images of each recorded history; then another history.
const IMAGES_EACH: u64 = 100;

/// Opens this many images.
pub fn run(durability: Durability, images: u64, seed: u64) -> Outcome {
    let began = Instant::now();
    let mut outcome = Outcome::new(seed);
    let mut random = Random::new(seed);
    let (work, ruin) = (Disk::new(), Disk::new());
    while outcome.rounds < images {
        let history = History::make(&work, durability, &mut random);
        outcome.count("histories", 1);
        let count = IMAGES_EACH.min(images - outcome.rounds);
        history
            .recording
            .try_images(count, &mut random, &mut outcome, |image, outcome| history.check(&ruin, image, durability, outcome));
    }
    outcome.time = began.elapsed();
    outcome
}

/// The moments in which a file is made are few and its least protected ones: each of them, in many shapes.
pub fn run_first_moments(shapes: u64, seed: u64) -> Outcome {
    let began = Instant::now();
    let mut outcome = Outcome::new(seed);
    let mut random = Random::new(seed);
    let (work, ruin) = (Disk::new(), Disk::new());
    let history = History::make(&work, Durability::Durable, &mut random);
    let mut cutter = history.recording.cutter();
    for cut in 0..history.recording.len().min(40) {
        for _ in 0..shapes {
            outcome.rounds += 1;
            let image = cutter.cut_at(cut, &mut random);
            if let Err(violation) = history.check(&ruin, &image, Durability::Durable, &mut outcome) {
                outcome.violation(format!("after operation {cut}: {violation}"));
            }
        }
    }
    outcome.time = began.elapsed();
    outcome
}

/// Work on a store, all that the disk was asked for meanwhile, and the log after each step.
struct History {
    recording: Recording,
    worlds: Vec<World>,
}

impl History {
    /// A store is made, used, closed and opened again some times; the log is moved into the file now and then.
    fn make(disk: &Disk, durability: Durability, random: &mut Random) -> History {
        disk.load(&Default::default());
        disk.record();
        let mut planner = Planner::new(random.fork());
        let mut worlds = vec![World::default()];
        for _ in 0..1 + random.below(3) {
            let store = model::options(durability).vfs(disk.name()).open(PATH).expect("the disk is sound");
            for _ in 0..random.below(25) {
                for step in planner.plan(worlds.last().expect("one at least")) {
                    let mut world = worlds.last().expect("one at least").clone();
                    world.apply(&step);
                    worlds.push(world);
                    model::perform(&store, &step).expect("the disk is sound");
                    disk.mark(worlds.len() as u64 - 1);
                }
                if random.chance(6) {
                    checkpoint(disk, random);
                }
            }
        }
        History { recording: disk.recorded(), worlds }
    }

    fn check(&self, disk: &Disk, image: &Image, durability: Durability, outcome: &mut Outcome) -> Result<(), String> {
        disk.load(&image.files);
        let store = model::options(durability)
            .vfs(disk.name())
            .open(PATH)
            .map_err(|error| format!("does not open: {error:?}, {} promised", image.promised))?;
        let last = store.last_position().map_err(|error| format!("{error:?}"))?;
        let least = if durability == Durability::Durable { image.promised as usize } else { 0 };
        let candidates = self.worlds[least..].iter().filter(|world| world.last_position == last.get());
        let mut differences = Vec::new();
        for world in candidates {
            match model::difference(&store, world) {
                None => {
                    outcome.count("events", world.rows.len() as u64);
                    return goes_on(&store, world);
                }
                Some(difference) => differences.push(difference),
            }
        }
        let promised = &self.worlds[image.promised as usize];
        Err(format!("it is at position {last}, {} was promised; {differences:?}", promised.last_position))
    }
}

/// The next event gets the next position.
pub fn goes_on(store: &foldlog::Store, world: &World) -> Result<(), String> {
    let event = NewEvent::new("Closed", &()).map_err(|error| error.to_string())?;
    let appended = store
        .append(<Account as foldlog::Aggregate>::TYPE, "after-the-cut", Expected::New, [event])
        .map_err(|error| format!("does not go on: {error:?}"))?;
    match appended.position == world.last_position + 1 {
        true => Ok(()),
        false => Err(format!("goes on at position {} after {}", appended.position, world.last_position)),
    }
}

/// What a long log does by itself every 4,000 pages.
pub fn checkpoint(disk: &Disk, random: &mut Random) {
    let mode = ["PASSIVE", "FULL", "RESTART", "TRUNCATE"][random.index(4)];
    let flags = rusqlite::OpenFlags::SQLITE_OPEN_READ_WRITE | rusqlite::OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let bare = rusqlite::Connection::open_with_flags_and_vfs(PATH, flags, disk.name()).expect("the disk is sound");
    let done = bare.query_row(&format!("PRAGMA wal_checkpoint({mode})"), [], |row| row.get::<_, i64>(0));
    assert!(done.is_ok(), "{done:?}");
}
