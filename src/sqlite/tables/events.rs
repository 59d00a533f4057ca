//! Reads events. A wrong checksum or a missing event is an error.

use std::borrow::Cow;
use std::sync::Arc;

use rusqlite::types::{Value, ValueRef};
use rusqlite::{Row, params};
use uuid::Uuid;

use super::aggregates;
use super::archive::{self, Part};
use super::keys::{key, key_version};
use crate::model::clock::from_micros;
use crate::model::error::{Error, ErrorKind, Result};
use crate::model::event::RecordedEvent;
use crate::model::ids;
use crate::model::json::Json;
use crate::model::place::{AggregateRef, Position, Version};
use crate::model::upcast::Reading;
use crate::sqlite::checksum;
use crate::sqlite::connection::failure::Sql;
use crate::sqlite::consistency::{Ascending, RESTORE};
use crate::sqlite::names_cache::{AggregateType, EventType};
use crate::sqlite::packed;
use crate::sqlite::transaction::{Columns, View};

/// The columns of an event, in the order that [`Raw::read`] expects.
macro_rules! select_events {
    ($columns:literal, $rest:literal) => {
        concat!(
            "SELECT e.key, e.position, e.commit_offset, e.event_type, e.schema_version, e.origin, e.created_at, e.checksum, ",
            "e.event_id, e.tags, e.metadata, e.data",
            $columns,
            " FROM ",
            $rest
        )
    };
}

pub(in crate::sqlite) use select_events;

/// The aggregate whose events are read, and what their checksums cover of it.
#[derive(Clone, Debug)]
pub(crate) struct Owner {
    pub(crate) aggregate: i64,
    pub(crate) identity: u64,
    pub(crate) aggregate_type: Arc<AggregateType>,
    pub(crate) aggregate_id: Arc<str>,
}

impl Owner {
    pub(crate) fn new(aggregate: i64, aggregate_type: Arc<AggregateType>, aggregate_id: &str) -> Owner {
        let identity = checksum::identity(&aggregate_type.tenant, &aggregate_type.name, aggregate_id);
        Owner { aggregate, identity, aggregate_type, aggregate_id: aggregate_id.into() }
    }

    /// The owner of the events of an aggregate, found by the aggregate's number.
    pub(crate) fn by_number(view: &View<'_>, aggregate: i64) -> Result<Owner> {
        let (aggregate_type, aggregate_id) = aggregates::names(view, aggregate)?;
        Ok(Owner::new(aggregate, view.aggregate_type_by_id(aggregate_type)?, &aggregate_id))
    }

    pub(crate) fn reference(&self) -> AggregateRef {
        AggregateRef::new(&self.aggregate_type.tenant, &self.aggregate_type.name, &self.aggregate_id)
    }
}

/// The parts of an event that a fold uses.
pub(crate) struct Folded<'a> {
    pub(crate) version: u64,
    pub(crate) event_type: &'a EventType,
    pub(crate) schema_version: u32,
    pub(crate) created_at: i64,
    pub(crate) data: &'a str,
}

/// How a page of an aggregate's events ended.
pub(crate) struct PageEnd {
    /// The version of the last event that was read.
    pub(crate) version: u64,
    /// `Some` if the aggregate's events ended: the key of the next aggregate's first event, if there is one. `None` if
    /// the page was full or `through` was reached.
    pub(crate) behind: Option<Option<i64>>,
}

