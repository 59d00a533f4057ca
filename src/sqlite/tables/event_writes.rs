//! Writes events with their checksums, and removes events.

use rusqlite::{CachedStatement, params};
use uuid::Uuid;

use super::archive::Part;
use super::chain::{self, Chaining};
use super::events::{Owner, Raw, gap, select_events};
use super::keys::key;
use super::{event_ids, event_tags, positions, removed_ids};
use crate::model::error::Result;
use crate::model::ids;
use crate::sqlite::audit::Committed;
use crate::sqlite::checksum;
use crate::sqlite::connection::failure::Sql;
use crate::sqlite::names_cache::{EventType, Replica};
use crate::sqlite::tables::block_changes::Removed;
use crate::sqlite::transaction::{Columns, Writing};

/// An event to insert.
pub(crate) struct NewRow<'a> {
    pub(crate) owner: &'a Owner,
    pub(crate) version: u64,
    pub(crate) position: u64,
    pub(crate) commit_id: u64,
    /// The caller's id; without one the store makes one.
    pub(crate) event_id: Option<Uuid>,
    pub(crate) event_type: &'a EventType,
    pub(crate) schema_version: u32,
    pub(crate) created_at: i64,
    pub(crate) data: &'a str,
    pub(crate) metadata: Option<&'a str>,
    pub(crate) tags: Option<&'a str>,
}

impl NewRow<'_> {
    fn committed<'a>(&'a self, event_id: &'a Uuid, replica: &'a Replica) -> Committed<'a> {
        let aggregate_type = &self.owner.aggregate_type;
        Committed {
            tenant: &aggregate_type.tenant,
            aggregate_type: &aggregate_type.name,
            aggregate_id: &self.owner.aggregate_id,
            event_type: &self.event_type.name,
            schema_version: self.schema_version,
            event_id: event_id.as_bytes(),
            origin: replica.replica_id.as_bytes(),
            commit_id: self.commit_id,
            created_at: self.created_at,
            tags: self.tags,
            metadata: self.metadata,
            data: self.data,
        }
    }
}

/// Inserts events, with one statement for the whole transaction.
pub(crate) struct Inserter<'a> {
    statement: CachedStatement<'a>,
    replica: Replica,
    salt: Option<u64>,
    /// `None` if the file has no audit chain.
    chain: Option<Chaining<'a>>,
}

impl<'a> Inserter<'a> {
    /// `last_position` is that of the last event in the log.
    pub(crate) fn new(writing: &'a Writing<'_>, last_position: u64) -> Result<Inserter<'a>> {
        let statement = writing.prepare(
            "INSERT INTO events (key, position, commit_offset, event_type, schema_version, origin, created_at, checksum, event_id,
                                 tags, metadata, data) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)",
        )?;
        let chain = Chaining::begin(writing, last_position)?;
        Ok(Inserter { statement, replica: writing.names.replica(), salt: None, chain })
    }

    /// Inserts an event; returns its id.
    pub(crate) fn insert(&mut self, row: &NewRow<'_>) -> Result<Uuid> {
        let salt = match row.event_id {
            Some(_) => 0,
            None => *self.salt.get_or_insert_with(ids::draw_salt),
        };
        let event_id = row.event_id.unwrap_or_else(|| ids::made(row.created_at, row.position, salt));
        let type_sum = row.event_type.checksum;
        let key = key(row.owner.aggregate, row.version);
        let folded = checksum::folded(row.owner.identity, row.version, type_sum, row.schema_version, row.created_at, row.data);
        let rest = checksum::Rest {
            position: row.position,
            commit_id: row.commit_id,
            event_id: event_id.as_bytes(),
            origin: self.replica.replica_id.as_bytes(),
            metadata: row.metadata,
            tags: row.tags,
        };
        let given_id = row.event_id.as_ref().map(|id| id.as_bytes().as_slice());
        let stored_id: &dyn rusqlite::ToSql = match &given_id {
            Some(id) => id,
            None => &salt,
        };
        self.statement
            .execute(params![
                key,
                row.position,
                row.position.saturating_sub(row.commit_id),
                row.event_type.id,
                row.schema_version,
                self.replica.id,
                row.created_at,
                checksum::event(folded, &rest),
                stored_id,
                row.tags,
                row.metadata,
                row.data,
            ])
            .sql()?;
        if let Some(chain) = &mut self.chain {
            chain.add(row.position, key, &row.committed(&event_id, &self.replica))?;
        }
        Ok(event_id)
    }

    /// Call it after the last event.
    pub(crate) fn end(self) -> Result<()> {
        self.chain.map_or(Ok(()), Chaining::end)
    }
}

