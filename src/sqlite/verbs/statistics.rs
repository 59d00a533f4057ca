//! Statistics, mostly added up from the summaries.

use std::collections::BTreeMap;

use super::lookup;
use crate::model::error::Result;
use crate::sqlite::Database;
use crate::sqlite::consistency::disagrees;
use crate::sqlite::tables::events;
use crate::sqlite::tables::{aggregate_counts, block_counts, names};
use crate::sqlite::transaction::View;
use crate::storage::lookup::{EventStatistics, TypeStatistics};

impl Database {
    pub(crate) fn event_statistics(&self, tenant: &str) -> Result<EventStatistics> {
        self.read(|view| {
            let types = types_of(view, tenant)?;
            let mut statistics = EventStatistics::default();
            for ((aggregate_type, event_type), events) in block_counts::counts(view)? {
                if types.contains_key(&aggregate_type) {
                    *statistics.events_by_type.entry(current_name(view, event_type)?).or_default() += events;
                    statistics.total_events += events;
                }
            }
            let aggregates = aggregate_counts::of_all(view)?;
            statistics.aggregates = types.keys().filter_map(|aggregate_type| aggregates.get(aggregate_type)).sum();
            Ok(statistics)
        })
    }

    pub(crate) fn statistics_by_type(&self) -> Result<Vec<TypeStatistics>> {
        self.read(|view| {
            let mut of_types = BTreeMap::new();
            for (number, aggregates) in aggregate_counts::of_all(view)? {
                let named = view.aggregate_type_by_id(number)?;
                let (tenant, aggregate_type) = (named.tenant.clone(), named.name.clone());
                let none = BTreeMap::new();
                of_types.insert(number, TypeStatistics { tenant, aggregate_type, aggregates, events: 0, events_by_type: none });
            }
            for ((aggregate_type, event_type), events) in block_counts::counts(view)? {
                let of_type = of_types.get_mut(&aggregate_type).ok_or_else(disagrees)?;
                *of_type.events_by_type.entry(current_name(view, event_type)?).or_default() += events;
                of_type.events += events;
            }
            let mut of_types: Vec<TypeStatistics> = of_types.into_values().collect();
            of_types.sort_by(|one, other| (&one.tenant, &one.aggregate_type).cmp(&(&other.tenant, &other.aggregate_type)));
            Ok(of_types)
        })
    }

    pub(crate) fn count_by_type(&self, tenant: &str, aggregate_types: &[String], event_types: &[String]) -> Result<u64> {
        self.read(|view| {
            let types = types_of(view, tenant)?;
            let mut sum = 0;
            for ((aggregate_type, event_type), events) in block_counts::counts(view)? {
                let of_type =
                    types.get(&aggregate_type).is_some_and(|name| aggregate_types.is_empty() || aggregate_types.contains(name));
                if of_type && (event_types.is_empty() || event_types.iter().any(|name| is_named(view, event_type, name))) {
                    sum += events;
                }
            }
            Ok(sum)
        })
    }

    pub(crate) fn count_of_aggregate(&self, tenant: &str, names: (&str, &str), event_types: &[String]) -> Result<u64> {
        self.read(|view| {
            let Some((row, owner)) = lookup::find(view, tenant, names.0, names.1)? else { return Ok(0) };
            if event_types.is_empty() {
                return Ok(row.held());
            }
            let (mut counted, mut version) = (0, row.removal.purged_through);
            while version < row.version {
                let (part, range) = row.removal.part_of((version, row.version), false);
                part.open(view)?;
                let page = events::fold_page(view, part, &owner, range, 4_096, |event| {
                    counted += u64::from(event_types.iter().any(|name| **name == *event.event_type.name));
                    Ok(())
                })?;
                if page.version == version {
                    return Err(events::gap(version + 1));
                }
                version = page.version;
            }
            Ok(counted)
        })
    }
}

/// The name of an event type as readers get it.
fn current_name(view: &View<'_>, event_type: i64) -> Result<String> {
    let stored = &view.event_type_by_id(event_type)?.name;
    Ok(view.names.upcasters.renamed(stored).unwrap_or(stored).to_owned())
}

fn is_named(view: &View<'_>, event_type: i64, name: &str) -> bool {
    view.event_type_by_id(event_type).is_ok_and(|found| *found.name == *name)
}

/// The numbers of a tenant's aggregate types, with their names.
fn types_of(view: &View<'_>, tenant: &str) -> Result<BTreeMap<i64, String>> {
    let mut numbers = BTreeMap::new();
    for name in names::aggregate_types(view, tenant)? {
        if let Some(found) = view.aggregate_type(tenant, &name)? {
            numbers.insert(found.id, name);
        }
    }
    Ok(numbers)
}
