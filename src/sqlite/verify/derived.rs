//! Verifies what is derived from the log: the index of ids, the index of tags, the summaries, the snapshots.

use super::{PAGE, RowsCursor};
use crate::model::damage::{Damage, Found};
use crate::model::error::Result;
use crate::sqlite::consistency::RESTORE;
use crate::sqlite::tables::aggregate_counts::Recount;
use crate::sqlite::tables::block_checks::Seen;
use crate::sqlite::tables::events::Owner;
use crate::sqlite::tables::removed_ids::{self, RemovedId};
use crate::sqlite::tables::{aggregates, block_checks, event_ids, event_tags, positions, snapshots as rows};
use crate::sqlite::transaction::View;
use crate::sqlite::verbs::lookup;

/// Summaries checked in one read transaction; each covers 512 events or more.
const SUMMARIES_AT_ONCE: usize = 16;

/// Checks every entry of the index of ids: it must lead to an event of this tenant with this id, or to what is known of a
/// purged one.
pub(super) fn ids(view: &View<'_>, cursor: &mut (i64, Vec<u8>), found: &mut Found) -> Result<bool> {
    let mut seen = 0;
    let mut last = None;
    event_ids::check_page(view, cursor, PAGE, |tenant, id, position| {
        seen += 1;
        let is_it = lookup::at_position(view, position, |raw, owner| {
            Ok(raw.event_id.as_bytes().as_slice() == id.as_slice() && owner.aggregate_type.tenant_id == tenant)
        });
        let is_removed = || match removed_ids::at(view, position) {
            Ok(Some(of)) => of.event_id.as_bytes().as_slice() == id && of.owner.aggregate_type.tenant_id == tenant,
            _ => false,
        };
        if !matches!(is_it, Ok(Some(true))) && !is_removed() {
            let damage = Damage::new("the index of event ids names an event that does not have the id");
            found.add(damage.at_position(position).advice("reindex recreates the index"));
        }
        last = Some((tenant, id));
        Ok(())
    })?;
    *cursor = last.unwrap_or_else(|| cursor.clone());
    Ok(seen == PAGE)
}

/// Checks what is known of purged events by their ids: the checksum, that the event was purged, and that the index of ids
/// leads there.
pub(super) fn removed(view: &View<'_>, cursor: &mut RowsCursor, found: &mut Found) -> Result<bool> {
    let mut seen = 0;
    removed_ids::page(view, cursor.id.cast_unsigned(), PAGE, |position, removed| {
        seen += 1;
        cursor.id = position.cast_signed();
        cursor.rows += 1;
        let (of, what, advice) = match removed {
            Err(error) => {
                let what = format!("what is kept of a purged event cannot be read: {}", error.detail());
                found.add(Damage::new(what).at_position(position).advice(RESTORE));
                return Ok(());
            }
            Ok(of) if !is_purged(view, &of)? => (of, "the id of a purged event is kept, but the event was not purged", RESTORE),
            Ok(of) if event_ids::given(view, of.owner.aggregate_type.tenant_id, of.event_id)? != Some(position) => {
                (of, "the id of a purged event is missing from the index of ids", "reindex recreates the index")
            }
            Ok(_) => return Ok(()),
        };
        found.add(Damage::new(what).of(of.owner.reference()).at_version(of.version).at_position(position).advice(advice));
        Ok(())
    })?;
    Ok(seen == PAGE)
}

fn is_purged(view: &View<'_>, of: &RemovedId) -> Result<bool> {
    let is_hole = positions::hole_at(view, of.position)?.is_some_and(|hole| !hole.archived);
    Ok(is_hole && of.version <= aggregates::removed(view, of.owner.aggregate)?.purged_through)
}

/// Checks every entry of the index of tags: its event must exist, be the tenant's, and carry the tag.
pub(super) fn tags(view: &View<'_>, cursor: &mut event_tags::Entry, found: &mut Found) -> Result<bool> {
    let page = event_tags::page(view, cursor, PAGE)?;
    for (tenant, tag, position) in &page {
        let position = position.cast_unsigned();
        if !matches!(event_tags::is_true(view, *tenant, tag, position), Ok(true)) {
            let damage = Damage::new("the index of tags names an event that does not carry the tag");
            found.add(damage.at_position(position).advice("reindex recreates the index"));
        }
    }
    let more = page.len() == PAGE;
    *cursor = page.into_iter().next_back().unwrap_or_else(|| cursor.clone());
    Ok(more)
}

/// Checks every summary against the events of its block.
pub(super) fn summaries(view: &View<'_>, blocks: &Seen, cursor: &mut RowsCursor, found: &mut Found) -> Result<bool> {
    let advice = "queries by time or type may miss events of this block; reindex recreates the summaries";
    let last = positions::last(view)?;
    let mut seen = 0;
    for block in block_checks::expected(last, cursor.id).take(SUMMARIES_AT_ONCE) {
        seen += 1;
        cursor.id = block.cursor();
        cursor.rows += 1;
        if let Some(what) = block_checks::complaint(view, block, blocks)? {
            found.add(Damage::new(what).at_position(block.position()).advice(advice));
        }
    }
    if seen == SUMMARIES_AT_ONCE {
        return Ok(true);
    }
    let superfluous = block_checks::superfluous(view, last)?;
    if superfluous > 0 {
        found.add(Damage::new(format!("{superfluous} summaries are of blocks that are not full")).advice(advice));
    }
    Ok(false)
}

/// Checks the recorded numbers of aggregates of each type.
pub(super) fn aggregate_counts(view: &View<'_>, recount: &mut Recount, found: &mut Found) -> Result<bool> {
    recount.go_on(view).or_else(|_| {
        let what = "the recorded number of aggregates of each type is damaged, or is another than that of their rows";
        found.add(Damage::new(what).advice("statistics may be wrong; reindex counts again"));
        Ok(false)
    })
}

/// Checks every snapshot: its checksum, its aggregate and its version.
pub(super) fn snapshots(view: &View<'_>, cursor: &mut RowsCursor, found: &mut Found) -> Result<bool> {
    let advice = "replays ignore it; delete_snapshots removes it unless the first events were removed";
    let mut seen = 0;
    rows::check_page(view, cursor.id, PAGE, |found_key, read| {
        seen += 1;
        cursor.id = found_key;
        cursor.rows += 1;
        let (aggregate, _) = rows::split_key(found_key);
        let owner = match Owner::by_number(view, aggregate) {
            Ok(owner) => owner,
            Err(error) => return found.add(Damage::new(format!("the snapshot belongs to no aggregate: {error}"))),
        };
        let (what, version) = match read(owner.identity) {
            Ok(row) if !row.is_intact => ("the snapshot's checksum is wrong", Some(row.version)),
            Ok(row) if rows::is_reached(view, aggregate, row.version).unwrap_or(true) => return,
            Ok(row) => ("the snapshot is of a version that the aggregate has not reached", Some(row.version)),
            Err(_) => ("the snapshot holds a value of a type that was never written there", None),
        };
        let damage = Damage::new(what).of(owner.reference()).advice(advice);
        found.add(version.into_iter().fold(damage, Damage::at_version));
    })?;
    Ok(seen == PAGE)
}
