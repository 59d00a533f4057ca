//! One row for each aggregate: its number, its version, what was removed of it.

use std::collections::BTreeMap;

use rusqlite::{OptionalExtension, Row, params};

use super::database::{View, Writing};
use super::doubt::{self, Ascending};
use super::failure::Sql;
use super::links::{Entry, NAMES, Place, Steps};
use super::{key, key_version, state};
use crate::model::error::{Error, ErrorKind, Result};
use crate::model::place::Version;

#[derive(Clone, Debug)]
pub(crate) struct AggregateRow {
    /// The upper half of its events' keys.
    pub(crate) id: i64,
    pub(crate) version: u64,
    /// The greatest time of its events, in microseconds.
    pub(crate) latest_at: i64,
    /// Events up to this version were purged.
    pub(crate) purged_through: u64,
    /// Events up to this version are in the archive.
    pub(crate) archived_through: u64,
}

impl AggregateRow {
    fn read(row: &Row<'_>) -> rusqlite::Result<AggregateRow> {
        Ok(AggregateRow {
            id: row.get(0)?,
            version: row.get(1)?,
            latest_at: row.get(2)?,
            purged_through: row.get(3)?,
            archived_through: row.get(4)?,
        })
    }

    /// Events up to this version are not in the file any more.
    pub(crate) fn removed_through(&self) -> u64 {
        self.purged_through.max(self.archived_through)
    }
}

/// An aggregate by its name, and that there is none twice. What its row says of its events is not checked: that is for who
/// reads the events anyway.
pub(crate) fn look_up(view: &View<'_>, aggregate_type: i64, aggregate_id: &str) -> Result<Option<AggregateRow>> {
    let found: Option<(Option<bool>, AggregateRow)> = view
        .prepare_cached(
            "SELECT t.id, t.version, t.latest_at, t.purged_through, t.archived_through,
                    t.aggregate_type = ?1 AND t.aggregate_id = ?2
             FROM aggregate_names i LEFT JOIN aggregates t ON t.id = i.aggregate
             WHERE i.aggregate_type = ?1 AND i.aggregate_id = ?2",
        )
        .sql()?
        .query_row(params![aggregate_type, aggregate_id], |row| Ok((row.get(5)?, AggregateRow::read(row)?)))
        .optional()
        .sql()?;
    match found {
        None => NAMES.confirm_free(view, &named(aggregate_type, aggregate_id)).map(|()| None),
        Some((Some(true), row)) => Ok(Some(row)),
        Some(_) => Err(doubt::disagrees()),
    }
}

/// As [`look_up`], and what the row says of its events is checked against them.
pub(crate) fn find(view: &View<'_>, aggregate_type: i64, aggregate_id: &str) -> Result<Option<AggregateRow>> {
    let row = look_up(view, aggregate_type, aggregate_id)?;
    row.iter().try_for_each(|row| check_ends(view, row)).map(|()| row)
}

/// The place of a name among all of them.
fn named(aggregate_type: i64, aggregate_id: &str) -> Entry<'_> {
    Entry { group: aggregate_type, name: aggregate_id, number: 0 }
}

/// An aggregate by its number: the number of its type, its id, its row.
pub(crate) fn by_number(view: &View<'_>, id: i64) -> Result<(i64, String, AggregateRow)> {
    let found = view
        .prepare_cached(
            "SELECT id, version, latest_at, purged_through, archived_through, aggregate_type, aggregate_id FROM aggregates WHERE id = ?1",
        )
        .sql()?
        .query_row(params![id], |row| Ok((row.get(5)?, row.get(6)?, AggregateRow::read(row)?)))
        .optional()
        .sql()?;
    found.ok_or_else(|| contradiction(format!("no aggregate has the number {id} that a row refers to")))
}

/// The keys of the oldest and of the newest event of an aggregate that are in the file.
struct Ends {
    oldest: Option<i64>,
    newest: Option<i64>,
}

