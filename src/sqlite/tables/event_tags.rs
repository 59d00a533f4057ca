//! The index of tags.

use rusqlite::params;

use super::archive::Part;
use super::events::{Owner, Raw};
use super::positions::{self, number_of};
use crate::model::error::Result;
use crate::sqlite::connection::failure::Sql;
use crate::sqlite::consistency::{Ascending, disagrees};
use crate::sqlite::transaction::{Columns, View, Writing};

/// Adds the tags of an append, each with the position of its event.
pub(crate) fn insert(writing: &Writing<'_>, tenant: i64, mut tagged: Vec<(&str, u64)>) -> Result<()> {
    if tagged.is_empty() {
        return Ok(());
    }
    // In the order of the index, which touches fewer pages. An event may carry a tag twice.
    tagged.sort_unstable();
    tagged.dedup();
    let mut statement = writing.prepare("INSERT INTO event_tags (tenant, tag, position) VALUES (?1, ?2, ?3)")?;
    for (tag, position) in tagged {
        statement.execute(params![tenant, tag, position]).sql()?;
    }
    Ok(())
}

/// Deletes the entry of an event's tag.
pub(crate) fn forget(writing: &Writing<'_>, tenant: i64, tag: &str, position: u64) -> Result<()> {
    let sql = "DELETE FROM event_tags WHERE tenant = ?1 AND tag = ?2 AND position = ?3";
    writing.execute(sql, params![tenant, tag, position])?;
    Ok(())
}

/// Whether the index has this tag for an event.
pub(crate) fn carries(view: &View<'_>, tenant: i64, tag: &str, position: u64) -> Result<bool> {
    let sql = "SELECT EXISTS (SELECT 1 FROM event_tags WHERE tenant = ?1 AND tag = ?2 AND position = ?3)";
    view.value(sql, params![tenant, tag, position])
}

/// The positions of a tag's events in a range (both ends included), `limit` at most.
///
/// A damaged entry is still at the place where it belonged. So the entry before the range, and the one after the last
/// that was found, are compared with their events.
pub(crate) fn positions(
    view: &View<'_>,
    (tenant, tag): (i64, &str),
    (first, last): (u64, u64),
    descending: bool,
    limit: usize,
) -> Result<Vec<u64>> {
    const UP: &str = "SELECT tenant, tag, position FROM event_tags
                      WHERE tenant = ?1 AND tag = ?2 AND position BETWEEN ?3 AND ?4 ORDER BY position LIMIT ?5";
    const DOWN: &str = "SELECT tenant, tag, position FROM event_tags
                        WHERE tenant = ?1 AND tag = ?2 AND position BETWEEN ?3 AND ?4 ORDER BY position DESC LIMIT ?5";
    let mut found: Vec<u64> = Vec::new();
    let bounds = params![tenant, tag, number_of(first), number_of(last), limit];
    view.each_row(if descending { DOWN } else { UP }, bounds, |row| {
        let position = row.at::<i64>(2)?.cast_unsigned();
        let is_of_tag = row.at::<i64>(0)? == tenant && row.get_ref(1).is_ok_and(|found| found.as_str() == Ok(tag));
        let follows = found.last().is_none_or(|last| if descending { position < *last } else { position > *last });
        if !is_of_tag || !follows || !(first..=last).contains(&position) {
            return Err(disagrees().at_position(position.into()));
        }
        found.push(position);
        Ok(true)
    })?;
    let (before, behind) = match descending {
        false => (first, found.last().copied().unwrap_or(first.saturating_sub(1))),
        true => (last, found.last().copied().unwrap_or(last.saturating_add(1))),
    };
    confirm_next(view, (tenant, tag), before, !descending)?;
    if found.len() < limit {
        confirm_next(view, (tenant, tag), behind, descending)?;
    }
    Ok(found)
}

/// Confirms the entry next to a place.
fn confirm_next(view: &View<'_>, (tenant, tag): (i64, &str), from: u64, downwards: bool) -> Result<()> {
    const BEFORE: &str = "SELECT tenant, tag, position FROM event_tags WHERE (tenant, tag, position) < (?1, ?2, ?3)
                          ORDER BY tenant DESC, tag DESC, position DESC LIMIT 1";
    const BEHIND: &str = "SELECT tenant, tag, position FROM event_tags WHERE (tenant, tag, position) > (?1, ?2, ?3)
                          ORDER BY tenant, tag, position LIMIT 1";
    view.each_row(if downwards { BEFORE } else { BEHIND }, params![tenant, tag, number_of(from)], |row| {
        confirm(view, row.at(0)?, &row.at::<String>(1)?, row.at::<i64>(2)?.cast_unsigned()).map(|()| true)
    })
}

fn confirm(view: &View<'_>, tenant: i64, tag: &str, position: u64) -> Result<()> {
    if is_true(view, tenant, tag, position)? { Ok(()) } else { Err(disagrees().at_position(position.into())) }
}

/// The position of the first event with a tag at or after `from`; with `descending`, of the last at or before it.
pub(crate) fn seek(view: &View<'_>, (tenant, tag): (i64, &str), from: u64, descending: bool) -> Result<Option<u64>> {
    const UP: &str =
        "SELECT position FROM event_tags WHERE tenant = ?1 AND tag = ?2 AND position >= ?3 ORDER BY position LIMIT 1";
    const DOWN: &str =
        "SELECT position FROM event_tags WHERE tenant = ?1 AND tag = ?2 AND position <= ?3 ORDER BY position DESC LIMIT 1";
    view.value_if_any(if descending { DOWN } else { UP }, params![tenant, tag, number_of(from)])
}

/// Whether an entry matches its event: it exists, is the tenant's, and carries the tag.
pub(crate) fn is_true(view: &View<'_>, tenant: i64, tag: &str, position: u64) -> Result<bool> {
    const SQL: &str = super::events::select_events!("", "events e WHERE e.position = ?1");
    let mut found = false;
    let part = if positions::is_archived(view, position)? { Part::Archive } else { Part::Main };
    part.open(view)?;
    view.each_row(&part.sql(SQL), [number_of(position)], |row| {
        let owner = Owner::by_number(view, row.at::<i64>(0)? >> 32)?;
        let raw = Raw::read(view, row, owner.identity, &mut Vec::new())?;
        found = owner.aggregate_type.tenant_id == tenant && raw.tags()?.iter().any(|carried| carried == tag);
        Ok(false)
    })?;
    Ok(found)
}

/// An entry of the index.
pub(crate) type Entry = (i64, String, i64);

/// The entries after one, `limit` at most.
pub(crate) fn page(view: &View<'_>, after: &Entry, limit: usize) -> Result<Vec<Entry>> {
    let sql = "SELECT tenant, tag, position FROM event_tags WHERE (tenant, tag, position) > (?1, ?2, ?3)
               ORDER BY tenant, tag, position LIMIT ?4";
    let mut order = Ascending::after(after.clone());
    let mut page = Vec::new();
    view.each_row(sql, params![after.0, after.1, after.2, limit], |row| {
        let entry: Entry = (row.at(0)?, row.at(1)?, row.at(2)?);
        order.next(entry.clone())?;
        page.push(entry);
        Ok(true)
    })?;
    Ok(page)
}

/// Empties the index, to fill it again.
pub(crate) fn clear(writing: &Writing<'_>) -> Result<()> {
    writing.batch("DELETE FROM event_tags")
}
