//! Summaries of full blocks of positions, so that questions about times and types pass over most of a long log.
//!
//! Times need not rise with positions, so no search over positions finds a time; an index over times costs every
//! append a page. A summary costs one append in 512, and answers are exact whatever the clocks did.

use std::collections::BTreeSet;

use rusqlite::{Connection, OptionalExtension, Row, params};

use super::database::{View, Writing};
use super::failure::Sql;
use super::{checksum, doubt, holes, state};
use crate::model::error::{Error, Result};
use crate::model::place::Position;

/// Positions in a block. Part of the format.
pub(crate) const BLOCK: u64 = 512;

/// What a block must hold to be read.
#[derive(Clone, Debug, Default)]
pub(crate) struct Wanted {
    /// Any of these event types; `None` for every type.
    pub(crate) event_types: Option<Vec<i64>>,
    /// Times at or after this one, in microseconds.
    pub(crate) from: Option<i64>,
    /// Times at or before this one, in microseconds.
    pub(crate) to: Option<i64>,
}

impl Wanted {
    fn is_everything(&self) -> bool {
        self.event_types.is_none() && self.from.is_none() && self.to.is_none()
    }
}

/// What is known of a full block.
struct Summary {
    block: u64,
    earliest: i64,
    latest: i64,
    /// A JSON array of the numbers of its event types.
    event_types: String,
}

impl Summary {
    /// Of the events that stand in a block now; `None` if there are none.
    fn of_events(view: &View<'_>, block: u64) -> Result<Option<Summary>> {
        let (first, last) = (block * BLOCK + 1, block * BLOCK + BLOCK);
        let mut statement = view
            .prepare_cached(
                "SELECT created_at, event_type, position FROM events WHERE position BETWEEN ?1 AND ?2 ORDER BY position",
            )
            .sql()?;
        let mut rows = statement.query(params![first, last]).sql()?;
        let mut walk = holes::Walk::new((first, last), false);
        let (mut earliest, mut latest, mut event_types) = (i64::MAX, i64::MIN, BTreeSet::new());
        while let Some(row) = rows.next().sql()? {
            let created_at = row.get(0).sql()?;
            earliest = earliest.min(created_at);
            latest = latest.max(created_at);
            event_types.insert(row.get::<_, i64>(1).sql()?);
            walk.next(view, row.get(2).sql()?)?;
        }
        walk.end(view)?;
        Ok((!event_types.is_empty()).then(|| Summary { block, earliest, latest, event_types: listed(&event_types) }))
    }

    /// As it is stored; without a look at its checksum: the caller compares it with the one that comes along.
    fn read(row: &Row<'_>) -> rusqlite::Result<(Summary, i64)> {
        let summary = Summary { block: row.get(0)?, earliest: row.get(1)?, latest: row.get(2)?, event_types: row.get(3)? };
        Ok((summary, row.get(4)?))
    }

    fn checksum(&self) -> i64 {
        checksum::fields(self.block, &[&self.earliest.to_le_bytes(), &self.latest.to_le_bytes(), self.event_types.as_bytes()])
    }

    /// IGNORE: after a removal of the newest events a block can be filled with fewer rows, but never twice.
    fn save(&self, connection: &Connection) -> Result<()> {
        connection
            .prepare_cached(
                "INSERT OR IGNORE INTO block_summaries (block, earliest, latest, event_types, checksum) VALUES (?1, ?2, ?3, ?4, ?5)",
            )
            .sql()?
            .execute(params![self.block, self.earliest, self.latest, self.event_types, self.checksum()])
            .sql()
            .map(drop)
    }

    fn can_hold(&self, wanted: &Wanted) -> Result<bool> {
        let in_time = wanted.from.is_none_or(|from| self.latest >= from) && wanted.to.is_none_or(|to| self.earliest <= to);
        match &wanted.event_types {
            Some(any_of) if in_time => {
                let here: Vec<i64> = serde_json::from_str(&self.event_types).map_err(|_| doubt::disagrees())?;
                Ok(here.iter().any(|event_type| any_of.contains(event_type)))
            }
            _ => Ok(in_time),
        }
    }
}

fn listed(event_types: &BTreeSet<i64>) -> String {
    let numbers: Vec<String> = event_types.iter().map(i64::to_string).collect();
    format!("[{}]", numbers.join(","))
}

/// Writes the summaries of the blocks that an append from `first` to `last` filled.
pub(crate) fn summarise(writing: &Writing<'_>, first: u64, last: u64) -> Result<()> {
    for block in first.saturating_sub(1) / BLOCK..last / BLOCK {
        if let Some(summary) = Summary::of_events(writing, block)? {
            summary.save(writing)?;
        }
    }
    Ok(())
}

/// Takes over the summaries of format 2, which had no checksum: what they say is what `verify` compares with the events.
pub(super) fn take_over(connection: &Connection) -> Result<()> {
    connection.execute_batch("CREATE INDEX former_by_block ON former_log_block_types (block)").sql()?;
    let mut types = connection.prepare("SELECT event_type FROM former_log_block_types WHERE block = ?1").sql()?;
    let mut blocks = connection.prepare("SELECT block, earliest, latest FROM former_log_blocks ORDER BY block").sql()?;
    let mut rows = blocks.query([]).sql()?;
    while let Some(row) = rows.next().sql()? {
        let block: u64 = row.get(0).sql()?;
        let event_types: rusqlite::Result<BTreeSet<i64>> = types.query_map(params![block], |row| row.get(0)).sql()?.collect();
        let event_types = listed(&event_types.sql()?);
        Summary { block, earliest: row.get(1).sql()?, latest: row.get(2).sql()?, event_types }.save(connection)?;
    }
    Ok(())
}

