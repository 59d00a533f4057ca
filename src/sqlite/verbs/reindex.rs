//! Recreates what is derived from the events: SQLite's indexes, the index of ids, the index of tags, the summaries.

use std::ops::ControlFlow;

use crate::model::error::{Error, ErrorKind, Result};
use crate::sqlite::Database;
use crate::sqlite::tables::archive::Part;
use crate::sqlite::tables::events::{Owner, check_page};
use crate::sqlite::tables::keys::key_version;
use crate::sqlite::tables::{aggregate_counts, aggregates, block_changes, event_ids, event_tags, positions, removed_ids};
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
    // By name, because an attached archive has nothing to recreate.
    let tables: Vec<String> = writing.rows("SELECT name FROM main.sqlite_schema WHERE type = 'table'", [], |row| row.get(0))?;
    for table in tables {
        writing.batch(&format!("REINDEX main.\"{}\"", table.replace('"', "\"\"")))?;
    }
    event_ids::clear(writing)?;
    event_tags::clear(writing)?;
    block_changes::clear(writing)?;
    let has_archive = positions::removed(writing)?.1 > 0;
    let parts: &[Part] = if has_archive { &[Part::Main, Part::Archive] } else { &[Part::Main] };
    let mut reached = ReindexProgress { done: 0, total: 0, finished: false };
    for part in parts {
        part.open(writing)?;
        reached.total += writing.value::<u64>(&part.sql("SELECT count(*) FROM events NOT INDEXED"), [])?;
    }
    for part in parts {
        if reindex_part(writing, *part, &mut reached, progress)?.is_break() {
            return Ok(reached);
        }
    }
    removed_ids::index(writing)?;
    block_changes::summarise(writing, 1, positions::last(writing)?)?;
    aggregate_counts::recreate(writing)?;
    Ok(ReindexProgress { finished: true, ..reached })
}

/// Fills the indexes of ids and tags from the events of one part.
fn reindex_part(
    writing: &Writing<'_>,
    part: Part,
    reached: &mut ReindexProgress,
    progress: &mut dyn FnMut(ReindexProgress) -> ControlFlow<()>,
) -> Result<ControlFlow<()>> {
    let mut key = 0;
    let mut known: Option<Owner> = None;
    loop {
        let mut seen = 0;
        check_page(writing, part, key, PAGE, |found, unread| {
            seen += 1;
            key = found;
            let owner = match known.take() {
                Some(owner) if owner.aggregate == found >> 32 => owner,
                _ => Owner::by_number(writing, found >> 32)?,
            };
            // The archive may still hold rows of events that were purged, or that are back in the main file.
            let is_here = part == Part::Main || aggregates::removed(writing, owner.aggregate)?.is_archived(key_version(found));
            // A damaged event has no readable ids and tags; `verify` names it.
            if let (true, Ok(raw)) = (is_here, unread.event(writing, owner.identity)) {
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
        if progress(*reached).is_break() {
            return Ok(ControlFlow::Break(()));
        }
        if seen < PAGE {
            return Ok(ControlFlow::Continue(()));
        }
    }
}
