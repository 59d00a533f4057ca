//! Projections whose process is killed: this binary starts itself again as the worker.

use std::io::{BufRead, BufReader, Write};
use std::ops::ControlFlow;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use foldlog::rusqlite::params;
use foldlog::{
    Batch, Durability, Expected, HandlerError, NewEvent, Options, Position, Projection, ReadModel, RecordedEvent, Store,
};
use serde_json::json;

use super::processes::{Random, rounds};

const TASK: &str = "FOLDLOG_PROJECTION_TASK";
const DIRECTORY: &str = "FOLDLOG_PROJECTION_DIRECTORY";
/// So long a killed runner keeps the others waiting.
const LEASE: Duration = Duration::from_millis(60);

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
            std::io::stdout().write_all(format!("applied {}\n", event.position).as_bytes())?;
        }
        Ok(())
    }
}

/// Not a test by itself: what a worker process runs.
#[test]
#[ignore = "a process that the other tests start and kill"]
fn worker() {
    let (Ok(task), Ok(directory)) = (std::env::var(TASK), std::env::var(DIRECTORY)) else { return };
    let store = Store::open(Path::new(&directory).join("events.db")).unwrap();
    match task.as_str() {
        "run" => {
            let runner = store.projection(Sums { factor: 1, talks: true }).unwrap().lease(LEASE);
            loop {
                match runner.run_to_end() {
                    Ok(_) => break,
                    // The one that was killed still has the lead.
                    Err(error) if error.is_retryable() => std::thread::sleep(Duration::from_millis(2)),
                    Err(error) => panic!("{error:?}"),
                }
            }
        }
        "rebuild" => {
            let runner = store.projection(Sums { factor: 2, talks: true }).unwrap();
            assert!(runner.rebuild(|_| ControlFlow::Continue(())).unwrap().finished);
        }
        "follow" => {
            let _follower = store.projection(Sums { factor: 1, talks: true }).unwrap().lease(LEASE).follow().unwrap();
            std::thread::sleep(Duration::from_secs(600));
        }
        other => panic!("no task {other}"),
    }
}

struct Worker {
    child: Child,
    lines: BufReader<ChildStdout>,
}

fn start(task: &str, directory: &Path) -> Worker {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "projection_processes::worker", "--ignored", "--nocapture"])
        .env(TASK, task)
        .env(DIRECTORY, directory)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap());
    Worker { child, lines }
}

impl Worker {
    /// Waits until it has applied so many events; returns whether it did before it ended.
    fn wait_for(&mut self, mut events: u64) -> bool {
        let mut line = String::new();
        while events > 0 {
            line.clear();
            if self.lines.read_line(&mut line).unwrap() == 0 {
                return false;
            }
            events -= u64::from(line.starts_with("applied"));
        }
        true
    }

    fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Lets it come to its end.
    fn finish(mut self) {
        assert!(!self.wait_for(u64::MAX));
        assert!(self.child.wait().unwrap().success());
    }
}

/// A store for the process of the test, which only appends and looks.
fn appending(directory: &Path) -> Store {
    Options::new().durability(Durability::Fast).open(directory.join("events.db")).unwrap()
}

fn append(store: &Store, random: &mut Random, events: u64) {
    let mut batch = Batch::new();
    for _ in 0..events {
        let event = NewEvent::new("Counted", &json!({ "n": random.below(1_000) })).unwrap();
        batch = batch.append("counter", format!("c-{}", random.below(7)), Expected::Any, [event]);
    }
    store.commit(batch).unwrap();
}

type Rows = Vec<(String, u64, u64)>;

/// What the table must hold when it stands at a position: every event up to there, once.
fn replayed(store: &Store, through: u64, factor: u64) -> Rows {
    let mut rows = std::collections::BTreeMap::new();
    for event in store.read(foldlog::Query::new().up_to_position(through)) {
        let event = event.unwrap();
        let row: &mut (u64, u64) = rows.entry(event.aggregate_id.to_string()).or_default();
        row.0 += factor * event.data.to_value().unwrap()["n"].as_u64().unwrap();
        row.1 += 1;
    }
    rows.into_iter().map(|(counter, (total, events))| (counter, total, events)).collect()
}

/// The table's rows and the checkpoint, of one moment.
fn projected(store: &Store) -> (Rows, u64) {
    let sql =
        "SELECT counter, total, events, position FROM subscriptions LEFT JOIN sums ON true WHERE name = 'sums' ORDER BY counter";
    let rows = store
        .query_read_model(sql, [], |row| Ok((row.get::<_, Option<String>>(0)?, row.get(1)?, row.get(2)?, row.get(3)?)))
        .unwrap();
    let position = rows[0].3;
    let rows = rows
        .into_iter()
        .filter_map(|(counter, total, events, _): (_, Option<u64>, Option<u64>, u64)| Some((counter?, total?, events?)));
    (rows.collect(), position)
}

