//! Reading events: what is wanted, and an iterator over it that holds nothing open between two pages.

use std::collections::VecDeque;
use std::sync::Arc;

use chrono::{DateTime, Utc};

use crate::log::scope::{Scope, history_removed};
use crate::model::clock::to_micros;
use crate::model::error::{Error, ErrorKind, Result};
use crate::model::event::RecordedEvent;
use crate::model::filter::Filter;
use crate::model::place::{Position, Version};
use crate::sqlite::blocks::{self, Wanted};
use crate::sqlite::events::{self, Owner, Raw};
use crate::sqlite::log::{self, Along};
use crate::sqlite::{View, aggregates, state};

/// Rows looked at in one read transaction.
const ROWS_AT_ONCE: usize = 2_048;
/// Events handed out of one read transaction, so that memory stays small.
const EVENTS_AT_ONCE: usize = 512;
/// A page ends when its events have this many bytes.
const BYTES_AT_ONCE: usize = 1 << 20;

/// Which events, and in which order. Without any restriction: all of the tenant, in the order of their positions.
///
/// ```
/// use foldlog::{Query, Store};
/// # let store = Store::in_memory()?;
/// for event in store.read(Query::new().event_type("Deposited").newest_first().limit(10)) {
///     println!("{} {}", event?.position, "deposit");
/// }
/// # Ok::<(), foldlog::Error>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct Query {
    aggregate_type: Option<String>,
    aggregate_id: Option<String>,
    event_types: Vec<String>,
    tag: Option<String>,
    from: Option<DateTime<Utc>>,
    to: Option<DateTime<Utc>>,
    after_position: Position,
    up_to_position: Option<Position>,
    after_version: Version,
    newest_first: bool,
    limit: Option<u64>,
    all_tenants: bool,
}

impl Query {
    /// All events.
    pub fn new() -> Query {
        Query::default()
    }

    /// Only events of one aggregate, in the order of its versions. Events that were purged or archived are left out.
    pub fn aggregate(mut self, aggregate_type: impl Into<String>, aggregate_id: impl Into<String>) -> Query {
        self.aggregate_type = Some(aggregate_type.into());
        self.aggregate_id = Some(aggregate_id.into());
        self
    }

    /// Only events of aggregates of this type.
    pub fn aggregate_type(mut self, aggregate_type: impl Into<String>) -> Query {
        self.aggregate_type = Some(aggregate_type.into());
        self
    }

    /// Only events of this type; may be called again for further types.
    pub fn event_type(mut self, event_type: impl Into<String>) -> Query {
        self.event_types.push(event_type.into());
        self
    }

    /// Only events that carry this tag.
    pub fn tag(mut self, tag: impl Into<String>) -> Query {
        self.tag = Some(tag.into());
        self
    }

    /// Only events whose time is at or after this one.
    pub fn from(mut self, time: DateTime<Utc>) -> Query {
        self.from = Some(time);
        self
    }

    /// Only events whose time is at or before this one.
    pub fn to(mut self, time: DateTime<Utc>) -> Query {
        self.to = Some(time);
        self
    }

    /// Only events after this position: to go on where an earlier reading ended.
    pub fn after_position(mut self, position: impl Into<Position>) -> Query {
        self.after_position = position.into();
        self
    }

    /// Only events up to this position, itself included.
    pub fn up_to_position(mut self, position: impl Into<Position>) -> Query {
        self.up_to_position = Some(position.into());
        self
    }

    /// Only events after this version; with [`Query::aggregate`].
    pub fn after_version(mut self, version: impl Into<Version>) -> Query {
        self.after_version = version.into();
        self
    }

    /// The other way round: the newest event first.
    pub fn newest_first(mut self) -> Query {
        self.newest_first = true;
        self
    }

    /// At most this many events.
    pub fn limit(mut self, events: u64) -> Query {
        self.limit = Some(events);
        self
    }

    /// Events that a filter wants.
    pub fn matching(filter: Filter) -> Query {
        let mut query = Query { from: filter.from, to: filter.to, all_tenants: filter.all_tenants, ..Query::default() };
        query.event_types = filter.event_types;
        query.aggregate_type = filter.aggregate_types.into_iter().next();
        query.tag = filter.tags.into_iter().next();
        query
    }

    /// Events of every tenant, for those who run the whole: an operator, an export.
    pub fn all_tenants(mut self) -> Query {
        self.all_tenants = true;
        self
    }
}

