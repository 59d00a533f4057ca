//! Aggregates: their numbers, and what was removed of them. An aggregate's version is that of its last event.

use rusqlite::{Row, params};

use super::aggregate_counts;
use super::archive::Part;
use super::keys::{key, key_version};
use crate::model::error::{Error, ErrorKind, Result};
use crate::model::place::Version;
use crate::sqlite::checksum;
use crate::sqlite::consistency::{Ascending, RESTORE, confirm_rises, disagrees};
use crate::sqlite::transaction::{Columns, View, Writing};

/// What of an aggregate is no longer in the main file.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Removal {
    /// Events up to this version were purged.
    pub(crate) purged_through: u64,
    /// Later events up to this version are in the archive.
    pub(crate) archived_through: u64,
}

impl Removal {
    /// Events up to this version are not in the main file.
    pub(crate) fn through(self) -> u64 {
        self.purged_through.max(self.archived_through)
    }

    /// Whether an event is in the archive.
    pub(crate) fn is_archived(self, version: u64) -> bool {
        (self.purged_through + 1..=self.archived_through).contains(&version)
    }

    /// The part that holds the event at a version, and the events of a range from there that the same part holds: the
    /// beginning of the range, or its end if `descending`. `after` and `through` as in [`events::scan_aggregate`].
    ///
    /// [`events::scan_aggregate`]: super::events::scan_aggregate
    pub(crate) fn part_of(self, (after, through): (u64, u64), descending: bool) -> (Part, (u64, u64)) {
        let archived = self.archived_through;
        match descending {
            false if after < archived => (Part::Archive, (after, through.min(archived))),
            true if through <= archived => (Part::Archive, (after, through)),
            true => (Part::Main, (after.max(archived), through)),
            false => (Part::Main, (after, through)),
        }
    }

    fn checksum(self, id: i64) -> i64 {
        checksum::numbers(&[id, self.purged_through.cast_signed(), self.archived_through.cast_signed()])
    }
}

/// An aggregate's number, its version, and what was removed of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AggregateRow {
    /// The upper half of its events' keys.
    pub(crate) id: i64,
    pub(crate) version: u64,
    pub(crate) removal: Removal,
}

impl AggregateRow {
    /// The number of events that were not purged.
    pub(crate) fn held(&self) -> u64 {
        self.version.saturating_sub(self.removal.purged_through)
    }
}

fn contradiction(what: impl Into<String>) -> Error {
    Error::new(ErrorKind::Corrupt, what).advice(RESTORE)
}

/// The number of an aggregate; `None` if it never had events.
pub(crate) fn number(view: &View<'_>, aggregate_type: i64, aggregate_id: &str) -> Result<Option<i64>> {
    let sql = "SELECT id, checksum FROM aggregates WHERE aggregate_type = ?1 AND aggregate_id = ?2";
    let found: Option<(i64, i64)> =
        view.row_if_any(sql, params![aggregate_type, aggregate_id], |row| Ok((row.get(0)?, row.get(1)?)))?;
    match found {
        Some((id, sum)) if sum == i64::from(checksum::aggregate(id, aggregate_type, aggregate_id)) => Ok(Some(id)),
        Some(_) => Err(disagrees()),
        None => confirm_absent(view, aggregate_type, aggregate_id).map(|()| None),
    }
}

/// Checks both neighbours of a name that was not found: an index entry with a damaged name is still next to its proper
/// place.
fn confirm_absent(view: &View<'_>, aggregate_type: i64, aggregate_id: &str) -> Result<()> {
    for sql in [
        "SELECT aggregate_type, aggregate_id, id, checksum FROM aggregates
         WHERE (aggregate_type, aggregate_id) < (?1, ?2) ORDER BY aggregate_type DESC, aggregate_id DESC LIMIT 1",
        "SELECT aggregate_type, aggregate_id, id, checksum FROM aggregates
         WHERE (aggregate_type, aggregate_id) > (?1, ?2) ORDER BY aggregate_type, aggregate_id LIMIT 1",
    ] {
        view.each_row(sql, params![aggregate_type, aggregate_id], |row| checked_name(row).map(|_| true))?;
    }
    Ok(())
}

/// Reads a name from the index with its number: (type, id, number).
fn checked_name(row: &Row<'_>) -> Result<(i64, String, i64)> {
    let (aggregate_type, aggregate_id, id): (i64, String, i64) = (row.at(0)?, row.at(1)?, row.at(2)?);
    if row.at::<i64>(3)? != i64::from(checksum::aggregate(id, aggregate_type, &aggregate_id)) {
        return Err(disagrees());
    }
    Ok((aggregate_type, aggregate_id, id))
}

