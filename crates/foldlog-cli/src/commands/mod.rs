//! The commands: each file has one, its arguments and what it does.

pub(crate) mod append;
pub(crate) mod backup;
pub(crate) mod copy;
pub(crate) mod dead_letters;
pub(crate) mod diff;
pub(crate) mod erase;
pub(crate) mod events;
pub(crate) mod export;
pub(crate) mod history;
pub(crate) mod import;
pub(crate) mod inspect;
pub(crate) mod ls;
pub(crate) mod outside;
pub(crate) mod readers;
pub(crate) mod repair;
pub(crate) mod replay;
pub(crate) mod snapshot;
pub(crate) mod sql;
pub(crate) mod stats;
pub(crate) mod tail;
pub(crate) mod upkeep;
pub(crate) mod verify;

use std::ffi::OsString;
use std::io::Write;

use clap::Parser;
use clap::error::ErrorKind;

use crate::arguments::{Arguments, Command};
use crate::context::Context;
use crate::failure::{Done, Failure, exit};
use crate::registry::Registry;
use crate::show::{output, text};

/// Runs the command; returns its exit code.
pub(crate) fn run(registry: Registry, arguments: impl IntoIterator<Item = OsString>) -> u8 {
    let Arguments { shared, command } = match Arguments::try_parse_from(arguments) {
        Ok(arguments) => arguments,
        Err(error) => return explain(&error),
    };
    let mut context = Context::new(registry, &shared);
    let done = dispatch(command, &mut context);
    let flushed = context.out.flush();
    if done.is_err() {
        context.clear_away();
    }
    match done.and(flushed) {
        Ok(()) => exit::DONE,
        Err(failure) => {
            report(&failure, context.json);
            failure.code
        }
    }
}

fn dispatch(command: Command, context: &mut Context) -> Done {
    match command {
        Command::Stats(stats) => stats.run(context),
        Command::Ls(ls) => ls.run(context),
        Command::History(history) => history.run(context),
        Command::Inspect(inspect) => inspect.run(context),
        Command::Replay(replay) => replay.run(context),
        Command::Diff(diff) => diff.run(context),
        Command::Events(events) => events.run(context),
        Command::Tail(tail) => tail.run(context),
        Command::Append(append) => append.run(context),
        Command::Import(import) => import.run(context),
        Command::Export(export) => export.run(context),
        Command::Copy(copy) => copy.run(context),
        Command::Snapshots(snapshots) => snapshots.run(context),
        Command::Verify(verify) => verify.run(context),
        Command::Backup(backup) => backup.run(context),
        Command::Restore(restore) => restore.run(context),
        Command::Repair(repair) => repair.run(context),
        Command::Purge(purge) => purge.run(context),
        Command::Erase(erase) => erase.run(context),
        Command::Archive(archive) => archive.run(context),
        Command::Compact(compact) => compact.run(context),
        Command::Reindex(reindex) => reindex.run(context),
        Command::Maintain(maintain) => maintain.run(context),
        Command::Subscriptions(subscriptions) => subscriptions.run(context),
        Command::Outbox(outbox) => outbox.run(context),
        Command::DeadLetters(dead_letters) => dead_letters.run(context),
        Command::Projections(projections) => projections.run(context),
        Command::Metrics(metrics) => metrics.run(context),
        Command::Sql(sql) => sql.run(context),
        Command::Completions(completions) => completions.run(context),
        Command::Man(man) => man.run(context),
    }
}

/// Help and version are asked for; anything else is a wrong use.
fn explain(error: &clap::Error) -> u8 {
    let shown = match error.use_stderr() {
        // It repeats what the user typed.
        true => std::io::stderr().write_all(safe_lines(&error.to_string()).as_bytes()),
        false => error.print(),
    };
    match (error.kind(), shown) {
        (ErrorKind::DisplayHelp | ErrorKind::DisplayVersion, _) => exit::DONE,
        _ => exit::USAGE,
    }
}

fn safe_lines(lines: &str) -> String {
    lines.lines().map(|line| format!("{}\n", text::safe(line))).collect()
}

fn report(failure: &Failure, as_json: bool) {
    if failure.is_quiet {
        return;
    }
    if as_json {
        output::note(text::safe_json(&failure.to_json().to_string()));
    } else {
        output::note(format!("foldlog: {failure}"));
    }
}
