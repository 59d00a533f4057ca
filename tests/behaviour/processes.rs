//! Several processes on one file. A worker is this executable itself, asked to run the one test `worker`.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use foldlog::{Aggregate, Batch, Durability, ErrorKind, Expected, NewEvent, Options, Query, RecordedEvent, Store};
use serde::{Deserialize, Serialize};
use serde_json::json;

const TASK: &str = "FOLDLOG_TEST_TASK";
const FILE: &str = "FOLDLOG_TEST_FILE";
const WORKER: &str = "FOLDLOG_TEST_WORKER";
const APPENDS: u64 = 60;

/// Not a test by itself: what a worker process runs.
#[test]
fn worker() {
    let Ok(task) = std::env::var(TASK) else { return };
    let file = PathBuf::from(std::env::var_os(FILE).unwrap());
    let number: u64 = std::env::var(WORKER).unwrap().parse().unwrap();
    match task.as_str() {
        "append" => append(&file, number),
        "deposit" => deposit(&file),
        "open" => first_opening(&file, number),
        "relative" => relative_path(),
        "visit" => drop(patient().open(&file).unwrap().append("list", "visitor", Expected::Any, [noted(number, 0)]).unwrap()),
        "refused" => println!("refused {}", Store::open(&file).unwrap_err()),
        "refused to read" => println!("refused {}", Store::open_read_only(&file).unwrap_err()),
        "elsewhere" => working_directory(&file),
        "copy" => copy(&file, number),
        "options" => {
            let policy = Options::from_env().map(|options| options.in_memory().unwrap());
            match policy {
                Ok(store) => println!("policy {}", by_threshold(&store)),
                Err(error) => println!("refused {:?} {error}", error.kind()),
            }
        }
        other => panic!("no task {other}"),
    }
}

pub fn start(task: &str, file: &Path, worker: usize) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["processes::worker", "--exact", "--nocapture", "--test-threads=1"]);
    command.env(TASK, task).env(FILE, file).env(WORKER, worker.to_string());
    command.env_remove("SNAPSHOT_THRESHOLD").env_remove("RETAIN_SNAPSHOTS");
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn run_all(task: &str, file: &Path, workers: usize) {
    let children: Vec<Child> = (0..workers).map(|worker| start(task, file, worker).spawn().unwrap()).collect();
    for child in children {
        finish(child);
    }
}

pub fn finish(child: Child) -> String {
    let output = child.wait_with_output().unwrap();
    let (said, complained) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && said.contains("1 passed"), "{said}\n{complained}");
    said.into_owned()
}

fn patient() -> Options {
    Options::new().durability(Durability::Fast).busy_timeout(Duration::from_secs(60))
}

fn events(store: &Store) -> Vec<RecordedEvent> {
    store.read(Query::new()).collect::<foldlog::Result<_>>().unwrap()
}

fn noted(worker: u64, n: u64) -> NewEvent {
    NewEvent::new(format!("By{worker}"), &json!({ "worker": worker, "n": n })).unwrap()
}

fn new_file() -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("store.db");
    (directory, file)
}

/// Appends to an aggregate of its own at exact versions, and to one that all share at any version.
fn append(file: &Path, worker: u64) {
    let store = patient().open(file).unwrap();
    for n in 0..APPENDS {
        let batch = Batch::new().append("list", format!("own-{worker}"), n, [noted(worker, n)]).append(
            "list",
            "shared",
            Expected::Any,
            [noted(worker, n)],
        );
        let appended = store.commit(batch).unwrap();
        assert_eq!((appended[0].version.get(), appended[1].position.get()), (n + 1, appended[0].position.get() + 1));
    }
}

