//! Summaries of full blocks of positions, so that questions about times and types pass over most of a long log.
//!
//! Times need not rise with positions, so no search over positions finds a time; an index over times costs every
//! append a page. A summary costs one append in 512, and answers are exact whatever the clocks did.

use rusqlite::{OptionalExtension, params};

use super::database::{View, Writing};
use super::failure::Sql;
use super::{doubt, state};
use crate::error::Result;

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

/// Writes the summaries of the blocks that an append from `first` to `last` filled.
pub(crate) fn summarise(writing: &Writing<'_>, first: u64, last: u64) -> Result<()> {
    let full_before = first.saturating_sub(1) / BLOCK;
    let full_now = last / BLOCK;
    for block in full_before..full_now {
        let (after, through) = (block * BLOCK, block * BLOCK + BLOCK);
        // IGNORE: after a removal of the newest events a block can be filled with fewer rows, but never twice.
        writing
            .prepare_cached(
                "INSERT OR IGNORE INTO log_blocks (block, earliest, latest)
                 SELECT ?1, min(created_at), max(created_at) FROM events WHERE position > ?2 AND position <= ?3 HAVING count(*) > 0",
            )
            .sql()?
            .execute(params![block, after, through])
            .sql()?;
        writing
            .prepare_cached(
                "INSERT OR IGNORE INTO log_block_types (event_type, block)
                 SELECT DISTINCT event_type, ?1 FROM events WHERE position > ?2 AND position <= ?3",
            )
            .sql()?
            .execute(params![block, after, through])
            .sql()?;
    }
    Ok(())
}

/// The next range of positions (first and last included) at or after `position` that can hold an answer.
pub(crate) fn next_range(view: &View<'_>, wanted: &Wanted, position: u64) -> Result<Option<(u64, u64)>> {
    if wanted.is_everything() {
        return Ok(Some((position, u64::MAX)));
    }
    let Some(last_full) = last_block(view)? else { return Ok(Some((position, u64::MAX))) };
    let mut block = position.saturating_sub(1) / BLOCK;
    while block <= last_full {
        match (next_by_type(view, wanted, block)?, next_by_time(view, wanted, block)?) {
            (Some(by_type), Some(by_time)) if by_type == by_time => {
                return Ok(Some((position.max(by_type * BLOCK + 1), by_type * BLOCK + BLOCK)));
            }
            // Both rise, so the larger is the least that can satisfy both.
            (Some(by_type), Some(by_time)) => block = by_type.max(by_time),
            _ => break,
        }
    }
    Ok(Some((position.max((last_full + 1) * BLOCK + 1), u64::MAX)))
}

/// The next range at or before `position` that can hold an answer.
pub(crate) fn previous_range(view: &View<'_>, wanted: &Wanted, position: u64) -> Result<Option<(u64, u64)>> {
    if position == 0 {
        return Ok(None);
    }
    if wanted.is_everything() {
        return Ok(Some((1, position)));
    }
    let mut block = (position - 1) / BLOCK;
    match last_block(view)? {
        None => return Ok(Some((1, position))),
        Some(last_full) if block > last_full => return Ok(Some(((last_full + 1) * BLOCK + 1, position))),
        Some(_) => {}
    }
    loop {
        match (previous_by_type(view, wanted, block)?, previous_by_time(view, wanted, block)?) {
            (Some(by_type), Some(by_time)) if by_type == by_time => {
                return Ok(Some((by_type * BLOCK + 1, position.min(by_type * BLOCK + BLOCK))));
            }
            (Some(by_type), Some(by_time)) => block = by_type.min(by_time),
            _ => return Ok(None),
        }
    }
}

