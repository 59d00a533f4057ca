//! kill -9 of a projection in its batches and in its rebuild: each event takes effect exactly once.

use std::io::Write;
use std::ops::ControlFlow;
use std::path::Path;
use std::time::{Duration, Instant};

use foldlog::rusqlite::params;
use foldlog::{Batch, Durability, Expected, HandlerError, NewEvent, Options, Projection, ReadModel, RecordedEvent, Store};
use serde_json::json;

use crate::support::outcome::Outcome;
use crate::support::random::Random;
use crate::worker::Worker;

const TASK: &str = "FOLDLOG_PROJECTION_TASK";
const DIRECTORY: &str = "FOLDLOG_PROJECTION_DIRECTORY";
/// So long a killed runner keeps the others waiting.
const LEASE: Duration = Duration::from_millis(60);
/// Rounds on one file; then a new one. Each look at the tables costs a replay of everything.
const ROUNDS_EACH: u64 = 30;

/// Sums and counts for each counter. Says so on stdout after each event, before the transaction has committed.
struct Sums {
    factor: u32,
    talks: bool,
}

impl Projection for Sums {
    fn name(&self) -> &str {
        "sums"
    }

    fn version(&self) -> u32 {
        self.factor
    }

    fn tables(&self) -> Vec<String> {
        vec!["sums".into()]
    }

    fn create(&self, model: &ReadModel<'_>) -> Result<(), HandlerError> {
        Ok(model
            .execute_batch("CREATE TABLE {sums} (counter TEXT PRIMARY KEY, total INTEGER NOT NULL, events INTEGER NOT NULL)")?)
    }

    fn apply(&self, event: &RecordedEvent, model: &ReadModel<'_>) -> Result<(), HandlerError> {
        let n = event.data.to_value()?["n"].as_u64().ok_or("no number")? * u64::from(self.factor);
        let sql = "INSERT INTO {sums} VALUES (?1, ?2, 1) ON CONFLICT DO UPDATE SET total = total + ?2, events = events + 1";
        model.execute(sql, params![&*event.aggregate_id, n])?;
        if self.talks {
            std::io::stdout().write_all(format!("\napplied {}\n", event.position).as_bytes())?;
        }
        Ok(())
    }
}

/// If this process was started as a worker: works until its task is done or it is killed. Returns whether it was.
pub fn work_if_asked() -> bool {
    let (Ok(task), Ok(directory)) = (std::env::var(TASK), std::env::var(DIRECTORY)) else { return false };
    let store = Store::open(Path::new(&directory).join("events.db")).expect("opens after any kill");
    let runner = |factor| store.projection(Sums { factor, talks: true }).expect("a projection").lease(LEASE);
    match task.as_str() {
        "run" => {
            let runner = runner(1);
            loop {
                match runner.run_to_end() {
                    Ok(_) => break,
                    // The one that was killed still has the lead.
                    Err(error) if error.is_retryable() => std::thread::sleep(Duration::from_millis(2)),
                    Err(error) => panic!("{error:?}"),
                }
            }
        }
        "rebuild" => assert!(runner(2).rebuild(|_| ControlFlow::Continue(())).expect("rebuilds").finished),
        "follow" => {
            let _follower = runner(1).follow().expect("a thread");
            std::thread::sleep(Duration::from_secs(600));
        }
        other => panic!("no task {other}"),
    }
    true
}

/// `arguments` make this program come to [`work_if_asked`].
fn start(arguments: &[&str], task: &str, directory: &Path) -> Worker {
    Worker::start(arguments, &[(TASK, task.to_owned()), (DIRECTORY, directory.display().to_string())], "applied")
}

/// A file, and a store on it for this process, which only appends and looks.
struct Log {
    directory: tempfile::TempDir,
    store: Store,
}

type Rows = Vec<(String, u64, u64)>;

