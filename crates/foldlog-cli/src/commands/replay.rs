//! `foldlog replay`

use std::path::PathBuf;

use chrono::{DateTime, Utc};
use clap::Args;
use foldlog::Store;
use serde::Serialize;

use crate::context::Context;
use crate::failure::{Done, Failure};
use crate::name::{self, Name, Named};
use crate::registry::{State, Until};
use crate::show::text::counted;
use crate::time;

/// The state of an aggregate as JSON: now, at a version or at a time
#[derive(Debug, Args)]
pub(crate) struct Replay {
    /// The store
    file: PathBuf,
    /// The aggregate
    #[arg(value_name = "TYPE/ID", value_parser = name::parse)]
    aggregate: Named,
    /// The state at this version
    #[arg(long, value_name = "VERSION")]
    version: Option<u64>,
    /// The state from the events up to this time: 2026-11-02T12:00:00Z, 2026-11-02, yesterday, 7d, 2h
    #[arg(long, value_name = "TIME", value_parser = time::parse, conflicts_with = "version")]
    at: Option<DateTime<Utc>>,
    /// Folds every event from the first
    #[arg(long)]
    no_snapshot: bool,
}

/// The shape of `--json`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    tenant: String,
    aggregate_type: String,
    aggregate_id: String,
    read_by: &'static str,
    #[serde(flatten)]
    state: State,
}

impl Replay {
    pub(crate) fn run(self, context: &mut Context) -> Done {
        let store = context.read(&self.file)?;
        let name = self.aggregate.existing(&store)?;
        let until = match (self.version, self.at) {
            (Some(version), _) => Until::Version(version),
            (_, Some(time)) => Until::Time(time),
            _ => Until::Now,
        };
        let (state, read_by) = replay(context, &store, &name, until, !self.no_snapshot)?;
        if context.json {
            let Name { aggregate_type, id: aggregate_id } = name;
            let tenant = store.tenant_name().to_owned();
            return context.out.json(&Report { tenant, aggregate_type, aggregate_id, read_by, state });
        }
        context.out.pretty_json(&state.state)?;
        context.out.flush()?;
        context.note(said(&name, &state));
        for warning in &state.warnings {
            context.note(format!("warning: {warning}"));
        }
        say_how_it_was_read(context, read_by);
        Ok(())
    }
}

/// Replays an aggregate by the application's fold, or without it by JSON Merge Patch; also says which.
pub(crate) fn replay(
    context: &Context,
    store: &Store,
    name: &Name,
    until: Until,
    use_snapshots: bool,
) -> Result<(State, &'static str), Failure> {
    let (fold, is_apps) = context.registry.fold(&name.aggregate_type);
    let state = fold.replay(store, &name.id, until, use_snapshots)?;
    Ok((state, if is_apps { "fold" } else { "mergePatch" }))
}

/// Without its application a file is read by a rule that the application may not share.
pub(crate) fn say_how_it_was_read(context: &Context, read_by: &str) {
    if read_by == "mergePatch" {
        context.note("read without its application: the data of the events was merged by JSON Merge Patch (RFC 7396)");
    }
}

fn said(name: &Name, state: &State) -> String {
    let State { version, from_snapshot, events_folded, .. } = state;
    let events = counted(*events_folded, "event");
    match from_snapshot {
        Some(snapshot) => format!("{name} at version {version}: snapshot of version {snapshot} and {events} after it"),
        None => format!("{name} at version {version}: {events}"),
    }
}
