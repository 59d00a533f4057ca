//! Reading events: none whose checksum is wrong, and none in the place of one that is missing.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::sync::Arc;

use rusqlite::{Row, params};
use uuid::Uuid;

use super::aggregates::AggregateRow;
use super::checksum;
use super::database::View;
use super::doubt::Ascending;
use super::failure::Sql;
use super::names::{AggregateType, EventType};
use super::{key, key_version};
use crate::model::clock::from_micros;
use crate::model::error::{Error, ErrorKind, Result};
use crate::model::event::RecordedEvent;
use crate::model::json::Json;
use crate::model::place::{Position, Version};

/// Events counted in one statement.
const COUNTED_AT_ONCE: usize = 4_096;

macro_rules! select {
    ($columns:literal, $rest:literal) => {
        concat!(
            "SELECT e.key, e.position, e.commit_offset, e.event_id, e.event_type, e.schema_version, e.origin, e.created_at, e.data, ",
            "e.metadata, e.tags, e.checksum",
            $columns,
            " FROM ",
            $rest
        )
    };
}

pub(super) use select;

/// Whose events are read, where that is known beforehand.
#[derive(Clone, Debug)]
pub(crate) struct Owner {
    pub(crate) aggregate: i64,
    pub(crate) identity: u64,
    pub(crate) aggregate_type: Arc<AggregateType>,
    pub(crate) aggregate_id: Arc<str>,
    /// Events up to this version are not in the file any more, as an append found it; 0 elsewhere.
    pub(crate) removed_through: u64,
}

impl Owner {
    pub(crate) fn new(aggregate: i64, aggregate_type: Arc<AggregateType>, aggregate_id: &str) -> Owner {
        let identity = checksum::identity(&aggregate_type.tenant, &aggregate_type.name, aggregate_id);
        Owner { aggregate, identity, aggregate_type, aggregate_id: aggregate_id.into(), removed_through: 0 }
    }
}

/// What a fold takes of an event.
pub(crate) struct Folded<'a> {
    pub(crate) version: u64,
    pub(crate) event_type: &'a EventType,
    pub(crate) data: &'a str,
}

/// Gives the events of an aggregate from version `after + 1` to `through`, `limit` at most, to `take`, straight from the
/// page cache; returns the version of the last one. A hole or a wrong checksum ends it with an error.
pub(crate) fn fold_page(
    view: &View<'_>,
    owner: &Owner,
    after: u64,
    through: u64,
    limit: usize,
    mut take: impl FnMut(Folded<'_>) -> Result<()>,
) -> Result<u64> {
    let mut statement = view
        .prepare_cached(
            "SELECT key, event_type, schema_version, checksum, data FROM events WHERE key > ?1 AND key <= ?2 ORDER BY key LIMIT ?3",
        )
        .sql()?;
    let mut rows = statement.query(params![key(owner.aggregate, after), key(owner.aggregate, through), limit]).sql()?;
    let mut version = after;
    let mut known: Option<Arc<EventType>> = None;
    let mut types = Vec::new();
    while let Some(row) = rows.next().sql()? {
        version += 1;
        // The whole key: a search in a damaged table leads also to rows outside of the range.
        if row.get::<_, i64>(0).sql()? != key(owner.aggregate, version) {
            return Err(hole(version));
        }
        let number: i64 = row.get(1).sql()?;
        let event_type = match &known {
            Some(known) if known.id == number => known,
            _ => known.insert(type_of(view, &mut types, number)?),
        };
        let schema_version: u32 = row.get(2).sql()?;
        let data = row.get_ref(4).sql()?.as_str().map_err(|_| damaged(version))?;
        let checksum: i64 = row.get(3).sql()?;
        if checksum::folded(owner.identity, version, event_type.checksum, schema_version, data)
            != checksum::stored_folded(checksum)
        {
            return Err(damaged(version));
        }
        take(Folded { version, event_type, data })?;
    }
    Ok(version)
}

/// The event types that one call has met: a look-up without a lock.
fn type_of(view: &View<'_>, met: &mut Vec<Arc<EventType>>, number: i64) -> Result<Arc<EventType>> {
    if let Some(event_type) = met.iter().find(|event_type| event_type.id == number) {
        return Ok(event_type.clone());
    }
    let event_type = view.event_type_by_id(number)?;
    if met.len() < 64 {
        met.push(event_type.clone());
    }
    Ok(event_type)
}

pub(crate) fn hole(version: u64) -> Error {
    Error::new(ErrorKind::Corrupt, "an event is missing from the middle of its aggregate")
        .at_version(Version::new(version))
        .advice("copy the file before anything else, then restore a backup")
}

fn damaged(version: u64) -> Error {
    Error::new(ErrorKind::Corrupt, "the event's checksum is wrong: the file was damaged after it was written")
        .at_version(Version::new(version))
        .advice("copy the file before anything else, then restore a backup")
}

/// An event in the page cache, its checksum right.
pub(crate) struct Raw<'r> {
    pub(crate) version: u64,
    pub(crate) position: u64,
    pub(crate) event_type: Arc<EventType>,
    pub(crate) created_at: i64,
    commit_id: u64,
    event_id: [u8; 16],
    schema_version: u32,
    origin: Uuid,
    pub(crate) data: &'r str,
    pub(crate) metadata: Option<&'r str>,
    tags: Option<&'r str>,
    /// The tags, where they were read from their JSON already and are read once more.
    parsed: Cell<Option<Vec<String>>>,
}