/// Events as a [`Query`] asks for them. Between two pages nothing is held open, however long the caller takes.
///
/// Ends at the position, or the version, that was the newest when the first event was asked for. After an error the
/// iterator is at its end. Every event that was given is as it was appended, and none before it was left out: where a damaged
/// file would hide one, or show it in another one's place, the reading ends with an error.
pub struct Events {
    scope: Scope,
    query: Query,
    plan: Option<Plan>,
    ready: VecDeque<RecordedEvent>,
    handed_out: u64,
    finished: bool,
    /// Comes after what was read before it.
    failure: Option<Error>,
}

/// What is left to read.
enum Plan {
    /// Versions `next..=last` of one aggregate; downwards from `last` if the newest come first.
    Aggregate { owner: Owner, next: u64, last: u64, event_types: Option<Vec<i64>> },
    /// Positions `next..=last`.
    Log { next: u64, last: u64, wanted: Wanted, tag: Option<i64>, aggregate_type: Option<i64> },
}

impl Events {
    pub(crate) fn new(scope: Scope, query: Query) -> Events {
        Events { scope, query, plan: None, ready: VecDeque::new(), handed_out: 0, finished: false, failure: None }
    }

    fn refill(&mut self) -> Result<()> {
        let Events { scope, query, plan, ready, finished, handed_out, .. } = self;
        // A query for the newest event is not to pay for a page of them.
        let room = query.limit.map_or(EVENTS_AT_ONCE, |limit| capped(limit.saturating_sub(*handed_out)));
        scope.clone().database().read(|view| {
            if plan.is_none() {
                *plan = make_plan(scope, view, query)?;
            }
            let Some(plan) = plan else {
                *finished = true;
                return Ok(());
            };
            *finished = match plan {
                Plan::Aggregate { .. } => read_aggregate(view, query, plan, ready, room)?,
                Plan::Log { .. } => read_log(scope, view, query, plan, ready, room)?,
            };
            Ok(())
        })
    }
}

impl Iterator for Events {
    type Item = Result<RecordedEvent>;

    fn next(&mut self) -> Option<Result<RecordedEvent>> {
        if self.query.limit.is_some_and(|limit| self.handed_out >= limit) {
            return None;
        }
        while self.ready.is_empty() && !self.finished {
            if let Err(error) = self.refill() {
                self.finished = true;
                self.failure = Some(error.during("read"));
            }
        }
        match self.ready.pop_front() {
            Some(event) => {
                self.handed_out += 1;
                Some(Ok(event))
            }
            None => self.failure.take().map(Err),
        }
    }
}

/// As many events as a page may have.
fn capped(events: u64) -> usize {
    usize::try_from(events).map_or(EVENTS_AT_ONCE, |events| events.min(EVENTS_AT_ONCE))
}

/// `None` if there is nothing to read.
fn make_plan(scope: &Scope, view: &View<'_>, query: &Query) -> Result<Option<Plan>> {
    let event_types = event_types(view, query)?;
    if event_types.as_ref().is_some_and(Vec::is_empty) {
        return Ok(None);
    }
    let last_position = state::last_position(view)?.min(query.up_to_position.unwrap_or(Position::new(u64::MAX))).get();
    if let (Some(aggregate_type), Some(aggregate_id)) = (&query.aggregate_type, &query.aggregate_id) {
        if query.all_tenants {
            return Err(Error::new(ErrorKind::InvalidInput, "one aggregate belongs to one tenant: leave all_tenants out"));
        }
        let Some((row, owner)) = scope.find(view, aggregate_type, aggregate_id)? else { return Ok(None) };
        let next = query.after_version.get().max(row.removed_through()).saturating_add(1);
        return Ok(Some(Plan::Aggregate { owner, next, last: row.version, event_types }));
    }
    let aggregate_type = match (&query.aggregate_type, query.all_tenants) {
        (Some(name), false) => match view.aggregate_type(&scope.tenant, name)? {
            Some(found) => Some(found.id),
            None => return Ok(None),
        },
        _ => None,
    };
    let tag = match (&query.tag, query.all_tenants) {
        (None, _) => None,
        (Some(_), true) => return Err(Error::new(ErrorKind::InvalidInput, "tags belong to a tenant: leave all_tenants out")),
        (Some(_), false) => match view.tenant_id(&scope.tenant)? {
            Some(tenant) => Some(tenant),
            None => return Ok(None),
        },
    };
    let wanted = Wanted { event_types, from: query.from.map(to_micros), to: query.to.map(to_micros) };
    let next = query.after_position.get().saturating_add(1);
    Ok(Some(Plan::Log { next, last: last_position, wanted, tag, aggregate_type }))
}

fn event_types(view: &View<'_>, query: &Query) -> Result<Option<Vec<i64>>> {
    if query.event_types.is_empty() {
        return Ok(None);
    }
    let mut numbers = Vec::new();
    for name in &query.event_types {
        numbers.extend(view.event_type(name)?.map(|event_type| event_type.id));
    }
    Ok(Some(numbers))
}

