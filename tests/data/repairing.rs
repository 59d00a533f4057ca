//! Repair of files made from real events and damaged at random: flipped bytes, zeroed pages, pages in each other's place, ends cut off.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow::Continue;
use std::path::Path;

use foldlog::{Durability, ErrorKind, Options, Query, RecordedEvent, RepairReport, SnapshotPolicy, SnapshotReason, Store};
use serde_json::Value;

use crate::random::Random;
use crate::streams::DataSet;
use crate::support::append_all;

const PAGE: usize = 4_096;
const EVENTS: usize = 1_500;

/// Type, id.
type Name = (String, String);

/// A whole file, and the truth about it.
struct Truth {
    bytes: Vec<u8>,
    /// By position.
    events: BTreeMap<u64, RecordedEvent>,
    versions: BTreeMap<Name, u64>,
    /// The state of each aggregate at each version.
    states: BTreeMap<(Name, u64), Value>,
}

fn options() -> Options {
    Options::new().durability(Durability::Fast).snapshots(SnapshotPolicy::every(20))
}

fn lines(set: &DataSet) -> impl Iterator<Item = crate::streams::Line> {
    set.events().take(EVENTS)
}

fn truth(set: &DataSet, audit: bool) -> Truth {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("whole.db");
    #[cfg(feature = "audit")]
    let options = options().audit(audit);
    #[cfg(not(feature = "audit"))]
    let options = options();
    let _ = audit;
    let store = options.open(&path).unwrap();
    append_all(&store, lines(set));
    store.subscription("reader").run_to_end(|_| Ok(())).unwrap();
    let events: BTreeMap<u64, RecordedEvent> =
        store.read(Query::new()).map(Result::unwrap).map(|event| (event.position.get(), event)).collect();
    let mut versions = BTreeMap::new();
    for event in events.values() {
        versions.insert((event.aggregate_type.to_string(), event.aggregate_id.to_string()), event.version.get());
    }
    let mut states = BTreeMap::new();
    for (name, version) in &versions {
        let handle = store.json_aggregates(&name.0);
        for version in 1..=*version {
            let state = handle.replay_to_version(&name.1, version).unwrap().state;
            states.insert((name.clone(), version), state);
        }
        if *version > 10 {
            handle.create_snapshot(&name.1, SnapshotReason::Manual).unwrap();
        }
    }
    store.maintenance().checkpoint().unwrap();
    drop(store);
    Truth { bytes: std::fs::read(&path).unwrap(), events, versions, states }
}

/// Damages a file; says how.
fn damage(bytes: &mut Vec<u8>, random: &mut Random) -> String {
    let pages = bytes.len() / PAGE;
    match random.below(6) {
        0 => {
            let keep = bytes.len() * (50 + random.index(50)) / 100;
            bytes.truncate(keep);
            format!("cut to {keep} bytes")
        }
        1 => {
            let count = 1 + random.index(pages / 10);
            for _ in 0..count {
                let page = random.index(pages);
                bytes[page * PAGE..(page + 1) * PAGE].fill(0);
            }
            format!("{count} pages zeroed")
        }
        2 => {
            let first = random.index(pages);
            let count = (1 + random.index(pages / 8)).min(pages - first);
            bytes[first * PAGE..(first + count) * PAGE].fill(0);
            format!("pages {first}+{count} zeroed")
        }
        3 => {
            let count = 1 + random.index(4);
            for _ in 0..count {
                let (from, to) = (random.index(pages), random.index(pages));
                bytes.copy_within(from * PAGE..(from + 1) * PAGE, to * PAGE);
            }
            format!("{count} pages in others' places")
        }
        4 => {
            bytes[..PAGE].fill(0xA5);
            "the first page overwritten".to_owned()
        }
        _ => {
            let count = 1 + random.index(400);
            for _ in 0..count {
                let at = random.index(bytes.len());
                bytes[at] ^= 1 << random.below(8);
            }
            format!("{count} bits flipped")
        }
    }
}