/// Passes the events of an aggregate from version `after + 1` to `through`, `limit` at most, to `take`, straight from
/// the page cache. A gap or a wrong checksum is an error.
pub(crate) fn fold_page(
    view: &View<'_>,
    part: Part,
    owner: &Owner,
    (after, through): (u64, u64),
    limit: usize,
    mut take: impl FnMut(Folded<'_>) -> Result<()>,
) -> Result<PageEnd> {
    // There is no upper bound, because the row after the last event shows whether events are missing there.
    const SQL: &str =
        "SELECT key, event_type, schema_version, created_at, checksum, data FROM events WHERE key > ?1 ORDER BY key LIMIT ?2";
    let mut end = PageEnd { version: after, behind: Some(None) };
    if after >= through {
        return Ok(PageEnd { behind: None, ..end });
    }
    let mut types = Vec::new();
    let (mut left, last_key) = (limit, key(owner.aggregate, Version::MAX.get()));
    view.each_row(&part.sql(SQL), params![key(owner.aggregate, after), limit.saturating_add(1)], |row| {
        let found: i64 = row.at(0)?;
        if found > last_key {
            end.behind = Some(Some(found));
            return Ok(false);
        }
        let version = end.version + 1;
        // Compares the whole key: in a damaged table a search may return rows outside the range.
        if found != key(owner.aggregate, version) {
            return Err(gap(version));
        }
        if left == 0 {
            end.behind = None;
            return Ok(false);
        }
        left -= 1;
        end.version = version;
        let event_type = type_of(view, &mut types, row.at(1)?)?;
        let (schema_version, created_at): (u32, i64) = (row.at(2)?, row.at(3)?);
        let data = packed::text(row.get_ref(5).sql()?)?.ok_or_else(|| damaged(version))?;
        let sum = checksum::folded(owner.identity, version, event_type.checksum, schema_version, created_at, &data);
        if sum != checksum::stored_folded(row.at(4)?) {
            return Err(damaged(version));
        }
        take(Folded { version, event_type, schema_version, created_at, data: &data })?;
        if version == through {
            end.behind = None;
            return Ok(false);
        }
        Ok(true)
    })?;
    Ok(end)
}

/// The most event types that one call remembers.
const TYPES_MET: usize = 64;

/// An event type by number. `met` holds those that one call has met, for look-ups without a lock.
fn type_of<'t>(view: &View<'_>, met: &'t mut Vec<Arc<EventType>>, number: i64) -> Result<&'t Arc<EventType>> {
    let at = match met.iter().position(|event_type| event_type.id == number) {
        Some(at) => at,
        None => {
            met.truncate(TYPES_MET - 1);
            met.push(view.event_type_by_id(number)?);
            met.len() - 1
        }
    };
    met.get(at).ok_or_else(|| Error::new(ErrorKind::Internal, "an event type was just met"))
}

pub(crate) fn gap(version: u64) -> Error {
    Error::new(ErrorKind::Corrupt, "an event is missing from the middle of its aggregate")
        .at_version(Version::new(version))
        .advice(RESTORE)
}

fn damaged(version: u64) -> Error {
    Error::new(ErrorKind::Corrupt, "the event's checksum is wrong: the file was damaged after it was written")
        .at_version(Version::new(version))
        .advice(RESTORE)
}

/// An event in the page cache whose checksum is right.
pub(crate) struct Raw<'r> {
    pub(crate) version: u64,
    pub(crate) position: u64,
    pub(crate) event_type: Arc<EventType>,
    pub(crate) created_at: i64,
    pub(crate) commit_id: u64,
    pub(crate) event_id: Uuid,
    /// Whether a caller gave the id.
    pub(crate) has_given_id: bool,
    pub(crate) schema_version: u32,
    pub(crate) data: Cow<'r, str>,
    pub(crate) origin: Uuid,
    pub(crate) metadata: Option<&'r str>,
    pub(crate) tags: Option<&'r str>,
}