/// The next range of positions (first and last included) at or after `position` that can hold an answer.
pub(crate) fn next_range(view: &View<'_>, wanted: &Wanted, position: u64) -> Result<Option<(u64, u64)>> {
    if wanted.is_everything() {
        return Ok(Some((position, u64::MAX)));
    }
    let Some(last_full) = last_block(view)? else { return Ok(Some((position, u64::MAX))) };
    match walk(view, wanted, position.saturating_sub(1) / BLOCK, Direction::Up { last_full })? {
        Some(block) => Ok(Some((position.max(block * BLOCK + 1), block * BLOCK + BLOCK))),
        None => Ok(Some((position.max((last_full + 1) * BLOCK + 1), u64::MAX))),
    }
}

/// The next range at or before `position` that can hold an answer.
pub(crate) fn previous_range(view: &View<'_>, wanted: &Wanted, position: u64) -> Result<Option<(u64, u64)>> {
    if position == 0 {
        return Ok(None);
    }
    if wanted.is_everything() {
        return Ok(Some((1, position)));
    }
    let block = (position - 1) / BLOCK;
    match last_block(view)? {
        None => return Ok(Some((1, position))),
        Some(last_full) if block > last_full => return Ok(Some(((last_full + 1) * BLOCK + 1, position))),
        Some(_) => {}
    }
    let found = walk(view, wanted, block, Direction::Down)?;
    Ok(found.map(|block| (block * BLOCK + 1, position.min(block * BLOCK + BLOCK))))
}

/// What is wrong with the summary of a full block, if anything. After a removal it may promise more than there is.
pub(crate) fn complaint(view: &View<'_>, block: u64) -> Result<Option<String>> {
    let found = view
        .prepare_cached("SELECT block, earliest, latest, event_types, checksum FROM block_summaries WHERE block = ?1")
        .sql()?
        .query_row(params![block], Summary::read)
        .optional()
        .sql()?;
    let Some((summary, stored)) = found else { return Ok(Some(format!("the summary of block {block} is missing"))) };
    if summary.checksum() != stored {
        return Ok(Some(format!("the checksum of the summary of block {block} is wrong")));
    }
    let Some(actual) = Summary::of_events(view, block)? else { return Ok(None) };
    if summary.earliest > actual.earliest || summary.latest < actual.latest {
        return Ok(Some(format!("the summary of block {block} gives other times than its events")));
    }
    let types = |text: &str| serde_json::from_str::<BTreeSet<i64>>(text).map_err(|_| doubt::disagrees());
    let unnamed = types(&actual.event_types)?.difference(&types(&summary.event_types)?).count();
    Ok((unnamed > 0).then(|| format!("the summary of block {block} lacks {unnamed} event types")))
}

/// Whether the file has summaries that can be used: one of an older format, opened for reading, has other ones.
pub(crate) fn are_kept(view: &View<'_>) -> Result<bool> {
    view.prepare_cached("SELECT EXISTS (SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = 'block_summaries')")
        .sql()?
        .query_row([], |row| row.get(0))
        .sql()
}

/// The last full block, which has a summary.
fn last_block(view: &View<'_>) -> Result<Option<u64>> {
    if !are_kept(view)? {
        return Ok(None);
    }
    let last: Option<u64> =
        view.prepare_cached("SELECT max(block) FROM block_summaries").sql()?.query_row([], |row| row.get(0)).sql()?;
    // A summary that the file does not show would hide its events, and one too many those behind it.
    let full = state::last_position(view)?.get() / BLOCK;
    if last != full.checked_sub(1) {
        return Err(doubt::disagrees());
    }
    Ok(last)
}

#[derive(Clone, Copy)]
enum Direction {
    Up { last_full: u64 },
    Down,
}

impl Direction {
    fn next(self, block: u64) -> Option<u64> {
        match self {
            Direction::Up { last_full } => block.checked_add(1).filter(|next| *next <= last_full),
            Direction::Down => block.checked_sub(1),
        }
    }
}

/// The first block from `block` on that can hold what is wanted.
fn walk(view: &View<'_>, wanted: &Wanted, block: u64, direction: Direction) -> Result<Option<u64>> {
    let sql = match direction {
        Direction::Up { .. } => {
            "SELECT block, earliest, latest, event_types, checksum FROM block_summaries WHERE block >= ?1 ORDER BY block"
        }
        Direction::Down => {
            "SELECT block, earliest, latest, event_types, checksum FROM block_summaries WHERE block <= ?1 ORDER BY block DESC"
        }
    };
    let mut statement = view.prepare_cached(sql).sql()?;
    let mut rows = statement.query(params![block]).sql()?;
    let mut expected = match direction {
        Direction::Up { last_full } if block > last_full => None,
        _ => Some(block),
    };
    while let Some(row) = rows.next().sql()? {
        let (summary, stored) = Summary::read(row).sql()?;
        // Every full block has a summary: a hole, or a changed one, would hide the events of its block.
        if Some(summary.block) != expected || summary.checksum() != stored {
            return Err(wrong_at(summary.block));
        }
        if summary.can_hold(wanted)? {
            return Ok(Some(summary.block));
        }
        expected = direction.next(summary.block);
    }
    match expected {
        Some(missing) => Err(wrong_at(missing)),
        None => Ok(None),
    }
}

fn wrong_at(block: u64) -> Error {
    doubt::disagrees().at_position(Position::new(block.saturating_mul(BLOCK).saturating_add(1)))
}
