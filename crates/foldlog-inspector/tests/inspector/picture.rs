//! A picture for the README: this repository's own history in the inspector.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::process::Command;

use foldlog::chrono::DateTime;
use foldlog::serde_json::{Value, json};
use foldlog::{Expected, Metadata, NewEvent, Query, Store};
use foldlog_inspector::Inspector;

use crate::browser::{Browser, Look, kept};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// A commit: its id, its time, its subject, and the lines that it added to and removed from each file.
struct Commit {
    id: String,
    at: i64,
    subject: String,
    files: Vec<(String, i64)>,
}

/// The commits of this repository, oldest first.
fn commits() -> Vec<Commit> {
    let log = ["log", "--reverse", "--first-parent", "--no-renames", "--numstat", "--format=%x01%H%x02%ct%x02%s"];
    let log = Command::new("git").args(log).current_dir(root()).output().unwrap();
    let log = String::from_utf8(log.stdout).unwrap();
    let commit = |text: &str| {
        let mut lines = text.lines();
        let mut head = lines.next().unwrap().split('\u{2}').map(str::to_owned);
        let (id, at, subject) = (head.next().unwrap(), head.next().unwrap().parse().unwrap(), head.next().unwrap());
        // A file that is no text has dashes in place of numbers.
        let file = |line: &str| {
            let mut parts = line.split('\t');
            let lines = |part: Option<&str>| part.unwrap().parse::<i64>().unwrap_or(0);
            let more = lines(parts.next()) - lines(parts.next());
            (parts.next().unwrap().to_owned(), more)
        };
        Commit { id, at, subject, files: lines.filter(|line| !line.is_empty()).map(file).collect() }
    };
    log.split('\u{1}').skip(1).map(commit).collect()
}

/// Each folder is an aggregate, and each commit that touched it an event: the subject, and how many lines its files have now.
/// That is a JSON Merge Patch, so that the state needs no fold of its own.
fn fill(store: &Store) {
    let mut lines: HashMap<String, i64> = HashMap::new();
    for Commit { id, at, subject, files } in commits() {
        let mut folders: BTreeMap<String, BTreeMap<String, Value>> = BTreeMap::new();
        for (path, more) in files {
            let parts: Vec<&str> = path.split('/').collect();
            let deep = if matches!(parts[0], "src" | "crates" | "tests") { 2 } else { 1 };
            let folder = parts[..deep.min(parts.len() - 1)].join("/");
            let has = lines.entry(path.clone()).or_default();
            *has += more;
            let name = path.strip_prefix(&format!("{folder}/")).unwrap_or(&path).to_owned();
            let folder = if folder.is_empty() { "root".to_owned() } else { folder };
            folders.entry(folder).or_default().insert(name, if *has > 0 { json!(*has) } else { Value::Null });
        }
        for (folder, files) in folders {
            let kind = if files.values().any(Value::is_null) { "FilesRemoved" } else { "FilesChanged" };
            let metadata = Metadata::new().extra("commit", id.as_str());
            let event = NewEvent::new(kind, &json!({ "subject": subject, "files": files })).unwrap();
            let event = event.created_at(DateTime::from_timestamp(at, 0).unwrap()).metadata(&metadata).unwrap();
            store.append("folder", folder, Expected::Any, [event]).unwrap();
        }
    }
}

/// `cargo test -p foldlog-inspector --test inspector -- --ignored picture` writes docs/inspector.png anew.
#[test]
#[ignore = "writes docs/inspector.png"]
fn picture_of_this_repositorys_history() {
    let Some(browser) = Browser::start() else { return };
    let file = kept("picture").join("history.db");
    for ending in ["", "-wal", "-shm"] {
        let _ = std::fs::remove_file(format!("{}{ending}", file.display()));
    }
    let store = foldlog::Options::new().durability(foldlog::Durability::Fast).open(&file).unwrap();
    fill(&store);
    let folders = store.json_aggregates("folder");
    for id in folders.ids() {
        let id = id.unwrap();
        println!("{:>5} {id}", folders.version(&id).unwrap());
        folders.snapshot_if_due(&id).unwrap();
    }
    // The newest commit that changed several files and says so in a few words.
    let is_telling = |event: &foldlog::RecordedEvent| {
        let data = event.data.to_value().unwrap();
        let (files, subject) = (data["files"].as_object().unwrap().len(), data["subject"].as_str().unwrap());
        (5..=9).contains(&files) && subject.len() < 60 && !subject.starts_with("Merge")
    };
    let history = store.read(Query::aggregate("folder", "src/sqlite").newest_first()).map(Result::unwrap);
    let version = history.skip(10).find(is_telling).unwrap().version;
    let server = Inspector::new(store).serve("127.0.0.1:0").unwrap();
    browser.enter(&server);
    browser.look(Look { width: 1_280, height: 760, dark: false });
    browser.open(&server, &format!("/a/default/folder/src%2Fsqlite?v={version}"));
    browser.wait("return document.readyState === 'complete' && document.querySelector('#vnow') !== null");
    std::fs::write(root().join("docs/inspector.png"), browser.picture()).unwrap();
}
