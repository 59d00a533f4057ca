//! The arguments that all commands share, and the list of commands.

use clap::{Args, Parser, Subcommand};

use crate::commands::append::Append;
use crate::commands::backup::{Backup, Restore};
use crate::commands::copy::Copy;
use crate::commands::dead_letters::DeadLetters;
use crate::commands::diff::Diff;
use crate::commands::erase::Erase;
use crate::commands::events::Events;
use crate::commands::export::Export;
use crate::commands::history::History;
use crate::commands::import::Import;
use crate::commands::inspect::Inspect;
use crate::commands::ls::Ls;
use crate::commands::outside::{Completions, Man, Metrics};
use crate::commands::readers::{Outbox, Projections, Subscriptions};
use crate::commands::repair::Repair;
use crate::commands::replay::Replay;
use crate::commands::snapshot::Snapshots;
use crate::commands::sql::Sql;
use crate::commands::stats::Stats;
use crate::commands::tail::Tail;
use crate::commands::upkeep::{Archive, Compact, Maintain, Purge, Reindex};
use crate::commands::verify::Verify;

/// Looks into, checks, copies and maintains event stores of foldlog.
///
/// FILE is the store's SQLite file. An aggregate is named TYPE/ID, such as order/4711; ["TYPE","ID"] in JSON names what that
/// cannot. Files are opened read-only unless the command must write.
///
/// Exit codes: 0 done, 1 failed, 2 wrong arguments, 3 not found, 4 conflict, 5 the file is damaged, 130 stopped by Ctrl-C.
#[derive(Debug, Parser)]
#[command(name = "foldlog", version, max_term_width = 100, arg_required_else_help = true, subcommand_required = true)]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub(crate) shared: Shared,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Args)]
pub(crate) struct Shared {
    /// The tenant whose aggregates are meant
    #[arg(long, global = true, value_name = "NAME", default_value = foldlog::DEFAULT_TENANT, help_heading = "Everywhere")]
    pub(crate) tenant: String,
    /// Writes JSON: one object, or one a line for lists. --json=1 asks for this version of the shapes
    #[arg(long, global = true, value_name = "VERSION", num_args = 0..=1, require_equals = true, default_missing_value = "1",
          value_parser = ["1"], help_heading = "Everywhere")]
    pub(crate) json: Option<String>,
    /// Shows times in the local time zone instead of UTC
    #[arg(long, global = true, help_heading = "Everywhere")]
    pub(crate) local: bool,
    /// Shortens nothing to fit the terminal
    #[arg(long, global = true, help_heading = "Everywhere")]
    pub(crate) wide: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Stats(Stats),
    Ls(Ls),
    History(History),
    Replay(Replay),
    Diff(Diff),
    Events(Events),
    Inspect(Inspect),
    Tail(Tail),
    Append(Append),
    Import(Import),
    Export(Export),
    Copy(Copy),
    #[command(name = "snapshot")]
    Snapshots(Snapshots),
    Verify(Verify),
    Backup(Backup),
    Restore(Restore),
    Repair(Repair),
    Purge(Purge),
    Erase(Erase),
    Archive(Archive),
    Compact(Compact),
    Reindex(Reindex),
    Maintain(Maintain),
    Subscriptions(Subscriptions),
    Outbox(Outbox),
    DeadLetters(DeadLetters),
    Projections(Projections),
    Metrics(Metrics),
    Sql(Sql),
    Completions(Completions),
    Man(Man),
}
