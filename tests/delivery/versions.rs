//! Two versions of an application with one file: each is a process of its own, this binary started again. The tests tell
//! them what to do, line by line. The table of docs/delivery.md has one test for each of its nine fields.

use std::io::{BufRead, BufReader, Write};
use std::ops::ControlFlow::{Break, Continue};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use foldlog::rusqlite::params;
use foldlog::{Error, Follower, HandlerError, Projection, ReadModel, RecordedEvent, StopReason, Store};

use super::{count, store};

const VERSION: &str = "FOLDLOG_APP_VERSION";
const DIRECTORY: &str = "FOLDLOG_APP_DIRECTORY";
const OUTDATED: &str = "projection_outdated";
const PATIENCE: Duration = Duration::from_secs(20);

/// Numbers times the version, so that the rows show which definition made them. Version 2 has a table more.
struct Numbers(u32);

impl Projection for Numbers {
    fn name(&self) -> &str {
        "numbers"
    }

    fn version(&self) -> u32 {
        self.0
    }

    fn tables(&self) -> Vec<String> {
        ["numbers", "extra"].into_iter().take(self.0 as usize).map(str::to_owned).collect()
    }

    fn create(&self, model: &ReadModel<'_>) -> Result<(), HandlerError> {
        model.execute_batch("CREATE TABLE {numbers} (position INTEGER PRIMARY KEY, n INTEGER NOT NULL) STRICT")?;
        match self.0 {
            1 => Ok(()),
            _ => Ok(model.execute_batch("CREATE TABLE {extra} (position INTEGER PRIMARY KEY) STRICT")?),
        }
    }

