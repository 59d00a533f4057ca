//! Positions: where the log ends, and which positions no longer have an event. Each position up to the last is that of
//! an event or lies in a hole that a removal made. So reading the log notices an event that a damaged index hides.

use rusqlite::{Params, Row, params};

use crate::model::error::{Error, ErrorKind, Result};
use crate::model::place::Position;
use crate::sqlite::checksum;
use crate::sqlite::consistency::{RESTORE, disagrees};
use crate::sqlite::tables::archive::{self, Part};
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
        Some(hole) if hole.last > newest && begin_of_run(view, hole)? == newest + 1 => return Ok(hole.last),
        Some(hole) if hole.last > newest => return Err(lost_end(newest, &hole)),
        Some(hole) if hole.last + 1 == newest => begin_of_run(view, hole)? == before + 1,
        _ => newest == 0 || newest == before + 1,
    };
    if follows { Ok(newest) } else { Err(disagrees_at(before + 1)) }
}

/// The first position of the holes that touch each other and end with this one.
fn begin_of_run(view: &View<'_>, hole: Hole) -> Result<u64> {
    let mut begin = hole.first;
    while let Some(before) = hole_at(view, begin.saturating_sub(1))? {
        begin = before.first;
    }
    Ok(begin)
}

fn lost_end(newest: u64, hole: &Hole) -> Error {
    let what = format!("the newest event is at position {newest}, and those at {} to {} were removed", hole.first, hole.last);
    Error::new(ErrorKind::Corrupt, what).at_position(Position::new(newest)).advice(RESTORE)
}

fn disagrees_at(position: u64) -> Error {
    disagrees().at_position(Position::new(position))
}

/// A range of positions whose events were removed from this file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Hole {
    pub(crate) first: u64,
    pub(crate) last: u64,
    /// Whether the events are in the archive; otherwise they were purged.
    pub(crate) archived: bool,
}

/// The columns of a hole, in the order that [`Hole::read`] expects.
macro_rules! select_holes {
    ($rest:literal) => {
        concat!("SELECT first, last, archived, checksum FROM holes ", $rest)
    };
}

impl Hole {
    fn read(row: &Row<'_>) -> rusqlite::Result<(Hole, i64)> {
        Ok((Hole { first: row.get(0)?, last: row.get(1)?, archived: row.get(2)? }, row.get(3)?))
    }

    /// The hole, if the row's checksum is right.
    fn checked((hole, sum): (Hole, i64)) -> Result<Hole> {
        if hole.checksum() == sum && hole.first <= hole.last { Ok(hole) } else { Err(disagrees_at(hole.first)) }
    }

    fn checksum(self) -> i64 {
        checksum::numbers(&[number_of(self.first), number_of(self.last), i64::from(self.archived)])
    }

    fn contains(&self, position: u64) -> bool {
        (self.first..=self.last).contains(&position)
    }
}

fn hole_of(view: &View<'_>, sql: &str, params: impl Params) -> Result<Option<Hole>> {
    view.row_if_any(sql, params, Hole::read)?.map(Hole::checked).transpose()
}

/// The last hole.
fn last_hole(view: &View<'_>) -> Result<Option<Hole>> {
    hole_of(view, select_holes!("ORDER BY first DESC LIMIT 1"), [])
}

/// The hole that contains a position.
pub(crate) fn hole_at(view: &View<'_>, position: u64) -> Result<Option<Hole>> {
    let found = hole_of(view, select_holes!("WHERE first <= ?1 ORDER BY first DESC LIMIT 1"), [number_of(position)])?;
    Ok(found.filter(|hole| hole.last >= position))
}

/// Confirms that a position without an event is one whose event was removed.
pub(crate) fn confirm_removed(view: &View<'_>, position: u64) -> Result<()> {
    if hole_at(view, position)?.is_some() { Ok(()) } else { Err(disagrees_at(position)) }
}

/// Whether the event at a position is in the archive.
pub(crate) fn is_archived(view: &View<'_>, position: u64) -> Result<bool> {
    Ok(hole_at(view, position)?.is_some_and(|hole| hole.archived))
}

/// The part of a range that one of the two files holds: the beginning of the range, or its end if `descending`.
pub(crate) fn part_of(view: &View<'_>, (first, last): (u64, u64), descending: bool) -> Result<(Part, (u64, u64))> {
    const UP: &str = select_holes!("WHERE archived = 1 AND first > ?1 ORDER BY first LIMIT 1");
    const DOWN: &str = select_holes!("WHERE archived = 1 AND first <= ?1 ORDER BY first DESC LIMIT 1");
    // The hole that contains the first position, or the next one.
    let around = hole_of(view, DOWN, [number_of(if descending { last } else { first })])?;
    Ok(match around {
        Some(hole) if hole.contains(last) && descending => (Part::Archive, (first.max(hole.first), last)),
        Some(hole) if hole.contains(first) && !descending => (Part::Archive, (first, last.min(hole.last))),
        Some(hole) if descending => (Part::Main, (first.max(hole.last.saturating_add(1)), last)),
        None if descending => (Part::Main, (first, last)),
        _ => match hole_of(view, UP, [number_of(first)])? {
            Some(hole) => (Part::Main, (first, last.min(hole.first.saturating_sub(1)))),
            None => (Part::Main, (first, last)),
        },
    })
}