#[test]
fn killed_in_its_batches_a_projection_takes_each_event_exactly_once() {
    let directory = tempfile::tempdir().unwrap();
    let store = appending(directory.path());
    store.projection(Sums { factor: 1, talks: false }).unwrap();
    let mut random = Random::new();
    let rounds = rounds(30, 2_000);
    let (mut killed, mut midway) = (0, 0);
    for round in 0..rounds {
        let events = 1 + random.below(300);
        append(&store, &mut random, events);
        let last = store.last_position().unwrap().get();
        let mut worker = start("run", directory.path());
        // Often more than there is to do, so that some rounds come to their end.
        if worker.wait_for(1 + random.below(events * 5 / 4)) {
            worker.kill();
            killed += 1;
        } else {
            worker.finish();
        }
        let (rows, position) = projected(&store);
        midway += u64::from(position < last);
        // Each look costs a replay of everything.
        if rounds <= 100 || round % 50 == 0 || round + 1 == rounds {
            assert_eq!(rows, replayed(&store, position, 1), "round {round}, at {position} of {last}");
        }
    }
    start("run", directory.path()).finish();
    let last = store.last_position().unwrap().get();
    assert_eq!(projected(&store), (replayed(&store, last, 1), last));
    println!("{killed} of {rounds} killed, {midway} of them with work left, {last} events");
    assert!(midway >= rounds / 4, "only {midway} of {rounds} were killed in the midst of their work");
}

/// How far the tables of a rebuild are.
fn rebuilt(store: &Store) -> Option<u64> {
    store.query_read_model("SELECT rebuild_position FROM subscriptions", [], |row| row.get(0)).unwrap()[0]
}

#[test]
fn a_rebuild_that_is_killed_goes_on_and_the_old_tables_serve_meanwhile() {
    let mut random = Random::new();
    let (mut killed, mut resumed) = (0, 0);
    for _ in 0..rounds(4, 100) {
        let directory = tempfile::tempdir().unwrap();
        let store = appending(directory.path());
        append(&store, &mut random, 6_000);
        store.projection(Sums { factor: 1, talks: false }).unwrap().run_to_end().unwrap();
        let (old, at) = projected(&store);
        let mut built = 0;
        loop {
            append(&store, &mut random, 10);
            let mut worker = start("rebuild", directory.path());
            if !worker.wait_for(1 + random.below(4_000)) {
                worker.finish();
                break;
            }
            worker.kill();
            killed += 1;
            match rebuilt(&store) {
                Some(now) => {
                    assert!(now >= built, "it went back from {built} to {now}");
                    resumed += u64::from(built > 0 && now > built);
                    built = now;
                    assert_eq!(projected(&store), (old.clone(), at), "the old tables serve");
                }
                // Killed after the swap.
                None if store.subscriptions().unwrap()[0].version == 2 => break,
                None => assert_eq!(built, 0, "it began anew"),
            }
        }
        let runner = store.projection(Sums { factor: 2, talks: false }).unwrap();
        runner.run_to_end().unwrap();
        let last = store.last_position().unwrap().get();
        assert_eq!(projected(&store), (replayed(&store, last, 2), last));
        let tables = "SELECT count(*) FROM sqlite_schema WHERE name LIKE 'sums%'";
        assert_eq!(store.query_read_model(tables, [], |row| row.get::<_, u64>(0)).unwrap(), [1], "nothing is left over");
    }
    println!("{killed} killed, {resumed} went on from where another was");
    assert!(resumed > 0, "no rebuild was killed twice");
}

#[test]
fn two_processes_follow_and_each_event_is_taken_once() {
    let directory = tempfile::tempdir().unwrap();
    let store = appending(directory.path());
    store.projection(Sums { factor: 1, talks: false }).unwrap();
    let mut random = Random::new();
    let mut workers = [start("follow", directory.path()), start("follow", directory.path())];
    for _ in 0..rounds(12, 300) {
        let events = 1 + random.below(60);
        append(&store, &mut random, events);
        if random.below(3) == 0 {
            // One of them, perhaps the leader, perhaps in the midst of a batch.
            let worker = &mut workers[random.below(2) as usize];
            std::mem::replace(worker, start("follow", directory.path())).kill();
        }
        if random.below(3) == 0 {
            store.wait_until("sums", store.last_position().unwrap(), Duration::from_secs(60)).unwrap();
        }
    }
    let last = store.last_position().unwrap();
    store.wait_until("sums", last, Duration::from_secs(60)).unwrap();
    assert_eq!(projected(&store), (replayed(&store, last.get(), 1), last.get()));
    workers.into_iter().for_each(Worker::kill);
    assert_ne!(last, Position::ZERO);
}
