//! A store's files are deleted, moved, replaced, hard-linked and copied beside a process that appends: nothing is
//! acknowledged that is not in the file afterwards.
//!
//! A worker is this program itself, started again. It prints a line with the time at which an append began once it was
//! acknowledged, and one for each refusal.

use std::io::{BufRead, BufReader, Write};
use std::ops::ControlFlow::Continue;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant, SystemTime};

use foldlog::{Durability, ErrorKind, Expected, NewEvent, Options, Query, Store};

use crate::support::outcome::Outcome;
use crate::support::random::Random;

const FILE: &str = "FOLDLOG_LOST_FILE";
const COPIES: &str = "FOLDLOG_LOST_COPIES";
const PATIENCE: Duration = Duration::from_secs(60);
const FILES: [&str; 3] = ["", "-shm", "-wal"];

fn open(file: &Path) -> foldlog::Result<Store> {
    Options::new().durability(Durability::Fast).busy_timeout(PATIENCE).open(file)
}

fn beside(file: &Path, suffix: &str) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// Nanoseconds of the machine's clock, which all processes share.
fn now() -> u128 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970").as_nanos()
}

fn event(n: u64) -> NewEvent {
    NewEvent::new("Noted", &n).expect("an event")
}

/// If this process was started as a worker: appends until it is killed or its input ends. Returns whether it was.
pub fn work_if_asked() -> bool {
    let Ok(file) = std::env::var(FILE) else { return false };
    let file = Path::new(&file);
    let store = open(file).expect("opens");
    if std::env::var_os(COPIES).is_some() {
        let file = file.to_owned();
        std::thread::spawn(move || {
            loop {
                FILES.iter().for_each(|suffix| drop(std::fs::read(beside(&file, suffix))));
            }
        });
    }
    std::thread::spawn(|| {
        let _ = std::io::stdin().read_line(&mut String::new());
        std::process::exit(0);
    });
    let mut out = std::io::stdout();
    loop {
        let began = now();
        let line = match store.append("list", "worker", Expected::Any, [event(0)]) {
            Ok(appended) => format!("+ {began} {}", appended.version),
            Err(error) => {
                std::thread::sleep(Duration::from_millis(1));
                format!("- {began} {}", error.kind())
            }
        };
        writeln!(out, "{line}").and_then(|()| out.flush()).expect("a pipe");
    }
}

struct Worker {
    child: Child,
    lines: BufReader<ChildStdout>,
    /// The last version that was acknowledged, and when the append began.
    acknowledged: (u64, u128),
}

impl Worker {
    fn start(file: &Path, copies: bool, arguments: &[&str]) -> Worker {
        let mut command = Command::new(std::env::current_exe().expect("this program"));
        command.args(arguments).env(FILE, file).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        if copies {
            command.env(COPIES, "1");
        }
        let mut child = command.spawn().expect("a process");
        let lines = BufReader::new(child.stdout.take().expect("a pipe"));
        Worker { child, lines, acknowledged: (0, 0) }
    }

    /// Reads on to a line that this accepts: whether it is an acknowledgement, when its call began, what it says.
    fn until(&mut self, mut is_it: impl FnMut(bool, u128, &str) -> bool) -> Result<(), String> {
        let (began, mut line) = (Instant::now(), String::new());
        while began.elapsed() < PATIENCE {
            line.clear();
            if self.lines.read_line(&mut line).map_err(|error| error.to_string())? == 0 {
                return Err("the worker ended by itself".to_owned());
            }
            // The test program prints lines of its own.
            let mut parts = line.split_whitespace();
            let (Some(sign @ ("+" | "-")), Some(time), Some(rest)) = (parts.next(), parts.next(), parts.next()) else { continue };
            let time = time.parse().map_err(|_| format!("not a time: {line}"))?;
            if sign == "+" {
                self.acknowledged = (rest.parse().map_err(|_| format!("not a version: {line}"))?, time);
            }
            if is_it(sign == "+", time, rest) {
                return Ok(());
            }
        }
        Err("the worker did not come to it".to_owned())
    }

