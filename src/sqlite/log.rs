//! Reading the log across aggregates: in the order of positions, or along a tag. What an index hides is noticed.

use std::sync::Arc;

use rusqlite::{Row, params};
use uuid::Uuid;

use super::database::View;
use super::doubt::{self, Side};
use super::events::{self, Raw, select};
use super::failure::Sql;
use super::names::AggregateType;
use super::{checksum, state};
use crate::error::{Error, ErrorKind, Result};
use crate::place::Position;

/// In which order, and along what, events are read across aggregates.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Along<'a> {
    /// Every event.
    Log,
    /// The events of a tenant that carry a tag.
    Tag(i64, &'a str),
}

/// Gives events at positions `range` (both ends included) to `take`, until it says to stop.
///
/// `i` is the index of positions, read alone, and `e` the row that it leads to: written as one table, SQLite would give the
/// row of a changed entry, and nothing would tell that it stands in another one's place.
pub(crate) fn scan_log(
    view: &View<'_>,
    along: Along<'_>,
    range: (u64, u64),
    descending: bool,
    limit: usize,
    mut take: impl FnMut(&Raw<'_>, &Arc<AggregateType>, &str) -> Result<bool>,
) -> Result<()> {
    const LOG: &str = select!(
        ", a.aggregate_type, a.aggregate_id, i.position",
        "events i LEFT JOIN events e ON e.key = i.key LEFT JOIN aggregates a ON a.id = e.key >> 32
         WHERE i.position BETWEEN ?1 AND ?2 ORDER BY i.position LIMIT ?3"
    );
    const LOG_DESCENDING: &str = select!(
        ", a.aggregate_type, a.aggregate_id, i.position",
        "events i LEFT JOIN events e ON e.key = i.key LEFT JOIN aggregates a ON a.id = e.key >> 32
         WHERE i.position BETWEEN ?1 AND ?2 ORDER BY i.position DESC LIMIT ?3"
    );
    const TAG: &str = select!(
        ", a.aggregate_type, a.aggregate_id, t.position",
        "event_tags t LEFT JOIN events e ON e.position = t.position LEFT JOIN aggregates a ON a.id = e.key >> 32
         WHERE t.tenant = ?4 AND t.tag = ?5 AND t.position BETWEEN ?1 AND ?2 ORDER BY t.position LIMIT ?3"
    );
    const TAG_DESCENDING: &str = select!(
        ", a.aggregate_type, a.aggregate_id, t.position",
        "event_tags t LEFT JOIN events e ON e.position = t.position LEFT JOIN aggregates a ON a.id = e.key >> 32
         WHERE t.tenant = ?4 AND t.tag = ?5 AND t.position BETWEEN ?1 AND ?2 ORDER BY t.position DESC LIMIT ?3"
    );
    let first = i64::try_from(range.0).unwrap_or(i64::MAX);
    let last = i64::try_from(range.1).unwrap_or(i64::MAX);
    let mut order = Order::begin(view, along, range, descending)?;
    let sql = match (along, descending) {
        (Along::Log, false) => LOG,
        (Along::Log, true) => LOG_DESCENDING,
        (Along::Tag(..), false) => TAG,
        (Along::Tag(..), true) => TAG_DESCENDING,
    };
    let mut statement = view.prepare_cached(sql).sql()?;
    let mut rows = match along {
        Along::Log => statement.query(params![first, last, limit]).sql()?,
        Along::Tag(tenant, tag) => statement.query(params![first, last, limit, tenant, tag]).sql()?,
    };
    let mut types = Vec::new();
    let mut aggregate_type: Option<Arc<AggregateType>> = None;
    let mut left = limit;
    while let Some(row) = rows.next().sql()? {
        confirm_led_to(row)?;
        let (aggregate_type, aggregate_id) = owner_of(view, row, &mut aggregate_type)?;
        let identity = checksum::identity(&aggregate_type.tenant, &aggregate_type.name, aggregate_id);
        let raw = Raw::read(view, row, identity, &mut types)?;
        order.next(raw.position)?;
        if let Along::Tag(_, tag) = along
            && !raw.tags()?.iter().any(|carried| carried == tag)
        {
            return Err(doubt::disagrees().at_position(Position::new(raw.position)));
        }
        left = left.saturating_sub(1);
        if !take(&raw, aggregate_type, aggregate_id)? {
            return Ok(());
        }
    }
    if left > 0 { order.end(view) } else { Ok(()) }
}

/// Whether each position must follow the last one, so that whatever stands out of its place is noticed at once and not only
/// at the end of a scan.
pub(crate) fn is_without_holes(view: &View<'_>, along: Along<'_>) -> Result<bool> {
    Ok(matches!(along, Along::Log) && state::totals(view)?.events_removed == 0)
}

/// Gives the event with an id to `take`; `None` if there is none. That the log has another one in its place is damage.
pub(crate) fn by_id<T>(
    view: &View<'_>,
    event_id: Uuid,
    mut take: impl FnMut(&Raw<'_>, &Arc<AggregateType>, &str) -> Result<T>,
) -> Result<Option<T>> {
    let Some(position) = events::position_of_id(view, event_id)? else { return Ok(None) };
    let mut taken = None;
    scan_log(view, Along::Log, (position.get(), position.get()), false, 1, |raw, aggregate_type, aggregate_id| {
        if raw.has_id(event_id) {
            taken = Some(take(raw, aggregate_type, aggregate_id)?);
        }
        Ok(false)
    })?;
    match taken {
        None => Err(doubt::disagrees().at_position(position)),
        taken => Ok(taken),
    }
}

/// Whether the positions of a scan are all that there are.
///
/// As long as nothing was removed they have no holes. After that only their order tells, and the entries of the index at
/// both ends of the scan.
struct Order<'a> {
    along: Along<'a>,
    range: (u64, u64),
    descending: bool,
    /// Whether each position must be the next one.
    without_holes: bool,
    /// The position before the next one, in the direction of the scan.
    last: u64,
    /// The first position along a tag, if there is one in the range; until the scan has found one.
    expected_first: Option<Option<u64>>,
}

impl<'a> Order<'a> {
    fn begin(view: &View<'_>, along: Along<'a>, range: (u64, u64), descending: bool) -> Result<Order<'a>> {
        let (start, side) = if descending { (range.1, Side::After) } else { (range.0, Side::Before) };
        let expected_first = match along {
            Along::Log => doubt::neighbour(view, start, side).map(|_| None)?,
            Along::Tag(tenant, tag) => {
                let first = doubt::first_of_tag(view, tenant, tag, start, descending)?;
                Some(first.filter(|first| (range.0..=range.1).contains(first)))
            }
        };
        let without_holes = is_without_holes(view, along)?;
        let last = if descending { range.1.saturating_add(1) } else { range.0.saturating_sub(1) };
        Ok(Order { along, range, descending, without_holes, last, expected_first })
    }

    fn next(&mut self, position: u64) -> Result<()> {
        let (smaller, larger) = if self.descending { (position, self.last) } else { (self.last, position) };
        let is_expected = self.expected_first.take().is_none_or(|first| first == Some(position));
        let in_range = (self.range.0..=self.range.1).contains(&position);
        if !in_range || smaller >= larger || (self.without_holes && larger - smaller != 1) || !is_expected {
            return Err(doubt::disagrees().at_position(Position::new(position)));
        }
        self.last = position;
        Ok(())
    }

    /// The scan found no more. A changed entry in its middle would have ended it too early.
    fn end(&self, view: &View<'_>) -> Result<()> {
        let side = if self.descending { Side::Before } else { Side::After };
        let disagrees = || doubt::disagrees().at_position(Position::new(self.last));
        if self.without_holes && self.last != (if self.descending { self.range.0 } else { self.range.1 }) {
            return Err(disagrees());
        }
        match self.along {
            Along::Log => match doubt::neighbour(view, self.last, side)? {
                Some(position) if (self.range.0..=self.range.1).contains(&position) => Err(disagrees()),
                _ => Ok(()),
            },
            Along::Tag(..) if matches!(self.expected_first, Some(Some(_))) => Err(disagrees()),
            Along::Tag(tenant, tag) => doubt::confirm_end_of_tag(view, tenant, tag, self.last, side),
        }
    }
}