impl Ends {
    /// An aggregate's events begin where the removed ones end, and end at its version. A changed version would otherwise
    /// give an old state, and a changed mark of removal would leave events out.
    fn check(&self, row: &AggregateRow) -> Result<()> {
        let removed = row.removed_through();
        let (oldest, newest) = (self.oldest.map_or(removed + 1, key_version), self.newest.map_or(removed, key_version));
        check_newest(row, newest)?;
        if oldest != removed + 1 {
            let what = format!("the aggregate says that {removed} events were removed, its oldest event is at version {oldest}");
            return Err(contradiction(what).at_version(Version::new(oldest)));
        }
        Ok(())
    }
}

/// Checks an aggregate's version against that of its newest event.
pub(crate) fn check_newest(row: &AggregateRow, newest: u64) -> Result<()> {
    if newest == row.version {
        return Ok(());
    }
    let what = format!("the aggregate says it is at version {}, its newest event is at {newest}", row.version);
    Err(contradiction(what).at_version(Version::new(newest)))
}

/// Checks an aggregate's row against the log.
pub(crate) fn check_ends(view: &View<'_>, row: &AggregateRow) -> Result<()> {
    view.prepare_cached(
        "SELECT (SELECT min(key) FROM events WHERE key > ?1 AND key <= ?2), (SELECT max(key) FROM events WHERE key > ?1 AND key <= ?2)",
    )
    .sql()?
    .query_row(params![key(row.id, 0), key(row.id, Version::MAX.get())], |row| {
        Ok(Ends { oldest: row.get(0)?, newest: row.get(1)? })
    })
    .sql()?
    .check(row)
}

/// The events that were counted are not as many as there must be.
pub(crate) fn miscounted(events: u64) -> Error {
    contradiction(format!("the aggregates should have {events} events together, and have not"))
}

fn contradiction(what: String) -> Error {
    Error::new(ErrorKind::Corrupt, what).advice("copy the file before anything else, then restore a backup")
}

/// An aggregate that was moved to a new version.
pub(crate) struct Advanced {
    pub(crate) id: i64,
    pub(crate) version_before: u64,
    /// Events up to this version are not in the file any more.
    pub(crate) removed_through: u64,
}

/// Moves an aggregate on by `events`, if it exists and its version is within `expected` (both ends included).
///
/// The newest event is looked up beside the row: a version that disagrees with the events is damage, and appending after it
/// would make a hole. Two statements, under the lock that the transaction began with: for UPDATE … RETURNING SQLite makes
/// a table of its own each time, which costs more than the second look-up.
pub(crate) fn advance(
    writing: &Writing<'_>,
    aggregate_type: i64,
    aggregate_id: &str,
    expected: (u64, u64),
    events: u64,
    latest_at: i64,
) -> Result<Option<Advanced>> {
    let found: Option<(Option<bool>, AggregateRow, Option<i64>)> = writing
        .prepare_cached(
            "SELECT t.id, t.version, t.latest_at, t.purged_through, t.archived_through,
                    t.aggregate_type = ?1 AND t.aggregate_id = ?2,
                    (SELECT key FROM events WHERE key > t.id << 32 AND key <= t.id << 32 | 4294967295 ORDER BY key DESC LIMIT 1)
             FROM aggregate_names i LEFT JOIN aggregates t ON t.id = i.aggregate
             WHERE i.aggregate_type = ?1 AND i.aggregate_id = ?2",
        )
        .sql()?
        .query_row(params![aggregate_type, aggregate_id], |row| Ok((row.get(5)?, AggregateRow::read(row)?, row.get(6)?)))
        .optional()
        .sql()?;
    let Some((is_it, row, newest)) = found else { return Ok(None) };
    if is_it != Some(true) {
        return Err(doubt::disagrees());
    }
    let removed_through = row.removed_through();
    check_newest(&row, newest.map_or(removed_through, key_version))?;
    if row.version < expected.0 || row.version > expected.1 {
        return Ok(None);
    }
    writing
        .prepare_cached("UPDATE aggregates SET version = ?2, latest_at = ?3 WHERE id = ?1")
        .sql()?
        .execute(params![row.id, row.version.saturating_add(events), row.latest_at.max(latest_at)])
        .sql()?;
    Ok(Some(Advanced { id: row.id, version_before: row.version, removed_through }))
}

