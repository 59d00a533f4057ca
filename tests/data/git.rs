//! The life of every file of a repository. Outside truth: `git ls-tree -r HEAD`, and the blob that git says stood
//! there before each change.

use std::collections::{BTreeMap, HashSet};

use foldlog::{Aggregate, Batch, ErrorKind, Query, Replayed, SnapshotPolicy, Store};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::streams::{DataSet, Line};
use crate::support::{TestStore, assert_holds};

#[derive(Serialize, Deserialize)]
#[expect(clippy::enum_variant_names, reason = "the source's event types")]
enum FileEvent {
    FileAdded { mode: String, blob: String },
    FileModified { mode: String, blob: String },
    FileDeleted {},
    FileTypeChanged { mode: String, blob: String },
}

/// Mode and blob; `None` when there is no such file, or not any more.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct TrackedFile(Option<(String, String)>);

impl TrackedFile {
    fn blob(&self) -> Option<&str> {
        self.0.as_ref().map(|(_, blob)| blob.as_str())
    }
}

impl Aggregate for TrackedFile {
    const TYPE: &'static str = "file";
    type Event = FileEvent;

    fn apply(&mut self, event: FileEvent) {
        self.0 = match event {
            FileEvent::FileAdded { mode, blob }
            | FileEvent::FileModified { mode, blob }
            | FileEvent::FileTypeChanged { mode, blob } => Some((mode, blob)),
            FileEvent::FileDeleted {} => None,
        }
    }
}

#[derive(Deserialize)]
struct Change {
    blob: Option<String>,
    prev_blob: Option<String>,
}

fn change(line: &Line) -> Change {
    serde_json::from_str(line.data.get()).unwrap()
}

/// One git commit: one atomic append over all its files, each at the version whose state is what git says was there.
fn commit(store: &Store, lines: &[Line]) {
    let files = store.aggregates::<TrackedFile>();
    let mut batch = Batch::new();
    for line in lines {
        let (version, before) = match files.replay(&line.aggregate_id) {
            Ok(replayed) => (replayed.version.get(), replayed.state),
            Err(error) if error.kind() == ErrorKind::NotFound => (0, TrackedFile::default()),
            Err(error) => panic!("{error:?}"),
        };
        assert_eq!(before.blob(), change(line).prev_blob.as_deref(), "{} before {}", line.aggregate_id, line.metadata);
        batch = batch.append("file", line.aggregate_id.as_str(), version, [line.event()]);
    }
    let appended = store.commit(batch).unwrap();
    assert_eq!(appended.len(), lines.len());
    assert!(appended.iter().all(|one| one.commit_id == appended[0].commit_id));
}

/// The commits of the data set: runs of lines with the same commit id.
fn commits(set: &DataSet) -> Vec<Vec<Line>> {
    let mut commits: Vec<(String, Vec<Line>)> = Vec::new();
    for line in set.events() {
        let id = line.metadata_text("commit");
        match commits.last_mut() {
            Some((last, lines)) if *last == id => lines.push(line),
            _ => commits.push((id, vec![line])),
        }
    }
    commits.into_iter().map(|(_, lines)| lines).collect()
}

#[derive(Deserialize)]
struct TreeEntry {
    aggregate_id: String,
    mode: String,
    blob: String,
}

#[test]
fn every_file_is_as_git_says() {
    let Some(set) = DataSet::find("git-quickwit") else { return };
    let file = TestStore::new(SnapshotPolicy::default());
    let commits = commits(&set);
    for lines in &commits {
        commit(&file.store, lines);
    }
    assert_holds(&file.store, &set);
    assert_commits_stayed_together(&file.store, commits.len());
    assert_equals_head(&file.store, &set);
    assert_most_changed_file_at_every_version(&file.store, &set);
}

