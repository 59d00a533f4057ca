//! Verifies the log itself: every event, every position, every hole.

use rusqlite::params;

use super::chain;
use super::{Cursor, PAGE, RowsCursor, damage_of};
use crate::model::damage::{Damage, Found};
use crate::model::error::Result;
use crate::sqlite::checksum;
use crate::sqlite::consistency::Ascending;
use crate::sqlite::tables::archive::Part;
use crate::sqlite::tables::block_checks::Seen;
use crate::sqlite::tables::events::{self, Owner, Raw};
use crate::sqlite::tables::keys::key_version;
use crate::sqlite::tables::positions::{self, Gaps, Hole, Walk};
use crate::sqlite::tables::{aggregates, erasures, event_ids, event_tags};
use crate::sqlite::transaction::View;

const REINDEX: &str = "a query or a repeated append may not find the event; reindex recreates the index";

/// The progress of the check of events.
#[derive(Debug, Default)]
pub(super) struct EventsCursor {
    /// The last key that was checked.
    key: i64,
    rows: u64,
    /// Events that the audit chain proves.
    pub(super) proven: u64,
    run: Option<Run>,
    /// Of the events in the file, to be compared with the index of positions.
    pub(super) rows_seen: Digest,
    /// Of all events, archived ones too.
    pub(super) blocks: Seen,
}

/// A number for pairs of position and key, whatever their order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Digest(u64);

impl Digest {
    fn add(&mut self, position: i64, key: i64) {
        self.0 = self.0.wrapping_add(checksum::numbers(&[position, key]).cast_unsigned());
    }
}

impl Cursor for EventsCursor {
    fn id(&mut self) -> &mut i64 {
        &mut self.key
    }

    fn rows(&self) -> u64 {
        self.rows
    }
}

/// The events of one aggregate, as the check reaches them.
#[derive(Debug)]
struct Run {
    aggregate: i64,
    /// `None` if the aggregate or its names are missing, which was already reported.
    owner: Option<Owner>,
    removed: u64,
    version: u64,
}

/// Checks every event: its checksum, its version, and that the indexes of positions, ids and tags lead to it.
pub(super) fn events(view: &View<'_>, cursor: &mut EventsCursor, found: &mut Found) -> Result<bool> {
    if let Some(run) = &mut cursor.run {
        // A purge may have run since the last page.
        run.removed = removed(view, run.aggregate, found);
    }
    let EventsCursor { key: last_key, rows, proven, run, rows_seen, blocks } = cursor;
    let begins = chain::begins(view)?;
    let mut seen = 0;
    events::check_page(view, Part::Main, *last_key, PAGE, |found_key, read| {
        seen += 1;
        *rows += 1;
        *last_key = found_key;
        let aggregate = found_key >> 32;
        let run = match run {
            Some(run) if run.aggregate == aggregate => run,
            _ => run.insert(begin(view, aggregate, found_key, found)),
        };
        check_version(run, key_version(found_key), found);
        let Some(owner) = &run.owner else { return Ok(()) };
        match read.event(view, owner.identity) {
            Ok(raw) => {
                *proven += u64::from(chain::prove(view, begins, owner, &raw, found)?);
                rows_seen.add(positions::number_of(raw.position), found_key);
                blocks.add(raw.position, owner.aggregate_type.id, raw.event_type.id, raw.created_at);
                check_tags_and_id(view, owner, &raw, found)
            }
            Err(error) => {
                found.add(damage_of(&error).of(owner.reference()).at_version(key_version(found_key)));
                Ok(())
            }
        }
    })?;
    Ok(seen == PAGE)
}

fn removed(view: &View<'_>, aggregate: i64, found: &mut Found) -> u64 {
    match aggregates::removed(view, aggregate) {
        Ok(removal) => removal.through(),
        Err(error) => {
            found.add(damage_of(&error));
            0
        }
    }
}