impl<'r> Raw<'r> {
    pub(super) fn read(view: &View<'_>, row: &'r Row<'_>, identity: u64, types: &mut Vec<Arc<EventType>>) -> Result<Raw<'r>> {
        let version = key_version(row.get(0).sql()?);
        let position = row.get(1).sql()?;
        Raw::read_columns(view, row, identity, version, position, types)
            .map_err(|error| error.at_version(Version::new(version)).at_position(Position::new(position)))
    }

    fn read_columns(
        view: &View<'_>,
        row: &'r Row<'_>,
        identity: u64,
        version: u64,
        position: u64,
        types: &mut Vec<Arc<EventType>>,
    ) -> Result<Raw<'r>> {
        let text = |column| row.get_ref(column).sql()?.as_str_or_null().map_err(|_| damaged(version));
        let raw = Raw {
            version,
            position,
            commit_id: u64::saturating_sub(position, row.get(2).sql()?),
            event_id: row.get(3).sql()?,
            event_type: type_of(view, types, row.get(4).sql()?)?,
            schema_version: row.get(5).sql()?,
            origin: view.replica_by_id(row.get(6).sql()?)?,
            created_at: row.get(7).sql()?,
            data: text(8)?.ok_or_else(|| damaged(version))?,
            metadata: text(9)?,
            tags: text(10)?,
            parsed: Cell::default(),
        };
        let folded = checksum::folded(identity, version, raw.event_type.checksum, raw.schema_version, raw.data);
        let rest = checksum::Rest {
            position,
            commit_id: raw.commit_id,
            event_id: &raw.event_id,
            origin: raw.origin.as_bytes(),
            created_at: raw.created_at,
            metadata: raw.metadata,
            tags: raw.tags,
        };
        if checksum::event(folded, &rest) != row.get::<_, i64>(11).sql()? {
            return Err(damaged(version));
        }
        Ok(raw)
    }

    pub(super) fn has_id(&self, event_id: Uuid) -> bool {
        self.event_id == *event_id.as_bytes()
    }

    /// The tags, as they were appended.
    pub(crate) fn tags(&self) -> Result<Vec<String>> {
        match self.tags {
            None => Ok(Vec::new()),
            Some(tags) => serde_json::from_str(tags).map_err(|_| damaged(self.version)),
        }
    }

    /// Whether the event carries a tag.
    pub(super) fn carries(&self, tag: &str) -> Result<bool> {
        let tags = self.tags()?;
        let carries = tags.iter().any(|carried| carried == tag);
        self.parsed.set(Some(tags));
        Ok(carries)
    }

    pub(crate) fn bytes(&self) -> usize {
        self.data.len() + self.metadata.map_or(0, str::len) + self.tags.map_or(0, str::len)
    }

    pub(crate) fn recorded(&self, aggregate_type: &AggregateType, aggregate_id: Arc<str>) -> Result<RecordedEvent> {
        Ok(RecordedEvent {
            position: Position::new(self.position),
            id: Uuid::from_bytes(self.event_id),
            tenant: aggregate_type.tenant.clone(),
            aggregate_type: aggregate_type.name.clone(),
            aggregate_id,
            version: Version::new(self.version),
            event_type: self.event_type.name.clone(),
            schema_version: self.schema_version,
            created_at: from_micros(self.created_at)?,
            commit_id: Position::new(self.commit_id),
            origin: self.origin,
            tags: self.parsed.take().map_or_else(|| self.tags(), Ok)?,
            data: Json::stored(self.data.to_owned()),
            metadata: self.metadata.map(|text| Json::stored(text.to_owned())),
        })
    }
}

