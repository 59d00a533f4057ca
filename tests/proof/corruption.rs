//! Damage anywhere in the file or in its write-ahead log: an answer is the truth, or it is an error.
//!
//! Damage to the write-ahead log may also lead to an older truth: SQLite takes a frame whose checksum is wrong for the
//! place where the power went. All answers must then be of the same moment.

use std::fmt;
use std::ops::ControlFlow::Continue;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Instant;

use foldlog::{Clock, Durability, EventId, Options, Query, SnapshotPolicy, Store, VerifyReport};

use crate::questions::{self, Answer, Questions, Worth};
use crate::support::disk::{Disk, Files};
use crate::support::model::{self, Planner, Step, World};
use crate::support::outcome::Outcome;
use crate::support::random::Random;

pub const PATH: &str = "/disk/store.db";

/// A sound store as it lay on the disk, and all the truths that it can be brought back to.
pub struct Sound {
    files: Files,
    /// What each page of the database belongs to.
    pages: Vec<String>,
    questions: Questions,
    truths: Vec<Truth>,
}

struct Truth {
    reads: Vec<Answer>,
    writes: Vec<Answer>,
}

fn options(disk: &Disk, clock: &Clock) -> Options {
    let snapshots = SnapshotPolicy::every(12).retain(2);
    Options::new().durability(Durability::Fast).snapshots(snapshots).clock(clock.clone()).vfs(disk.name())
}

fn open(disk: &Disk) -> Result<Store, foldlog::Error> {
    options(disk, &Clock::fixed("2026-03-01T00:00:00Z".parse().expect("a time"))).open(PATH)
}

impl Sound {
    /// A closed file: everything is in it. `purged`: events were removed, so that positions have holes.
    pub fn closed(events: usize, purged: bool, random: &mut Random) -> Sound {
        let disk = Disk::new();
        let mut work = Work::new(random);
        let store = work.open(&disk);
        while work.world.rows.len() < events {
            work.step(&store);
        }
        if purged {
            for id in ["acc-0", "acc-2"] {
                for step in [Step::Snapshot("default".into(), id.into()), Step::Purge("default".into(), id.into())] {
                    work.perform(&store, &step);
                }
            }
        }
        questions::deliver(&store).expect("the disk is sound");
        (0..5).for_each(|_| work.step(&store));
        let questions = work.questions(&store);
        drop(store);
        let files = disk.files();
        let truths = vec![Truth::of(&disk, &files, &questions)];
        Sound { pages: pages(&disk, &files), files, questions, truths }
    }

    /// A store whose process died: a part is in the file, a part in the write-ahead log, some of it in both.
    pub fn killed(random: &mut Random) -> Sound {
        let (disk, other) = (Disk::new(), Disk::new());
        let mut work = Work::new(random);
        let store = work.open(&disk);
        (0..40).for_each(|_| work.step(&store));
        // A delivery is several commits: none of them is a truth that a damaged write-ahead log may lead to.
        questions::deliver(&store).and_then(|()| store.maintenance().checkpoint()).expect("the disk is sound");
        let mut moments = vec![disk.files()];
        for _ in 0..40 {
            work.step(&store);
            moments.push(disk.files());
            if work.random.chance(8) {
                // What a long log does by itself every 4,000 pages.
                bare(&disk).query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(())).expect("sound");
            }
        }
        let files = disk.files();
        let questions = work.questions(&store);
        let mut truths: Vec<Truth> = moments.iter().map(|files| Truth::of(&other, files, &questions)).collect();
        truths.push(Truth::of(&other, &files, &questions));
        Sound { pages: pages(&other, &files), files, questions, truths }
    }

    /// What a place in one of the files belongs to.
    fn place(&self, file: &str, offset: usize) -> &str {
        let page = if file.ends_with("-wal") {
            let frame = WAL_HEADER + offset.saturating_sub(WAL_HEADER) / WAL_FRAME * WAL_FRAME;
            let number = self.files[file].get(frame..frame + 4).map_or([0; 4], |bytes| bytes.try_into().expect("four"));
            u32::from_be_bytes(number) as usize
        } else {
            offset / PAGE + 1
        };
        self.pages.get(page.wrapping_sub(1)).map_or("no page", String::as_str)
    }
}

const PAGE: usize = 4_096;
const WAL_HEADER: usize = 32;
const WAL_FRAME: usize = 24 + PAGE;

