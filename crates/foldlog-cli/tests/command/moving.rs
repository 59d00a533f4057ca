//! Import, export, backup, restore, repair.

use std::io::{Read, Write};

use crate::support::Place;

#[test]
fn an_export_is_the_same_through_every_compression() {
    let place = Place::shop();
    let plain = place.done(&["export", "shop.db", "--all-tenants"]);
    assert_eq!(plain.lines().count(), 6);
    for (name, flag) in
        [("a.ndjson", None), ("a.ndjson.gz", None), ("a.ndjson.zst", None), ("gzip", Some("gzip")), ("zstd", Some("zstd"))]
    {
        let mut arguments = vec!["export", "shop.db", name, "--all-tenants"];
        arguments.extend(flag.into_iter().flat_map(|flag| ["--compress", flag]));
        place.done(&arguments);
        // By content, whatever the name says.
        std::fs::rename(place.path(name), place.path("renamed")).unwrap();
        let copy = format!("{name}.db");
        assert!(place.done(&["import", &copy, "renamed"]).contains("6 events added in 6 commits, 0 already there"));
        assert!(place.done(&["import", &copy, "renamed"]).contains("0 events added in 0 commits, 6 already there"));
        assert_eq!(place.done(&["export", &copy, "--all-tenants"]), plain, "{name}");
        std::fs::remove_file(place.path("renamed")).unwrap();
    }
    std::fs::write(place.path("there"), "theirs").unwrap();
    place.fails(2, &["export", "shop.db", "there"]);
    assert_eq!(std::fs::read(place.path("there")).unwrap(), b"theirs");
}

#[test]
fn standard_input_and_output_are_a_dash() {
    let place = Place::shop();
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(place.done(&["export", "shop.db", "-", "--type", "Placed"]).as_bytes()).unwrap();
    let ran = place.with_input(&["import", "copy.db", "-", "--any-version"], &gzip.finish().unwrap());
    assert!(ran.code == 0 && ran.out.contains("2 events added"), "{}{}", ran.out, ran.said);
    let ran = place.with_input(&["import", "copy.db"], b"");
    assert!(ran.code == 0 && ran.out.contains("0 events added"), "{}", ran.said);
}

#[test]
fn cloud_events_are_written_and_read() {
    let place = Place::shop();
    let lines = place.done(&["export", "shop.db", "--format", "cloudevents", "--type-prefix", "com.shop.", "--source", "/shop"]);
    let first: serde_json::Value = serde_json::from_str(lines.lines().next().unwrap()).unwrap();
    assert_eq!(
        (&first["type"], &first["source"], &first["subject"]),
        (&"com.shop.Placed".into(), &"/shop".into(), &"4711".into())
    );
    let ran = place.with_input(&["import", "copy.db", "--type-prefix", "com.shop."], lines.as_bytes());
    assert!(ran.out.contains("5 events added"), "{}{}", ran.out, ran.said);
    let state = |file: &str| place.json(&["replay", file, "order/4711"])[0]["state"].clone();
    assert_eq!(state("copy.db"), state("shop.db"));
}

#[test]
fn a_bad_import_is_named_by_file_and_line() {
    let place = Place::new();
    std::fs::write(
        place.path("bad.ndjson"),
        "{\"aggregate_type\":\"a\",\"aggregate_id\":\"b\",\"event_type\":\"C\",\"data\":{}}\n{]\n",
    )
    .unwrap();
    let said = place.fails(2, &["import", "new.db", "bad.ndjson"]);
    assert!(said.contains("bad.ndjson") && said.contains("line 2"), "{said}");
    assert_eq!(place.json(&["events", "new.db"]).len(), 1, "what stands before it stays");
    place.fails(3, &["import", "other.db", "missing.ndjson"]);
    assert!(!place.path("other.db").exists(), "nothing is made for an import that cannot begin");
    let mut cut = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    cut.write_all(&[b'x'; 10_000]).unwrap();
    let cut = cut.finish().unwrap();
    std::fs::write(place.path("cut.gz"), &cut[..cut.len() / 2]).unwrap();
    place.fails(1, &["import", "new.db", "cut.gz"]);
}

