//! Writing events, each with its checksum and its links, and taking them out again.

use std::collections::BTreeSet;

use rusqlite::{CachedStatement, OptionalExtension, params};
use uuid::Uuid;

use super::database::Writing;
use super::doubt;
use super::events::hole;
use super::failure::Sql;
use super::id_order::{self, Event, Linker};
use super::links::{self, Entry, TAGS};
use super::names::EventType;
use super::places::number_of;
use super::{checksum, holes, key, state};
use crate::model::error::Result;
use crate::model::place::Position;

/// An event on its way into the file.
pub(crate) struct NewRow<'a> {
    pub(crate) aggregate: i64,
    /// [`checksum::identity`] of the aggregate's names.
    pub(crate) identity: u64,
    pub(crate) version: u64,
    pub(crate) position: u64,
    pub(crate) commit_id: u64,
    pub(crate) event_id: Uuid,
    pub(crate) event_type: &'a EventType,
    pub(crate) schema_version: u32,
    pub(crate) created_at: i64,
    pub(crate) data: &'a str,
    pub(crate) metadata: Option<&'a str>,
    pub(crate) tags: Option<&'a str>,
}

/// Inserts events; one statement for all of a transaction.
pub(crate) struct Inserter<'a> {
    writing: &'a Writing<'a>,
    statement: CachedStatement<'a>,
    ids: Linker,
    replica: i64,
    replica_id: Uuid,
}

impl<'a> Inserter<'a> {
    /// An inserter, and the position of the last event before.
    pub(crate) fn new(writing: &'a Writing<'a>) -> Result<(Inserter<'a>, Position)> {
        let statement = writing
            .prepare_cached(
                "INSERT INTO events (key, position, commit_offset, event_id, event_type, schema_version, origin, created_at, data,
                                     metadata, tags, checksum, id_link)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)",
            )
            .sql()?;
        let replica = writing.names.replica;
        let (last, ids) = end(writing)?;
        Ok((Inserter { writing, statement, ids, replica: replica.id, replica_id: replica.replica_id }, last))
    }

    pub(crate) fn insert(&mut self, row: &NewRow<'_>) -> Result<()> {
        let folded = checksum::folded(row.identity, row.version, row.event_type.checksum, row.schema_version, row.data);
        let rest = checksum::Rest {
            position: row.position,
            commit_id: row.commit_id,
            event_id: row.event_id.as_bytes(),
            origin: self.replica_id.as_bytes(),
            created_at: row.created_at,
            metadata: row.metadata,
            tags: row.tags,
        };
        let key = key(row.aggregate, row.version);
        let id_link = self.ids.link(self.writing, row.event_id.as_bytes(), key)?;
        self.statement
            .execute(params![
                key,
                row.position,
                row.position.saturating_sub(row.commit_id),
                row.event_id.as_bytes(),
                row.event_type.id,
                row.schema_version,
                self.replica,
                row.created_at,
                row.data,
                row.metadata,
                row.tags,
                checksum::event(folded, &rest),
                id_link,
            ])
            .sql()
            .map(drop)
    }

    /// Notes where the log ends now: `last` is the position of the event that was inserted last.
    pub(crate) fn finish(self, last: u64) -> Result<()> {
        let ids_link = self.ids.finish(self.writing)?;
        state::note_appended(self.writing, last, ids_link)
    }
}

/// Where the log ends: its last position, and what links the ids of an append to those before.
fn end(writing: &Writing<'_>) -> Result<(Position, Linker)> {
    let (noted, ids_link) = writing
        .prepare_cached("SELECT position_floor, ids_link FROM log_state WHERE id = 1")
        .sql()?
        .query_row([], |row| Ok((row.get(0)?, row.get(1)?)))
        .sql()?;
    let newest: Option<(Event, u64)> = writing
        .prepare_cached("SELECT event_id, key, id_link, position FROM events ORDER BY position DESC LIMIT 1")
        .sql()?
        .query_row([], |row| Ok((Event::read(row)?, row.get(3)?)))
        .optional()
        .sql()?;
    let last = state::confirm_last(writing, noted, newest.map(|(_, position)| position))?;
    Ok((last, Linker::new(ids_link, newest.map(|(event, _)| event))))
}

/// Notes which events of a commit carry which tags: tags with the positions of their events.
pub(crate) fn insert_tags(writing: &Writing<'_>, tenant_id: i64, mut tagged: Vec<(&str, u64)>) -> Result<()> {
    tagged.sort_unstable();
    // An event may carry a tag twice.
    tagged.dedup();
    // Positions that were just given are behind all others: of one tag they follow each other.
    tagged.chunk_by(|one, next| one.0 == next.0).try_for_each(|run| {
        let entries = run.iter().map(|(tag, position)| Entry { group: tenant_id, name: tag, number: number_of(*position) });
        TAGS.insert_all(writing, &entries.collect::<Vec<_>>())
    })
}

/// Removes an aggregate's events from version `after + 1` to `through`; returns how many there were.
pub(crate) fn remove(writing: &Writing<'_>, aggregate: i64, after: u64, through: u64) -> Result<u64> {
    let bounds = params![key(aggregate, after), key(aggregate, through)];
    let mut statement = writing
        .prepare_cached(
            "SELECT e.position, e.tags, t.tenant, e.key FROM events e CROSS JOIN aggregates a ON a.id = e.key >> 32
             CROSS JOIN aggregate_types t ON t.id = a.aggregate_type WHERE e.key > ?1 AND e.key <= ?2 ORDER BY e.key",
        )
        .sql()?;
    let mut rows = statement.query(bounds).sql()?;
    let (mut positions, mut keys) = (Vec::new(), Vec::<i64>::new());
    let mut version = after;
    while let Some(row) = rows.next().sql()? {
        version += 1;
        if row.get::<_, i64>(3).sql()? != key(aggregate, version) {
            return Err(hole(version));
        }
        let position: u64 = row.get(0).sql()?;
        if let Some(tags) = row.get_ref(1).sql()?.as_str_or_null().map_err(|_| doubt::disagrees())? {
            let tags: BTreeSet<String> = serde_json::from_str(tags).map_err(|_| doubt::disagrees())?;
            let group = row.get(2).sql()?;
            for tag in &tags {
                links::remove_tag(writing, &Entry { group, name: tag, number: number_of(position) })?;
            }
        }
        positions.push(position);
        keys.push(key(aggregate, version));
    }
    drop(rows);
    if version < through {
        return Err(hole(version + 1));
    }
    for key in keys {
        id_order::unlink(writing, key)?;
        writing.prepare_cached("DELETE FROM events WHERE key = ?1").sql()?.execute(params![key]).sql()?;
    }
    positions.sort_unstable();
    holes::add(writing, &positions)?;
    Ok(positions.len() as u64)
}
