//! Snapshots: results of folds, kept as long as they are of use.

use std::collections::BTreeMap;

use rusqlite::{OptionalExtension, Row, params};

use super::checksum;
use super::database::{View, Writing};
use super::doubt::Ascending;
use super::failure::Sql;
use super::{aggregates, events, key, key_version, state};
use crate::model::error::Result;
use crate::model::place::Version;

/// Events since the last snapshot whose times are looked at for the next one; with more, the aggregate's row is believed.
const EVENTS_LOOKED_AT: u64 = 4_096;

/// A snapshot's row, as it is written.
pub(crate) struct NewSnapshot<'a> {
    pub(crate) aggregate: i64,
    /// [`checksum::identity`] of the aggregate's names.
    pub(crate) identity: u64,
    pub(crate) version: u64,
    pub(crate) fold_name: &'a str,
    pub(crate) fold_version: u32,
    pub(crate) state: &'a str,
    pub(crate) latest_event_at: i64,
    pub(crate) reason: &'a str,
    pub(crate) event_count: u64,
    pub(crate) created_by: Option<&'a str>,
    pub(crate) created_at: i64,
}

/// A snapshot's row, as it is read.
pub(crate) struct SnapshotRow {
    pub(crate) version: u64,
    pub(crate) fold_name: String,
    pub(crate) fold_version: u32,
    pub(crate) state: String,
    pub(crate) latest_event_at: i64,
    pub(crate) reason: String,
    pub(crate) event_count: u64,
    pub(crate) created_by: Option<String>,
    pub(crate) created_at: i64,
    checksum: i64,
}

macro_rules! select {
    ($rest:literal) => {
        concat!(
            "SELECT key, fold_name, fold_version, state, latest_event_at, reason, event_count, created_by, created_at, checksum ",
            "FROM snapshots ",
            $rest
        )
    };
}

impl SnapshotRow {
    fn read(row: &Row<'_>) -> rusqlite::Result<SnapshotRow> {
        Ok(SnapshotRow {
            version: key_version(row.get(0)?),
            fold_name: row.get(1)?,
            fold_version: row.get(2)?,
            state: row.get(3)?,
            latest_event_at: row.get(4)?,
            reason: row.get(5)?,
            event_count: row.get(6)?,
            created_by: row.get(7)?,
            created_at: row.get(8)?,
            checksum: row.get(9)?,
        })
    }

    /// Whether the row is as it was written.
    pub(crate) fn is_intact(&self, identity: u64) -> bool {
        self.checksum
            == sum(&NewSnapshot {
                aggregate: 0,
                identity,
                version: self.version,
                fold_name: &self.fold_name,
                fold_version: self.fold_version,
                state: &self.state,
                latest_event_at: self.latest_event_at,
                reason: &self.reason,
                event_count: self.event_count,
                created_by: self.created_by.as_deref(),
                created_at: self.created_at,
            })
    }
}

fn sum(row: &NewSnapshot<'_>) -> i64 {
    checksum::fields(
        row.identity,
        &[
            &row.version.to_le_bytes(),
            row.fold_name.as_bytes(),
            &row.fold_version.to_le_bytes(),
            row.state.as_bytes(),
            &row.latest_event_at.to_le_bytes(),
            row.reason.as_bytes(),
            &row.event_count.to_le_bytes(),
            &[u8::from(row.created_by.is_some())],
            row.created_by.unwrap_or_default().as_bytes(),
            &row.created_at.to_le_bytes(),
        ],
    )
}

/// The greatest event time up to a snapshot's version: what the aggregate's row says, or more if its events say more. A
/// time that is too small would let a replay to a time start from a state that knows later events.
fn latest_event_at(view: &View<'_>, row: &NewSnapshot<'_>) -> Result<i64> {
    let (after, known) = match newest(view, row.aggregate, row.version.saturating_sub(1))? {
        Some(base) if base.is_intact(row.identity) => (base.version, base.latest_event_at.max(row.latest_event_at)),
        _ => (0, row.latest_event_at),
    };
    if row.version.saturating_sub(after) > EVENTS_LOOKED_AT {
        return Ok(known);
    }
    Ok(events::latest_at(view, (row.aggregate, row.identity), after, row.version)?.unwrap_or(known).max(known))
}

