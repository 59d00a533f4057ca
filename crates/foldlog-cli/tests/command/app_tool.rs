//! An application's own tool: the example `document_tool` with its fold and its projection.

use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use serde_json::Value;

use crate::streams::DataSet;
use crate::support::Place;

/// The example's executable. `cargo test --test command` alone does not build it, and one that lies there may be of
/// yesterday: so cargo is asked, which costs nothing when all is up to date.
fn tool() -> &'static Path {
    static TOOL: OnceLock<PathBuf> = OnceLock::new();
    TOOL.get_or_init(|| {
        // <target directory>/<profile>/deps/<this test>
        let test = std::env::current_exe().unwrap();
        let profile = test.parent().and_then(Path::parent).unwrap();
        let mut cargo = Command::new(env!("CARGO"));
        cargo.args(["build", "--quiet", "--package", "foldlog-cli", "--example", "document_tool"]);
        cargo.current_dir(env!("CARGO_MANIFEST_DIR")).arg("--target-dir").arg(profile.parent().unwrap());
        if profile.ends_with("release") {
            cargo.arg("--release");
        }
        assert!(cargo.status().unwrap().success());
        profile.join("examples").join(format!("document_tool{}", std::env::consts::EXE_SUFFIX))
    })
}

#[test]
fn the_text_is_the_one_that_its_author_published() {
    let Some(set) = DataSet::find("editing-friendsforever") else { return };
    let place = Place::new();
    let run = |arguments: &[&str]| {
        let output = place.command(tool(), arguments).output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    run(&["import", "data.db", set.path("events.ndjson.gz").to_str().unwrap()]);
    let id = "document/friendsforever_flat";
    let text = |arguments: &[&str]| -> (String, Value) {
        let report: Value = serde_json::from_str(&run(&[&["replay", "data.db", id, "--json"], arguments].concat())).unwrap();
        assert_eq!(report["readBy"], "fold");
        (report["state"]["text"].as_array().unwrap().iter().map(|letter| letter.as_str().unwrap()).collect(), report)
    };
    let whole = set.text("final.txt.gz");
    assert!(text(&[]).0 == whole);
    run(&["snapshot", "create", "data.db", id, "--every", "5000"]);
    assert!(text(&[]).0 == whole);
    let (middle, report) = text(&["--version", "12345"]);
    assert_eq!(report["fromSnapshot"], 10_000);
    assert!(middle == text(&["--version", "12345", "--no-snapshot"]).0);
    run(&["verify", "data.db", "--snapshots"]);
    run(&["projections", "rebuild", "data.db", "edits"]);
    assert_eq!(run(&["sql", "data.db", "SELECT edits FROM edits"]).trim(), "26078");
    assert!(run(&["projections", "list", "data.db"]).contains("edits"));
    // The command without the application says that it does not know better.
    let said = place.run(&["replay", "data.db", id, "--version", "1"]).said;
    assert!(said.contains("JSON Merge Patch"), "{said}");
    place.fails(3, &["projections", "rebuild", "data.db", "edits"]);
}

#[test]
fn old_events_are_read_in_todays_shape() {
    let place = Place::new();
    place.done(&["append", "old.db", "document/d", "Typed", r#"{"at":0,"text":"hi"}"#, "--create"]);
    let run = |arguments: &[&str]| String::from_utf8(place.command(tool(), arguments).output().unwrap().stdout).unwrap();
    let state: Value = serde_json::from_str(&run(&["replay", "old.db", "document/d"])).unwrap();
    assert_eq!(state["text"], serde_json::json!(["h", "i"]));
    assert!(run(&["history", "old.db", "document/d"]).contains("TextInserted"));
    assert!(place.done(&["history", "old.db", "document/d"]).contains("Typed"), "as it is stored, without the application");
    assert_eq!(run(&["events", "old.db", "--type", "TextInserted", "--count"]).trim(), "1");
    let exported: Value = serde_json::from_str(&run(&["export", "old.db", "--upcast"])).unwrap();
    assert_eq!((&exported["event_type"], &exported["data"]["pos"]), (&"TextInserted".into(), &0.into()));

    let mut inspector = place.command(tool(), &["inspect", "old.db"]).stdout(Stdio::piped()).spawn().unwrap();
    let line = BufReader::new(inspector.stdout.take().unwrap()).lines().next().unwrap().unwrap();
    let (_, address) = line.split_once("http://").expect("its address");
    let (host, token) = address.trim().split_once("/?token=").unwrap();
    let page = |path: &str| {
        let mut stream = std::net::TcpStream::connect(host).unwrap();
        let port = host.rsplit(':').next().unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: {host}\r\nCookie: foldlog-{port}={token}\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    };
    let (state, log) = (page("/state.json/default/document/d"), page("/log"));
    inspector.kill().unwrap();
    inspector.wait().unwrap();
    assert!(state.contains(r#"{"text":["h","i"]}"#), "{state}");
    assert!(log.contains("TextInserted") && !log.contains("Typed"), "{log}");
}
