//! Counting.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::log::scope::Scope;
use crate::model::error::Result;
use crate::model::place::Position;
use crate::sqlite::aggregates::Held;
use crate::sqlite::events::Owner;
use crate::sqlite::{View, aggregates, events, names, state};

/// Aggregates looked up in one statement.
const AGGREGATES_AT_ONCE: usize = 1_024;

/// Figures over the events of a tenant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct EventStatistics {
    /// Events in the file.
    pub total_events: u64,
    /// How many there are of each type.
    pub events_by_type: BTreeMap<String, u64>,
    /// Aggregates that have or had events.
    pub aggregates: u64,
}

pub(crate) fn events(scope: &Scope) -> Result<EventStatistics> {
    scope.database().read(|view| {
        let types = types_of(scope, view, None)?;
        let held = held_by(view, &types)?;
        let mut by_type = BTreeMap::new();
        for (number, count) in count_by_type(view, &types, held.events)? {
            by_type.insert(view.event_type_by_id(number)?.name.to_string(), count);
        }
        Ok(EventStatistics { total_events: held.events, events_by_type: by_type, aggregates: held.aggregates })
    })
}

/// What is counted.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counted<'a> {
    pub(crate) aggregate_type: Option<&'a str>,
    pub(crate) aggregate_id: Option<&'a str>,
    pub(crate) event_type: Option<&'a str>,
}

pub(crate) fn count(scope: &Scope, counted: Counted<'_>) -> Result<u64> {
    scope.database().read(|view| {
        let event_type = match counted.event_type {
            None => None,
            Some(name) => match view.event_type(name)? {
                Some(event_type) => Some(event_type),
                None => return Ok(0),
            },
        };
        if let (Some(aggregate_type), Some(aggregate_id)) = (counted.aggregate_type, counted.aggregate_id) {
            let Some((row, owner)) = scope.find(view, aggregate_type, aggregate_id)? else { return Ok(0) };
            let Some(event_type) = event_type else { return Ok(row.version.saturating_sub(row.removed_through())) };
            let mut counts = BTreeMap::new();
            events::count_types(view, &owner, &row, &mut counts)?;
            return Ok(counts.remove(&event_type.id).unwrap_or(0));
        }
        let types = types_of(scope, view, counted.aggregate_type)?;
        let held = held_by(view, &types)?;
        match event_type {
            None => Ok(held.events),
            Some(event_type) => Ok(count_by_type(view, &types, held.events)?.remove(&event_type.id).unwrap_or(0)),
        }
    })
}

/// What these aggregate types hold together.
fn held_by(view: &View<'_>, types: &[i64]) -> Result<Held> {
    let mut sum = Held::default();
    for (_, held) in aggregates::held(view)?.into_iter().filter(|(kind, _)| types.contains(kind)) {
        sum.aggregates += held.aggregates;
        sum.events += held.events;
    }
    Ok(sum)
}

/// How many events of each type the aggregates of these types have; all of them together must be `events`.
fn count_by_type(view: &View<'_>, types: &[i64], events: u64) -> Result<BTreeMap<i64, u64>> {
    let mut counts = BTreeMap::new();
    let (mut after, mut seen) = (0, AGGREGATES_AT_ONCE);
    while seen == AGGREGATES_AT_ONCE {
        seen = 0;
        aggregates::check_page(view, after, AGGREGATES_AT_ONCE, |kind, aggregate_id, row| {
            seen += 1;
            after = row.id;
            if types.contains(&kind) {
                let owner = Owner::new(row.id, view.aggregate_type_by_id(kind)?, aggregate_id);
                events::count_types(view, &owner, &row, &mut counts)?;
            }
            Ok(())
        })?;
    }
    if counts.values().sum::<u64>() != events {
        return Err(aggregates::miscounted(events));
    }
    Ok(counts)
}

/// The numbers of a tenant's aggregate types: of all, or of the one with this name.
fn types_of(scope: &Scope, view: &View<'_>, name: Option<&str>) -> Result<Vec<i64>> {
    let names = match name {
        Some(name) => vec![name.to_owned()],
        None => names::aggregate_types(view, &scope.tenant)?,
    };
    let mut numbers = Vec::with_capacity(names.len());
    for name in names {
        numbers.extend(view.aggregate_type(&scope.tenant, &name)?.map(|found| found.id));
    }
    Ok(numbers)
}

/// Figures of the file as a whole, of all tenants; read without counting.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct FileStatistics {
    /// The position of the newest event that ever was in the file.
    pub last_position: Position,
    /// Events in the file.
    pub events: u64,
    /// Snapshots in the file.
    pub snapshots: u64,
    /// The size of the database, in bytes, without the write-ahead log.
    pub size_bytes: u64,
}

pub(crate) fn file(scope: &Scope) -> Result<FileStatistics> {
    scope.database().read(|view| {
        let totals = state::totals(view)?;
        let last_position = state::last_position(view)?;
        Ok(FileStatistics {
            last_position,
            // Positions have no holes but those that removals made.
            events: last_position.get().saturating_sub(totals.events_removed),
            snapshots: totals.snapshots,
            size_bytes: state::size_bytes(view)?,
        })
    })
}
