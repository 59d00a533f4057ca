//! What destroys says what it would do, and does it only with --yes.

use foldlog::{Message, PublishError, Store};

use crate::support::Place;

#[test]
fn a_purge_is_rehearsed_first() {
    let place = Place::shop();
    let purge = ["purge", "shop.db", "--before", "2026-11-02T12:00:00Z", "--aggregate", "order/4711"];
    assert!(place.done(&[&purge[..], &["--dry-run"]].concat()).contains("2 old events stay, because no snapshot replaces them"));
    assert!(place.fails(2, &["snapshot", "create", "shop.db", "order/4711"]).contains("--merge-patch"));
    place.done(&["snapshot", "create", "shop.db", "order/4711", "--merge-patch"]);
    let before = place.json(&["history", "shop.db", "order/4711"]);
    assert!(place.done(&[&purge[..], &["--dry-run"]].concat()).contains("2 events of 1 aggregate to remove"));
    assert!(place.fails(2, &purge).contains("add --yes"));
    assert_eq!(place.json(&["history", "shop.db", "order/4711"]), before);
    assert!(place.done(&[&purge[..], &["--yes"]].concat()).contains("2 events of 1 aggregate removed"));
    assert_eq!(place.json(&["history", "shop.db", "order/4711"])[0]["version"], 3);
    assert_eq!(place.json(&["replay", "shop.db", "order/4711"])[0]["state"]["status"], "shipped");
    place.fails(1, &["replay", "shop.db", "order/4711", "--version", "1"]);
    place.fails(1, &["snapshot", "drop", "shop.db", "order/4711", "--yes"]);
}

#[test]
fn snapshots_are_made_listed_and_deleted() {
    let place = Place::shop();
    place.done(&["snapshot", "create", "shop.db", "order/4711", "--every", "1", "--merge-patch"]);
    let versions = || -> Vec<u64> {
        let listed = place.json(&["snapshot", "list", "shop.db", "order/4711"]);
        listed.iter().map(|one| one["version"].as_u64().unwrap()).collect()
    };
    assert_eq!(versions(), [3, 2, 1]);
    assert_eq!(place.json(&["replay", "shop.db", "order/4711", "--version", "2"])[0]["fromSnapshot"], 2);
    assert_eq!(
        place.json(&["replay", "shop.db", "order/4711", "--version", "2", "--no-snapshot"])[0]["fromSnapshot"],
        serde_json::Value::Null
    );
    assert!(place.done(&["verify", "shop.db", "--snapshots"]).contains("order: 3 snapshots compared with replays: 0 problems"));
    assert_eq!(place.json(&["snapshot", "stats", "shop.db"])[0]["totalSnapshots"], 3);
    place.fails(2, &["snapshot", "prune", "shop.db", "order/4711", "--keep", "2"]);
    place.done(&["snapshot", "prune", "shop.db", "order/4711", "--keep", "2", "--yes"]);
    assert_eq!(versions(), [3, 2]);
    assert!(place.done(&["snapshot", "expire", "shop.db", "--dry-run"]).contains("0 snapshots to delete"));
    place.fails(2, &["snapshot", "drop", "shop.db", "order/4711"]);
    assert_eq!(versions(), [3, 2]);
    place.done(&["snapshot", "drop", "shop.db", "order/4711", "--yes"]);
    assert_eq!(versions(), [0u64; 0]);
    assert!(place.done(&["snapshot", "create", "shop.db", "order", "--merge-patch"]).contains("2 snapshots made"));
    place.done(&["maintain", "shop.db", "--snapshots-older-than", "0s"]);
    assert_eq!(versions(), [0u64; 0]);
}

