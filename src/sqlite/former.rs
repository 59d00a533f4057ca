//! Files of older formats: what a format brought with it is made from what was there; a file that is only read is shown
//! as one of this format.

use rusqlite::Connection;

use super::failure::Sql;
use super::id_order;
use super::links::{NAMES, TAGS};
use crate::model::error::{Error, ErrorKind, Result};

/// The format since which events that were removed leave holes, and names and tags are linked.
pub(super) const LINKED: i64 = 4;

/// Whether the file is of a format before [`LINKED`], which only one that is opened for reading can be.
pub(super) fn is_former(connection: &Connection) -> Result<bool> {
    is_true_of_a_reader(
        connection,
        "SELECT NOT EXISTS (SELECT 1 FROM main.sqlite_schema WHERE type = 'table' AND name = 'holes')",
    )
}

/// Whether [`show`] was called for this connection. The file itself may have been brought up since by another process.
pub(super) fn is_shown(connection: &Connection) -> Result<bool> {
    is_true_of_a_reader(connection, "SELECT EXISTS (SELECT 1 FROM temp.sqlite_schema WHERE name = 'event_tags')")
}

/// Asked on every miss: where the file can be written, it has been brought up, and no statement is needed.
fn is_true_of_a_reader(connection: &Connection, sql: &str) -> Result<bool> {
    match connection.is_readonly("main").sql()? {
        true => connection.prepare_cached(sql).sql()?.query_row([], |row| row.get(0)).sql(),
        false => Ok(false),
    }
}

/// Shows a file of a format before [`LINKED`] to a connection that only reads it: without links, which are then not asked for.
pub(super) fn show(connection: &Connection) -> Result<()> {
    connection
        .execute_batch(
            "CREATE TEMP VIEW aggregate_names AS
               SELECT aggregate_type, aggregate_id, id AS aggregate, NULL AS link FROM main.aggregates;
             CREATE TEMP VIEW event_tags AS SELECT tenant, tag, position, NULL AS link FROM main.event_tags;",
        )
        .sql()
}

/// Keeps the rows of a table that the next format has no more, or has in another way, as `former_` and its name.
pub(super) fn put_aside(connection: &Connection, table: &str) -> Result<()> {
    // The application's views of the table are to show the new one, not to be written anew for this one.
    let sql =
        format!("PRAGMA legacy_alter_table = ON; ALTER TABLE {table} RENAME TO former_{table}; PRAGMA legacy_alter_table = OFF");
    connection.execute_batch(&sql).sql()
}

/// Ends what [`put_aside`] began.
pub(super) fn forget(connection: &Connection, table: &str) -> Result<()> {
    connection.execute_batch(&format!("DROP TABLE former_{table}")).sql()
}

/// Fills the tables that [`LINKED`] made or changed.
pub(super) fn take_over(connection: &Connection) -> Result<()> {
    connection
        .execute_batch(
            "INSERT INTO log_state SELECT *, 0 FROM former_log_state;
             INSERT INTO aggregates SELECT * FROM former_aggregates ORDER BY id;
             INSERT INTO events SELECT *, 0 FROM former_events ORDER BY key;",
        )
        .sql()?;
    NAMES.fill(
        connection,
        "SELECT aggregate_type, aggregate_id, id FROM former_aggregates ORDER BY aggregate_type, aggregate_id",
    )?;
    TAGS.fill(connection, "SELECT tenant, tag, position FROM former_event_tags ORDER BY tenant, tag, position")?;
    id_order::link_all(connection)?;
    find_holes(connection)
}

/// What has no event must have been removed, or this would make damage the truth.
fn find_holes(connection: &Connection) -> Result<()> {
    let lost = || {
        Error::new(ErrorKind::Corrupt, "the file has lost events: it cannot be brought up to this format")
            .advice("copy the file before anything else, then restore a backup; opened for reading, the file gives what it has")
    };
    let (floor, removed): (u64, u64) = connection
        .query_row("SELECT position_floor, events_removed FROM log_state WHERE id = 1", [], |row| Ok((row.get(0)?, row.get(1)?)))
        .sql()?;
    let (mut last, mut missing) = (0u64, 0u64);
    let mut note = |next: u64| {
        // Positions rise: the next hole ends before the next event.
        let Some(hole) = next.checked_sub(last).and_then(|distance| distance.checked_sub(1)) else { return Err(lost()) };
        if hole > 0 {
            missing += hole;
            connection
                .prepare_cached("INSERT INTO holes (first, last) VALUES (?1, ?2)")
                .sql()?
                .execute([last + 1, next - 1])
                .sql()?;
        }
        last = next;
        Ok(())
    };
    let mut statement = connection.prepare("SELECT position FROM events ORDER BY position").sql()?;
    let mut rows = statement.query([]).sql()?;
    let mut newest = 0u64;
    while let Some(row) = rows.next().sql()? {
        newest = row.get(0).sql()?;
        note(newest)?;
    }
    if newest < floor {
        note(floor.saturating_add(1))?;
    }
    if missing != removed {
        return Err(lost());
    }
    connection.execute("UPDATE log_state SET position_floor = ?1 WHERE id = 1", [newest.max(floor)]).sql().map(drop)
}
