//! How many aggregates each type has, so that statistics need not count them all.
//!
//! Aggregates have numbers that rise without gaps, and keep them. Whenever a multiple of [`EACH`] is reached, one row records
//! the counts up to there; who asks adds those that came after. Without the row all of them are counted.

use std::collections::BTreeMap;

use rusqlite::params;

use crate::model::error::Result;
use crate::sqlite::checksum;
use crate::sqlite::consistency::disagrees;
use crate::sqlite::transaction::{Columns, View, Writing};

/// Aggregates between two changes of the row.
const EACH: i64 = 1_024;
/// With more types than this the row would cost more than it saves, so there is none.
const MOST_TYPES: usize = 4_096;
/// Aggregates counted in one read transaction of a verification.
const COUNTED_AT_ONCE: i64 = 65_536;

/// The number of aggregates for each type, by its number.
pub(crate) type Counts = BTreeMap<i64, u64>;

/// The counts of the aggregates up to a number.
#[derive(Debug, Default, Clone)]
struct Recorded {
    through: i64,
    counts: Counts,
}

impl Recorded {
    /// What is recorded; nothing if there is no row.
    fn read(view: &View<'_>) -> Result<Recorded> {
        let sql = "SELECT through, counts, checksum FROM aggregate_counts WHERE id = 1";
        let mut found = Recorded::default();
        view.each_row(sql, [], |row| {
            let (through, text): (i64, String) = (row.at(0)?, row.at(1)?);
            if checksum_of(through, &text) != row.at::<i64>(2)? {
                return Err(disagrees());
            }
            let counts: Vec<(i64, u64)> = serde_json::from_str(&text).map_err(|_| disagrees())?;
            found = Recorded { through, counts: counts.into_iter().collect() };
            Ok(false)
        })?;
        Ok(found)
    }

    /// Adds the aggregates up to a number.
    fn extend(&mut self, view: &View<'_>, through: i64) -> Result<()> {
        // By the rows, not by the index: they lie in the order of their numbers.
        let sql =
            "SELECT aggregate_type, count(*) FROM aggregates NOT INDEXED WHERE id > ?1 AND id <= ?2 GROUP BY aggregate_type";
        view.each_row(sql, [self.through, through], |row| {
            *self.counts.entry(row.at(0)?).or_default() += row.at::<u64>(1)?;
            Ok(true)
        })?;
        self.through = through;
        Ok(())
    }

    fn save(&self, writing: &Writing<'_>) -> Result<()> {
        if self.counts.len() > MOST_TYPES {
            return clear(writing);
        }
        let counts: Vec<String> = self.counts.iter().map(|(number, aggregates)| format!("[{number},{aggregates}]")).collect();
        let counts = format!("[{}]", counts.join(","));
        let row = params![self.through, counts, checksum_of(self.through, &counts)];
        writing.execute("INSERT OR REPLACE INTO aggregate_counts (id, through, counts, checksum) VALUES (1, ?1, ?2, ?3)", row)?;
        Ok(())
    }
}

fn checksum_of(through: i64, counts: &str) -> i64 {
    checksum::fields(through.cast_unsigned(), &[counts.as_bytes()])
}

/// Counts the aggregates of each type.
pub(crate) fn of_all(view: &View<'_>) -> Result<Counts> {
    let mut recorded = Recorded::read(view)?;
    recorded.extend(view, i64::MAX)?;
    Ok(recorded.counts)
}

/// Counts the aggregates of a type.
pub(crate) fn of_type(view: &View<'_>, aggregate_type: i64) -> Result<u64> {
    let recorded = Recorded::read(view)?;
    let later: u64 = match recorded.through {
        0 => view.value("SELECT count(*) FROM aggregates WHERE aggregate_type = ?1", [aggregate_type])?,
        through => {
            let sql = "SELECT count(*) FROM aggregates NOT INDEXED WHERE id > ?1 AND aggregate_type = ?2";
            view.value(sql, [through, aggregate_type])?
        }
    };
    Ok(recorded.counts.get(&aggregate_type).copied().unwrap_or(0) + later)
}

/// Records the counts again if the aggregate with this number, which was just created, is one after which that is done.
pub(crate) fn note(writing: &Writing<'_>, number: i64) -> Result<()> {
    if number % EACH != 0 {
        return Ok(());
    }
    // A damaged row is no reason to refuse an append: all are counted, and it is replaced.
    let mut recorded = Recorded::read(writing).unwrap_or_default();
    recorded.extend(writing, number)?;
    recorded.save(writing)
}

/// Counts all aggregates and records that.
pub(crate) fn recreate(writing: &Writing<'_>) -> Result<()> {
    clear(writing)?;
    let last: i64 = writing.value("SELECT coalesce(max(id), 0) FROM aggregates", [])?;
    match last - last % EACH {
        0 => Ok(()),
        number => note(writing, number),
    }
}

fn clear(writing: &Writing<'_>) -> Result<()> {
    writing.execute("DELETE FROM aggregate_counts", [])?;
    Ok(())
}

/// Counts again what is recorded, part by part.
#[derive(Debug, Default)]
pub(crate) struct Recount {
    recorded: Option<Recorded>,
    counted: Recorded,
}

impl Recount {
    /// Counts the next part. Returns whether there is more; at the end, an error if another number is recorded.
    pub(crate) fn go_on(&mut self, view: &View<'_>) -> Result<bool> {
        // Aggregates keep their numbers, so what was recorded at the beginning stays true while others append.
        let recorded = match &self.recorded {
            Some(recorded) => recorded,
            None => self.recorded.insert(Recorded::read(view)?),
        };
        let next = self.counted.through.saturating_add(COUNTED_AT_ONCE).min(recorded.through);
        self.counted.extend(view, next)?;
        if next < recorded.through {
            return Ok(true);
        }
        if self.counted.counts == recorded.counts { Ok(false) } else { Err(disagrees()) }
    }
}
