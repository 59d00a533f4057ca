//! Counting.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::error::Result;
use crate::place::Position;
use crate::scope::Scope;
use crate::sqlite::{View, aggregates, events, names, state};

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
        let by_type = by_type(view, &types)?;
        let mut count = 0;
        for aggregate_type in types {
            count += aggregates::count(view, aggregate_type)?;
        }
        Ok(EventStatistics { total_events: by_type.values().sum(), events_by_type: by_type, aggregates: count })
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
            let Some((row, _)) = scope.find(view, aggregate_type, aggregate_id)? else { return Ok(0) };
            return match event_type {
                None => Ok(row.version.saturating_sub(row.removed_through())),
                Some(event_type) => events::count_in_aggregate(view, row.id, event_type.id),
            };
        }
        let types = types_of(scope, view, counted.aggregate_type)?;
        let Some(event_type) = event_type else {
            let mut sum = 0;
            for aggregate_type in types {
                sum += aggregates::count_events(view, aggregate_type)?;
            }
            return Ok(sum);
        };
        let counts = events::count_by_type(view, &types)?;
        Ok(counts.into_iter().find(|(number, _)| *number == event_type.id).map_or(0, |(_, count)| count))
    })
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

fn by_type(view: &View<'_>, types: &[i64]) -> Result<BTreeMap<String, u64>> {
    let mut counts = BTreeMap::new();
    for (number, count) in events::count_by_type(view, types)? {
        counts.insert(view.event_type_by_id(number)?.name.to_string(), count);
    }
    Ok(counts)
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
