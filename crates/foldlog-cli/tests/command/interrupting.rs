//! Ctrl-C in the middle, and files that others write to.
#![cfg(unix)]

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use foldlog::{Expected, NewEvent, Store};

use crate::support::{COMMAND, Place};

fn interrupt(child: &Child) {
    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
}

fn line(n: u32) -> String {
    format!("{{\"aggregate_type\":\"a\",\"aggregate_id\":\"{}\",\"event_type\":\"E\",\"data\":{{\"n\":{n}}}}}\n", n % 7)
}

#[test]
fn an_import_that_is_stopped_leaves_whole_commits_and_goes_on() {
    let place = Place::new();
    let mut command = place.command(COMMAND, &["import", "copy.db", "--events-per-commit", "10"]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    for n in 0..2_000 {
        input.write_all(line(n).as_bytes()).unwrap();
    }
    let began = Instant::now();
    while place.run(&["stats", "copy.db", "--json"]).out.is_empty()
        || place.json(&["events", "copy.db", "--count"])[0]["count"] == 0
    {
        assert!(began.elapsed() < Duration::from_secs(60), "nothing is imported");
        std::thread::sleep(Duration::from_millis(20));
    }
    interrupt(&child);
    // It notices between two commits, so it needs more lines.
    for n in 2_000..4_000 {
        if input.write_all(line(n).as_bytes()).is_err() {
            break;
        }
    }
    drop(input);
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(130), "{said}");
    assert!(said.contains("goes on from here"), "{said}");
    let kept = place.json(&["events", "copy.db", "--count"])[0]["count"].as_u64().unwrap();
    assert!(kept > 0 && kept < 4_000 && kept.is_multiple_of(10), "{kept}");
    place.done(&["verify", "copy.db"]);
    let all: String = (0..4_000).map(line).collect();
    let ran = place.with_input(&["import", "copy.db", "--events-per-commit", "10", "--json"], all.as_bytes());
    let done: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!((done["appended"].as_u64().unwrap(), done["skipped"].as_u64().unwrap()), (4_000 - kept, kept));
}

#[test]
fn tail_follows_another_process_until_ctrl_c() {
    let place = Place::shop();
    let mut command = place.command(COMMAND, &["tail", "shop.db", "--follow", "-n", "1", "--json"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut next = || serde_json::from_str::<serde_json::Value>(&lines.next().unwrap().unwrap()).unwrap();
    assert_eq!(next()["position"], 5);
    let store = Store::open(place.path("shop.db")).unwrap();
    for position in 7..10 {
        store.append("order", "4711", Expected::Any, [NewEvent::new("Seen", &()).unwrap()]).unwrap();
        assert_eq!(next()["position"], position);
    }
    interrupt(&child);
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn files_that_are_being_written_to_are_read_and_copied() {
    let place = Place::shop();
    let store = Store::open(place.path("shop.db")).unwrap();
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                store.append("busy", "1", Expected::Any, [NewEvent::new("Seen", &()).unwrap()]).unwrap();
            }
        });
        for arguments in [
            &["stats", "shop.db"][..],
            &["ls", "shop.db"],
            &["history", "shop.db", "order/4711"],
            &["replay", "shop.db", "busy/1"],
            &["events", "shop.db"],
            &["verify", "shop.db"],
            &["backup", "shop.db", "copy.db"],
            &["export", "shop.db"],
            &["append", "shop.db", "order/4711", "Seen"],
        ] {
            let ran = place.run(arguments);
            // "busy/1" may not be there yet.
            assert!(ran.code == 0 || (ran.code == 3 && arguments[0] == "replay"), "{arguments:?}: {}", ran.said);
        }
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
    });
    place.done(&["verify", "copy.db"]);
}
