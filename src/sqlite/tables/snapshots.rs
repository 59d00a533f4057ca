//! Snapshots: stored results of folds. Several folds may have snapshots of the same aggregate.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use rusqlite::{Row, params};

use super::keys::{key, key_version};
use super::{aggregates, erasures, log_state};
use crate::model::clock::from_micros;
use crate::model::error::Result;
use crate::sqlite::checksum;
use crate::sqlite::connection::failure::Sql;
use crate::sqlite::consistency::Ascending;
use crate::sqlite::transaction::{Columns, View, Writing};
use crate::storage::snapshots::{FoldId, NewSnapshot, SnapshotRow, SnapshotStatistics, SnapshotsOf, SnapshotsOfType};
use crate::storage::upkeep::TrustedFold;

macro_rules! select {
    ($rest:literal) => {
        concat!(
            "SELECT s.key, s.version, s.fold_name, s.fold_version, s.fingerprint, s.latest_event_at, s.reason, s.event_count, ",
            "s.created_by, s.created_at, s.checksum, s.state FROM snapshots s ",
            $rest
        )
    };
}

/// The checksum of a snapshot. `identity` covers the aggregate's names.
fn sum(identity: u64, row: &NewSnapshot<'_>) -> i64 {
    checksum::fields(
        identity,
        &[
            &row.version.to_le_bytes(),
            row.fold.name.as_bytes(),
            &row.fold.version.to_le_bytes(),
            &row.fold.fingerprint.to_le_bytes(),
            &row.latest_event_at.to_le_bytes(),
            row.reason.as_bytes(),
            &row.event_count.to_le_bytes(),
            &[u8::from(row.created_by.is_some())],
            row.created_by.unwrap_or_default().as_bytes(),
            &row.created_at.to_le_bytes(),
            row.state.as_bytes(),
        ],
    )
}

/// Reads a snapshot, and whether its checksum is right.
fn read(row: &Row<'_>, identity: u64) -> rusqlite::Result<SnapshotRow> {
    let mut found = SnapshotRow {
        version: row.get(1)?,
        fold_name: row.get(2)?,
        fold_version: row.get(3)?,
        fingerprint: row.get::<_, i64>(4)?.cast_unsigned(),
        latest_event_at: row.get(5)?,
        reason: row.get(6)?,
        event_count: row.get(7)?,
        created_by: row.get(8)?,
        created_at: row.get(9)?,
        state: row.get(11)?,
        is_intact: false,
    };
    found.is_intact = sum(identity, &found.as_new()) == row.get::<_, i64>(10)?;
    Ok(found)
}

fn range(aggregate: i64) -> [i64; 2] {
    [key(aggregate, 0), key(aggregate, u64::from(u32::MAX))]
}

/// Saves a snapshot, replacing the fold's snapshot at the same version, and deletes all but the fold's newest `retain`. One
/// that was loaded before something was erased of the aggregate is not saved: it may hold that.
pub(crate) fn save(writing: &Writing<'_>, aggregate: i64, identity: u64, row: &NewSnapshot<'_>, retain: u32) -> Result<()> {
    if erasures::is_stale(writing, aggregate, row.newest_erasure)? {
        return Ok(());
    }
    let [first, last] = range(aggregate);
    let fold = row.fold;
    let sql = "DELETE FROM snapshots WHERE key > ?1 AND key <= ?2 AND version = ?3 AND fold_name = ?4 AND fold_version = ?5
               AND fingerprint = ?6";
    let same = params![first, last, row.version, fold.name, fold.version, fold.fingerprint.cast_signed()];
    let replaced = writing.execute(sql, same)?;
    let newest: Option<i64> = writing.value("SELECT max(key) FROM snapshots WHERE key > ?1 AND key <= ?2", [first, last])?;
    let sql = "INSERT INTO snapshots (key, version, fold_name, fold_version, fingerprint, latest_event_at, reason, event_count,
                                      created_by, created_at, checksum, state)
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)";
    let values = params![
        newest.map_or(first, |newest| newest) + 1,
        row.version,
        fold.name,
        fold.version,
        fold.fingerprint.cast_signed(),
        row.latest_event_at,
        row.reason,
        row.event_count,
        row.created_by,
        row.created_at,
        sum(identity, row),
        row.state,
    ];
    writing.execute(sql, values)?;
    log_state::note_snapshots(writing, 1 - i64::try_from(replaced).unwrap_or(i64::MAX))?;
    delete_superseded(writing, aggregate, retain, Some(fold))?;
    Ok(())
}

