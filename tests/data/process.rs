//! Two business-process logs. Outside truth: the statistics that each publisher wrote into the log's header.

use std::collections::BTreeMap;

use foldlog::{Aggregate, AggregateKind, Aggregates, Filter, Query, Replayed, SnapshotPolicy, Store};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::streams::DataSet;
use crate::support::{TestStore, assert_holds};

#[derive(Serialize, Deserialize)]
enum Activity {
    Accepted {},
    Queued {},
    Completed {},
    Unmatched {},
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Incident {
    counts: BTreeMap<String, u64>,
    last: String,
}

impl Aggregate for Incident {
    const TYPE: &'static str = "incident";
    type Event = Activity;

    fn apply(&mut self, activity: Activity) {
        let name = match activity {
            Activity::Accepted {} => "Accepted",
            Activity::Queued {} => "Queued",
            Activity::Completed {} => "Completed",
            Activity::Unmatched {} => "Unmatched",
        };
        *self.counts.entry(name.to_owned()).or_default() += 1;
        self.last = name.to_owned();
    }
}

/// The same for activities that are no Rust identifiers.
fn count_activities(state: &mut Value, activity: &str, _data: &Value) {
    let count = state["counts"][activity].as_u64().unwrap_or(0);
    state["counts"][activity] = json!(count + 1);
    state["last"] = json!(activity);
}

#[derive(Deserialize)]
struct Case {
    aggregate_id: String,
    version: u64,
    last_event_type: String,
    last_occurred_at: String,
    counts: BTreeMap<String, u64>,
}

fn number(value: &Value) -> u64 {
    value.as_u64().or_else(|| value.as_str()?.parse().ok()).unwrap_or_else(|| panic!("no number: {value}"))
}

fn counts(value: &Value) -> BTreeMap<String, u64> {
    let counts: Map<String, Value> = serde_json::from_value(value.clone()).unwrap();
    counts.iter().map(|(name, count)| (name.clone(), number(count))).collect()
}

/// What the publisher says: cases, events, events of each activity and resource, the longest case.
fn assert_published(store: &Store, set: &DataSet) {
    let truth = set.truth();
    let (header, published) = (&truth["external_truth"]["embedded_meta"], &truth["external_truth"]["published"]["counts"]);
    let statistics = store.statistics().unwrap();
    assert_eq!(statistics.aggregates, number(&published["cases"]));
    assert_eq!(statistics.total_events, number(&published["events"]));
    assert_eq!(statistics.events_by_type.len() as u64, number(&published["activities"]));
    let activities = counts(&header["meta_concept:named_events_total"]["of"]);
    assert_eq!(statistics.events_by_type, activities);
    for (activity, count) in &activities {
        assert_eq!(store.count(Filter::new().event_type(activity)).unwrap(), *count, "{activity}");
        assert_eq!(store.read(Filter::new().event_type(activity)).count() as u64, *count, "{activity}");
    }
    let mut resources: BTreeMap<String, u64> = BTreeMap::new();
    let mut longest = 0;
    for event in store.read(Query::new()) {
        let event = event.unwrap();
        longest = longest.max(event.version.get());
        let data = event.data.to_value().unwrap();
        if let Some(resource) = data["org:resource"].as_str() {
            *resources.entry(resource.to_owned()).or_default() += 1;
        }
        assert_eq!(data.get("case").is_some(), event.version == 1, "the case stands on its first event only");
    }
    assert_eq!(longest, number(&header["meta_general:events_max"]["value"]));
    if let Some(published) = header.get("meta_org:resource_events_total") {
        assert_eq!(resources, counts(&published["of"]));
    }
}

/// Every case: version, last event, counts; with and without snapshots.
fn assert_cases<A: AggregateKind>(cases: &Aggregates<A>, store: &Store, set: &DataSet, summary: impl Fn(&A::State) -> Value) {
    let truths: BTreeMap<String, Case> =
        set.rows("final_states.ndjson.gz").map(|case: Case| (case.aggregate_id.clone(), case)).collect();
    for cases in [cases.clone(), cases.without_snapshots()] {
        let mut seen = 0;
        let check = |id: &str, replayed: &Replayed<A::State>| {
            let truth = &truths[id];
            assert_eq!(replayed.version, truth.version, "{id}");
            assert_eq!(summary(&replayed.state), json!({"counts": truth.counts, "last": truth.last_event_type}), "{id}");
            seen += 1;
            Ok::<(), String>(())
        };
        let rebuilt = cases.replay_each().run(check, |_| std::ops::ControlFlow::Continue(())).unwrap();
        assert_eq!((rebuilt.succeeded, rebuilt.failed), (truths.len() as u64, 0), "{:?}", rebuilt.failures);
        assert_eq!(seen, truths.len());
    }
    for (id, truth) in &truths {
        let newest = Query::aggregate(cases.aggregate_type(), id).newest_first().limit(1);
        let newest = store.read(newest).next().unwrap().unwrap();
        assert_eq!(newest.version, truth.version, "{id}");
        assert_eq!(*newest.event_type, *truth.last_event_type, "{id}");
        assert_eq!(newest.created_at, truth.last_occurred_at.parse::<chrono::DateTime<chrono::Utc>>().unwrap(), "{id}");
        let (activity, count) = truth.counts.iter().next().unwrap();
        assert_eq!(
            store.count(Query::aggregate(cases.aggregate_type(), id).filter(Filter::new().event_type(activity))).unwrap(),
            *count,
            "{id}"
        );
    }
}

#[test]
fn incidents_of_an_it_department() {
    let Some(set) = DataSet::find("process-bpic2013-incidents") else { return };
    let file = TestStore::filled(&set, SnapshotPolicy::every(40));
    assert_holds(&file.store, &set);
    assert_published(&file.store, &set);
    let incidents = file.store.aggregates::<Incident>();
    for case in set.rows::<Case>("final_states.ndjson.gz").filter(|case| case.version >= 40) {
        // A replay of a long case saves a snapshot; the one before the last event is what the next replay starts from.
        assert_eq!(incidents.replay(&case.aggregate_id).unwrap().from_snapshot, None);
        assert_eq!(incidents.replay(&case.aggregate_id).unwrap().events_folded, 0);
    }
    assert!(file.store.snapshot_statistics().unwrap().total_snapshots > 50);
    assert_cases(&incidents, &file.store, &set, |incident| serde_json::to_value(incident).unwrap());
}

#[test]
fn permits_of_a_municipality() {
    let Some(set) = DataSet::find("process-receipt") else { return };
    let file = TestStore::filled(&set, SnapshotPolicy::every(5));
    assert_holds(&file.store, &set);
    assert_published(&file.store, &set);
    let cases = file.store.json_aggregates("permit_case").fold_with("count activities", 1, |state, activity, data| {
        count_activities(state, activity, data);
        Ok(())
    });
    for case in set.rows::<Case>("final_states.ndjson.gz") {
        cases.replay(&case.aggregate_id).unwrap();
    }
    assert!(file.store.snapshot_statistics().unwrap().total_snapshots > 1_000);
    assert_cases(&cases, &file.store, &set, Value::clone);
}

/// Events after a snapshot: the tail that a replay folds on top of it.
#[test]
fn a_case_goes_on_after_its_snapshot() {
    let Some(set) = DataSet::find("process-bpic2013-incidents") else { return };
    let truth = set.truth();
    let id = truth["counted"]["longest_stream"]["aggregate_id"].as_str().unwrap();
    let file = TestStore::new(SnapshotPolicy::every(40).retain(2));
    let incidents = file.store.aggregates::<Incident>();
    let mut plain = Incident::default();
    for (line, version) in set.events().filter(|line| line.aggregate_id == id).zip(1u64..) {
        incidents.append_events(id, version - 1, [line.event()]).unwrap();
        *plain.counts.entry(line.event_type.clone()).or_default() += 1;
        plain.last = line.event_type;
        let replayed = incidents.replay(id).unwrap();
        assert_eq!(replayed.state, plain, "version {version}");
        assert_eq!(replayed.events_folded, version % 40, "version {version}");
    }
    assert_eq!(incidents.snapshots(id).unwrap().len(), 2);
}
