//! Reads events, across aggregates or of one, page by page. Nothing is held open between two pages.

use std::collections::VecDeque;
use std::sync::Arc;

use rusqlite::params;

use super::conditions::{Conditions, Tags};
use super::lookup;
use crate::model::error::{Error, ErrorKind, Result};
use crate::model::event::RecordedEvent;
use crate::model::filter::Filter;
use crate::model::place::AggregateRef;
use crate::model::upcast::Reading;
use crate::sqlite::Database;
use crate::sqlite::checksum;
use crate::sqlite::consistency::disagrees;
use crate::sqlite::names_cache::AggregateType;
use crate::sqlite::tables::archive::Part;
use crate::sqlite::tables::block_counts::{self, Spans};
use crate::sqlite::tables::block_summaries;
use crate::sqlite::tables::events::{self, Owner, Raw, select_events};
pub(in crate::sqlite) use crate::sqlite::tables::positions::last as last_position;
use crate::sqlite::tables::positions::{self, Gaps, Walk, number_of};
use crate::sqlite::transaction::{Columns, View};
use crate::sqlite::upcast::each_part_of;
use crate::storage::scan::{ScanCursor, Selection};

/// The most rows read in one transaction.
const ROWS_AT_ONCE: usize = 2_048;
/// A page ends when its events reach this many bytes.
const BYTES_AT_ONCE: usize = 1 << 20;

impl Database {
    pub(crate) fn read_after(
        &self,
        tenant: &str,
        filter: &Filter,
        after: u64,
        limit: usize,
    ) -> Result<(VecDeque<RecordedEvent>, u64)> {
        self.read(|view| read_after(view, tenant, filter, after, limit))
    }

    pub(crate) fn scan(
        &self,
        tenant: &str,
        selection: &Selection,
        cursor: &mut ScanCursor,
        room: usize,
        ready: &mut VecDeque<RecordedEvent>,
    ) -> Result<()> {
        self.read(|view| scan(view, tenant, selection, cursor, &mut Page::new(room, ready)))
    }

    pub(crate) fn count(&self, tenant: &str, selection: &Selection) -> Result<u64> {
        let (mut cursor, mut counted) = (ScanCursor::default(), 0);
        while !cursor.is_finished() {
            self.read(|view| scan(view, tenant, selection, &mut cursor, &mut Count(&mut counted)))?;
        }
        Ok(counted)
    }

    /// Counts the events of a filter in equal spans of time: from when, how long each, how many; in microseconds.
    pub(crate) fn count_by_time(&self, tenant: &str, filter: &Filter, from: i64, width: i64, spans: usize) -> Result<Vec<u64>> {
        let mut spans = Spans { from, width, events: vec![0; spans] };
        self.read(|view| {
            let selection = Selection { filter: filter.clone(), ..Selection::default() };
            let Some(mut wanted) = Conditions::of(view, tenant, &selection)? else { return Ok(()) };
            if wanted.has_tags() {
                return Err(Error::new(ErrorKind::InvalidInput, "events with a tag cannot be counted by time: leave tags out"));
            }
            let length = width.saturating_mul(i64::try_from(spans.events.len()).unwrap_or(i64::MAX));
            wanted.types.from = Some(wanted.types.from.unwrap_or(from).max(from));
            let end = from.saturating_add(length).saturating_sub(1);
            wanted.types.to = Some(wanted.types.to.unwrap_or(end).min(end));
            block_counts::count_by_time(view, &wanted.types, &mut spans)
        })?;
        Ok(spans.events)
    }
}

/// The next events after a position that match a filter, `limit` at most, and the position up to which the log was
/// read.
pub(crate) fn read_after(
    view: &View<'_>,
    tenant: &str,
    filter: &Filter,
    after: u64,
    limit: usize,
) -> Result<(VecDeque<RecordedEvent>, u64)> {
    let selection = Selection { filter: filter.clone(), after_position: after, ..Selection::default() };
    let (mut ready, mut cursor) = (VecDeque::new(), ScanCursor::default());
    let last = positions::last(view)?;
    while !cursor.is_finished() && ready.is_empty() {
        scan(view, tenant, &selection, &mut cursor, &mut Page::new(limit, &mut ready))?;
    }
    let scanned = if cursor.is_finished() { last } else { cursor.first.saturating_sub(1) };
    Ok((ready, scanned.max(after)))
}