/// Passes the holes after a position, `limit` at most, to `each`; a damaged one as its error.
pub(crate) fn check_holes(view: &View<'_>, after: i64, limit: usize, mut each: impl FnMut(i64, Result<Hole>)) -> Result<()> {
    view.each_row(select_holes!("WHERE first > ?1 ORDER BY first LIMIT ?2"), params![after, limit], |row| {
        let first = row.get(0).unwrap_or(i64::MAX);
        each(first, Hole::read(row).map_err(|_| disagrees()).and_then(Hole::checked));
        Ok(true)
    })
}

/// Counts the positions whose events were removed from this file: (purged, archived).
pub(crate) fn removed(view: &View<'_>) -> Result<(u64, u64)> {
    let (mut purged, mut archived) = (0, 0);
    view.each_row(select_holes!(""), [], |row| {
        let hole = Hole::checked(Hole::read(row).map_err(|_| disagrees())?)?;
        *(if hole.archived { &mut archived } else { &mut purged }) += hole.last - hole.first + 1;
        Ok(true)
    })?;
    Ok((purged, archived))
}

/// Notes a hole that touches no other of its kind.
pub(crate) fn save_hole(writing: &Writing<'_>, hole: Hole) -> Result<()> {
    let row = params![hole.first, hole.last, hole.archived, hole.checksum()];
    writing.execute("INSERT INTO holes (first, last, archived, checksum) VALUES (?1, ?2, ?3, ?4)", row)?;
    Ok(())
}

fn delete_hole(writing: &Writing<'_>, hole: Hole) -> Result<()> {
    writing.execute("DELETE FROM holes WHERE first = ?1", [hole.first]).map(drop)
}

/// Records that the events at these rising positions are no longer in this file.
pub(crate) fn add_holes(writing: &Writing<'_>, positions: &[u64], archived: bool) -> Result<()> {
    for run in positions.chunk_by(|one, next| one + 1 == *next) {
        let (Some(first), Some(last)) = (run.first(), run.last()) else { continue };
        let touches = |position| Ok::<_, Error>(hole_at(writing, position)?.filter(|hole| hole.archived == archived));
        let before = touches(first.saturating_sub(1))?;
        let behind = touches(last.saturating_add(1))?;
        for merged in before.into_iter().chain(behind) {
            delete_hole(writing, merged)?;
        }
        let (first, last) = (before.map_or(*first, |hole| hole.first), behind.map_or(*last, |hole| hole.last));
        save_hole(writing, Hole { first, last, archived })?;
    }
    Ok(())
}

/// Records that these rising positions, whose events are in the archive, are no longer holes.
pub(crate) fn end_holes(writing: &Writing<'_>, positions: &[u64]) -> Result<()> {
    for run in positions.chunk_by(|one, next| one + 1 == *next) {
        let (Some(first), Some(last)) = (run.first(), run.last()) else { continue };
        let hole = hole_at(writing, *first)?.filter(|hole| hole.archived && hole.last >= *last);
        let Some(hole) = hole else { return Err(disagrees_at(*first)) };
        delete_hole(writing, hole)?;
        if hole.first < *first {
            save_hole(writing, Hole { last: first - 1, ..hole })?;
        }
        if hole.last > *last {
            save_hole(writing, Hole { first: last + 1, ..hole })?;
        }
    }
    Ok(())
}

/// Which positions a [`Walk`] may pass without an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Gaps {
    /// Those of purged events.
    Purged,
    /// Those of purged and of archived events: a walk over all events of the main file alone.
    PurgedAndArchived,
    /// None: a walk over archived events.
    None,
}

impl Gaps {
    /// What may be missing from a part of the log.
    pub(crate) fn of(part: Part) -> Gaps {
        match part {
            Part::Main => Gaps::Purged,
            Part::Archive => Gaps::None,
        }
    }
}

/// Checks, event by event, that a range of the log has no unexplained gap.
pub(crate) struct Walk {
    range: (u64, u64),
    descending: bool,
    gaps: Gaps,
    /// How many positions of the range are accounted for.
    passed: u64,
}

impl Walk {
    /// `range` is the first and the last position, both included.
    pub(crate) fn new(range: (u64, u64), descending: bool, gaps: Gaps) -> Walk {
        Walk { range, descending, gaps, passed: 0 }
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

    /// Accounts for the positions before the next event, until `until` are accounted for. Holes must explain them.
    fn skip(&mut self, view: &View<'_>, until: u64) -> Result<()> {
        if until == self.passed {
            return Ok(());
        }
        let (first, last) = self.range;
        let (from, to) = match self.descending {
            false => (first.saturating_add(self.passed), first.saturating_add(until).saturating_sub(1)),
            true => (last.saturating_sub(until).saturating_add(1), last.saturating_sub(self.passed)),
        };
        let mut next = from;
        while next <= to {
            let hole = match self.gaps {
                Gaps::None => return Err(archive::lacks_event().at_position(from.into())),
                _ => hole_at(view, next)?.ok_or_else(|| disagrees_at(next))?,
            };
            // A hole may extend beyond the range, but on the inner side it ends next to an event.
            let begins = hole.first == next || (next == first && hole.first < next);
            let ends = hole.last <= to || to == last;
            if !begins || !ends || (hole.archived && self.gaps == Gaps::Purged) {
                return Err(disagrees_at(next));
            }
            next = hole.last.saturating_add(1);
            if hole.last == u64::MAX {
                break;
            }
        }
        self.passed = until;
        Ok(())
    }
}
