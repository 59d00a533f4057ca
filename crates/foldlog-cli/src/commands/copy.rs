//! `foldlog copy`

use std::path::PathBuf;

use clap::Args;
use foldlog::{Filter, Import, Query, RecordedEvent};
use serde_json::json;

use crate::commands::import::pair;
use crate::context::Context;
use crate::failure::{Done, Failure};
use crate::interrupt;
use crate::progress::Progress;
use crate::show::text::{count, counted};

/// Copies events into another store, and changes names on the way
///
/// The copy is a log of its own: ids, times and commits stay, positions begin anew. Events that are there already are skipped, so a
/// copy that was stopped is simply started again, and a second one adds what came since. Snapshots, readers and projections are
/// not copied; `backup` does that.
#[derive(Debug, Args)]
pub(crate) struct Copy {
    /// The store to read
    file: PathBuf,
    /// The store to write; made if there is none
    to: PathBuf,
    /// The events of all tenants
    #[arg(long)]
    all_tenants: bool,
    /// Only events of aggregates of this type
    #[arg(long, value_name = "TYPE")]
    aggregate_type: Vec<String>,
    /// Only events of this type. The others are missing in their aggregates, so versions move up
    #[arg(long = "type", value_name = "EVENT_TYPE")]
    event_type: Vec<String>,
    /// Leaves out events of this type; versions move up
    #[arg(long, value_name = "EVENT_TYPE")]
    without_type: Vec<String>,
    /// Gives aggregates of a type another type
    #[arg(long, value_name = "OLD=NEW", value_parser = pair)]
    rename_aggregate_type: Vec<(String, String)>,
    /// Gives events of a type another type
    #[arg(long, value_name = "OLD=NEW", value_parser = pair)]
    rename_type: Vec<(String, String)>,
    /// Appends everything to this tenant
    #[arg(long, value_name = "NAME")]
    into_tenant: Option<String>,
}

impl Copy {
    pub(crate) fn run(self, context: &mut Context) -> Done {
        let store = context.read(&self.file)?;
        let same = |path: &PathBuf| std::fs::canonicalize(path).ok();
        if same(&self.file).is_some() && same(&self.file) == same(&self.to) {
            return Err(Failure::usage("the copy would be the store itself").hint("name another file"));
        }
        let target = context.fill(&self.to)?;
        let target = self.into_tenant.as_ref().map_or(target.clone(), |tenant| target.tenant(tenant));
        interrupt::listen()?;
        let query = || Query::matching(self.filter());
        let total = store.count(query())?;
        let bar = Progress::new("copying", "events");
        let wanted = |event: &RecordedEvent| !self.without_type.iter().any(|name| **name == *event.event_type);
        let copied = target.copy_from(store.read(query().as_stored()), wanted, &self.settings(), |done| {
            bar.reached(done.lines, total);
            interrupt::go_on()
        });
        drop(bar);
        let done = copied?;
        // Until now a power cut could take the newest commits back.
        target.maintenance().checkpoint()?;
        if context.json {
            context.out.json(
                &json!({"appended": done.appended, "skipped": done.skipped, "commits": done.commits, "finished": done.finished}),
            )?;
        } else {
            let added = format!("{} added in {}", counted(done.appended, "event"), counted(done.commits, "commit"));
            context.out.line(format!("{added}, {} already there", count(done.skipped)))?;
        }
        match done.finished {
            true => Ok(()),
            false => Err(Failure::interrupted("stopped; what was added stays").hint("the same copy again goes on from here")),
        }
    }

    fn filter(&self) -> Filter {
        let filter = if self.all_tenants { Filter::new().all_tenants() } else { Filter::new() };
        let filter = self.aggregate_type.iter().fold(filter, Filter::aggregate_type);
        self.event_type.iter().fold(filter, Filter::event_type)
    }

    fn settings(&self) -> Import {
        let mut settings = Import::new();
        for (old, new) in &self.rename_aggregate_type {
            settings = settings.rename_aggregate_type(old, new);
        }
        for (old, new) in &self.rename_type {
            settings = settings.rename_event_type(old, new);
        }
        if !(self.event_type.is_empty() && self.without_type.is_empty()) {
            settings = settings.any_version();
        }
        if self.into_tenant.is_some() { settings.into_tenant() } else { settings }
    }
}
