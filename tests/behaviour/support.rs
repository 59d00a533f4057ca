//! What every test needs: a place on disk, events, times, and a look from outside.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use chrono::{DateTime, Utc};
use foldlog::{Durability, Error, ErrorKind, NewEvent, Options, Query, RecordedEvent, Result, Store, Upcasters};
use serde_json::json;
use tempfile::TempDir;

/// A directory that goes with the test, and a store's file in it.
pub struct Place {
    directory: TempDir,
}

impl Place {
    pub fn new() -> Place {
        Place { directory: tempfile::tempdir().unwrap() }
    }

    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    pub fn file(&self) -> PathBuf {
        self.join("store.db")
    }

    pub fn join(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub fn open(&self) -> Store {
        fast().open(self.file()).unwrap()
    }

    /// As a program that manages schema versions itself.
    pub fn open_any_version(&self) -> Store {
        fast().upcasters(Upcasters::new().pass_newer()).unwrap().open(self.file()).unwrap()
    }

    /// See [`raw`].
    pub fn raw(&self) -> rusqlite::Connection {
        raw(&self.file())
    }
}

/// The file as any other program sees it, and one that passes over the trigger that keeps events as they are.
pub fn raw(path: &Path) -> rusqlite::Connection {
    let raw = rusqlite::Connection::open(path).unwrap();
    raw.set_db_config(rusqlite::config::DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER, false).unwrap();
    raw
}

/// No waiting for the disk: what is tested is not what a power cut leaves.
pub fn fast() -> Options {
    Options::new().durability(Durability::Fast)
}

/// Every file of a directory with its bytes.
pub fn contents(directory: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap());
    let files = entries.filter(|entry| entry.path().is_file());
    files.map(|file| (file.file_name().to_string_lossy().into_owned(), std::fs::read(file.path()).unwrap())).collect()
}

pub fn names(directory: &Path) -> Vec<String> {
    contents(directory).into_keys().collect()
}

pub fn noted(n: u64) -> NewEvent {
    NewEvent::new("Noted", &json!({ "n": n })).unwrap()
}

pub fn notes(numbers: impl IntoIterator<Item = u64>) -> Vec<NewEvent> {
    numbers.into_iter().map(noted).collect()
}

/// A second of 2026.
pub fn at(second: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(1_767_225_600 + second, 0).unwrap()
}

pub fn read(store: &Store, query: impl Into<Query>) -> Vec<RecordedEvent> {
    store.read(query).collect::<Result<_>>().unwrap()
}

/// The error of a call that must fail, and fail in this way.
#[track_caller]
pub fn refused<T>(result: Result<T>, kind: ErrorKind) -> Error {
    let Err(error) = result else { panic!("must be refused with {kind:?}") };
    assert_eq!(error.kind(), kind, "{error:?}");
    error
}

/// The message names all of this.
#[track_caller]
pub fn says(error: &Error, parts: &[&str]) {
    let message = error.to_string();
    for part in parts {
        assert!(message.contains(part), "{message:?} does not say {part:?}");
    }
}