/// Makes an aggregate at version `events`; `None` if it exists already.
pub(crate) fn make(
    writing: &Writing<'_>,
    aggregate_type: i64,
    aggregate_id: &str,
    events: u64,
    latest_at: i64,
) -> Result<Option<i64>> {
    // An aggregate that the index hides must not come into being a second time; one that it shows is no error here.
    let Place::FreeBefore(behind) = NAMES.place(writing, &named(aggregate_type, aggregate_id))? else { return Ok(None) };
    let id = writing
        .prepare_cached(
            "INSERT INTO aggregates (aggregate_type, aggregate_id, version, latest_at, purged_through, archived_through)
             VALUES (?1, ?2, ?3, ?4, 0, 0)",
        )
        .sql()?
        .insert(params![aggregate_type, aggregate_id, events, latest_at])
        .sql()?;
    NAMES.insert_before(writing, &Entry { number: id, ..named(aggregate_type, aggregate_id) }, &behind)?;
    Ok(Some(id))
}

/// Aggregates of a type in the order of their ids, after the id `after`.
pub(crate) fn page(
    view: &View<'_>,
    aggregate_type: i64,
    after: Option<&str>,
    limit: usize,
) -> Result<Vec<(String, AggregateRow)>> {
    // No name is empty, so that every one comes after the empty one.
    let after = after.unwrap_or("");
    // The first name that can follow, and the first that is of another type.
    let following = format!("{after}\0");
    let (lower, upper) = (named(aggregate_type, &following), named(aggregate_type.saturating_add(1), ""));
    let mut steps = Steps::up(&NAMES, view, &lower)?;
    let mut statement = view
        .prepare_cached(
            "SELECT t.id, t.version, t.latest_at, t.purged_through, t.archived_through, t.aggregate_type, t.aggregate_id,
                    i.aggregate_id, i.aggregate, i.link FROM aggregate_names i LEFT JOIN aggregates t ON t.id = i.aggregate
             WHERE i.aggregate_type = ?1 AND i.aggregate_id > ?2 ORDER BY i.aggregate_id LIMIT ?3",
        )
        .sql()?;
    let mut rows = statement.query(params![aggregate_type, after, limit]).sql()?;
    let mut page: Vec<(String, AggregateRow)> = Vec::new();
    let mut order = Ascending::after(after.to_owned());
    while let Some(row) = rows.next().sql()? {
        let (kind, stored, indexed): (Option<i64>, Option<String>, String) =
            (row.get(5).sql()?, row.get(6).sql()?, row.get(7).sql()?);
        if kind != Some(aggregate_type) || stored.as_ref() != Some(&indexed) {
            return Err(doubt::disagrees());
        }
        steps.next(&Entry { number: row.get(8).sql()?, ..named(aggregate_type, &indexed) }, row.get(9).sql()?)?;
        order.next(indexed.clone())?;
        page.push((indexed, AggregateRow::read(row).sql()?));
    }
    if page.len() < limit {
        steps.end(&NAMES, view, &lower, &upper)?;
    }
    Ok(page)
}

/// All aggregates of the file in the order of their numbers, after `after`; with the number of their type.
pub(crate) fn page_of_all(view: &View<'_>, after: i64, limit: usize) -> Result<Vec<(i64, String, AggregateRow)>> {
    let mut statement = view
        .prepare_cached(
            "SELECT id, version, latest_at, purged_through, archived_through, aggregate_type, aggregate_id FROM aggregates
             WHERE id > ?1 ORDER BY id LIMIT ?2",
        )
        .sql()?;
    let rows =
        statement.query_map(params![after, limit], |row| Ok((row.get(5)?, row.get(6)?, AggregateRow::read(row)?))).sql()?;
    let mut order = Ascending::after(after);
    rows.map(|row| row.sql().and_then(|row: (i64, String, AggregateRow)| order.next(row.2.id).map(|()| row))).collect()
}