impl Log {
    fn new() -> Log {
        let directory = tempfile::tempdir().expect("a directory");
        let store = Options::new().durability(Durability::Fast).open(directory.path().join("events.db")).expect("a file");
        store.projection(Sums { factor: 1, talks: false }).expect("a projection");
        Log { directory, store }
    }

    fn start(&self, arguments: &[&str], task: &str) -> Worker {
        start(arguments, task, self.directory.path())
    }

    fn append(&self, random: &mut Random, events: u64) {
        let mut batch = Batch::new();
        for _ in 0..events {
            let event = NewEvent::new("Counted", &json!({ "n": random.below(1_000) })).expect("an event");
            batch = batch.append("counter", format!("c-{}", random.below(7)), Expected::Any, [event]);
        }
        self.store.commit(batch).expect("appends");
    }

    fn last(&self) -> u64 {
        self.store.last_position().expect("reads").get()
    }

    /// What the table must hold when it stands at a position: every event up to there, once.
    fn replayed(&self, through: u64, factor: u64) -> Rows {
        let mut rows = std::collections::BTreeMap::new();
        for event in self.store.read(foldlog::Query::new().up_to_position(through)) {
            let event = event.expect("reads");
            let row: &mut (u64, u64) = rows.entry(event.aggregate_id.to_string()).or_default();
            row.0 += factor * event.data.to_value().expect("JSON")["n"].as_u64().expect("a number");
            row.1 += 1;
        }
        rows.into_iter().map(|(counter, (total, events))| (counter, total, events)).collect()
    }

    /// The table's rows and the checkpoint, of one moment.
    fn projected(&self) -> (Rows, u64) {
        let sql = "SELECT counter, total, events, position FROM subscriptions LEFT JOIN sums ON true WHERE name = 'sums'
                   ORDER BY counter";
        let row = |row: &foldlog::rusqlite::Row<'_>| {
            let counter: Option<String> = row.get(0)?;
            let found = match counter {
                Some(counter) => Some((counter, row.get(1)?, row.get(2)?)),
                None => None,
            };
            Ok((found, row.get(3)?))
        };
        let rows = self.store.query_read_model(sql, [], row).expect("reads");
        let position = rows[0].1;
        (rows.into_iter().filter_map(|(found, _)| found).collect(), position)
    }

    /// Whether the table holds what it must at its checkpoint; returns that.
    fn check(&self, factor: u64) -> Result<u64, String> {
        let (rows, position) = self.projected();
        match rows == self.replayed(position, factor) {
            true => Ok(position),
            false => Err(format!("at {position} of {} the rows are not those of a replay", self.last())),
        }
    }

    fn check_at_end(&self, factor: u64) -> Result<(), String> {
        match (self.check(factor)?, self.last()) {
            (position, last) if position == last => Ok(()),
            (position, last) => Err(format!("it ended at {position} of {last}")),
        }
    }

    /// How far the tables of a rebuild are.
    fn rebuilt(&self) -> Option<u64> {
        let sql = "SELECT rebuild_position FROM subscriptions";
        self.store.query_read_model(sql, [], |row| row.get(0)).expect("reads")[0]
    }
}

/// Kills workers in their batches, this many times.
pub fn run(rounds: u64, arguments: &[&str], seed: u64) -> Outcome {
    let began = Instant::now();
    let (mut outcome, mut random) = (Outcome::new(seed), Random::new(seed));
    while outcome.rounds < rounds {
        let log = Log::new();
        let done = (0..ROUNDS_EACH.min(rounds - outcome.rounds)).try_for_each(|_| {
            outcome.rounds += 1;
            round(&log, arguments, &mut random, &mut outcome)
        });
        let done = done.and_then(|()| log.start(arguments, "run").finishes()).and_then(|()| log.check_at_end(1));
        if let Err(violation) = done {
            outcome.violation(violation);
        }
        outcome.count("events", log.last());
    }
    outcome.time = began.elapsed();
    outcome
}