#[test]
fn four_processes_append() {
    let (_directory, file) = new_file();
    run_all("append", &file, 4);
    let store = Store::open(&file).unwrap();
    let events = events(&store);
    assert_eq!(events.len() as u64, 4 * APPENDS * 2);
    assert!(events.iter().zip(1..).all(|(event, position)| event.position == position), "positions have no gap");
    let mut versions: HashMap<&str, u64> = HashMap::new();
    for event in &events {
        let version = versions.entry(&event.aggregate_id).or_default();
        *version += 1;
        assert_eq!(event.version, *version, "{}", event.aggregate_id);
    }
    assert_eq!(versions["shared"], 4 * APPENDS);
    assert!((0..4).all(|worker| versions[format!("own-{worker}").as_str()] == APPENDS));
    for pair in events.chunks(2) {
        assert_eq!((pair[0].commit_id, pair[1].commit_id), (pair[0].position, pair[0].position), "commits stay together");
        assert_eq!(pair[0].data, pair[1].data);
        assert_eq!(&*pair[0].event_type, format!("By{}", pair[0].data.to_value().unwrap()["worker"]));
    }
}

#[derive(Serialize, Deserialize)]
enum AccountEvent {
    Deposited { cents: u64 },
}

#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
struct Account {
    cents: u64,
}

impl Aggregate for Account {
    const TYPE: &'static str = "account";
    type Event = AccountEvent;

    fn apply(&mut self, AccountEvent::Deposited { cents }: AccountEvent) {
        self.cents += cents;
    }
}

fn deposit(file: &Path) {
    let accounts = patient().execute_attempts(100_000).open(file).unwrap().aggregates::<Account>();
    for _ in 0..APPENDS {
        accounts.execute("shared", |_| [AccountEvent::Deposited { cents: 1 }]).unwrap();
    }
}

#[test]
fn four_processes_execute_on_one_aggregate() {
    let (_directory, file) = new_file();
    run_all("deposit", &file, 4);
    let accounts = Store::open(&file).unwrap().aggregates::<Account>();
    let replayed = accounts.replay("shared").unwrap();
    assert_eq!((replayed.state.cents, replayed.version.get()), (4 * APPENDS, 4 * APPENDS));
    assert!(replayed.from_snapshot.is_some() && replayed.warnings.is_empty());
    assert_eq!(accounts.without_snapshots().replay("shared").unwrap().state, replayed.state);
}

#[test]
fn a_reader_follows_while_other_processes_write() {
    let (_directory, file) = new_file();
    let store = patient().open(&file).unwrap();
    let mut children: Vec<Child> = (0..2).map(|worker| start("append", &file, worker).spawn().unwrap()).collect();
    let deadline = Instant::now() + Duration::from_secs(120);
    let mut seen = 0;
    while seen < 2 * 2 * APPENDS {
        for event in store.read(Query::new().after_position(seen)) {
            seen += 1;
            assert_eq!(event.unwrap().position, seen, "each position once and in order");
        }
        assert!(Instant::now() < deadline, "only {seen} events came");
    }
    children.drain(..).for_each(|child| drop(finish(child)));
    assert_eq!(store.last_position().unwrap(), seen);
}

fn first_opening(file: &Path, worker: u64) {
    let store = patient().open(file).unwrap();
    store.append("list", format!("l-{worker}"), Expected::New, [noted(worker, 0)]).unwrap();
}

#[test]
fn eight_processes_open_one_new_file_at_once() {
    for _ in 0..12 {
        let (directory, file) = new_file();
        run_all("open", &file, 8);
        let store = Store::open(&file).unwrap();
        let events = events(&store);
        assert_eq!(events.iter().map(|event| event.position.get()).collect::<Vec<_>>(), (1..=8).collect::<Vec<_>>());
        assert!(events.iter().all(|event| event.origin == events[0].origin), "one of them made the file");
        drop(store);
        let left: Vec<_> = std::fs::read_dir(directory.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left, ["store.db"]);
    }
}

/// Appends while the working directory changes.
fn working_directory(file: &Path) {
    let store = patient().open(file).unwrap();
    store.append("list", "a", 0, [noted(0, 0)]).unwrap();
    std::env::set_current_dir("sub").unwrap();
    store.append("list", "a", 1, [noted(0, 1)]).unwrap();
    assert_eq!(store.version("list", "a").unwrap(), 2);
}

