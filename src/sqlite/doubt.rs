//! Second looks. SQLite does not notice a changed bit in an index: a row is then not found, or another one is, or a
//! range ends too early. What decides whether something exists is therefore looked at a second time.
//!
//! A search goes astray at a changed entry and ends beside it. So where nothing was found, or where a range begins and
//! ends, the entries beside that place must be what their rows say. That is two steps in the index and two rows: a
//! microsecond or two, only on a miss and once for each page of a scan. Not noticed is an index page that has lost entries
//! at its end or that stands in the place of another one: `verify` finds those.

use rusqlite::{OptionalExtension, Row, ToSql, params};

use super::database::View;
use super::failure::Sql;
use crate::error::{Error, ErrorKind, Result};
use crate::place::Position;

/// Confirms that no event has this id after none was found: the entries beside its place are what their rows say.
pub(crate) fn confirm_no_event(view: &View<'_>, event_id: &[u8; 16]) -> Result<()> {
    const NEIGHBOURS: &str = "SELECT 0, t.event_id = i.event_id FROM
                                (SELECT key, event_id FROM events WHERE event_id < ?1 ORDER BY event_id DESC LIMIT 1) i
                                LEFT JOIN events t ON t.key = i.key
                              UNION ALL
                              SELECT 1, t.event_id = i.event_id FROM
                                (SELECT key, event_id FROM events WHERE event_id > ?1 ORDER BY event_id LIMIT 1) i
                                LEFT JOIN events t ON t.key = i.key";
    // Whether the first entry is not before the place, and the last one not after it; NULL if there is no entry.
    const ENDS: &str = "SELECT (SELECT coalesce(event_id >= ?1, 0) FROM events ORDER BY event_id LIMIT 1),
                               (SELECT coalesce(event_id <= ?1, 0) FROM events ORDER BY event_id DESC LIMIT 1)";
    let mut statement = view.prepare_cached(NEIGHBOURS).sql()?;
    let mut rows = statement.query(params![event_id]).sql()?;
    let (mut before, mut after) = (false, false);
    while let Some(row) = rows.next().sql()? {
        let (side, agrees): (u8, Option<bool>) = (row.get(0).sql()?, row.get(1).sql()?);
        if agrees != Some(true) {
            return Err(disagrees());
        }
        before |= side == 0;
        after |= side == 1;
    }
    if before && after {
        return Ok(());
    }
    let (first, last): (Option<bool>, Option<bool>) =
        view.prepare_cached(ENDS).sql()?.query_row(params![event_id], |row| Ok((row.get(0)?, row.get(1)?))).sql()?;
    if (!before && first == Some(false)) || (!after && last == Some(false)) {
        return Err(disagrees());
    }
    // An index without entries is of an empty table.
    let any = "SELECT EXISTS (SELECT 1 FROM events NOT INDEXED)";
    match !before && !after && view.prepare_cached(any).sql()?.query_row([], |row| row.get(0)).sql()? {
        true => Err(disagrees()),
        false => Ok(()),
    }
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
    let (sql, end) = match side {
        Side::Before => (
            "SELECT i.position, t.position FROM
               (SELECT key, position FROM events WHERE position < ?1 ORDER BY position DESC LIMIT 1) i
               LEFT JOIN events t ON t.key = i.key",
            "SELECT coalesce(position >= ?1, 0) FROM events ORDER BY position LIMIT 1",
        ),
        Side::After => (
            "SELECT i.position, t.position FROM
               (SELECT key, position FROM events WHERE position > ?1 ORDER BY position LIMIT 1) i
               LEFT JOIN events t ON t.key = i.key",
            "SELECT coalesce(position <= ?1, 0) FROM events ORDER BY position DESC LIMIT 1",
        ),
    };
    let position = i64::try_from(position).unwrap_or(i64::MAX);
    let found: Option<(u64, Option<u64>)> =
        view.prepare_cached(sql).sql()?.query_row(params![position], |row| Ok((row.get(0)?, row.get(1)?))).optional().sql()?;
    match found {
        None => confirm_end(view, end, &[&position]).map(|()| None),
        Some((indexed, Some(stored))) if indexed == stored => Ok(Some(indexed)),
        Some((indexed, _)) => Err(disagrees().at_position(Position::new(indexed))),
    }
}

