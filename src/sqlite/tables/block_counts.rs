//! Counts from the summaries of blocks: by type, and by time.

use super::block_summaries::{BLOCK, Block, Counts, Summary, Wanted, each_event, find, highest, wrong_at};
use super::positions;
use crate::model::error::Result;
use crate::sqlite::consistency::disagrees;
use crate::sqlite::transaction::View;

/// The number of events in the log for each pair of types. Reads the summaries, and the events after the last full
/// block.
pub(crate) fn counts(view: &View<'_>) -> Result<Counts> {
    let last = positions::last(view)?;
    let full_end = Block::full(0, last) * BLOCK;
    let mut counts = Counts::new();
    let mut at = 1;
    while at <= full_end {
        let Some(mut block) = highest(at, last, false) else { return Err(wrong_at(Block::of(0, at))) };
        let found = loop {
            match find(view, block)?.counts {
                Some(found) => break found,
                // It has too many pairs to store, so its parts are read.
                None if block.level > 0 => block = Block::of(block.level - 1, at),
                None => break Summary::of_events(view, (block.first(), block.last()))?.counts.unwrap_or_default(),
            }
        };
        found.into_iter().for_each(|(pair, events)| *counts.entry(pair).or_default() += events);
        at = block.last() + 1;
    }
    let tail = Summary::of_events(view, (full_end + 1, last))?.counts.unwrap_or_default();
    tail.into_iter().for_each(|(pair, events)| *counts.entry(pair).or_default() += events);
    if counts.values().sum::<u64>() != last.saturating_sub(positions::removed(view)?.0) {
        return Err(disagrees());
    }
    Ok(counts)
}

/// Equal spans of time, one after the other, and how many events are in each.
#[derive(Debug)]
pub(crate) struct Spans {
    /// When the first one begins, in microseconds.
    pub(crate) from: i64,
    /// How long each one is, in microseconds; at least 1.
    pub(crate) width: i64,
    pub(crate) events: Vec<u64>,
}

impl Spans {
    fn number(&self, time: i64) -> Option<usize> {
        let number = usize::try_from(time.checked_sub(self.from)?.div_euclid(self.width)).ok()?;
        (number < self.events.len()).then_some(number)
    }

    fn add(&mut self, time: i64, events: u64) {
        if let Some(number) = self.number(time)
            && let Some(span) = self.events.get_mut(number)
        {
            *span += events;
        }
    }

    fn add_events(&mut self, view: &View<'_>, wanted: &Wanted, range: (u64, u64)) -> Result<()> {
        each_event(view, range, |aggregate_type, event_type, created_at| {
            if wanted.matches(aggregate_type, event_type, created_at) {
                self.add(created_at, 1);
            }
        })
    }
}

/// Counts the wanted events of each span. A block that lies within one span is counted by its summary; only those that
/// cross from one to the next are read.
pub(crate) fn count_by_time(view: &View<'_>, wanted: &Wanted, spans: &mut Spans) -> Result<()> {
    let last = positions::last(view)?;
    let full_end = Block::full(0, last) * BLOCK;
    let mut at = 1;
    while at <= full_end {
        let Some(mut block) = highest(at, last, false) else { return Err(wrong_at(Block::of(0, at))) };
        loop {
            let summary = find(view, block)?;
            if !summary.can_hold(wanted) {
                break;
            }
            let is_in_one_span = spans.number(summary.earliest).is_some_and(|span| spans.number(summary.latest) == Some(span));
            if let Some(counts) = summary.counts.as_ref().filter(|_| is_in_one_span && summary.is_within(wanted)) {
                let matching = counts.iter().filter(|((aggregate, event), _)| wanted.matches_pair(*aggregate, *event));
                spans.add(summary.earliest, matching.map(|(_, events)| events).sum());
                break;
            }
            match block.level {
                0 => {
                    spans.add_events(view, wanted, (block.first(), block.last()))?;
                    break;
                }
                level => block = Block::of(level - 1, at),
            }
        }
        at = block.last() + 1;
    }
    spans.add_events(view, wanted, (full_end + 1, last))
}
