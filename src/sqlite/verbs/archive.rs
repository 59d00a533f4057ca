//! Moves old events to the archive, and back.
//!
//! A move has two transactions: one copies the events into the archive and waits for the disk; the other, in the main
//! file, reads the copies back, checks them, and deletes the originals. Whatever ends the process in between, each event
//! is in the main file, or in the archive and known as archived.

use rusqlite::types::Value;
use rusqlite::{Connection, ToSql, params, params_from_iter};
use uuid::Uuid;

use super::lookup;
use super::readers::through_position;
use crate::model::error::{Error, ErrorKind, Result};
use crate::model::place::Version;
use crate::options::Options;
use crate::sqlite::Database;
use crate::sqlite::connection::failure::Sql;
use crate::sqlite::ends::Ends;
use crate::sqlite::packed;
use crate::sqlite::tables::ages;
use crate::sqlite::tables::aggregates::{self, AggregateRow, Removal};
use crate::sqlite::tables::archive::{self, Part};
use crate::sqlite::tables::block_summaries::BLOCK;
use crate::sqlite::tables::events::{self, Owner};
use crate::sqlite::tables::keys::key;
use crate::sqlite::tables::{log_state, positions, snapshots};
use crate::sqlite::transaction::{View, Writing};
use crate::storage::upkeep::{ArchivePlan, Archived};

/// Aggregates looked at in one step.
const AGGREGATES_AT_ONCE: usize = 64;
/// Events moved in one step, so that none holds the write lock for long.
const EVENTS_AT_ONCE: u64 = 4_096;
/// Marks an archive: "FLAR".
const APPLICATION_ID: i32 = 0x464C_4152;

/// Deletes what an earlier move of the same events left, or their coming back.
const FORMER_COPIES: &str = "DELETE FROM archive.events WHERE key > ?1 AND key <= ?2 AND EXISTS (
                               SELECT 1 FROM main.events e WHERE e.key = events.key AND e.position = events.position
                                 AND e.event_id = events.event_id)";
/// Replaces nothing: a row that is there now may be the only copy of another event.
const COPY: &str = "INSERT INTO archive.events SELECT * FROM main.events WHERE key > ?1 AND key <= ?2";

const BACK: &str = "INSERT INTO main.events SELECT * FROM archive.events WHERE key > ?1 AND key <= ?2 AND typeof(data) = 'text'";
const BACK_ROW: &str = "INSERT INTO main.events VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)";
const COPY_ROW: &str = "INSERT INTO archive.events VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)";

/// Events of one aggregate, from version `after + 1` to `through`, that are to be moved.
struct Move {
    owner: Owner,
    after: u64,
    through: u64,
}

/// What a step is to move.
#[derive(Default)]
struct Step {
    moves: Vec<Move>,
    events: u64,
    archived: Archived,
    /// Where the next step continues; `None` at the end.
    next: Option<i64>,
}

impl Database {
    /// Archives the next events of a tenant, of aggregates after a number. Returns what it did, and the number to
    /// continue from: `None` at the end.
    pub(crate) fn archive(&self, tenant: &str, plan: &ArchivePlan, after: i64) -> Result<(Archived, Option<i64>)> {
        let step = self.read(|view| plan_step(view, tenant, plan, after))?;
        if plan.dry_run || step.moves.is_empty() {
            return Ok((step.archived, step.next));
        }
        self.copy(&step.moves, plan.compress)?;
        self.write_in_background(|writing| {
            archive::attach(writing)?;
            step.moves.iter().try_for_each(|of| delete_archived(writing, of).map_err(|error| error.of(&of.owner.reference())))
        })?;
        Ok((step.archived, step.next))
    }

