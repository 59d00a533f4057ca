//! Builds an example and runs it.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

use serde_json::Value;

/// How a program ended.
pub struct Ran {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Ran {
    pub fn of(output: Output) -> Ran {
        Ran {
            code: output.status.code(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }

    /// Stdout as JSON: one object and nothing else.
    pub fn json(&self) -> Value {
        let value: Value = serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self}"));
        assert!(value.is_object(), "{self}");
        value
    }

    #[track_caller]
    pub fn ended_with(self, code: i32) -> Ran {
        assert_eq!(self.code, Some(code), "{self}");
        self
    }
}

impl std::fmt::Display for Ran {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "exit code {:?}\n--- stdout\n{}\n--- stderr\n{}", self.code, self.stdout, self.stderr)
    }
}

pub fn run(example: &str, arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Ran {
    let mut command = Command::new(program(example));
    Ran::of(crate::repository::isolated(&mut command).args(arguments).output().unwrap())
}

/// The example's executable. `cargo test --test examples` alone does not build it, and one that lies there may be of
/// yesterday: so cargo is asked, which costs nothing when all is up to date.
pub fn program(example: &str) -> &'static Path {
    static PROGRAMS: OnceLock<HashMap<String, PathBuf>> = OnceLock::new();
    &PROGRAMS.get_or_init(build)[example]
}

fn build() -> HashMap<String, PathBuf> {
    // <target directory>/<profile>/deps/<this test>
    let this = std::env::current_exe().unwrap();
    let profile_directory = this.parent().and_then(Path::parent).unwrap();
    let profile = match profile_directory.file_name().and_then(OsStr::to_str).unwrap() {
        "debug" => "dev",
        other => other,
    };
    let mut command = Command::new(env!("CARGO"));
    command.args([
        "build",
        "--package",
        "foldlog",
        "--example",
        "git_history",
        "--example",
        "user_account",
        "--example",
        "orders",
        "--example",
        "long_life",
        "--example",
        "schema_evolution",
        "--message-format=json",
        "--profile",
        profile,
    ]);
    let output = command
        .arg("--target-dir")
        .arg(profile_directory.parent().unwrap())
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", Ran::of(output));
    let messages = String::from_utf8(output.stdout).unwrap();
    let messages = messages.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    messages
        .filter(|message| message["target"]["kind"][0] == "example")
        .filter_map(|message| Some((message["target"]["name"].as_str()?.to_owned(), message["executable"].as_str()?.into())))
        .collect()
}
