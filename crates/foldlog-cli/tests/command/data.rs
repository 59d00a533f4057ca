//! Real event streams, imported by the command; what it prints is compared with what others say about them.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use crate::streams::DataSet;
use crate::support::Place;

fn imported(name: &str, arguments: &[&str]) -> Option<(DataSet, Place)> {
    let set = DataSet::find(name)?;
    let place = Place::new();
    let file = set.path("events.ndjson.gz");
    place.done(&[&["import", "data.db", file.to_str().unwrap()], arguments].concat());
    Some((set, place))
}

/// The counts of `stats` are those of the data set.
fn assert_counted(place: &Place, set: &DataSet) {
    let counted = &set.truth()["counted"];
    let stats = place.json(&["stats", "data.db"]).remove(0);
    assert_eq!((&stats["events"], &stats["aggregates"]), (&counted["events"], &counted["aggregates"]));
    let by = |list: &Value, name: &str, count: &str| -> BTreeMap<String, u64> {
        let of = |one: &Value| (one[name].as_str().unwrap().to_owned(), one[count].as_u64().unwrap());
        list.as_array().unwrap().iter().map(of).collect()
    };
    let truth = |name: &str| serde_json::from_value::<BTreeMap<String, u64>>(counted[name].clone()).unwrap();
    assert_eq!(by(&stats["eventTypes"], "eventType", "events"), truth("events_by_type"));
    assert_eq!(by(&stats["aggregateTypes"], "aggregateType", "aggregates"), truth("aggregates_by_type"));
    place.done(&["verify", "data.db"]);
}

#[derive(Deserialize)]
struct TreeEntry {
    aggregate_id: String,
    mode: String,
    blob: String,
}

#[test]
fn files_are_as_git_says() {
    let Some((set, place)) = imported("git-quickwit", &["--commit-by", "/metadata/commit"]) else { return };
    assert_counted(&place, &set);
    let mut compared = 0;
    for entry in set.rows::<TreeEntry>("head_tree.ndjson.gz").step_by(40) {
        let replayed = place.json(&["replay", "data.db", &format!("file/{}", entry.aggregate_id)]).remove(0);
        let state = &replayed["state"];
        assert_eq!((&state["mode"], &state["blob"]), (&entry.mode.into(), &entry.blob.into()), "{}", entry.aggregate_id);
        assert_eq!(replayed["readBy"], "mergePatch");
        compared += 1;
    }
    assert!(compared > 20, "{compared}");
    let commits = place.json(&["sql", "data.db", "SELECT count(*) AS n FROM events WHERE commit_offset = 0"]).remove(0);
    let mut last = String::new();
    let of_git = set.events().filter(|line| std::mem::replace(&mut last, line.metadata_text("commit")) != last).count();
    assert_eq!(commits["n"], of_git);
}

#[derive(Deserialize)]
struct Case {
    aggregate_id: String,
    version: u64,
    last_event_type: String,
    last_occurred_at: chrono::DateTime<chrono::Utc>,
}

#[test]
fn cases_end_as_their_publisher_says() {
    let Some((set, place)) = imported("process-bpic2013-incidents", &[]) else { return };
    assert_counted(&place, &set);
    let listed = place.json(&["ls", "data.db", "incident", "-n", "0"]);
    let by_id: BTreeMap<&str, &Value> = listed.iter().map(|one| (one["aggregateId"].as_str().unwrap(), one)).collect();
    let cases: Vec<Case> = set.rows("final_states.ndjson.gz").collect();
    assert_eq!(by_id.len(), cases.len());
    for case in &cases {
        let listed = by_id[&*case.aggregate_id];
        assert_eq!((&listed["version"], &listed["lastEventType"]), (&case.version.into(), &case.last_event_type.as_str().into()));
        assert_eq!(
            listed["lastEventAt"].as_str().unwrap().parse::<chrono::DateTime<chrono::Utc>>().unwrap(),
            case.last_occurred_at
        );
    }
    let longest = place.json(&["ls", "data.db", "--by", "events", "-n", "1"]).remove(0);
    assert_eq!(longest["events"], set.truth()["counted"]["longest_stream"]["events"]);
    for (event_type, count) in set.truth()["counted"]["events_by_type"].as_object().unwrap() {
        assert_eq!(place.json(&["events", "data.db", "--count", "--type", event_type])[0]["count"], *count, "{event_type}");
    }
}

#[test]
fn every_data_set_comes_out_as_it_went_in() {
    for name in [
        "chess-bbddnrr-2025",
        "github-2021-07-21",
        "github-webhooks",
        "stackexchange-french-meta",
        "windows-accounts",
        "process-receipt",
    ] {
        let Some((set, place)) = imported(name, &[]) else { return };
        assert_counted(&place, &set);
        let exported = place.done(&["export", "data.db"]);
        assert_eq!(exported.lines().count(), set.events().count());
        for (out, into) in exported.lines().zip(set.events()) {
            let out: Value = serde_json::from_str(out).unwrap();
            assert_eq!(
                (out["aggregate_type"].as_str(), out["aggregate_id"].as_str()),
                (Some(into.aggregate_type.as_str()), Some(into.aggregate_id.as_str()))
            );
            assert_eq!(
                (&out["event_type"], &out["data"]),
                (&into.event_type.as_str().into(), &serde_json::from_str(into.data.get()).unwrap())
            );
            assert_eq!(out["occurred_at"].as_str().unwrap().parse::<chrono::DateTime<chrono::Utc>>().unwrap(), into.occurred_at);
        }
    }
}