/// The commit ids in the log divide it as git's commits do.
fn assert_commits_stayed_together(store: &Store, commits: usize) {
    let mut seen = HashSet::new();
    let mut last = None;
    for event in store.read(Query::new()) {
        let event = event.unwrap();
        let metadata = event.metadata.unwrap().to_value().unwrap();
        let now = (event.commit_id, metadata["commit"].as_str().unwrap().to_owned());
        assert_eq!(metadata["seq"], event.position.get() - event.commit_id.get(), "the place inside the commit");
        if last.as_ref() != Some(&now) {
            assert!(seen.insert(now.0) && last.is_none_or(|(_, commit)| commit != now.1), "at position {}", event.position);
        }
        last = Some(now);
    }
    assert_eq!(seen.len(), commits);
}

/// The files that are left have exactly the modes and blobs of git's own listing.
fn assert_equals_head(store: &Store, set: &DataSet) {
    let files = store.aggregates::<TrackedFile>();
    for files in [files.clone(), files.without_snapshots()] {
        let mut live = BTreeMap::new();
        let mut snapshots_used = 0;
        let keep = |id: &str, file: &Replayed<TrackedFile>| {
            snapshots_used += u64::from(file.from_snapshot.is_some());
            live.extend(file.state.0.clone().map(|state| (id.to_owned(), state)));
            Ok::<(), String>(())
        };
        let rebuilt = files.replay_each().run(keep, |_| std::ops::ControlFlow::Continue(())).unwrap();
        assert_eq!((rebuilt.total, rebuilt.succeeded), (3057, 3057), "{:?}", rebuilt.failures);

        let head: BTreeMap<String, (String, String)> =
            set.rows("head_tree.ndjson.gz").map(|entry: TreeEntry| (entry.aggregate_id, (entry.mode, entry.blob))).collect();
        assert_eq!(live, head);
        let listing: String = live.iter().map(|(path, (mode, blob))| format!("{mode} {blob}\t{path}\n")).collect();
        let digest: String = Sha256::digest(listing).iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(Value::from(digest), set.truth()["external_truth"]["tree_listing_sha256"]);
    }
    assert!(store.snapshot_statistics().unwrap().total_snapshots > 0, "the long files are to have snapshots");
}

fn assert_most_changed_file_at_every_version(store: &Store, set: &DataSet) {
    let truth = set.truth();
    let path = truth["counted"]["longest_stream"]["aggregate_id"].as_str().unwrap();
    let files = store.aggregates::<TrackedFile>();
    let mut from_snapshot = 0;
    for (line, version) in set.events().filter(|line| line.aggregate_id == path).zip(1u64..) {
        let full = files.without_snapshots().replay_to_version(path, version).unwrap();
        assert_eq!(full.state.blob(), change(&line).blob.as_deref(), "version {version}");
        let fast = files.replay_to_version(path, version).unwrap();
        assert_eq!(fast.state, full.state, "version {version}");
        from_snapshot += u64::from(fast.from_snapshot.is_some());
    }
    assert!(from_snapshot > 400, "only {from_snapshot} replays started from a snapshot");
}

/// A commit whose last file is not as its writer believes changes none of its files.
#[test]
fn a_commit_is_refused_as_a_whole() {
    let Some(set) = DataSet::find("git-quickwit") else { return };
    let file = TestStore::new(SnapshotPolicy::default());
    let mut commits = commits(&set).into_iter();
    let first = commits.next().unwrap();
    assert!(first.len() > 1);
    let mut batch = Batch::new();
    for (line, expected) in first.iter().zip((0..first.len() as u64).map(|n| u64::from(n + 1 == first.len() as u64))) {
        batch = batch.append("file", line.aggregate_id.as_str(), expected, [line.event()]);
    }
    let error = file.store.commit(batch).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    assert_eq!(*error.aggregate().unwrap().aggregate_id, *first.last().unwrap().aggregate_id);
    assert_eq!(error.conflict().unwrap().actual, 0);
    assert_eq!(file.store.read(Query::new()).count(), 0);
    assert_eq!(file.store.last_position().unwrap(), 0);
    commit(&file.store, &first);
    assert_eq!(file.store.last_position().unwrap(), first.len() as u64);
}
