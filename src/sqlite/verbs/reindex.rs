//! Recreates what is derived from the events: SQLite's indexes, the index of ids, the index of tags, the summaries.

use std::ops::ControlFlow;

use crate::model::error::{Error, ErrorKind, Result};
use crate::sqlite::Database;
use crate::sqlite::tables::events::{Owner, check_page};
use crate::sqlite::tables::{block_summaries, event_ids, event_tags, positions};
use crate::sqlite::transaction::Writing;
use crate::storage::upkeep::ReindexProgress;

/// Events between two calls of `progress`.
const PAGE: usize = 1_024;

impl Database {
    /// Recreates every index in one transaction. If `progress` stops it, nothing is changed.
    pub(crate) fn reindex(&self, progress: &mut dyn FnMut(ReindexProgress) -> ControlFlow<()>) -> Result<ReindexProgress> {
        let mut stopped = None;
        let done = self.write(|writing| {
            let done = reindex(writing, progress)?;
            stopped = (!done.finished).then_some(done);
            // An error ends the transaction without a commit.
            if done.finished { Ok(done) } else { Err(Error::new(ErrorKind::Busy, "stopped")) }
        });
        stopped.map_or(done, Ok)
    }
}

fn reindex(writing: &Writing<'_>, progress: &mut dyn FnMut(ReindexProgress) -> ControlFlow<()>) -> Result<ReindexProgress> {
    writing.batch("REINDEX")?;
    event_ids::clear(writing)?;
    event_tags::clear(writing)?;
    block_summaries::clear(writing)?;
    let total: u64 = writing.value("SELECT count(*) FROM events NOT INDEXED", [])?;
    let mut reached = ReindexProgress { done: 0, total, finished: false };
    let mut key = 0;
    let mut known: Option<Owner> = None;
    loop {
        let mut seen = 0;
        check_page(writing, key, PAGE, |found, unread| {
            seen += 1;
            key = found;
            let owner = match known.take() {
                Some(owner) if owner.aggregate == found >> 32 => owner,
                _ => Owner::by_number(writing, found >> 32)?,
            };
            // A damaged event has no readable ids and tags; `verify` names it.
            if let Ok(raw) = unread.event(writing, owner.identity) {
                let tenant = owner.aggregate_type.tenant_id;
                if raw.has_given_id {
                    event_ids::claim(writing, tenant, raw.event_id, raw.position)?;
                }
                let tags = raw.tags()?;
                event_tags::insert(writing, tenant, tags.iter().map(|tag| (tag.as_str(), raw.position)).collect())?;
            }
            known = Some(owner);
            Ok(())
        })?;
        reached.done += seen as u64;
        if progress(reached).is_break() {
            return Ok(reached);
        }
        if seen < PAGE {
            break;
        }
    }
    block_summaries::summarise(writing, 1, positions::last(writing)?)?;
    Ok(ReindexProgress { finished: true, ..reached })
}
