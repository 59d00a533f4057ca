//! Hostile content and hostile arguments: nothing reaches the terminal, nothing is misread.

use std::io::Read;
use std::process::Stdio;

use crate::support::{COMMAND, Place};

const NASTY: &str = "x\u{1b}[31mred\u{7}\u{9b}2J\r\n\u{202e}txt\u{7f}\u{200b}";

fn is_clean(text: &str) -> bool {
    !text.chars().any(|c| (c.is_control() && c != '\n') || matches!(c, '\u{202e}' | '\u{200b}'))
}

fn nasty() -> Place {
    let place = Place::new();
    let name = serde_json::json!(["type/with", NASTY]).to_string();
    let data = serde_json::to_string(&serde_json::json!({"t": NASTY, NASTY: 1})).unwrap().replace("\\u001b", "\\u001B");
    let metadata = serde_json::json!({"username": NASTY, "causationId": NASTY}).to_string();
    place.done(&["append", "nasty.db", &name, NASTY, &data, "--metadata", &metadata, "--tag", NASTY, "--create"]);
    place.done(&["append", "nasty.db", &name, "Next", r#"{"t":null}"#, "--tenant", NASTY]);
    place
}

#[test]
fn control_characters_never_reach_a_terminal() {
    let place = nasty();
    let name = serde_json::json!(["type/with", NASTY]).to_string();
    for arguments in [
        &["stats", "nasty.db"][..],
        &["ls", "nasty.db"],
        &["ls", "nasty.db", "--all-tenants"],
        &["history", "nasty.db", &name],
        &["history", "nasty.db", &name, "--data"],
        &["replay", "nasty.db", &name],
        &["diff", "nasty.db", &name, "0", "1"],
        &["events", "nasty.db", "--all-tenants"],
        &["tail", "nasty.db"],
        &["verify", "nasty.db", &name],
        &["verify", "nasty.db", "--snapshots"],
        &["sql", "nasty.db", "SELECT aggregate_id, data FROM aggregates, events JOIN event_types"],
        &["metrics", "nasty.db"],
    ] {
        for json in [false, true] {
            let mut arguments = arguments.to_vec();
            arguments.extend(json.then_some("--json"));
            let ran = place.run(&arguments);
            assert!(is_clean(&ran.out) && is_clean(&ran.said), "{arguments:?}: {:?}{:?}", ran.out, ran.said);
            assert!(ran.code == 0 || arguments[0] == "sql", "{arguments:?}: {}", ran.said);
        }
    }
    for arguments in [&["history", "nasty.db", NASTY][..], &["stats", NASTY], &["events", "nasty.db", "--where", NASTY], &[NASTY]]
    {
        let ran = place.run(arguments);
        assert!(ran.code > 0 && is_clean(&ran.said), "{arguments:?}: {:?}", ran.said);
    }
}

#[test]
fn what_is_shown_can_be_given_again() {
    let place = nasty();
    let shown = place.done(&["ls", "nasty.db"]);
    let name = shown.split("  ").next().unwrap();
    assert!(name.starts_with("[\"type/with\","), "{name}");
    assert_eq!(place.json(&["history", "nasty.db", name]).len(), 1);
    assert_eq!(place.json(&["replay", "nasty.db", name])[0]["state"]["t"], NASTY);
}

#[test]
fn what_is_no_store_is_refused() {
    let place = Place::new();
    std::fs::write(place.path("text.db"), "this is no database at all, but a long enough text to look like a file").unwrap();
    std::fs::write(place.path("empty.db"), "").unwrap();
    std::fs::create_dir(place.path("folder.db")).unwrap();
    for name in ["text.db", "empty.db", "folder.db"] {
        for command in ["stats", "ls", "verify", "events"] {
            place.fails(1, &[command, name]);
        }
        let ran = place.run(&["append", name, "a/b", "C"]);
        assert!(ran.code == 1 || name == "empty.db", "{name}: {}", ran.said);
    }
    assert!(std::fs::read(place.path("text.db")).unwrap().starts_with(b"this is"));
}

#[test]
fn damage_is_exit_code_5() {
    let place = Place::shop();
    let raw = foldlog::rusqlite::Connection::open(place.path("shop.db")).unwrap();
    raw.execute_batch("DROP TRIGGER events_never_change; UPDATE events SET data = '{\"status\":\"forged\"}' WHERE position = 3;")
        .unwrap();
    raw.execute_batch("CREATE TRIGGER events_never_change BEFORE UPDATE ON events BEGIN SELECT RAISE(ABORT, 'foldlog: events are never changed'); END").unwrap();
    drop(raw);
    let ran = place.run(&["verify", "shop.db"]);
    assert_eq!(ran.code, 5, "{}{}", ran.out, ran.said);
    assert!(ran.out.contains("position 3") && !ran.out.contains("forged"), "{}", ran.out);
    for arguments in [
        &["verify", "shop.db", "order/4711"][..],
        &["replay", "shop.db", "order/4711"],
        &["history", "shop.db", "order/4711"],
        &["events", "shop.db"],
        &["export", "shop.db"],
    ] {
        place.fails(5, arguments);
    }
    place.fails(5, &["backup", "shop.db", "copy.db"]);
    assert_eq!(place.names(), ["shop.db"]);
    // What is not touched by it can still be read.
    place.done(&["replay", "shop.db", "order/4711", "--version", "1"]);
    place.done(&["history", "shop.db", "order/4712"]);
}

#[test]
fn a_closed_pipe_is_no_failure() {
    let place = Place::new();
    let lines: String = (0..20_000).map(|n| format!("{{\"eventType\":\"E\",\"data\":{{\"n\":{n}}}}}\n")).collect();
    assert_eq!(place.with_input(&["append", "long.db", "a/b", "--create"], lines.as_bytes()).code, 0);
    for arguments in [
        &["events", "long.db", "-n", "0"][..],
        &["history", "long.db", "a/b", "-n", "0", "--json"],
        &["export", "long.db"],
        &["sql", "long.db", "SELECT * FROM events", "--json"],
    ] {
        let mut child = place.command(COMMAND, arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut first = [0; 10];
        child.stdout.as_mut().unwrap().read_exact(&mut first).unwrap();
        drop(child.stdout.take());
        let output = child.wait_with_output().unwrap();
        assert_eq!((output.status.code(), String::from_utf8_lossy(&output.stderr).as_ref()), (Some(0), ""), "{arguments:?}");
    }
}