/// The file as SQLite alone sees it.
fn bare(disk: &Disk) -> rusqlite::Connection {
    let flags = rusqlite::OpenFlags::SQLITE_OPEN_READ_WRITE | rusqlite::OpenFlags::SQLITE_OPEN_NO_MUTEX;
    rusqlite::Connection::open_with_flags_and_vfs(PATH, flags, disk.name()).expect("the disk is sound")
}

/// Table or index, and kind, of each page.
fn pages(disk: &Disk, files: &Files) -> Vec<String> {
    disk.load(files);
    let bare = bare(disk);
    let count = bare.query_row("PRAGMA page_count", [], |row| row.get(0)).expect("the disk is sound");
    let mut pages = vec!["free or a pointer map".to_owned(); count];
    let mut statement = bare.prepare("SELECT pageno, name, pagetype FROM dbstat").expect("it is compiled in");
    let mut rows = statement.query([]).expect("the disk is sound");
    while let Some(row) = rows.next().expect("the disk is sound") {
        let (number, name, kind): (usize, String, String) =
            (row.get(0).expect("a number"), row.get(1).expect("a name"), row.get(2).expect("a kind"));
        pages[number - 1] = format!("{name}, {kind}");
    }
    pages
}

/// Fills a store, its clock going on unevenly and sometimes backwards.
struct Work {
    planner: Planner,
    world: World,
    clock: Clock,
    time: chrono::DateTime<chrono::Utc>,
    random: Random,
}

impl Work {
    fn new(random: &mut Random) -> Work {
        let time = "2026-01-01T00:00:00Z".parse().expect("a time");
        let planner = Planner::short(random.fork());
        Work { planner, world: World::default(), clock: Clock::fixed(time), time, random: random.fork() }
    }

    fn open(&self, disk: &Disk) -> Store {
        options(disk, &self.clock).open(PATH).expect("the disk is sound")
    }

    fn step(&mut self, store: &Store) {
        for step in self.planner.plan(&self.world) {
            if !matches!(step, Step::Purge(..)) {
                self.perform(store, &step);
            }
        }
    }

    fn perform(&mut self, store: &Store, step: &Step) {
        let step = &self.with_ids(step.clone());
        let minutes = self.random.below(400) as i64 - 100;
        self.time += chrono::TimeDelta::minutes(minutes);
        self.clock.set(self.time);
        self.world.apply(step);
        model::perform(store, step).expect("the disk is sound");
    }

    /// Some appends have ids of the caller.
    fn with_ids(&mut self, mut step: Step) -> Step {
        if let Step::Commit(_, parts) = &mut step
            && self.random.chance(30)
        {
            for planned in parts.iter_mut().flat_map(|(_, events)| events) {
                planned.id = Some(EventId::from_u128(u128::from(self.random.next()) << 64 | u128::from(self.random.next())));
            }
        }
        step
    }

    fn questions(&self, store: &Store) -> Questions {
        let ids = store.read(Query::new()).step_by(97).map(|event| event.expect("the disk is sound").id).collect::<Vec<_>>();
        Questions::about(&self.world, &ids)
    }
}

impl Truth {
    fn of(disk: &Disk, files: &Files, questions: &Questions) -> Truth {
        disk.load(files);
        let store = open(disk).expect("the disk is sound");
        assert!(store.maintenance().verify(|_| Continue(())).expect("the disk is sound").is_clean());
        let reads = questions.reads.iter().map(|(_, ask)| ask(&store)).collect();
        drop(store);
        let writes = questions.writes.iter().map(|(_, ask)| {
            disk.load(files);
            ask(&open(disk).expect("the disk is sound"))
        });
        Truth { reads, writes: writes.collect() }
    }
}

/// What was done to the files.
pub struct Harm {
    pub file: String,
    pub offset: usize,
    pub what: &'static str,
    /// The table or index that the place belongs to.
    pub page: String,
}

impl fmt::Display for Harm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at byte {} of {} ({})", self.what, self.offset, self.file, self.page)
    }
}

/// What can go wrong with a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Harms {
    /// Bits and bytes changed, sectors zeroed, ends cut off: every answer must be the truth or an error.
    Rot,
    /// A page of a table or of an index that has lost entries, or has some twice or in each other's place, and is well formed all
    /// the same. `verify` must find it; a read need not.
    Entries,
    /// A page written to another page's place: each page is sound in itself. `verify` must find it; a read need not.
    MisdirectedWrites,
}

