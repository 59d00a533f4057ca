//! `foldlog sql`

use std::io::Read;
use std::path::PathBuf;

use clap::Args;
use foldlog::rusqlite::types::ValueRef;
use foldlog::rusqlite::{Row, Statement};
use serde_json::{Map, Value};

use crate::context::Context;
use crate::failure::{Done, Failure};
use crate::show::table::{Cell, Table};

/// Reads from the file by SQL: the tables of projections, the application's own, and those of the file format
///
/// Nothing can be written. The tables of the format are explained in schema.sql; their columns may change with it.
#[derive(Debug, Args)]
pub(crate) struct Sql {
    /// The store
    file: PathBuf,
    /// One statement; - reads it from standard input
    #[arg(default_value = "-")]
    statement: String,
}

/// Rows are laid out together, so that their columns meet.
const AT_ONCE: usize = 500;

impl Sql {
    pub(crate) fn run(self, context: &mut Context) -> Done {
        let store = context.read(&self.file)?;
        let mut statement = self.statement;
        if statement == "-" {
            statement.clear();
            std::io::stdin()
                .read_to_string(&mut statement)
                .map_err(|error| Failure::failed(format!("standard input: {error}")))?;
        }
        let mut failed = Ok(());
        let (mut rows, mut titles): (Vec<Vec<Cell>>, Vec<String>) = (Vec::new(), Vec::new());
        // Each row is written when it comes, so that a large result takes no memory.
        store.query_read_model(&statement, [], |row| {
            if titles.is_empty() {
                titles = names(row);
            }
            if failed.is_ok() {
                failed = if context.json {
                    context.out.json(&object(row, &titles)?)
                } else {
                    rows.push(cells(row, titles.len())?);
                    if rows.len() == AT_ONCE { write(context, &titles, std::mem::take(&mut rows)) } else { Ok(()) }
                };
            }
            Ok(())
        })?;
        failed?;
        if rows.is_empty() { Ok(()) } else { write(context, &titles, rows) }
    }
}

#[allow(
    clippy::useless_conversion,
    reason = "it is a list in the older versions of rusqlite that fit, an iterator in the newer ones"
)]
fn names(row: &Row<'_>) -> Vec<String> {
    let statement: &Statement<'_> = row.as_ref();
    statement.column_names().into_iter().map(str::to_owned).collect()
}

fn object(row: &Row<'_>, titles: &[String]) -> foldlog::rusqlite::Result<Map<String, Value>> {
    titles.iter().enumerate().map(|(at, title)| Ok((title.clone(), value(row.get_ref(at)?)))).collect()
}

fn cells(row: &Row<'_>, columns: usize) -> foldlog::rusqlite::Result<Vec<Cell>> {
    let text = |value| match value {
        Value::Null => String::new(),
        Value::String(text) => text,
        other => other.to_string(),
    };
    (0..columns).map(|at| Ok(Cell::new(text(value(row.get_ref(at)?))))).collect()
}

/// Bytes are written in hexadecimal.
fn value(value: ValueRef<'_>) -> Value {
    match value {
        ValueRef::Null => Value::Null,
        ValueRef::Integer(number) => number.into(),
        ValueRef::Real(number) => number.into(),
        ValueRef::Text(text) => String::from_utf8_lossy(text).into(),
        ValueRef::Blob(bytes) => bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>().into(),
    }
}

fn write(context: &mut Context, titles: &[String], rows: Vec<Vec<Cell>>) -> Done {
    let mut table = Table::default();
    for _ in titles {
        table = table.flexible("");
    }
    if context.out.is_terminal() {
        table.row(titles.iter().map(|title| Cell::new(title).dim()));
    }
    for row in rows {
        table.row(row);
    }
    context.out.rows(&table)
}