/// Deletes all but `retain` snapshots of each fold, or of one; returns how many. The one of the highest version stays, and
/// else those that were saved last: an early snapshot that is saved late must not push out the one on which a purge relied.
pub(crate) fn delete_superseded(writing: &Writing<'_>, aggregate: i64, retain: u32, only: Option<FoldId<'_>>) -> Result<u64> {
    let sql = "SELECT s.key, s.fold_name, s.fold_version, s.fingerprint FROM snapshots s WHERE s.key > ?1 AND s.key <= ?2
               ORDER BY s.version = (SELECT max(h.version) FROM snapshots h WHERE h.key > ?1 AND h.key <= ?2
                 AND h.fold_name = s.fold_name AND h.fold_version = s.fold_version AND h.fingerprint = s.fingerprint) DESC,
               s.key DESC";
    let mut seen: BTreeMap<(String, u32, i64), u32> = BTreeMap::new();
    let mut superseded = Vec::new();
    writing.each_row(sql, range(aggregate), |row| {
        let fold: (String, u32, i64) = (row.at(1)?, row.at(2)?, row.at(3)?);
        if only.is_none_or(|only| (only.name, only.version, only.fingerprint.cast_signed()) == (&*fold.0, fold.1, fold.2)) {
            let of_fold = seen.entry(fold).or_default();
            *of_fold += 1;
            if *of_fold > retain {
                superseded.push(row.at::<i64>(0)?);
            }
        }
        Ok(true)
    })?;
    for key in &superseded {
        writing.execute("DELETE FROM snapshots WHERE key = ?1", [key])?;
    }
    log_state::note_snapshots(writing, -i64::try_from(superseded.len()).unwrap_or(i64::MAX))?;
    Ok(superseded.len() as u64)
}

/// Which folds' snapshots are wanted.
#[derive(Clone, Copy)]
pub(crate) enum Whose<'a> {
    Of(FoldId<'a>),
    NotOf(FoldId<'a>),
}

/// Passes the snapshots of an aggregate (number and identity) at or below version `through` to `each`, newest first, until
/// it asks to stop. Those of other folds are passed over unread.
pub(crate) fn each_newest_first(
    view: &View<'_>,
    (aggregate, identity): (i64, u64),
    whose: Whose<'_>,
    through: u64,
    mut each: impl FnMut(SnapshotRow) -> Result<bool>,
) -> Result<()> {
    let [first, last] = range(aggregate);
    const OF: &str = select!(
        "WHERE s.key > ?1 AND s.key <= ?2 AND s.version <= ?3 AND s.fold_name = ?4 AND s.fold_version = ?5 AND s.fingerprint = ?6
         ORDER BY s.key DESC"
    );
    const NOT_OF: &str = select!(
        "WHERE s.key > ?1 AND s.key <= ?2 AND s.version <= ?3
           AND NOT (s.fold_name = ?4 AND s.fold_version = ?5 AND s.fingerprint = ?6) ORDER BY s.key DESC"
    );
    let (sql, fold) = match whose {
        Whose::Of(fold) => (OF, fold),
        Whose::NotOf(fold) => (NOT_OF, fold),
    };
    view.each_row(sql, params![first, last, through, fold.name, fold.version, fold.fingerprint.cast_signed()], |row| {
        each(read(row, identity).sql()?)
    })
}

/// The version of a fold's newest snapshot of an aggregate; 0 if there is none.
pub(crate) fn newest_version(view: &View<'_>, aggregate: i64, fold: FoldId<'_>) -> Result<u64> {
    let [first, last] = range(aggregate);
    let sql = "SELECT version FROM snapshots WHERE key > ?1 AND key <= ?2 AND fold_name = ?3 AND fold_version = ?4
               AND fingerprint = ?5 ORDER BY key DESC LIMIT 1";
    let newest = view.value_if_any(sql, params![first, last, fold.name, fold.version, fold.fingerprint.cast_signed()])?;
    Ok(newest.unwrap_or(0))
}

/// All snapshots of an aggregate, newest first.
pub(crate) fn all(view: &View<'_>, aggregate: i64, identity: u64) -> Result<Vec<SnapshotRow>> {
    const SQL: &str = select!("WHERE s.key > ?1 AND s.key <= ?2 ORDER BY s.key DESC");
    let mut all = Vec::new();
    view.each_row(SQL, range(aggregate), |row| {
        all.push(read(row, identity).sql()?);
        Ok(true)
    })?;
    Ok(all)
}

/// The version up to which every fold with snapshots of an aggregate can do without reading its events: the least of the
/// folds' highest intact ones; 0 if there is none.
pub(crate) fn read_without(view: &View<'_>, aggregate: i64, identity: u64) -> Result<Covered> {
    let mut covered = Covered { through: u64::MAX, limited_by: None };
    covered.limit_to(all(view, aggregate, identity)?.iter());
    Ok(if covered.limited_by.is_none() { Covered { through: 0, limited_by: None } } else { covered })
}

/// How far snapshots stand in for an aggregate's events.
pub(crate) struct Covered {
    pub(crate) through: u64,
    /// The fold that needs the events behind that: name and version.
    pub(crate) limited_by: Option<(String, u32)>,
}

impl Covered {
    fn limit(&mut self, through: u64, fold: FoldId<'_>) {
        if through < self.through {
            *self = Covered { through, limited_by: Some((fold.name.to_owned(), fold.version)) };
        }
    }

    /// Limits it to the highest intact snapshot of each fold.
    fn limit_to<'r>(&mut self, rows: impl Iterator<Item = &'r SnapshotRow>) {
        let mut highest_of: BTreeMap<(&str, u32, u64), u64> = BTreeMap::new();
        // A damaged row may have lost its fold's name too, so it counts for no fold.
        for row in rows.filter(|row| row.is_intact) {
            let highest = highest_of.entry((&row.fold_name, row.fold_version, row.fingerprint)).or_default();
            *highest = row.version.max(*highest);
        }
        for ((name, version, fingerprint), highest) in highest_of {
            self.limit(highest, FoldId { name, version, fingerprint });
        }
    }
}

