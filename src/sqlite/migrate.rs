//! The file format's version: making a new file, refusing a foreign one, bringing an older one up.

use std::collections::HashMap;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, TransactionBehavior, params};
use uuid::Uuid;

use super::failure::Sql;
use super::{blocks, former, links};
use crate::model::error::{Error, ErrorKind, Result};

/// The format that this version of the library writes.
pub(crate) const FORMAT: i64 = 4;
/// "FLOG".
const APPLICATION_ID: i64 = 0x464C_4F47;

const SCHEMA: &str = include_str!("../../schema.sql");

/// What each format has that the one before it had not: tables and indexes by their names in schema.sql.
const ADDED: &[(i64, &[&str])] = &[
    (2, &["subscriptions", "deliveries", "deliveries_due", "deliveries_aggregate"]),
    (3, &["block_summaries"]),
    (former::LINKED, &["log_state", "aggregates", "aggregate_names", "events", "holes", "event_tags"]),
];

/// What each format has no more, or has in another way, as the formats before it made it.
const REMOVED: &[(i64, &str)] = &[
    (3, "CREATE TABLE log_blocks ( block INTEGER PRIMARY KEY, earliest INTEGER NOT NULL, latest INTEGER NOT NULL ) STRICT"),
    (
        3,
        "CREATE TABLE log_block_types ( event_type INTEGER NOT NULL, block INTEGER NOT NULL, PRIMARY KEY (event_type, block) ) STRICT, WITHOUT ROWID",
    ),
    (
        former::LINKED,
        "CREATE TABLE aggregates ( id INTEGER PRIMARY KEY CHECK (id BETWEEN 1 AND 2147483647), aggregate_type INTEGER NOT NULL, aggregate_id TEXT NOT NULL, version INTEGER NOT NULL CHECK (version BETWEEN 1 AND 4294967295), latest_at INTEGER NOT NULL, purged_through INTEGER NOT NULL, archived_through INTEGER NOT NULL, UNIQUE (aggregate_type, aggregate_id) ) STRICT",
    ),
    (
        former::LINKED,
        "CREATE TABLE log_state ( id INTEGER PRIMARY KEY CHECK (id = 1), replica INTEGER NOT NULL, position_floor INTEGER NOT NULL, events_removed INTEGER NOT NULL, snapshot_count INTEGER NOT NULL, snapshots_expired_at INTEGER NOT NULL, created_at INTEGER NOT NULL ) STRICT",
    ),
    (
        former::LINKED,
        "CREATE TABLE events ( key INTEGER PRIMARY KEY, position INTEGER NOT NULL UNIQUE, commit_offset INTEGER NOT NULL CHECK (commit_offset >= 0), event_id BLOB NOT NULL UNIQUE, event_type INTEGER NOT NULL, schema_version INTEGER NOT NULL CHECK (schema_version BETWEEN 1 AND 4294967295), origin INTEGER NOT NULL, created_at INTEGER NOT NULL, data TEXT NOT NULL, metadata TEXT, tags TEXT, checksum INTEGER NOT NULL ) STRICT",
    ),
    (
        former::LINKED,
        "CREATE TABLE event_tags ( tenant INTEGER NOT NULL, tag TEXT NOT NULL, position INTEGER NOT NULL, PRIMARY KEY (tenant, tag, position) ) STRICT, WITHOUT ROWID",
    ),
];

static STATEMENTS: LazyLock<Vec<String>> = LazyLock::new(|| statements(SCHEMA));

/// What a file says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// Nothing is in it yet.
    Empty,
    /// A foldlog file of this format.
    Version(i64),
}

/// Reads the file's marks, and refuses a file that is not ours or newer than we are.
pub(crate) fn read_format(connection: &Connection) -> Result<Format> {
    if !connection.is_autocommit() {
        return read_marks(connection);
    }
    // One view of all marks: between two statements another process can make the file, and then it seems foreign.
    let view = connection.unchecked_transaction().sql()?;
    let format = read_marks(&view)?;
    view.commit().sql()?;
    Ok(format)
}

