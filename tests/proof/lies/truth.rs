//! A small file, what it must say, and what it may be told.

use std::ops::ControlFlow::Continue;
use std::path::{Path, PathBuf};

use chrono::{DateTime, Utc};
use foldlog::{Clock, Durability, EventId, Expected, NewEvent, Options, Purge, Result, Store};
use serde_json::json;
use tempfile::TempDir;

pub const LIST: &str = "list";
pub const TAGS: [&str; 4] = ["x", "y", "z", "yy"];

#[derive(Clone, Debug, PartialEq)]
pub struct Known {
    pub position: u64,
    pub aggregate: &'static str,
    pub version: u64,
    pub tags: Vec<&'static str>,
}

/// What a file must say.
#[derive(Clone, Debug)]
pub struct Truth {
    pub known: Vec<Known>,
    pub purged: Vec<&'static str>,
    pub last: u64,
}

fn noted(n: u64) -> NewEvent {
    NewEvent::new("Noted", &json!({ "n": n })).expect("an event")
}

/// Ids in no order.
pub fn id_of(position: u64) -> EventId {
    EventId::from_u128(0x4000_8000_0000_0000 << 64 | u128::from(position * 11 % 31 + 1))
}

impl Truth {
    fn new() -> Truth {
        Truth { known: Vec::new(), purged: Vec::new(), last: 0 }
    }

    pub fn version(&self, aggregate: &str) -> u64 {
        self.known.iter().filter(|known| known.aggregate == aggregate).count() as u64
    }

    fn event(&self, tags: &[&'static str]) -> NewEvent {
        let position = self.last + 1;
        tags.iter().fold(noted(position).id(id_of(position)), |event, tag| event.tag(*tag))
    }

    fn append(&mut self, store: &Store, aggregate: &'static str, tags: &[&'static str]) -> Result<()> {
        let version = self.version(aggregate);
        let appended = store.append(LIST, aggregate, version, [self.event(tags)])?;
        assert_eq!(appended.position, self.last + 1);
        self.last += 1;
        self.known.push(Known { position: self.last, aggregate, version: version + 1, tags: tags.to_vec() });
        Ok(())
    }

    fn purge(&mut self, store: &Store, aggregate: &'static str) -> Result<()> {
        let report =
            store.maintenance().purge(Purge::created_before(at(1)).even_if_replay_breaks().aggregate(LIST, aggregate))?;
        let expected = if self.purged.contains(&aggregate) { 0 } else { self.version(aggregate) };
        assert_eq!(report.events_removed, expected);
        self.purged.push(aggregate);
        Ok(())
    }

    fn is_gone(&self, known: &Known) -> bool {
        self.purged.contains(&known.aggregate)
    }

    pub fn left(&self, wanted: impl Fn(&Known) -> bool) -> Vec<Known> {
        self.known.iter().filter(|known| !self.is_gone(known) && wanted(known)).cloned().collect()
    }
}

fn at(second: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(1_767_225_600 + second, 0).expect("a time")
}

/// A directory that goes when it is not needed any more, and a store's file in it.
pub struct Place(TempDir);

impl Place {
    pub fn new() -> Place {
        Place(tempfile::tempdir().expect("a directory"))
    }

    pub fn file(&self) -> PathBuf {
        self.0.path().join("store.db")
    }

    /// The file as it was before anything was purged.
    pub fn before(&self) -> PathBuf {
        self.0.path().join("before.db")
    }

    /// The file as any other program sees it.
    pub fn raw(&self) -> rusqlite::Connection {
        rusqlite::Connection::open(self.file()).expect("a file")
    }
}

/// Thirteen or fourteen events of five aggregates. `purged`: those of one are gone, among them the first; `middle`: the last
/// one is not.
pub fn file(purged: bool, middle: bool) -> (Place, Truth) {
    let place = Place::new();
    let mut truth = Truth::new();
    let store = open(&place.file()).expect("a file");
    let events: [(&str, &[&str]); 13] = [
        ("gone", &["x"]),
        ("a", &["x", "y"]),
        ("b", &["y"]),
        ("gone", &["y"]),
        ("gone", &["x"]),
        ("a", &["z"]),
        ("c", &[]),
        ("b", &["x"]),
        ("gone", &["z"]),
        ("a", &["y"]),
        ("d", &["x"]),
        ("e", &["z"]),
        ("gone", &["y"]),
    ];
    for (aggregate, tags) in events {
        truth.append(&store, aggregate, tags).expect("the file is sound");
    }
    if middle {
        truth.append(&store, "a", &["x"]).expect("the file is sound");
    }
    store.maintenance().checkpoint().expect("the file is sound");
    std::fs::copy(place.file(), place.before()).expect("a copy");
    if purged {
        truth.purge(&store, "gone").expect("the file is sound");
    }
    assert!(store.maintenance().verify(|_| Continue(())).expect("the file is sound").is_clean());
    (place, truth)
}

pub fn open(path: &Path) -> Result<Store> {
    Options::new().durability(Durability::Fast).clock(Clock::fixed(at(0))).open(path)
}

/// What a store may be told.
pub const WORKS: [fn(&mut Truth, &Store) -> Result<()>; 8] = [
    |truth, store| truth.append(store, "a", &["y", "x"]),
    |truth, store| truth.append(store, "bb", &["yy"]),
    |truth, store| truth.append(store, "0", &["a"]),
    |truth, store| truth.append(store, "zz", &["zz"]),
    |truth, store| truth.purge(store, "a"),
    |truth, store| truth.purge(store, "e"),
    |truth, store| {
        // The same again is the same.
        for known in truth.left(|known| known.version == 1) {
            let event = known.tags.iter().fold(noted(known.position).id(id_of(known.position)), |event, tag| event.tag(*tag));
            let again = store.append(LIST, known.aggregate, 0, [event])?;
            assert_eq!((again.position.get(), again.version.get()), (known.position, 1));
        }
        Ok(())
    },
    |truth, store| {
        // Each once more: none is begun a second time.
        for aggregate in ["a", "b", "c", "d", "e"] {
            let appended = store.append(LIST, aggregate, Expected::Any, [truth.event(&[])])?;
            let version = truth.version(aggregate) + 1;
            truth.last += 1;
            assert_eq!((appended.position.get(), appended.version.get()), (truth.last, version));
            truth.known.push(Known { position: truth.last, aggregate, version, tags: Vec::new() });
        }
        Ok(())
    },
];