/// The version up to which no fold needs an aggregate's events. What counts is, for each of the `trusted` folds, its
/// highest snapshot that was compared; and, unless `others` do not count, for each other fold with snapshots its highest
/// intact one. 0 if no fold is trusted.
pub(crate) fn covered_through(
    view: &View<'_>,
    (aggregate, identity): (i64, u64),
    trusted: &[TrustedFold],
    others: bool,
) -> Result<Covered> {
    let rows = all(view, aggregate, identity)?;
    let mut covered = Covered { through: if trusted.is_empty() { 0 } else { u64::MAX }, limited_by: None };
    for fold in trusted {
        let is_trusted = |row: &&SnapshotRow| row.is_intact && row.fold() == fold.id() && fold.versions.contains(&row.version);
        covered.limit(rows.iter().filter(is_trusted).map(|row| row.version).max().unwrap_or(0), fold.id());
    }
    covered.limit_to(rows.iter().filter(|row| others && trusted.iter().all(|fold| fold.id() != row.fold())));
    Ok(covered)
}

/// Passes the snapshots after a key, `limit` at most, of any aggregate, to `each`; an unreadable one as its error.
/// `identity` returns what the checksums of an aggregate's snapshots cover.
pub(crate) fn check_page(
    view: &View<'_>,
    after: i64,
    limit: usize,
    mut each: impl FnMut(i64, &dyn Fn(u64) -> Result<SnapshotRow>),
) -> Result<()> {
    const SQL: &str = select!("WHERE s.key > ?1 ORDER BY s.key LIMIT ?2");
    let mut order = Ascending::after(after);
    view.each_row(SQL, params![after, limit], |row| {
        let key = row.at(0)?;
        order.next(key)?;
        each(key, &|identity| read(row, identity).sql());
        Ok(true)
    })
}

/// Deletes all snapshots of an aggregate; returns how many.
pub(crate) fn delete_all(writing: &Writing<'_>, aggregate: i64) -> Result<u64> {
    let deleted = writing.execute("DELETE FROM snapshots WHERE key > ?1 AND key <= ?2", range(aggregate))?;
    log_state::note_snapshots(writing, -i64::try_from(deleted).unwrap_or(i64::MAX))?;
    Ok(deleted as u64)
}

/// Deletes a tenant's snapshots made before `before` (microseconds), `limit` at most. Keeps a fold's newest snapshot of
/// an aggregate whose first events are gone, because a replay needs it. Returns how many were deleted.
pub(crate) fn expire(writing: &Writing<'_>, tenant: &str, before: i64, limit: usize) -> Result<u64> {
    let sql = "SELECT s.key FROM snapshots s CROSS JOIN aggregates a ON a.id = s.key >> 32
               CROSS JOIN aggregate_types t ON t.id = a.aggregate_type CROSS JOIN tenants n ON n.id = t.tenant
               WHERE s.created_at < ?1 AND n.name = ?2
                 AND (NOT EXISTS (SELECT 1 FROM removals r WHERE r.aggregate = a.id) OR s.version <
                      (SELECT max(n.version) FROM snapshots n WHERE n.key > a.id << 32 AND n.key <= a.id << 32 | 4294967295
                       AND n.fold_name = s.fold_name AND n.fold_version = s.fold_version AND n.fingerprint = s.fingerprint))
               LIMIT ?3";
    let expired: Vec<i64> = writing.rows(sql, params![before, tenant, limit], |row| row.get(0))?;
    for key in &expired {
        writing.execute("DELETE FROM snapshots WHERE key = ?1", [key])?;
    }
    log_state::note_snapshots(writing, -i64::try_from(expired.len()).unwrap_or(i64::MAX))?;
    Ok(expired.len() as u64)
}