    fn acknowledges(&mut self, count: u64) -> Result<(), String> {
        let mut left = count;
        self.until(|acknowledged, _, _| {
            left -= u64::from(acknowledged);
            left == 0
        })
    }

    /// Waits until a call that began later is refused in this way. An acknowledged one is a violation.
    fn is_refused_after(&mut self, time: u128, kind: ErrorKind) -> Result<(), String> {
        let mut wrong = None;
        self.until(|acknowledged, began, rest| {
            if began <= time {
                return false;
            }
            if acknowledged || rest != kind.as_str() {
                wrong = Some(format!("an append that began later: {rest} instead of {kind}"));
            }
            true
        })?;
        wrong.map_or(Ok(()), Err)
    }

    /// Ends it, after this; reads what it still said.
    fn kill(mut self) -> Result<u64, String> {
        self.child.kill().map_err(|error| error.to_string())?;
        let _ = self.until(|_, _, _| false);
        self.child.wait().map_err(|error| error.to_string())?;
        Ok(self.acknowledged.0)
    }
}

/// The file holds every event of the worker up to this version, and is sound.
fn has_all(file: &Path, acknowledged: u64) -> Result<(), String> {
    let store = open(file).map_err(|error| error.to_string())?;
    let events = store.read(Query::aggregate("list", "worker")).collect::<foldlog::Result<Vec<_>>>();
    let found = events.map_err(|error| error.to_string())?.len() as u64;
    if found < acknowledged {
        return Err(format!("{acknowledged} were acknowledged, {found} are there"));
    }
    match store.maintenance().verify(|_| Continue(())).map_err(|error| error.to_string())? {
        report if report.is_clean() => Ok(()),
        report => Err(format!("{:?}", report.damages)),
    }
}

/// Something that happens to a store's files; returns how many events were acknowledged.
type Deed = fn(&Path, &[&str], &mut Random) -> Result<u64, String>;

const DEEDS: [(&str, Deed); 6] = [
    ("deleted", deleted),
    ("moved", moved),
    ("replaced", replaced),
    ("hard-linked", hard_linked),
    ("logs deleted", log_deleted),
    ("copied", copied),
];

pub fn run(rounds: u64, arguments: &[&str], seed: u64) -> Outcome {
    let began = Instant::now();
    let (mut outcome, mut random) = (Outcome::new(seed), Random::new(seed));
    for round in 0..rounds {
        let directory = tempfile::tempdir().expect("a directory");
        let (name, deed) = DEEDS[((seed.wrapping_add(round)) % DEEDS.len() as u64) as usize];
        match deed(&directory.path().join("store.db"), arguments, &mut random) {
            Ok(acknowledged) => outcome.count("acknowledgements", acknowledged),
            Err(violation) => outcome.violation(format!("round {round}, {name}: {violation}")),
        }
        outcome.count(name, 1);
        outcome.rounds += 1;
    }
    outcome.time = began.elapsed();
    outcome
}

fn writing(file: &Path, arguments: &[&str], random: &mut Random) -> Result<Worker, String> {
    let mut worker = Worker::start(file, false, arguments);
    worker.acknowledges(1 + random.below(20))?;
    Ok(worker)
}

fn io<T>(result: std::io::Result<T>) -> Result<T, String> {
    result.map_err(|error| error.to_string())
}

fn deleted(file: &Path, arguments: &[&str], random: &mut Random) -> Result<u64, String> {
    let mut worker = writing(file, arguments, random)?;
    io(std::fs::remove_file(file))?;
    let at = now();
    if random.chance(50) {
        FILES[1..].iter().for_each(|suffix| drop(std::fs::remove_file(beside(file, suffix))));
    }
    worker.is_refused_after(at, ErrorKind::FileMoved)?;
    worker.kill()
}

