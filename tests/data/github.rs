//! Payloads as GitHub sent them: deep, large, with emoji. They come back byte for byte, and their own ids make
//! appending them twice the same as once. Merge Patch is compared with another implementation, the crate json-patch.

use std::collections::{BTreeMap, HashMap};

use foldlog::{Aggregate, Appended, Batch, ErrorKind, EventId, Expected, Json, NewEvent, SnapshotPolicy, UnknownEvents};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::streams::{DataSet, Line};
use crate::support::{TestStore, assert_holds, assert_is};

const ARCHIVE: &str = "github-2021-07-21";
const WEBHOOKS: &str = "github-webhooks";

/// GitHub's number of the event as a UUID.
fn event_id(line: &Line) -> EventId {
    EventId::from_u128(line.metadata_text("event_id").parse().unwrap())
}

fn with_id(line: &Line) -> NewEvent {
    line.event().id(event_id(line))
}

#[test]
fn json_comes_back_byte_for_byte() {
    for name in [ARCHIVE, WEBHOOKS] {
        let Some(set) = DataSet::find(name) else { return };
        let lines: Vec<Line> = set.events().collect();
        // What makes this worth a test: text that a parser would write in another way.
        let rewritten = |line: &&Line| {
            let written = serde_json::from_str::<Value>(line.data.get()).unwrap().to_string();
            written != line.data.get()
        };
        assert!(lines.iter().filter(rewritten).count() > 100, "the texts are all as serde_json writes them");
        assert!(lines.iter().any(|line| line.data.get().chars().any(|c| c as u32 > 0xffff)), "no emoji");
        let file = TestStore::filled(&set, SnapshotPolicy::default());
        assert_holds(&file.store, &set);
    }
}

#[test]
fn appending_everything_twice_changes_nothing() {
    let Some(set) = DataSet::find(ARCHIVE) else { return };
    let file = TestStore::new(SnapshotPolicy::default());
    let lines: Vec<Line> = set.events().collect();
    let append = |line: &Line| {
        let (aggregate_type, aggregate_id) = line.aggregate();
        file.store.append(aggregate_type, aggregate_id, Expected::Any, [with_id(line)]).unwrap()
    };
    let first: Vec<Appended> = lines.iter().map(append).collect();
    assert!(first.iter().all(|appended| !appended.was_duplicate));
    assert_holds(&file.store, &set);
    // The other way round the second time: the order of repeated appends does not matter.
    let mut second: Vec<Appended> = lines.iter().rev().map(append).collect();
    second.reverse();
    for (mut again, before) in second.into_iter().zip(first) {
        assert!(again.was_duplicate);
        (again.was_duplicate, again.skipped) = (false, 0);
        assert_eq!(again, before);
    }
    assert_holds(&file.store, &set);
    for line in &lines {
        assert_is(&file.store.event(event_id(line)).unwrap().unwrap(), line);
    }
    assert!(file.store.event(EventId::from_u128(1)).unwrap().is_none());
}

/// One append over many aggregates, and once more: the first one's results, place by place.
#[test]
fn a_batch_that_is_repeated_gives_its_first_results() {
    let Some(set) = DataSet::find(ARCHIVE) else { return };
    let file = TestStore::new(SnapshotPolicy::default());
    let lines: Vec<Line> = set.events().collect();
    let batch = |lines: &[Line]| {
        lines.iter().fold(Batch::new(), |batch, line| {
            let (aggregate_type, aggregate_id) = line.aggregate();
            batch.append(aggregate_type, aggregate_id, Expected::Any, [with_id(line)])
        })
    };
    let first = file.store.commit(batch(&lines)).unwrap();
    let again = file.store.commit(batch(&lines)).unwrap();
    let places = |appended: &[Appended]| -> Vec<_> {
        appended.iter().map(|one| (one.version, one.position, one.commit_id, one.event_ids.clone())).collect()
    };
    assert_eq!(places(&again), places(&first));
    assert!(again.iter().all(|one| one.was_duplicate) && first.iter().all(|one| !one.was_duplicate));
    assert_holds(&file.store, &set);

    // A part of it is another append than the whole.
    let error = file.store.commit(batch(&lines[..lines.len() - 1])).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::DuplicateEventId);
    assert_holds(&file.store, &set);
}

