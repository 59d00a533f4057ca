//! Reading events: a query, and an iterator over its events that holds nothing open between two pages.

use std::collections::VecDeque;
use std::fmt;
use std::time::Duration;

use chrono::{DateTime, Utc};

use crate::log::scope::Scope;
use crate::model::clock::to_micros;
use crate::model::error::{Error, ErrorKind, Result};
use crate::model::event::RecordedEvent;
use crate::model::filter::Filter;
use crate::model::place::{Position, Version};
use crate::storage::scan::{ScanCursor, Selection};

/// Events read in one transaction. Small, to bound memory.
const EVENTS_AT_ONCE: usize = 512;

/// Which events to read, in which range and order, and how many. Without restrictions: all of the tenant, in the order
/// of their positions.
///
/// ```
/// use foldlog::{Filter, Query, Store};
/// # let store = Store::in_memory()?;
/// for event in store.read(Query::matching(Filter::new().event_type("Deposited")).newest_first().limit(10)) {
///     println!("{} {}", event?.position, "deposit");
/// }
/// # Ok::<(), foldlog::Error>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct Query {
    pub(crate) selection: Selection,
    pub(crate) limit: Option<u64>,
}

impl From<Filter> for Query {
    fn from(filter: Filter) -> Query {
        Query::matching(filter)
    }
}

impl Query {
    /// Selects all events.
    pub fn new() -> Query {
        Query::default()
    }

    /// Selects the events that match a filter.
    pub fn matching(filter: Filter) -> Query {
        Query { selection: Selection { filter, ..Selection::default() }, limit: None }
    }

    /// Selects the events of one aggregate, in the order of versions. Purged and archived events are left out.
    pub fn aggregate(aggregate_type: impl Into<String>, aggregate_id: impl fmt::Display) -> Query {
        let aggregate = Some((aggregate_type.into(), aggregate_id.to_string()));
        Query { selection: Selection { aggregate, ..Selection::default() }, limit: None }
    }

    /// Sets the filter and replaces an earlier one.
    pub fn filter(mut self, filter: Filter) -> Query {
        self.selection.filter = filter;
        self
    }

    /// Only events after this position, to continue an earlier reading.
    pub fn after_position(mut self, position: impl Into<Position>) -> Query {
        self.selection.after_position = position.into().get();
        self
    }

    /// Only events up to and including this position.
    pub fn up_to_position(mut self, position: impl Into<Position>) -> Query {
        self.selection.up_to_position = Some(position.into().get());
        self
    }

    /// Only events after this version. Needs [`Query::aggregate`].
    pub fn after_version(mut self, version: impl Into<Version>) -> Query {
        self.selection.after_version = version.into().get();
        self
    }

    /// Only events up to and including this version. Needs [`Query::aggregate`].
    pub fn up_to_version(mut self, version: impl Into<Version>) -> Query {
        self.selection.up_to_version = Some(version.into().get());
        self
    }

    /// Events as they were appended: in their own schema versions, without [`Upcasters`](crate::Upcasters). A filter by event
    /// type then finds every stored event that can be read as one of the types. For a copy, or to see what is in the file.
    ///
    /// ```
    /// # use foldlog::{Expected, NewEvent, Options, Query, Upcasters};
    /// let upcasters = Upcasters::new().rename_field("Noted", 1, "text", "note");
    /// let store = Options::new().upcasters(upcasters)?.in_memory()?;
    /// let noted = NewEvent::new("Noted", &serde_json::json!({"text": "a"}))?.schema_version(1);
    /// store.append("list", "l-1", Expected::New, [noted])?;
    /// let stored = store.read(Query::new().as_stored()).next().unwrap()?;
    /// assert_eq!((stored.schema_version, stored.data.as_str()), (1, r#"{"text":"a"}"#));
    /// let current = store.read(Query::new()).next().unwrap()?;
    /// assert_eq!((current.schema_version, current.data.as_str()), (2, r#"{"note":"a"}"#));
    /// # Ok::<(), foldlog::Error>(())
    /// ```
    pub fn as_stored(mut self) -> Query {
        self.selection.as_stored = true;
        self
    }

