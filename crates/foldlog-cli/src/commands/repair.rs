//! `foldlog repair`

use std::path::PathBuf;

use clap::Args;
use foldlog::{RepairReport, RepairStep, Store};

use crate::context::Context;
use crate::failure::{Done, Failure};
use crate::interrupt;
use crate::progress::Progress;
use crate::show::text::{count, counted};

/// Makes a new store of what can be read of a damaged one, and lists what is lost. Exit code 5 if anything is
///
/// The damaged file is only read. Events that could be read, but stand before lost ones of their aggregate, go to
/// NEW_FILE.unplaced.ndjson.
#[derive(Debug, Args)]
pub(crate) struct Repair {
    /// The damaged store
    file: PathBuf,
    /// Where the new store goes; there must be no file of this name
    new_file: PathBuf,
    /// Accepts for every aggregate whose last events are lost that it ends with what is left. Until then it does not load
    #[arg(long)]
    accept_losses: bool,
}

impl Repair {
    pub(crate) fn run(self, context: &mut Context) -> Done {
        if !self.file.is_file() {
            return Err(Failure::not_found(format!("{}: there is no such file", self.file.display())));
        }
        interrupt::listen()?;
        let bar = Progress::new("repairing", "rows");
        let report = Store::repair(&self.file, &self.new_file, |reached| {
            bar.says(named(reached.step).to_owned());
            bar.reached(reached.done, reached.total);
            interrupt::go_on()
        })?;
        drop(bar);
        if !report.finished {
            return Err(Failure::interrupted("stopped; there is no new file"));
        }
        if self.accept_losses {
            let store = Store::open(&self.new_file)?;
            for tenant in store.tenants()? {
                store.tenant(&tenant).maintenance().accept_losses()?;
            }
        }
        match context.json {
            true => context.out.json(&report)?,
            false => self.say(context, &report)?,
        }
        match report.events_lost + report.positions_lost {
            0 => Ok(()),
            lost => Err(Failure::integrity(format!("{} lost", counted(lost, "event")))),
        }
    }

    fn say(&self, context: &mut Context, report: &RepairReport) -> Done {
        for lost in &report.lost {
            let end = if lost.is_end && !self.accept_losses { "; it does not load until --accept-losses" } else { "" };
            context.out.line(format!("lost: {} versions {} to {}{end}", lost.aggregate, lost.first, lost.last))?;
        }
        for (first, last) in &report.positions {
            context.out.line(format!("lost: unknown events at positions {first} to {last}"))?;
        }
        for what in &report.left_out {
            context.out.line(format!("left out: {what}"))?;
        }
        if let Some(path) = &report.unplaced_file {
            context.out.line(format!("{} before lost ones: {}", counted(report.unplaced, "event"), path.display()))?;
        }
        context.out.line(format!(
            "{}: {} of {}, {} of them from lost pages, verified",
            self.new_file.display(),
            counted(report.events, "event"),
            counted(report.aggregates, "aggregate"),
            count(report.found_on_pages)
        ))
    }
}

fn named(step: RepairStep) -> &'static str {
    match step {
        RepairStep::Copy => "copying",
        RepairStep::Pages => "searching pages",
        RepairStep::Indexes => "making indexes",
        RepairStep::Verify => "verifying",
        _ => "reading",
    }
}
