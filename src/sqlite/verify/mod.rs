//! Checks the whole file, page by page. Each check reads one page in one read transaction, adds its findings to
//! `found`, moves its cursor, and returns whether there is more.
//!
//! No index is trusted here: what was found along one path is looked up along another.

mod chain;
mod delivery;
mod derived;
mod log;
mod names;

use std::ops::ControlFlow;

use crate::model::damage::{Damage, Found};
use crate::model::error::{Error, Result};
use crate::model::place::Position;
use crate::sqlite::Database;
use crate::sqlite::connection::fresh::Fresh;
use crate::sqlite::format::is_ours;
use crate::sqlite::tables::aggregate_counts::Recount;
use crate::sqlite::tables::{log_state, losses, positions};
use crate::sqlite::transaction::View;
use crate::storage::verify::{VerifyProgress, VerifyReport, VerifyStep};

/// Rows checked in one read transaction.
const PAGE: usize = 1_024;
/// How many unreadable stretches in a row a check skips before it gives up on the rest of a table. Each stretch is
/// twice as long as the last, so the skips get past any that a table can have.
const STRETCHES: u32 = 62;

impl Database {
    pub(crate) fn verify(&self, progress: &mut dyn FnMut(VerifyProgress) -> ControlFlow<()>) -> Result<VerifyReport> {
        let mut walk = Walk { fresh: self.fresh()?, found: Found::default(), progress, stopped: false };
        let mut report = VerifyReport::default();
        walk.all(&mut report);
        report.finished = !walk.stopped;
        report.damage_count = walk.found.count;
        report.damages = walk.found.damages;
        Ok(report)
    }
}

/// Checks tables page by page. An error ends a page, never the verification.
struct Walk<'p> {
    fresh: Fresh,
    found: Found,
    progress: &'p mut dyn FnMut(VerifyProgress) -> ControlFlow<()>,
    stopped: bool,
}

/// The progress of a check of numbered rows.
#[derive(Debug, Default)]
struct RowsCursor {
    id: i64,
    rows: u64,
}

/// A cursor that can be moved past unreadable rows.
trait Cursor {
    /// The number of the last row that was checked.
    fn id(&mut self) -> &mut i64;
    fn rows(&self) -> u64;
}

impl Cursor for RowsCursor {
    fn id(&mut self) -> &mut i64 {
        &mut self.id
    }

    fn rows(&self) -> u64 {
        self.rows
    }
}