    /// Newest event first.
    pub fn newest_first(mut self) -> Query {
        self.selection.newest_first = true;
        self
    }

    /// At most this many events.
    pub fn limit(mut self, events: u64) -> Query {
        self.limit = Some(events);
        self
    }
}

/// The events of a [`Query`]. Nothing is held open between two pages, however long the caller takes.
///
/// Ends at the position, or the version, that was the newest when the first event was read. After an error the iterator
/// ends. Every event is returned as it was appended, or as [`Upcasters`](crate::Upcasters) turn it into the current schema version.
pub struct Events {
    scope: Scope,
    query: Query,
    cursor: ScanCursor,
    ready: VecDeque<RecordedEvent>,
    handed_out: u64,
    /// An error to return after the events that were read before it.
    failure: Option<Error>,
}

impl Events {
    pub(crate) fn new(scope: Scope, query: Query) -> Events {
        Events { scope, query, cursor: ScanCursor::default(), ready: VecDeque::new(), handed_out: 0, failure: None }
    }

    fn refill(&mut self) -> Result<()> {
        let Events { scope, query, cursor, ready, handed_out, .. } = self;
        // A query for the newest event should not read a whole page.
        let left = query.limit.map_or(u64::MAX, |limit| limit.saturating_sub(*handed_out));
        let room = usize::try_from(left).unwrap_or(usize::MAX).min(EVENTS_AT_ONCE);
        scope.engine().scan(&scope.tenant, &query.selection, cursor, room, ready)
    }
}

impl Iterator for Events {
    type Item = Result<RecordedEvent>;

    fn next(&mut self) -> Option<Result<RecordedEvent>> {
        if self.query.limit.is_some_and(|limit| self.handed_out >= limit) {
            return None;
        }
        while self.ready.is_empty() && !self.cursor.is_finished() {
            if let Err(error) = self.refill() {
                self.cursor.finish();
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

impl fmt::Debug for Events {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Events").field("query", &self.query).field("handed_out", &self.handed_out).finish_non_exhaustive()
    }
}

/// Counts the events of a query.
pub(crate) fn count(scope: &Scope, query: &Query) -> Result<u64> {
    let Query { selection, limit } = query;
    let Selection { filter, aggregate, after_position, up_to_position, after_version, up_to_version, .. } = selection;
    let is_whole_log = *after_position == 0 && up_to_position.is_none();
    let counts_as_stored =
        scope.options().upcasters.keeps_counts(&filter.event_types) || selection.as_stored && filter.event_types.is_empty();
    let is_by_type_alone = is_whole_log
        && counts_as_stored
        && filter.tags.is_empty()
        && filter.any_tag.is_empty()
        && filter.from.is_none()
        && filter.to.is_none();
    let counted = match aggregate {
        Some((aggregate_type, aggregate_id))
            if is_by_type_alone && *after_version == 0 && up_to_version.is_none() && !filter.all_tenants =>
        {
            scope.engine().count_of_aggregate(&scope.tenant, (aggregate_type, aggregate_id), &filter.event_types)
        }
        None if is_by_type_alone && !filter.all_tenants => {
            scope.engine().count_by_type(&scope.tenant, &filter.aggregate_types, &filter.event_types)
        }
        _ => scope.engine().count(&scope.tenant, selection),
    };
    Ok(counted?.min(limit.unwrap_or(u64::MAX)))
}

/// The most spans that one call counts.
const MOST_SPANS: usize = 100_000;

/// Counts the events of a filter in equal spans of time.
pub(crate) fn count_by_time(
    scope: &Scope,
    filter: &Filter,
    from: DateTime<Utc>,
    width: Duration,
    spans: usize,
) -> Result<Vec<u64>> {
    let micros = i64::try_from(width.as_micros()).ok().filter(|micros| *micros > 0);
    let Some(micros) = micros.filter(|_| spans <= MOST_SPANS) else {
        let what = format!("a span needs a length of 1 µs to 292,000 years, and at most {MOST_SPANS} can be counted at once");
        return Err(Error::new(ErrorKind::InvalidInput, what));
    };
    scope.engine().count_by_time(&scope.tenant, filter, to_micros(from), micros, spans)
}
