//! Replay to a point in time where clocks go backwards: the events created at or before it, in the order of their
//! versions, whatever the order of their times. The model is a plain list that is filtered.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use chrono::{DateTime, TimeDelta, Utc};
use foldlog::{Aggregates, ErrorKind, SnapshotPolicy, Store};
use serde_json::{Value, json};

use crate::streams::{DataSet, Line};
use crate::support::{TestStore, append_all};

/// The sources whose clocks go backwards, with how often `truth.json` says they do.
const SOURCES: [&str; 4] = ["chess-bbddnrr-2025", "github-webhooks", "stackexchange-french-meta", "github-2021-07-21"];
const SNAPSHOT_EVERY: u64 = 3;

/// An event, short: its type and a digest of its data.
fn seen(event_type: &str, data: &Value) -> Value {
    let mut hasher = DefaultHasher::new();
    data.hash(&mut hasher);
    json!(format!("{event_type} {:016x}", hasher.finish()))
}

/// A fold that forgets nothing: which events it was given, in which order.
fn tracing(store: &Store, aggregate_type: &str) -> Aggregates<Value> {
    store.json_aggregates(aggregate_type).fold_with("trace", 1, |state, event_type, data| {
        let Value::Array(events) = &mut state["seen"] else {
            state["seen"] = json!([seen(event_type, data)]);
            return Ok(());
        };
        events.push(seen(event_type, data));
        Ok(())
    })
}

/// Times to ask for: before the first, after the last, at some of the events and just beside them.
fn times_of(lines: &[Line], most: usize) -> Vec<DateTime<Utc>> {
    let mut times: Vec<DateTime<Utc>> = lines.iter().map(|line| line.occurred_at).collect();
    times.sort_unstable();
    times.dedup();
    let step = times.len().div_ceil(most);
    let (first, last) = (times[0], times[times.len() - 1]);
    let some = times.iter().step_by(step).flat_map(|time| [*time - TimeDelta::milliseconds(1), *time]);
    some.chain([first - TimeDelta::days(1), last, last + TimeDelta::days(1)]).collect()
}

/// Compares one aggregate at all these times; returns how many of the replays started from a snapshot.
fn compare(aggregates: &Aggregates<Value>, id: &str, lines: &[Line], times: &[DateTime<Utc>]) -> usize {
    let traces: Vec<Value> =
        lines.iter().map(|line| seen(&line.event_type, &serde_json::from_str(line.data.get()).unwrap())).collect();
    let mut from_snapshot = 0;
    for time in times {
        let chosen: Vec<usize> = (0..lines.len()).filter(|n| lines[*n].occurred_at <= *time).collect();
        for handle in [aggregates.clone(), aggregates.without_snapshots()] {
            let replayed = handle.replay_to_time(id, *time);
            let Some(last) = chosen.last() else {
                assert_eq!(replayed.unwrap_err().kind(), ErrorKind::NotFound, "{id} at {time}");
                continue;
            };
            let replayed = replayed.unwrap();
            let expected: Vec<&Value> = chosen.iter().map(|n| &traces[*n]).collect();
            assert_eq!(replayed.state, json!({"seen": expected}), "{id} at {time}, from {:?}", replayed.from_snapshot);
            assert_eq!(replayed.version, *last as u64 + 1, "{id} at {time}: the version of the last event in it");
            assert!(replayed.warnings.is_empty());
            from_snapshot += usize::from(replayed.from_snapshot.is_some());
        }
    }
    from_snapshot
}

fn goes_back(lines: &[Line]) -> usize {
    lines.windows(2).filter(|pair| pair[1].occurred_at < pair[0].occurred_at).count()
}

/// Every aggregate of each source, a snapshot every third event.
#[test]
fn every_aggregate_at_several_times() {
    for name in SOURCES {
        let Some(set) = DataSet::find(name) else { return };
        let mut streams: BTreeMap<(String, String), Vec<Line>> = BTreeMap::new();
        for line in set.events() {
            streams.entry((line.aggregate_type.clone(), line.aggregate_id.clone())).or_default().push(line);
        }
        let file = TestStore::new(SnapshotPolicy::every(SNAPSHOT_EVERY).retain(100));
        let (mut backwards, mut from_snapshot) = (0, 0);
        for ((aggregate_type, id), lines) in &streams {
            let aggregates = tracing(&file.store, aggregate_type);
            for line in lines {
                aggregates.append_events(id, aggregates.version(id).unwrap(), [line.event()]).unwrap();
            }
            backwards += goes_back(lines);
            from_snapshot += compare(&aggregates, id, lines, &times_of(lines, 3));
        }
        eprintln!("{name}: {backwards} steps back inside of aggregates, {from_snapshot} replays from a snapshot");
        assert!(from_snapshot > 10, "{name}: only {from_snapshot} replays started from a snapshot");
    }
}

/// A whole source as one aggregate, where the clocks of many writers meet: more steps back, longer tails.
#[test]
fn a_whole_source_as_one_aggregate() {
    for name in SOURCES {
        let Some(set) = DataSet::find(name) else { return };
        let one = |mut line: Line| {
            line.aggregate_type = "source".to_owned();
            line.aggregate_id = name.to_owned();
            line
        };
        let lines: Vec<Line> = set.events().map(one).collect();
        let truth = set.truth();
        assert!(goes_back(&lines) >= 2, "{name}");
        if name == "chess-bbddnrr-2025" {
            assert_eq!(goes_back(&lines) as u64, truth["counted"]["occurred_at_goes_back_times"].as_u64().unwrap());
        }
        let file = TestStore::new(SnapshotPolicy::every(200).retain(100));
        let sources = tracing(&file.store, "source");
        for some in lines.chunks(100) {
            append_all_to(&sources, name, some);
        }
        assert_eq!(sources.snapshots(name).unwrap().len(), lines.len() / 200);
        compare(&sources, name, &lines, &times_of(&lines, 4));
    }
}

fn append_all_to(aggregates: &Aggregates<Value>, id: &str, lines: &[Line]) {
    let version = aggregates.version(id).unwrap();
    aggregates.append_events(id, version, lines.iter().map(Line::event)).unwrap();
}

/// A snapshot that holds one event that is too late must not be used, even when its last event is early enough.
#[test]
fn a_snapshot_with_a_later_event_inside_is_passed_over() {
    let Some(set) = DataSet::find("chess-bbddnrr-2025") else { return };
    let lines: Vec<Line> = set.events().collect();
    let back = (1..lines.len()).find(|n| lines[*n].occurred_at < lines[n - 1].occurred_at).unwrap();
    let file = TestStore::new(SnapshotPolicy::manual());
    let mut some = lines[..=back].to_vec();
    some.iter_mut().for_each(|line| (line.aggregate_type, line.aggregate_id) = ("source".to_owned(), "chess".to_owned()));
    append_all(&file.store, some.clone());
    let sources = tracing(&file.store, "source");
    sources.create_snapshot("chess", foldlog::SnapshotReason::Manual).unwrap();
    let time = lines[back].occurred_at;
    assert_eq!(sources.replay_to_time("chess", time).unwrap().from_snapshot, None);
    compare(&sources, "chess", &some, &[time]);
}
