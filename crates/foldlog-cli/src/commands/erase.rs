//! `foldlog erase`

use std::path::PathBuf;

use clap::Args;
use foldlog::{Erase as Plan, EraseReport};
use serde_json::json;

use crate::commands::snapshot::Consent;
use crate::context::Context;
use crate::failure::{Done, Failure};
use crate::interrupt;
use crate::name::{self, Named};
use crate::show::text::{count, counted};

/// Erases an aggregate, or fields of its events, for good
///
/// From the events, the archive, snapshots, dead letters; then the files are written anew, so that nothing is left in them.
/// Backups and exports are not reached. Without --yes it only says what it would do.
#[derive(Debug, Args)]
pub(crate) struct Erase {
    /// The store
    file: PathBuf,
    /// The aggregate
    #[arg(value_name = "TYPE/ID", value_parser = name::parse)]
    aggregate: Named,
    /// Only this field of the events' data, as a JSON pointer; may be repeated; `*` is every element of an array
    #[arg(long = "field", value_name = "POINTER")]
    fields: Vec<String>,
    /// Only this field of the metadata, such as /ipAddress; may be repeated
    #[arg(long = "metadata-field", value_name = "POINTER")]
    metadata_fields: Vec<String>,
    /// Only this tag; may be repeated
    #[arg(long = "tag", value_name = "TAG")]
    tags: Vec<String>,
    /// Who asked for it; stays in the record
    #[arg(long, value_name = "NAME")]
    by: Option<String>,
    /// Why; stays in the record
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    /// Also fields of an aggregate whose first events were purged: it can no longer be replayed
    #[arg(long)]
    even_if_replay_breaks: bool,
    /// Afterwards also frees the aggregate's name for a new start
    #[arg(long, conflicts_with_all = ["fields", "metadata_fields", "tags"])]
    forget_name: bool,
    #[command(flatten)]
    consent: Consent,
}

impl Erase {
    pub(crate) fn run(self, context: &mut Context) -> Done {
        let store = context.write(&self.file)?;
        interrupt::listen()?;
        let name = self.aggregate.existing(&store)?;
        let (aggregate_type, id) = (&*name.aggregate_type, &*name.id);
        let has_fields = !(self.fields.is_empty() && self.metadata_fields.is_empty() && self.tags.is_empty());
        let mut plan = if has_fields { Plan::fields_of(aggregate_type, id) } else { Plan::aggregate(aggregate_type, id) };
        plan = self.fields.iter().fold(plan, |plan, pointer| plan.field(pointer));
        plan = self.metadata_fields.iter().fold(plan, |plan, pointer| plan.metadata_field(pointer));
        plan = self.tags.iter().fold(plan, |plan, tag| plan.tag(tag));
        plan = self.by.iter().fold(plan, |plan, whom| plan.by(whom));
        plan = self.reason.iter().fold(plan, |plan, reason| plan.reason(reason));
        if self.even_if_replay_breaks {
            plan = plan.even_if_replay_breaks();
        }
        if !self.consent.yes {
            plan = plan.dry_run();
        }
        if self.forget_name {
            plan = plan.without_wiping();
        }
        let maintenance = store.maintenance();
        let mut report = maintenance.erase_by_steps(plan, |_| interrupt::go_on())?;
        if self.forget_name && self.consent.yes && report.finished {
            maintenance.forget_name(aggregate_type, id)?;
            report.wiped = maintenance.wipe()?.left == 0;
        }
        self.say(context, &report)?;
        if !report.finished {
            return Err(Failure::interrupted("stopped; the same command goes on"));
        }
        if self.consent.dry_run { Ok(()) } else { context.may_destroy(self.consent.yes) }
    }

    fn say(&self, context: &mut Context, report: &EraseReport) -> Done {
        if context.json {
            return context.out.json(&json!({"done": self.consent.yes, "report": report}));
        }
        let erased = if self.consent.yes { "erased" } else { "to erase" };
        let (events, snapshots) = (counted(report.events, "event"), counted(report.snapshots, "snapshot"));
        let deliveries = match report.deliveries {
            1 => "1 delivery".to_owned(),
            other => format!("{} deliveries", count(other)),
        };
        context.out.line(format!("{events}, {snapshots} and {deliveries} {erased}"))?;
        for found in &report.projections {
            context.out.line(format!("  rebuild the projection {}, then run foldlog maintain", found.projection))?;
        }
        if self.consent.yes {
            context.out.line(match report.wiped {
                true => "nothing of it is left in the store's files",
                false => "its bytes may still be in the store's files: run foldlog maintain",
            })?;
        }
        Ok(())
    }
}