impl<'r> Raw<'r> {
    pub(crate) fn read(view: &View<'_>, row: &'r Row<'_>, identity: u64, types: &mut Vec<Arc<EventType>>) -> Result<Raw<'r>> {
        let (version, position) = (key_version(row.at(0)?), row.at(1)?);
        Raw::read_columns(view, row, identity, (version, position), types)
            .map_err(|error| error.at_version(Version::new(version)).at_position(Position::new(position)))
    }

    fn read_columns(
        view: &View<'_>,
        row: &'r Row<'_>,
        identity: u64,
        (version, position): (u64, u64),
        types: &mut Vec<Arc<EventType>>,
    ) -> Result<Raw<'r>> {
        let text = |column| match row.get_ref(column) {
            Ok(value) => value.as_str_or_null().map_err(|_| damaged(version)),
            Err(_) => Err(damaged(version)),
        };
        let created_at = row.at(6)?;
        let (event_id, has_given_id) = match row.get_ref(8) {
            Ok(ValueRef::Integer(salt)) => (ids::made(created_at, position, salt.cast_unsigned()), false),
            Ok(ValueRef::Blob(id)) => (Uuid::from_slice(id).map_err(|_| damaged(version))?, true),
            _ => return Err(damaged(version)),
        };
        let raw = Raw {
            version,
            position,
            commit_id: u64::saturating_sub(position, row.at(2)?),
            event_id,
            has_given_id,
            event_type: type_of(view, types, row.at(3)?)?.clone(),
            schema_version: row.at(4)?,
            origin: view.replica_by_id(row.at(5)?)?,
            created_at,
            tags: text(9)?,
            metadata: text(10)?,
            data: packed::text(row.get_ref(11).sql()?)?.ok_or_else(|| damaged(version))?,
        };
        if raw.checksum_with(identity, &raw.data, raw.metadata, raw.tags) != row.at::<i64>(7)? {
            return Err(damaged(version));
        }
        Ok(raw)
    }

    /// The tags, as they were appended.
    pub(crate) fn tags(&self) -> Result<Vec<String>> {
        match self.tags {
            None => Ok(Vec::new()),
            Some(tags) => serde_json::from_str(tags).map_err(|_| damaged(self.version)),
        }
    }

    /// The checksum that the event has with other data, metadata and tags.
    pub(crate) fn checksum_with(&self, identity: u64, data: &str, metadata: Option<&str>, tags: Option<&str>) -> i64 {
        let folded =
            checksum::folded(identity, self.version, self.event_type.checksum, self.schema_version, self.created_at, data);
        let rest = checksum::Rest {
            position: self.position,
            commit_id: self.commit_id,
            event_id: self.event_id.as_bytes(),
            origin: self.origin.as_bytes(),
            metadata,
            tags,
        };
        checksum::event(folded, &rest)
    }

    pub(crate) fn bytes(&self) -> usize {
        self.data.len() + self.metadata.map_or(0, str::len) + self.tags.map_or(0, str::len)
    }

    /// The event as it is stored.
    pub(crate) fn as_stored(&self) -> Reading<'_> {
        Reading { index: 0, event_type: &self.event_type.name, schema_version: self.schema_version, data: &self.data }
    }

    /// A part of the event as callers get it. `tags` are its tags if they were already read.
    pub(crate) fn recorded(
        &self,
        part: Reading<'_>,
        aggregate_type: &AggregateType,
        aggregate_id: Arc<str>,
        tags: Option<Vec<String>>,
    ) -> Result<RecordedEvent> {
        Ok(RecordedEvent {
            position: Position::new(self.position),
            id: ids::of_part(self.event_id, part.index),
            tenant: aggregate_type.tenant.clone(),
            aggregate_type: aggregate_type.name.clone(),
            aggregate_id,
            version: Version::new(self.version),
            event_type: part.event_type.clone(),
            schema_version: part.schema_version,
            created_at: from_micros(self.created_at)?,
            commit_id: Position::new(self.commit_id),
            origin: self.origin,
            tags: tags.map_or_else(|| self.tags(), Ok)?,
            data: Json::stored(part.data.to_owned()),
            metadata: self.metadata.map(|text| Json::stored(text.to_owned())),
        })
    }
}

