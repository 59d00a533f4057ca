//! Where events are: what indexes and keys tell without the events themselves.

use rusqlite::{OptionalExtension, params};
use uuid::Uuid;

use super::database::View;
use super::failure::Sql;
use super::{doubt, id_order, key, key_version};
use crate::model::error::Result;
use crate::model::place::Position;

/// A position as it is in the file.
pub(super) fn number_of(position: u64) -> i64 {
    i64::try_from(position).unwrap_or(i64::MAX)
}

/// The place of the event with this id.
pub(crate) fn position_of_id(view: &View<'_>, event_id: Uuid) -> Result<Option<Position>> {
    let found: Option<(Option<u64>, Option<bool>)> = view
        .prepare_cached(
            "SELECT t.position, t.event_id = ?1 FROM events i LEFT JOIN events t ON t.key = i.key WHERE i.event_id = ?1",
        )
        .sql()?
        .query_row(params![event_id.as_bytes()], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()
        .sql()?;
    match found {
        None => id_order::confirm_none(view, event_id.as_bytes()).map(|()| None),
        Some((Some(position), Some(true))) => Ok(Some(Position::new(position))),
        Some(_) => Err(doubt::disagrees()),
    }
}

/// The commit of the event at a position.
pub(crate) fn commit_id_at(view: &View<'_>, position: Position) -> Result<Option<Position>> {
    let found: Option<u64> = view
        .prepare_cached("SELECT position - commit_offset FROM events WHERE position = ?1")
        .sql()?
        .query_row(params![position.get()], |row| row.get(0))
        .optional()
        .sql()?;
    Ok(found.map(Position::new))
}

/// The version through which an aggregate's events are all older than `before` (microseconds); `after` if none is.
pub(crate) fn older_through(view: &View<'_>, aggregate: i64, after: u64, through: u64, before: i64) -> Result<u64> {
    let first_younger: Option<i64> = view
        .prepare_cached("SELECT key FROM events WHERE key > ?1 AND key <= ?2 AND created_at >= ?3 ORDER BY key LIMIT 1")
        .sql()?
        .query_row(params![key(aggregate, after), key(aggregate, through), before], |row| row.get(0))
        .optional()
        .sql()?;
    Ok(first_younger.map_or(through, |key| key_version(key).saturating_sub(1)))
}
