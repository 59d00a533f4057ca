//! Summaries of full blocks of positions. With them, queries by time or type skip most of a long log, and statistics
//! need not count.
//!
//! Times need not rise with positions, so a search over positions cannot find a time, and an index over times or types
//! would cost every append a page. A summary costs one append in 512. Answers are exact whatever the clocks did.
//! Summaries of 64 summaries each keep the scan over them short.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use rusqlite::{Row, params};

use super::archive::Part;
use super::events::{Owner, Raw, select_events};
use super::positions::{self, Gaps, Walk, number_of};
use crate::model::error::{Error, Result};
use crate::model::place::Position;
use crate::sqlite::checksum;
use crate::sqlite::consistency::disagrees;
use crate::sqlite::names_cache::EventType;
use crate::sqlite::transaction::{Columns, View, Writing};

/// Positions in a block of level 0. Part of the format.
pub(crate) const BLOCK: u64 = 512;
/// Blocks that a block of the next level covers. Part of the format.
pub(super) const FAN: u64 = 64;
/// More levels than any log can fill.
pub(super) const LEVELS: u32 = 8;
/// A summary with more pairs than this stores none; its parts are read instead.
const MOST_PAIRS: usize = 4_096;

/// What a block must contain to be read.
#[derive(Clone, Debug, Default)]
pub(crate) struct Wanted {
    /// Events of any of these aggregate types; `None` for every type.
    pub(crate) aggregate_types: Option<BTreeSet<i64>>,
    /// Any of these event types; `None` for every type.
    pub(crate) event_types: Option<BTreeSet<i64>>,
    /// Times at or after this one, in microseconds.
    pub(crate) from: Option<i64>,
    /// Times at or before this one, in microseconds.
    pub(crate) to: Option<i64>,
}

impl Wanted {
    fn is_everything(&self) -> bool {
        self.aggregate_types.is_none() && self.event_types.is_none() && self.from.is_none() && self.to.is_none()
    }

    /// Whether an event with these values is wanted.
    pub(crate) fn matches(&self, aggregate_type: i64, event_type: i64, created_at: i64) -> bool {
        self.matches_pair(aggregate_type, event_type)
            && self.from.is_none_or(|from| created_at >= from)
            && self.to.is_none_or(|to| created_at <= to)
    }

    pub(super) fn matches_pair(&self, aggregate_type: i64, event_type: i64) -> bool {
        self.aggregate_types.as_ref().is_none_or(|types| types.contains(&aggregate_type))
            && self.event_types.as_ref().is_none_or(|types| types.contains(&event_type))
    }
}

/// The number of events for each (aggregate type, event type).
pub(crate) type Counts = BTreeMap<(i64, i64), u64>;

/// A block: its level, and its number within the level.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Block {
    pub(super) level: u32,
    pub(super) number: u64,
}

impl Block {
    fn span(level: u32) -> u64 {
        BLOCK * FAN.pow(level)
    }

    /// The block of a level that contains a position.
    pub(super) fn of(level: u32, position: u64) -> Block {
        Block { level, number: position.saturating_sub(1) / Block::span(level) }
    }

    pub(super) fn id(self) -> i64 {
        i64::from(self.level) << 48 | number_of(self.number)
    }

    pub(super) fn first(self) -> u64 {
        self.number.saturating_mul(Block::span(self.level)).saturating_add(1)
    }

    pub(super) fn last(self) -> u64 {
        self.number.saturating_add(1).saturating_mul(Block::span(self.level))
    }

    /// The number of full blocks of this level when the log ends at `last`.
    pub(super) fn full(level: u32, last: u64) -> u64 {
        last / Block::span(level)
    }
}

/// The summary of a full block.
#[derive(Debug, Clone)]
pub(super) struct Summary {
    pub(super) earliest: i64,
    pub(super) latest: i64,
    pub(super) counts: Option<Counts>,
}

impl Summary {
    pub(super) const EMPTY: Summary = Summary { earliest: i64::MAX, latest: i64::MIN, counts: Some(Counts::new()) };

    pub(super) fn add(&mut self, aggregate_type: i64, event_type: i64, created_at: i64) {
        self.earliest = self.earliest.min(created_at);
        self.latest = self.latest.max(created_at);
        if let Some(counts) = &mut self.counts {
            *counts.entry((aggregate_type, event_type)).or_default() += 1;
        }
    }