/// Passes the events of an aggregate from version `after + 1` to `through` to `take`, upwards or downwards, until it
/// asks to stop. A gap is an error.
pub(crate) fn scan_aggregate(
    view: &View<'_>,
    part: Part,
    owner: &Owner,
    (after, through): (u64, u64),
    descending: bool,
    limit: usize,
    mut take: impl FnMut(&Raw<'_>) -> Result<bool>,
) -> Result<()> {
    let sql = if descending {
        select_events!("", "events e WHERE e.key > ?1 AND e.key <= ?2 ORDER BY e.key DESC LIMIT ?3")
    } else {
        select_events!("", "events e WHERE e.key > ?1 AND e.key <= ?2 ORDER BY e.key LIMIT ?3")
    };
    let mut types = Vec::new();
    let (mut rows, mut stopped) = (0u64, false);
    let version_of = |rows: u64| if descending { through.saturating_sub(rows) } else { after + 1 + rows };
    view.each_row(&part.sql(sql), params![key(owner.aggregate, after), key(owner.aggregate, through), limit], |row| {
        if row.at::<i64>(0)? != key(owner.aggregate, version_of(rows)) {
            return Err(gap(version_of(rows)));
        }
        let raw = Raw::read(view, row, owner.identity, &mut types)?;
        rows += 1;
        let go_on = take(&raw)?;
        stopped = !go_on;
        Ok(go_on)
    })?;
    // Fewer rows than asked for mean that the scan must have reached its end.
    if !stopped && rows < through.saturating_sub(after) && rows < u64::try_from(limit).unwrap_or(u64::MAX) {
        return Err(gap(version_of(rows)));
    }
    Ok(())
}

/// A row of the log that was not checked yet.
pub(crate) struct Unread<'r, 't> {
    row: &'r Row<'r>,
    types: &'t mut Vec<Arc<EventType>>,
}

impl<'r> Unread<'r, '_> {
    /// The row as the main file stores it.
    pub(crate) fn columns(&self) -> Result<Vec<Value>> {
        columns(self.row)
    }

    /// The event, if its checksum is right.
    pub(crate) fn event(self, view: &View<'_>, identity: u64) -> Result<Raw<'r>> {
        Raw::read(view, self.row, identity, self.types)
    }
}

/// A row as the main file stores it.
pub(crate) fn columns(row: &Row<'_>) -> Result<Vec<Value>> {
    const DATA: usize = 11;
    let mut columns: Vec<Value> = (0..DATA).map(|column| row.at(column)).collect::<Result<_>>()?;
    let data = packed::text(row.get_ref(DATA).sql()?)?;
    columns.push(data.map_or(Value::Null, |data| Value::Text(data.into_owned())));
    Ok(columns)
}

/// Passes the rows after a key, `limit` at most, of any aggregate and in any state, to `each`.
pub(crate) fn check_page(
    view: &View<'_>,
    part: Part,
    after: i64,
    limit: usize,
    mut each: impl FnMut(i64, Unread<'_, '_>) -> Result<()>,
) -> Result<()> {
    let sql = select_events!("", "events e WHERE e.key > ?1 ORDER BY e.key LIMIT ?2");
    let (mut order, mut types) = (Ascending::after(after), Vec::new());
    view.each_row(&part.sql(sql), params![after, limit], |row| {
        let key = row.at(0)?;
        order.next(key)?;
        each(key, Unread { row, types: &mut types }).map(|()| true)
    })
}

/// As [`check_page`], of a schema that is attached under this name, in the order of the keys or against it.
pub(crate) fn check_page_of(
    view: &View<'_>,
    schema: &str,
    descending: bool,
    from: i64,
    limit: usize,
    mut each: impl FnMut(i64, Unread<'_, '_>) -> Result<()>,
) -> Result<()> {
    let sql = match descending {
        false => select_events!("", "events e WHERE e.key > ?1 ORDER BY e.key LIMIT ?2"),
        true => select_events!("", "events e WHERE e.key < ?1 ORDER BY e.key DESC LIMIT ?2"),
    };
    let mut types = Vec::new();
    view.each_row(&sql.replace(" events ", &format!(" {schema}.events ")), params![from, limit], |row| {
        each(row.at(0)?, Unread { row, types: &mut types }).map(|()| true)
    })
}

/// The position of one event of an aggregate; `None` if it is in neither file.
pub(crate) fn position_of(view: &View<'_>, aggregate: i64, version: u64) -> Result<Option<u64>> {
    const SQL: &str = "SELECT position FROM events WHERE key = ?1";
    if let Some(position) = view.value_if_any(SQL, [key(aggregate, version)])? {
        return Ok(Some(position));
    }
    if !aggregates::removed(view, aggregate)?.is_archived(version) {
        return Ok(None);
    }
    archive::attach(view)?;
    view.value_if_any(&Part::Archive.sql(SQL), [key(aggregate, version)])
}
