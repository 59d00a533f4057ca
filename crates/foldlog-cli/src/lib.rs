#![doc = include_str!("../README.md")]

mod arguments;
mod commands;
mod context;
mod events;
mod failure;
mod interrupt;
mod name;
mod progress;
mod registry;
mod show;
mod time;

use std::ffi::OsString;
use std::process::ExitCode;

pub use failure::exit;
pub use registry::Registry;

/// Runs the command with the arguments of this process, and returns its exit code. An application calls it with its own
/// folds and projections, so that its tool shows the states that the application itself would compute.
///
/// ```no_run
/// use std::process::ExitCode;
/// use foldlog::Aggregate;
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Serialize, Deserialize)]
/// enum AccountEvent { Deposited { cents: u64 } }
///
/// #[derive(Default, Serialize, Deserialize)]
/// struct Account { cents: u64 }
///
/// impl Aggregate for Account {
///     const TYPE: &'static str = "account";
///     type Event = AccountEvent;
///     fn apply(&mut self, AccountEvent::Deposited { cents }: AccountEvent) { self.cents += cents }
/// }
///
/// fn main() -> ExitCode {
///     foldlog_cli::run(foldlog_cli::Registry::new().aggregate::<Account>())
/// }
/// ```
pub fn run(registry: Registry) -> ExitCode {
    run_with(registry, std::env::args_os())
}

/// As [`run`], with other arguments; the first one is the name of the program.
pub fn run_with(registry: Registry, arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    ExitCode::from(commands::run(registry, arguments))
}