    /// Moves archived events of a tenant back, of aggregates from a number on. Returns how many, and the number to
    /// continue from: `None` at the end.
    pub(crate) fn unarchive(&self, tenant: &str, only: Option<(&str, &str)>, after: i64) -> Result<(u64, Option<i64>)> {
        self.write(|writing| {
            let aggregate = match only {
                Some((aggregate_type, aggregate_id)) => {
                    lookup::find(writing, tenant, aggregate_type, aggregate_id)?.map(|(row, _)| row.id)
                }
                None => aggregates::next_archived(writing, after)?,
            };
            let Some(aggregate) = aggregate else { return Ok((0, None)) };
            let owner = Owner::by_number(writing, aggregate)?;
            if &*owner.aggregate_type.tenant != tenant {
                return Ok((0, Some(aggregate)));
            }
            let (moved, more) = bring_back(writing, &owner).map_err(|error| error.of(&owner.reference()))?;
            let next = match (more, only) {
                (true, _) => Some(aggregate - 1),
                (false, Some(_)) => None,
                (false, None) => Some(aggregate),
            };
            Ok((moved, next))
        })
    }

    /// A store in memory with everything that this one holds now, archived events included.
    pub(crate) fn copy_to_memory(&self, options: &Options) -> Result<Database> {
        self.copy_pages_to_memory(options, |view| {
            if positions::removed(view)?.1 == 0 {
                return Ok(());
            }
            let writing = Writing::begin(view.connection(), view.names, Ends::default())?;
            let mut after = 0;
            while let Some(aggregate) = aggregates::next_archived(&writing, after)? {
                let (_, more) = bring_back(&writing, &Owner::by_number(&writing, aggregate)?)?;
                after = if more { aggregate - 1 } else { aggregate };
            }
            writing.commit()
        })
    }

    /// Copies events into the archive, on a connection of its own, and waits for the disk.
    fn copy(&self, moves: &[Move], compress: bool) -> Result<()> {
        if self.read(log_state::archive_id)?.is_none() {
            self.write_durably(|writing| match log_state::archive_id(writing)? {
                Some(_) => Ok(()),
                None => log_state::note_archive(writing, Uuid::new_v4()),
            })?;
        }
        self.on_a_writer_of_its_own(|view| {
            open_to_write(view)?;
            let connection = view.connection();
            connection.execute_batch("BEGIN").sql()?;
            for Move { owner, after, through } in moves {
                let bounds = params![key(owner.aggregate, *after), key(owner.aggregate, *through)];
                view.prepare(FORMER_COPIES)?.execute(bounds).sql()?;
                let copied = match compress {
                    true => copy_packed(view, bounds),
                    false => view.prepare(COPY)?.execute(bounds).sql().map(drop),
                };
                copied.map_err(|error| taken(view, bounds, error))?;
            }
            connection.execute_batch("COMMIT").sql()
        })
    }
}

/// Copies events with their data compressed.
fn copy_packed(view: &View<'_>, bounds: &[&dyn ToSql]) -> Result<()> {
    let mut insert = view.prepare(COPY_ROW)?;
    view.each_row("SELECT * FROM main.events WHERE key > ?1 AND key <= ?2", bounds, |row| {
        let mut values = events::columns(row)?;
        if let Some(Value::Text(data)) = values.last()
            && let Some(packed) = packed::pack(data)?
        {
            values.pop();
            values.push(Value::Blob(packed));
        }
        insert.execute(params_from_iter(values)).sql()?;
        Ok(true)
    })
}

/// The error if the places of events in the archive are those of other events.
fn taken(view: &View<'_>, bounds: &[&dyn ToSql], error: Error) -> Error {
    const SQL: &str = "SELECT EXISTS (SELECT 1 FROM archive.events WHERE key > ?1 AND key <= ?2)
                           OR EXISTS (SELECT 1 FROM main.events e JOIN archive.events a ON a.position = e.position
                                      WHERE e.key > ?1 AND e.key <= ?2)";
    match view.value(SQL, bounds) {
        Ok(true) => Error::new(ErrorKind::Corrupt, "the archive holds other events in the place of those to be archived: an older file took the place of the one that archived them")
            .advice("put the newer file back; or bring all events back, move the archive away and archive again")
            .caused_by(error),
        _ => error,
    }
}