fn round(log: &Log, arguments: &[&str], random: &mut Random, outcome: &mut Outcome) -> Result<(), String> {
    let events = 1 + random.below(300);
    log.append(random, events);
    let mut worker = log.start(arguments, "run");
    // Often more than there is to do, so that some rounds come to their end.
    if worker.wait_for(1 + random.below(events * 5 / 4)) {
        worker.kill();
        outcome.count("killed", 1);
    } else {
        worker.finishes()?;
    }
    outcome.count("with work left", u64::from(log.check(1)? < log.last()));
    Ok(())
}

/// Rebuilds this many projections with workers that are killed until one comes to its end.
pub fn run_rebuilds(rounds: u64, arguments: &[&str], seed: u64) -> Outcome {
    let began = Instant::now();
    let (mut outcome, mut random) = (Outcome::new(seed), Random::new(seed));
    while outcome.rounds < rounds {
        outcome.rounds += 1;
        if let Err(violation) = rebuild(arguments, &mut random, &mut outcome) {
            outcome.violation(violation);
        }
    }
    outcome.time = began.elapsed();
    outcome
}

fn rebuild(arguments: &[&str], random: &mut Random, outcome: &mut Outcome) -> Result<(), String> {
    let log = Log::new();
    log.append(random, 6_000);
    let runner = |factor| log.store.projection(Sums { factor, talks: false });
    let of = |error: foldlog::Error| format!("{error:?}");
    runner(1).and_then(|runner| runner.run_to_end()).map_err(of)?;
    let old = log.projected();
    let mut built = 0;
    loop {
        log.append(random, 10);
        let mut worker = log.start(arguments, "rebuild");
        if !worker.wait_for(1 + random.below(4_000)) {
            worker.finishes()?;
            break;
        }
        worker.kill();
        outcome.count("killed", 1);
        match log.rebuilt() {
            Some(now) if now < built => return Err(format!("it went back from {built} to {now}")),
            Some(now) => {
                outcome.count("went on", u64::from(built > 0 && now > built));
                built = now;
                if log.projected() != old {
                    return Err("the old tables do not serve meanwhile".to_owned());
                }
            }
            // Killed after the swap.
            None if log.store.subscriptions().map_err(of)?[0].version == 2 => break,
            None if built > 0 => return Err("it began anew".to_owned()),
            None => {}
        }
    }
    runner(2).and_then(|runner| runner.run_to_end()).map_err(of)?;
    log.check_at_end(2)?;
    let tables = "SELECT count(*) FROM sqlite_schema WHERE name LIKE 'sums%'";
    match log.store.query_read_model(tables, [], |row| row.get::<_, u64>(0)).map_err(of)?[0] {
        1 => Ok(()),
        tables => Err(format!("{tables} tables are left")),
    }
}

/// Two workers follow; now and then one of them is killed and another one started.
pub fn run_followers(rounds: u64, arguments: &[&str], seed: u64) -> Outcome {
    let began = Instant::now();
    let (mut outcome, mut random) = (Outcome::new(seed), Random::new(seed));
    let log = Log::new();
    let mut workers = [log.start(arguments, "follow"), log.start(arguments, "follow")];
    let caught_up =
        || log.store.subscription("sums").wait_until(log.last(), Duration::from_secs(60)).map_err(|error| format!("{error:?}"));
    while outcome.rounds < rounds && outcome.violations == 0 {
        outcome.rounds += 1;
        let events = 1 + random.below(60);
        log.append(&mut random, events);
        if random.below(3) == 0 {
            // One of them, perhaps the leader, perhaps in the midst of a batch.
            let worker = &mut workers[random.index(2)];
            std::mem::replace(worker, log.start(arguments, "follow")).kill();
            outcome.count("killed", 1);
        }
        if random.below(3) == 0
            && let Err(violation) = caught_up()
        {
            outcome.violation(violation);
        }
    }
    if let Err(violation) = caught_up().and_then(|()| log.check_at_end(1)) {
        outcome.violation(violation);
    }
    workers.into_iter().for_each(Worker::kill);
    outcome.time = began.elapsed();
    outcome
}
