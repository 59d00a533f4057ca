//! `orders`: that it checks itself, and says so when a check does not hold.

use foldlog::{Query, Store};
use serde_json::Value;

use crate::programs::run;

fn checks(json: &Value) -> Vec<(&str, bool)> {
    let checks = json["checks"].as_array().unwrap();
    checks.iter().map(|check| (check["what"].as_str().unwrap(), check["holds"].as_bool().unwrap())).collect()
}

#[test]
fn every_check_holds_and_the_file_is_as_it_says() {
    let directory = tempfile::tempdir().unwrap();
    let db = directory.path().join("orders.db");
    let arguments = ["--json", "--orders", "5000", "--db", db.to_str().unwrap()];
    let ran = run("orders", arguments).ended_with(0);
    let json = ran.json();
    let checks = checks(&json);
    assert!(checks.len() >= 15 && checks.iter().all(|(_, holds)| *holds), "{ran}");
    assert_eq!(json["all_hold"], true);

    let store = Store::open_read_only(&db).unwrap();
    let placed = store.read(Query::new().event_type("Placed")).count() as u64;
    assert!(placed > 5_003, "{placed} orders");
    let sold = store.query_read_model("SELECT sum(sold) FROM sales", [], |row| row.get::<_, u64>(0)).unwrap()[0];
    assert_eq!(sold, placed + 1, "one of them was for two chairs");
    let open = store.query_read_model("SELECT count(*) FROM open_orders", [], |row| row.get::<_, u64>(0)).unwrap()[0];
    assert_eq!(open, placed - 3, "three were shipped");
    let version = store.subscriptions().unwrap().into_iter().find(|status| status.name == "sales").unwrap().version;
    assert_eq!(version, 2);

    let again = run("orders", arguments).ended_with(1);
    assert!(again.stderr.contains("is there already"), "{again}");
}

#[test]
fn a_violated_check_ends_it_with_1() {
    let ran = run("orders", ["--json", "--orders", "5000", "--never-mended"]).ended_with(1);
    let json = ran.json();
    let violated: Vec<&str> = checks(&json).into_iter().filter(|(_, holds)| !holds).map(|(what, _)| what).collect();
    assert_eq!(violated, ["o-3 arrived, in its order", "no dead letter is left"]);
    assert!(ran.stderr.contains("a check does not hold"), "{ran}");
    assert_eq!(run("orders", ["--orders", "10"]).ended_with(2).stdout, "");
    let text = run("orders", ["--orders", "5000", "--never-mended"]).ended_with(1);
    assert!(text.stdout.contains("[ok] o-1 arrived") && text.stdout.contains("[VIOLATED] no dead letter is left"), "{text}");
}
