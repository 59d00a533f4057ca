//! Positions: where the log ends, and which positions no longer have an event. Each position up to the last is that of
//! an event or lies in a hole that a removal made. So reading the log notices an event that a damaged index hides.

use rusqlite::{Row, params};

use crate::model::error::{Error, ErrorKind, Result};
use crate::model::place::Position;
use crate::sqlite::checksum;
use crate::sqlite::consistency::{RESTORE, disagrees};
use crate::sqlite::transaction::{Columns, View, Writing};

/// A position as SQLite stores it.
pub(crate) fn number_of(position: u64) -> i64 {
    i64::try_from(position).unwrap_or(i64::MAX)
}

/// The position of the newest event that was ever in the log; 0 if there was none.
///
/// Reads the end of the index of positions. The last entry must match its row, and the entry before it must be one
/// position lower. Otherwise a damaged entry could cause positions to be used twice.
pub(crate) fn last(view: &View<'_>) -> Result<u64> {
    const SQL: &str = "SELECT i.position, (SELECT t.position FROM events t WHERE t.key = i.key), (SELECT max(first) FROM holes)
                       FROM events i ORDER BY i.position DESC LIMIT 2";
    let (mut newest, mut before, mut may_have_holes) = (0, 0, true);
    view.each_row(SQL, [], |row| {
        let (position, stored): (u64, Option<u64>) = (row.at(0)?, row.at(1)?);
        if stored != Some(position) {
            return Err(disagrees_at(position));
        }
        match newest {
            0 => (newest, may_have_holes) = (position, row.at::<Option<i64>>(2)?.is_some()),
            _ => before = position,
        }
        Ok(true)
    })?;
    let hole = if may_have_holes { last_hole(view)? } else { None };
    let follows = match hole {
        // The newest events were removed.
        Some(hole) if hole.last > newest && hole.first == newest + 1 => return Ok(hole.last),
        Some(hole) if hole.last > newest => return Err(lost_end(newest, &hole)),
        Some(hole) if hole.last + 1 == newest => hole.first == before + 1,
        _ => newest == 0 || newest == before + 1,
    };
    if follows { Ok(newest) } else { Err(disagrees_at(before + 1)) }
}

fn lost_end(newest: u64, hole: &Hole) -> Error {
    let what = format!("the newest event is at position {newest}, and those at {} to {} were removed", hole.first, hole.last);
    Error::new(ErrorKind::Corrupt, what).at_position(Position::new(newest)).advice(RESTORE)
}

fn disagrees_at(position: u64) -> Error {
    disagrees().at_position(Position::new(position))
}

/// A range of positions whose events were removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Hole {
    pub(crate) first: u64,
    pub(crate) last: u64,
}

impl Hole {
    fn read(row: &Row<'_>) -> rusqlite::Result<(Hole, i64)> {
        Ok((Hole { first: row.get(0)?, last: row.get(1)? }, row.get(2)?))
    }

    /// The hole, if the row's checksum is right.
    fn checked((hole, sum): (Hole, i64)) -> Result<Hole> {
        if hole.checksum() == sum && hole.first <= hole.last { Ok(hole) } else { Err(disagrees_at(hole.first)) }
    }

    fn checksum(self) -> i64 {
        checksum::numbers(&[number_of(self.first), number_of(self.last)])
    }
}

/// The last hole.
fn last_hole(view: &View<'_>) -> Result<Option<Hole>> {
    let found = view.row_if_any("SELECT first, last, checksum FROM holes ORDER BY first DESC LIMIT 1", [], Hole::read)?;
    found.map(Hole::checked).transpose()
}

/// The hole that contains a position.
fn hole_at(view: &View<'_>, position: u64) -> Result<Option<Hole>> {
    let sql = "SELECT first, last, checksum FROM holes WHERE first <= ?1 ORDER BY first DESC LIMIT 1";
    let found = view.row_if_any(sql, [number_of(position)], Hole::read)?;
    Ok(found.map(Hole::checked).transpose()?.filter(|hole| hole.last >= position))
}

/// Confirms that a position without an event is one whose event was removed.
pub(crate) fn confirm_removed(view: &View<'_>, position: u64) -> Result<()> {
    if hole_at(view, position)?.is_some() { Ok(()) } else { Err(disagrees_at(position)) }
}

