//! The DDL of a format, and the comparison of a file's schema with it.

use std::collections::HashMap;
use std::sync::LazyLock;

use rusqlite::Connection;

use crate::model::error::{Error, ErrorKind, Result};
use crate::sqlite::connection::failure::Sql;

/// The only format so far.
pub(super) static FORMAT_1: LazyLock<Schema> = LazyLock::new(|| Schema::parse(include_str!("../../../schema.sql")));

/// The statements of a DDL text, without comments and with single spaces, as SQLite stores them.
pub(super) struct Schema(Vec<String>);

impl Schema {
    pub(super) fn parse(ddl: &str) -> Schema {
        let code: Vec<&str> = ddl.lines().map(|line| line.split("--").next().unwrap_or("")).collect();
        let code = code.join(" ");
        let mut statements = Vec::new();
        let mut open = String::new();
        for part in code.split(';') {
            open.push_str(part);
            // A trigger contains semicolons.
            if open.trim_start().starts_with("CREATE TRIGGER") && !open.trim_end().ends_with("END") {
                open.push(';');
                continue;
            }
            statements.push(squeeze(&std::mem::take(&mut open)));
        }
        statements.retain(|statement| !statement.is_empty());
        Schema(statements)
    }

    pub(super) fn create(&self, connection: &Connection) -> Result<()> {
        self.0.iter().try_for_each(|statement| connection.execute_batch(statement).sql())
    }

    /// Refuses a file whose foldlog tables differ from the DDL, or that has foreign triggers or indexes on them.
    pub(super) fn check(&self, connection: &Connection) -> Result<()> {
        let mut expected: HashMap<&str, &str> = self.0.iter().filter_map(|sql| Some((name_in(sql)?, sql.as_str()))).collect();
        let mut statement = connection.prepare("SELECT type, name, tbl_name, coalesce(sql, '') FROM sqlite_schema").sql()?;
        let mut rows = statement.query([]).sql()?;
        while let Some(row) = rows.next().sql()? {
            let text = |column: usize| -> Result<&str> { row.get_ref(column).and_then(|text| Ok(text.as_str()?)).sql() };
            let (kind, name, table, sql) = (text(0)?, text(1)?, text(2)?, text(3)?);
            if let Some(wanted) = expected.remove(name) {
                if !same_statement(wanted, sql) {
                    return Err(tampered(&format!("the {kind} {name} is not as foldlog creates it")));
                }
            } else if self.creates(table) && !(kind == "index" && sql.is_empty()) {
                return Err(tampered(&format!("the {kind} {name} was added to foldlog's table {table}")));
            }
        }
        match expected.keys().next() {
            Some(missing) => Err(tampered(&format!("{missing} is missing"))),
            None => Ok(()),
        }
    }

    /// Whether a statement creates something with exactly this name.
    fn creates(&self, name: &str) -> bool {
        self.0.iter().any(|sql| name_in(sql) == Some(name))
    }

    fn has(&self, name: &str) -> bool {
        self.0.iter().any(|sql| name_in(sql).is_some_and(|ours| ours.eq_ignore_ascii_case(name)))
    }
}

/// Whether this is the name of one of the format's tables or indexes.
pub(in crate::sqlite) fn is_ours(name: &str) -> bool {
    FORMAT_1.has(name)
}

/// The name of the table, index or trigger that a statement creates.
fn name_in(statement: &str) -> Option<&str> {
    statement.split_whitespace().nth(2)
}

fn tampered(detail: &str) -> Error {
    Error::new(ErrorKind::ForeignFile, format!("the file's schema was changed: {detail}"))
        .advice("restore the file, or export its events with the program that changed it")
}

fn squeeze(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Compares statements without spaces: SQLite rewrites a table's text when another table is renamed or a column is
/// added.
fn same_statement(ours: &str, theirs: &str) -> bool {
    ours == theirs || ours == squeeze(theirs)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCHEMA: &str = include_str!("../../../schema.sql");

    #[test]
    fn the_schema_is_understood() {
        let statements = Schema::parse(SCHEMA).0;
        let of = |kind: &str| statements.iter().filter(|sql| sql.starts_with(kind)).count();
        let kinds = (of("CREATE TABLE "), of("CREATE INDEX "), of("CREATE TRIGGER "), statements.len());
        assert_eq!(kinds, (20, 5, 1, 26));
        assert!(statements.iter().all(|sql| !sql.contains("--")));
    }

    #[test]
    fn every_column_is_commented() {
        for line in SCHEMA.lines().filter(|line| line.starts_with("  ") && !line.trim_start().starts_with("--")) {
            let constraint = ["UNIQUE (", "PRIMARY KEY ("].iter().any(|start| line.trim_start().starts_with(start));
            assert!(constraint || line.contains("-- "), "{line}");
        }
    }
}
