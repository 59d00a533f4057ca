//! Second looks. SQLite does not notice a changed bit in an index: a row is then not found, or another one is, or a
//! range ends too early. What decides whether something exists is therefore looked at a second time. The log has its
//! holes for that; aggregates' names, tags and ids have their links ([`holes`](super::holes), [`links`](super::links),
//! [`id_order`](super::id_order)).

use rusqlite::{OptionalExtension, ToSql};

use super::database::View;
use super::failure::Sql;
use crate::model::error::{Error, ErrorKind, Result};

/// Names are few, and looked for once: all of them are looked at. With more of them than this the index is believed.
const NAMES_LOOKED_AT: i64 = 2_000;

/// Confirms that a name has no number: `greatest` gives the greatest number, `scan` looks at every row.
pub(crate) fn confirm_no_name(view: &View<'_>, greatest: &str, scan: &str, name: &[&dyn ToSql]) -> Result<()> {
    let greatest: Option<i64> = view.prepare_cached(greatest).sql()?.query_row([], |row| row.get(0)).sql()?;
    if greatest.is_none_or(|greatest| greatest > NAMES_LOOKED_AT) {
        return Ok(());
    }
    match view.prepare_cached(scan).sql()?.query_row(name, |_| Ok(())).optional().sql()? {
        Some(()) => Err(disagrees()),
        None => Ok(()),
    }
}

/// Rows that are asked for in an order come in that order: pages of the file that stand in each other's place would
/// otherwise lead a walk in a circle, for ever.
pub(crate) struct Ascending<K>(K);

impl<K: PartialOrd> Ascending<K> {
    /// The rows come after this.
    pub(crate) fn after(start: K) -> Ascending<K> {
        Ascending(start)
    }

    /// The next row.
    pub(crate) fn next(&mut self, key: K) -> Result<()> {
        if key <= self.0 {
            return Err(Error::new(ErrorKind::Corrupt, "rows do not stand in their order: pages of the file are mixed up")
                .advice("copy the file before anything else, then restore a backup"));
        }
        self.0 = key;
        Ok(())
    }

    /// The last row that came, or where it began.
    pub(crate) fn into_last(self) -> K {
        self.0
    }
}

/// What an index says is not what the rows say.
pub(crate) fn disagrees() -> Error {
    Error::new(ErrorKind::Corrupt, "an index disagrees with the rows that it is of: the file was damaged")
        .advice("copy the file before anything else, then restore a backup")
}
