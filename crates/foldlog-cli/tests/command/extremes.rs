//! Every option that takes a number, a length of time, a time or a place in the log, with the ends of its type and what lies
//! beside them: never a panic, never a wait without an end.
//!
//! The sources are searched for such options: a new one must be called here.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use crate::support::Place;

const NUMBERS: [&str; 16] = [
    "0",
    "1",
    "2",
    "4294967295",
    "4294967296",
    "4294967301",
    "9223372036854775806",
    "9223372036854775807",
    "9223372036854775808",
    "18446744073709551614",
    "18446744073709551615",
    "18446744073709551616",
    "-1",
    "1.5",
    "1e9",
    "",
];

const LENGTHS: [&str; 10] = [
    "0s",
    "1s",
    "1w1d1h1m1s",
    "9223372036854775s",
    "9223372036854776s",
    "9223372036854775807s",
    "106751991167300d",
    "99999999999999999999d",
    "-1d",
    "",
];

const TIMES: [&str; 14] = [
    "0000-01-01",
    "-0001-12-31T23:59:59Z",
    "-262143-01-01T00:00:00Z",
    "+262142-12-31T23:59:59.999999999Z",
    "+262143-01-01T00:00:00Z",
    "1969-12-31T23:59:59.999999999Z",
    "1970-01-01",
    "9999-12-31T23:59:59.999999999Z",
    "2016-12-31T23:59:60Z",
    "9223372036854775s",
    "9223372036854775807s",
    "0s",
    "-1d",
    "",
];

/// What a `?` stands for, and the calls.
const CALLS: &[(&[&str], &[&[&str]])] = &[
    (
        &NUMBERS,
        &[
            &["history", "shop.db", "order/4711", "--limit=?"],
            &["ls", "shop.db", "--limit=?"],
            &["events", "shop.db", "--limit=?"],
            &["events", "shop.db", "--after=?"],
            &["events", "shop.db", "--up-to=?"],
            &["events", "shop.db", "--after=?", "--up-to=?"],
            &["tail", "shop.db", "--last=?"],
            &["replay", "shop.db", "order/4711", "--version=?"],
            &["diff", "shop.db", "order/4711", "?"],
            &["diff", "shop.db", "order/4711", "1", "?"],
            &["diff", "shop.db", "order/4711", "?", "?"],
            &["append", "copy.db", "order/9", "Placed", "{}", "--expect=?"],
            &["append", "copy.db", "order/10", "Placed", "{}", "--schema-version=?"],
            &["snapshot", "create", "copy.db", "order/4711", "--merge-patch", "--every=?"],
            &["snapshot", "prune", "copy.db", "order/4711", "--keep=?", "--dry-run"],
            &["archive", "copy.db", "--keep-newest=?", "--dry-run"],
            &["import", "copy.db", "lines.ndjson", "--events-per-commit=?"],
            &["maintain", "copy.db", "--retain=order=newest:?"],
            &["maintain", "copy.db", "--retain=order=bytes:?"],
            &["dead-letters", "retry", "copy.db", "mail", "?"],
            &["dead-letters", "drop", "copy.db", "mail", "?", "--yes"],
            &["export", "shop.db", "--after=?"],
        ],
    ),
    (
        &LENGTHS,
        &[
            &["snapshot", "expire", "copy.db", "--older-than=?", "--dry-run"],
            &["maintain", "copy.db", "--snapshots-older-than=?"],
            &["maintain", "copy.db", "--archive=?"],
            &["maintain", "copy.db", "--retain=order=younger:?"],
        ],
    ),
    (
        &TIMES,
        &[
            &["events", "shop.db", "--since=?"],
            &["events", "shop.db", "--until=?"],
            &["events", "shop.db", "--since=?", "--until=?"],
            &["export", "shop.db", "--since=?"],
            &["replay", "shop.db", "order/4711", "--at=?"],
            &["append", "copy.db", "order/11", "Placed", "{}", "--at=?"],
            &["purge", "copy.db", "--before=?", "--dry-run"],
            &["archive", "copy.db", "--before=?", "--dry-run"],
        ],
    ),
];

#[test]
fn each_number_time_and_place_at_the_ends_of_its_type() {
    let place = Place::shop();
    std::fs::copy(place.path("shop.db"), place.path("copy.db")).unwrap();
    let line = r#"{"aggregateType":"list","aggregateId":"x","eventType":"Noted","data":{}}"#;
    std::fs::write(place.path("lines.ndjson"), line).unwrap();
    for (values, calls) in CALLS {
        for (call, value) in calls.iter().flat_map(|call| values.iter().map(move |value| (call, value))) {
            let arguments: Vec<String> = call.iter().map(|argument| argument.replace('?', value)).collect();
            let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
            let began = Instant::now();
            let ran = place.run(&arguments);
            // 101 is a panic, 5 a damaged file.
            assert!((0..=4).contains(&ran.code), "{arguments:?}: {} {}", ran.code, ran.said);
            assert!(ran.code != 1 || !ran.said.contains("internal"), "{arguments:?}: {}", ran.said);
            assert!(began.elapsed() < Duration::from_secs(20), "{arguments:?}: {:?}", began.elapsed());
        }
    }
    place.done(&["verify", "shop.db"]);
    place.done(&["verify", "copy.db"]);
    place.done(&["verify", "copy.db", "--snapshots"]);
}

/// A port is not tried: its command serves until it is stopped.
const NOT_CALLED: [&str; 1] = ["port"];

#[test]
fn every_such_option_is_called() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/src");
    let mut found = BTreeSet::new();
    for file in files(folder.as_ref()) {
        let text = std::fs::read_to_string(&file).unwrap();
        for part in text.split("#[arg(").skip(1) {
            let is_one = ["COUNT", "TIME", "AGE", "POSITION", "VERSIONS", "EXPECTED", "PORT", "TYPE=RULE"]
                .iter()
                .any(|name| part.split(")]").next().unwrap_or_default().contains(&format!("value_name = \"{name}\"")));
            let field = part.split_once("]\n").and_then(|(_, rest)| rest.trim_start().split_once(':')).map(|(field, _)| field);
            let long = part
                .split_once("long = \"")
                .and_then(|(before, rest)| (before.len() < 5).then(|| rest.split('"').next()))
                .flatten();
            if let (true, Some(field)) = (is_one, long.or(field)) {
                found.insert(field.trim().trim_start_matches("pub(crate) ").replace('_', "-"));
            }
        }
    }
    assert!(found.len() > 15, "the search finds them: {found:?}");
    let called: Vec<&str> = CALLS.iter().flat_map(|(_, calls)| *calls).flat_map(|call| *call).copied().collect();
    let is_called = |option: &String| {
        NOT_CALLED.contains(&option.as_str())
            || option == "positions"
            || called.iter().any(|one| one.starts_with(&format!("--{option}=")))
    };
    let missing: Vec<_> = found.iter().filter(|option| !is_called(option)).collect();
    assert!(missing.is_empty(), "call these with the ends of their types: {missing:?}");
}

fn files(folder: &std::path::Path) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}