/// Gives the events of an aggregate from version `after + 1` to `through` to `take`, until it says to stop; upwards or
/// downwards. A hole is an error.
pub(crate) fn scan_aggregate(
    view: &View<'_>,
    owner: &Owner,
    range: (u64, u64),
    descending: bool,
    limit: usize,
    mut take: impl FnMut(&Raw<'_>) -> Result<bool>,
) -> Result<()> {
    let (after, through) = range;
    let sql = if descending {
        select!("", "events e WHERE e.key > ?1 AND e.key <= ?2 ORDER BY e.key DESC LIMIT ?3")
    } else {
        select!("", "events e WHERE e.key > ?1 AND e.key <= ?2 ORDER BY e.key LIMIT ?3")
    };
    let mut statement = view.prepare_cached(sql).sql()?;
    let mut rows = statement.query(params![key(owner.aggregate, after), key(owner.aggregate, through), limit]).sql()?;
    let mut types = Vec::new();
    let mut expected = if descending { through } else { after + 1 };
    while let Some(row) = rows.next().sql()? {
        if row.get::<_, i64>(0).sql()? != key(owner.aggregate, expected) {
            return Err(hole(expected));
        }
        let raw = Raw::read(view, row, owner.identity, &mut types)?;
        expected = if descending { expected.saturating_sub(1) } else { expected + 1 };
        if !take(&raw)? {
            return Ok(());
        }
    }
    let missing = if descending { expected > after } else { expected <= through };
    // With fewer rows than asked for, the scan must have reached its end.
    let rows_read = if descending { through - expected } else { expected - after - 1 };
    if missing && rows_read < u64::try_from(limit).unwrap_or(u64::MAX) {
        return Err(hole(expected));
    }
    Ok(())
}

/// A row of the log that nobody has looked at.
pub(crate) struct Unread<'r, 't> {
    row: &'r Row<'r>,
    types: &'t mut Vec<Arc<EventType>>,
}

impl<'r> Unread<'r, '_> {
    /// The event, if it is as it was written.
    pub(crate) fn event(self, view: &View<'_>, identity: u64) -> Result<Raw<'r>> {
        Raw::read(view, self.row, identity, self.types)
    }
}

/// Gives the rows after a key, `limit` at most, of whatever aggregate and in whatever state, to `each`.
pub(crate) fn check_page(
    view: &View<'_>,
    after: i64,
    limit: usize,
    mut each: impl FnMut(i64, Unread<'_, '_>) -> Result<()>,
) -> Result<()> {
    let mut statement = view.prepare_cached(select!("", "events e WHERE e.key > ?1 ORDER BY e.key LIMIT ?2")).sql()?;
    let mut rows = statement.query(params![after, limit]).sql()?;
    let (mut order, mut types) = (Ascending::after(after), Vec::new());
    while let Some(row) = rows.next().sql()? {
        let key = row.get(0).sql()?;
        order.next(key)?;
        each(key, Unread { row, types: &mut types })?;
    }
    Ok(())
}

/// Counts the events of an aggregate by type, each looked at with its checksum.
pub(crate) fn count_types(view: &View<'_>, owner: &Owner, row: &AggregateRow, counts: &mut BTreeMap<i64, u64>) -> Result<()> {
    let mut version = row.removed_through();
    while version < row.version {
        let through = fold_page(view, owner, version, row.version, COUNTED_AT_ONCE, |event| {
            *counts.entry(event.event_type.id).or_default() += 1;
            Ok(())
        })?;
        if through == version {
            return Err(hole(version + 1));
        }
        version = through;
    }
    Ok(())
}

/// The greatest time of an aggregate's events from version `after + 1` to `through`, in microseconds.
pub(crate) fn latest_at(view: &View<'_>, owner: (i64, u64), after: u64, through: u64) -> Result<Option<i64>> {
    let (aggregate, identity) = owner;
    let mut statement = view.prepare_cached(select!("", "events e WHERE e.key > ?1 AND e.key <= ?2 ORDER BY e.key")).sql()?;
    let mut rows = statement.query(params![key(aggregate, after), key(aggregate, through)]).sql()?;
    let (mut latest, mut types) = (None, Vec::new());
    while let Some(row) = rows.next().sql()? {
        latest = latest.max(Some(Raw::read(view, row, identity, &mut types)?.created_at));
    }
    Ok(latest)
}
