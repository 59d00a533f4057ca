//! Eight writers in four processes, and readers beside them: each position is seen once and in order, and of all who want
//! an expected version one gets it.

use std::fs::File;
use std::io::Write;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use foldlog::{Batch, Durability, ErrorKind, Expected, NewEvent, Options, Position, Query, Store};

use crate::support::outcome::Outcome;
use crate::support::random::Random;
use crate::worker::Worker;

const DIRECTORY: &str = "FOLDLOG_READERS_DIRECTORY";
const NUMBER: &str = "FOLDLOG_READERS_NUMBER";
const EVENTS: &str = "FOLDLOG_READERS_EVENTS";
const RACES: &str = "FOLDLOG_READERS_RACES";
const PROCESSES: u64 = 4;
/// Of each process.
const THREADS: u64 = 2;
const WRITERS: u64 = PROCESSES * THREADS;
const LONGEST_BATCH: u64 = 40;
const PATIENCE: Duration = Duration::from_secs(60);

fn open(directory: &Path) -> Store {
    let options = Options::new().durability(Durability::Fast).busy_timeout(PATIENCE);
    options.open(directory.join("store.db")).expect("the store opens")
}

/// If this process was started as a worker: writes what it was asked for. Returns whether it was.
pub fn work_if_asked() -> bool {
    let Ok(directory) = std::env::var(DIRECTORY) else { return false };
    let number = |name: &str| std::env::var(name).expect("it is set").parse::<u64>().expect("a number");
    let (process, events, races) = (number(NUMBER), number(EVENTS), number(RACES));
    let store = open(Path::new(&directory));
    std::thread::scope(|scope| {
        for writer in process * THREADS..(process + 1) * THREADS {
            let (store, directory) = (&store, Path::new(&directory));
            scope.spawn(move || {
                append(store, writer, events);
                race(store, &directory.join(format!("wins-{writer}")), writer, races);
            });
        }
    });
    true
}

/// To an aggregate of its own, to one that all share, and to both at once.
fn append(store: &Store, writer: u64, events: u64) {
    let mut random = Random::new(writer);
    let own = format!("own-{writer}");
    let new = |range: Range<u64>| range.map(|n| NewEvent::new("Written", &(writer, n)).expect("an event"));
    let mut done = 0;
    while done < events {
        let count = (1 + random.below(LONGEST_BATCH)).min(events - done);
        let part = random.below(count + 1);
        let parts = [(own.as_str(), done..done + part), ("shared", done + part..done + count)];
        let batch = parts
            .into_iter()
            .filter(|(_, range)| !range.is_empty())
            .fold(Batch::new(), |batch, (id, range)| batch.append("list", id, Expected::Any, new(range)));
        store.commit(batch).expect("appends");
        done += count;
    }
}

/// Tries to be the one who appends each version; notes those that it was told to have won.
fn race(store: &Store, wins: &Path, writer: u64, races: u64) {
    let mut wins = File::create(wins).expect("a file");
    let mut version = 0;
    while version < races {
        let event = NewEvent::new("Won", &writer).expect("an event");
        match store.append("race", "race", version, [event]) {
            Ok(appended) => {
                version = appended.version.get();
                writeln!(wins, "{version}").expect("writes");
            }
            Err(error) if error.kind() == ErrorKind::Conflict => {
                version = error.conflict().expect("a conflict says who won").actual.get();
            }
            Err(error) => panic!("{error:?}"),
        }
    }
}

/// Lets the writers append about this many events, and race for each of `races` versions, on one file.
pub fn run(events: u64, races: u64, arguments: &[&str], seed: u64) -> Outcome {
    let began = Instant::now();
    let mut outcome = Outcome::new(seed);
    let directory = tempfile::tempdir().expect("a directory");
    let store = open(directory.path());
    let seen = Arc::new(AtomicU64::new(0));
    let follower = store
        .subscription("tail")
        .follow({
            let seen = seen.clone();
            move |event| match seen.fetch_add(1, Ordering::Relaxed) + 1 == event.position.get() {
                true => Ok(()),
                false => Err(format!("{} follows {}", event.position, seen.load(Ordering::Relaxed) - 1).into()),
            }
        })
        .expect("a follower");
    let workers: Vec<Worker> = (0..PROCESSES)
        .map(|process| {
            let settings = [
                (DIRECTORY, directory.path().display().to_string()),
                (NUMBER, process.to_string()),
                (EVENTS, events.div_ceil(WRITERS).to_string()),
                (RACES, races.to_string()),
            ];
            Worker::start(arguments, &settings, "done")
        })
        .collect();
    let total = events.div_ceil(WRITERS) * WRITERS + races;
    match read_along(&store, total) {
        Ok(pages) => outcome.count("pages read", pages),
        Err(violation) => outcome.violation(violation),
    }
    for worker in workers {
        worker.finishes().unwrap_or_else(|failure| outcome.violation(failure));
    }
    if let Err(error) = store.subscription("tail").wait_until(Position::new(total), PATIENCE) {
        outcome.violation(format!("the follower: {error}"));
    }
    drop(follower);
    check_wins(&store, directory.path(), races).unwrap_or_else(|violation| outcome.violation(violation));
    outcome.rounds = total;
    outcome.count("races", races);
    outcome.time = began.elapsed();
    outcome
}

/// Reads on from the last position as long as the writers write.
fn read_along(store: &Store, total: u64) -> Result<u64, String> {
    let (mut seen, mut pages, mut idle) = (0, 0, Instant::now());
    while seen < total {
        let before = seen;
        for event in store.read(Query::new().after_position(seen)) {
            let event = event.map_err(|error| format!("after {seen}: {error:?}"))?;
            seen += 1;
            if event.position != seen {
                return Err(format!("position {} is seen after {}", event.position, seen - 1));
            }
        }
        pages += 1;
        if seen > before {
            idle = Instant::now();
        } else if idle.elapsed() > PATIENCE {
            return Err(format!("only {seen} of {total} events came"));
        }
    }
    Ok(pages)
}

/// Each version was won once, by the writer whose event it is.
fn check_wins(store: &Store, directory: &Path, races: u64) -> Result<(), String> {
    let mut winners = vec![Vec::new(); races as usize];
    for writer in 0..WRITERS {
        let wins = std::fs::read_to_string(directory.join(format!("wins-{writer}"))).map_err(|error| error.to_string())?;
        for version in wins.lines().map(|line| line.parse::<usize>().expect("a number")) {
            winners[version - 1].push(writer);
        }
    }
    for (event, winners) in store.read(Query::aggregate("race", "race")).zip(&winners) {
        let event = event.map_err(|error| error.to_string())?;
        let writer: u64 = event.data.parse().map_err(|error| error.to_string())?;
        if *winners != [writer] {
            return Err(format!("version {} is of writer {writer}, and {winners:?} say they won it", event.version));
        }
    }
    Ok(())
}