/// Statistics about all snapshots of a tenant.
pub(crate) fn statistics(view: &View<'_>, tenant: &str, limit: usize) -> Result<SnapshotStatistics> {
    let sql = "SELECT count(*), coalesce(sum(octet_length(s.state)), 0), min(s.created_at), max(s.created_at)
               FROM snapshots s CROSS JOIN aggregates a ON a.id = s.key >> 32
               CROSS JOIN aggregate_types t ON t.id = a.aggregate_type CROSS JOIN tenants n ON n.id = t.tenant WHERE n.name = ?1";
    let (count, bytes, oldest, newest): (u64, u64, Option<i64>, Option<i64>) =
        view.row(sql, [tenant], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)))?;
    Ok(SnapshotStatistics {
        total_snapshots: count,
        snapshots_by_aggregate: by_aggregate(view, tenant, limit)?,
        average_snapshot_size: bytes.checked_div(count).unwrap_or(0),
        oldest_snapshot: oldest.map(from_micros).transpose()?,
        newest_snapshot: newest.map(from_micros).transpose()?,
    })
}

/// The version of an aggregate's newest snapshot, of any fold.
pub(crate) fn newest_of_any_fold(view: &View<'_>, aggregate: i64) -> Result<Option<u64>> {
    let sql = "SELECT version FROM snapshots WHERE key > ?1 AND key <= ?2 ORDER BY key DESC LIMIT 1";
    view.value_if_any(sql, range(aggregate))
}

/// Figures over all snapshots, for each aggregate type and each fold.
pub(crate) fn by_type(view: &View<'_>) -> Result<Vec<SnapshotsOfType>> {
    const SQL: &str = "SELECT s.key >> 32, a.aggregate_type, s.fold_name, s.fold_version, octet_length(s.state), s.created_at
                       FROM snapshots s CROSS JOIN aggregates a NOT INDEXED ON a.id = s.key >> 32 ORDER BY s.key";
    // The snapshots of an aggregate lie side by side.
    let mut of_folds: BTreeMap<(i64, String, u32), (i64, SnapshotsOfType)> = BTreeMap::new();
    view.each_row(SQL, [], |row| {
        let (aggregate, aggregate_type, created_at): (i64, i64, i64) = (row.at(0)?, row.at(1)?, row.at(5)?);
        let (fold_name, fold_version): (String, u32) = (row.at(2)?, row.at(3)?);
        let made = from_micros(created_at)?;
        let (last, of_fold) = match of_folds.entry((aggregate_type, fold_name, fold_version)) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(new) => {
                let named = view.aggregate_type_by_id(aggregate_type)?;
                let of_fold = SnapshotsOfType {
                    tenant: named.tenant.clone(),
                    aggregate_type: named.name.clone(),
                    fold_name: new.key().1.clone(),
                    fold_version,
                    snapshots: 0,
                    aggregates: 0,
                    state_bytes: 0,
                    oldest: made,
                    newest: made,
                };
                new.insert((0, of_fold))
            }
        };
        of_fold.snapshots += 1;
        of_fold.aggregates += u64::from(std::mem::replace(last, aggregate) != aggregate);
        of_fold.state_bytes += row.at::<u64>(4)?;
        of_fold.oldest = of_fold.oldest.min(made);
        of_fold.newest = of_fold.newest.max(made);
        Ok(true)
    })?;
    let mut all: Vec<SnapshotsOfType> = of_folds.into_values().map(|(_, of_fold)| of_fold).collect();
    all.sort_by(|one, other| (&one.tenant, &one.aggregate_type).cmp(&(&other.tenant, &other.aggregate_type)));
    Ok(all)
}

/// The number of snapshots for each aggregate of a tenant, most first.
fn by_aggregate(view: &View<'_>, tenant: &str, limit: usize) -> Result<Vec<SnapshotsOf>> {
    let sql = "SELECT t.name, a.aggregate_id, c.n FROM (SELECT key >> 32 AS id, count(*) AS n FROM snapshots GROUP BY key >> 32) c
               JOIN aggregates a ON a.id = c.id JOIN aggregate_types t ON t.id = a.aggregate_type JOIN tenants n ON n.id = t.tenant
               WHERE n.name = ?1 ORDER BY c.n DESC, t.name, a.aggregate_id LIMIT ?2";
    view.rows(sql, params![tenant, limit], |row| {
        Ok(SnapshotsOf { aggregate_type: row.get(0)?, aggregate_id: row.get(1)?, snapshots: row.get(2)? })
    })
}

/// Splits a snapshot's key into its aggregate and its number.
pub(crate) fn split_key(found: i64) -> (i64, u64) {
    (found >> 32, key_version(found))
}

/// Confirms that a snapshot's aggregate has, or had, events up to the snapshot's version.
pub(crate) fn is_reached(view: &View<'_>, aggregate: i64, version: u64) -> Result<bool> {
    Ok(version <= aggregates::at_number(view, aggregate)?.version)
}