    pub(super) fn merge(&mut self, other: Summary) {
        self.earliest = self.earliest.min(other.earliest);
        self.latest = self.latest.max(other.latest);
        self.counts = match (self.counts.take(), other.counts) {
            (Some(mut mine), Some(theirs)) => {
                theirs.into_iter().for_each(|(pair, events)| *mine.entry(pair).or_default() += events);
                (mine.len() <= MOST_PAIRS).then_some(mine)
            }
            _ => None,
        };
    }

    /// Computes a summary from the rows now at these positions (both ends included), without their checksums: for an
    /// append, which has just written most of them.
    pub(super) fn of_rows(view: &View<'_>, range: (u64, u64)) -> Result<Summary> {
        const SQL: &str = "SELECT e.position, a.aggregate_type, e.event_type, e.created_at
                           FROM events e LEFT JOIN aggregates a NOT INDEXED ON a.id = e.key >> 32
                           WHERE e.position BETWEEN ?1 AND ?2 ORDER BY e.position";
        let (mut summary, mut walk) = (Summary::EMPTY, Walk::new(range, false, Gaps::Purged));
        view.each_row(SQL, [number_of(range.0), number_of(range.1)], |row| {
            walk.next(view, row.at(0)?)?;
            summary.add(row.at(1)?, row.at(2)?, row.at(3)?);
            Ok(true)
        })?;
        walk.end(view)?;
        Ok(summary)
    }

    /// As [`Summary::of_rows`], but every checksum is checked, and archived events are read too.
    pub(super) fn of_events(view: &View<'_>, range: (u64, u64)) -> Result<Summary> {
        let mut summary = Summary::EMPTY;
        each_event(view, range, |aggregate_type, event_type, created_at| {
            summary.add(aggregate_type, event_type, created_at);
        })?;
        Ok(summary)
    }

    /// Reads a stored summary.
    fn read(row: &Row<'_>) -> Result<(i64, Summary)> {
        let (id, earliest, latest, text): (i64, i64, i64, Option<String>) = (row.at(0)?, row.at(1)?, row.at(2)?, row.at(3)?);
        if checksum_of(id, earliest, latest, text.as_deref()) != row.at::<i64>(4)? {
            return Err(disagrees());
        }
        let counts = text.map(|text| serde_json::from_str::<Vec<(i64, i64, u64)>>(&text)).transpose().map_err(|_| disagrees())?;
        let counts = counts.map(|counts| counts.into_iter().map(|(aggregate, event, n)| ((aggregate, event), n)).collect());
        Ok((id, Summary { earliest, latest, counts }))
    }

    pub(super) fn save(&self, writing: &Writing<'_>, block: Block) -> Result<()> {
        let counts = self.counts.as_ref().map(|counts| {
            let pairs: Vec<String> = counts.iter().map(|((aggregate, event), n)| format!("[{aggregate},{event},{n}]")).collect();
            format!("[{}]", pairs.join(","))
        });
        let sum = checksum_of(block.id(), self.earliest, self.latest, counts.as_deref());
        let sql = "INSERT OR REPLACE INTO block_summaries (id, earliest, latest, counts, checksum) VALUES (?1, ?2, ?3, ?4, ?5)";
        writing.execute(sql, params![block.id(), self.earliest, self.latest, counts, sum])?;
        Ok(())
    }

    /// Whether all of its events are of the wanted times.
    pub(super) fn is_within(&self, wanted: &Wanted) -> bool {
        wanted.from.is_none_or(|from| self.earliest >= from) && wanted.to.is_none_or(|to| self.latest <= to)
    }

    pub(super) fn can_hold(&self, wanted: &Wanted) -> bool {
        wanted.from.is_none_or(|from| self.latest >= from)
            && wanted.to.is_none_or(|to| self.earliest <= to)
            && self
                .counts
                .as_ref()
                .is_none_or(|counts| counts.keys().any(|(aggregate, event)| wanted.matches_pair(*aggregate, *event)))
    }
}

/// Passes the types and the time of every event at these positions (both ends included) on, archived ones too. Every
/// checksum is checked.
pub(super) fn each_event(view: &View<'_>, range: (u64, u64), mut each: impl FnMut(i64, i64, i64)) -> Result<()> {
    let (mut rest, mut types, mut known) = (range, Vec::new(), None::<Owner>);
    while rest.0 <= rest.1 {
        let (part, range) = positions::part_of(view, rest, false)?;
        rest.0 = range.1 + 1;
        each_of_part(view, part, range, (&mut types, &mut known), &mut each)?;
    }
    Ok(())
}