/// Printed, so that a long run says what it has seen.
#[derive(Default, Debug)]
struct Tally {
    rounds: u64,
    events: u64,
    salvaged: u64,
    on_pages: u64,
    unplaced: u64,
    loaded: u64,
    refused: u64,
    /// Loaded without events of which the damaged file tells nothing any more.
    short: u64,
    lost: u64,
}

/// Repairs a damaged file and compares everything that is left with the truth.
fn check(truth: &Truth, folder: &Path, how: &str, tally: &mut Tally) {
    let (damaged, new) = (folder.join("damaged.db"), folder.join("new.db"));
    let before = std::fs::read(&damaged).unwrap();
    let report: RepairReport = match Store::repair(&damaged, &new, |_| Continue(())) {
        Ok(report) => report,
        Err(error) => panic!("{how}: {error}"),
    };
    assert!(report.finished);
    assert!(std::fs::read(&damaged).unwrap() == before, "{how}: the damaged file was changed");
    let store = options().open(&new).unwrap();
    let verified = store.maintenance().verify(|_| Continue(())).unwrap();
    assert!(verified.is_clean(), "{how}: {:?}", verified.damages);

    let mut left = BTreeSet::new();
    for event in store.read(Query::new()).map(Result::unwrap) {
        assert_eq!(Some(&event), truth.events.get(&event.position.get()), "{how}");
        left.insert(event.position.get());
    }
    assert_eq!(left.len() as u64, report.events);
    if let Some(path) = &report.unplaced_file {
        for line in std::fs::read_to_string(path).unwrap().lines() {
            let line: Value = serde_json::from_str(line).unwrap();
            let position = line["position"].as_u64().unwrap();
            assert!(left.insert(position), "{how}: position {position} is in both files");
            assert_eq!(line["data"], truth.events[&position].data.to_value().unwrap(), "{how}");
        }
    }
    assert_eq!(left.len() as u64, report.events + report.unplaced);
    let last = store.last_position().unwrap().get();
    let lost = (1..=last).filter(|position| !left.contains(position)).count() as u64;
    // What is known to be lost, and what else is missing, is accounted for.
    tally.lost += lost;
    assert!(report.events_lost + report.positions_lost >= lost, "{how}: {lost} lost, {report:?}");
    assert_eq!(lost == 0 && report.events_lost == 0, report.lost.is_empty() && report.positions_lost == 0, "{how}");

    for accepted in [false, true] {
        for (name, version) in &truth.versions {
            // Known to be lost at its end, so not to be loaded before that is accepted.
            let ends = report.lost.iter().find(|lost| {
                lost.is_end && (&*lost.aggregate.aggregate_type, &*lost.aggregate.aggregate_id) == (&*name.0, &*name.1)
            });
            match store.json_aggregates(&name.0).replay(&name.1) {
                Ok(replayed) => {
                    assert!(accepted || ends.is_none(), "{how}: {name:?} loads without its end");
                    let reached = replayed.version.get();
                    assert!(reached <= *version, "{how}: {name:?} ends at {reached}, not {version}");
                    assert_eq!(replayed.state, truth.states[&(name.clone(), reached)], "{how}: {name:?} at {reached}");
                    tally.loaded += 1;
                    tally.short += u64::from(!accepted && reached < *version);
                }
                Err(error) => {
                    let kinds: &[ErrorKind] = match (accepted, ends) {
                        (false, Some(_)) => &[ErrorKind::EventsLost],
                        _ => &[ErrorKind::HistoryRemoved, ErrorKind::NotFound],
                    };
                    assert!(kinds.contains(&error.kind()), "{how}: {error}");
                    tally.refused += 1;
                }
            }
        }
        assert_eq!(store.maintenance().accept_losses().unwrap(), if accepted { 0 } else { report.ends_lost });
    }
    tally.events += truth.events.len() as u64;
    tally.salvaged += report.events;
    tally.on_pages += report.found_on_pages;
    tally.unplaced += report.unplaced;
    // It goes on.
    append_one(&store);
}

