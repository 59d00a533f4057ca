//! A shop: how events reach read models and the outside world, and what happens when the outside world fails.
//!
//! `cargo run --example orders -- [--json] [--db PATH] [--orders N]`
//!
//! Read `story.rs` first: an inline projection, a preview, a following projection, an outbox whose receiver fails, a dead
//! letter. Then `rebuild.rs`: a read model is built anew beside appends. `domain.rs` has the aggregates, `read_models.rs`
//! the projections; `billing.rs` plays the other side. All that is said is checked: what does not hold ends the program
//! with 1.

mod billing;
mod domain;
mod read_models;
mod rebuild;
mod story;
mod telling;

use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use foldlog::{Durability, Options};

use crate::telling::Telling;

/// A shop whose events reach read models and a billing service that fails at first.
#[derive(Parser)]
#[command(name = "orders")]
struct Arguments {
    /// Print one JSON object in place of the text.
    #[arg(long)]
    json: bool,
    /// Keep the event store in this new file; without it, it is a temporary one.
    #[arg(long, value_name = "PATH")]
    db: Option<PathBuf>,
    /// How many orders there are before the read model is built anew: so many that it takes several transactions.
    #[arg(long, value_name = "N", default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(5_000..=1_000_000))]
    orders: u64,
    /// The billing service never mends its fault: to see checks that do not hold.
    #[arg(long)]
    never_mended: bool,
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => {
            eprintln!("orders: not everything was as it must be");
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("orders: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Returns whether all checks hold.
fn run(arguments: &Arguments) -> Result<bool, Box<dyn Error>> {
    // Dropped after the store, which comes later.
    let directory = tempfile::tempdir()?;
    let path = arguments.db.clone().unwrap_or_else(|| directory.path().join("orders.db"));
    if path.exists() {
        return Err(format!("{} is there already: give the name of a new file", path.display()).into());
    }
    // What a power cut takes from it, the next run makes again.
    let store = Options::new().durability(Durability::Fast).open(path)?;
    let mut telling = Telling::new(arguments.json);
    let billing = story::tell(&store, &mut telling, !arguments.never_mended)?;
    rebuild::tell(&store, &mut telling, &billing, arguments.orders)?;
    Ok(telling.end()?)
}