    fn apply(&self, event: &RecordedEvent, model: &ReadModel<'_>) -> Result<(), HandlerError> {
        let n = event.data.to_value()?["n"].as_u64().ok_or("no number")? * u64::from(self.0);
        model.execute("INSERT INTO {numbers} VALUES (?1, ?2)", params![event.position.get(), n])?;
        if self.0 > 1 {
            model.execute("INSERT INTO {extra} VALUES (?1)", [event.position.get()])?;
        }
        if std::env::var(VERSION).is_ok() {
            // So that a rebuild takes several transactions.
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }
}

/// What a process of the application does when it is told to.
fn obey(store: &Store, version: u32, told: &str, follower: &mut Option<Follower>) -> Result<(), Error> {
    let runner = || store.projection(Numbers(version));
    let (word, number) = told.split_once(' ').unwrap_or((told, "0"));
    let number: u64 = number.parse().expect("a number");
    match word {
        "inline" => store.project_inline(Numbers(version))?,
        "append" => drop(store.append("counter", "c-1", foldlog::Expected::Any, [super::event(number)])?),
        "run" => drop(runner()?.run_to_end()?),
        "follow" => *follower = Some(runner()?.follow()?),
        "ended" => {
            super::outbox::until("the follower has ended", || follower.as_ref().is_none_or(Follower::has_ended));
            if let Some(StopReason::Failed(error)) = follower.take().map(Follower::stop) {
                return Err(error);
            }
        }
        "rebuild" => drop(runner()?.rebuild(|_| Continue(()))?),
        "begin-rebuild" => assert!(!runner()?.rebuild(|_| Break(()))?.finished, "it should take longer"),
        "reset" => runner()?.reset()?,
        "remove" => runner()?.remove()?,
        "remove-by-name" => store.subscription("numbers").remove()?,
        "end-inline" => assert!(store.end_inline("numbers")),
        other => panic!("told to {other}"),
    }
    Ok(())
}

/// Not a test by itself: what a process of the application runs.
#[test]
#[ignore = "a process that the other tests start"]
fn application() {
    let (Ok(version), Ok(directory)) = (std::env::var(VERSION), std::env::var(DIRECTORY)) else { return };
    let (version, mut follower) = (version.parse().unwrap(), None);
    let store = Store::open(Path::new(&directory).join("events.db")).unwrap();
    for told in std::io::stdin().lines() {
        let answer = match obey(&store, version, &told.unwrap(), &mut follower) {
            Ok(()) => "done".to_owned(),
            Err(error) => error.kind().as_str().to_owned(),
        };
        println!("\nanswer {answer}");
    }
}

/// A running process of one version of the application.
pub struct App {
    child: Child,
    tell: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl App {
    pub fn start(version: u32, directory: &tempfile::TempDir) -> App {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "versions::application", "--ignored", "--nocapture"])
            .env(VERSION, version.to_string())
            .env(DIRECTORY, directory.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let (tell, answers) = (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
        App { child, tell, answers }
    }

    /// Tells it what to do, and returns `done` or the kind of the error.
    fn told(&mut self, what: &str) -> String {
        writeln!(self.tell, "{what}").unwrap();
        let mut line = String::new();
        loop {
            line.clear();
            assert!(self.answers.read_line(&mut line).unwrap() > 0, "{what}: the process has ended");
            if let Some(answer) = line.strip_prefix("answer ") {
                return answer.trim().to_owned();
            }
        }
    }

    /// As [`App::told`], for what must work.
    pub fn does(&mut self, what: &str) {
        assert_eq!(self.told(what), "done", "{what}");
    }
}

impl Drop for App {
    fn drop(&mut self) {
        // Its work is done, whether the test has failed or not.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A file with events, and the old and the new version of the application.
fn apps() -> (tempfile::TempDir, Store, App, App) {
    let (directory, store) = store();
    count(&store, 0, 40);
    let (old, new) = (App::start(1, &directory), App::start(2, &directory));
    (directory, store, old, new)
}

/// Every event is in the tables, as this version makes them.
fn all_are_in_the_tables_of(version: u32, store: &Store) {
    let rows: Vec<(u64, u64)> = store
        .query_read_model("SELECT position, n FROM numbers ORDER BY position", [], |row| Ok((row.get(0)?, row.get(1)?)))
        .unwrap();
    let expected: Vec<(u64, u64)> = store
        .read(foldlog::Query::new())
        .map(|event| event.unwrap())
        .map(|event| (event.position.get(), event.data.to_value().unwrap()["n"].as_u64().unwrap() * u64::from(version)))
        .collect();
    assert_eq!(rows, expected, "of version {version}");
    if version > 1 {
        let extra: u64 = store.query_read_model("SELECT count(*) FROM extra", [], |row| row.get(0)).unwrap()[0];
        assert_eq!(extra, expected.len() as u64);
    }
}

fn caught_up(store: &Store) {
    store.subscription("numbers").wait_until(store.last_position().unwrap(), PATIENCE).unwrap();
}

#[test]
fn the_old_appends_the_new_appends() {
    let (directory, store, mut old, mut new) = apps();
    old.does("inline");
    old.does("append 100");
    all_are_in_the_tables_of(1, &store);
    new.does("inline");
    new.does("append 101");
    all_are_in_the_tables_of(2, &store);
    let before = store.last_position().unwrap();
    assert_eq!(old.told("append 102"), OUTDATED);
    assert_eq!(store.last_position().unwrap(), before, "what is not in the tables is not in the log either");
    // Started again, the old one does not take the tables back.
    let mut old = App::start(1, &directory);
    assert_eq!(old.told("inline"), OUTDATED);
    for n in 103..106 {
        new.does(&format!("append {n}"));
        all_are_in_the_tables_of(2, &store);
    }
    // It may append without the tables; the new one's next append takes those events up.
    old.does("append 110");
    new.does("append 111");
    all_are_in_the_tables_of(2, &store);
}

#[test]
fn the_old_appends_the_new_follows() {
    let (_directory, store, mut old, mut new) = apps();
    old.does("inline");
    new.does("follow");
    assert_eq!(new.told("ended"), OUTDATED);
    old.does("append 100");
    all_are_in_the_tables_of(1, &store);
}

#[test]
fn the_old_appends_the_new_rebuilds() {
    let (_directory, store, mut old, mut new) = apps();
    old.does("inline");
    new.does("begin-rebuild");
    old.does("append 100");
    all_are_in_the_tables_of(1, &store);
    new.does("rebuild");
    all_are_in_the_tables_of(2, &store);
    assert_eq!(old.told("append 101"), OUTDATED);
    old.does("end-inline");
    old.does("append 102");
    new.does("run");
    all_are_in_the_tables_of(2, &store);
}

#[test]
fn the_old_follows_the_new_appends() {
    let (_directory, store, mut old, mut new) = apps();
    old.does("follow");
    caught_up(&store);
    all_are_in_the_tables_of(1, &store);
    new.does("inline");
    new.does("append 100");
    assert_eq!(old.told("ended"), OUTDATED);
    new.does("append 101");
    all_are_in_the_tables_of(2, &store);
}

#[test]
fn the_old_follows_the_new_follows() {
    let (_directory, store, mut old, mut new) = apps();
    old.does("follow");
    caught_up(&store);
    // The old one leads. When it stops, the new one comes to its turn and finds that a rebuild is due.
    new.does("follow");
    count(&store, 100, 103);
    caught_up(&store);
    all_are_in_the_tables_of(1, &store);
    drop(old);
    assert_eq!(new.told("ended"), OUTDATED);
    all_are_in_the_tables_of(1, &store);
}

#[test]
fn the_old_follows_the_new_rebuilds() {
    let (_directory, store, mut old, mut new) = apps();
    old.does("follow");
    caught_up(&store);
    new.does("begin-rebuild");
    count(&store, 100, 103);
    caught_up(&store);
    all_are_in_the_tables_of(1, &store);
    new.does("rebuild");
    assert_eq!(old.told("ended"), OUTDATED);
    count(&store, 103, 105);
    new.does("follow");
    caught_up(&store);
    all_are_in_the_tables_of(2, &store);
}

#[test]
fn the_old_rebuilds_the_new_appends() {
    let (_directory, store, mut old, mut new) = apps();
    new.does("inline");
    assert_eq!(old.told("rebuild"), OUTDATED);
    new.does("append 100");
    all_are_in_the_tables_of(2, &store);
}

#[test]
fn the_old_rebuilds_the_new_follows() {
    let (_directory, store, mut old, mut new) = apps();
    new.does("follow");
    assert_eq!(old.told("rebuild"), OUTDATED);
    count(&store, 100, 103);
    caught_up(&store);
    all_are_in_the_tables_of(2, &store);
}

#[test]
fn the_old_rebuilds_the_new_rebuilds() {
    let (_directory, store, mut old, mut new) = apps();
    old.does("run");
    old.does("begin-rebuild");
    // The newer rebuild takes the place of the older one, which cannot go on.
    new.does("begin-rebuild");
    assert_eq!(old.told("rebuild"), OUTDATED);
    all_are_in_the_tables_of(1, &store);
    new.does("rebuild");
    all_are_in_the_tables_of(2, &store);
    assert_eq!(old.told("rebuild"), OUTDATED);
    assert_eq!(old.told("remove"), OUTDATED);
    // On purpose it goes back.
    old.does("reset");
    old.does("rebuild");
    all_are_in_the_tables_of(1, &store);
    assert_eq!(new.told("run"), OUTDATED);
    let extra = "SELECT count(*) FROM sqlite_schema WHERE name = 'extra'";
    assert_eq!(store.query_read_model(extra, [], |row| row.get::<_, u64>(0)).unwrap(), [0], "it has one table only");
}

#[test]
fn a_rebuild_leaves_a_table_alone_that_is_not_the_projections() {
    let (directory, store, mut old, mut new) = apps();
    old.does("inline");
    let connection = foldlog::rusqlite::Connection::open(directory.path().join("events.db")).unwrap();
    connection.execute_batch("CREATE TABLE Extra (of_the_application TEXT); INSERT INTO extra VALUES ('kept')").unwrap();
    assert_eq!(new.told("rebuild"), "invalid_input");
    old.does("append 100");
    all_are_in_the_tables_of(1, &store);
    connection.execute_batch("DROP TABLE extra").unwrap();
    new.does("rebuild");
    all_are_in_the_tables_of(2, &store);
}

#[test]
fn a_removed_projection_fails_the_appends_that_still_run_it_until_it_is_built_again_or_ended() {
    for removal in ["remove", "remove-by-name"] {
        let (_directory, store, _old, mut new) = apps();
        new.does("inline");
        let mut other = App::start(2, &_directory);
        other.does("inline");
        other.does(removal);
        other.does("append 100");
        let before = store.last_position().unwrap();
        assert_eq!(new.told("append 101"), OUTDATED);
        assert_eq!(store.last_position().unwrap(), before);
        new.does("end-inline");
        new.does("append 102");
        new.does("inline");
        new.does("append 103");
        all_are_in_the_tables_of(2, &store);
        // It runs in one process only: the other one's appends are taken up by the next one here.
        other.does("append 104");
        new.does("append 105");
        all_are_in_the_tables_of(2, &store);
    }
}