/// Confirms that an entry of the index led to the row that it is of.
fn confirm_led_to(row: &Row<'_>) -> Result<()> {
    let (indexed, stored): (u64, Option<u64>) = (row.get(14).sql()?, row.get(1).sql()?);
    if stored == Some(indexed) { Ok(()) } else { Err(doubt::disagrees().at_position(Position::new(indexed))) }
}

fn owner_of<'r, 'm>(
    view: &View<'_>,
    row: &'r Row<'_>,
    last: &'m mut Option<Arc<AggregateType>>,
) -> Result<(&'m Arc<AggregateType>, &'r str)> {
    let orphan = || {
        let error = Error::new(ErrorKind::Corrupt, "the event's aggregate is missing from the file")
            .advice("copy the file before anything else, then restore a backup");
        match row.get(1) {
            Ok(position) => error.at_position(Position::new(position)),
            Err(_) => error,
        }
    };
    let number: i64 = row.get(12).map_err(|_| orphan())?;
    let aggregate_id = row.get_ref(13).sql()?.as_str().map_err(|_| orphan())?;
    let aggregate_type = match last.take() {
        Some(known) if known.id == number => known,
        _ => view.aggregate_type_by_id(number)?,
    };
    Ok((last.insert(aggregate_type), aggregate_id))
}
