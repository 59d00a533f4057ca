//! Finds what is lost, and sees to it that nothing is folded without it.

use rusqlite::{Params, params};

use super::{PAGE, Salvage};
use crate::model::error::Result;
use crate::model::place::{Position, Version};
use crate::sqlite::tables::aggregates::{self, Removal};
use crate::sqlite::tables::archive::Part;
use crate::sqlite::tables::events::{Owner, check_page};
use crate::sqlite::tables::keys::{key, key_version};
use crate::sqlite::tables::losses;
use crate::sqlite::tables::positions::{self, Hole};
use crate::sqlite::transaction::{Columns, View};
use crate::storage::repair::{Lost, RepairStep};

/// The most that a list names.
const NAMED: usize = 1_000;

/// Looks at every position, and then at every aggregate.
pub(super) fn close(salvage: &mut Salvage<'_>, purged: &[Hole]) -> Result<()> {
    let writing = salvage.writing;
    // Entries of events that were found after all. And nothing confirms an entry but those beside it: alone it must not move
    // the end of the log.
    for sql in [
        "DELETE FROM found.places WHERE key IN (SELECT key FROM main.events) OR position IN (SELECT position FROM main.events)",
        "DELETE FROM found.places WHERE position > (SELECT coalesce(max(position), 0) + 1 FROM main.events)
           AND NOT EXISTS (SELECT 1 FROM found.places p WHERE p.position IN (places.position - 1, places.position + 1))",
    ] {
        writing.execute(sql, [])?;
    }
    for hole in purged {
        writing.execute("INSERT INTO found.purged VALUES (?1, ?2)", [hole.first, hole.last])?;
    }
    let known = "SELECT position, position FROM main.events UNION ALL SELECT position, position FROM found.places
                 UNION ALL SELECT first, last FROM found.purged UNION ALL SELECT ?1, ?1 ORDER BY 1";
    let end = missing(writing, known, [0])?.1;
    drop_nameless(salvage)?;
    let unknown = missing(writing, known, [end + 1])?.0;
    salvage.report.positions_lost = unknown.iter().map(|(first, last)| last - first + 1).sum();
    salvage.report.positions =
        unknown.iter().take(NAMED).map(|(first, last)| (Position::new(*first), Position::new(*last))).collect();

    let total = writing.value("SELECT count(*) FROM main.aggregates", [])?;
    let (mut after, mut done) = (0, 0);
    let sql = "SELECT id FROM main.aggregates NOT INDEXED WHERE id > ?1 ORDER BY id LIMIT ?2";
    loop {
        let page: Vec<i64> = writing.rows(sql, params![after, PAGE], |row| row.get(0))?;
        for id in &page {
            aggregate(salvage, *id)?;
        }
        done += page.len() as u64;
        salvage.say(RepairStep::Gaps, done, total)?;
        match page.last() {
            Some(last) if page.len() == PAGE => after = *last,
            _ => break,
        }
    }
    if salvage.report.events_lost + salvage.report.positions_lost > 0 {
        losses::note(writing, 0, 0)?;
    }
    // Every position without an event is a hole now.
    writing.execute("DELETE FROM main.holes", [])?;
    let there = "SELECT position, position FROM main.events UNION ALL SELECT ?1, ?1 ORDER BY 1";
    for (first, last) in missing(writing, there, [end + 1])?.0 {
        positions::save_hole(writing, Hole { first, last, archived: false })?;
    }
    Ok(())
}

/// Deletes aggregates whose type or tenant is lost. Without them no checksum can be computed.
fn drop_nameless(salvage: &mut Salvage<'_>) -> Result<()> {
    let writing = salvage.writing;
    let (mut after, mut dropped) = (0, 0);
    while let Some(id) = writing.value_if_any("SELECT id FROM main.aggregates NOT INDEXED WHERE id > ?1 LIMIT 1", [after])? {
        after = id;
        if Owner::by_number(writing, id).is_err() {
            dropped += 1;
            writing.execute("DELETE FROM main.aggregates WHERE id = ?1", [id])?;
            for table in ["events", "snapshots"] {
                let sql = format!("DELETE FROM main.{table} WHERE key > ?1 AND key <= ?2");
                writing.execute(&sql, [key(id, 0), key(id, Version::MAX.get())])?;
            }
        }
    }
    if dropped > 0 {
        writing.execute("DELETE FROM found.places WHERE key >> 32 NOT IN (SELECT id FROM main.aggregates)", [])?;
        salvage.report.left_out.push(format!("{dropped} aggregates whose type's name is lost, with their events"));
    }
    Ok(())
}

