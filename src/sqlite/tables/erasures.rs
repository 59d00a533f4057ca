//! Erasures: what was erased of which aggregate, and how far that is done. Every row has a checksum over all its columns.

use rusqlite::{Params, Row, params};

use crate::model::error::{Error, ErrorKind, Result};
use crate::sqlite::checksum;
use crate::sqlite::consistency::RESTORE;
use crate::sqlite::transaction::{Columns, View, Writing};

/// How far an erasure is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    Begun,
    Erased,
    Clean,
}

impl State {
    fn as_str(self) -> &'static str {
        match self {
            State::Begun => "begun",
            State::Erased => "erased",
            State::Clean => "clean",
        }
    }
}

/// A row.
#[derive(Clone, Debug)]
pub(crate) struct ErasureRow {
    pub(crate) id: i64,
    pub(crate) aggregate: i64,
    pub(crate) through: u64,
    /// JSON; `None`: the whole aggregate.
    pub(crate) fields: Option<String>,
    pub(crate) events: u64,
    pub(crate) state: State,
    /// JSON: number and generation of projections.
    pub(crate) projections: String,
    pub(crate) position: u64,
    pub(crate) erased_by: Option<String>,
    pub(crate) reason: Option<String>,
    pub(crate) erased_at: i64,
}

macro_rules! select {
    ($rest:literal) => {
        concat!(
            "SELECT id, aggregate, through, fields, events, state, projections, position, erased_by, reason, erased_at, checksum ",
            "FROM erasures ",
            $rest
        )
    };
}

impl ErasureRow {
    /// The row, if its checksum is right.
    fn read(row: &Row<'_>) -> Result<ErasureRow> {
        let damaged = || Error::new(ErrorKind::Corrupt, "the record of an erasure is damaged").advice(RESTORE);
        let state: String = row.at(5)?;
        let read = ErasureRow {
            id: row.at(0)?,
            aggregate: row.at(1)?,
            through: row.at(2)?,
            fields: row.at(3)?,
            events: row.at(4)?,
            state: [State::Begun, State::Erased, State::Clean]
                .into_iter()
                .find(|known| known.as_str() == state)
                .ok_or_else(damaged)?,
            projections: row.at(6)?,
            position: row.at(7)?,
            erased_by: row.at(8)?,
            reason: row.at(9)?,
            erased_at: row.at(10)?,
        };
        if sum(&read) == row.at::<i64>(11)? { Ok(read) } else { Err(damaged()) }
    }

    /// The generation of each projection whose tables may hold what was erased.
    pub(crate) fn generations(&self) -> Result<Vec<(i64, u64)>> {
        serde_json::from_str(&self.projections).map_err(|_| {
            Error::new(ErrorKind::Corrupt, "the record of an erasure has a list of projections that is none").advice(RESTORE)
        })
    }
}

/// Part of the format: this must never change.
fn sum(of: &ErasureRow) -> i64 {
    let seed = checksum::numbers(&[
        of.id,
        of.aggregate,
        of.through.cast_signed(),
        of.events.cast_signed(),
        of.position.cast_signed(),
        of.erased_at,
    ]);
    let is_there = [u8::from(of.fields.is_some()), u8::from(of.erased_by.is_some()), u8::from(of.reason.is_some())];
    let text = |text: &Option<String>| text.clone().unwrap_or_default().into_bytes();
    checksum::fields(
        seed.cast_unsigned(),
        &[
            &is_there,
            of.state.as_str().as_bytes(),
            of.projections.as_bytes(),
            &text(&of.fields),
            &text(&of.erased_by),
            &text(&of.reason),
        ],
    )
}

fn rows(view: &View<'_>, sql: &str, params: impl Params) -> Result<Vec<ErasureRow>> {
    let mut found = Vec::new();
    view.each_row(sql, params, |row| {
        found.push(ErasureRow::read(row)?);
        Ok(true)
    })?;
    Ok(found)
}

/// The greatest number that an erasure has; 0 if there is none.
pub(crate) fn newest(view: &View<'_>) -> Result<i64> {
    view.value("SELECT coalesce(max(id), 0) FROM erasures", [])
}