fn read_marks(connection: &Connection) -> Result<Format> {
    let pragma = |name: &str| connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0)).sql();
    let application = pragma("application_id")?;
    let version = pragma("user_version")?;
    if application == APPLICATION_ID {
        if version < 1 {
            return Err(Error::new(ErrorKind::ForeignFile, format!("the file says it has format {version}, which never was"))
                .advice("restore the file; it was not changed"));
        }
        if version > FORMAT {
            return Err(Error::new(
                ErrorKind::FormatTooNew,
                format!("the file has format {version}; this version of the library knows formats up to {FORMAT}"),
            )
            .advice("update the application; the file was not changed"));
        }
        return Ok(Format::Version(version));
    }
    let tables: i64 = connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0)).sql()?;
    if application == 0 && version == 0 && tables == 0 {
        return Ok(Format::Empty);
    }
    Err(Error::new(ErrorKind::ForeignFile, "the file is a SQLite file of another application")
        .advice("choose another path; the file was not changed"))
}

/// Makes a new file, or brings an older one to this format, or finds that nothing is to be done.
///
/// Several processes may do so at once: one does it, the others wait and then find it done.
pub(crate) fn prepare(connection: &mut Connection, is_file: bool, patience: Duration, now_micros: i64) -> Result<()> {
    // A file that turns out not to be ours is to be left as it is, also by the close.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true).sql()?;
    let mut format = read_format(connection)?;
    if is_file && format == Format::Empty {
        write_ahead(connection, patience)?;
    }
    if format != Format::Version(FORMAT) {
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate).sql()?;
        format = read_format(&transaction)?;
        match format {
            Format::Empty => create(&transaction, now_micros)?,
            Format::Version(version) => migrate(&transaction, version)?,
        }
        transaction.commit().sql()?;
    }
    check_schema(connection, FORMAT)?;
    if is_file {
        write_ahead(connection, patience)?;
    }
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, false).sql()?;
    Ok(())
}

/// Sets the write-ahead log if it is not set. SQLite does not call the busy handler in every case of this.
fn write_ahead(connection: &Connection, patience: Duration) -> Result<()> {
    let began = Instant::now();
    loop {
        let mode: String = connection.pragma_query_value(None, "journal_mode", |row| row.get(0)).sql()?;
        if mode.eq_ignore_ascii_case("wal") {
            return Ok(());
        }
        match connection.pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get::<_, String>(0)) {
            Ok(mode) if mode.eq_ignore_ascii_case("wal") => return Ok(()),
            Ok(mode) => {
                return Err(Error::new(
                    ErrorKind::Io,
                    format!("the file system cannot hold a write-ahead log (journal mode {mode})"),
                )
                .advice("keep the file on a local disk"));
            }
            Err(rusqlite::Error::SqliteFailure(failure, _))
                if matches!(failure.code, ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) && began.elapsed() < patience =>
            {
                std::thread::sleep(Duration::from_millis(1));
            }
            Err(error) => return Err(error).sql(),
        }
    }
}

fn create(connection: &Connection, now_micros: i64) -> Result<()> {
    for statement in STATEMENTS.iter() {
        connection.execute_batch(statement).sql()?;
    }
    links::NAMES.fill(connection, "SELECT 0, '', 0 WHERE false")?;
    links::TAGS.fill(connection, "SELECT 0, '', 0 WHERE false")?;
    connection.execute("INSERT INTO replicas (id, replica_id) VALUES (1, ?1)", params![Uuid::now_v7().into_bytes()]).sql()?;
    connection
        .execute(
            "INSERT INTO log_state (id, replica, position_floor, events_removed, snapshot_count, snapshots_expired_at, created_at,
                                    ids_link)
             VALUES (1, 1, 0, 0, 0, 0, ?1, 0)",
            params![now_micros],
        )
        .sql()?;
    connection.pragma_update(None, "application_id", APPLICATION_ID).sql()?;
    connection.pragma_update(None, "user_version", FORMAT).sql()
}

fn migrate(connection: &Connection, from: i64) -> Result<()> {
    for (version, added) in ADDED.iter().filter(|(version, _)| *version > from) {
        let removed = || REMOVED.iter().filter(|(removed_in, _)| removed_in == version).filter_map(|(_, sql)| name_in(sql));
        removed().try_for_each(|table| former::put_aside(connection, table))?;
        for statement in STATEMENTS.iter().filter(|sql| name_in(sql).is_some_and(|name| added.contains(&name))) {
            connection.execute_batch(statement).sql()?;
        }
        match *version {
            3 => blocks::take_over(connection)?,
            former::LINKED => former::take_over(connection)?,
            _ => {}
        }
        removed().try_for_each(|table| former::forget(connection, table))?;
        connection.pragma_update(None, "user_version", version).sql()?;
    }
    Ok(())
}

