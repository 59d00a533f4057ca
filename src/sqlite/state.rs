//! The one row that the log as a whole has.

use rusqlite::{Connection, params};
use uuid::Uuid;

use super::database::{View, Writing};
use super::doubt;
use super::failure::Sql;
use super::names::Replica;
use crate::error::Result;
use crate::place::Position;

pub(crate) fn replica(connection: &Connection) -> Result<Replica> {
    connection
        .query_row("SELECT r.id, r.replica_id FROM log_state s JOIN replicas r ON r.id = s.replica WHERE s.id = 1", [], |row| {
            Ok(Replica { id: row.get(0)?, replica_id: Uuid::from_bytes(row.get(1)?) })
        })
        .sql()
}

/// The position of the newest event that ever was in the file; 0 if there was none.
pub(crate) fn last_position(view: &View<'_>) -> Result<Position> {
    let (newest, stored, floor, of_newest_id): (Option<u64>, Option<u64>, u64, Option<u64>) = view
        .prepare_cached(
            // Scalars: a joined subquery would be copied into a table of its own for each append.
            "SELECT (SELECT position FROM events ORDER BY position DESC LIMIT 1),
                    (SELECT position FROM events WHERE key = (SELECT key FROM events ORDER BY position DESC LIMIT 1)),
                    position_floor, (SELECT position FROM events ORDER BY event_id DESC LIMIT 1) FROM log_state WHERE id = 1",
        )
        .sql()?
        .query_row([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)))
        .sql()?;
    // A changed number in the index would leave a gap, or give a position twice. An index that has lost its end shows at
    // another index: the greatest id is that of the newest event, as long as callers give none and clocks run forwards.
    if newest != stored || of_newest_id > newest {
        return Err(doubt::disagrees());
    }
    Ok(Position::new(newest.unwrap_or(0).max(floor)))
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

/// Notes that events were removed, and that positions up to `floor` have been used.
pub(crate) fn note_removed(writing: &Writing<'_>, events: u64, floor: Position) -> Result<()> {
    writing
        .prepare_cached(
            "UPDATE log_state SET events_removed = events_removed + ?1, position_floor = max(position_floor, ?2) WHERE id = 1",
        )
        .sql()?
        .execute(params![events, floor.get()])
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
