//! Positions without an event. Each position up to the last is that of an event, or it lies in a hole that a removal made:
//! so an event that a damaged index hides, or shows where it does not stand, is noticed at once.

use rusqlite::{OptionalExtension, params};

use super::database::{View, Writing};
use super::failure::Sql;
use super::{doubt, former, state};
use crate::model::error::{Error, Result};
use crate::model::place::Position;

/// Follows the positions of a range through the log, one event after the other.
pub(super) struct Walk {
    range: (u64, u64),
    descending: bool,
    /// How many positions of the range are accounted for.
    passed: u64,
}

impl Walk {
    /// `range`: first and last position, both included.
    pub(super) fn new(range: (u64, u64), descending: bool) -> Walk {
        Walk { range, descending, passed: 0 }
    }

    /// The next event stands here.
    pub(super) fn next(&mut self, view: &View<'_>, position: u64) -> Result<()> {
        let (first, last) = self.range;
        let before = if self.descending { last.checked_sub(position) } else { position.checked_sub(first) };
        match before {
            Some(before) if before >= self.passed && (first..=last).contains(&position) => self.skip(view, before)?,
            _ => return Err(disagrees_at(position)),
        }
        self.passed += 1;
        Ok(())
    }

    /// No further event stands in the range.
    pub(super) fn end(&mut self, view: &View<'_>) -> Result<()> {
        let (first, last) = self.range;
        // Not empty: then the whole range may be one of all numbers.
        let all = (last.saturating_sub(first)).saturating_add(u64::from(first <= last));
        self.skip(view, all)
    }

    /// Passes over the positions up to the one that has `until` others before it: they must be one hole.
    fn skip(&mut self, view: &View<'_>, until: u64) -> Result<()> {
        if until == self.passed {
            return Ok(());
        }
        let (first, last) = self.range;
        let (from, to) = match self.descending {
            false => (first.saturating_add(self.passed), first.saturating_add(until).saturating_sub(1)),
            true => (last.saturating_sub(until).saturating_add(1), last.saturating_sub(self.passed)),
        };
        // A hole may reach beyond the range, and no further: beside it stands an event.
        let is_hole = match holding(view, from)? {
            Holding::Hole(hole) => {
                (hole.0 == from || (from == first && hole.0 < from)) && (hole.1 == to || (to == last && hole.1 > to))
            }
            Holding::Nothing => false,
            Holding::Unknown => state::totals(view)?.events_removed > 0,
        };
        if !is_hole {
            return Err(disagrees_at(from));
        }
        self.passed = until;
        Ok(())
    }
}

fn disagrees_at(position: u64) -> Error {
    doubt::disagrees().at_position(Position::new(position))
}

/// Where a position lies.
enum Holding {
    /// In this hole: its first and its last position.
    Hole((u64, u64)),
    Nothing,
    /// The file is of a format that kept no holes.
    Unknown,
}

fn holding(view: &View<'_>, position: u64) -> Result<Holding> {
    if former::is_former(view)? {
        return Ok(Holding::Unknown);
    }
    let found: Option<(u64, u64)> = view
        .prepare_cached("SELECT first, last FROM holes WHERE first <= ?1 ORDER BY first DESC LIMIT 1")
        .sql()?
        .query_row(params![i64::try_from(position).unwrap_or(i64::MAX)], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()
        .sql()?;
    Ok(found.filter(|hole| hole.1 >= position).map_or(Holding::Nothing, Holding::Hole))
}

/// The first and the last position of the last hole; `None` also if the file is of a format that kept none.
pub(super) fn last(view: &View<'_>) -> Result<Option<(u64, u64)>> {
    if former::is_former(view)? {
        return Ok(None);
    }
    view.prepare_cached("SELECT first, last FROM holes ORDER BY first DESC LIMIT 1")
        .sql()?
        .query_row([], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()
        .sql()
}

/// Positions in all holes; `None` if the file is of a format that kept none.
pub(super) fn count(view: &View<'_>) -> Result<Option<u64>> {
    match former::is_former(view)? {
        true => Ok(None),
        false => view.query_row("SELECT coalesce(sum(last - first + 1), 0) FROM holes", [], |row| row.get(0)).sql().map(Some),
    }
}

/// Notes that the events at these positions, which rise, are gone.
pub(crate) fn add(writing: &Writing<'_>, positions: &[u64]) -> Result<()> {
    for run in positions.chunk_by(|one, next| one.checked_add(1) == Some(*next)) {
        if let (Some(first), Some(last)) = (run.first(), run.last()) {
            add_run(writing, *first, *last)?;
        }
    }
    Ok(())
}

/// Holes that touch become one.
fn add_run(writing: &Writing<'_>, first: u64, last: u64) -> Result<()> {
    let (mut last, next) = (last, last.saturating_add(1));
    if let Holding::Hole(behind) = holding(writing, next)? {
        if behind.0 != next {
            return Err(disagrees_at(next));
        }
        writing.prepare_cached("DELETE FROM holes WHERE first = ?1").sql()?.execute(params![next]).sql()?;
        last = behind.1;
    }
    let grown = match first.checked_sub(1).map(|before| holding(writing, before)).transpose()? {
        Some(Holding::Hole(hole)) if hole.1 >= first => return Err(disagrees_at(first)),
        Some(Holding::Hole(hole)) => {
            writing.prepare_cached("UPDATE holes SET last = ?2 WHERE first = ?1").sql()?.execute(params![hole.0, last]).sql()?
        }
        _ => 0,
    };
    if grown == 0 {
        writing.prepare_cached("INSERT INTO holes (first, last) VALUES (?1, ?2)").sql()?.execute(params![first, last]).sql()?;
    }
    Ok(())
}
