//! A store in a real file, filled from a data set, and the checks that hold for every data set.

use std::collections::{BTreeMap, HashMap};

use foldlog::{Batch, Durability, Filter, Options, Query, RecordedEvent, SnapshotPolicy, Store};
use serde_json::Value;
use tempfile::TempDir;

use crate::streams::{DataSet, Line};

/// A file that goes away with the test. Fast, because no test here pulls a plug.
pub struct TestStore {
    pub store: Store,
    _folder: TempDir,
}

impl TestStore {
    pub fn new(snapshots: SnapshotPolicy) -> TestStore {
        let folder = tempfile::tempdir().unwrap();
        let options = Options::new().durability(Durability::Fast).snapshots(snapshots);
        TestStore { store: options.open(folder.path().join("data.db")).unwrap(), _folder: folder }
    }

    /// A file with all events of a data set, and without snapshots but those that later replays make.
    pub fn filled(set: &DataSet, snapshots: SnapshotPolicy) -> TestStore {
        let filled = TestStore::new(snapshots);
        append_all(&filled.store, set.events());
        filled
    }
}

/// Appends lines in their order, many to a commit, each at the version that it must come to.
pub fn append_all(store: &Store, lines: impl IntoIterator<Item = Line>) {
    const EVENTS_PER_COMMIT: usize = 1_000;
    let mut versions: HashMap<(String, String), u64> = HashMap::new();
    let mut batch = Batch::new();
    for line in lines {
        let version = versions.entry((line.aggregate_type.clone(), line.aggregate_id.clone())).or_default();
        batch = batch.append(line.aggregate_type.as_str(), line.aggregate_id.as_str(), *version, [line.event()]);
        *version += 1;
        if batch.len() == EVENTS_PER_COMMIT {
            store.commit(std::mem::take(&mut batch)).unwrap();
        }
    }
    if !batch.is_empty() {
        store.commit(batch).unwrap();
    }
}

/// Panics unless the event is the line, its JSON byte for byte.
pub fn assert_is(event: &RecordedEvent, line: &Line) {
    let place = (&*event.aggregate_type, &*event.aggregate_id);
    assert_eq!(place, line.aggregate(), "position {}", event.position);
    assert_eq!(&*event.event_type, line.event_type, "position {}", event.position);
    assert_eq!(event.created_at, line.occurred_at, "position {}", event.position);
    assert_eq!(event.data.as_str(), line.data.get(), "position {}", event.position);
    let metadata = event.metadata.as_ref().map(|metadata| metadata.as_str());
    assert_eq!(metadata, Some(line.metadata.get()), "position {}", event.position);
}

/// Panics unless the store holds exactly the events of the data set, in their order, at consecutive positions, each at
/// its aggregate's next version, and counts them as the data set does.
pub fn assert_holds(store: &Store, set: &DataSet) {
    let mut versions: HashMap<(String, String), u64> = HashMap::new();
    let mut events = store.read(Query::new());
    for (line, position) in set.events().zip(1u64..) {
        let event = events.next().unwrap_or_else(|| panic!("the log ends before position {position}")).unwrap();
        assert_is(&event, &line);
        let version = versions.entry((line.aggregate_type, line.aggregate_id)).or_default();
        *version += 1;
        assert_eq!(event.version, *version, "position {position}");
        assert_eq!(event.position, position);
    }
    assert!(events.next().is_none(), "there are more events than lines");
    assert_counted(store, &set.truth());
}

/// Panics unless the statistics are what the data set's own counts say.
fn assert_counted(store: &Store, truth: &Value) {
    let counted = &truth["counted"];
    let by_type: BTreeMap<String, u64> = serde_json::from_value(counted["events_by_type"].clone()).unwrap();
    let statistics = store.statistics().unwrap();
    assert_eq!(statistics.total_events, counted["events"].as_u64().unwrap());
    assert_eq!(statistics.aggregates, counted["aggregates"].as_u64().unwrap());
    assert_eq!(statistics.events_by_type, by_type);
    assert_eq!(store.count(Query::new()).unwrap(), statistics.total_events);
    for (event_type, count) in &by_type {
        assert_eq!(store.count(Filter::new().event_type(event_type)).unwrap(), *count, "{event_type}");
    }
    let longest = &counted["longest_stream"];
    let (aggregate_type, aggregate_id) = (longest["aggregate_type"].as_str().unwrap(), longest["aggregate_id"].as_str().unwrap());
    let version = store.version(aggregate_type, aggregate_id).unwrap();
    assert_eq!(version, longest["events"].as_u64().unwrap());
    assert_eq!(store.count(Query::aggregate(aggregate_type, aggregate_id)).unwrap(), version.get());
    assert_eq!(store.file_statistics().unwrap().events, statistics.total_events);
}