#[test]
fn dead_letters_are_retried_and_dropped() {
    let place = Place::shop();
    let store = Store::open(place.path("shop.db")).unwrap();
    let mut down = store.outbox("mails").publisher(|message: &Message<'_>| match &*message.event.aggregate_type {
        "order" => Err(PublishError::Reject("no such\u{1b} customer".to_owned())),
        _ => Ok(()),
    });
    down.run_to_end().unwrap();
    drop((down, store));
    let listed = place.json(&["dead-letters", "list", "shop.db"]);
    let positions: Vec<_> = listed.iter().map(|letter| letter["position"].as_u64().unwrap()).collect();
    assert_eq!(positions.first(), Some(&1));
    assert_eq!(listed[0]["event"]["eventType"], "Placed");
    assert!(place.done(&["dead-letters", "list", "shop.db"]).contains("no such\\u{1b} customer"));
    assert!(place.done(&["stats", "shop.db"]).contains("dead letter"));
    place.fails(3, &["dead-letters", "retry", "shop.db", "mails", "1", "2"]);
    place.fails(2, &["dead-letters", "retry", "shop.db", "mails"]);
    place.done(&["dead-letters", "retry", "shop.db", "mails", "1"]);
    let dead = || place.json(&["outbox", "shop.db", "mails"])[0]["dead"].as_u64().unwrap();
    assert_eq!(dead(), positions.len() as u64 - 1);
    place.fails(2, &["dead-letters", "drop", "shop.db", "mails", "--all"]);
    place.done(&["dead-letters", "drop", "shop.db", "mails", "--all", "--dry-run"]);
    assert_eq!(dead(), positions.len() as u64 - 1);
    place.done(&["dead-letters", "drop", "shop.db", "mails", "--all", "--yes"]);
    assert_eq!(dead(), 0);
}

#[test]
fn a_reader_that_stopped_is_shown_and_can_go_on() {
    let place = Place::shop();
    let store = Store::open(place.path("shop.db")).unwrap();
    let reader = store.subscription("mails");
    let fails = |event: &foldlog::RecordedEvent| match event.position.get() {
        3 => Err("connection refused".into()),
        _ => Ok(()),
    };
    reader.run_to_end(fails).unwrap_err();
    drop(store);
    let out = place.done(&["subscriptions", "shop.db", "mails"]);
    assert!(out.contains("stopped at 3") && out.contains("order/4711 version 2") && out.contains("connection refused"), "{out}");
    place.fails(2, &["subscriptions", "shop.db", "mails", "--skip-failed"]);
    place.done(&["subscriptions", "shop.db", "mails", "--skip-failed", "--dry-run"]);
    assert_eq!(place.json(&["subscriptions", "shop.db"])[0]["position"], 2);
    place.done(&["subscriptions", "shop.db", "mails", "--skip-failed", "--yes"]);
    assert_eq!(place.json(&["subscriptions", "shop.db"])[0]["position"], 3);
}

#[test]
fn indexes_are_made_anew() {
    let place = Place::shop();
    let raw = foldlog::rusqlite::Connection::open(place.path("shop.db")).unwrap();
    raw.execute("DELETE FROM event_ids WHERE position = 3", []).unwrap();
    drop(raw);
    place.fails(5, &["verify", "shop.db"]);
    assert!(place.done(&["reindex", "shop.db"]).contains("6 events"));
    place.done(&["verify", "shop.db"]);
}

#[test]
fn old_events_are_archived_and_moved_back() {
    let place = Place::shop();
    let lines: String = (0..1_200).map(|n| format!("{{\"eventType\":\"Counted\",\"data\":{{\"n\":{n}}}}}\n")).collect();
    assert_eq!(place.with_input(&["append", "shop.db", "counter/1"], lines.as_bytes()).code, 0);
    place.fails(2, &["archive", "shop.db"]);
    place.done(&["snapshot", "create", "shop.db", "counter/1", "--merge-patch"]);
    let archive = ["archive", "shop.db", "--keep-newest", "600", "--aggregate", "counter/1"];
    assert!(place.done(&[&archive[..], &["--dry-run"]].concat()).contains("600 events of 1 aggregate to move"));
    assert!(!place.path("shop.db.archive").exists());
    assert!(place.done(&archive).contains("600 events of 1 aggregate moved"));
    assert!(place.path("shop.db.archive").exists());
    assert_eq!(place.json(&["replay", "shop.db", "counter/1", "--version", "7"])[0]["state"]["n"], 6);
    place.done(&["verify", "shop.db"]);
    assert!(place.done(&["archive", "shop.db", "--undo"]).contains("600 events moved back"));
}

