//! Who leads: through deaths, slow handlers, events that kill. This binary starts itself again as the worker.

use std::io::Write;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use foldlog::{ErrorKind, HandlerError, Projection, ReadModel, RecordedEvent, Store};

use super::worker::Worker;
use super::{count, store};

const ARGUMENTS: &[&str] = &["--exact", "leases::worker", "--ignored", "--nocapture"];
const TASK: &str = "FOLDLOG_LEASE_TASK";
const DIRECTORY: &str = "FOLDLOG_LEASE_DIRECTORY";

/// The event that kills.
const POISON: u64 = 5;

struct Deadly;

impl Projection for Deadly {
    fn name(&self) -> &str {
        "deadly"
    }

    fn tables(&self) -> Vec<String> {
        vec!["deadly".into()]
    }

    fn create(&self, model: &ReadModel<'_>) -> Result<(), HandlerError> {
        Ok(model.execute_batch("CREATE TABLE {deadly} (position INTEGER PRIMARY KEY)")?)
    }

    fn apply(&self, event: &RecordedEvent, model: &ReadModel<'_>) -> Result<(), HandlerError> {
        model.execute("INSERT INTO {deadly} VALUES (?1)", [event.position.get()])?;
        if event.position == POISON && std::env::var(TASK).is_ok() {
            std::process::abort();
        }
        Ok(())
    }
}

fn handled(event: &RecordedEvent) -> Result<(), HandlerError> {
    Ok(std::io::stdout().write_all(format!("\nhandled {}\n", event.position).as_bytes())?)
}

/// Not a test by itself: what a process of the schedules runs.
#[test]
#[ignore = "a process that the other tests start and kill"]
fn schedules_worker() {
    super::schedules::work_if_asked();
}

/// Deaths, slow handlers, and clocks that jump by years: the short form of the proof.
#[test]
fn in_no_schedule_is_an_event_missed_or_handled_by_two_at_once() {
    let arguments = &["--exact", "leases::schedules_worker", "--ignored", "--nocapture"];
    let outcome = super::schedules::run(20, arguments, super::support::random::seed()).expect_clean();
    assert!(outcome.counted("taken over") > 0, "no leader was killed: {:?}", outcome.counts);
}

/// Not a test by itself: what a worker process runs.
#[test]
#[ignore = "a process that the other tests start and kill"]
fn worker() {
    let (Ok(task), Ok(directory)) = (std::env::var(TASK), std::env::var(DIRECTORY)) else { return };
    let store = Store::open(Path::new(&directory).join("events.db")).expect("opens after any kill");
    match task.as_str() {
        "follow" => {
            let _follower = store.subscription("s").follow(handled).expect("a thread");
            std::thread::sleep(Duration::from_secs(600));
        }
        "hang" => drop(store.subscription("s").run_to_end(|event| {
            handled(event)?;
            std::thread::sleep(Duration::from_secs(600));
            Ok(())
        })),
        "handler" => drop(store.subscription("deadly").checkpoint_every(1_000).run_to_end(|event| {
            if event.position == POISON {
                std::process::abort();
            }
            Ok(())
        })),
        "projection" => drop(store.projection(Deadly).expect("a projection").run_to_end()),
        other => panic!("no task {other}"),
    }
}

fn start(task: &str, directory: &tempfile::TempDir) -> Worker {
    let settings = [(TASK, task.to_owned()), (DIRECTORY, directory.path().display().to_string())];
    Worker::start(ARGUMENTS, &settings, "handled")
}

/// Which positions a follower handled, and when.
type Seen = Arc<Mutex<Vec<(u64, Instant)>>>;

fn noting(seen: &Seen) -> impl FnMut(&RecordedEvent) -> Result<(), HandlerError> + Send + use<> {
    let seen = seen.clone();
    move |event| {
        seen.lock().unwrap().push((event.position.get(), Instant::now()));
        Ok(())
    }
}

#[test]
fn a_killed_leader_is_replaced_in_below_a_second() {
    let (directory, store) = store();
    let mut waits = Vec::new();
    for round in 0..3 {
        let mut leader = start("follow", &directory);
        count(&store, 2 * round, 2 * round + 1);
        assert!(leader.wait_for(1));
        let seen = Seen::default();
        let follower = store.subscription("s").follow(noting(&seen)).unwrap();
        std::thread::sleep(Duration::from_millis(1_200));
        assert!(!follower.is_leading(), "a leader that lives keeps the lead");
        leader.kill();
        let killed = Instant::now();
        count(&store, 2 * round + 1, 2 * round + 2);
        store.subscription("s").wait_until(2 * round + 2, Duration::from_secs(20)).unwrap();
        let (_, at) = *seen.lock().unwrap().last().unwrap();
        waits.push(at.saturating_duration_since(killed));
        follower.stop();
    }
    waits.sort();
    assert!(waits[1] < Duration::from_secs(1), "{waits:?}");
}

#[test]
fn whoever_runs_to_the_end_replaces_a_killed_one_too_and_is_told_of_a_living_one() {
    let (directory, store) = store();
    count(&store, 0, 3);
    let mut hanging = start("hang", &directory);
    assert!(hanging.wait_for(1));
    let began = Instant::now();
    assert_eq!(store.subscription("s").run_to_end(|_| Ok(())).unwrap_err().kind(), ErrorKind::Busy);
    assert!(began.elapsed() < Duration::from_secs(1), "a handler that hangs still leads, and that is said soon");
    hanging.kill();
    let killed = Instant::now();
    assert_eq!(store.subscription("s").run_to_end(|_| Ok(())).unwrap(), 3);
    assert!(killed.elapsed() < Duration::from_secs(1), "{:?}", killed.elapsed());
}

