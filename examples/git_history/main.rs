//! A git repository's history as events, and every file's state replayed from them.
//!
//! `cargo run --release --example git_history -- [REPOSITORY] [--json] [--db PATH]`
//!
//! Reads the first-parent history of HEAD through `git log` (2.31 or later), makes each file an aggregate and each commit
//! one atomic append, then replays every file and compares mode and content with `git ls-tree`. The code that shows the
//! library is in `file.rs` (the aggregate), `import.rs` (appends) and `check.rs` (replays).
//!
//! Exit code: 0 all files are as git has them, 1 some are not or something failed, 2 wrong arguments, 3 no history.

mod check;
mod failure;
mod file;
mod git;
mod import;
mod raw_log;
mod report;

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use clap::Parser;
use foldlog::{Durability, Options, Store};
use indicatif::{ProgressBar, ProgressStyle};
use tempfile::TempDir;

use crate::check::Checked;
use crate::failure::Failure;
use crate::file::File;
use crate::git::Repository;
use crate::import::{Import, Imported};
use crate::report::Report;

/// Imports a git history into an event store, then checks every file against git.
#[derive(Parser)]
#[command(name = "git_history")]
struct Arguments {
    /// A git repository; bare ones will do.
    #[arg(default_value = ".")]
    repository: PathBuf,
    /// Print one JSON object in place of the text.
    #[arg(long)]
    json: bool,
    /// Keep the event store in this file; run again, it takes in the commits that are new. Without it: a temporary file.
    #[arg(long, value_name = "PATH")]
    db: Option<PathBuf>,
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(failure) => {
            eprintln!("git_history: {failure}");
            ExitCode::from(failure.exit_code())
        }
    }
}

/// Returns whether all files are as git has them.
fn run(arguments: &Arguments) -> Result<bool, Failure> {
    let repository = Repository::open(&arguments.repository)?;
    // Dropped after the store, which comes later.
    let (path, _temporary) = database(arguments.db.as_deref())?;
    let store = Options::new()
        // One commit after the other: an import that a power cut cuts short is simply run again.
        .durability(Durability::Fast)
        // A path in git may be longer than the usual name, above all when it is quoted; and a first commit may add
        // more files than an append usually holds.
        .max_name_bytes(64 << 10)
        .max_batch_events(10_000_000)
        .open(path)?;

    let resumed_after = import::last_commit(&store, &repository)?;
    let started = Instant::now();
    let imported = import(&store, &repository, resumed_after.as_deref())?;
    let import_seconds = started.elapsed().as_secs_f64();
    let started = Instant::now();
    let checked = check(&store, &repository)?;
    let check_seconds = started.elapsed().as_secs_f64();

    let file = store.file_statistics()?;
    let report = Report {
        head: repository.head,
        resumed_after,
        commits: imported.commits,
        commits_without_files: imported.commits_without_files,
        events: imported.events,
        files: checked.files,
        files_in_head: checked.files_in_tree,
        matches_git: checked.differences == 0,
        differences: checked.differences,
        import_seconds,
        check_seconds,
        events_per_second: imported.events as f64 / import_seconds.max(1e-9),
        durability: "fast",
        file_bytes: file.size_bytes,
        bytes_per_event: (file.events > 0).then(|| file.size_bytes as f64 / file.events as f64),
        is_shallow: repository.is_shallow,
        debug_build: cfg!(debug_assertions),
    };
    print(&report, &checked, arguments.json)?;
    Ok(report.matches_git)
}

/// The file to use, and the directory that is removed with it when the user named none.
fn database(db: Option<&Path>) -> std::io::Result<(PathBuf, Option<TempDir>)> {
    match db {
        Some(path) => Ok((path.to_owned(), None)),
        None => {
            let directory = tempfile::tempdir()?;
            Ok((directory.path().join("git_history.db"), Some(directory)))
        }
    }
}

fn import(store: &Store, repository: &Repository, after: Option<&str>) -> Result<Imported, Failure> {
    let bar = progress_bar("import");
    if !bar.is_hidden() {
        bar.set_length(repository.count_commits(after)?);
    }
    let imported = Import::resume(store)?.run(store, repository.history(after)?, |imported| bar.set_position(imported.commits));
    bar.finish_and_clear();
    imported
}

fn check(store: &Store, repository: &Repository) -> Result<Checked, Failure> {
    let bar = progress_bar("check");
    let checked = check::check(&store.aggregates::<File>(), repository.tree()?, |rebuilt| {
        bar.set_length(rebuilt.total);
        bar.set_position(rebuilt.succeeded + rebuilt.failed);
    });
    bar.finish_and_clear();
    checked
}

/// A bar on stderr; it hides itself when that is no terminal.
fn progress_bar(what: &'static str) -> ProgressBar {
    let bar = ProgressBar::new(0).with_message(what);
    match ProgressStyle::with_template("{msg} [{wide_bar}] {human_pos}/{human_len} {eta}") {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

fn print(report: &Report, checked: &Checked, json: bool) -> Result<(), Failure> {
    for difference in &checked.named {
        eprintln!("git_history: {difference}");
    }
    let mut out = std::io::stdout().lock();
    match json {
        true => writeln!(out, "{}", serde_json::to_string(report).map_err(std::io::Error::from)?)?,
        false => write!(out, "{report}")?,
    }
    Ok(())
}
