//! The read model: a projection's own tables, written in the same file and transaction as its checkpoint.

use std::cell::RefCell;
use std::fmt;

use rusqlite::{CachedStatement, Connection, OptionalExtension, Params, Row, params};

use crate::model::error::{Error, ErrorKind, Result};
use crate::sqlite::format;
use crate::sqlite::transaction::{View, Writing};
use crate::storage::delivery::Checkpoint;

/// A projection's read model, inside a transaction.
///
/// This is the one place where SQLite shows in the public API, because the application writes the statements. It writes
/// the names of the projection's tables and indexes in braces, as in `INSERT INTO {users} …` and `CREATE INDEX
/// {users_by_email} ON {users} (email)`. While a rebuild fills new tables, the braces stand for those.
pub struct ReadModel<'a> {
    connection: &'a Connection,
    tables: &'a [String],
    naming: Naming,
    // The statements used last, by their text with braces. Replacing the names and looking up the result is half the
    // cost of a small statement.
    ready: RefCell<Vec<Ready<'a>>>,
}

impl fmt::Debug for ReadModel<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReadModel").field("tables", &self.tables).finish_non_exhaustive()
    }
}

/// A statement that is used repeatedly within a transaction.
struct Ready<'a> {
    sql: String,
    statement: CachedStatement<'a>,
}

/// If there are more different statements than this, the rest are looked up each time.
const MOST_READY: usize = 16;

/// What the names in braces stand for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Naming {
    /// Part of the names of indexes, which keep their names when a table is renamed.
    pub(crate) generation: u64,
    /// Whether the tables are those of an unfinished rebuild.
    pub(crate) shadow: bool,
}

impl Naming {
    fn table(self, table: &str) -> String {
        match self.shadow {
            true => format!("\"{table}__rebuild\""),
            false => format!("\"{table}\""),
        }
    }
}