fn moved(file: &Path, arguments: &[&str], random: &mut Random) -> Result<u64, String> {
    let mut worker = writing(file, arguments, random)?;
    let elsewhere = file.with_file_name("elsewhere.db");
    io(std::fs::rename(file, &elsewhere))?;
    let at = now();
    for suffix in &FILES[1..] {
        io(std::fs::rename(beside(file, suffix), beside(&elsewhere, suffix)))?;
    }
    worker.is_refused_after(at, ErrorKind::FileMoved)?;
    let acknowledged = worker.kill()?;
    has_all(&elsewhere, acknowledged)?;
    Ok(acknowledged)
}

fn replaced(file: &Path, arguments: &[&str], random: &mut Random) -> Result<u64, String> {
    let other = file.with_file_name("other.db");
    open(&other).and_then(|store| store.append("list", "other", 0, [event(1)])).map_err(|error| error.to_string())?;
    let before = io(std::fs::read(&other))?;
    let mut worker = writing(file, arguments, random)?;
    let old = file.with_file_name("old.db");
    io(std::fs::hard_link(file, &old))?;
    io(std::fs::rename(&other, file))?;
    worker.is_refused_after(now(), ErrorKind::FileMoved)?;
    let acknowledged = worker.kill()?;
    if io(std::fs::read(file))? != before {
        return Err("the other store's file was changed".to_owned());
    }
    let there = open(file).and_then(|store| store.version("list", "other")).map_err(|error| error.to_string())?;
    if there != 1 {
        return Err(format!("the other store is at version {there}"));
    }
    io(std::fs::rename(beside(file, "-wal-replaced"), beside(&old, "-wal")))?;
    has_all(&old, acknowledged)?;
    Ok(acknowledged)
}

fn hard_linked(file: &Path, arguments: &[&str], random: &mut Random) -> Result<u64, String> {
    let mut worker = writing(file, arguments, random)?;
    let second = file.with_file_name("second.db");
    io(std::fs::hard_link(file, &second))?;
    worker.is_refused_after(now(), ErrorKind::HardLink)?;
    match open(&second) {
        Err(error) if error.kind() == ErrorKind::HardLink => {}
        other => return Err(format!("the second name: {other:?}")),
    }
    io(std::fs::remove_file(&second))?;
    worker.acknowledges(2)?;
    let acknowledged = worker.kill()?;
    has_all(file, acknowledged)?;
    Ok(acknowledged)
}

fn log_deleted(file: &Path, arguments: &[&str], random: &mut Random) -> Result<u64, String> {
    let mut worker = writing(file, arguments, random)?;
    io(std::fs::remove_file(beside(file, "-wal")))?;
    let at = now();
    worker.until(|acknowledged, began, _| acknowledged && began > at)?;
    worker.acknowledges(1 + random.below(5))?;
    let acknowledged = worker.kill()?;
    has_all(file, acknowledged)?;
    Ok(acknowledged)
}

/// The worker copies its own files all the time, which drops its locks, while others open, append and close.
fn copied(file: &Path, arguments: &[&str], random: &mut Random) -> Result<u64, String> {
    let mut worker = Worker::start(file, true, arguments);
    worker.acknowledges(1 + random.below(10))?;
    let mut version = 0;
    for _ in 0..1 + random.below(4) {
        let store = open(file).map_err(|error| format!("opening: {error}"))?;
        for _ in 0..random.below(5) {
            let appended = store.append("list", "visitor", version, [event(version)]);
            version = appended.map_err(|error| format!("the visitor: {error}"))?.version.get();
        }
        drop(store);
        worker.acknowledges(1 + random.below(5))?;
    }
    let acknowledged = worker.kill()?;
    has_all(file, acknowledged)?;
    let there = open(file).and_then(|store| store.version("list", "visitor")).map_err(|error| error.to_string())?;
    if there != version {
        return Err(format!("the visitor was told version {version}, {there} is there"));
    }
    Ok(acknowledged + version)
}
