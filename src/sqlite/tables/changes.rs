//! Records the changed rows of read models within one transaction.
//!
//! SQLite's session extension would do this, but its bindings must be generated when the crate is built. Triggers in
//! the TEMP schema see the same changes, and leave nothing in the file.

use rusqlite::params;

use crate::model::error::{Error, ErrorKind, Result};
use crate::model::json::Json;
use crate::sqlite::transaction::{Columns, Writing};
use crate::storage::delivery::{ChangeKind, RowChange};

/// From now on records every change of a row of these tables, until the connection is closed.
pub(crate) fn watch(writing: &Writing<'_>, tables: &[String]) -> Result<()> {
    // Without recursive triggers a row that REPLACE removes is not recorded.
    writing.batch(
        "PRAGMA recursive_triggers = ON;
         CREATE TEMP TABLE foldlog_changes
           (id INTEGER PRIMARY KEY, table_name TEXT NOT NULL, kind TEXT NOT NULL, before TEXT, after TEXT)",
    )?;
    for (number, table) in tables.iter().enumerate() {
        let columns: Vec<String> =
            writing.rows("SELECT name FROM pragma_table_info(?1, 'main') ORDER BY cid", params![table], |row| row.get(0))?;
        if columns.is_empty() {
            continue;
        }
        let (old, new) = (object("OLD", &columns), object("NEW", &columns));
        for (kind, before, after) in [("insert", "NULL", new.as_str()), ("update", &old, &new), ("delete", &old, "NULL")] {
            writing.batch(&format!(
                "CREATE TEMP TRIGGER foldlog_{kind}_{number} AFTER {kind} ON main.\"{table}\" BEGIN
                   INSERT INTO foldlog_changes (table_name, kind, before, after) VALUES ('{table}', '{kind}', {before}, {after});
                 END"
            ))?;
        }
    }
    Ok(())
}

/// The recorded changes, in order. An update that left a row unchanged is no change.
pub(crate) fn noted(writing: &Writing<'_>) -> Result<Vec<RowChange>> {
    let mut changes = Vec::new();
    let sql = "SELECT table_name, kind, before, after FROM foldlog_changes WHERE before IS NOT after ORDER BY id";
    writing.each_row(sql, [], |row| {
        let kind = match row.at::<String>(1)?.as_str() {
            "insert" => ChangeKind::Insert,
            "update" => ChangeKind::Update,
            "delete" => ChangeKind::Delete,
            _ => return Err(Error::new(ErrorKind::Internal, "a change of a kind that is not watched")),
        };
        let json = |text: Option<String>| text.map(Json::stored);
        changes.push(RowChange { table: row.at(0)?, kind, before: json(row.at(2)?), after: json(row.at(3)?) });
        Ok(true)
    })?;
    Ok(changes)
}

/// A SQL expression for a row as a JSON object. JSON has no bytes, so a blob becomes the text of its SQL literal.
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