/// Saves a snapshot, in place of one at the same version, and deletes all but the newest `retain` of the aggregate.
///
/// Where events were removed another fold's snapshot is not replaced: it may be all that this fold can start from.
pub(crate) fn save(writing: &Writing<'_>, row: &NewSnapshot<'_>, retain: u32) -> Result<()> {
    if aggregates::removed_through(writing, row.aggregate)? > 0
        && let Some(there) = newest(writing, row.aggregate, row.version)?
        && there.version == row.version
        && there.fold_name != row.fold_name
        && there.is_intact(row.identity)
    {
        return Ok(());
    }
    let row = &NewSnapshot { latest_event_at: latest_event_at(writing, row)?, ..*row };
    let key_of_row = key(row.aggregate, row.version);
    let replaced = writing.prepare_cached("DELETE FROM snapshots WHERE key = ?1").sql()?.execute(params![key_of_row]).sql()?;
    writing
        .prepare_cached(
            "INSERT INTO snapshots (key, fold_name, fold_version, state, latest_event_at, reason, event_count, created_by,
                                    created_at, checksum)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
        )
        .sql()?
        .execute(params![
            key_of_row,
            row.fold_name,
            row.fold_version,
            row.state,
            row.latest_event_at,
            row.reason,
            row.event_count,
            row.created_by,
            row.created_at,
            sum(row),
        ])
        .sql()?;
    state::note_snapshots(writing, 1 - i64::try_from(replaced).unwrap_or(i64::MAX))?;
    retain_newest(writing, row.aggregate, retain).map(drop)
}

/// Deletes all but the newest `retain` snapshots of an aggregate; returns how many. Where events were removed the newest of
/// each fold stays as well: its replay has nothing else to start from.
pub(crate) fn retain_newest(writing: &Writing<'_>, aggregate: i64, retain: u32) -> Result<u64> {
    let superseded = writing
        .prepare_cached(
            "DELETE FROM snapshots WHERE key > ?1 AND key <=
               (SELECT key FROM snapshots WHERE key > ?1 AND key <= ?2 ORDER BY key DESC LIMIT 1 OFFSET ?3)
             AND ((SELECT max(purged_through, archived_through) FROM aggregates WHERE id = ?4) = 0 OR key <
                  (SELECT max(n.key) FROM snapshots n WHERE n.key > ?1 AND n.key <= ?2 AND n.fold_name = snapshots.fold_name))",
        )
        .sql()?
        .execute(params![key(aggregate, 0), key(aggregate, Version::MAX.get()), retain, aggregate])
        .sql()?;
    state::note_snapshots(writing, -i64::try_from(superseded).unwrap_or(i64::MAX))?;
    Ok(u64::try_from(superseded).unwrap_or(0))
}

/// The newest snapshot of an aggregate at or below version `through`.
pub(crate) fn newest(view: &View<'_>, aggregate: i64, through: u64) -> Result<Option<SnapshotRow>> {
    view.prepare_cached(select!("WHERE key > ?1 AND key <= ?2 ORDER BY key DESC LIMIT 1"))
        .sql()?
        .query_row(params![key(aggregate, 0), key(aggregate, through)], SnapshotRow::read)
        .optional()
        .sql()
}

/// The version up to which every fold that has snapshots of an aggregate can do without its events: the least of the folds'
/// newest intact ones; 0 if there is none.
pub(crate) fn covered_through(view: &View<'_>, aggregate: i64, identity: u64) -> Result<u64> {
    let mut newest: BTreeMap<String, u64> = BTreeMap::new();
    for row in all(view, aggregate)? {
        let version = if row.is_intact(identity) { row.version } else { 0 };
        let of_fold = newest.entry(row.fold_name).or_default();
        *of_fold = version.max(*of_fold);
    }
    // A damaged row may have lost its fold's name, too: it says nothing about another fold.
    newest.retain(|_, version| *version > 0);
    Ok(newest.into_values().min().unwrap_or(0))
}

/// The version of an aggregate's newest snapshot; 0 if it has none.
pub(crate) fn newest_version(view: &View<'_>, aggregate: i64) -> Result<u64> {
    let newest: Option<i64> = view
        .prepare_cached("SELECT max(key) FROM snapshots WHERE key > ?1 AND key <= ?2")
        .sql()?
        .query_row(params![key(aggregate, 0), key(aggregate, Version::MAX.get())], |row| row.get(0))
        .sql()?;
    Ok(newest.map_or(0, key_version))
}

/// All snapshots of an aggregate, newest first.
pub(crate) fn all(view: &View<'_>, aggregate: i64) -> Result<Vec<SnapshotRow>> {
    let mut statement = view.prepare_cached(select!("WHERE key > ?1 AND key <= ?2 ORDER BY key DESC")).sql()?;
    let rows = statement.query_map(params![key(aggregate, 0), key(aggregate, Version::MAX.get())], SnapshotRow::read).sql()?;
    rows.map(|row| row.sql()).collect()
}