/// An entry of the index of tags.
#[derive(Debug, PartialEq, Eq)]
struct Tagged {
    tenant: i64,
    tag: String,
    position: u64,
}

impl Tagged {
    fn read(row: &Row<'_>) -> rusqlite::Result<Tagged> {
        Ok(Tagged { tenant: row.get(0)?, tag: row.get(1)?, position: row.get(2)? })
    }

    fn is_of(&self, tenant: i64, tag: &str) -> bool {
        self.tenant == tenant && self.tag == tag
    }

    /// The entry beside a place, whether or not there is one at the place. Zeroed entries are passed over.
    fn beside(view: &View<'_>, place: &Tagged, side: Side) -> Result<Option<Tagged>> {
        let (sql, end) = match side {
            Side::Before => (
                "SELECT tenant, tag, position FROM event_tags WHERE (tenant, tag, position) < (?1, ?2, ?3)
                 ORDER BY tenant DESC, tag DESC, position DESC LIMIT 1",
                "SELECT coalesce((tenant, tag, position) >= (?1, ?2, ?3), 0) FROM event_tags
                 ORDER BY tenant, tag, position LIMIT 1",
            ),
            Side::After => (
                "SELECT tenant, tag, position FROM event_tags WHERE (tenant, tag, position) > (?1, ?2, ?3)
                 ORDER BY tenant, tag, position LIMIT 1",
                "SELECT coalesce((tenant, tag, position) <= (?1, ?2, ?3), 0) FROM event_tags
                 ORDER BY tenant DESC, tag DESC, position DESC LIMIT 1",
            ),
        };
        let place: [&dyn ToSql; 3] = [&place.tenant, &place.tag, &i64::try_from(place.position).unwrap_or(i64::MAX)];
        let found = view.prepare_cached(sql).sql()?.query_row(&place[..], Tagged::read).optional().sql()?;
        if found.is_none() {
            confirm_end(view, end, &place)?;
        }
        Ok(found)
    }

    /// The entry at an end of the index, found without a search.
    fn at_end(view: &View<'_>, side: Side) -> Result<Option<Tagged>> {
        let sql = match side {
            Side::Before => "SELECT tenant, tag, position FROM event_tags ORDER BY tenant, tag, position LIMIT 1",
            Side::After => "SELECT tenant, tag, position FROM event_tags ORDER BY tenant DESC, tag DESC, position DESC LIMIT 1",
        };
        view.prepare_cached(sql).sql()?.query_row([], Tagged::read).optional().sql()
    }

    /// Confirms that the event carries the tag and is the tenant's.
    fn confirm_carried(&self, view: &View<'_>) -> Result<()> {
        let found: Option<(Option<String>, Option<i64>)> = view
            .prepare_cached(
                "SELECT e.tags, t.tenant FROM events e LEFT JOIN aggregates a ON a.id = e.key >> 32
                 LEFT JOIN aggregate_types t ON t.id = a.aggregate_type WHERE e.position = ?1",
            )
            .sql()?
            .query_row(params![self.position], |row| Ok((row.get(0)?, row.get(1)?)))
            .optional()
            .sql()?;
        let Some((Some(tags), tenant)) = found else { return Err(self.disagrees()) };
        let tags: Vec<String> = serde_json::from_str(&tags).map_err(|_| self.disagrees())?;
        if tenant == Some(self.tenant) && tags.contains(&self.tag) { Ok(()) } else { Err(self.disagrees()) }
    }