fn begin(view: &View<'_>, aggregate: i64, first_key: i64, found: &mut Found) -> Run {
    let owner = Owner::by_number(view, aggregate)
        .map_err(|error| {
            let what = format!("the events from version {} on belong to no aggregate: {error}", key_version(first_key));
            found.add(Damage::new(what).at_version(key_version(first_key)));
        })
        .ok();
    let removed = removed(view, aggregate, found);
    let version = if owner.is_some() { removed } else { key_version(first_key).saturating_sub(1) };
    Run { aggregate, owner, removed, version }
}

fn check_version(run: &mut Run, version: u64, found: &mut Found) {
    let expected = run.version.max(run.removed) + 1;
    if version != expected {
        let what = if version > expected {
            format!("the events from version {expected} to {} are missing", version - 1)
        } else {
            format!("there is an event at version {version}, but all up to {} are recorded as removed", run.removed)
        };
        let damage = Damage::new(what).at_version(version.min(expected));
        found.add(match &run.owner {
            Some(owner) => damage.of(owner.reference()),
            None => damage,
        });
    }
    run.version = version;
}

/// Looks each event up in the index of positions.
pub(super) fn look_up(view: &View<'_>, cursor: &mut RowsCursor, found: &mut Found) -> Result<bool> {
    let (mut seen, mut owner) = (0, None::<Owner>);
    events::check_page(view, Part::Main, cursor.id, PAGE, |found_key, read| {
        seen += 1;
        cursor.rows += 1;
        cursor.id = found_key;
        if owner.as_ref().is_none_or(|owner| owner.aggregate != found_key >> 32) {
            owner = Owner::by_number(view, found_key >> 32).ok();
        }
        // What cannot be read was reported before.
        let Some((owner, raw)) = owner.as_ref().and_then(|owner| Some((owner, read.event(view, owner.identity).ok()?))) else {
            return Ok(());
        };
        let by_position: Option<i64> =
            view.value_if_any("SELECT key FROM events WHERE position = ?1", [positions::number_of(raw.position)])?;
        if by_position != Some(found_key) {
            found.add(missing(owner, &raw, "the event is missing from the index of positions"));
        }
        Ok(())
    })?;
    Ok(seen == PAGE)
}

fn missing(owner: &Owner, raw: &Raw<'_>, what: &str) -> Damage {
    let damage = Damage::new(what).of(owner.reference()).at_version(raw.version);
    damage.at_position(raw.position).advice(REINDEX)
}

fn check_tags_and_id(view: &View<'_>, owner: &Owner, raw: &Raw<'_>, found: &mut Found) -> Result<()> {
    let tenant = owner.aggregate_type.tenant_id;
    if raw.has_given_id && event_ids::given(view, tenant, raw.event_id)? != Some(raw.position) {
        found.add(missing(owner, raw, "the event's id is missing from the index of ids"));
    }
    for tag in raw.tags()? {
        if !event_tags::carries(view, tenant, &tag, raw.position)? {
            found.add(missing(owner, raw, "a tag of the event is missing from the index of tags"));
        }
    }
    Ok(())
}

/// The progress of the check of the archive.
#[derive(Debug, Default)]
pub(super) struct ArchivedCursor {
    aggregate: i64,
    /// The last version of the aggregate that was checked.
    version: u64,
    pub(super) rows: u64,
    pub(super) proven: u64,
}