fn each_of_part(
    view: &View<'_>,
    part: Part,
    range: (u64, u64),
    (types, known): (&mut Vec<Arc<EventType>>, &mut Option<Owner>),
    each: &mut impl FnMut(i64, i64, i64),
) -> Result<()> {
    const SQL: &str = select_events!("", "events e WHERE e.position BETWEEN ?1 AND ?2 ORDER BY e.position");
    part.open(view)?;
    let mut walk = Walk::new(range, false, Gaps::of(part));
    view.each_row(&part.sql(SQL), [number_of(range.0), number_of(range.1)], |row| {
        let aggregate = row.at::<i64>(0)? >> 32;
        let owner = match known.take() {
            Some(owner) if owner.aggregate == aggregate => known.insert(owner),
            _ => known.insert(Owner::by_number(view, aggregate)?),
        };
        let raw = Raw::read(view, row, owner.identity, types)?;
        walk.next(view, raw.position)?;
        each(owner.aggregate_type.id, raw.event_type.id, raw.created_at);
        Ok(true)
    })?;
    walk.end(view)
}

fn checksum_of(id: i64, earliest: i64, latest: i64, counts: Option<&str>) -> i64 {
    let seed = checksum::numbers(&[id, earliest, latest, i64::from(counts.is_some())]);
    checksum::fields(seed.cast_unsigned(), &[counts.unwrap_or_default().as_bytes()])
}

/// The summary of a full block. A missing one is damage, because it would hide the block's events.
pub(super) fn find(view: &View<'_>, block: Block) -> Result<Summary> {
    let sql = "SELECT id, earliest, latest, counts, checksum FROM block_summaries WHERE id = ?1";
    let mut found = None;
    view.each_row(sql, [block.id()], |row| {
        let (id, summary) = Summary::read(row).map_err(|_| wrong_at(block))?;
        found = (id == block.id()).then_some(summary);
        Ok(false)
    })?;
    found.ok_or_else(|| wrong_at(block))
}

pub(super) fn wrong_at(block: Block) -> Error {
    disagrees().at_position(Position::new(block.first()))
}

/// The highest level with a full block that begins (or, if `descending`, ends) at this position, when the log ends at
/// `last`.
pub(super) fn highest(position: u64, last: u64, descending: bool) -> Option<Block> {
    (0..LEVELS).rev().map(|level| Block::of(level, position)).find(|block| {
        let at_edge = if descending { block.last() == position } else { block.first() == position };
        at_edge && block.number < Block::full(block.level, last)
    })
}

/// The next range of positions (both ends included) at or after `position` that may hold wanted events. The log ends at
/// `last`.
pub(crate) fn next_range(view: &View<'_>, wanted: &Wanted, position: u64, last: u64) -> Result<Option<(u64, u64)>> {
    let full_end = Block::full(0, last) * BLOCK;
    if wanted.is_everything() || position > full_end {
        return Ok((position <= last).then_some((position, last)));
    }
    let mut at = Block::of(0, position).first();
    while at <= full_end {
        // Tries the largest block that begins here first: one without wanted events is skipped as a whole.
        let Some(mut block) = highest(at, last, false) else { return Err(wrong_at(Block::of(0, at))) };
        loop {
            if !find(view, block)?.can_hold(wanted) {
                at = block.last() + 1;
                break;
            }
            match block.level {
                0 => return Ok(Some((position.max(block.first()), block.last()))),
                level => block = Block::of(level - 1, at),
            }
        }
    }
    Ok((full_end < last).then_some((full_end + 1, last)))
}

/// The next range at or before `position` that may hold wanted events.
pub(crate) fn previous_range(view: &View<'_>, wanted: &Wanted, position: u64, last: u64) -> Result<Option<(u64, u64)>> {
    if position == 0 {
        return Ok(None);
    }
    if wanted.is_everything() {
        return Ok(Some((1, position)));
    }
    let full_end = Block::full(0, last) * BLOCK;
    if position > full_end {
        return Ok(Some((full_end + 1, position)));
    }
    let mut at = Block::of(0, position).last();
    while at > 0 {
        let Some(mut block) = highest(at, last, true) else { return Err(wrong_at(Block::of(0, at))) };
        loop {
            if !find(view, block)?.can_hold(wanted) {
                at = block.first() - 1;
                break;
            }
            match block.level {
                0 => return Ok(Some((block.first(), position.min(block.last())))),
                level => block = Block::of(level - 1, at),
            }
        }
    }
    Ok(None)
}