/// Damages one place.
pub fn harm(files: &mut Files, harms: Harms, random: &mut Random) -> Harm {
    let present: Vec<String> = files.iter().filter(|(_, data)| !data.is_empty()).map(|(name, _)| name.clone()).collect();
    // As many in the write-ahead log as in the file, if there is one.
    let file = present[random.index(present.len())].clone();
    let data = files.get_mut(&file).expect("it is one of them");
    let offset = random.index(data.len());
    if harms == Harms::Entries {
        let (file, data) = files.iter_mut().find(|(name, _)| name.ends_with(".db")).expect("the database");
        let (offset, what) = harm_entries(data, random).unwrap_or((0, "nothing: all is in the write-ahead log"));
        return Harm { file: file.clone(), offset, what, page: String::new() };
    }
    let kind = if harms == Harms::Rot { random.below(100) } else { 100 };
    let what = match kind {
        0..80 => {
            data[offset] ^= 1 << random.below(8);
            "bit"
        }
        80..88 => {
            data[offset] = random.next() as u8;
            "byte"
        }
        88..94 => {
            data.truncate(offset);
            "truncation"
        }
        94..100 => {
            let sector = offset / 512 * 512;
            let end = (sector + 512).min(data.len());
            data[sector..end].fill(0);
            "zeroed sector"
        }
        _ => {
            let (from, to) = (random.index(data.len()) / PAGE * PAGE, offset / PAGE * PAGE);
            let length = PAGE.min(data.len() - from).min(data.len() - to);
            data.copy_within(from..from + length, to);
            "misdirected page"
        }
    };
    Harm { file, offset, what, page: String::new() }
}

/// Changes the list of a page's entries, each of which is sound: where it begins in the file, and what was done.
fn harm_entries(data: &mut [u8], random: &mut Random) -> Option<(usize, &'static str)> {
    for _ in 0..1_000 {
        let page = random.index((data.len() / PAGE).max(1)) * PAGE;
        let header = if page == 0 { 100 } else { page };
        // What makes a page one of a tree: inner ones have four bytes more at the end of the header.
        let list = match data.get(header) {
            Some(2 | 5) => header + 12,
            Some(10 | 13) => header + 8,
            _ => continue,
        };
        let count = usize::from(u16::from_be_bytes([data[header + 3], data[header + 4]]));
        if count < 2 || list + 2 * count > page + PAGE {
            continue;
        }
        let (one, other) = (random.index(count), random.index(count));
        let entry = |at: usize| list + 2 * at..list + 2 * at + 2;
        let kind = random.below(4);
        let what = match kind {
            0 => "lost entries at the end",
            1 => "lost entry",
            2 => "doubled entry",
            _ => "entries in each other's place",
        };
        match kind {
            0 => data[header + 3..header + 5].copy_from_slice(&(one as u16).to_be_bytes()),
            1 => {
                data.copy_within(list + 2 * one + 2..list + 2 * count, list + 2 * one);
                data[header + 3..header + 5].copy_from_slice(&(count as u16 - 1).to_be_bytes());
            }
            2 => data.copy_within(entry(one), list + 2 * other),
            _ => {
                let kept = [data[entry(one).start], data[entry(one).start + 1]];
                data.copy_within(entry(other), list + 2 * one);
                data[entry(other)].copy_from_slice(&kept);
            }
        }
        return Some((header, what));
    }
    None
}

/// Damages files in this many places, one at a time.
pub fn run(sounds: &[Sound], harms: Harms, rounds: u64, seed: u64) -> Outcome {
    let began = Instant::now();
    let mut outcome = Outcome::new(seed);
    let mut random = Random::new(seed);
    let disk = Disk::new();
    for _ in 0..rounds {
        let sound = &sounds[random.index(sounds.len())];
        let mut files = sound.files.clone();
        let mut harm = harm(&mut files, harms, &mut random);
        harm.page = sound.place(&harm.file, harm.offset).to_owned();
        outcome.rounds += 1;
        let checked = catch_unwind(AssertUnwindSafe(|| check(&disk, sound, &files, (&harm, harms), &mut random, &mut outcome)));
        match checked {
            Ok(Ok(())) => {}
            Ok(Err(violation)) => outcome.violation(format!("{harm}: {violation}")),
            Err(_) => outcome.violation(format!("{harm}: a panic")),
        }
    }
    outcome.time = began.elapsed();
    outcome
}