/// Checks the events that the main file says are in the archive, of one aggregate at a time.
pub(super) fn archived(view: &View<'_>, blocks: &mut Seen, cursor: &mut ArchivedCursor, found: &mut Found) -> Result<bool> {
    let removal = aggregates::removed(view, cursor.aggregate)?;
    let after = cursor.version.max(removal.purged_through);
    if after >= removal.archived_through {
        let Some(next) = aggregates::next_archived(view, cursor.aggregate)? else { return Ok(false) };
        (cursor.aggregate, cursor.version) = (next, 0);
        return Ok(true);
    }
    Part::Archive.open(view)?;
    let begins = chain::begins(view)?;
    let owner = Owner::by_number(view, cursor.aggregate)?;
    let through = removal.archived_through.min(after + PAGE as u64);
    cursor.version = after;
    let read = events::scan_aggregate(view, Part::Archive, &owner, (after, through), false, PAGE, |raw| {
        cursor.version = raw.version;
        cursor.rows += 1;
        cursor.proven += u64::from(chain::prove(view, begins, &owner, raw, found)?);
        blocks.add(raw.position, owner.aggregate_type.id, raw.event_type.id, raw.created_at);
        match positions::is_archived(view, raw.position)? {
            true => check_tags_and_id(view, &owner, raw, found)?,
            false => found.add(
                Damage::new("the archive has the event at a position that the file does not say is archived")
                    .of(owner.reference())
                    .at_version(raw.version)
                    .at_position(raw.position),
            ),
        }
        Ok(true)
    });
    if let Err(error) = read {
        // Continues after it.
        cursor.version += 1;
        found.add(damage_of(&error).of(owner.reference()).at_version(cursor.version).advice("restore the archive from a backup"));
    }
    Ok(true)
}

/// Checks every hole: its checksum, and that it does not touch the one before.
pub(super) fn holes(view: &View<'_>, cursor: &mut RowsCursor, found: &mut Found) -> Result<bool> {
    let (mut seen, mut last) = (0, None);
    positions::check_holes(view, cursor.id, PAGE, |first, hole| {
        seen += 1;
        cursor.id = first;
        cursor.rows += 1;
        match hole {
            Ok(hole) => {
                if last.is_some_and(|last: Hole| {
                    hole.first <= last.last || (hole.archived == last.archived && hole.first == last.last + 1)
                }) {
                    found.add(Damage::new("two records of removed positions touch each other").at_position(hole.first));
                }
                last = Some(hole);
            }
            Err(error) => found.add(damage_of(&error).at_position(first.cast_unsigned())),
        }
    })?;
    Ok(seen == PAGE)
}

/// Checks every position in order: it must be that of an event, or in a hole.
pub(super) fn positions(view: &View<'_>, entries: &mut Digest, cursor: &mut RowsCursor, found: &mut Found) -> Result<bool> {
    let sql = "SELECT position, key FROM events WHERE position > ?1 ORDER BY position LIMIT ?2";
    let page: Vec<(i64, i64)> = view.rows(sql, params![cursor.id, PAGE], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let walk_from =
        |position: i64| Walk::new((position.saturating_add(1).cast_unsigned(), u64::MAX), false, Gaps::PurgedAndArchived);
    let mut walk = walk_from(cursor.id);
    let mut order = Ascending::after(cursor.id);
    for (position, key) in &page {
        entries.add(*position, *key);
        let expected = cursor.id.saturating_add(1);
        order.next(*position)?;
        if let Err(error) = walk.next(view, position.cast_unsigned()) {
            let damage = match *position > expected {
                true => {
                    Damage::new(format!("no event is at positions {expected} to {}, and no removal explains this", position - 1))
                }
                false => damage_of(&error),
            };
            found.add(damage.at_position(expected.cast_unsigned()));
            walk = walk_from(*position);
        }
        cursor.id = *position;
        cursor.rows += 1;
    }
    Ok(page.len() == PAGE)
}

/// Checks every record of an erasure: its checksum, its aggregate, and that what it says was erased is gone.
pub(super) fn erasures(view: &View<'_>, cursor: &mut i64, found: &mut Found) -> Result<bool> {
    let page = erasures::page(view, *cursor, PAGE)?;
    for row in &page {
        *cursor = row.id;
        let owner = Owner::by_number(view, row.aggregate)?;
        let is_there = row.fields.is_none() && aggregates::removed(view, row.aggregate)?.purged_through < row.through;
        if is_there {
            found.add(Damage::new("the aggregate was erased, but has events").of(owner.reference()).advice("erase it again"));
        }
    }
    Ok(page.len() == PAGE)
}