fn append_one(store: &Store) {
    let event = foldlog::NewEvent::new("Later", &()).unwrap();
    store.append("later", "l-1", foldlog::Expected::New, [event]).unwrap();
    assert!(store.maintenance().verify(|_| Continue(())).unwrap().is_clean());
}

#[test]
fn what_is_left_of_a_damaged_file_is_the_truth() {
    let Some(set) = DataSet::find("process-receipt") else { return };
    let rounds: u64 = std::env::var("FOLDLOG_REPAIRS").ok().map_or(24, |rounds| rounds.parse().unwrap());
    let seed = std::env::var("FOLDLOG_SEED").ok().map_or(20_261_128, |seed| seed.parse().unwrap());
    println!("FOLDLOG_SEED={seed}");
    let mut random = Random::new(seed);
    let mut tally = Tally::default();
    for audit in [false, true] {
        let truth = truth(&set, audit);
        for round in 0..rounds / 2 {
            let folder = tempfile::tempdir().unwrap();
            let mut bytes = truth.bytes.clone();
            let how = format!("audit {audit}, round {round}: {}", damage(&mut bytes, &mut random));
            std::fs::write(folder.path().join("damaged.db"), &bytes).unwrap();
            check(&truth, folder.path(), &how, &mut tally);
            tally.rounds += 1;
        }
    }
    println!("{tally:?}");
    assert!(tally.salvaged * 2 > tally.events, "{tally:?}");
}

#[test]
fn a_whole_file_comes_through_whole() {
    let Some(set) = DataSet::find("process-receipt") else { return };
    let truth = truth(&set, true);
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("damaged.db"), &truth.bytes).unwrap();
    let mut tally = Tally::default();
    check(&truth, folder.path(), "undamaged", &mut tally);
    assert_eq!((tally.salvaged, tally.unplaced, tally.refused), (truth.events.len() as u64, 0, 0));
}

/// Free pages still hold what was erased, until a wipe.
#[test]
fn what_was_erased_is_not_salvaged() {
    const CANARY: &[u8] = b"canary@example.org";
    let folder = tempfile::tempdir().unwrap();
    let (damaged, new) = (folder.path().join("damaged.db"), folder.path().join("new.db"));
    let store = options().open(&damaged).unwrap();
    for id in ["u-1", "u-2"] {
        for _ in 0..200 {
            let event = foldlog::NewEvent::new("Mailed", &serde_json::json!({"id": id, "to": "canary@example.org"})).unwrap();
            store.append("user", id, foldlog::Expected::Any, [event]).unwrap();
        }
    }
    store.maintenance().erase(foldlog::Erase::aggregate("user", "u-1").without_wiping()).unwrap();
    store.maintenance().erase(foldlog::Erase::fields_of("user", "u-2").field("/to").without_wiping()).unwrap();
    store.maintenance().checkpoint().unwrap();
    drop(store);
    // Without the table that says which versions were removed.
    let root: usize = rusqlite::Connection::open(&damaged)
        .unwrap()
        .query_row("SELECT rootpage FROM sqlite_schema WHERE name = 'removals'", [], |row| row.get(0))
        .unwrap();
    let mut bytes = std::fs::read(&damaged).unwrap();
    assert!(bytes.windows(CANARY.len()).any(|found| found == CANARY));
    bytes[(root - 1) * PAGE..root * PAGE].fill(0);
    std::fs::write(&damaged, &bytes).unwrap();
    let report = Store::repair(&damaged, &new, |_| Continue(())).unwrap();
    assert_eq!((report.events, report.found_on_pages, report.unplaced_file), (200, 0, None));
    assert!(!std::fs::read(&new).unwrap().windows(CANARY.len()).any(|found| found == CANARY));
    let store = options().open(&new).unwrap();
    assert_eq!(store.json_aggregates("user").replay("u-1").unwrap_err().kind(), ErrorKind::Erased);
    assert_eq!(store.json_aggregates("user").replay("u-2").unwrap().version.get(), 200);
}