fn check(
    disk: &Disk,
    sound: &Sound,
    files: &Files,
    (harm, harms): (&Harm, Harms),
    random: &mut Random,
    outcome: &mut Outcome,
) -> Result<(), String> {
    disk.load(files);
    let store = match open(disk) {
        Ok(store) => store,
        Err(_) => {
            outcome.count("refused", 1);
            return Ok(());
        }
    };
    let report = store.maintenance().verify(|_| Continue(())).map_err(|error| format!("verify: {error:?}"))?;
    let answers: Vec<Answer> = sound.questions.reads.iter().map(|(_, ask)| ask(&store)).collect();
    drop(store);
    let errors = answers.iter().filter(|answer| matches!(answer, Answer::Error(kind) if is_of_damage(*kind))).count();
    let internal = answers.contains(&Answer::Error(foldlog::ErrorKind::Internal));
    outcome.count("internal errors", u64::from(internal));
    // A damaged write-ahead log gives an older state, a damaged file never.
    let truths = if harm.file.ends_with("-wal") { &sound.truths[..] } else { &sound.truths[sound.truths.len() - 1..] };
    let worth = |truth: &Truth| answers.iter().zip(&truth.reads).map(|(answer, truth)| answer.worth(truth)).max();
    // The newest of those that fit best.
    let truth = truths.iter().rev().min_by_key(|truth| worth(truth)).expect("one at least");
    let clean = report.is_clean();
    if worth(truth) > Some(Worth::Honest) {
        let asked = sound.questions.reads.iter().zip(answers.iter().zip(&truth.reads));
        let wrong: Vec<String> = asked
            .map(|((name, _), (answer, truth))| (name, answer.worth(truth)))
            .filter(|(_, worth)| *worth > Worth::Honest)
            .map(|(name, worth)| format!("{worth:?}: {name}"))
            .collect();
        told(harm, harms, worth(truth), &format!("{wrong:?}"), &report, outcome)?;
    } else if clean && errors > 0 {
        let failed = sound.questions.reads.iter().zip(&answers).filter(|(_, answer)| matches!(answer, Answer::Error(_)));
        let failed: Vec<_> = failed.map(|((name, _), answer)| (name, answer)).collect();
        return Err(format!("answers are errors, and verify finds nothing: {failed:?}"));
    }
    outcome.count(
        if errors > 0 {
            "noticed by a read"
        } else if clean {
            "harmless"
        } else {
            "noticed by verify"
        },
        1,
    );
    write(disk, sound, files, (truth, &report), (harm, harms), random, outcome)
}

/// What is missing is allowed if `verify` names the damage; what never was is not, unless the damage left each page well formed,
/// as no disk's bad bits do.
fn told(
    harm: &Harm,
    harms: Harms,
    worth: Option<Worth>,
    what: &str,
    report: &VerifyReport,
    outcome: &mut Outcome,
) -> Result<(), String> {
    let verified = report.damages.first();
    if report.is_clean() || worth == Some(Worth::Changed) && harms == Harms::Rot {
        return Err(format!("{what}; verify: {verified:?}"));
    }
    outcome.count("short answers that verify explains", 1);
    outcome.note(format!("{harm}: {what}; verify: {verified:?}"));
    Ok(())
}

fn is_of_damage(kind: foldlog::ErrorKind) -> bool {
    !matches!(kind, foldlog::ErrorKind::NotFound | foldlog::ErrorKind::HistoryRemoved)
}

/// One write, chosen by chance, on a copy of its own.
fn write(
    disk: &Disk,
    sound: &Sound,
    files: &Files,
    (truth, report): (&Truth, &VerifyReport),
    (harm, harms): (&Harm, Harms),
    random: &mut Random,
    outcome: &mut Outcome,
) -> Result<(), String> {
    let at = random.index(sound.questions.writes.len());
    let (name, ask) = &sound.questions.writes[at];
    disk.load(files);
    let Ok(store) = open(disk) else { return Err("opens once and not again".to_owned()) };
    let answer = ask(&store);
    match answer.worth(&truth.writes[at]) {
        Worth::Honest => Ok(()),
        worth => {
            let what = format!("{worth:?} outcome of {name:?}: {answer:?}, not {:?}", truth.writes[at]);
            told(harm, harms, Some(worth), &what, report, outcome)
        }
    }
}