/// Receives matching events.
trait Take {
    /// Takes what one stored event is read as. Returns whether there is room for another.
    fn take(&mut self, found: &mut Found<'_, '_>, parts: &[Reading<'_>]) -> Result<bool>;
}

/// A stored event that matches, with its aggregate, and its tags if they were already read.
struct Found<'a, 'r> {
    raw: &'a Raw<'r>,
    aggregate_type: &'a AggregateType,
    aggregate_id: &'a str,
    tags: Option<Vec<String>>,
}

/// The events of one page, and its limits.
struct Page<'a> {
    ready: &'a mut VecDeque<RecordedEvent>,
    room: usize,
    bytes: usize,
}

impl<'a> Page<'a> {
    fn new(room: usize, ready: &'a mut VecDeque<RecordedEvent>) -> Page<'a> {
        Page { ready, room, bytes: 0 }
    }
}

impl Take for Page<'_> {
    fn take(&mut self, found: &mut Found<'_, '_>, parts: &[Reading<'_>]) -> Result<bool> {
        for (at, part) in parts.iter().enumerate() {
            let tags = if at + 1 == parts.len() { found.tags.take() } else { found.tags.clone() };
            self.ready.push_back(found.raw.recorded(*part, found.aggregate_type, Arc::from(found.aggregate_id), tags)?);
        }
        self.bytes += found.raw.bytes();
        Ok(self.ready.len() < self.room && self.bytes < BYTES_AT_ONCE)
    }
}

struct Count<'a>(&'a mut u64);

impl Take for Count<'_> {
    fn take(&mut self, _: &mut Found<'_, '_>, parts: &[Reading<'_>]) -> Result<bool> {
        *self.0 += parts.len() as u64;
        Ok(true)
    }
}

fn scan(view: &View<'_>, tenant: &str, selection: &Selection, cursor: &mut ScanCursor, page: &mut impl Take) -> Result<()> {
    match &selection.aggregate {
        Some((aggregate_type, aggregate_id)) => scan_one(view, tenant, selection, (aggregate_type, aggregate_id), cursor, page),
        None => scan_all(view, tenant, selection, cursor, page),
    }
}

/// Reads events of one aggregate.
fn scan_one(
    view: &View<'_>,
    tenant: &str,
    selection: &Selection,
    (aggregate_type, aggregate_id): (&str, &str),
    cursor: &mut ScanCursor,
    page: &mut impl Take,
) -> Result<()> {
    if selection.filter.all_tenants {
        return Err(Error::new(ErrorKind::InvalidInput, "one aggregate belongs to one tenant: leave all_tenants out"));
    }
    let wanted = Conditions::of(view, tenant, selection)?;
    let found = lookup::find(view, tenant, aggregate_type, aggregate_id)?;
    let (Some(wanted), Some((row, owner))) = (wanted, found) else {
        cursor.finish();
        return Ok(());
    };
    let purged = row.removal.purged_through;
    if !cursor.has_begun {
        let last = selection.up_to_version.unwrap_or(u64::MAX).min(row.version);
        cursor.begin(selection.after_version.max(purged).saturating_add(1), last);
    } else if purged >= cursor.first {
        let what = format!("events up to version {purged} were removed while they were read");
        return Err(Error::new(ErrorKind::HistoryRemoved, what));
    }
    if cursor.is_finished() {
        return Ok(());
    }
    let (part, range) = row.removal.part_of((cursor.first - 1, cursor.last), selection.newest_first);
    part.open(view)?;
    events::scan_aggregate(view, part, &owner, range, selection.newest_first, ROWS_AT_ONCE, |raw| {
        cursor.pass(raw.version, selection.newest_first);
        let in_range = raw.position > selection.after_position && selection.up_to_position.is_none_or(|to| raw.position <= to);
        if !in_range || !wanted.types.matches(owner.aggregate_type.id, raw.event_type.id, raw.created_at) {
            return Ok(true);
        }
        let tags = match wanted.tags_of(raw)? {
            Tags::Missing => return Ok(true),
            Tags::NotAsked => None,
            Tags::Carried(tags) => Some(tags),
        };
        let (aggregate_type, aggregate_id) = (&*owner.aggregate_type, &*owner.aggregate_id);
        wanted.hand_over(view, Found { raw, aggregate_type, aggregate_id, tags }, page)
    })
}

impl Conditions<'_> {
    /// Hands a stored event that matches to `page`, as readers get it. Returns whether there is room for another.
    fn hand_over(&self, view: &View<'_>, mut found: Found<'_, '_>, page: &mut impl Take) -> Result<bool> {
        let Found { raw, aggregate_type, aggregate_id, .. } = found;
        let upcasters = &view.names.upcasters;
        let is_wanted = |event_type: &str| {
            self.names.is_empty()
                || self.as_stored
                || upcasters.is_empty()
                || upcasters.matches(self.names, &aggregate_type.name, event_type)
        };
        if self.as_stored || raw.event_type.current(&aggregate_type.name) == Some(raw.schema_version) {
            let part = [raw.as_stored()];
            return page.take(&mut found, if is_wanted(&raw.event_type.name) { &part } else { &[] });
        }
        let mut parts = Vec::new();
        each_part_of(view, aggregate_type, raw, |part| {
            if is_wanted(part.event_type) {
                parts.push((part.index, part.event_type.clone(), part.schema_version, part.data.to_owned()));
            }
            Ok(())
        })
        .map_err(|error| error.of(&AggregateRef::new(&aggregate_type.tenant, &aggregate_type.name, aggregate_id)))?;
        let mut parts: Vec<Reading<'_>> = parts
            .iter()
            .map(|(index, event_type, schema_version, data)| Reading {
                index: *index,
                event_type,
                schema_version: *schema_version,
                data,
            })
            .collect();
        if self.newest_first {
            parts.reverse();
        }
        page.take(&mut found, &parts)
    }
}

