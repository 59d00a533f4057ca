//! Looking around in a small shop: what is printed, and the exit codes.

use serde_json::json;

use crate::support::Place;

#[test]
fn stats_answer_on_the_first_screen() {
    let place = Place::shop();
    let out = place.done(&["stats", "shop.db"]);
    for part in [
        "5   3 aggregates of 2 types",
        "order 4, payment 1",
        "Placed 2",
        "2026-11-02 10:14:07 to 2026-11-04",
        "positions    1 to 6",
        "2 tenants",
    ] {
        assert!(out.contains(part), "{part}: {out}");
    }
}

#[test]
fn ls_lists_by_type_prefix_tenant_and_order() {
    let place = Place::shop();
    let names = |arguments: &[&str]| -> Vec<String> {
        let listed = place.json(&[&["ls", "shop.db"], arguments].concat());
        listed
            .iter()
            .map(|one| format!("{}/{}", one["aggregateType"].as_str().unwrap(), one["aggregateId"].as_str().unwrap()))
            .collect()
    };
    assert_eq!(names(&[]), ["order/4711", "order/4712", "payment/88"]);
    assert_eq!(names(&["order"]), ["order/4711", "order/4712"]);
    assert_eq!(names(&["order/4711"]), ["order/4711"]);
    assert_eq!(names(&["order/47", "-n", "1"]), ["order/4711"]);
    assert_eq!(names(&["order", "--after", "4711"]), ["order/4712"]);
    assert_eq!(names(&["--tenant", "acme"]), ["order/1"]);
    assert_eq!(names(&["--all-tenants"]).len(), 4);
    assert_eq!(names(&["--by", "recent"]), ["order/4712", "order/4711", "payment/88"]);
    assert_eq!(names(&["--by", "events", "-n", "1"]), ["order/4711"]);
    assert_eq!(names(&["--by", "size"])[0], "order/4711");
    assert!(place.fails(3, &["ls", "shop.db", "ordr"]).contains("did you mean order?"));
}

#[test]
fn a_history_says_who_and_why() {
    let place = Place::shop();
    let out = place.done(&["history", "shop.db", "order/4711"]);
    let lines: Vec<&str> = out.lines().collect();
    assert_eq!(lines.len(), 3);
    assert!(
        lines[0].contains("Placed") && lines[0].contains("customer c-12, items 3") && lines[0].contains("by ada  from 192.0.2.7"),
        "{out}"
    );
    assert!(lines[1].contains("caused by payment/88 v1"), "{out}");
    assert_eq!(place.json(&["history", "shop.db", "order/4711", "--after", "2"])[0]["version"], 3);
    assert_eq!(place.json(&["history", "shop.db", "order/4711", "--newest", "-n", "1"])[0]["version"], 3);
    assert!(place.done(&["history", "shop.db", "order/4711", "--data"]).contains("\"carrier\": \"DHL\""));
    place.fails(3, &["history", "shop.db", "order/4711", "--after", "9"]);
}

#[test]
fn states_are_shown_at_a_version_and_at_a_time() {
    let place = Place::shop();
    let state = |arguments: &[&str]| -> serde_json::Value {
        serde_json::from_str(&place.done(&[&["replay", "shop.db", "order/4711"], arguments].concat())).unwrap()
    };
    let paid = json!({"customer": "c-12", "items": 3, "status": "paid", "cents": 12_900});
    assert_eq!(state(&["--version", "2"]), paid);
    assert_eq!(state(&["--at", "2026-11-03"]), paid);
    assert_eq!(state(&["--at", "2026-11-02T10:14:09+00:00", "--no-snapshot"]), paid);
    assert_eq!(state(&[])["shipment"]["carrier"], "DHL");
    let said = place.run(&["replay", "shop.db", "order/4711"]).said;
    assert!(said.contains("order/4711 at version 3: 3 events") && said.contains("without its application"), "{said}");
    place.fails(3, &["replay", "shop.db", "order/4711", "--version", "4"]);
    place.fails(3, &["replay", "shop.db", "order/4711", "--at", "2020-01-01"]);
    place.fails(2, &["replay", "shop.db", "order/4711", "--at", "2020-01-01", "--version", "1"]);
}

#[test]
fn a_difference_is_a_json_patch() {
    let place = Place::shop();
    let report = place.json(&["diff", "shop.db", "order/4711", "1", "2"]).remove(0);
    let patch: json_patch::Patch = serde_json::from_value(report["patch"].clone()).unwrap();
    let mut state = report["before"].clone();
    json_patch::patch(&mut state, &patch).unwrap();
    assert_eq!(state, report["after"]);
    assert_eq!(report["events"][0]["eventType"], "Paid");
    let out = place.done(&["diff", "shop.db", "order/4711", "2"]);
    assert!(out.contains("\"paid\" → \"shipped\"") && out.contains("+  /shipment") && out.contains("Shipped"), "{out}");
    let back = place.json(&["diff", "shop.db", "order/4711", "3", "0", "--patch"]).remove(0);
    assert!(back.as_array().unwrap().iter().all(|operation| operation["op"] == "remove"), "{back}");
}

