//! `foldlog verify`

use std::path::PathBuf;

use clap::Args;
use foldlog::{Query, Store, VerifyProgress, VerifyReport};
use serde_json::json;

use crate::context::Context;
use crate::failure::{Done, Failure};
use crate::interrupt;
use crate::name::{self, Name, Named};
use crate::progress::Progress;
use crate::registry::Until;
use crate::show::text::{count, counted};

/// Checks the file, or one aggregate; names each damage and what can be done about it. Exit code 5 if there is any
#[derive(Debug, Args)]
pub(crate) struct Verify {
    /// The store
    file: PathBuf,
    /// Only this aggregate: its events, and its snapshots against them
    #[arg(value_name = "TYPE/ID", value_parser = name::parse)]
    aggregate: Option<Named>,
    /// Also compares the snapshots of every aggregate with a replay from the first event
    #[arg(long, conflicts_with = "aggregate")]
    snapshots: bool,
    /// Notes the result in the file, for `stats` and the inspector; without it, verify changes nothing
    #[arg(long, conflicts_with = "aggregate")]
    note: bool,
}

impl Verify {
    pub(crate) fn run(self, context: &mut Context) -> Done {
        let store = context.read(&self.file)?;
        interrupt::listen()?;
        if let Some(named) = &self.aggregate {
            let name = named.existing(&store)?;
            return verify_one(context, &store, &name);
        }
        let bar = Progress::new("checking", "rows");
        let report = store.maintenance().verify(|reached| shown(&bar, &reached))?;
        drop(bar);
        say(context, "file", None, &report)?;
        if self.note {
            context.write(&self.file)?.maintenance().note_verified(&report)?;
        }
        let mut damages = report.damage_count;
        if self.snapshots {
            damages += self.verify_snapshots(context, &store)?;
        }
        match damages {
            0 => Ok(()),
            damages => Err(Failure::integrity(counted(damages, "problem"))),
        }
    }

    fn verify_snapshots(&self, context: &mut Context, store: &Store) -> Result<u64, Failure> {
        let mut damages = 0;
        for tenant in store.tenants()? {
            let store = store.tenant(&tenant);
            for aggregate_type in store.aggregate_types()? {
                let (fold, _) = context.registry.fold(&aggregate_type);
                let bar = Progress::new("replaying", "aggregates");
                let report = fold.verify_snapshots(&store, &mut |reached| shown(&bar, &reached))?;
                drop(bar);
                say(context, "snapshots", Some(&aggregate_type), &report)?;
                damages += report.damage_count;
            }
        }
        Ok(damages)
    }
}

fn shown(bar: &Progress, reached: &VerifyProgress) -> std::ops::ControlFlow<()> {
    bar.reached(reached.done, reached.total);
    bar.problems(reached.damages);
    interrupt::go_on()
}

fn say(context: &mut Context, what: &str, of_type: Option<&str>, report: &VerifyReport) -> Done {
    if context.json {
        context.out.json(&json!({"checked": what, "aggregateType": of_type, "report": report}))?;
    } else {
        for damage in &report.damages {
            context.out.line(damage)?;
        }
        let more = report.damage_count.saturating_sub(report.damages.len() as u64);
        if more > 0 {
            context.out.line(format!("and {} more", count(more)))?;
        }
        context.out.line(said(of_type, report))?;
    }
    if report.finished { Ok(()) } else { Err(Failure::interrupted("stopped before everything was checked")) }
}

fn said(of_type: Option<&str>, report: &VerifyReport) -> String {
    let problems = counted(report.damage_count, "problem");
    match of_type {
        None => format!(
            "{}, {}, {}: {problems}",
            counted(report.events, "event"),
            counted(report.aggregates, "aggregate"),
            counted(report.snapshots, "snapshot")
        ),
        Some(of_type) => {
            let compared = report.snapshots.saturating_sub(report.snapshots_not_compared);
            let others = match report.snapshots_not_compared {
                0 => String::new(),
                others => format!(", {} of other folds not compared", count(others)),
            };
            format!("{of_type}: {} compared with replays{others}: {problems}", counted(compared, "snapshot"))
        }
    }
}

/// Reads every event of an aggregate, and compares its state with and without snapshots.
fn verify_one(context: &mut Context, store: &Store, name: &Name) -> Done {
    let version = store.version(&name.aggregate_type, &name.id)?;
    let bar = Progress::new("checking", "events");
    let mut events = 0;
    for event in store.read(Query::aggregate(&name.aggregate_type, &name.id)) {
        let event = event?;
        events += 1;
        bar.reached(event.version.get(), version.get());
        if interrupt::is_asked() {
            return Err(Failure::interrupted("stopped before everything was checked"));
        }
    }
    drop(bar);
    let (fold, _) = context.registry.fold(&name.aggregate_type);
    let snapshots = store.json_aggregates(&name.aggregate_type).snapshots(&name.id)?.len() as u64;
    let replayed = fold.replay(store, &name.id, Until::Now, true);
    let agrees = match (&replayed, fold.replay(store, &name.id, Until::Now, false)) {
        (Ok(with), Ok(without)) => Some(with.state == without.state),
        // Purged events, or events that this fold does not know, are no damage.
        _ => None,
    };
    if context.json {
        context.out.json(&json!({"checked": "aggregate", "aggregateType": name.aggregate_type, "aggregateId": name.id,
            "events": events, "version": version, "snapshots": snapshots, "snapshotsAgree": agrees}))?;
    } else {
        let compared = match agrees {
            Some(true) => "the state is the same with and without them",
            Some(false) => "the state differs with and without them",
            None => "the state cannot be computed by this fold without them",
        };
        let checked = format!("{name}: {} right, {}", counted(events, "event"), counted(snapshots, "snapshot"));
        context.out.line(if snapshots == 0 { checked } else { format!("{checked}; {compared}") })?;
    }
    match agrees {
        Some(false) => Err(Failure::integrity(format!("{name}: a snapshot differs from its events"))
            .hint("foldlog snapshot drop deletes the snapshots; the events are right")),
        _ => Ok(()),
    }
}