/// The id of an event under other content is no repetition; other spaces are the same content, and metadata does not count.
#[test]
fn an_id_stands_for_one_content() {
    let Some(set) = DataSet::find(ARCHIVE) else { return };
    let file = TestStore::new(SnapshotPolicy::default());
    let line = set.events().next().unwrap();
    let append = |aggregate_id: &str, data: &str, metadata: &str| {
        let event = NewEvent::with_json(line.event_type.as_str(), Json::from_text(data).unwrap())
            .metadata_json(Json::from_text(metadata).unwrap())
            .created_at(line.occurred_at)
            .id(event_id(&line));
        file.store.append("repo", aggregate_id, Expected::Any, [event])
    };
    let (id, data, metadata) = (line.aggregate_id.as_str(), line.data.get(), line.metadata.get());
    assert!(!append(id, data, metadata).unwrap().was_duplicate);
    assert!(append(id, data, metadata).unwrap().was_duplicate);
    let spaced = data.replacen('{', "{ ", 1);
    assert!(append(id, &spaced, "{}").unwrap().was_duplicate);
    let other_data = data.replacen('{', r#"{"added":1,"#, 1);
    for other in [append("another", data, metadata), append(id, &other_data, metadata)] {
        assert_eq!(other.unwrap_err().kind(), ErrorKind::DuplicateEventId);
    }
    assert_eq!(file.store.last_position().unwrap(), 1);
}

#[derive(Serialize, Deserialize)]
enum Pushed {
    PushEvent { r#ref: String, head: String },
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Repository {
    heads: BTreeMap<String, String>,
}

impl Aggregate for Repository {
    const TYPE: &'static str = "repo";
    const UNKNOWN_EVENTS: UnknownEvents = UnknownEvents::Ignore;
    type Event = Pushed;

    fn apply(&mut self, Pushed::PushEvent { r#ref, head }: Pushed) {
        self.heads.insert(r#ref, head);
    }
}

/// The same fold for someone who wants to hear of events that it does not know.
#[derive(Default, Serialize, Deserialize)]
struct StrictRepository(Repository);

impl Aggregate for StrictRepository {
    const TYPE: &'static str = "repo";
    type Event = Pushed;

    fn apply(&mut self, event: Pushed) {
        self.0.apply(event);
    }
}

#[test]
fn the_last_pushed_head_of_every_branch() {
    let Some(set) = DataSet::find(ARCHIVE) else { return };
    let file = TestStore::filled(&set, SnapshotPolicy::every(4));
    let repositories = file.store.aggregates::<Repository>();
    let strict = file.store.aggregates::<StrictRepository>();
    let mut first_unknown: HashMap<String, (String, u64)> = HashMap::new();
    let mut versions: HashMap<String, u64> = HashMap::new();
    for line in set.events() {
        let version = versions.entry(line.aggregate_id.clone()).or_default();
        *version += 1;
        if line.event_type != "PushEvent" {
            first_unknown.entry(line.aggregate_id).or_insert((line.event_type, *version));
        }
    }
    let mut heads = serde_json::Map::new();
    for (id, version) in &versions {
        let replayed = repositories.replay(id).unwrap();
        assert_eq!(replayed.version, *version, "an event that is passed over still counts");
        assert_eq!(repositories.without_snapshots().replay(id).unwrap().state, replayed.state);
        assert_eq!(repositories.replay(id).unwrap().state, replayed.state, "{id}");
        heads.extend(replayed.state.heads.into_iter().map(|(name, head)| (format!("{id} {name}"), json!(head))));
        match (strict.without_snapshots().replay(id), first_unknown.get(id)) {
            (Ok(replayed), None) => assert_eq!(replayed.version, *version),
            (Err(error), Some((event_type, version))) => {
                assert_eq!(error.kind(), ErrorKind::UnknownEventType);
                assert_eq!(error.event_type(), Some(event_type.as_str()));
                assert_eq!(error.version().map(|version| version.get()), Some(*version));
            }
            (result, unknown) => panic!("{id}: {unknown:?}, {:?}", result.map(|replayed| replayed.version)),
        }
    }
    assert_eq!(Value::Object(heads), set.truth()["derived"]["final_ref_heads"]);
    assert_eq!(versions.len(), 623);
}

#[test]
fn merge_patch_as_another_implementation_does_it() {
    let Some(set) = DataSet::find(WEBHOOKS) else { return };
    let file = TestStore::filled(&set, SnapshotPolicy::every(3).retain(100));
    let mut expected: BTreeMap<(String, String), Value> = BTreeMap::new();
    let mut nulls = 0;
    for line in set.events() {
        let patch: Value = serde_json::from_str(line.data.get()).unwrap();
        nulls += line.data.get().matches(":null").count();
        let state = expected.entry((line.aggregate_type, line.aggregate_id)).or_insert_with(|| json!({}));
        json_patch::merge(state, &patch);
    }
    assert!(nulls > 1_000, "null is what removes a member");
    for ((aggregate_type, aggregate_id), state) in &expected {
        let aggregates = file.store.json_aggregates(aggregate_type);
        assert_eq!(aggregates.replay(aggregate_id).unwrap().state, *state, "{aggregate_type} {aggregate_id}");
        let again = aggregates.replay(aggregate_id).unwrap();
        assert_eq!(again.state, *state, "{aggregate_type} {aggregate_id} from {:?}", again.from_snapshot);
        assert_eq!(again.from_snapshot.is_some(), again.version >= 3);
    }
    assert_eq!(expected.len(), 25);
}
