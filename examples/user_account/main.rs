//! A user account with eight kinds of event: how the library is used, and how fast it replays.
//!
//! `cargo run --release --example user_account -- [--json] [--db PATH]`
//!
//! Read `domain.rs` first (what an application writes), then `story.rs` (how it calls the store). `timing.rs` measures
//! replays and `report.rs` prints; neither is needed to learn the library.

mod domain;
mod report;
mod story;
mod timing;

use std::error::Error;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;
use foldlog::Store;
use tempfile::TempDir;
use uuid::Uuid;

use crate::report::Report;

/// A user account, event by event, and how long its replay takes.
#[derive(Parser)]
#[command(name = "user_account")]
struct Arguments {
    /// Print one JSON object in place of the text.
    #[arg(long)]
    json: bool,
    /// Keep the event store in this file; without it, it is a temporary one.
    #[arg(long, value_name = "PATH")]
    db: Option<PathBuf>,
    /// How many events the measured accounts have.
    #[arg(long, value_name = "N,N,…", value_delimiter = ',', default_value = "100,1000,5000,100000",
          value_parser = clap::value_parser!(u64).range(2..=10_000_000))]
    events: Vec<u64>,
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("user_account: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<(), Box<dyn Error>> {
    // Dropped after the store, which comes later.
    let (path, _temporary) = database(arguments.db.as_deref())?;
    let store = Store::open(path)?;

    // A new account each time, so that a file that was kept can be used again.
    let story = story::tell(&store, &format!("user-{}", Uuid::new_v4()))?;
    let replay = arguments.events.iter().map(|events| timing::measure(&store, *events)).collect::<Result<_, _>>()?;
    let report = Report { replay, story, snapshots: store.snapshot_statistics()?, debug_build: cfg!(debug_assertions) };

    let mut out = std::io::stdout().lock();
    match arguments.json {
        true => writeln!(out, "{}", serde_json::to_string(&report)?)?,
        false => write!(out, "{report}")?,
    }
    Ok(())
}

/// The file to use, and the directory that is removed with it when the user named none.
fn database(db: Option<&Path>) -> std::io::Result<(PathBuf, Option<TempDir>)> {
    match db {
        Some(path) => Ok((path.to_owned(), None)),
        None => {
            let directory = tempfile::tempdir()?;
            Ok((directory.path().join("user_account.db"), Some(directory)))
        }
    }
}
