//! What is derived from the log: the index of tags, the summaries of blocks, the snapshots.

use rusqlite::params;

use super::{PAGE, RowsCursor, facts, reference};
use crate::model::damage::{Damage, Found};
use crate::model::error::Result;
use crate::sqlite::aggregates::{self, AggregateRow};
use crate::sqlite::blocks::{self, BLOCK};
use crate::sqlite::database::View;
use crate::sqlite::doubt::Ascending;
use crate::sqlite::failure::Sql;
use crate::sqlite::links::{self, NAMES, TAGS};
use crate::sqlite::{key_version, snapshots, state};

/// Blocks looked at in one read transaction; each stands for 512 events.
const BLOCKS_AT_ONCE: u64 = 4;

/// Every entry of the index of aggregates by name: it is of an aggregate, and the one before it is the one that was there
/// when it was written.
pub(crate) fn aggregate_names(view: &View<'_>, cursor: &mut links::Cursor, found: &mut Found) -> Result<bool> {
    let advice = "an aggregate may seem not to exist; restore a backup";
    NAMES.check_page(view, cursor, |entry, follows| {
        if !follows {
            found.add(
                Damage::new("the index of aggregates by name has lost entries, or has some in each other's place").advice(advice),
            );
        }
        let is_of = |(kind, id, _): (i64, String, AggregateRow)| kind == entry.group && id == entry.name;
        if !entry.is_end() && !aggregates::by_number(view, entry.number).is_ok_and(is_of) {
            let what = format!("a name leads to aggregate number {}, which is not there or has another name", entry.number);
            found.add(Damage::new(what).advice(advice));
        }
    })
}

/// Every entry of the index of tags: the one before it is the one that was there when it was written.
pub(crate) fn tag_links(view: &View<'_>, cursor: &mut links::Cursor, found: &mut Found) -> Result<bool> {
    TAGS.check_page(view, cursor, |entry, follows| {
        if !follows {
            let damage = Damage::new("the index of tags has lost entries, or has some in each other's place")
                .advice("a query by tag ends with an error there; restore a backup");
            found.add(if entry.is_end() { damage } else { damage.at_position(entry.number.cast_unsigned()) });
        }
    })
}

/// How far the walk over the index of tags has come.
#[derive(Debug, Default)]
pub(crate) struct TagsCursor {
    after: (i64, String, i64),
}

/// Every row of the index of tags: its event exists, is the tenant's, and carries the tag.
pub(crate) fn tags(view: &View<'_>, cursor: &mut TagsCursor, found: &mut Found) -> Result<bool> {
    let mut statement = view
        .prepare_cached(
            "SELECT t.tenant, t.tag, t.position, e.key, e.tags FROM event_tags t LEFT JOIN events e ON e.position = t.position
             WHERE (t.tenant, t.tag, t.position) > (?1, ?2, ?3) AND t.tenant < 9223372036854775807 ORDER BY t.tenant, t.tag, t.position LIMIT ?4",
        )
        .sql()?;
    let (tenant, tag, position) = &cursor.after;
    let mut rows = statement.query(params![tenant, tag, position, PAGE]).sql()?;
    let mut seen = 0;
    let mut order = Ascending::after(cursor.after.clone());
    while let Some(row) = rows.next().sql()? {
        seen += 1;
        let (tenant, tag, position): (i64, String, i64) = (row.get(0).sql()?, row.get(1).sql()?, row.get(2).sql()?);
        order.next((tenant, tag.clone(), position))?;
        let event_key: Option<i64> = row.get(3).sql()?;
        let stored: Option<String> = row.get(4).sql()?;
        let carries =
            stored.and_then(|text| serde_json::from_str::<Vec<String>>(&text).ok()).is_some_and(|tags| tags.contains(&tag));
        let of_tenant = event_key
            .and_then(|event_key| facts(view, event_key >> 32).ok())
            .is_some_and(|(_, owner)| owner.aggregate_type.tenant_id == tenant);
        if !carries || !of_tenant {
            found.add(
                Damage::new("the index of tags names an event that does not carry the tag").at_position(position.cast_unsigned()),
            );
        }
    }
    cursor.after = order.into_last();
    Ok(seen == PAGE)
}

/// Every summary of a block of positions, against the events in the block.
pub(crate) fn summaries(view: &View<'_>, cursor: &mut RowsCursor, found: &mut Found) -> Result<bool> {
    if !blocks::are_kept(view)? {
        return Ok(false);
    }
    let full = state::last_position(view)?.get() / BLOCK;
    let first = u64::try_from(cursor.id).unwrap_or(0);
    let advice = "queries by time or type may miss events of this block; restore a backup";
    for block in first..full.min(first + BLOCKS_AT_ONCE) {
        cursor.id = i64::try_from(block + 1).unwrap_or(i64::MAX);
        cursor.rows += 1;
        if let Some(what) = blocks::complaint(view, block)? {
            found.add(Damage::new(what).at_position(block * BLOCK + 1).advice(advice));
        }
    }
    if first + BLOCKS_AT_ONCE < full {
        return Ok(true);
    }
    let beyond: u64 = view
        .query_row("SELECT count(*) FROM block_summaries WHERE block NOT BETWEEN 0 AND ?1 - 1", params![full], |row| row.get(0))
        .sql()?;
    if beyond > 0 {
        found.add(Damage::new(format!("{beyond} summaries are of blocks that are not full")).advice(advice));
    }
    Ok(false)
}

/// Every snapshot: whose it is, and its checksum.
pub(crate) fn all_snapshots(view: &View<'_>, cursor: &mut RowsCursor, found: &mut Found) -> Result<bool> {
    let advice = "replay passes it over; delete_snapshots removes it unless the first events were removed";
    let mut seen = 0;
    snapshots::check_page(view, cursor.id, PAGE, |found_key, read| {
        seen += 1;
        cursor.id = found_key;
        cursor.rows += 1;
        let version = key_version(found_key);
        let (row, owner) = match facts(view, found_key >> 32) {
            Ok(facts) => facts,
            Err(error) => {
                found.add(Damage::new(format!("the snapshot belongs to nobody: {error}")).at_version(version));
                return;
            }
        };
        let what = match read {
            Ok(snapshot) if snapshot.is_intact(owner.identity) && version <= row.version => return,
            Ok(snapshot) if snapshot.is_intact(owner.identity) => "the snapshot is of a version that is not reached",
            Ok(_) => "the snapshot's checksum is wrong",
            Err(_) => "the snapshot holds a value of a kind that was never written there",
        };
        found.add(Damage::new(what).of(reference(&owner)).at_version(version).advice(advice));
    })?;
    Ok(seen == PAGE)
}