#[test]
fn events_are_found_by_what_is_in_them() {
    let place = Place::shop();
    let positions = |arguments: &[&str]| -> Vec<u64> {
        let found = place.json(&[&["events", "shop.db"], arguments].concat());
        found.iter().map(|event| event["position"].as_u64().unwrap()).collect()
    };
    assert_eq!(positions(&[]), [5, 4, 3, 2, 1]);
    assert_eq!(positions(&["--oldest", "-n", "2"]), [1, 2]);
    assert_eq!(positions(&["--all-tenants"]), [6, 5, 4, 3, 2, 1]);
    assert_eq!(positions(&["--type", "Paid", "--type", "Received"]), [3, 2]);
    assert_eq!(positions(&["--aggregate-type", "payment"]), [2]);
    assert_eq!(positions(&["--aggregate", "order/4711", "--after", "1"]), [4, 3]);
    assert_eq!(positions(&["--since", "2026-11-03", "--until", "2026-11-03T23:00:00Z"]), [4]);
    assert_eq!(positions(&["--tag", "customer:c-12"]), [1]);
    assert_eq!(positions(&["--where", "$.cents > 10000"]), [3, 2]);
    assert_eq!(positions(&["--where", "$.cents > 12900"]), [0u64; 0]);
    assert_eq!(positions(&["--where-metadata", "$.username == 'ada'"]), [1]);
    assert_eq!(place.done(&["events", "shop.db", "--count", "--where", "$.status"]), "4\n");
    assert_eq!(place.json(&["tail", "shop.db", "-n", "2"]).len(), 2);
    place.fails(2, &["events", "shop.db", "--where", "$.cents >"]);
}

#[test]
fn an_append_expects_a_version() {
    let place = Place::shop();
    let said = place.fails(4, &["append", "shop.db", "order/4711", "Returned", "--expect", "2"]);
    assert!(said.contains("version conflict: expected version 2, found version 3"), "{said}");
    place.fails(4, &["append", "shop.db", "order/4711", "Returned", "--expect", "new"]);
    place.fails(4, &["append", "shop.db", "order/5000", "Returned", "--expect", "existing"]);
    place.fails(2, &["append", "shop.db", "order/4711", "Returned", "--expect", "soon"]);
    place.fails(2, &["append", "shop.db", "order/4711", "Returned", "{"]);
    place.fails(3, &["append", "other.db", "order/4711", "Returned"]);
    assert_eq!(
        place.done(&["append", "shop.db", "order/4711", "Returned", "--expect", "3"]),
        "order/4711 is at version 4, position 7\n"
    );
    let lines = "{\"eventType\":\"A\",\"data\":{}}\n\n{\"eventType\":\"B\",\"data\":{\"n\":1},\"id\":\"00000000-0000-8000-8000-000000000077\"}\n";
    let ran = place.with_input(&["append", "shop.db", "order/4711", "--expect", "4", "--json"], lines.as_bytes());
    assert_eq!((ran.code, serde_json::from_str::<serde_json::Value>(&ran.out).unwrap()["version"].clone()), (0, json!(6)));
    let ran = place.with_input(&["append", "shop.db", "order/4711"], b"{\"eventType\":\"A\"}");
    assert!(ran.code == 2 && ran.said.contains("line 1"), "{}", ran.said);
    let ran = place.with_input(&["append", "shop.db", "order/4711", "C", "-"], b"{\"from\":\"stdin\"}");
    assert_eq!(ran.code, 0);
    assert_eq!(place.json(&["tail", "shop.db", "-n", "1"])[0]["data"]["from"], "stdin");
}

#[test]
fn what_is_not_there_is_exit_code_3_and_what_is_near_is_named() {
    let place = Place::shop();
    assert!(place.fails(3, &["history", "shop.db", "order/471"]).contains("did you mean order/4711?"));
    assert!(place.fails(3, &["replay", "shop.db", "odrer/4711"]).contains("did you mean order/4711?"));
    assert!(place.fails(3, &["stats", "shp.db"]).contains("did you mean shop.db?"));
    assert!(!place.path("shp.db").exists());
    assert!(place.fails(3, &["subscriptions", "shop.db", "mails"]).contains("no reader mails"));
    place.fails(3, &["outbox", "shop.db", "mails"]);
    place.fails(3, &["projections", "rebuild", "shop.db", "orders"]);
    assert!(place.fails(2, &["sats", "shop.db"]).contains("stats"));
    place.fails(2, &[]);
    place.done(&["--help"]);
    place.done(&["--version"]);
}

