//! `orders`: that it checks itself, and says so when a check does not hold.

use std::fs::File;
use std::process::Command;

use foldlog::{Filter, Query, Store};
use serde_json::Value;

use crate::programs::{Ran, program, run};

/// Every check, and whether it holds.
fn checks(json: &Value) -> Vec<(&str, bool)> {
    let parts = json["parts"].as_array().unwrap();
    let checks = parts.iter().flat_map(|part| part["checks"].as_array().unwrap());
    checks.map(|check| (check["what"].as_str().unwrap(), check["holds"].as_bool().unwrap())).collect()
}

#[test]
fn every_check_holds_and_the_file_is_as_it_says() {
    let directory = tempfile::tempdir().unwrap();
    let db = directory.path().join("orders.db");
    let arguments = ["--json", "--orders", "5000", "--db", db.to_str().unwrap()];
    let ran = run("orders", arguments).ended_with(0);
    let json = ran.json();
    let checks = checks(&json);
    assert!(checks.len() >= 19 && checks.iter().all(|(_, holds)| *holds), "{ran}");
    assert_eq!((&json["all_hold"], json["parts"].as_array().unwrap().len()), (&Value::Bool(true), 4));
    let told = json["parts"][2]["told"].as_array().unwrap();
    let told = |words: &str| told.iter().filter(|line| line.as_str().unwrap().contains(words)).count();
    assert_eq!((told("503 Service Unavailable"), told("204 No Content")), (3, 6), "{ran}");
    assert_eq!(told("position 13: Paid of o-3"), 1, "{ran}");

    let store = Store::open_read_only(&db).unwrap();
    let count = |query: Query| store.read(query).map(Result::unwrap).count() as u64;
    let placed = count(Query::matching(Filter::new().event_type("Placed")));
    assert!(placed > 5_003, "{placed} orders");
    let sold = store.query_read_model("SELECT sum(sold) FROM sales", [], |row| row.get::<_, u64>(0)).unwrap()[0];
    assert_eq!(sold, placed + 1, "one of them was for two chairs");
    let open = store.query_read_model("SELECT count(*) FROM open_orders", [], |row| row.get::<_, u64>(0)).unwrap()[0];
    assert_eq!(open, placed - count(Query::matching(Filter::new().event_type("Shipped"))));
    let version = store.subscriptions().unwrap().into_iter().find(|status| status.name == "sales").unwrap().version;
    assert_eq!(version, 2);
    let outbox = store.outbox("billing").status().unwrap();
    assert_eq!((outbox.to_retry, outbox.waiting, outbox.dead), (0, 0, 0));

    let again = run("orders", arguments).ended_with(1);
    assert!(again.stdout.is_empty() && again.stderr.contains("is there already"), "{again}");
}

#[test]
fn violated_checks_end_it_with_1() {
    let ran = run("orders", ["--json", "--orders", "5000", "--never-mended"]).ended_with(1);
    let json = ran.json();
    let violated: Vec<&str> = checks(&json).into_iter().filter(|(_, holds)| !holds).map(|(what, _)| what).collect();
    assert_eq!(violated, ["o-3 is booked, in its order", "no dead letter is left"]);
    assert_eq!(json["all_hold"], false);
    assert!(ran.stderr.starts_with("orders: not everything was as it must be"), "{ran}");
    let text = run("orders", ["--orders", "5000", "--never-mended"]).ended_with(1);
    for words in ["[ok] o-2 as well", "[VIOLATED] no dead letter is left: 1 in place of 0", "2 of 19 checks do not hold"] {
        assert!(text.stdout.contains(words), "{words}: {text}");
    }
}

#[test]
fn what_cannot_be_done_is_said() {
    assert!(run("orders", ["--orders", "10"]).ended_with(2).stdout.is_empty());
    let nowhere = run("orders", ["--db", "/nowhere/orders.db"]).ended_with(1);
    assert!(nowhere.stdout.is_empty() && nowhere.stderr.starts_with("orders: open: "), "{nowhere}");
    let full = File::create("/dev/full").unwrap();
    let full = Ran::of(Command::new(program("orders")).args(["--orders", "5000"]).stdout(full).output().unwrap()).ended_with(1);
    assert!(full.stderr.starts_with("orders: "), "{full}");
}
