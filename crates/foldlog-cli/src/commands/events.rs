//! `foldlog events`

use std::path::PathBuf;

use clap::Args;

use crate::context::Context;
use crate::events::{Lines, Wanted};
use crate::failure::Done;

/// Events of all aggregates, newest first; by type, time, position, tag or what is in them
#[derive(Debug, Args)]
pub(crate) struct Events {
    /// The store
    file: PathBuf,
    #[command(flatten)]
    wanted: Wanted,
    /// Oldest first
    #[arg(long)]
    oldest: bool,
    /// At most so many; 0: all
    #[arg(long, short = 'n', value_name = "COUNT", default_value_t = 50)]
    limit: usize,
    /// Only counts them
    #[arg(long, conflicts_with = "limit")]
    count: bool,
}

impl Events {
    pub(crate) fn run(self, context: &mut Context) -> Done {
        let store = context.read(&self.file)?;
        let query = self.wanted.query(&store)?;
        let query = if self.oldest { query } else { query.newest_first() };
        // An error ends the reading, so it is always passed on.
        let mut events = store.read(query).filter(|event| event.as_ref().map_or(true, |event| self.wanted.takes(event)));
        if self.count {
            let count = events.try_fold(0u64, |count, event| event.map(|_| count + 1))?;
            return match context.json {
                true => context.out.json(&serde_json::json!({"count": count})),
                false => context.out.line(count),
            };
        }
        let limit = if self.limit == 0 { usize::MAX } else { self.limit };
        let mut events = events.take(limit).peekable();
        if events.peek().is_none() {
            context.note("no event matches");
        }
        Lines { with_tenant: self.wanted.of_all_tenants() }.write(context, &store, events)
    }
}
