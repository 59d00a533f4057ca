//! Recreates what is derived from the events: SQLite's indexes, the index of ids, the index of tags, the summaries.

use super::super::tables::events::{Owner, check_page};
use crate::model::error::Result;
use crate::sqlite::Database;
use crate::sqlite::tables::{block_summaries, event_ids, event_tags, positions};
use crate::sqlite::transaction::Writing;
use crate::storage::upkeep::Reindexed;

/// Events between two calls of `progress`.
const PAGE: usize = 1_024;

impl Database {
    /// Recreates every index in one transaction. `progress` returns whether to go on; if it stops, nothing is changed
    /// and the result is `false`.
    pub(crate) fn reindex(&self, mut progress: impl FnMut(Reindexed) -> bool) -> Result<bool> {
        let mut goes_on = true;
        let done = self.write(|writing| {
            goes_on = reindex(writing, &mut progress)?;
            match goes_on {
                true => Ok(()),
                // An error ends the transaction without a commit.
                false => Err(crate::model::error::Error::new(crate::model::error::ErrorKind::Busy, "stopped")),
            }
        });
        match goes_on {
            true => done.map(|()| true),
            false => Ok(false),
        }
    }
}

fn reindex(writing: &Writing<'_>, progress: &mut impl FnMut(Reindexed) -> bool) -> Result<bool> {
    writing.batch("REINDEX")?;
    event_ids::clear(writing)?;
    event_tags::clear(writing)?;
    block_summaries::clear(writing)?;
    let total: u64 = writing.value("SELECT count(*) FROM events NOT INDEXED", [])?;
    let (mut key, mut events) = (0, 0);
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
        events += seen as u64;
        if !progress(Reindexed { events, total }) {
            return Ok(false);
        }
        if seen < PAGE {
            break;
        }
    }
    block_summaries::summarise(writing, 1, positions::last(writing)?)?;
    Ok(true)
}
