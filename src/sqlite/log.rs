//! Reading the log across aggregates: in the order of positions, or along a tag. What an index hides is noticed.

use std::sync::Arc;

use rusqlite::{Row, params};
use uuid::Uuid;

use super::database::View;
use super::events::{Raw, select};
use super::failure::Sql;
use super::links::{Entry, Steps, TAGS};
use super::names::AggregateType;
use super::{checksum, doubt, holes, key_version, places};
use crate::model::error::{Error, ErrorKind, Result};
use crate::model::place::Position;

/// In which order, and along what, events are read across aggregates.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Along<'a> {
    /// Every event.
    Log,
    /// The events of a tenant that carry a tag.
    Tag(i64, &'a str),
}

/// Gives events at positions `range` (both ends included) to `take`, until it says to stop. Each is the next one that there
/// is: another one, or none too early, is an error before anything is given in its place.
pub(crate) fn scan_log(
    view: &View<'_>,
    along: Along<'_>,
    range: (u64, u64),
    descending: bool,
    limit: usize,
    mut take: impl FnMut(&Raw<'_>, &Arc<AggregateType>, &str) -> Result<bool>,
) -> Result<()> {
    const LOG: &str = select!(
        ", a.aggregate_type, a.aggregate_id, max(a.purged_through, a.archived_through)",
        "events e LEFT JOIN aggregates a ON a.id = e.key >> 32 WHERE e.position BETWEEN ?1 AND ?2 ORDER BY e.position LIMIT ?3"
    );
    const LOG_DESCENDING: &str = select!(
        ", a.aggregate_type, a.aggregate_id, max(a.purged_through, a.archived_through)",
        "events e LEFT JOIN aggregates a ON a.id = e.key >> 32 WHERE e.position BETWEEN ?1 AND ?2 ORDER BY e.position DESC LIMIT ?3"
    );
    const TAG: &str = select!(
        ", a.aggregate_type, a.aggregate_id, max(a.purged_through, a.archived_through), t.position, t.link",
        "event_tags t LEFT JOIN events e ON e.position = t.position LEFT JOIN aggregates a ON a.id = e.key >> 32
         WHERE t.tenant = ?4 AND t.tag = ?5 AND t.position BETWEEN ?1 AND ?2 ORDER BY t.position LIMIT ?3"
    );
    const TAG_DESCENDING: &str = select!(
        ", a.aggregate_type, a.aggregate_id, max(a.purged_through, a.archived_through), t.position, t.link",
        "event_tags t LEFT JOIN events e ON e.position = t.position LEFT JOIN aggregates a ON a.id = e.key >> 32
         WHERE t.tenant = ?4 AND t.tag = ?5 AND t.position BETWEEN ?1 AND ?2 ORDER BY t.position DESC LIMIT ?3"
    );
    let (first, last) = (places::number_of(range.0), places::number_of(range.1));
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
        order.next(view, row)?;
        let (aggregate_type, aggregate_id) = owner_of(view, row, &mut aggregate_type)?;
        let identity = checksum::identity(&aggregate_type.tenant, &aggregate_type.name, aggregate_id);
        let raw = Raw::read(view, row, identity, &mut types)?;
        if let Along::Tag(_, tag) = along
            && !raw.carries(tag)?
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

/// Gives the event with an id to `take`; `None` if there is none. That the log has another one in its place is damage.
pub(crate) fn by_id<T>(
    view: &View<'_>,
    event_id: Uuid,
    mut take: impl FnMut(&Raw<'_>, &Arc<AggregateType>, &str) -> Result<T>,
) -> Result<Option<T>> {
    let Some(position) = places::position_of_id(view, event_id)? else { return Ok(None) };
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

/// Whether the events of a scan are all that there are, as far as it has come.
enum Order<'a> {
    Log(holes::Walk),
    Tag { steps: Steps, lower: Entry<'a>, upper: Entry<'a>, descending: bool, last: Option<i64> },
}

impl<'a> Order<'a> {
    fn begin(view: &View<'_>, along: Along<'a>, range: (u64, u64), descending: bool) -> Result<Order<'a>> {
        let Along::Tag(group, name) = along else { return Ok(Order::Log(holes::Walk::new(range, descending))) };
        let place = |position: u64| Entry { group, name, number: places::number_of(position) };
        let (lower, upper) = (place(range.0), place(range.1.saturating_add(1)));
        let steps = match descending {
            false => Steps::up(&TAGS, view, &lower)?,
            true => Steps::down(&TAGS, view, &upper)?,
        };
        Ok(Order::Tag { steps, lower, upper, descending, last: None })
    }

    fn next(&mut self, view: &View<'_>, row: &Row<'_>) -> Result<()> {
        match self {
            Order::Log(walk) => walk.next(view, row.get(1).sql()?),
            Order::Tag { steps, lower, upper, descending, last } => {
                let (indexed, stored): (i64, Option<i64>) = (row.get(15).sql()?, row.get(1).sql()?);
                let disagrees = || doubt::disagrees().at_position(Position::new(indexed.cast_unsigned()));
                let follows = last.is_none_or(|last| if *descending { indexed < last } else { indexed > last });
                // The entry of another tag may pass for one of a place beyond the range.
                let is_within = (lower.number..upper.number).contains(&indexed);
                if stored != Some(indexed) || !follows || !is_within {
                    return Err(disagrees());
                }
                *last = Some(indexed);
                steps.next(&Entry { number: indexed, ..*lower }, row.get(16).sql()?).map_err(|_| disagrees())
            }
        }
    }

    /// The scan found no more.
    fn end(self, view: &View<'_>) -> Result<()> {
        match self {
            Order::Log(mut walk) => walk.end(view),
            Order::Tag { steps, lower, upper, .. } => steps.end(&TAGS, view, &lower, &upper),
        }
    }
}

fn owner_of<'r, 'm>(
    view: &View<'_>,
    row: &'r Row<'_>,
    last: &'m mut Option<Arc<AggregateType>>,
) -> Result<(&'m Arc<AggregateType>, &'r str)> {
    let damaged = |what: &str| {
        let error = Error::new(ErrorKind::Corrupt, what).advice("copy the file before anything else, then restore a backup");
        match row.get(1) {
            Ok(position) => error.at_position(Position::new(position)),
            Err(_) => error,
        }
    };
    let orphan = || damaged("the event's aggregate is missing from the file");
    let number: i64 = row.get(12).map_err(|_| orphan())?;
    let aggregate_id = row.get_ref(13).sql()?.as_str().map_err(|_| orphan())?;
    let removed_through: u64 = row.get(14).sql()?;
    if key_version(row.get(0).sql()?) <= removed_through {
        // A page from an earlier time brings events back that were removed since.
        return Err(damaged("the event was removed, and is in the file again"));
    }
    let aggregate_type = match last.take() {
        Some(known) if known.id == number => known,
        _ => view.aggregate_type_by_id(number)?,
    };
    Ok((last.insert(aggregate_type), aggregate_id))
}