/// Chooses the events of the next aggregates that are to be moved.
fn plan_step(view: &View<'_>, tenant: &str, plan: &ArchivePlan, after: i64) -> Result<Step> {
    let mut step = Step::default();
    // Only from full blocks: the summary of the last one is still to be made, from the main file alone.
    let last_position = positions::last(view)? / BLOCK * BLOCK;
    let (page, next) = lookup::next_aggregates(view, tenant, plan.only.as_ref(), after, AGGREGATES_AT_ONCE)?;
    for (row, owner) in page {
        if !step.plan(view, plan, &row, owner, last_position)? {
            // The rest of this aggregate comes next.
            step.next = Some(row.id - 1);
            return Ok(step);
        }
    }
    step.next = next;
    Ok(step)
}

impl Step {
    /// Adds what is to be moved of an aggregate; returns whether that is all of it.
    fn plan(
        &mut self,
        view: &View<'_>,
        plan: &ArchivePlan,
        row: &AggregateRow,
        owner: Owner,
        last_position: u64,
    ) -> Result<bool> {
        let after = row.removal.through();
        let mut through = row.version.saturating_sub(plan.keep_newest);
        if let Some(before) = plan.before.filter(|_| through > after) {
            through = ages::older_through(view, Part::Main, row.id, (after, through), before)?;
        }
        if through > after {
            through = through_position(view, row.id, after, through, last_position)?;
        }
        if through <= after {
            return Ok(true);
        }
        let covered = snapshots::read_without(view, row.id, owner.identity)?;
        if covered.through < through {
            let reason = match &covered.limited_by {
                None => "it has no intact snapshot".to_owned(),
                Some((fold, version)) => {
                    format!("the newest snapshot of fold {fold:?} version {version} is of version {}", covered.through)
                }
            };
            self.archived.kept.push((owner.reference(), Version::new(through), through - covered.through.max(after), reason));
            through = covered.through;
        }
        if through <= after {
            return Ok(true);
        }
        let room = if plan.dry_run { u64::MAX } else { EVENTS_AT_ONCE - self.events };
        let is_whole = through - after <= room;
        let through = through.min(after.saturating_add(room));
        if through > after {
            self.events += through - after;
            self.archived.events += through - after;
            self.archived.aggregates += u64::from(is_whole);
            self.moves.push(Move { owner, after, through });
        }
        Ok(is_whole)
    }
}

/// Opens the archive to write to it; creates it if no event is in it yet.
fn open_to_write(view: &View<'_>) -> Result<()> {
    let archive = archive::path(view)?;
    let has_archived = positions::removed(view)?.1 > 0;
    if has_archived && archive.is_missing() {
        return Err(archive.missing());
    }
    let Some(id) = log_state::archive_id(view)? else {
        return Err(Error::new(ErrorKind::Internal, "the archive has no identity"));
    };
    archive::attach_file(view, archive)?;
    view.connection().execute_batch("PRAGMA archive.journal_mode = DELETE; PRAGMA archive.synchronous = EXTRA;").sql()?;
    let is_empty = view.value::<u64>("SELECT count(*) FROM archive.sqlite_schema", [])? == 0;
    match is_empty {
        true if has_archived => return Err(archive.missing()),
        true => create(view.connection(), id)?,
        false => {}
    }
    match archive::stored_id(view) {
        Ok(found) if found == id => Ok(()),
        _ => Err(archive.foreign()),
    }
}