#[test]
fn a_command_that_fails_before_its_first_event_leaves_no_store() {
    let place = Place::shop();
    std::fs::write(place.path("bad.ndjson"), "{]\n").unwrap();
    let before: Vec<_> = std::fs::read_dir(place.path("")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    place.fails(2, &["import", "new.db", "bad.ndjson"]);
    place.fails(2, &["import", "shop.db", "bad.ndjson"]);
    place.fails(4, &["append", "new.db", "order/1", "Placed", "{}", "--create", "--expect", "5"]);
    let after: Vec<_> = std::fs::read_dir(place.path("")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(after, before);
    // A store that was there before stays, also an empty one.
    assert_eq!(place.with_input(&["import", "empty.db"], b"").code, 0);
    place.fails(2, &["import", "empty.db", "bad.ndjson"]);
    assert!(place.path("empty.db").exists());
}

#[test]
fn a_backup_is_restored() {
    let place = Place::shop();
    assert!(place.done(&["backup", "shop.db", "copy.db"]).contains("up to position 6, verified"));
    place.fails(2, &["backup", "shop.db", "copy.db"]);
    place.done(&["append", "shop.db", "order/4711", "Returned"]);
    std::fs::write(place.path("back.db-wal"), "of an earlier file").unwrap();
    let ran = place.run(&["restore", "copy.db", "back.db"]);
    assert!(ran.code == 0 && ran.said.contains("moved away"), "{}{}", ran.out, ran.said);
    assert_eq!(place.json(&["history", "back.db", "order/4711"]).len(), 3);
    place.fails(2, &["restore", "copy.db", "back.db"]);
    place.fails(3, &["restore", "missing.db", "new.db"]);
    place.done(&["restore", "copy.db", "own.db", "--as-new"]);
    let origin = |file| {
        place.done(&["append", file, "order/4711", "Noted"]);
        place.json(&["history", file, "order/4711"])[3]["origin"].clone()
    };
    assert_ne!(origin("own.db"), origin("back.db"));
    let mut left = Vec::new();
    let name = place.names().into_iter().find(|name| name.contains("left-behind")).unwrap();
    std::fs::File::open(place.path(&name)).unwrap().read_to_end(&mut left).unwrap();
    assert_eq!(left, b"of an earlier file");
}

#[test]
fn a_copy_changes_names_and_goes_on_where_it_was() {
    let place = Place::shop();
    let copy = [
        "copy",
        "shop.db",
        "copy.db",
        "--aggregate-type",
        "order",
        "--rename-aggregate-type",
        "order=purchase",
        "--rename-type",
        "Paid=Settled",
        "--into-tenant",
        "old",
    ];
    assert!(place.done(&copy).contains("4 events added in 4 commits, 0 already there"));
    place.done(&["append", "shop.db", "order/4712", "Paid", "{}"]);
    assert!(place.done(&copy).contains("1 event added in 1 commit, 4 already there"));
    let history = place.json(&["history", "copy.db", "purchase/4711", "--tenant", "old"]);
    let types: Vec<&str> = history.iter().map(|event| event["eventType"].as_str().unwrap()).collect();
    assert_eq!(types, ["Placed", "Settled", "Shipped"]);
    assert_eq!(history[1]["id"], "00000000-0000-8000-8000-000000000003");
    assert!(place.done(&["copy", "shop.db", "less.db", "--without-type", "Paid"]).contains("4 events added"));
    assert_eq!(place.json(&["replay", "less.db", "order/4711"])[0]["state"]["cents"], serde_json::Value::Null);
    assert!(place.fails(2, &["copy", "shop.db", "./shop.db"]).contains("the store itself"));
    place.fails(3, &["copy", "nothing.db", "other.db"]);
    assert!(!place.path("other.db").exists());
    place.fails(2, &["copy", "shop.db", "x.db", "--rename-type", "Paid"]);
    place.fails(2, &["import", "x.db", "--column", "data=payload"]);
}

#[test]
fn a_damaged_file_is_repaired_and_the_losses_are_named() {
    let place = Place::shop();
    place.done(&["maintain", "shop.db"]);
    let mut bytes = std::fs::read(place.path("shop.db")).unwrap();
    let damaged: Vec<usize> = (0..bytes.len() - 3).filter(|at| bytes[*at..].starts_with(b"DHL")).collect();
    assert!(!damaged.is_empty());
    for at in damaged {
        bytes[at] = b'X';
    }
    std::fs::write(place.path("shop.db"), &bytes).unwrap();
    place.fails(5, &["verify", "shop.db"]);
    let said = place.fails(5, &["repair", "shop.db", "new.db"]);
    assert!(said.contains("1 event lost"), "{said}");
    assert_eq!(std::fs::read(place.path("shop.db")).unwrap(), bytes);
    place.done(&["verify", "new.db"]);
    assert_eq!(place.json(&["replay", "new.db", "order/4711", "--version", "2"])[0]["version"], 2);
    assert!(place.fails(1, &["replay", "new.db", "order/4711"]).contains("lost when the file was repaired"));
    place.fails(1, &["append", "new.db", "order/4711", "Paid"]);
    place.fails(2, &["repair", "shop.db", "new.db"]);
    place.fails(3, &["repair", "none.db", "other.db"]);

    place.fails(5, &["repair", "shop.db", "accepted.db", "--accept-losses"]);
    assert_eq!(place.json(&["replay", "accepted.db", "order/4711"])[0]["version"], 2);
    place.done(&["append", "accepted.db", "order/4711", "Paid"]);
    place.done(&["verify", "accepted.db"]);
}
