//! Running the tools.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// A tool of the Debian package `prometheus`; `None`, said loudly, where it is missing. In CI it must be there.
pub fn tool(name: &str) -> Option<&str> {
    let found = Command::new(name).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok();
    if !found {
        assert!(std::env::var_os("CI").is_none(), "{name} is missing: install the package prometheus");
        eprintln!("SKIPPED: {name} is missing (package prometheus): nothing was checked");
    }
    found.then_some(name)
}

/// Runs promtool on some input.
pub fn promtool(arguments: &[&str], input: &str) -> Option<Output> {
    let mut child = Command::new(tool("promtool")?)
        .args(arguments)
        .current_dir(dashboards())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    Some(child.wait_with_output().unwrap())
}

pub fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

pub fn dashboards() -> PathBuf {
    root().join("dashboards")
}

/// The series names that an expression or a text mentions: every word that begins like one of ours.
pub fn names_in(text: &str) -> Vec<&str> {
    text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_')
        .filter(|word| {
            ["event_store_", "event_replay_", "event_snapshot", "event_handler_", "foldlog_"].iter().any(|p| word.starts_with(p))
        })
        .collect()
}

/// Whether a series is one that we export: a metric, or a part of a histogram.
pub fn exists(series: &str) -> bool {
    use foldlog::metrics::{Kind, METRICS};
    METRICS.iter().any(|metric| match metric.kind {
        Kind::Histogram => series.strip_prefix(metric.name).is_some_and(|end| ["_bucket", "_sum", "_count"].contains(&end)),
        _ => series == metric.name,
    })
}

/// The example's program, built with the features of this test.
pub fn example() -> PathBuf {
    let features = if cfg!(feature = "tracing") { "prometheus,tracing" } else { "prometheus" };
    let mut build = Command::new(env!("CARGO"));
    build.args(["build", "--quiet", "--package", "foldlog", "--example", "metrics", "--features", features]).current_dir(root());
    assert!(build.status().unwrap().success(), "the example cannot be built");
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap();
    target.join("debug/examples/metrics").with_extension(std::env::consts::EXE_EXTENSION)
}