/// The numbers from 1 on that none of the ranges of a query contains, and the end of the last range.
fn missing(view: &View<'_>, sql: &str, params: impl Params) -> Result<(Vec<(u64, u64)>, u64)> {
    let (mut ranges, mut before) = (Vec::new(), 0);
    view.each_row(sql, params, |row| {
        let (first, last): (u64, u64) = (row.at(0)?, row.at(1)?);
        if first > before + 1 {
            ranges.push((before + 1, first - 1));
        }
        before = before.max(last);
        Ok(true)
    })?;
    Ok((ranges, before))
}

fn aggregate(salvage: &mut Salvage<'_>, id: i64) -> Result<()> {
    let writing = salvage.writing;
    let all = [key(id, 0), key(id, Version::MAX.get())];
    let owner = Owner::by_number(writing, id)?;
    // A damaged record of removed events makes them lost ones.
    let removal = aggregates::removed(writing, id).unwrap_or_default();
    let covered = writing.value("SELECT coalesce(max(version), 0) FROM main.snapshots WHERE key > ?1 AND key <= ?2", all)?;
    let (lost, last_event) = lost_versions(salvage, &owner, removal, covered)?;
    let lost_through = lost.last().map_or(0, |(_, last)| *last);
    // What is left is a whole beginning: it stays, but it is not the present.
    let is_end = lost.len() == 1 && lost_through > last_event && last_event > removal.purged_through && covered < lost_through;
    let mut purged_through = removal.purged_through;
    if lost_through > 0 {
        if !is_end {
            purged_through = purged_through.max(lost_through);
            unplace(salvage, &owner, purged_through)?;
        }
        losses::note(writing, id, lost_through)?;
    }
    writing.execute("DELETE FROM main.removals WHERE aggregate = ?1", [id])?;
    if purged_through > 0 {
        aggregates::note_removal(writing, id, Removal { purged_through, archived_through: 0 })?;
    }
    salvage.report.ends_lost += u64::from(is_end);
    for (first, last) in lost {
        salvage.report.events_lost += last - first + 1;
        if salvage.report.lost.len() < NAMED {
            let (first, last) = (Version::new(first), Version::new(last));
            salvage.report.lost.push(Lost { aggregate: owner.reference(), first, last, is_end });
        }
    }
    Ok(())
}

/// The ranges of versions that an aggregate lacks, and the version of its last event that is left.
fn lost_versions(salvage: &Salvage<'_>, owner: &Owner, removal: Removal, covered: u64) -> Result<(Vec<(u64, u64)>, u64)> {
    let writing = salvage.writing;
    let range = [key(owner.aggregate, removal.purged_through), key(owner.aggregate, Version::MAX.get())];
    let (mut lost, mut before) = (Vec::new(), removal.purged_through);
    writing.each_row("SELECT key FROM main.events WHERE key > ?1 AND key <= ?2 ORDER BY key", range, |row| {
        let version = key_version(row.at(0)?);
        if version > before + 1 {
            lost.push((before + 1, version - 1));
        }
        before = version;
        Ok(true)
    })?;
    let place: Option<i64> = writing.value("SELECT max(key) FROM found.places WHERE key > ?1 AND key <= ?2", range)?;
    // It had at least one event.
    let end = place.map_or(0, key_version).max(covered).max(removal.through()).max(1);
    if end > before {
        lost.push((before + 1, end));
    }
    Ok((lost, before))
}

/// Hands the events up to a lost one to the witness, and takes them out of the file.
fn unplace(salvage: &mut Salvage<'_>, owner: &Owner, through: u64) -> Result<()> {
    let mut after = key(owner.aggregate, 0);
    let end = key(owner.aggregate, through);
    loop {
        let mut events = Vec::new();
        check_page(salvage.writing, Part::Main, after, PAGE, |found, unread| {
            if found <= end {
                let raw = unread.event(salvage.writing, owner.identity)?;
                events.push((found, raw.recorded(raw.as_stored(), &owner.aggregate_type, owner.aggregate_id.clone(), None)?));
            }
            Ok(())
        })?;
        let Some((last, _)) = events.last() else { break };
        after = *last;
        for (_, event) in events {
            salvage.report.unplaced += 1;
            salvage.witness.unplaced(event)?;
        }
    }
    let bounds = [key(owner.aggregate, 0), end];
    salvage.writing.execute("DELETE FROM main.events WHERE key > ?1 AND key <= ?2", bounds).map(drop)
}