/// Passes the holes after a position, `limit` at most, to `each`; a damaged one as its error.
pub(crate) fn check_holes(view: &View<'_>, after: i64, limit: usize, mut each: impl FnMut(i64, Result<Hole>)) -> Result<()> {
    let sql = "SELECT first, last, checksum FROM holes WHERE first > ?1 ORDER BY first LIMIT ?2";
    view.each_row(sql, params![after, limit], |row| {
        let first = row.get(0).unwrap_or(i64::MAX);
        each(first, Hole::read(row).map_err(|_| disagrees()).and_then(Hole::checked));
        Ok(true)
    })
}

/// Counts the positions without an event.
pub(crate) fn removed(view: &View<'_>) -> Result<u64> {
    let mut removed = 0;
    view.each_row("SELECT first, last, checksum FROM holes", [], |row| {
        let hole = Hole::checked(Hole::read(row).map_err(|_| disagrees())?)?;
        removed += hole.last - hole.first + 1;
        Ok(true)
    })?;
    Ok(removed)
}

/// Records that the events at these rising positions were removed.
pub(crate) fn add_holes(writing: &Writing<'_>, positions: &[u64]) -> Result<()> {
    for run in positions.chunk_by(|one, next| one + 1 == *next) {
        let (Some(first), Some(last)) = (run.first(), run.last()) else { continue };
        let before = hole_at(writing, first.saturating_sub(1))?;
        let behind = hole_at(writing, last.saturating_add(1))?;
        for merged in [before, behind].iter().flatten() {
            writing.execute("DELETE FROM holes WHERE first = ?1", [merged.first])?;
        }
        let hole = Hole { first: before.map_or(*first, |hole| hole.first), last: behind.map_or(*last, |hole| hole.last) };
        let row = params![hole.first, hole.last, hole.checksum()];
        writing.execute("INSERT INTO holes (first, last, checksum) VALUES (?1, ?2, ?3)", row)?;
    }
    Ok(())
}

/// Checks, event by event, that a range of the log has no unexplained gap.
pub(crate) struct Walk {
    range: (u64, u64),
    descending: bool,
    /// How many positions of the range are accounted for.
    passed: u64,
}

impl Walk {
    /// `range` is the first and the last position, both included.
    pub(crate) fn new(range: (u64, u64), descending: bool) -> Walk {
        Walk { range, descending, passed: 0 }
    }

    /// Accounts for the next event, at this position.
    pub(crate) fn next(&mut self, view: &View<'_>, position: u64) -> Result<()> {
        let (first, last) = self.range;
        let before = if self.descending { last.checked_sub(position) } else { position.checked_sub(first) };
        match before {
            Some(before) if before >= self.passed && (first..=last).contains(&position) => self.skip(view, before)?,
            _ => return Err(disagrees_at(position)),
        }
        self.passed += 1;
        Ok(())
    }

    /// Accounts for the rest of the range, which has no further event.
    pub(crate) fn end(&mut self, view: &View<'_>) -> Result<()> {
        let (first, last) = self.range;
        // Computed without overflow: the range may cover all numbers.
        let all = (last.saturating_sub(first)).saturating_add(u64::from(first <= last));
        self.skip(view, all)
    }

    /// Accounts for the positions before the next event, until `until` are accounted for. They must be one hole.
    fn skip(&mut self, view: &View<'_>, until: u64) -> Result<()> {
        if until == self.passed {
            return Ok(());
        }
        let (first, last) = self.range;
        let (from, to) = match self.descending {
            false => (first.saturating_add(self.passed), first.saturating_add(until).saturating_sub(1)),
            true => (last.saturating_sub(until).saturating_add(1), last.saturating_sub(self.passed)),
        };
        // A hole may extend beyond the range, but on the inner side it ends next to an event.
        let is_hole = hole_at(view, from)?.is_some_and(|hole| {
            (hole.first == from || (from == first && hole.first < from)) && (hole.last == to || (to == last && hole.last > to))
        });
        if !is_hole {
            return Err(disagrees_at(from));
        }
        self.passed = until;
        Ok(())
    }
}