/// Gives the snapshots after a key, `limit` at most, of whatever aggregate, to `each`; one that cannot be read as its error.
pub(crate) fn check_page(
    view: &View<'_>,
    after: i64,
    limit: usize,
    mut each: impl FnMut(i64, Result<SnapshotRow>),
) -> Result<()> {
    let mut statement = view.prepare_cached(select!("WHERE key > ?1 ORDER BY key LIMIT ?2")).sql()?;
    let mut rows = statement.query(params![after, limit]).sql()?;
    let mut order = Ascending::after(after);
    while let Some(row) = rows.next().sql()? {
        let key = row.get(0).sql()?;
        order.next(key)?;
        each(key, SnapshotRow::read(row).sql());
    }
    Ok(())
}

/// Deletes all snapshots of an aggregate.
pub(crate) fn delete_all(writing: &Writing<'_>, aggregate: i64) -> Result<u64> {
    let deleted = writing
        .prepare_cached("DELETE FROM snapshots WHERE key > ?1 AND key <= ?2")
        .sql()?
        .execute(params![key(aggregate, 0), key(aggregate, Version::MAX.get())])
        .sql()?;
    state::note_snapshots(writing, -i64::try_from(deleted).unwrap_or(i64::MAX))?;
    Ok(u64::try_from(deleted).unwrap_or(0))
}

/// Deletes snapshots made before `before` (microseconds), `limit` at most, of the given tenant; never a fold's newest of an
/// aggregate whose first events are gone, for its replay has nothing else to start from.
pub(crate) fn expire(writing: &Writing<'_>, tenant: &str, before: i64, limit: usize) -> Result<u64> {
    let deleted = writing
        .prepare_cached(
            "DELETE FROM snapshots WHERE key IN (
               SELECT s.key FROM snapshots s CROSS JOIN aggregates a ON a.id = s.key >> 32
               CROSS JOIN aggregate_types t ON t.id = a.aggregate_type CROSS JOIN tenants n ON n.id = t.tenant
               WHERE s.created_at < ?1 AND n.name = ?2
                 AND (max(a.purged_through, a.archived_through) = 0 OR s.key <
                      (SELECT max(n.key) FROM snapshots n
                       WHERE n.key > a.id << 32 AND n.key <= a.id << 32 | 4294967295 AND n.fold_name = s.fold_name))
               LIMIT ?3)",
        )
        .sql()?
        .execute(params![before, tenant, limit])
        .sql()?;
    state::note_snapshots(writing, -i64::try_from(deleted).unwrap_or(i64::MAX))?;
    Ok(u64::try_from(deleted).unwrap_or(0))
}

/// Figures over all snapshots of a tenant's aggregate types.
pub(crate) struct SnapshotTotals {
    pub(crate) count: u64,
    pub(crate) bytes: u64,
    pub(crate) oldest: Option<i64>,
    pub(crate) newest: Option<i64>,
}

pub(crate) fn totals(view: &View<'_>, tenant: &str) -> Result<SnapshotTotals> {
    view.prepare_cached(
        "SELECT count(*), coalesce(sum(octet_length(s.state)), 0), min(s.created_at), max(s.created_at)
         FROM snapshots s CROSS JOIN aggregates a ON a.id = s.key >> 32
         CROSS JOIN aggregate_types t ON t.id = a.aggregate_type CROSS JOIN tenants n ON n.id = t.tenant WHERE n.name = ?1",
    )
    .sql()?
    .query_row(params![tenant], |row| {
        Ok(SnapshotTotals { count: row.get(0)?, bytes: row.get(1)?, oldest: row.get(2)?, newest: row.get(3)? })
    })
    .sql()
}

/// How many snapshots each aggregate of a tenant has: (aggregate type, aggregate id, snapshots), most first.
pub(crate) fn by_aggregate(view: &View<'_>, tenant: &str, limit: usize) -> Result<Vec<(String, String, u64)>> {
    let mut statement = view
        .prepare_cached(
            "SELECT t.name, a.aggregate_id, c.n FROM (SELECT key >> 32 AS id, count(*) AS n FROM snapshots GROUP BY key >> 32) c
             JOIN aggregates a ON a.id = c.id JOIN aggregate_types t ON t.id = a.aggregate_type JOIN tenants n ON n.id = t.tenant
             WHERE n.name = ?1 ORDER BY c.n DESC, t.name, a.aggregate_id LIMIT ?2",
        )
        .sql()?;
    let rows = statement.query_map(params![tenant, limit], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?))).sql()?;
    rows.map(|row| row.sql()).collect()
}