/// Creates the archive's tables. Its events have the columns of the main file's.
fn create(connection: &Connection, id: Uuid) -> Result<()> {
    let sql = "SELECT sql FROM main.sqlite_schema WHERE type = 'table' AND name = 'events'";
    let events: String = connection.query_row(sql, [], |row| row.get(0)).sql()?;
    let events = events.replacen("CREATE TABLE events", "CREATE TABLE archive.events", 1);
    // Text, or a blob if it is compressed.
    let events = events.replacen(" data TEXT NOT NULL", " data ANY NOT NULL", 1);
    let tables = format!(
        "PRAGMA archive.auto_vacuum = INCREMENTAL;
         BEGIN IMMEDIATE;
         PRAGMA archive.application_id = {APPLICATION_ID};
         PRAGMA archive.user_version = 1;
         CREATE TABLE archive.archive_state (id INTEGER PRIMARY KEY CHECK (id = 1), archive_id BLOB NOT NULL) STRICT;
         {events};"
    );
    connection.execute_batch(&tables).sql()?;
    connection.execute("INSERT INTO archive.archive_state (id, archive_id) VALUES (1, ?1)", [id.into_bytes()]).sql()?;
    connection.execute_batch("COMMIT").sql()
}

/// Deletes events from the main file after a look at their copies.
fn delete_archived(writing: &Writing<'_>, Move { owner, after, through }: &Move) -> Result<()> {
    let removal = aggregates::removed(writing, owner.aggregate)?;
    if removal.through() != *after {
        // Another process has moved or purged them meanwhile.
        return Ok(());
    }
    let bounds = params![key(owner.aggregate, *after), key(owner.aggregate, *through)];
    let copies: u64 = writing.value("SELECT count(*) FROM archive.events WHERE key > ?1 AND key <= ?2", bounds)?;
    if copies < through - after {
        // Another process has swept the archive, and taken the copies for rows that nothing leads to.
        return Ok(());
    }
    let mut moved = Vec::new();
    let limit = usize::try_from(through - after).unwrap_or(usize::MAX);
    events::scan_aggregate(writing, Part::Archive, owner, (*after, *through), false, limit, |raw| {
        moved.push(raw.position);
        Ok(true)
    })?;
    let deleted = writing.execute("DELETE FROM events WHERE key > ?1 AND key <= ?2", bounds)?;
    if deleted != moved.len() {
        return Err(events::gap(after + 1));
    }
    positions::add_holes(writing, &moved, true)?;
    aggregates::note_removal(writing, owner.aggregate, Removal { archived_through: *through, ..removal })
}

/// Moves the newest archived events of an aggregate back. Their rows stay in the archive, where nothing leads to them.
/// Returns how many, and whether there are more.
fn bring_back(writing: &Writing<'_>, owner: &Owner) -> Result<(u64, bool)> {
    let removal = aggregates::removed(writing, owner.aggregate)?;
    let through = removal.archived_through;
    if through <= removal.purged_through {
        return Ok((0, false));
    }
    let after = removal.purged_through.max(through.saturating_sub(EVENTS_AT_ONCE));
    archive::attach(writing)?;
    let mut back = Vec::new();
    let limit = usize::try_from(through - after).unwrap_or(usize::MAX);
    events::scan_aggregate(writing, Part::Archive, owner, (after, through), false, limit, |raw| {
        back.push(raw.position);
        Ok(true)
    })?;
    let bounds = params![key(owner.aggregate, after), key(owner.aggregate, through)];
    writing.execute(BACK, bounds)?;
    let mut insert = writing.prepare(BACK_ROW)?;
    writing.each_row("SELECT * FROM archive.events WHERE key > ?1 AND key <= ?2 AND typeof(data) = 'blob'", bounds, |row| {
        insert.execute(params_from_iter(events::columns(row)?)).sql()?;
        Ok(true)
    })?;
    positions::end_holes(writing, &back)?;
    let more = after > removal.purged_through;
    let archived_through = if more { after } else { 0 };
    aggregates::note_removal(writing, owner.aggregate, Removal { archived_through, ..removal })?;
    Ok((back.len() as u64, more))
}