impl<'a> ReadModel<'a> {
    pub(crate) fn new(writing: &'a Writing<'_>, tables: &'a [String], naming: Naming) -> ReadModel<'a> {
        ReadModel { connection: writing.connection(), tables, naming, ready: RefCell::default() }
    }

    /// Runs one statement and returns the number of changed rows. The statement is prepared once and kept.
    ///
    /// # Errors
    /// SQLite's errors.
    pub fn execute(&self, sql: &str, params: impl Params) -> rusqlite::Result<usize> {
        self.with(sql, |statement| statement.execute(params))
    }

    /// Runs statements without parameters, such as those that create the tables.
    ///
    /// # Errors
    /// SQLite's errors.
    pub fn execute_batch(&self, sql: &str) -> rusqlite::Result<()> {
        self.connection.execute_batch(&self.resolve(sql))
    }

    /// The first row of a query; `None` if there is none.
    ///
    /// # Errors
    /// SQLite's errors.
    pub fn query_row<T>(
        &self,
        sql: &str,
        params: impl Params,
        row: impl FnOnce(&Row<'_>) -> rusqlite::Result<T>,
    ) -> rusqlite::Result<Option<T>> {
        self.with(sql, |statement| statement.query_row(params, row).optional())
    }

    fn with<T>(&self, sql: &str, run: impl FnOnce(&mut CachedStatement<'a>) -> rusqlite::Result<T>) -> rusqlite::Result<T> {
        // Taken out while it runs, because the application's code for a row may run another statement.
        let known = {
            let mut ready = self.ready.borrow_mut();
            ready.iter().position(|known| known.sql == sql).map(|at| ready.swap_remove(at))
        };
        let mut known = match known {
            Some(known) => known,
            None => Ready { sql: sql.to_owned(), statement: self.connection.prepare_cached(&self.resolve(sql))? },
        };
        let done = run(&mut known.statement);
        let mut ready = self.ready.borrow_mut();
        if ready.len() < MOST_READY {
            ready.push(known);
        }
        done
    }

    /// The statement with the real table names.
    pub fn resolve(&self, sql: &str) -> String {
        let mut resolved = String::with_capacity(sql.len() + 32);
        let mut rest = sql;
        while let Some((before, from)) = rest.split_once('{') {
            resolved.push_str(before);
            match from.split_once('}') {
                Some((name, after)) if is_identifier(name) => {
                    resolved.push_str(&self.name(name));
                    rest = after;
                }
                // A brace that belongs to the statement, for example in a JSON text.
                _ => {
                    resolved.push('{');
                    rest = from;
                }
            }
        }
        resolved.push_str(rest);
        resolved
    }

    fn name(&self, name: &str) -> String {
        match self.tables.iter().any(|table| table == name) {
            true => self.naming.table(name),
            false => format!("\"{name}__{}\"", self.naming.generation),
        }
    }
}

fn is_identifier(name: &str) -> bool {
    !name.is_empty()
        && !name.starts_with(|first: char| first.is_ascii_digit())
        && name.chars().all(|character| character.is_ascii_alphanumeric() || character == '_')
}

/// Refuses table names that a projection cannot have.
pub(crate) fn check_tables(tables: &[String]) -> Result<()> {
    for table in tables {
        let reserved = ["sqlite_", "foldlog_"].iter().any(|prefix| table.to_ascii_lowercase().starts_with(prefix));
        if !is_identifier(table) || reserved || table.contains("__") || format::is_ours(table) {
            return Err(Error::new(ErrorKind::InvalidInput, format!("{table:?} cannot be the name of a projection's table"))
                .advice("use letters, digits and single underscores, and no name of foldlog's own tables"));
        }
    }
    Ok(())
}

/// Whether the file has a table of this name.
pub(crate) fn exists(view: &View<'_>, table: &str) -> Result<bool> {
    view.value("SELECT EXISTS (SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = ?1 COLLATE NOCASE)", params![table])
}

/// Drops tables that an unfinished rebuild left.
pub(crate) fn drop_shadows(writing: &Writing<'_>, tables: &[String]) -> Result<()> {
    let shadow = Naming { generation: 0, shadow: true };
    tables.iter().try_for_each(|table| writing.batch(&format!("DROP TABLE IF EXISTS {}", shadow.table(table))))
}

/// Drops a projection's tables.
pub(crate) fn drop_tables(writing: &Writing<'_>, tables: &[String]) -> Result<()> {
    tables.iter().try_for_each(|table| writing.batch(&format!("DROP TABLE IF EXISTS \"{table}\"")))
}

/// The tables that a projection owns.
pub(crate) fn named(row: &Checkpoint) -> Result<Vec<String>> {
    let damaged = || {
        let what = format!("the names of the tables of {:?} cannot be read", row.identity.name);
        Error::new(ErrorKind::Corrupt, what).advice("copy the file; then drop the tables and build the projection again")
    };
    let tables: Vec<String> = serde_json::from_str(&row.tables).map_err(|error| damaged().caused_by(error))?;
    check_tables(&tables).map_err(|error| damaged().caused_by(error))?;
    Ok(tables)
}

/// Replaces a projection's tables, `old`, by those of a rebuild.
pub(crate) fn swap(writing: &Writing<'_>, old: &[String], tables: &[String]) -> Result<()> {
    let shadow = Naming { generation: 0, shadow: true };
    drop_tables(writing, old)?;
    tables.iter().try_for_each(|table| writing.batch(&format!("ALTER TABLE {} RENAME TO \"{table}\"", shadow.table(table))))
}

/// The table of a projection of documents.
pub(crate) struct DocumentTable {
    create: String,
    get: String,
    put: String,
    delete: String,
}

impl DocumentTable {
    /// `table`: its name in quotes or in braces.
    fn new(table: &str) -> DocumentTable {
        DocumentTable {
            create: format!(
                "CREATE TABLE {table} (tenant TEXT NOT NULL, key TEXT NOT NULL, document TEXT NOT NULL, PRIMARY KEY (tenant, key)) \
                 STRICT, WITHOUT ROWID"
            ),
            get: format!("SELECT document FROM {table} WHERE tenant = ?1 AND key = ?2"),
            put: format!("INSERT INTO {table} VALUES (?1, ?2, ?3) ON CONFLICT DO UPDATE SET document = excluded.document"),
            delete: format!("DELETE FROM {table} WHERE tenant = ?1 AND key = ?2"),
        }
    }

    /// The table of a projection, current or being rebuilt.
    pub(crate) fn of_projection(name: &str) -> DocumentTable {
        DocumentTable::new(&format!("{{{name}}}"))
    }

    pub(crate) fn create(&self, model: &ReadModel<'_>) -> rusqlite::Result<()> {
        model.execute_batch(&self.create)
    }

    pub(crate) fn get(&self, model: &ReadModel<'_>, tenant: &str, key: &str) -> rusqlite::Result<Option<String>> {
        model.query_row(&self.get, params![tenant, key], |row| row.get(0))
    }

    pub(crate) fn put(&self, model: &ReadModel<'_>, tenant: &str, key: &str, document: &str) -> rusqlite::Result<usize> {
        model.execute(&self.put, params![tenant, key, document])
    }

    pub(crate) fn delete(&self, model: &ReadModel<'_>, tenant: &str, key: &str) -> rusqlite::Result<usize> {
        model.execute(&self.delete, params![tenant, key])
    }
}

/// Whether a table of this name exists and holds documents.
pub(crate) fn has_documents(view: &View<'_>, table: &str) -> Result<bool> {
    let columns: Option<String> =
        view.value("SELECT group_concat(name, ' ') FROM (SELECT name FROM pragma_table_info(?1) ORDER BY cid)", params![table])?;
    Ok(columns.as_deref() == Some("tenant key document"))
}

/// A tenant's document, as JSON text. The table's name has been checked.
pub(crate) fn document(view: &View<'_>, table: &str, tenant: &str, key: &str) -> Result<Option<String>> {
    view.value_if_any(&DocumentTable::new(&format!("\"{table}\"")).get, params![tenant, key])
}

/// A tenant's documents in the order of their keys, after the key `after`. The table's name has been checked.
pub(crate) fn documents(
    view: &View<'_>,
    table: &str,
    tenant: &str,
    after: Option<&str>,
    limit: usize,
) -> Result<Vec<(String, String)>> {
    // An empty key is valid, so `>` is used only if a key was given.
    let from = if after.is_some() { ">" } else { ">=" };
    let sql = format!("SELECT key, document FROM \"{table}\" WHERE tenant = ?1 AND key {from} ?2 ORDER BY key LIMIT ?3");
    view.rows(&sql, params![tenant, after.unwrap_or(""), limit], |row| Ok((row.get(0)?, row.get(1)?)))
}

/// All rows of a query that the application wrote.
pub(crate) fn query<T>(
    view: &View<'_>,
    sql: &str,
    params: impl Params,
    row: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
) -> Result<Vec<T>> {
    let refused =
        |error: rusqlite::Error| Error::new(ErrorKind::InvalidInput, format!("the query failed: {error}")).caused_by(error);
    let mut statement = view.connection().prepare_cached(sql).map_err(refused)?;
    // The connection is set to read-only, but a PRAGMA could undo that.
    if !statement.readonly() {
        return Err(Error::new(ErrorKind::InvalidInput, "the query is a statement that writes"));
    }
    let rows = statement.query_map(params, row).map_err(refused)?;
    rows.map(|row| row.map_err(refused)).collect()
}
