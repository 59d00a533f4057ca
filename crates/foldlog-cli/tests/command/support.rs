//! A folder with a store, and the command run on it.

use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use serde_json::Value;
use tempfile::TempDir;

pub const COMMAND: &str = env!("CARGO_BIN_EXE_foldlog");

pub struct Place {
    folder: TempDir,
}

/// What a run of the command gave.
pub struct Ran {
    pub code: i32,
    pub out: String,
    pub said: String,
}

impl Place {
    pub fn new() -> Place {
        Place { folder: tempfile::tempdir().unwrap() }
    }

    /// With a small shop: two orders, a payment that caused an event, a second tenant.
    pub fn shop() -> Place {
        let place = Place::new();
        let id = |n: u32| format!("00000000-0000-8000-8000-0000000000{n:02}");
        let append = |arguments: &[&str]| place.done(&[&["append", "shop.db"], arguments].concat());
        append(&[
            "order/4711",
            "Placed",
            r#"{"customer":"c-12","items":3,"status":"open"}"#,
            "--create",
            "--id",
            &id(1),
            "--at",
            "2026-11-02T10:14:07Z",
            "--metadata",
            r#"{"username":"ada","ipAddress":"192.0.2.7"}"#,
            "--tag",
            "customer:c-12",
        ]);
        append(&["payment/88", "Received", r#"{"cents":12900}"#, "--id", &id(2), "--at", "2026-11-02T10:14:08Z"]);
        let cause = format!(r#"{{"causationId":"{}"}}"#, id(2));
        append(&[
            "order/4711",
            "Paid",
            r#"{"status":"paid","cents":12900}"#,
            "--id",
            &id(3),
            "--at",
            "2026-11-02T10:14:09Z",
            "--metadata",
            &cause,
            "--expect",
            "1",
        ]);
        append(&[
            "order/4711",
            "Shipped",
            r#"{"status":"shipped","shipment":{"carrier":"DHL"}}"#,
            "--id",
            &id(4),
            "--at",
            "2026-11-03T07:40:51Z",
        ]);
        append(&[
            "order/4712",
            "Placed",
            r#"{"customer":"c-9","items":1,"status":"open"}"#,
            "--id",
            &id(5),
            "--at",
            "2026-11-04T00:00:00Z",
        ]);
        append(&[
            "order/1",
            "Placed",
            r#"{"status":"open"}"#,
            "--id",
            &id(6),
            "--at",
            "2026-11-05T00:00:00Z",
            "--tenant",
            "acme",
        ]);
        place
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>, arguments: &[&str]) -> Command {
        let mut command = Command::new(program);
        command.current_dir(self.folder.path()).args(arguments).env("NO_COLOR", "1").stdin(Stdio::null());
        command
    }

    pub fn run(&self, arguments: &[&str]) -> Ran {
        Ran::of(self.command(COMMAND, arguments).output().unwrap())
    }

    /// A run that must succeed; returns what it printed.
    #[track_caller]
    pub fn done(&self, arguments: &[&str]) -> String {
        let ran = self.run(arguments);
        assert_eq!(ran.code, 0, "{arguments:?}: {}{}", ran.out, ran.said);
        ran.out
    }

    /// A run that must fail with this exit code; returns what it said.
    #[track_caller]
    pub fn fails(&self, code: i32, arguments: &[&str]) -> String {
        let ran = self.run(arguments);
        assert_eq!(ran.code, code, "{arguments:?}: {}{}", ran.out, ran.said);
        ran.said
    }

    pub fn with_input(&self, arguments: &[&str], input: &[u8]) -> Ran {
        let mut command = self.command(COMMAND, arguments);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        // It may fail before it has read everything.
        let _ = child.stdin.take().unwrap().write_all(input);
        Ran::of(child.wait_with_output().unwrap())
    }

    /// One JSON value a line.
    #[track_caller]
    pub fn json(&self, arguments: &[&str]) -> Vec<Value> {
        let out = self.done(&[arguments, &["--json"]].concat());
        out.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))).collect()
    }

    /// The files, without what SQLite keeps beside an open store; a reader cannot take that away again.
    pub fn names(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.folder.path()).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned());
        let mut names: Vec<String> = names.filter(|name| !name.ends_with("-shm") && !name.ends_with("-wal")).collect();
        names.sort();
        names
    }
}

impl Ran {
    fn of(output: Output) -> Ran {
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Ran { code: output.status.code().unwrap_or(-1), out: text(output.stdout), said: text(output.stderr) }
    }
}