/// Reads events in the order of their positions.
fn scan_all(view: &View<'_>, tenant: &str, selection: &Selection, cursor: &mut ScanCursor, page: &mut impl Take) -> Result<()> {
    let end = positions::last(view)?;
    if !cursor.has_begun {
        cursor.begin(selection.after_position.saturating_add(1), selection.up_to_position.unwrap_or(u64::MAX).min(end));
    }
    let Some(wanted) = Conditions::of(view, tenant, selection)? else {
        cursor.finish();
        return Ok(());
    };
    let newest_first = selection.newest_first;
    let (mut rows, mut go_on) = (0, true);
    while go_on && rows < ROWS_AT_ONCE && !cursor.is_finished() {
        let range = match newest_first {
            false => block_summaries::next_range(view, &wanted.types, cursor.first, end)?,
            true => block_summaries::previous_range(view, &wanted.types, cursor.last, end)?,
        };
        let Some((first, last)) = range else {
            cursor.finish();
            break;
        };
        let range = (first.max(cursor.first), last.min(cursor.last));
        if range.0 > range.1 {
            cursor.finish();
            break;
        }
        let (part, range) = match wanted.has_tags() {
            // An entry of the index of tags leads to either part.
            true => (Part::Main, range),
            false => positions::part_of(view, range, newest_first)?,
        };
        part.open(view)?;
        let reading = Range { view, wanted: &wanted, part, range, newest_first, limit: ROWS_AT_ONCE - rows };
        let read = if wanted.has_tags() { reading.read_tagged(cursor, page)? } else { reading.read(cursor, page)? };
        rows += read.rows.max(1);
        go_on = read.go_on;
    }
    Ok(())
}

/// A range of positions to read.
struct Range<'a> {
    view: &'a View<'a>,
    wanted: &'a Conditions<'a>,
    part: Part,
    range: (u64, u64),
    newest_first: bool,
    limit: usize,
}

/// How reading a range ended.
struct Read {
    rows: usize,
    /// Whether there is room for more events.
    go_on: bool,
}