/// Whether a table or index of this name is one of the format's.
pub(crate) fn is_ours(name: &str) -> bool {
    STATEMENTS.iter().any(|sql| name_in(sql).is_some_and(|ours| ours.eq_ignore_ascii_case(name)))
}

/// The name of the table or index that a statement makes.
fn name_in(statement: &str) -> Option<&str> {
    statement.split_whitespace().nth(2)
}

/// Refuses a file whose tables of ours are not as schema.sql has them, or that hangs something of its own onto them. A
/// file of an older format must have what that format had.
pub(crate) fn check_schema(connection: &Connection, format: i64) -> Result<()> {
    let later = |name: &str| ADDED.iter().any(|(version, added)| *version > format && added.contains(&name));
    let then = REMOVED.iter().filter(|(removed_in, _)| *removed_in > format).map(|(_, sql)| *sql);
    let now = STATEMENTS.iter().map(String::as_str).filter(|sql| !name_in(sql).is_some_and(later));
    let mut expected: HashMap<&str, &str> = now.chain(then).filter_map(|sql| Some((name_in(sql)?, sql))).collect();
    let ours: Vec<&str> = expected.keys().copied().collect();
    let mut statement = connection.prepare("SELECT type, name, tbl_name, coalesce(sql, '') FROM sqlite_schema").sql()?;
    let mut rows = statement.query([]).sql()?;
    while let Some(row) = rows.next().sql()? {
        let (kind, name, table, sql) = (text(row, 0)?, text(row, 1)?, text(row, 2)?, text(row, 3)?);
        if let Some(wanted) = expected.remove(name.as_str()) {
            if !same_statement(wanted, &sql) {
                return Err(tampered(&format!("the {kind} {name} is not as foldlog makes it")));
            }
        } else if ours.contains(&table.as_str()) && !(kind == "index" && sql.is_empty()) {
            return Err(tampered(&format!("the {kind} {name} hangs on foldlog's table {table}")));
        }
    }
    match expected.keys().next() {
        Some(missing) => Err(tampered(&format!("the table or index {missing} is missing"))),
        None => Ok(()),
    }
}

fn text(row: &rusqlite::Row<'_>, column: usize) -> Result<String> {
    row.get(column).sql()
}

fn tampered(detail: &str) -> Error {
    Error::new(ErrorKind::ForeignFile, format!("the file's schema was changed: {detail}"))
        .advice("restore the file, or export its events with the program that changed it")
}

/// The statements of a DDL text, without comments and with single spaces, as they are stored in the file.
fn statements(ddl: &str) -> Vec<String> {
    let code: Vec<&str> = ddl.lines().map(|line| line.split("--").next().unwrap_or("")).collect();
    code.join(" ").split(';').map(squeeze).filter(|statement| !statement.is_empty()).collect()
}

fn squeeze(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// SQLite itself rewrites a table's text when another table is renamed or a column is added: spaces may differ.
fn same_statement(ours: &str, theirs: &str) -> bool {
    ours == theirs || ours == squeeze(theirs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_schema_is_understood() {
        let tables = STATEMENTS.iter().filter(|sql| sql.starts_with("CREATE TABLE ")).count();
        let indexes = STATEMENTS.iter().filter(|sql| sql.starts_with("CREATE INDEX ")).count();
        assert_eq!((tables, indexes, STATEMENTS.len()), (14, 3, 17));
        assert!(STATEMENTS.iter().all(|sql| !sql.contains("--")));
    }

    #[test]
    fn every_column_is_commented() {
        for line in SCHEMA.lines().filter(|line| line.starts_with("  ") && !line.trim_start().starts_with("--")) {
            let constraint = ["UNIQUE (", "PRIMARY KEY ("].iter().any(|start| line.trim_start().starts_with(start));
            assert!(constraint || line.contains("-- "), "{line}");
        }
    }
}
