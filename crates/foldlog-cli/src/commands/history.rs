//! `foldlog history`

use std::path::PathBuf;

use clap::Args;
use foldlog::{Query, Version};

use crate::context::Context;
use crate::failure::{Done, Failure};
use crate::name::{self, Named};
use crate::show::summary;
use crate::show::table::{Cell, Table};

/// The events of one aggregate: what happened, when, and who caused it
#[derive(Debug, Args)]
pub(crate) struct History {
    /// The store
    file: PathBuf,
    /// The aggregate
    #[arg(value_name = "TYPE/ID", value_parser = name::parse)]
    aggregate: Named,
    /// Starts after this version, to turn the page
    #[arg(long, value_name = "VERSION")]
    after: Option<Version>,
    /// At most so many; 0: all
    #[arg(long, short = 'n', value_name = "COUNT", default_value_t = 100)]
    limit: u64,
    /// The last events, newest first
    #[arg(long)]
    newest: bool,
    /// Shows the whole data of each event below its line
    #[arg(long)]
    data: bool,
}

impl History {
    pub(crate) fn run(self, context: &mut Context) -> Done {
        let store = context.read(&self.file)?;
        let name = self.aggregate.existing(&store)?;
        let mut query = Query::aggregate(&name.aggregate_type, &name.id);
        if let Some(after) = self.after {
            query = query.after_version(after);
        }
        if self.newest {
            query = query.newest_first();
        }
        if self.limit > 0 {
            query = query.limit(self.limit);
        }
        let mut table = Table::default().number("version").text("time").text("event").flexible("data").flexible("cause");
        let (mut shown, mut last) = (0, Version::ZERO);
        for event in store.read(query) {
            let event = event?;
            (shown, last) = (shown + 1, event.version);
            if context.json {
                context.out.json(&event)?;
                continue;
            }
            table.row([
                Cell::new(event.version),
                Cell::new(context.zone.show(event.created_at)).dim(),
                Cell::new(&event.event_type).bold(),
                Cell::new(if self.data { String::new() } else { summary::of_data(&event.data) }),
                Cell::new(summary::of_cause(&store, &event)).dim(),
            ]);
            if self.data {
                context.out.rows(&std::mem::take(&mut table))?;
                context.out.pretty_json(&event.data.to_value()?)?;
                table = Table::default().number("version").text("time").text("event").flexible("data").flexible("cause");
            }
        }
        context.out.rows(&table)?;
        let version = store.version(&name.aggregate_type, &name.id)?;
        if shown == 0 {
            return Err(Failure::not_found(format!("no events of {name} in this range"))
                .hint(format!("it is at version {version}; its first events may have been purged")));
        }
        if self.limit > 0 && shown == self.limit && !self.newest && last < version {
            context.note(format!("{name} goes on to version {version}: --after {last} shows more, -n 0 all"));
        }
        Ok(())
    }
}