    /// Confirms that `following` is what follows: a search passes over a zeroed part of a page, whose entries hold nothing;
    /// a step from entry to entry meets them.
    fn confirm_followed_by(&self, view: &View<'_>, following: Option<&Tagged>) -> Result<()> {
        let mut statement = view
            .prepare_cached(
                "SELECT position FROM event_tags WHERE tenant = ?1 AND tag = ?2 AND position >= ?3 ORDER BY position LIMIT 2",
            )
            .sql()?;
        let mut rows = statement.query(params![self.tenant, self.tag, self.position]).sql()?;
        let mut next = || match rows.next().sql()? {
            Some(row) => row.get::<_, u64>(0).sql().map(Some),
            None => Ok(None),
        };
        let (again, then) = (next()?, next()?);
        let same_tag = following.filter(|following| following.is_of(self.tenant, &self.tag));
        if again == Some(self.position) && then == same_tag.map(|following| following.position) {
            Ok(())
        } else {
            Err(self.disagrees())
        }
    }

    fn disagrees(&self) -> Error {
        disagrees().at_position(Position::new(self.position))
    }
}

/// The position that a scan of a tag must find first when it begins at a position; `None` if it must find none.
pub(crate) fn first_of_tag(view: &View<'_>, tenant: i64, tag: &str, begin: u64, descending: bool) -> Result<Option<u64>> {
    let (behind, ahead) = if descending { (Side::After, Side::Before) } else { (Side::Before, Side::After) };
    let place = Tagged { tenant, tag: tag.to_owned(), position: begin };
    // From the entry behind the place the next one ahead is reached by a step, not by the search that the scan makes.
    let first = match Tagged::beside(view, &place, behind)? {
        None => Tagged::at_end(view, behind)?,
        Some(outside) => {
            outside.confirm_carried(view)?;
            let first = Tagged::beside(view, &outside, ahead)?;
            let (lower, upper) = if descending { (first.as_ref(), Some(&outside)) } else { (Some(&outside), first.as_ref()) };
            if let Some(lower) = lower {
                lower.confirm_followed_by(view, upper)?;
            }
            first
        }
    };
    // A changed entry that seems to be of another tag ends the scan before it has begun.
    first.iter().try_for_each(|first| first.confirm_carried(view))?;
    let first = first.filter(|first| first.is_of(tenant, tag)).map(|first| first.position);
    match first {
        Some(position) if (if descending { position > begin } else { position < begin }) => Err(disagrees()),
        first => Ok(first),
    }
}

/// Confirms that nothing of a tag lies beyond the last entry that a scan found: the entry there carries what it says.
pub(crate) fn confirm_end_of_tag(view: &View<'_>, tenant: i64, tag: &str, last: u64, side: Side) -> Result<()> {
    let place = Tagged { tenant, tag: tag.to_owned(), position: last };
    Tagged::beside(view, &place, side)?.map_or(Ok(()), |beyond| beyond.confirm_carried(view))
}

/// Confirms that there is no neighbour on a side: the entry at that end of the index, which is found without a search, does
/// not lie beyond the place.
fn confirm_end(view: &View<'_>, sql: &str, place: &[&dyn ToSql]) -> Result<()> {
    match view.prepare_cached(sql).sql()?.query_row(place, |row| row.get(0)).optional().sql()? {
        Some(false) => Err(disagrees()),
        Some(true) | None => Ok(()),
    }
}

/// Rows that are asked for in an order come in that order: pages of the file that stand in each other's place would
/// otherwise lead a walk in a circle, for ever.
pub(crate) struct Ascending<K>(K);

impl<K: PartialOrd> Ascending<K> {
    /// The rows come after this.
    pub(crate) fn after(start: K) -> Ascending<K> {
        Ascending(start)
    }

    /// The next row.
    pub(crate) fn next(&mut self, key: K) -> Result<()> {
        if key <= self.0 {
            return Err(Error::new(ErrorKind::Corrupt, "rows do not stand in their order: pages of the file are mixed up")
                .advice("copy the file before anything else, then restore a backup"));
        }
        self.0 = key;
        Ok(())
    }

    /// The last row that came, or where it began.
    pub(crate) fn into_last(self) -> K {
        self.0
    }
}

/// What an index says is not what the rows say.
pub(crate) fn disagrees() -> Error {
    Error::new(ErrorKind::Corrupt, "an index disagrees with the rows that it is of: the file was damaged")
        .advice("copy the file before anything else, then restore a backup")
}
