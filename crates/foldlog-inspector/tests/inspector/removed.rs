//! What was purged or archived, and what takes the room.

use foldlog::serde_json::{Value, from_str, json};
use foldlog::{Archive, Expected, NewEvent, Options, Purge, SnapshotReason, Store};
use foldlog_inspector::Inspector;
use tempfile::TempDir;

use crate::client::get;
use crate::sample::moment;

/// Three counters of 1,200 events: of one all were purged, of one the older half is archived.
fn counters() -> (TempDir, Store) {
    let place = tempfile::tempdir().unwrap();
    let store = Options::new().open(place.path().join("counters.db")).unwrap();
    let counters = store.json_aggregates("counter");
    for id in ["purged", "archived", "whole"] {
        let count = |n: i64| NewEvent::new("Counted", &json!({ "n": n })).unwrap().created_at(moment(n - 1_200));
        counters.append(id, Expected::New, (1..=1_200).map(count)).unwrap();
        counters.create_snapshot(id, SnapshotReason::Manual).unwrap();
        counters.create_snapshot_at(id, 700, SnapshotReason::Manual).unwrap();
    }
    let purge = Purge::created_before(moment(1)).aggregate("counter", "purged").fold(&counters);
    assert_eq!(store.maintenance().purge(purge).unwrap().events_removed, 1_200);
    let archive = Archive::all_but_newest(600).aggregate("counter", "archived");
    assert_eq!(store.maintenance().archive(archive).unwrap().events_archived, 600);
    (place, store)
}

#[test]
fn purged_and_archived_aggregates_are_listed_and_shown() {
    let (place, store) = counters();
    let server = Inspector::new(store.clone()).serve("127.0.0.1:0").unwrap();
    let list: Value = from_str(&get(&server, "/aggregates.json?show=removed").body).unwrap();
    let ids: Vec<&str> = list["aggregates"].as_array().unwrap().iter().map(|row| row["aggregateId"].as_str().unwrap()).collect();
    assert_eq!(ids, ["archived", "purged"], "the newest event first, those without one last");
    for order in ["recent", "id"] {
        let list: Value = from_str(&get(&server, &format!("/aggregates.json?order={order}")).body).unwrap();
        assert_eq!(list["aggregates"].as_array().unwrap().len(), 3, "by {order}: {list}");
    }
    let list = get(&server, "/aggregates?show=snapshot").body;
    assert!(list.contains("With a snapshot") && list.contains("every event was purged"));

    let page = get(&server, "/a/default/counter/purged").body;
    assert!(page.contains("All events were purged.") && page.contains("No events are left: 1,200 were purged."), "{page}");
    assert!(page.contains("the state of a snapshot") && !page.contains("before the first event"), "{page}");
    let page = get(&server, "/a/default/counter/archived?v=3").body;
    assert!(page.contains("Versions 1 to 600 are in the archive.") && page.contains("counters.db.archive"));
    let state = |version: u64| -> Value {
        from_str(&get(&server, &format!("/state.json/default/counter/archived?v={version}")).body).unwrap()
    };
    assert_eq!(state(3)["state"]["n"], 3, "read through the archive");

    drop(server);
    drop(store);
    std::fs::rename(place.path().join("counters.db.archive"), place.path().join("elsewhere")).unwrap();
    let store = Store::open_read_only(place.path().join("counters.db")).unwrap();
    let server = Inspector::new(store).serve("127.0.0.1:0").unwrap();
    let page = get(&server, "/a/default/counter/archived");
    assert_eq!(page.status, 200, "{}", page.body);
    assert!(page.body.contains("It is not beside the file, so the state is known from version 700 on."));
    assert!(get(&server, "/storage").body.contains("The archive is not there"));
}

#[test]
fn storage_shows_what_takes_the_room() {
    let (_place, store) = counters();
    let server = Inspector::new(store.clone()).serve("127.0.0.1:0").unwrap();
    let page = get(&server, "/storage").body;
    assert!(page.contains("Bytes by table") && page.contains("index: events by position"), "{page}");
    assert!(page.contains("<bdi>merge-patch</bdi> 1") && page.contains("from its snapshot"), "{page}");
    assert!(page.contains("25.0 %</b> of the events are in <code>counters.db.archive"), "{page}");
    let told: Value = from_str(&get(&server, "/storage.json").body).unwrap();
    assert_eq!(told["file"]["archivedEvents"], 600);
    let tables = told["tables"].as_array().unwrap();
    let bytes: u64 = tables.iter().map(|table| table["bytes"].as_u64().unwrap()).sum();
    let file = told["file"]["sizeBytes"].as_u64().unwrap();
    assert!(bytes <= file && bytes > file / 4, "{bytes} of {file}");
    let rows = |name: &str| tables.iter().find(|table| table["name"] == name).unwrap()["rows"].clone();
    // 600 are in the archive, 1,200 were purged.
    assert_eq!((rows("events"), rows("sqlite_autoindex_events_1"), rows("aggregates")), (json!(1_800), json!(1_800), json!(3)));
    assert_eq!(told["file"]["format"], 1);
}

#[test]
fn a_reader_has_a_page_with_its_trend() {
    let (_place, store) = counters();
    store.subscription("mails/a").run_to_end(|_| Ok(())).unwrap();
    store.subscription("all").filter(foldlog::Filter::new().all_tenants()).run_to_end(|_| Ok(())).unwrap();
    store.append("counter", "new", Expected::New, [NewEvent::new("Counted", &json!({})).unwrap()]).unwrap();
    let server = Inspector::new(store).serve("127.0.0.1:0").unwrap();
    let list = get(&server, "/delivery").body;
    assert!(list.contains("href=\"/delivery/default/mails%2Fa\"") && list.contains("href=\"/delivery/all\""), "{list}");
    for (path, kind) in [("/delivery/default/mails%2Fa", "handler"), ("/delivery/all", "all tenants")] {
        let page = get(&server, path);
        assert_eq!(page.status, 200);
        assert!(
            page.body.contains(kind) && page.body.contains("Events behind") && page.body.contains("<b>1 event</b> behind"),
            "{}",
            page.body
        );
    }
    assert_eq!(get(&server, "/delivery/nobody").status, 404);
}
