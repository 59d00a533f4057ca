//! Second looks. SQLite does not notice a changed bit in an index: a row is then not found, or another one is, or a
//! range ends too early. What decides whether something exists is therefore looked at a second time.
//!
//! A search goes astray at a changed entry and ends beside it. So where nothing was found, or where a range begins and
//! ends, the entries beside that place must be what their rows say. That is two steps in the index and two rows: a
//! microsecond or two, only on a miss and once for each page of a scan. Not noticed is an index page that has lost entries
//! at its end or that stands in the place of another one: `verify` finds those.

use rusqlite::{OptionalExtension, ToSql, params};

use super::database::View;
use super::failure::Sql;
use crate::error::{Error, ErrorKind, Result};
use crate::place::Position;

/// A unique index in which something was not found.
pub(crate) struct Index {
    /// For the entry before the place and the entry after it: whether its row says the same; NULL if there is no row.
    neighbours: &'static str,
    /// Whether the table has a row at all: an index without neighbours is an empty one.
    any: &'static str,
}

pub(crate) const AGGREGATES: Index = Index {
    neighbours: "SELECT t.aggregate_type = i.aggregate_type AND t.aggregate_id = i.aggregate_id FROM
                   (SELECT id, aggregate_type, aggregate_id FROM aggregates WHERE (aggregate_type, aggregate_id) < (?1, ?2)
                    ORDER BY aggregate_type DESC, aggregate_id DESC LIMIT 1) i LEFT JOIN aggregates t ON t.id = i.id
                 UNION ALL
                 SELECT t.aggregate_type = i.aggregate_type AND t.aggregate_id = i.aggregate_id FROM
                   (SELECT id, aggregate_type, aggregate_id FROM aggregates WHERE (aggregate_type, aggregate_id) > (?1, ?2)
                    ORDER BY aggregate_type, aggregate_id LIMIT 1) i LEFT JOIN aggregates t ON t.id = i.id",
    any: "SELECT EXISTS (SELECT 1 FROM aggregates NOT INDEXED)",
};

pub(crate) const EVENT_IDS: Index = Index {
    neighbours: "SELECT t.event_id = i.event_id FROM
                   (SELECT key, event_id FROM events WHERE event_id < ?1 ORDER BY event_id DESC LIMIT 1) i
                   LEFT JOIN events t ON t.key = i.key
                 UNION ALL
                 SELECT t.event_id = i.event_id FROM
                   (SELECT key, event_id FROM events WHERE event_id > ?1 ORDER BY event_id LIMIT 1) i
                   LEFT JOIN events t ON t.key = i.key",
    any: "SELECT EXISTS (SELECT 1 FROM events NOT INDEXED)",
};

/// Confirms that something is not in the file after it was not found in a unique index.
pub(crate) fn confirm_absent(view: &View<'_>, index: &Index, place: &[&dyn ToSql]) -> Result<()> {
    let is_empty = confirm_neighbours(view, index, place)? == 0;
    if is_empty && view.prepare_cached(index.any).sql()?.query_row([], |row| row.get(0)).sql()? {
        return Err(disagrees());
    }
    Ok(())
}

/// Confirms that the entries beside a place are what their rows say; returns how many there are.
pub(crate) fn confirm_neighbours(view: &View<'_>, index: &Index, place: &[&dyn ToSql]) -> Result<usize> {
    let mut statement = view.prepare_cached(index.neighbours).sql()?;
    let mut rows = statement.query(place).sql()?;
    let mut neighbours = 0;
    while let Some(row) = rows.next().sql()? {
        neighbours += 1;
        let agrees: Option<bool> = row.get(0).sql()?;
        if agrees != Some(true) {
            return Err(disagrees());
        }
    }
    Ok(neighbours)
}

/// Names are few, and looked for once: all of them are looked at. With more of them than this the index is believed.
const NAMES_LOOKED_AT: i64 = 2_000;

/// Confirms that a name has no number: `greatest` gives the greatest number, `scan` looks at every row.
pub(crate) fn confirm_no_name(view: &View<'_>, greatest: &str, scan: &str, name: &[&dyn ToSql]) -> Result<()> {
    let greatest: Option<i64> = view.prepare_cached(greatest).sql()?.query_row([], |row| row.get(0)).sql()?;
    if greatest.is_none_or(|greatest| greatest > NAMES_LOOKED_AT) {
        return Ok(());
    }
    match view.prepare_cached(scan).sql()?.query_row(name, |_| Ok(())).optional().sql()? {
        Some(()) => Err(disagrees()),
        None => Ok(()),
    }
}

/// On which side of a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Before,
    After,
}

/// The position next to a position, in the index and in its row alike.
pub(crate) fn neighbour(view: &View<'_>, position: u64, side: Side) -> Result<Option<u64>> {
    let sql = match side {
        Side::Before => {
            "SELECT i.position, t.position FROM
               (SELECT key, position FROM events WHERE position < ?1 ORDER BY position DESC LIMIT 1) i
               LEFT JOIN events t ON t.key = i.key"
        }
        Side::After => {
            "SELECT i.position, t.position FROM
               (SELECT key, position FROM events WHERE position > ?1 ORDER BY position LIMIT 1) i
               LEFT JOIN events t ON t.key = i.key"
        }
    };
    let position = i64::try_from(position).unwrap_or(i64::MAX);
    let found: Option<(u64, Option<u64>)> =
        view.prepare_cached(sql).sql()?.query_row(params![position], |row| Ok((row.get(0)?, row.get(1)?))).optional().sql()?;
    match found {
        None => Ok(None),
        Some((indexed, Some(stored))) if indexed == stored => Ok(Some(indexed)),
        Some((indexed, _)) => Err(disagrees().at_position(Position::new(indexed))),
    }
}

/// The entry next to an entry of the index of tags: its event carries the tag.
pub(crate) fn neighbour_of_tag(view: &View<'_>, tenant: i64, tag: &str, position: u64, side: Side) -> Result<()> {
    let sql = match side {
        Side::Before => {
            "SELECT i.tag, i.position, e.tags FROM
               (SELECT tag, position FROM event_tags WHERE (tenant, tag, position) < (?1, ?2, ?3)
                ORDER BY tenant DESC, tag DESC, position DESC LIMIT 1) i LEFT JOIN events e ON e.position = i.position"
        }
        Side::After => {
            "SELECT i.tag, i.position, e.tags FROM
               (SELECT tag, position FROM event_tags WHERE (tenant, tag, position) > (?1, ?2, ?3)
                ORDER BY tenant, tag, position LIMIT 1) i LEFT JOIN events e ON e.position = i.position"
        }
    };
    let place = i64::try_from(position).unwrap_or(i64::MAX);
    let found: Option<(String, u64, Option<String>)> = view
        .prepare_cached(sql)
        .sql()?
        .query_row(params![tenant, tag, place], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
        .optional()
        .sql()?;
    let Some((indexed, at, tags)) = found else { return Ok(()) };
    let carries =
        tags.and_then(|tags| serde_json::from_str::<Vec<String>>(&tags).ok()).is_some_and(|tags| tags.contains(&indexed));
    if carries { Ok(()) } else { Err(disagrees().at_position(Position::new(at))) }
}

/// What an index says is not what the rows say.
pub(crate) fn disagrees() -> Error {
    Error::new(ErrorKind::Corrupt, "an index disagrees with the rows that it is of: the file was damaged")
        .advice("copy the file before anything else, then restore a backup")
}
