//! `foldlog tail`

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use foldlog::{Position, Query, RecordedEvent};

use crate::context::Context;
use crate::events::{Lines, Wanted};
use crate::failure::Done;
use crate::interrupt;

/// The last events, and with --follow those that come
#[derive(Debug, Args)]
pub(crate) struct Tail {
    /// The store
    file: PathBuf,
    #[command(flatten)]
    wanted: Wanted,
    /// So many of the last events first
    #[arg(long, short = 'n', value_name = "COUNT", default_value_t = 10)]
    last: usize,
    /// Waits for new events of any process, until Ctrl-C
    #[arg(long, short)]
    follow: bool,
}

/// Ctrl-C is noticed as often as this.
const LOOK_EVERY: Duration = Duration::from_millis(100);

impl Tail {
    pub(crate) fn run(self, context: &mut Context) -> Done {
        let store = context.read(&self.file)?;
        let query = self.wanted.query(&store)?;
        let lines = Lines { with_tenant: self.wanted.of_all_tenants() };
        // Read first, so that no event falls between the last ones and those that come.
        let mut seen = store.last_position()?;
        let taken = |event: &Result<RecordedEvent, foldlog::Error>| event.as_ref().map_or(true, |event| self.wanted.takes(event));
        let newest = store.read(query.clone().newest_first()).filter(|event| event.as_ref().map_or(true, |e| e.position <= seen));
        let mut last = newest.filter(taken).take(self.last).collect::<Vec<_>>();
        last.reverse();
        lines.write(context, &store, last.into_iter())?;
        context.out.flush()?;
        if !self.follow {
            return Ok(());
        }
        interrupt::listen()?;
        while !interrupt::is_asked() {
            if !store.wait_for(seen + 1, LOOK_EVERY)? {
                continue;
            }
            let reached = store.last_position()?;
            let new: Query = self.wanted.query(&store)?.after_position(seen).up_to_position(reached);
            lines.write(context, &store, store.read(new).filter(taken))?;
            context.out.flush()?;
            seen = Position::max(seen, reached);
        }
        Ok(())
    }
}