/// Reads the next page of an aggregate; returns whether it was the last.
fn read_aggregate(
    view: &View<'_>,
    query: &Query,
    plan: &mut Plan,
    ready: &mut VecDeque<RecordedEvent>,
    room: usize,
) -> Result<bool> {
    let Plan::Aggregate { owner, next, last, event_types } = plan else { return Ok(true) };
    if *next > *last {
        return Ok(true);
    }
    let removed = aggregates::removed_through(view, owner.aggregate)?;
    if removed >= *next {
        return Err(history_removed(removed));
    }
    let range = (*next - 1, *last);
    let mut page = Page::new(query, ready, room);
    events::scan_aggregate(view, owner, range, query.newest_first, ROWS_AT_ONCE, |raw| {
        if query.newest_first {
            *last = raw.version - 1;
        } else {
            *next = raw.version + 1;
        }
        let in_position =
            raw.position > query.after_position.get() && query.up_to_position.is_none_or(|to| raw.position <= to.get());
        if !in_position || !page.wants(raw, event_types.as_deref()) {
            return Ok(true);
        }
        let event = raw.recorded(&owner.aggregate_type, owner.aggregate_id.clone())?;
        if query.tag.as_ref().is_some_and(|tag| !event.tags.contains(tag)) {
            return Ok(true);
        }
        page.take(event, raw.bytes())
    })?;
    Ok(*next > *last)
}

/// Reads the next page of the log; returns whether it was the last.
fn read_log(
    scope: &Scope,
    view: &View<'_>,
    query: &Query,
    plan: &mut Plan,
    ready: &mut VecDeque<RecordedEvent>,
    room: usize,
) -> Result<bool> {
    let Plan::Log { next, last, wanted, tag, aggregate_type } = plan else { return Ok(true) };
    if *next > *last {
        return Ok(true);
    }
    let range = match (query.newest_first, &query.tag) {
        (_, Some(_)) => Some((*next, *last)),
        (false, None) => blocks::next_range(view, wanted, *next)?,
        (true, None) => blocks::previous_range(view, wanted, *last)?,
    };
    let Some((from, to)) = range else { return Ok(true) };
    let (from, to) = (from.max(*next), to.min(*last));
    if from > to {
        return Ok(true);
    }
    let along = match (tag, &query.tag) {
        (Some(tenant), Some(tag)) => Along::Tag(*tenant, tag),
        _ => Along::Log,
    };
    let mut page = Page::new(query, ready, room);
    let (mut rows, mut stopped) = (0, false);
    log::scan_log(view, along, (from, to), query.newest_first, ROWS_AT_ONCE, |raw, kind, aggregate_id| {
        rows += 1;
        if query.newest_first {
            *last = raw.position - 1;
        } else {
            *next = raw.position + 1;
        }
        let of_tenant = query.all_tenants || kind.tenant == scope.tenant;
        let of_type = match aggregate_type {
            Some(number) => kind.id == *number,
            None => query.aggregate_type.as_ref().is_none_or(|name| **name == *kind.name),
        };
        if !of_tenant || !of_type || !page.wants(raw, wanted.event_types.as_deref()) {
            return Ok(true);
        }
        let go_on = page.take(raw.recorded(kind, Arc::from(aggregate_id))?, raw.bytes())?;
        stopped = !go_on;
        Ok(go_on)
    })?;
    if rows < ROWS_AT_ONCE && !stopped {
        // The whole range was read.
        if query.newest_first {
            *last = from - 1;
        } else {
            *next = to.saturating_add(1);
        }
    }
    Ok(*next > *last)
}

/// Events of one page, and when it is full.
struct Page<'a> {
    ready: &'a mut VecDeque<RecordedEvent>,
    room: usize,
    bytes: usize,
    from: i64,
    to: i64,
}

impl<'a> Page<'a> {
    fn new(query: &Query, ready: &'a mut VecDeque<RecordedEvent>, room: usize) -> Page<'a> {
        Page { ready, room, bytes: 0, from: query.from.map_or(i64::MIN, to_micros), to: query.to.map_or(i64::MAX, to_micros) }
    }

    fn wants(&self, raw: &Raw<'_>, event_types: Option<&[i64]>) -> bool {
        (self.from..=self.to).contains(&raw.created_at) && event_types.is_none_or(|types| types.contains(&raw.event_type.id))
    }

    /// Takes an event; returns whether there is room for another.
    fn take(&mut self, event: RecordedEvent, bytes: usize) -> Result<bool> {
        self.ready.push_back(event);
        self.bytes += bytes;
        Ok(self.ready.len() < self.room && self.bytes < BYTES_AT_ONCE)
    }
}
