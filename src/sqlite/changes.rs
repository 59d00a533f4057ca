//! Watching the rows of read models change, within one transaction.
//!
//! SQLite's session extension would do this, but its bindings must be generated when the crate is built. Triggers in the
//! TEMP schema see the same, and nothing of them is in the file.

use rusqlite::params;

use super::database::Writing;
use super::failure::Sql;
use crate::model::error::Result;

/// What happened to one row; `before` and `after` are JSON objects, column by column.
pub(crate) struct Change {
    pub(crate) table: String,
    pub(crate) kind: String,
    pub(crate) before: Option<String>,
    pub(crate) after: Option<String>,
}

/// Notes every change of a row of these tables from now on, until the connection is closed.
pub(crate) fn watch(writing: &Writing<'_>, tables: &[String]) -> Result<()> {
    // Without recursive triggers, a row that REPLACE removes is not noted.
    writing
        .execute_batch(
            "PRAGMA recursive_triggers = ON;
             CREATE TEMP TABLE foldlog_changes
               (id INTEGER PRIMARY KEY, table_name TEXT NOT NULL, kind TEXT NOT NULL, before TEXT, after TEXT)",
        )
        .sql()?;
    for (number, table) in tables.iter().enumerate() {
        let columns = columns(writing, table)?;
        if columns.is_empty() {
            continue;
        }
        let (old, new) = (object("OLD", &columns), object("NEW", &columns));
        for (kind, before, after) in [("insert", "NULL", new.as_str()), ("update", &old, &new), ("delete", &old, "NULL")] {
            writing
                .execute_batch(&format!(
                    "CREATE TEMP TRIGGER foldlog_{kind}_{number} AFTER {kind} ON main.\"{table}\" BEGIN
                       INSERT INTO foldlog_changes (table_name, kind, before, after) VALUES ('{table}', '{kind}', {before}, {after});
                     END"
                ))
                .sql()?;
        }
    }
    Ok(())
}

/// What was noted, in the order in which it happened. An update that left a row as it was is no change.
pub(crate) fn noted(writing: &Writing<'_>) -> Result<Vec<Change>> {
    let mut statement = writing
        .prepare("SELECT table_name, kind, before, after FROM foldlog_changes WHERE before IS NOT after ORDER BY id")
        .sql()?;
    let rows = statement
        .query_map(params![], |row| Ok(Change { table: row.get(0)?, kind: row.get(1)?, before: row.get(2)?, after: row.get(3)? }))
        .sql()?;
    rows.map(|row| row.sql()).collect()
}

/// The names of a table's columns; none if there is no such table.
fn columns(writing: &Writing<'_>, table: &str) -> Result<Vec<String>> {
    let mut statement = writing.prepare("SELECT name FROM pragma_table_info(?1, 'main') ORDER BY cid").sql()?;
    let names = statement.query_map([table], |row| row.get(0)).sql()?;
    names.map(|name| name.sql()).collect()
}

/// An expression for a row as a JSON object. JSON has no bytes: a blob becomes the text of its SQL literal.
fn object(row: &str, columns: &[String]) -> String {
    let members: Vec<String> = columns
        .iter()
        .map(|column| {
            let (text, name) = (column.replace('\'', "''"), column.replace('"', "\"\""));
            format!("'{text}', iif(typeof({row}.\"{name}\") = 'blob', quote({row}.\"{name}\"), {row}.\"{name}\")")
        })
        .collect();
    format!("json_object({})", members.join(", "))
}