impl Walk<'_> {
    fn all(&mut self, report: &mut VerifyReport) {
        let (events, aggregates, snapshots) = self.fresh.read(|view| Ok(sizes(view))).unwrap_or_default();
        self.once(VerifyStep::Structure, |view, found| structure(view, "quick_check", found));
        self.once(VerifyStep::Structure, indexes);
        self.once(VerifyStep::Totals, totals);
        for of in &names::NamesOf::ALL {
            self.rows(VerifyStep::Names, 0, |view, cursor, found| names::names(view, of, cursor, found));
        }
        report.aggregates = self.rows(VerifyStep::Aggregates, aggregates, names::aggregates);
        self.until_an_error(VerifyStep::Aggregates, &mut (i64::MIN, String::new()), names::aggregate_index);
        let mut of_main = log::EventsCursor::default();
        report.events = self.pages(VerifyStep::Events, events, &mut of_main, log::events);
        let mut archived = log::ArchivedCursor::default();
        let mut blocks = std::mem::take(&mut of_main.blocks);
        self.until_an_error(VerifyStep::Archive, &mut archived, |view, cursor, found| {
            log::archived(view, &mut blocks, cursor, found)
        });
        report.events += archived.rows;
        report.events_proven = of_main.proven + archived.proven;
        self.rows(VerifyStep::Positions, 0, log::holes);
        let mut entries = log::Digest::default();
        self.rows(VerifyStep::Positions, events, |view, cursor, found| log::positions(view, &mut entries, cursor, found));
        if entries != of_main.rows_seen {
            // An event or an entry is damaged, or others wrote meanwhile.
            self.once(VerifyStep::Positions, |view, found| structure(view, "integrity_check(events)", found));
            self.rows(VerifyStep::Positions, events, log::look_up);
        }
        report.chain_links = self.pages(VerifyStep::Chain, 0, &mut chain::ChainCursor::new(), chain::links);
        self.until_an_error(VerifyStep::Erasures, &mut 0, log::erasures);
        self.until_an_error(VerifyStep::Ids, &mut (i64::MIN, Vec::new()), derived::ids);
        self.rows(VerifyStep::Ids, 0, derived::removed);
        self.until_an_error(VerifyStep::Tags, &mut (i64::MIN, String::new(), i64::MIN), derived::tags);
        let mut summaries = RowsCursor { id: -1, rows: 0 };
        self.pages(VerifyStep::Summaries, 0, &mut summaries, |view, cursor, found| {
            derived::summaries(view, &blocks, cursor, found)
        });
        self.until_an_error(VerifyStep::Summaries, &mut Recount::default(), derived::aggregate_counts);
        report.snapshots = self.rows(VerifyStep::Snapshots, snapshots, derived::snapshots);
        self.once(VerifyStep::Subscriptions, delivery::all_subscriptions);
        self.until_an_error(VerifyStep::Deliveries, &mut delivery::DeliveriesCursor::default(), delivery::all_deliveries);
    }

    fn say(&mut self, step: VerifyStep, done: u64, total: u64) {
        self.stopped |= (self.progress)(VerifyProgress::new(step, done, total, self.found.count)).is_break();
    }

    fn once(&mut self, step: VerifyStep, check: impl FnOnce(&View<'_>, &mut Found) -> Result<()>) {
        if self.stopped {
            return;
        }
        let Walk { fresh, found, .. } = self;
        if let Err(error) = fresh.read(|view| check(view, found)) {
            self.found.add(damage_of(&error));
        }
        self.say(step, 1, 1);
    }

    fn rows(
        &mut self,
        step: VerifyStep,
        total: u64,
        page: impl FnMut(&View<'_>, &mut RowsCursor, &mut Found) -> Result<bool>,
    ) -> u64 {
        self.pages(step, total, &mut RowsCursor::default(), page)
    }

    /// Checks page after page. What cannot be read is reported once and skipped. Returns how many rows were checked.
    fn pages<C: Cursor>(
        &mut self,
        step: VerifyStep,
        total: u64,
        cursor: &mut C,
        mut page: impl FnMut(&View<'_>, &mut C, &mut Found) -> Result<bool>,
    ) -> u64 {
        let mut stretch = 0;
        while !self.stopped {
            let before = *cursor.id();
            let Walk { fresh, found, .. } = self;
            let outcome = fresh.read(|view| page(view, cursor, found));
            self.say(step, cursor.rows(), total);
            match outcome {
                Ok(true) => stretch = 0,
                Ok(false) => break,
                Err(error) => {
                    let moved = *cursor.id() != before;
                    if moved || stretch == 0 {
                        stretch = 0;
                        self.found.add(damage_of(&error));
                    }
                    if stretch > STRETCHES {
                        break;
                    }
                    *cursor.id() = cursor.id().saturating_add(1 << stretch);
                    stretch += 1;
                }
            }
        }
        cursor.rows()
    }

    fn until_an_error<C>(
        &mut self,
        step: VerifyStep,
        cursor: &mut C,
        mut page: impl FnMut(&View<'_>, &mut C, &mut Found) -> Result<bool>,
    ) {
        while !self.stopped {
            let Walk { fresh, found, .. } = self;
            let outcome = fresh.read(|view| page(view, cursor, found));
            self.say(step, 0, 0);
            match outcome {
                Ok(true) => {}
                Ok(false) => return,
                Err(error) => return self.found.add(damage_of(&error)),
            }
        }
    }
}

/// Turns an error into a finding.
fn damage_of(error: &Error) -> Damage {
    let mut damage = Damage::new(error.detail());
    damage.aggregate = error.aggregate().cloned();
    damage.version = error.version();
    damage.position = error.position().filter(|position| *position > Position::ZERO);
    damage
}

fn count(view: &View<'_>, table: &str) -> Result<u64> {
    view.value(&format!("SELECT count(*) FROM {table}"), [])
}

/// The numbers of rows to check, for the progress; 0 if even these cannot be read.
fn sizes(view: &View<'_>) -> (u64, u64, u64) {
    let size = |table| count(view, table).unwrap_or(0);
    (size("events"), size("aggregates"), size("snapshots"))
}

/// Asks SQLite for a check of its own: of the pages and tables, or of a table with its indexes.
fn structure(view: &View<'_>, check: &str, found: &mut Found) -> Result<()> {
    let complaints: Vec<String> = view.rows(&format!("PRAGMA {check}"), [], |row| row.get(0))?;
    for complaint in complaints {
        for line in complaint.lines().filter(|line| *line != "ok" && !line.starts_with("*** in database")) {
            found.add(Damage::new(format!("page structure: {line}")));
        }
    }
    Ok(())
}

/// Asks SQLite to compare the indexes with their tables, all but that of positions: the check of positions does that in a
/// fraction of the time.
fn indexes(view: &View<'_>, found: &mut Found) -> Result<()> {
    let sql = "SELECT DISTINCT tbl_name FROM sqlite_schema WHERE type = 'index' AND tbl_name <> 'events' ORDER BY tbl_name";
    for table in view.rows::<String>(sql, [], |row| row.get(0))? {
        structure(view, &format!("integrity_check(\"{}\")", table.replace('"', "\"\"")), found)?;
    }
    // SQLite passes over an index whose table is empty, whatever page it is on.
    let sql = "SELECT tbl_name, name, sql FROM sqlite_schema WHERE type = 'index' AND sql IS NOT NULL AND tbl_name <> 'events'
               ORDER BY name";
    let indexes: Vec<(String, String, String)> = view.rows(sql, [], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
    for (table, index, sql) in indexes.into_iter().filter(|(_, index, _)| is_ours(index)) {
        let condition = sql.split_once(" WHERE ").map_or("1", |(_, condition)| condition);
        let count = |by: &str| view.value::<u64>(&format!("SELECT count(*) FROM {table} {by} WHERE {condition}"), []);
        match (count(&format!("INDEXED BY {index}")), count("NOT INDEXED")) {
            (Ok(entries), Ok(rows)) if entries == rows => {}
            (Ok(entries), Ok(rows)) => {
                found.add(Damage::new(format!("the index {index} has {entries} entries for {rows} rows of {table}")));
            }
            (Err(error), _) | (_, Err(error)) => {
                found.add(Damage::new(format!("the index {index} cannot be read: {}", error.detail())));
            }
        }
    }
    Ok(())
}

/// Compares the stored totals with counts, in one transaction so that they match.
fn totals(view: &View<'_>, found: &mut Found) -> Result<()> {
    let rows = count(view, "log_state")?;
    if rows != 1 {
        found.add(Damage::new(format!("log_state has {rows} rows, not one")));
        return Ok(());
    }
    if let Err(error) = log_state::replica(view) {
        found.add(damage_of(&error).advice("the file has lost its own identity: restore a backup"));
    }
    let (counted, kept) = (count(view, "snapshots")?, log_state::snapshot_count(view)?);
    if counted != kept {
        let what = format!("there are {counted} snapshots, but the stored number is {kept}");
        found.add(Damage::new(what).advice("only the statistics are wrong; restore a backup when you can"));
    }
    let (events, last, (purged, archived)) =
        (count(view, "events NOT INDEXED")?, positions::last(view)?, positions::removed(view)?);
    let removed = purged + archived;
    if events + removed != last {
        found.add(Damage::new(format!("of {last} positions {events} have an event and {removed} are recorded as removed")));
    }
    const SQL: &str = "SELECT coalesce(sum(purged_through), 0), coalesce(sum(max(archived_through - purged_through, 0)), 0)
                       FROM removals";
    let of_aggregates: (u64, u64) = view.row(SQL, [], |row| Ok((row.get(0)?, row.get(1)?)))?;
    for (what, of_aggregates, of_positions) in [("purged", of_aggregates.0, purged), ("archived", of_aggregates.1, archived)] {
        // Of some lost events only the position is known, of others only the aggregate.
        if of_aggregates != of_positions && !losses::any(view)? {
            found.add(Damage::new(format!(
                "{of_aggregates} events were {what} by the records of the aggregates, {of_positions} by those of the positions"
            )));
        }
    }
    Ok(())
}