/// An aggregate by its name; `None` if it never had events.
pub(crate) fn find(view: &View<'_>, aggregate_type: i64, aggregate_id: &str) -> Result<Option<AggregateRow>> {
    const SQL: &str = "SELECT a.id, a.checksum, r.purged_through, r.archived_through, r.checksum
                       FROM aggregates a LEFT JOIN removals r ON r.aggregate = a.id WHERE a.aggregate_type = ?1 AND a.aggregate_id = ?2";
    let found = view.row_if_any(SQL, params![aggregate_type, aggregate_id], |row| {
        let removal = match row.get(2)? {
            Some(purged) => Some((purged, row.get(3)?, row.get(4)?)),
            None => None,
        };
        Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?, removal))
    })?;
    match found {
        Some((id, sum, removal)) if sum == i64::from(checksum::aggregate(id, aggregate_type, aggregate_id)) => {
            read_version(view, id, checked_removal(id, removal)?).map(Some)
        }
        Some(_) => Err(disagrees()),
        None => confirm_absent(view, aggregate_type, aggregate_id).map(|()| None),
    }
}

/// An aggregate by its number.
pub(crate) fn at_number(view: &View<'_>, id: i64) -> Result<AggregateRow> {
    read_version(view, id, removed(view, id)?)
}

/// Reads an aggregate's version from its events.
///
/// A damaged key could invent a version or hide the last event. So the key before the last must be one version lower,
/// and the next key must begin another aggregate.
fn read_version(view: &View<'_>, id: i64, removal: Removal) -> Result<AggregateRow> {
    // The next key is looked for from the last one, not from the end of the range: a damaged key is then met.
    const SQL: &str = "SELECT e.key, (SELECT n.key FROM events n WHERE n.key > e.key ORDER BY n.key LIMIT 1)
                       FROM events e WHERE e.key > ?1 AND e.key <= ?2 ORDER BY e.key DESC LIMIT 2";
    let (mut last, mut before_last, mut behind) = (None, None, None);
    view.each_row(SQL, [key(id, 0), key(id, Version::MAX.get())], |row| {
        match last {
            None => (last, behind) = (Some(row.at(0)?), row.at::<Option<i64>>(1)?),
            Some(_) => before_last = Some(row.at(0)?),
        }
        Ok(true)
    })?;
    let removed_through = removal.through();
    let version = match last {
        Some(last) => key_version(last),
        None if removed_through > 0 => removed_through,
        None => return Err(contradiction("the aggregate's events are missing")),
    };
    let before = before_last.map_or(removed_through, key_version);
    if last.is_some() && version != before + 1 {
        let what = format!("the aggregate's last event is at version {version}, the one before at {before}");
        return Err(contradiction(what).at_version(Version::new(version)));
    }
    if let Some(behind) = behind {
        if behind <= key(id, Version::MAX.get()) {
            return Err(disagrees().at_version(Version::new(version)));
        }
        confirm_begins(view, behind, version)?;
    }
    Ok(AggregateRow { id, version, removal })
}

/// Confirms that the event with the key `behind`, the first one after an aggregate that ends at `version`, begins
/// another aggregate.
pub(crate) fn confirm_begins(view: &View<'_>, behind: i64, version: u64) -> Result<()> {
    let begins = match key_version(behind) {
        1 => true,
        other => other == removed(view, behind >> 32)?.through() + 1,
    };
    if begins {
        return Ok(());
    }
    Err(contradiction(format!("an event after version {version} is missing or misplaced")).at_version(Version::new(version + 1)))
}