/// Gives the aggregates after a number, `limit` at most, to `each`: the number of the type, the id, the row.
pub(crate) fn check_page(
    view: &View<'_>,
    after: i64,
    limit: usize,
    mut each: impl FnMut(i64, &str, AggregateRow) -> Result<()>,
) -> Result<()> {
    let mut statement = view
        .prepare_cached(
            "SELECT id, version, latest_at, purged_through, archived_through, aggregate_type, aggregate_id FROM aggregates
             WHERE id > ?1 ORDER BY id LIMIT ?2",
        )
        .sql()?;
    let mut rows = statement.query(params![after, limit]).sql()?;
    let mut order = Ascending::after(after);
    while let Some(row) = rows.next().sql()? {
        let aggregate_id: String = row.get(6).sql()?;
        let aggregate = AggregateRow::read(row).sql()?;
        order.next(aggregate.id)?;
        each(row.get(5).sql()?, &aggregate_id, aggregate)?;
    }
    Ok(())
}

/// How many aggregates of a type there are, by their rows.
pub(crate) fn count(view: &View<'_>, aggregate_type: i64) -> Result<u64> {
    view.prepare_cached("SELECT count(*) FROM aggregates NOT INDEXED WHERE aggregate_type = ?1")
        .sql()?
        .query_row(params![aggregate_type], |row| row.get(0))
        .sql()
}

/// How many aggregates of a type there are, and how many events they have in the file.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Held {
    pub(crate) aggregates: u64,
    pub(crate) events: u64,
}

/// What each aggregate type holds. The rows, their index and the log must agree on it.
pub(crate) fn held(view: &View<'_>) -> Result<BTreeMap<i64, Held>> {
    let mut held = BTreeMap::new();
    let mut statement = view
        .prepare_cached(
            "SELECT aggregate_type, count(*), sum(version - max(purged_through, archived_through)) FROM aggregates NOT INDEXED
             GROUP BY aggregate_type",
        )
        .sql()?;
    let mut rows = statement.query([]).sql()?;
    while let Some(row) = rows.next().sql()? {
        held.insert(row.get(0).sql()?, Held { aggregates: row.get(1).sql()?, events: row.get(2).sql()? });
    }
    let mut statement = view
        .prepare_cached(
            "SELECT aggregate_type, count(*) FROM aggregate_names WHERE aggregate_type < 9223372036854775807 GROUP BY aggregate_type",
        )
        .sql()?;
    let indexed: rusqlite::Result<Vec<(i64, u64)>> =
        statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).sql()?.collect();
    let by_row: Vec<(i64, u64)> = held.iter().map(|(kind, held)| (*kind, held.aggregates)).collect();
    if indexed.sql()? != by_row {
        return Err(doubt::disagrees());
    }
    let events: u64 = held.values().map(|held| held.events).sum();
    let in_log = state::last_position(view)?.get().saturating_sub(state::totals(view)?.events_removed);
    if events != in_log {
        return Err(contradiction(format!("the aggregates have {events} events together, the log has {in_log}")));
    }
    Ok(held)
}

/// Notes that events up to this version were purged.
pub(crate) fn note_purged(writing: &Writing<'_>, id: i64, through: u64) -> Result<()> {
    writing
        .prepare_cached("UPDATE aggregates SET purged_through = ?2 WHERE id = ?1")
        .sql()?
        .execute(params![id, through])
        .sql()
        .map(drop)
}

/// The greatest time of an aggregate's events, in microseconds.
pub(crate) fn latest_at(view: &View<'_>, id: i64) -> Result<i64> {
    view.prepare_cached("SELECT latest_at FROM aggregates WHERE id = ?1").sql()?.query_row(params![id], |row| row.get(0)).sql()
}

/// Events of an aggregate up to this version are not in the file any more.
pub(crate) fn removed_through(view: &View<'_>, id: i64) -> Result<u64> {
    view.prepare_cached("SELECT max(purged_through, archived_through) FROM aggregates WHERE id = ?1")
        .sql()?
        .query_row(params![id], |row| row.get(0))
        .sql()
}