#[test]
fn an_operator_can_take_the_lead_away() {
    let (directory, store) = store();
    count(&store, 0, 3);
    assert_eq!(store.subscription("s").break_lease().unwrap_err().kind(), ErrorKind::NotFound);
    let mut hanging = start("hang", &directory);
    assert!(hanging.wait_for(1));
    let subscription = store.subscription("s");
    assert!(subscription.break_lease().unwrap() && !subscription.break_lease().unwrap());
    assert_eq!(subscription.run_to_end(|_| Ok(())).unwrap(), 3);
    hanging.kill();
}

/// Slower than its lease, and without a checkpoint in between: the lead is kept, nobody else handles anything.
#[test]
fn a_slow_handler_keeps_the_lead_whatever_its_checkpoints_are() {
    let (directory, store) = store();
    let other = Store::open(directory.path().join("events.db")).unwrap();
    count(&store, 0, 8);
    let (calls, by_other) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let lease = Duration::from_millis(200);
    let run = |store: &Store, calls: &Arc<AtomicU64>| {
        let calls = calls.clone();
        let subscription = store.subscription("slow").lease(lease).checkpoint_every(1_000);
        subscription
            .follow(move |_| {
                calls.fetch_add(1, Ordering::Relaxed);
                std::thread::sleep(Duration::from_millis(300));
                Ok(())
            })
            .unwrap()
    };
    let slow = run(&store, &calls);
    super::outbox::until("it works", || calls.load(Ordering::Relaxed) > 0);
    let standing_by = run(&other, &by_other);
    store.subscription("slow").wait_until(8, Duration::from_secs(30)).unwrap();
    assert_eq!((calls.load(Ordering::Relaxed), by_other.load(Ordering::Relaxed)), (8, 0));
    assert!(slow.is_leading() && !standing_by.is_leading());
}

/// Lets workers die until one does not; returns how many died.
fn die(task: &str, directory: &tempfile::TempDir) -> u32 {
    let mut deaths = 0;
    while !start(task, directory).succeeds() {
        deaths += 1;
        assert!(deaths <= 3, "it kills for ever");
    }
    deaths
}

#[test]
fn an_event_that_kills_its_handlers_is_named_and_can_be_skipped_or_retried() {
    let (directory, store) = store();
    count(&store, 0, 10);
    assert_eq!(die("handler", &directory), 3);
    let subscription = store.subscription("deadly");
    let status = subscription.status().unwrap();
    let failure = status.failure.unwrap();
    assert_eq!((status.position.get(), failure.position.get(), failure.deaths), (POISON - 1, POISON, 2));
    assert!(failure.reason.contains("died"), "{}", failure.reason);
    for _ in 0..2 {
        let error = subscription.run_to_end(|_| Ok(())).unwrap_err();
        assert_eq!((error.kind(), error.position().unwrap().get()), (ErrorKind::Handler, POISON));
    }
    // Mended, it is tried again; or it is passed over.
    assert_eq!(subscription.retry_failed().unwrap(), POISON);
    let mut first = None;
    let _ = subscription.run_to_end(|event| {
        first.get_or_insert(event.position);
        Err("not mended".into())
    });
    assert_eq!(first.unwrap(), POISON);
    assert_eq!(subscription.skip_failed().unwrap(), POISON);
    assert_eq!(subscription.run_to_end(|_| Ok(())).unwrap(), 10 - POISON);
    assert_eq!(subscription.retry_failed().unwrap_err().kind(), ErrorKind::NotFound);
    assert!(store.maintenance().verify(|_| std::ops::ControlFlow::Continue(())).unwrap().is_clean());
}

#[test]
fn an_event_that_kills_its_projection_is_named_and_can_be_skipped() {
    let (directory, store) = store();
    count(&store, 0, 10);
    assert_eq!(die("projection", &directory), 3);
    let runner = store.projection(Deadly).unwrap();
    assert_eq!(runner.status().unwrap().failure.unwrap().position, POISON);
    assert_eq!(runner.run_to_end().unwrap_err().position().unwrap(), POISON);
    assert_eq!(runner.skip_failed().unwrap(), POISON);
    assert_eq!(runner.run_to_end().unwrap(), 10 - POISON);
    let events: u64 = store.query_read_model("SELECT count(*) FROM deadly", [], |row| row.get(0)).unwrap()[0];
    assert_eq!(events, 9);
}

#[test]
fn a_death_that_was_not_the_events_fault_changes_nothing() {
    let (directory, store) = store();
    count(&store, 0, 10);
    let mut killed = start("hang", &directory);
    assert!(killed.wait_for(1));
    killed.kill();
    let mut seen = Vec::new();
    let handled = store.subscription("s").run_to_end(|event| {
        seen.push(event.position.get());
        Ok(())
    });
    assert_eq!((handled.unwrap(), seen), (10, (1..=10).collect()));
    assert_eq!(store.subscription("s").status().unwrap().failure, None);
}