impl Range<'_> {
    /// Reads every event of the range, and checks that no position is unexplained.
    fn read(&self, cursor: &mut ScanCursor, page: &mut impl Take) -> Result<Read> {
        const UP: &str = select_events!(
            ", a.aggregate_type, a.aggregate_id",
            "events e LEFT JOIN aggregates a NOT INDEXED ON a.id = e.key >> 32 WHERE e.position BETWEEN ?1 AND ?2 ORDER BY e.position LIMIT ?3"
        );
        const DOWN: &str = select_events!(
            ", a.aggregate_type, a.aggregate_id",
            "events e LEFT JOIN aggregates a NOT INDEXED ON a.id = e.key >> 32 WHERE e.position BETWEEN ?1 AND ?2 ORDER BY e.position DESC LIMIT ?3"
        );
        let Range { view, part, range, newest_first, limit, .. } = *self;
        let mut walk = Walk::new(range, newest_first, Gaps::of(part));
        let mut names = Names::default();
        let mut read = Read { rows: 0, go_on: true };
        let bounds = params![number_of(range.0), number_of(range.1), limit];
        view.each_row(&part.sql(if newest_first { DOWN } else { UP }), bounds, |row| {
            walk.next(view, row.at(1)?)?;
            read.rows += 1;
            let (aggregate_type, aggregate_id) = names.of_row(view, row)?;
            let identity = checksum::identity(&aggregate_type.tenant, &aggregate_type.name, aggregate_id);
            let raw = Raw::read(view, row, identity, &mut names.event_types)?;
            cursor.pass(raw.position, newest_first);
            if self.wanted.types.matches(aggregate_type.id, raw.event_type.id, raw.created_at) {
                let found = Found { raw: &raw, aggregate_type: &aggregate_type, aggregate_id, tags: None };
                read.go_on = self.wanted.hand_over(view, found, page)?;
            }
            Ok(read.go_on)
        })?;
        if read.go_on && read.rows < limit {
            walk.end(view)?;
            self.pass_all(cursor);
        }
        Ok(read)
    }

    /// Reads the events of the range that carry the tags.
    fn read_tagged(&self, cursor: &mut ScanCursor, page: &mut impl Take) -> Result<Read> {
        let found = self.wanted.tagged(self.view, self.range, self.newest_first, self.limit)?;
        for (rows, position) in found.iter().enumerate() {
            let go_on = lookup::at_position(self.view, *position, |raw, owner| self.take_tagged(raw, owner, page))?;
            cursor.pass(*position, self.newest_first);
            match go_on {
                None => return Err(disagrees().at_position((*position).into())),
                Some(false) => return Ok(Read { rows: rows + 1, go_on: false }),
                Some(true) => {}
            }
        }
        if found.len() < self.limit {
            self.pass_all(cursor);
        }
        Ok(Read { rows: found.len(), go_on: true })
    }

    fn take_tagged(&self, raw: &Raw<'_>, owner: &Owner, page: &mut impl Take) -> Result<bool> {
        let Tags::Carried(tags) = self.wanted.tags_of(raw)? else {
            return Err(disagrees().at_position(raw.position.into()));
        };
        if owner.aggregate_type.tenant_id != self.wanted.tenant {
            return Err(disagrees().at_position(raw.position.into()));
        }
        match self.wanted.types.matches(owner.aggregate_type.id, raw.event_type.id, raw.created_at) {
            true => {
                let (aggregate_type, aggregate_id) = (&*owner.aggregate_type, &*owner.aggregate_id);
                self.wanted.hand_over(self.view, Found { raw, aggregate_type, aggregate_id, tags: Some(tags) }, page)
            }
            false => Ok(true),
        }
    }

    /// Marks the whole range as read.
    fn pass_all(&self, cursor: &mut ScanCursor) {
        match self.newest_first {
            true => cursor.pass(self.range.0, true),
            false => cursor.pass(self.range.1, false),
        }
    }
}

/// The names that a scan has met.
#[derive(Default)]
struct Names {
    event_types: Vec<Arc<crate::sqlite::names_cache::EventType>>,
    aggregate_type: Option<Arc<AggregateType>>,
}

impl Names {
    /// The owner of a row's event, from the columns after those of the event.
    fn of_row<'r>(&mut self, view: &View<'_>, row: &'r rusqlite::Row<'_>) -> Result<(Arc<AggregateType>, &'r str)> {
        let orphan = || Error::new(ErrorKind::Corrupt, "the event's aggregate is missing from the file");
        let number: i64 = row.get(12).map_err(|_| orphan())?;
        let aggregate_id = row.get_ref(13).ok().and_then(|id| id.as_str().ok()).ok_or_else(orphan)?;
        let aggregate_type = match self.aggregate_type.take() {
            Some(known) if known.id == number => known,
            _ => view.aggregate_type_by_id(number)?,
        };
        self.aggregate_type = Some(aggregate_type.clone());
        Ok((aggregate_type, aggregate_id))
    }
}
