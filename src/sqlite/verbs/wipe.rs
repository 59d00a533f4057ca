//! Removes the traces of what was erased: rows of the archive that nothing leads to, free pages, old bytes within pages,
//! the write-ahead log.
//!
//! SQLite leaves old bytes behind wherever it splits or merges pages, also with its own secure_delete. Only a file that is
//! written anew has none, and VACUUM does that in one transaction.

use rusqlite::params;

use crate::model::error::{ErrorKind, Result};
use crate::model::place::Version;
use crate::sqlite::Database;
use crate::sqlite::connection::failure::Sql;
use crate::sqlite::tables::erasures::{self, State};
use crate::sqlite::tables::keys::key;
use crate::sqlite::tables::{aggregates, archive, log_state, positions, subscriptions};
use crate::sqlite::transaction::{View, Writing};
use crate::storage::erasure::{ProjectionToRebuild, Wiped};

/// Rows of the archive deleted in one transaction, and aggregates looked at.
const ROWS_AT_ONCE: u64 = 1_024;
const AGGREGATES_AT_ONCE: usize = 64;

impl Database {
    /// The finished erasures that are not wiped, and the projections that must be rebuilt before they can be.
    pub(crate) fn unwiped(&self) -> Result<Wiped> {
        self.read(|view| {
            let mut wiped = Wiped::default();
            for row in erasures::unclean(view)? {
                wiped.left += 1;
                for (subscription, generation) in row.generations()? {
                    wiped.projections.extend(to_rebuild(view, subscription, generation)?);
                }
            }
            wiped.projections.sort();
            wiped.projections.dedup();
            Ok(wiped)
        })
    }

    /// Notes that the traces of erasures are removed: of those that no projection holds, up to a number.
    pub(crate) fn note_wiped(&self, through: u64) -> Result<()> {
        self.write_durably(|writing| {
            for mut row in erasures::unclean(writing)?.into_iter().filter(|row| row.id.cast_unsigned() <= through) {
                let holds =
                    |(subscription, generation)| to_rebuild(writing, subscription, generation).map(|found| found.is_some());
                let held = row.generations()?.into_iter().map(holds).collect::<Result<Vec<bool>>>()?;
                if !held.contains(&true) {
                    row.state = State::Clean;
                    erasures::save(writing, &row)?;
                }
            }
            Ok(())
        })
    }

    /// The number of the newest erasure.
    pub(crate) fn newest_erasure(&self) -> Result<u64> {
        self.read(|view| erasures::newest(view).map(i64::cast_unsigned))
    }

    /// Deletes some rows of the archive that the main file does not know as archived: of events that were purged or erased,
    /// or brought back. Returns how many, and the aggregate's number to continue from: `None` at the end.
    pub(crate) fn sweep_archive(&self, after: i64) -> Result<(u64, Option<i64>)> {
        if !self.read(has_archive)? {
            return Ok((0, None));
        }
        // Under the main file's lock: nobody can be between the two steps of a move.
        self.write_in_background(|writing| {
            archive::attach(writing)?;
            let (mut deleted, mut aggregate) = (0, after);
            for _ in 0..AGGREGATES_AT_ONCE {
                let sql = "SELECT key >> 32 FROM archive.events WHERE key > ?1 ORDER BY key LIMIT 1";
                let next: Option<i64> = writing.value_if_any(sql, [key(aggregate, Version::MAX.get())])?;
                let Some(next) = next else { return Ok((deleted, None)) };
                let swept = sweep(writing, next, ROWS_AT_ONCE - deleted)?;
                deleted += swept;
                if deleted >= ROWS_AT_ONCE {
                    return Ok((deleted, Some(next - 1)));
                }
                aggregate = next;
            }
            Ok((deleted, Some(aggregate)))
        })
    }

    /// Counts the rows of the archive that the main file knows nothing of. They may be the only copies of their events.
    pub(crate) fn unknown_archived(&self) -> Result<u64> {
        const SQL: &str = "SELECT count(*) FROM archive.events a
            WHERE NOT EXISTS (SELECT 1 FROM main.removals r WHERE r.aggregate = a.key >> 32
                              AND (a.key & 4294967295) <= max(r.purged_through, r.archived_through))
              AND NOT EXISTS (SELECT 1 FROM main.events e
                              WHERE e.key = a.key AND e.position = a.position AND e.event_id = a.event_id)";
        self.read(|view| match has_archive(view)? {
            true => archive::attach(view).and_then(|()| view.value(SQL, [])),
            false => Ok(0),
        })
    }

    /// Writes the archive anew, if there is one.
    pub(crate) fn rewrite_archive(&self) -> Result<()> {
        if !self.read(has_archive)? {
            return Ok(());
        }
        self.on_a_writer_of_its_own(|view| {
            archive::attach(view)?;
            // Otherwise a power cut could bring the journal back, and with it what it holds.
            view.connection().execute_batch("PRAGMA archive.synchronous = EXTRA").sql()?;
            self.vacuum_archive(view)
        })
    }
}

/// Whether there is an archive to look at. Without an event in it, it is no error that it was removed, or that its making was
/// interrupted.
pub(super) fn has_archive(view: &View<'_>) -> Result<bool> {
    if log_state::archive_id(view)?.is_none() {
        return Ok(false);
    }
    if positions::removed(view)?.1 > 0 {
        return Ok(true);
    }
    match archive::attach(view) {
        Err(error) if error.kind() == ErrorKind::ArchiveMissing => Ok(false),
        attached => attached.map(|()| true),
    }
}

/// Deletes rows of an aggregate: of events that were purged or erased; and, if something of it was erased, of events that are in the
/// main file. All others stay, also those of events that were brought back: an older main file may have taken the place of the
/// one that archived them, and then they are the only copies of that one.
fn sweep(writing: &Writing<'_>, aggregate: i64, limit: u64) -> Result<u64> {
    const REMOVED: &str = "DELETE FROM archive.events WHERE key IN (
                             SELECT key FROM archive.events WHERE key > ?1 AND key <= ?2 LIMIT ?3)";
    const COPIES: &str = "DELETE FROM archive.events WHERE key IN (
                            SELECT a.key FROM archive.events a JOIN main.events e ON e.key = a.key
                              AND e.position = a.position AND e.event_id = a.event_id WHERE a.key > ?1 AND a.key <= ?2 LIMIT ?3)";
    let removal = aggregates::removed(writing, aggregate)?;
    let last = key(aggregate, Version::MAX.get());
    let removed = match erasures::whole(writing, aggregate)? {
        Some(_) => last,
        None => key(aggregate, removal.purged_through),
    };
    let mut deleted = writing.execute(REMOVED, params![key(aggregate, 0), removed, limit])? as u64;
    if erasures::is_stale(writing, aggregate, 0)? {
        deleted += writing.execute(COPIES, params![key(aggregate, removal.through()), last, limit - deleted])? as u64;
    }
    Ok(deleted)
}

/// The projection, if its tables were not rebuilt since.
fn to_rebuild(view: &View<'_>, subscription: i64, generation: u64) -> Result<Option<ProjectionToRebuild>> {
    let row = subscriptions::by_id(view, subscription)?.filter(|row| row.generation == generation);
    Ok(row.map(|row| ProjectionToRebuild { all_tenants: row.identity.tenant.is_empty(), projection: row.identity.name }))
}