/// What was removed of an aggregate.
pub(crate) fn removed(view: &View<'_>, id: i64) -> Result<Removal> {
    let sql = "SELECT purged_through, archived_through, checksum FROM removals WHERE aggregate = ?1";
    checked_removal(id, view.row_if_any(sql, [id], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?)
}

fn checked_removal(id: i64, found: Option<(i64, i64, i64)>) -> Result<Removal> {
    let Some((purged, archived, sum)) = found else { return Ok(Removal::default()) };
    let removal = Removal { purged_through: purged.cast_unsigned(), archived_through: archived.cast_unsigned() };
    if removal.checksum(id) == sum { Ok(removal) } else { Err(contradiction("the record of removed events is damaged")) }
}

/// The next aggregate, by number, that has events in the archive.
pub(crate) fn next_archived(view: &View<'_>, after: i64) -> Result<Option<i64>> {
    let sql =
        "SELECT aggregate FROM removals WHERE aggregate > ?1 AND archived_through > purged_through ORDER BY aggregate LIMIT 1";
    view.value_if_any(sql, [after])
}

/// The next aggregate, by number, of which events were purged or archived.
pub(crate) fn next_removed(view: &View<'_>, after: i64) -> Result<Option<i64>> {
    view.value_if_any("SELECT aggregate FROM removals WHERE aggregate > ?1 ORDER BY aggregate LIMIT 1", [after])
}

/// Records what was removed of an aggregate.
pub(crate) fn note_removal(writing: &Writing<'_>, id: i64, removal: Removal) -> Result<()> {
    let sql = "INSERT OR REPLACE INTO removals (aggregate, purged_through, archived_through, checksum) VALUES (?1, ?2, ?3, ?4)";
    writing.execute(sql, params![id, removal.purged_through, removal.archived_through, removal.checksum(id)])?;
    Ok(())
}

/// An aggregate's type (by number) and id, found by its number.
pub(crate) fn names(view: &View<'_>, id: i64) -> Result<(i64, String)> {
    let sql = "SELECT aggregate_type, aggregate_id, id, checksum FROM aggregates NOT INDEXED WHERE id = ?1";
    let mut found = None;
    view.each_row(sql, [id], |row| {
        found = Some(checked_name(row)?);
        Ok(false)
    })?;
    match found {
        Some((aggregate_type, aggregate_id, _)) => Ok((aggregate_type, aggregate_id)),
        None => Err(contradiction(format!("no aggregate has the number {id} that a row refers to"))),
    }
}

/// Creates a missing aggregate.
pub(crate) fn make(writing: &Writing<'_>, aggregate_type: i64, aggregate_id: &str) -> Result<i64> {
    let id = writing.value::<i64>("SELECT coalesce(max(id), 0) + 1 FROM aggregates", [])?;
    // A damaged table may have lost a number and would give it again.
    let sql = "SELECT key FROM events WHERE key > ?1 AND key <= ?2 LIMIT 1";
    if writing.value_if_any::<i64>(sql, [key(id, 0), key(id, Version::MAX.get())])?.is_some() {
        return Err(disagrees());
    }
    let sum = checksum::aggregate(id, aggregate_type, aggregate_id);
    let sql = "INSERT INTO aggregates (id, aggregate_type, aggregate_id, checksum) VALUES (?1, ?2, ?3, ?4)";
    let id = writing.insert(sql, params![id, aggregate_type, aggregate_id, sum])?;
    aggregate_counts::note(writing, id)?;
    Ok(id)
}

/// Gives an aggregate without events another name.
pub(crate) fn rename(writing: &Writing<'_>, id: i64, aggregate_id: &str) -> Result<()> {
    let (aggregate_type, _) = names(writing, id)?;
    let sum = checksum::aggregate(id, aggregate_type, aggregate_id);
    writing.execute("UPDATE aggregates SET aggregate_id = ?2, checksum = ?3 WHERE id = ?1", params![id, aggregate_id, sum])?;
    Ok(())
}

/// The ids of a type's aggregates in order, after `after`, with their numbers.
pub(crate) fn page(view: &View<'_>, aggregate_type: i64, after: Option<&str>, limit: usize) -> Result<Vec<(String, i64)>> {
    let sql = "SELECT aggregate_id, id, checksum FROM aggregates
               WHERE aggregate_type = ?1 AND aggregate_id > ?2 ORDER BY aggregate_id LIMIT ?3";
    // No id is empty, so all come after the empty one.
    let after = after.unwrap_or("");
    let mut page: Vec<(String, i64)> = Vec::new();
    view.each_row(sql, params![aggregate_type, after, limit], |row| {
        let (aggregate_id, id) = (row.get_ref(0).ok().and_then(|id| id.as_str().ok()).ok_or_else(disagrees)?, row.at(1)?);
        if row.at::<i64>(2)? != i64::from(checksum::aggregate(id, aggregate_type, aggregate_id)) {
            return Err(disagrees());
        }
        confirm_rises(page.last().map_or(after, |(last, _)| last), aggregate_id)?;
        page.push((aggregate_id.to_owned(), id));
        Ok(true)
    })?;
    if page.len() < limit {
        let last = page.last().map_or(after, |(last, _)| last);
        confirm_absent(view, aggregate_type, &format!("{last}\0"))?;
    }
    Ok(page)
}

/// All aggregates of the file in the order of their numbers, after `after`: (type's number, id, number).
pub(crate) fn page_of_all(view: &View<'_>, after: i64, limit: usize) -> Result<Vec<(i64, String, i64)>> {
    let sql = "SELECT aggregate_type, aggregate_id, id, checksum FROM aggregates NOT INDEXED WHERE id > ?1 ORDER BY id LIMIT ?2";
    let mut order = Ascending::after(after);
    let mut page = Vec::new();
    view.each_row(sql, params![after, limit], |row| {
        let names = checked_name(row)?;
        order.next(names.2)?;
        page.push(names);
        Ok(true)
    })?;
    Ok(page)
}