/// Removes an aggregate's events from version `after + 1` to `through` for good, with their index entries. Records in
/// `removed` what the summaries must subtract. Keeps the ids that callers gave, or not. Returns how many events there were,
/// and how many of such ids.
///
/// Rows of the archive stay there; nothing leads to them any more.
pub(crate) fn purge(
    writing: &Writing<'_>,
    part: Part,
    owner: &Owner,
    (after, through): (u64, u64),
    removed: &mut Removed,
    keeps_ids: bool,
) -> Result<(u64, u64)> {
    const SQL: &str = select_events!("", "events e WHERE e.key > ?1 AND e.key <= ?2 ORDER BY e.key");
    let bounds = params![key(owner.aggregate, after), key(owner.aggregate, through)];
    let tenant = owner.aggregate_type.tenant_id;
    let (mut positions, mut types) = (Vec::new(), Vec::new());
    let (mut version, mut given_ids) = (after, 0);
    part.open(writing)?;
    writing.each_row(&part.sql(SQL), bounds, |row| {
        version += 1;
        if row.at::<i64>(0)? != key(owner.aggregate, version) {
            return Err(gap(version));
        }
        let raw = Raw::read(writing, row, owner.identity, &mut types)?;
        if raw.has_given_id {
            given_ids += 1;
            match keeps_ids {
                true => removed_ids::keep(writing, owner, &raw)?,
                false => event_ids::forget(writing, tenant, raw.event_id)?,
            }
        }
        for tag in raw.tags()? {
            event_tags::forget(writing, tenant, &tag, raw.position)?;
        }
        removed.note(raw.position, owner.aggregate_type.id, raw.event_type.id);
        positions.push(raw.position);
        Ok(true)
    })?;
    if version < through {
        return Err(gap(version + 1));
    }
    positions.sort_unstable();
    match part {
        Part::Main => writing.execute("DELETE FROM events WHERE key > ?1 AND key <= ?2", bounds).map(drop)?,
        Part::Archive => positions::end_holes(writing, &positions)?,
    }
    positions::add_holes(writing, &positions, false)?;
    chain::forget(writing, owner.aggregate, (after, through))?;
    Ok((positions.len() as u64, given_ids))
}

/// What takes the place of parts of an event.
pub(crate) struct Replacement {
    pub(crate) version: u64,
    pub(crate) checksum: i64,
    pub(crate) data: String,
    pub(crate) metadata: Option<String>,
    pub(crate) tags: Option<String>,
}

/// Puts another row in the place of an event's. The index of tags is the caller's. The audit chain keeps the link of the event
/// as it was appended, but nobody can find out any more what that was.
pub(crate) fn replace(writing: &Writing<'_>, aggregate: i64, new: &Replacement) -> Result<()> {
    chain::forget(writing, aggregate, (new.version.saturating_sub(1), new.version))?;
    // The old row is deleted: events are never updated.
    let sql = "INSERT OR REPLACE INTO main.events (key, position, commit_offset, event_type, schema_version, origin, created_at,
                                                   checksum, event_id, tags, metadata, data)
               SELECT key, position, commit_offset, event_type, schema_version, origin, created_at, ?2, event_id, ?3, ?4, ?5
               FROM main.events WHERE key = ?1";
    let values = params![key(aggregate, new.version), new.checksum, new.tags, new.metadata, new.data];
    match writing.execute(sql, values)? {
        1 => Ok(()),
        _ => Err(gap(new.version)),
    }
}