/// What is wrong with the summary of a full block, if anything. After a removal it may promise more than there is.
pub(crate) fn complaint(view: &View<'_>, block: u64) -> Result<Option<String>> {
    let (after, through) = (block * BLOCK, block * BLOCK + BLOCK);
    let (events, earliest, latest): (u64, Option<i64>, Option<i64>) = view
        .prepare_cached("SELECT count(*), min(created_at), max(created_at) FROM events WHERE position > ?1 AND position <= ?2")
        .sql()?
        .query_row(params![after, through], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
        .sql()?;
    let summary: Option<(i64, i64)> = view
        .prepare_cached("SELECT earliest, latest FROM log_blocks WHERE block = ?1")
        .sql()?
        .query_row(params![block], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()
        .sql()?;
    let Some(summary) = summary else { return Ok(Some(format!("the summary of block {block} is missing"))) };
    if let (Some(earliest), Some(latest)) = (earliest, latest) {
        let covers = summary.0 <= earliest && summary.1 >= latest;
        if !covers || (events == BLOCK && summary != (earliest, latest)) {
            return Ok(Some(format!("the summary of block {block} gives other times than its events")));
        }
    }
    let unnamed: u64 = view
        .prepare_cached(
            "SELECT count(*) FROM (SELECT DISTINCT event_type AS t FROM events WHERE position > ?2 AND position <= ?3) e
             WHERE NOT EXISTS (SELECT 1 FROM log_block_types b WHERE b.event_type = e.t AND b.block = ?1)",
        )
        .sql()?
        .query_row(params![block, after, through], |row| row.get(0))
        .sql()?;
    Ok((unnamed > 0).then(|| format!("the summary of block {block} lacks {unnamed} event types")))
}

/// The last full block, which has a summary.
fn last_block(view: &View<'_>) -> Result<Option<u64>> {
    let last: Option<u64> =
        view.prepare_cached("SELECT max(block) FROM log_blocks").sql()?.query_row([], |row| row.get(0)).sql()?;
    // A summary that the file does not show would hide its events, and one too many those behind it.
    let full = state::last_position(view)?.get() / BLOCK;
    if last != full.checked_sub(1) {
        return Err(doubt::disagrees());
    }
    Ok(last)
}

fn next_by_type(view: &View<'_>, wanted: &Wanted, block: u64) -> Result<Option<u64>> {
    let sql = "SELECT min(block) FROM log_block_types WHERE event_type = ?1 AND block >= ?2";
    of_types(view, wanted, block, sql).map(|found| found.into_iter().min())
}

fn previous_by_type(view: &View<'_>, wanted: &Wanted, block: u64) -> Result<Option<u64>> {
    let sql = "SELECT max(block) FROM log_block_types WHERE event_type = ?1 AND block <= ?2";
    of_types(view, wanted, block, sql).map(|found| found.into_iter().max())
}

fn of_types(view: &View<'_>, wanted: &Wanted, block: u64, sql: &str) -> Result<Vec<u64>> {
    let Some(event_types) = &wanted.event_types else { return Ok(vec![block]) };
    let mut statement = view.prepare_cached(sql).sql()?;
    let mut found = Vec::new();
    for event_type in event_types {
        let block: Option<u64> = statement.query_row(params![event_type, block], |row| row.get(0)).sql()?;
        found.extend(block);
    }
    Ok(found)
}

fn next_by_time(view: &View<'_>, wanted: &Wanted, block: u64) -> Result<Option<u64>> {
    let sql = "SELECT block, earliest, latest FROM log_blocks WHERE block >= ?1 ORDER BY block";
    of_times(view, wanted, block, sql, |block| block.checked_add(1))
}

fn previous_by_time(view: &View<'_>, wanted: &Wanted, block: u64) -> Result<Option<u64>> {
    let sql = "SELECT block, earliest, latest FROM log_blocks WHERE block <= ?1 ORDER BY block DESC";
    of_times(view, wanted, block, sql, |block| block.checked_sub(1))
}

/// The first block from `block` on, in the direction of the statement, that can hold a time that is wanted.
fn of_times(view: &View<'_>, wanted: &Wanted, block: u64, sql: &str, next: impl Fn(u64) -> Option<u64>) -> Result<Option<u64>> {
    if wanted.from.is_none() && wanted.to.is_none() {
        return Ok(Some(block));
    }
    let (from, to) = (wanted.from.unwrap_or(i64::MIN), wanted.to.unwrap_or(i64::MAX));
    let mut statement = view.prepare_cached(sql).sql()?;
    let mut rows = statement.query(params![block]).sql()?;
    let mut expected = Some(block);
    while let Some(row) = rows.next().sql()? {
        let (block, earliest, latest): (u64, i64, i64) = (row.get(0).sql()?, row.get(1).sql()?, row.get(2).sql()?);
        // Every full block has a summary: a hole would hide the events of its block.
        if Some(block) != expected || earliest > latest {
            return Err(doubt::disagrees());
        }
        if latest >= from && earliest <= to {
            return Ok(Some(block));
        }
        expected = next(block);
    }
    Ok(None)
}