/// Whether an aggregate was erased after the erasure of this number was the newest, or as a whole at any time.
pub(crate) fn is_stale(view: &View<'_>, aggregate: i64, newest: i64) -> Result<bool> {
    let sql = "SELECT EXISTS (SELECT 1 FROM erasures WHERE aggregate = ?1 AND (id > ?2 OR fields IS NULL))";
    view.value(sql, params![aggregate, newest])
}

/// The erasure of a whole aggregate, begun or finished.
pub(crate) fn whole(view: &View<'_>, aggregate: i64) -> Result<Option<ErasureRow>> {
    Ok(rows(view, select!("WHERE aggregate = ?1 AND fields IS NULL ORDER BY id DESC LIMIT 1"), [aggregate])?.pop())
}

/// The unfinished erasure of an aggregate.
pub(crate) fn begun(view: &View<'_>, aggregate: i64) -> Result<Option<ErasureRow>> {
    Ok(rows(view, select!("WHERE aggregate = ?1 AND state = 'begun' ORDER BY id LIMIT 1"), [aggregate])?.pop())
}

/// The unfinished erasures of all aggregates.
pub(crate) fn all_begun(view: &View<'_>) -> Result<Vec<ErasureRow>> {
    rows(view, select!("WHERE state = 'begun' ORDER BY id"), [])
}

/// Finished erasures whose traces are still to be removed.
pub(crate) fn unclean(view: &View<'_>) -> Result<Vec<ErasureRow>> {
    rows(view, select!("WHERE state = 'erased' ORDER BY id"), [])
}

/// All rows after a number, `limit` at most.
pub(crate) fn page(view: &View<'_>, after: i64, limit: usize) -> Result<Vec<ErasureRow>> {
    rows(view, select!("WHERE id > ?1 ORDER BY id LIMIT ?2"), params![after, limit])
}

/// Writes a row, in the place of one with the same number.
pub(crate) fn save(writing: &Writing<'_>, of: &ErasureRow) -> Result<()> {
    let sql = "INSERT OR REPLACE INTO erasures (id, aggregate, through, fields, events, state, projections, position, erased_by,
                                                reason, erased_at, checksum)
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)";
    let values = params![
        of.id,
        of.aggregate,
        of.through,
        of.fields,
        of.events,
        of.state.as_str(),
        of.projections,
        of.position,
        of.erased_by,
        of.reason,
        of.erased_at,
        sum(of),
    ];
    writing.execute(sql, values).map(drop)
}

/// Gives a row a new number, greater than all before: those who read finished erasures in order have not passed it.
pub(crate) fn renumber(writing: &Writing<'_>, of: &mut ErasureRow) -> Result<()> {
    let number = newest(writing)? + 1;
    writing.execute("DELETE FROM erasures WHERE id = ?1", [of.id])?;
    of.id = number;
    save(writing, of)
}

#[cfg(test)]
mod tests {
    use super::*;

    // Files hold this number: it is part of the format.
    #[test]
    fn the_checksum_is_frozen_and_covers_every_column() {
        let base = ErasureRow {
            id: 1,
            aggregate: 2,
            through: 3,
            fields: None,
            events: 4,
            state: State::Begun,
            projections: "[]".into(),
            position: 5,
            erased_by: None,
            reason: None,
            erased_at: 6,
        };
        assert_eq!(sum(&base), FROZEN);
        let some = || Some(String::new());
        let others = [
            ErasureRow { id: 2, ..base.clone() },
            ErasureRow { aggregate: 3, ..base.clone() },
            ErasureRow { through: 4, ..base.clone() },
            ErasureRow { fields: some(), ..base.clone() },
            ErasureRow { events: 5, ..base.clone() },
            ErasureRow { state: State::Clean, ..base.clone() },
            ErasureRow { projections: "[ ]".into(), ..base.clone() },
            ErasureRow { position: 6, ..base.clone() },
            ErasureRow { erased_by: some(), ..base.clone() },
            ErasureRow { reason: some(), ..base.clone() },
            ErasureRow { erased_at: 7, ..base.clone() },
        ];
        assert!(others.iter().all(|other| sum(other) != FROZEN));
    }

    const FROZEN: i64 = 7_791_709_288_553_940_661;
}