#[test]
fn an_error_is_json_if_json_was_asked_for() {
    let place = Place::shop();
    let said = place.fails(4, &["append", "shop.db", "order/4711", "Returned", "--expect", "2", "--json"]);
    let error: serde_json::Value = serde_json::from_str(&said).unwrap();
    assert_eq!(error["error"]["exit"], 4);
    assert_eq!(error["error"]["cause"]["conflict"]["actual"], 3);
    place.fails(2, &["stats", "shop.db", "--json=2"]);
    place.done(&["stats", "shop.db", "--json=1"]);
}

#[test]
fn sql_reads_and_never_writes() {
    let place = Place::shop();
    let rows = place.json(&[
        "sql",
        "shop.db",
        "SELECT position, x'0aff' AS b, NULL AS n, 1.5 AS r, data FROM events ORDER BY position LIMIT 1",
    ]);
    assert_eq!(
        rows[0],
        json!({"position": 1, "b": "0aff", "n": null, "r": 1.5, "data": r#"{"customer":"c-12","items":3,"status":"open"}"#})
    );
    let ran = place.with_input(&["sql", "shop.db"], b"SELECT count(*) FROM events");
    assert_eq!((ran.code, ran.out.as_str()), (0, "6\n"));
    let before = std::fs::read(place.path("shop.db")).unwrap();
    for statement in
        ["DELETE FROM events", "CREATE TABLE t (a)", "PRAGMA user_version = 7", "ATTACH 'x.db' AS x", "VACUUM", "nonsense"]
    {
        assert_ne!(place.run(&["sql", "shop.db", statement]).code, 0, "{statement}");
    }
    assert_eq!(place.names(), ["shop.db"]);
    assert!(std::fs::read(place.path("shop.db")).unwrap() == before);
}

#[test]
fn reading_leaves_the_file_as_it_is() {
    let place = Place::shop();
    let before = std::fs::read(place.path("shop.db")).unwrap();
    for arguments in [
        &["stats", "shop.db"][..],
        &["ls", "shop.db"],
        &["history", "shop.db", "order/4711"],
        &["verify", "shop.db", "--snapshots"],
        &["verify", "shop.db", "order/4711"],
        &["metrics", "shop.db"],
        &["subscriptions", "shop.db"],
        &["outbox", "shop.db"],
        &["dead-letters", "list", "shop.db"],
        &["projections", "list", "shop.db"],
        &["snapshot", "list", "shop.db", "order/4711"],
        &["snapshot", "stats", "shop.db"],
        &["export", "shop.db"],
    ] {
        place.done(arguments);
        assert!(std::fs::read(place.path("shop.db")).unwrap() == before, "{arguments:?}");
    }
}

#[test]
fn metrics_completions_and_manuals_are_written() {
    let place = Place::shop();
    let metrics = place.done(&["metrics", "shop.db"]);
    assert!(metrics.contains("event_snapshots_total 0") && metrics.contains("event_store_events_by_aggregate{"), "{metrics}");
    assert!(metrics.lines().filter(|line| line.starts_with("# TYPE ")).all(|line| line.ends_with(" gauge")), "{metrics}");
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        assert!(place.done(&["completions", shell]).contains("history"), "{shell}");
    }
    assert!(place.done(&["man"]).contains(".TH"));
    assert!(place.done(&["man", "snapshot", "create"]).contains("every"));
    place.fails(3, &["man", "nothing"]);
    std::fs::create_dir(place.path("man1")).unwrap();
    place.done(&["man", "--into", "man1"]);
    assert!(place.path("man1/foldlog-history.1").is_file());
}

#[test]
fn what_is_missing_is_told_with_where_it_is() {
    let place = Place::shop();
    assert!(place.fails(3, &["history", "shop.db", "order/1"]).contains("another tenant has it: --tenant acme"));
    assert!(place.fails(3, &["append", "none.db", "order/1", "Made"]).contains("--create makes it"));
    let ran = place.run(&["events", "shop.db", "--type", "Nothing"]);
    assert!(ran.code == 0 && ran.out.is_empty() && ran.said.contains("no event matches"), "{}", ran.said);
    place.done(&["append", "acme.db", "order/1", "Placed", "--tenant", "acme", "--create"]);
    assert!(place.run(&["stats", "acme.db"]).said.contains("--tenant NAME shows another"));
    place.done(&["purge", "shop.db", "--before", "0s", "--even-if-replay-breaks", "--yes"]);
    assert!(place.done(&["ls", "shop.db", "order"]).contains("all 3 purged"));
}

#[test]
fn the_result_of_verify_is_noted_on_request() {
    let place = Place::shop();
    place.done(&["verify", "shop.db"]);
    assert!(!place.done(&["stats", "shop.db"]).contains("verified"));
    place.done(&["verify", "shop.db", "--note"]);
    let stats = place.done(&["stats", "shop.db"]);
    assert!(stats.contains("verified") && stats.contains("up to position 6: 0 problems"), "{stats}");
    assert_eq!(place.json(&["stats", "shop.db"])[0]["verified"]["damageCount"], 0);
    place.fails(2, &["verify", "shop.db", "order/4711", "--note"]);
}
