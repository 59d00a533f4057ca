//! Keeps the summaries of blocks true: appends fill blocks, and removals take events out of them.

use std::collections::BTreeMap;

use super::archive::Part;
use super::block_summaries::{Block, Counts, FAN, LEVELS, Summary, find, wrong_at};
use super::positions;
use crate::model::error::Result;
use crate::sqlite::ends::Filling;
use crate::sqlite::transaction::Writing;

/// The blocks that an append fills, as far as it knows all of their events.
pub(crate) struct Filled {
    filling: Option<Filling>,
    full: Vec<(u64, Summary)>,
}

impl Filled {
    /// Goes on with what earlier appends left.
    pub(crate) fn new(filling: Option<Filling>) -> Filled {
        Filled { filling, full: Vec::new() }
    }

    /// Adds an event that was appended.
    pub(crate) fn add(&mut self, position: u64, aggregate_type: i64, event_type: i64, created_at: i64) {
        let block = Block::of(0, position);
        if position == block.first() {
            let Summary { earliest, latest, .. } = Summary::EMPTY;
            self.filling = Some(Filling { next: position, earliest, latest, counts: Counts::new() });
        }
        let Some(mut filling) = self.filling.take().filter(|filling| filling.next == position) else { return };
        filling.next += 1;
        filling.earliest = filling.earliest.min(created_at);
        filling.latest = filling.latest.max(created_at);
        *filling.counts.entry((aggregate_type, event_type)).or_default() += 1;
        if position < block.last() {
            self.filling = Some(filling);
            return;
        }
        let Filling { earliest, latest, counts, .. } = filling;
        self.full.push((block.number, Summary { earliest, latest, counts: Some(counts) }));
    }

    /// Writes the summaries of the blocks that were filled since position `first`. Returns what the next append can go on
    /// with.
    pub(crate) fn summarise(self, writing: &Writing<'_>, first: u64, last: u64) -> Result<Option<Filling>> {
        summarise_known(writing, (first, last), self.full)?;
        Ok(self.filling)
    }
}

/// Writes the summaries of the blocks that end at positions from `first` to `last`.
pub(crate) fn summarise(writing: &Writing<'_>, first: u64, last: u64) -> Result<()> {
    summarise_known(writing, (first, last), Vec::new())
}

fn summarise_known(writing: &Writing<'_>, (first, last): (u64, u64), known: Vec<(u64, Summary)>) -> Result<()> {
    let mut known = known.into_iter().peekable();
    for number in Block::full(0, first - 1)..Block::full(0, last) {
        let block = Block { level: 0, number };
        let range = (block.first(), block.last());
        let summary = match known.next_if(|(of, _)| *of == number) {
            Some((_, summary)) => summary,
            None => match positions::part_of(writing, range, false)? {
                (Part::Main, whole) if whole == range => Summary::of_rows(writing, range)?,
                _ => Summary::of_events(writing, range)?,
            },
        };
        summary.save(writing, block)?;
        summarise_above(writing, block)?;
    }
    Ok(())
}

/// Writes the summaries that a block completes on higher levels.
fn summarise_above(writing: &Writing<'_>, mut block: Block) -> Result<()> {
    while block.level + 1 < LEVELS && (block.number + 1).is_multiple_of(FAN) {
        let mut whole = Summary::EMPTY;
        for part in block.number + 1 - FAN..=block.number {
            whole.merge(find(writing, Block { number: part, ..block })?);
        }
        block = Block { level: block.level + 1, number: block.number / FAN };
        whole.save(writing, block)?;
    }
    Ok(())
}

/// What was removed from full blocks and must still be subtracted from their summaries.
#[derive(Default)]
pub(crate) struct Removed(BTreeMap<u64, Counts>);

impl Removed {
    /// Records that an event was removed.
    pub(crate) fn note(&mut self, position: u64, aggregate_type: i64, event_type: i64) {
        *self.0.entry(Block::of(0, position).number).or_default().entry((aggregate_type, event_type)).or_default() += 1;
    }

    /// Lowers the counts of the summaries. Their times stay valid as bounds.
    pub(crate) fn subtract(self, writing: &Writing<'_>) -> Result<()> {
        let last = positions::last(writing)?;
        let mut of_level = self.0;
        for level in 0..LEVELS {
            let mut above: BTreeMap<u64, Counts> = BTreeMap::new();
            for (number, removed) in of_level {
                let block = Block { level, number };
                if number >= Block::full(level, last) {
                    continue;
                }
                let mut summary = find(writing, block)?;
                if let Some(counts) = &mut summary.counts {
                    for (pair, events) in &removed {
                        let left = counts.get(pair).and_then(|held| held.checked_sub(*events)).ok_or_else(|| wrong_at(block))?;
                        match left {
                            0 => counts.remove(pair),
                            left => counts.insert(*pair, left),
                        };
                    }
                    summary.save(writing, block)?;
                }
                let whole = above.entry(number / FAN).or_default();
                removed.into_iter().for_each(|(pair, events)| *whole.entry(pair).or_default() += events);
            }
            of_level = above;
        }
        Ok(())
    }
}

/// Empties the table, to fill it again.
pub(crate) fn clear(writing: &Writing<'_>) -> Result<()> {
    writing.batch("DELETE FROM block_summaries")
}
