//! The one row that the log as a whole has.

use rusqlite::{Connection, params};
use uuid::Uuid;

use super::database::{View, Writing};
use super::failure::Sql;
use super::names::Replica;
use super::{former, holes};
use crate::model::error::{Error, ErrorKind, Result};
use crate::model::place::Position;

pub(crate) fn replica(connection: &Connection) -> Result<Replica> {
    connection
        .query_row("SELECT r.id, r.replica_id FROM log_state s JOIN replicas r ON r.id = s.replica WHERE s.id = 1", [], |row| {
            Ok(Replica { id: row.get(0)?, replica_id: Uuid::from_bytes(row.get(1)?) })
        })
        .sql()
}

/// The position of the newest event that ever was in the file; 0 if there was none.
pub(crate) fn last_position(view: &View<'_>) -> Result<Position> {
    let (noted, newest) = view
        .prepare_cached(
            "SELECT position_floor, (SELECT position FROM events ORDER BY position DESC LIMIT 1) FROM log_state WHERE id = 1",
        )
        .sql()?
        .query_row([], |row| Ok((row.get(0)?, row.get(1)?)))
        .sql()?;
    confirm_last(view, noted, newest)
}

/// Notes the position of the newest event and the end of the order of ids.
///
/// Read and written in two statements: for UPDATE … RETURNING SQLite makes a table of its own each time, a sixth of an append.
pub(crate) fn note_appended(writing: &Writing<'_>, last: u64, ids_link: u32) -> Result<()> {
    writing
        .prepare_cached("UPDATE log_state SET position_floor = ?1, ids_link = ?2 WHERE id = 1")
        .sql()?
        .execute(params![last, ids_link])
        .sql()
        .map(drop)
}

/// The end of the order of ids.
pub(super) fn ids_link(view: &View<'_>) -> Result<u32> {
    view.prepare_cached("SELECT ids_link FROM log_state WHERE id = 1").sql()?.query_row([], |row| row.get(0)).sql()
}

/// Notes the end of the order of ids.
pub(super) fn note_ids_link(connection: &Connection, link: u32) -> Result<()> {
    connection.prepare_cached("UPDATE log_state SET ids_link = ?1 WHERE id = 1").sql()?.execute(params![link]).sql().map(drop)
}

/// An index that has lost its end would hide events, and their positions would be given a second time; so would those of
/// events that were removed.
pub(super) fn confirm_last(view: &View<'_>, noted: u64, newest: Option<u64>) -> Result<Position> {
    let newest = newest.unwrap_or(0);
    let hole = holes::last(view)?;
    let agrees = match hole {
        Some((first, last)) if last > newest => (first, last) == (newest.saturating_add(1), noted),
        _ => newest == noted,
    };
    if agrees {
        return Ok(Position::new(noted));
    }
    // Older formats noted it only when the newest events were removed.
    if former::is_former(view)? {
        return Ok(Position::new(newest.max(noted)));
    }
    let removed = match hole {
        Some((first, last)) => format!("the last that were removed stood at positions {first} to {last}"),
        None => "none were removed".to_owned(),
    };
    let what = format!("the log ends at position {noted}, its newest event is at {newest}, and of its events {removed}");
    Err(Error::new(ErrorKind::Corrupt, what)
        .at_position(Position::new(newest))
        .advice("copy the file before anything else, then restore a backup"))
}

/// Totals that are kept, not counted.
pub(crate) struct Totals {
    /// Events that purge removed.
    pub(crate) events_removed: u64,
    /// Snapshots in the file.
    pub(crate) snapshots: u64,
    /// When the scheduled clean-up ran last, in microseconds; 0 if never.
    pub(crate) snapshots_expired_at: i64,
}

pub(crate) fn totals(view: &View<'_>) -> Result<Totals> {
    view.prepare_cached("SELECT events_removed, snapshot_count, snapshots_expired_at FROM log_state WHERE id = 1")
        .sql()?
        .query_row([], |row| {
            Ok(Totals { events_removed: row.get(0)?, snapshots: row.get(1)?, snapshots_expired_at: row.get(2)? })
        })
        .sql()
}

/// Notes that events were removed.
pub(crate) fn note_removed(writing: &Writing<'_>, events: u64) -> Result<()> {
    writing
        .prepare_cached("UPDATE log_state SET events_removed = events_removed + ?1 WHERE id = 1")
        .sql()?
        .execute(params![events])
        .sql()
        .map(drop)
}

pub(crate) fn note_snapshots(writing: &Writing<'_>, change: i64) -> Result<()> {
    if change == 0 {
        return Ok(());
    }
    let count = writing
        .prepare_cached("UPDATE log_state SET snapshot_count = snapshot_count + ?1 WHERE id = 1 RETURNING snapshot_count")
        .sql()?
        .query_row(params![change], |row| row.get(0))
        .sql()?;
    writing.snapshots.set(Some(count));
    Ok(())
}

pub(crate) fn note_expired(writing: &Writing<'_>, at_micros: i64) -> Result<()> {
    writing
        .prepare_cached("UPDATE log_state SET snapshots_expired_at = ?1 WHERE id = 1")
        .sql()?
        .execute(params![at_micros])
        .sql()
        .map(drop)
}

/// The size of the file's pages, in bytes; pages in the WAL that are newer are counted once.
pub(crate) fn size_bytes(view: &View<'_>) -> Result<u64> {
    let pages: u64 = view.prepare_cached("PRAGMA page_count").sql()?.query_row([], |row| row.get(0)).sql()?;
    let page_size: u64 = view.prepare_cached("PRAGMA page_size").sql()?.query_row([], |row| row.get(0)).sql()?;
    Ok(pages.saturating_mul(page_size))
}
