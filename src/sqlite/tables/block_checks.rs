//! Compares the summaries of blocks with their events.

use std::collections::HashMap;

use super::block_summaries::{Block, FAN, LEVELS, Summary, find};
use crate::model::error::Result;
use crate::sqlite::transaction::View;

/// The blocks that must have summaries when the log ends at `last`, after one of them, in the order of their rows.
pub(crate) fn expected(last: u64, after: i64) -> impl Iterator<Item = Block> {
    (0..LEVELS)
        .flat_map(move |level| {
            let floor = Block { level, number: 0 }.id();
            let first = if after < floor { 0 } else { (after - floor).cast_unsigned().saturating_add(1) };
            (first..Block::full(level, last)).map(move |number| Block { level, number })
        })
        .filter(move |block| block.id() > after)
}

impl Block {
    /// Where [`expected`] continues after this block.
    pub(crate) fn cursor(self) -> i64 {
        self.id()
    }

    /// The first position of the block.
    pub(crate) fn position(self) -> u64 {
        self.first()
    }

    fn positions(self) -> String {
        format!("positions {} to {}", self.first(), self.last())
    }
}

/// What was seen of the events of each block, in any order.
#[derive(Debug, Default)]
pub(crate) struct Seen(HashMap<u64, Summary>);

impl Seen {
    /// Adds an event.
    pub(crate) fn add(&mut self, position: u64, aggregate_type: i64, event_type: i64, created_at: i64) {
        let block = self.0.entry(Block::of(0, position).number).or_insert(Summary::EMPTY);
        block.add(aggregate_type, event_type, created_at);
    }
}

/// What is wrong with the summary of a full block, if anything. After a removal its times may be wider than its events.
///
/// If it is right for what was `seen` of its events, they are not read again. Otherwise they are: others may have changed some
/// meanwhile.
pub(crate) fn complaint(view: &View<'_>, block: Block, seen: &Seen) -> Result<Option<String>> {
    let Ok(summary) = find(view, block) else {
        return Ok(Some(format!("the summary of {} is missing or damaged", block.positions())));
    };
    match seen.0.get(&block.number).filter(|_| block.level == 0) {
        Some(seen) if judge(block, &summary, seen).is_none() => return Ok(None),
        _ => {}
    }
    let actual = match block.level {
        0 => Summary::of_events(view, (block.first(), block.last()))?,
        level => {
            let mut whole = Summary::EMPTY;
            for part in block.number * FAN..block.number * FAN + FAN {
                let Ok(part) = find(view, Block { level: level - 1, number: part }) else { return Ok(None) };
                whole.merge(part);
            }
            whole
        }
    };
    Ok(judge(block, &summary, &actual))
}

fn judge(block: Block, summary: &Summary, actual: &Summary) -> Option<String> {
    let what = if summary.earliest > actual.earliest || summary.latest < actual.latest {
        "times"
    } else if summary.counts.is_some() && summary.counts != actual.counts {
        // After a purge, the parts may have few enough pairs although the summary stores none.
        "counts"
    } else {
        return None;
    };
    Some(format!("the summary of {} gives other {what} than its events", block.positions()))
}

/// Counts the rows that belong to no full block.
pub(crate) fn superfluous(view: &View<'_>, last: u64) -> Result<u64> {
    let rows: u64 = view.value("SELECT count(*) FROM block_summaries", [])?;
    Ok(rows.saturating_sub((0..LEVELS).map(|level| Block::full(level, last)).sum()))
}
