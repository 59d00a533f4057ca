//! How old and how large the events of an aggregate are.

use std::sync::Arc;

use rusqlite::params;

use super::aggregates::AggregateRow;
use super::archive::Part;
use super::keys::{key, key_version};
use crate::model::error::Result;
use crate::sqlite::names_cache::EventType;
use crate::sqlite::transaction::{Columns, View};

/// The version up to which all events of an aggregate are older than `before` (microseconds); `after` if none is.
pub(crate) fn older_through(
    view: &View<'_>,
    part: Part,
    aggregate: i64,
    (after, through): (u64, u64),
    before: i64,
) -> Result<u64> {
    const SQL: &str = "SELECT key FROM events WHERE key > ?1 AND key <= ?2 AND created_at >= ?3 ORDER BY key LIMIT 1";
    part.open(view)?;
    let first: Option<i64> =
        view.value_if_any(&part.sql(SQL), params![key(aggregate, after), key(aggregate, through), before])?;
    Ok(first.map_or(through, |key| key_version(key).saturating_sub(1)))
}

/// The version of the last event of an aggregate that is older than `before` (microseconds), after a younger one.
/// `after` is the version before the younger one. `None` if the aggregate's times rise, as they should.
pub(crate) fn last_older(view: &View<'_>, aggregate: i64, after: u64, through: u64, before: i64) -> Result<Option<u64>> {
    // Wrong clocks are rare, and an aggregate can be long: so this looks at its next events and its last one, and only
    // then at all.
    let is_mixed: bool = view.value(
        "SELECT EXISTS (SELECT 1 FROM events WHERE key = ?2 AND created_at < ?3) OR EXISTS (SELECT 1 FROM \
         (SELECT created_at FROM events WHERE key > ?1 AND key <= ?2 ORDER BY key LIMIT 64) WHERE created_at < ?3)",
        params![key(aggregate, after), key(aggregate, through), before],
    )?;
    if !is_mixed {
        return Ok(None);
    }
    let sql = "SELECT key FROM events WHERE key > ?1 AND key <= ?2 AND created_at < ?3 ORDER BY key DESC LIMIT 1";
    let last: Option<i64> = view.value_if_any(sql, params![key(aggregate, after), key(aggregate, through), before])?;
    Ok(last.map(key_version))
}

/// Counts the events of an aggregate in a range of versions that are older than `before` (microseconds).
pub(crate) fn count_older(view: &View<'_>, aggregate: i64, after: u64, through: u64, before: i64) -> Result<u64> {
    let sql = "SELECT count(*) FROM events WHERE key > ?1 AND key <= ?2 AND created_at < ?3";
    view.value(sql, params![key(aggregate, after), key(aggregate, through), before])
}

/// The type of an aggregate's last event; `None` if that was purged.
pub(crate) fn type_of_last(view: &View<'_>, row: &AggregateRow) -> Result<Option<Arc<EventType>>> {
    const SQL: &str = "SELECT event_type FROM events WHERE key = ?1";
    let part = if row.removal.is_archived(row.version) { Part::Archive } else { Part::Main };
    part.open(view)?;
    let found: Option<i64> = view.value_if_any(&part.sql(SQL), [key(row.id, row.version)])?;
    found.map(|number| view.event_type_by_id(number)).transpose()
}

/// The version after which an aggregate's events have at most `bytes`, of those from version `after + 1` to `through`, and
/// how many bytes are left.
pub(crate) fn newest_within(
    view: &View<'_>,
    part: Part,
    aggregate: i64,
    (after, through): (u64, u64),
    bytes: u64,
) -> Result<(u64, u64)> {
    const SQL: &str = "SELECT key, octet_length(data) + coalesce(octet_length(metadata), 0) + coalesce(octet_length(tags), 0) \
         FROM events WHERE key > ?1 AND key <= ?2 ORDER BY key DESC";
    let (mut reached, mut left) = (through, bytes);
    part.open(view)?;
    view.each_row(&part.sql(SQL), params![key(aggregate, after), key(aggregate, through)], |row| {
        let size: u64 = row.at(1)?;
        if size > left {
            return Ok(false);
        }
        left -= size;
        reached = key_version(row.at(0)?).saturating_sub(1);
        Ok(true)
    })?;
    Ok((reached, left))
}