#[test]
fn free_space_is_given_back() {
    let place = Place::shop();
    let lines: String = (0..3_000).map(|n| format!("{{\"eventType\":\"Counted\",\"data\":{{\"n\":{n}}}}}\n")).collect();
    assert_eq!(place.with_input(&["append", "shop.db", "counter/1"], lines.as_bytes()).code, 0);
    assert!(place.done(&["compact", "shop.db"]).starts_with("0 pages given back"));
    place.done(&["snapshot", "create", "shop.db", "counter/1", "--merge-patch"]);
    place.done(&["purge", "shop.db", "--before", "0s", "--aggregate", "counter/1", "--yes"]);
    let size = || std::fs::metadata(place.path("shop.db")).unwrap().len();
    let before = size();
    let reached = &place.json(&["compact", "shop.db"])[0];
    assert_eq!(reached["pages"]["finished"], true, "{reached}");
    assert!(reached["pages"]["done"].as_u64().unwrap() > 20, "{reached}");
    assert!(reached["sizeAfter"].as_u64() < reached["sizeBefore"].as_u64(), "{reached}");
    assert!(size() < before / 2, "{before} became {}", size());
    assert_eq!(place.json(&["replay", "shop.db", "counter/1"])[0]["state"]["n"], 2_999);
    place.done(&["verify", "shop.db"]);
}

#[test]
fn an_erasure_is_rehearsed_first() {
    let place = Place::shop();
    let erase = ["erase", "shop.db", "order/4711", "--by", "operator", "--reason", "asked for it"];
    let before = place.json(&["history", "shop.db", "order/4711"]);
    assert!(place.done(&[&erase[..], &["--dry-run"]].concat()).contains("3 events, 0 snapshots and 0 deliveries to erase"));
    assert!(place.fails(2, &erase).contains("add --yes"));
    assert_eq!(place.json(&["history", "shop.db", "order/4711"]), before);
    place.fails(2, &["erase", "shop.db", "order/4711", "--field", "/customer", "--forget-name", "--yes"]);
    place.fails(2, &["erase", "shop.db", "order/4711", "--field", "customer", "--yes"]);
    let fields =
        place.done(&["erase", "shop.db", "order/4711", "--field", "/customer", "--metadata-field", "/username", "--yes"]);
    assert!(fields.contains("nothing of it is left in the store's files"), "{fields}");
    assert_eq!(place.json(&["replay", "shop.db", "order/4711"])[0]["state"]["customer"], "");
    let done = place.done(&[&erase[..], &["--yes"]].concat());
    assert!(done.contains("3 events") && done.contains("nothing of it is left"), "{done}");
    assert!(place.fails(1, &["replay", "shop.db", "order/4711"]).contains("was erased"));
    place.fails(1, &["append", "shop.db", "order/4711", "Placed"]);
    place.done(&[&erase[..], &["--forget-name", "--yes"]].concat());
    place.done(&["append", "shop.db", "order/4711", "Placed"]);
    place.done(&["verify", "shop.db"]);
}

#[test]
fn upkeep_does_what_it_is_told() {
    let place = Place::shop();
    let lines: String = (0..1_200).map(|n| format!("{{\"eventType\":\"Counted\",\"data\":{{\"n\":{n}}}}}\n")).collect();
    assert_eq!(place.with_input(&["append", "shop.db", "counter/1"], lines.as_bytes()).code, 0);
    place.done(&["snapshot", "create", "shop.db", "counter/1", "--merge-patch"]);
    for wrong in ["counter", "counter=newest", "counter=newest:x", "counter=oldest:3", "=newest:3", "counter=closed:"] {
        place.fails(2, &["maintain", "shop.db", "--retain", wrong]);
    }
    let done = place.done(&["maintain", "shop.db", "--retain", "counter=newest:1000", "--retain", "order=newest:1"]);
    assert!(done.contains("counter: 200 events removed") && done.contains("has no snapshot"), "{done}");
    let report = &place.json(&["maintain", "shop.db", "--archive=0s", "--no-compact"])[0]["report"];
    assert_eq!(report["tenants"][1]["tenant"], "default", "{report}");
    assert!(report["tenants"][1]["archive"]["eventsArchived"].as_u64().unwrap() > 500, "{report}");
    assert_eq!((&report["finished"], &report["pagesGivenBack"]), (&true.into(), &0.into()), "{report}");
    place.done(&["maintain", "shop.db", "--archive"]);
    assert_eq!(place.json(&["replay", "shop.db", "counter/1"])[0]["state"]["n"], 1_199);
    place.done(&["verify", "shop.db"]);
}