/// Appends, opens and closes the store, while another thread copies all its files by hand again and again.
fn copy(file: &Path, worker: u64) {
    let copied = file.to_owned();
    // Ends with the process.
    std::thread::spawn(move || {
        loop {
            for suffix in ["", "-wal", "-shm"] {
                let mut name = copied.as_os_str().to_owned();
                name.push(suffix);
                drop(std::fs::read(name));
            }
        }
    });
    for part in 0..10 {
        let store = patient().open(file).unwrap();
        for n in 0..10 {
            store.append("list", format!("copier-{worker}"), part * 10 + n, [noted(worker, n)]).unwrap();
        }
    }
}

/// Paths that are relative to the working directory, which a test cannot change for itself.
fn relative_path() {
    for name in ["plain.db", "file:uri.db", "file:uri.db?mode=memory", ":memory:", "./sub/../dots.db"] {
        Store::open(name).unwrap().append("list", "a", 0, [noted(0, 0)]).unwrap();
        assert_eq!(Store::open(name).unwrap().version("list", "a").unwrap(), 1, "{name}");
        assert!(Store::open(name).unwrap().path().unwrap().is_absolute());
        assert!(Path::new(name).is_file(), "{name}");
    }
    assert_eq!(Store::open("").unwrap_err().kind(), ErrorKind::InvalidInput);
}

#[test]
fn relative_paths_are_taken_literally() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::create_dir(directory.path().join("sub")).unwrap();
    finish(start("relative", Path::new(""), 0).current_dir(directory.path()).spawn().unwrap());
    let mut made: Vec<_> = std::fs::read_dir(directory.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    made.sort();
    assert_eq!(made, [":memory:", "dots.db", "file:uri.db", "file:uri.db?mode=memory", "plain.db", "sub"]);
}

/// What a store does with a policy: how many snapshots 12 appends leave, and at which versions.
fn by_threshold(store: &Store) -> String {
    let lists = store.json_aggregates("list");
    for n in 0..12 {
        lists.append("a", n, [noted(0, n)]).unwrap();
    }
    let versions: Vec<u64> = lists.snapshots("a").unwrap().iter().map(|snapshot| snapshot.version.get()).collect();
    format!("{versions:?}")
}

#[test]
fn the_snapshot_policy_from_the_environment() {
    let outcome = |threshold: Option<&str>, retain: Option<&str>| {
        let mut command = start("options", Path::new(""), 0);
        for (name, value) in [("SNAPSHOT_THRESHOLD", threshold), ("RETAIN_SNAPSHOTS", retain)] {
            command.envs(value.map(|value| (name, value)));
        }
        let said = finish(command.spawn().unwrap());
        said.lines().find_map(|line| line.split_once("policy ").or(line.split_once("refused "))).unwrap().1.to_owned()
    };
    assert_eq!(outcome(None, None), "[]");
    assert_eq!(outcome(Some("1"), None), "[12, 11, 10, 9, 8]");
    assert_eq!(outcome(Some("3"), None), "[12, 9, 6, 3]");
    assert_eq!(outcome(Some(" 3 "), Some("2")), "[12, 9]");
    assert_eq!(outcome(Some("0"), Some("2")), "[]");
    assert_eq!(outcome(Some("1"), Some("99999999999")), "[12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1]");
    for wrong in ["", "x", "-1", "1.5", "1e2", "100 events", "99999999999999999999"] {
        let threshold = outcome(Some(wrong), None);
        assert!(threshold.starts_with("InvalidInput from_env: ") && threshold.contains("SNAPSHOT_THRESHOLD"), "{threshold}");
        assert!(threshold.contains("whole number of at least 0"), "{threshold}");
    }
    for wrong in ["0", "five", "-5"] {
        let retain = outcome(Some("3"), Some(wrong));
        assert!(retain.starts_with("InvalidInput ") && retain.contains("RETAIN_SNAPSHOTS"), "{retain}");
        assert!(retain.contains("whole number of at least 1"), "{retain}");
    }
}
