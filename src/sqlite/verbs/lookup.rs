//! Look-ups: an event by id, names, an aggregate's version, the end of the log.

use std::sync::Arc;

use rusqlite::params;
use uuid::Uuid;

use crate::model::error::Result;
use crate::model::event::RecordedEvent;
use crate::sqlite::Database;
use crate::sqlite::consistency::disagrees;
use crate::sqlite::tables::aggregate_counts;
use crate::sqlite::tables::aggregates::{self, AggregateRow};
use crate::sqlite::tables::archive::{self, Part};
use crate::sqlite::tables::events::{Owner, Raw, select_events};
use crate::sqlite::tables::removed_ids::{self, RemovedId};
use crate::sqlite::tables::{event_ids, log_state, names, positions};
use crate::sqlite::transaction::{Columns, View};
use crate::sqlite::upcast::read_as;
use crate::storage::lookup::{FileStatistics, Held};

/// An aggregate's row, with what its events are read with.
type Found = (AggregateRow, Owner);

impl Database {
    pub(crate) fn event(&self, tenant: &str, id: Uuid) -> Result<Option<RecordedEvent>> {
        self.read(|view| {
            let Some(ById::Event(stored)) = by_id(view, tenant, id)? else { return Ok(None) };
            let read = events_at(view, stored.position.get())?;
            Ok(read.and_then(|events| events.into_iter().next()))
        })
    }

    pub(crate) fn version(&self, tenant: &str, aggregate_type: &str, aggregate_id: &str) -> Result<u64> {
        self.read(|view| Ok(find(view, tenant, aggregate_type, aggregate_id)?.map_or(0, |(row, _)| row.version)))
    }

    pub(crate) fn purged_through(&self, tenant: &str, aggregate_type: &str, aggregate_id: &str) -> Result<u64> {
        self.read(|view| Ok(find(view, tenant, aggregate_type, aggregate_id)?.map_or(0, |(row, _)| row.removal.purged_through)))
    }

    pub(crate) fn last_position(&self) -> Result<u64> {
        self.read(positions::last)
    }

    pub(crate) fn tenants(&self) -> Result<Vec<String>> {
        self.read(names::tenants)
    }

    pub(crate) fn aggregate_types(&self, tenant: &str) -> Result<Vec<String>> {
        self.read(|view| names::aggregate_types(view, tenant))
    }

    pub(crate) fn ids(&self, tenant: &str, aggregate_type: &str, after: Option<&str>, limit: usize) -> Result<Vec<String>> {
        self.read(|view| {
            let Some(aggregate_type) = view.aggregate_type(tenant, aggregate_type)? else { return Ok(Vec::new()) };
            Ok(aggregates::page(view, aggregate_type.id, after, limit)?.into_iter().map(|(id, _)| id).collect())
        })
    }

    pub(crate) fn count_aggregates(&self, tenant: &str, aggregate_type: &str) -> Result<u64> {
        self.read(|view| match view.aggregate_type(tenant, aggregate_type)? {
            Some(aggregate_type) => aggregate_counts::of_type(view, aggregate_type.id),
            None => Ok(0),
        })
    }

    pub(crate) fn file_statistics(&self) -> Result<FileStatistics> {
        self.read(|view| {
            let last_position = positions::last(view)?;
            let (purged, archived) = positions::removed(view)?;
            Ok(FileStatistics {
                format: view.value("PRAGMA user_version", [])?,
                last_position: last_position.into(),
                // Every position has an event, except those of purged events.
                events: last_position.saturating_sub(purged),
                archived_events: archived,
                snapshots: log_state::snapshot_count(view)?,
                size_bytes: log_state::size_bytes(view)?,
                free_bytes: log_state::free_bytes(view)?,
            })
        })
    }

    pub(crate) fn first_aggregates(&self, limit: usize) -> Result<Vec<Held>> {
        self.read(|view| {
            let page = aggregates::page_of_all(view, 0, limit)?;
            page.into_iter().map(|(_, aggregate_id, number)| held(view, number, aggregate_id.into())).collect()
        })
    }

    pub(crate) fn held(&self, aggregates: Vec<(i64, Arc<str>)>) -> Result<Vec<Held>> {
        self.read(|view| aggregates.into_iter().map(|(number, aggregate_id)| held(view, number, aggregate_id)).collect())
    }
}

fn held(view: &View<'_>, number: i64, aggregate_id: Arc<str>) -> Result<Held> {
    let row = aggregates::at_number(view, number)?;
    Ok(Held { number, aggregate_id, version: row.version, held: row.held() })
}

/// An aggregate by its names; `None` if it never had events.
pub(super) fn find(view: &View<'_>, tenant: &str, aggregate_type: &str, aggregate_id: &str) -> Result<Option<Found>> {
    let Some(aggregate_type) = view.aggregate_type(tenant, aggregate_type)? else { return Ok(None) };
    let Some(row) = aggregates::find(view, aggregate_type.id, aggregate_id)? else { return Ok(None) };
    Ok(Some((row, Owner::new(row.id, aggregate_type, aggregate_id))))
}

/// The next aggregates that upkeep looks at: a tenant's after a number, of this type, or only this one. Also the number to
/// continue from: `None` at the end.
pub(super) fn next_aggregates(
    view: &View<'_>,
    tenant: &str,
    only: Option<&(String, Option<String>)>,
    after: i64,
    limit: usize,
) -> Result<(Vec<Found>, Option<i64>)> {
    if let Some((aggregate_type, Some(aggregate_id))) = only {
        return Ok((find(view, tenant, aggregate_type, aggregate_id)?.into_iter().collect(), None));
    }
    let page = aggregates::page_of_all(view, after, limit)?;
    let next = page.last().map(|(_, _, number)| *number).filter(|_| page.len() == limit);
    let mut found = Vec::new();
    for (aggregate_type, aggregate_id, number) in page {
        let aggregate_type = view.aggregate_type_by_id(aggregate_type)?;
        let is_asked_for = only.is_none_or(|(name, _)| **name == *aggregate_type.name);
        if &*aggregate_type.tenant == tenant && is_asked_for {
            let owner = Owner::new(number, aggregate_type, &aggregate_id);
            let row = aggregates::at_number(view, number).map_err(|error| error.of(&owner.reference()))?;
            found.push((row, owner));
        }
    }
    Ok((found, next))
}

/// Passes the event at a position to `take`; `None` if there is none.
pub(in crate::sqlite) fn at_position<T>(
    view: &View<'_>,
    position: u64,
    take: impl FnOnce(&Raw<'_>, &Owner) -> Result<T>,
) -> Result<Option<T>> {
    let mut take = Some(take);
    match at_position_of(view, Part::Main, position, &mut take)? {
        None if positions::is_archived(view, position)? => {
            archive::attach(view)?;
            let taken = at_position_of(view, Part::Archive, position, &mut take)?;
            taken.ok_or_else(|| archive::lacks_event().at_position(position.into())).map(Some)
        }
        found => Ok(found),
    }
}

fn at_position_of<T>(
    view: &View<'_>,
    part: Part,
    position: u64,
    take: &mut Option<impl FnOnce(&Raw<'_>, &Owner) -> Result<T>>,
) -> Result<Option<T>> {
    const SQL: &str = select_events!("", "events i LEFT JOIN events e ON e.key = i.key WHERE i.position = ?1");
    let mut taken = None;
    view.each_row(&part.sql(SQL), params![positions::number_of(position)], |row| {
        // The index entry leads to another event or to none.
        if row.at::<Option<u64>>(1)? != Some(position) {
            return Err(disagrees());
        }
        let owner = Owner::by_number(view, row.at::<i64>(0)? >> 32)?;
        let raw = Raw::read(view, row, owner.identity, &mut Vec::new())?;
        if let Some(take) = take.take() {
            taken = Some(take(&raw, &owner)?);
        }
        Ok(false)
    })?;
    Ok(taken)
}

/// What the event at a position is read as; `None` if there is no event.
pub(super) fn events_at(view: &View<'_>, position: u64) -> Result<Option<Vec<RecordedEvent>>> {
    at_position(view, position, |raw, owner| read_as(view, raw, owner))
}

/// The event at a position as it is stored.
fn stored_at(view: &View<'_>, position: u64) -> Result<Option<RecordedEvent>> {
    at_position(view, position, |raw, owner| {
        raw.recorded(raw.as_stored(), &owner.aggregate_type, owner.aggregate_id.clone(), None)
    })
}

/// What a tenant has under an event id.
pub(super) enum ById {
    /// The event as it is stored.
    Event(Box<RecordedEvent>),
    /// It was purged.
    Removed(RemovedId),
}

/// What the tenant has under an event id.
pub(super) fn by_id(view: &View<'_>, tenant: &str, id: Uuid) -> Result<Option<ById>> {
    let is_it = |event: &RecordedEvent| event.id == id && &*event.tenant == tenant;
    for position in event_ids::made(id, positions::last(view)?) {
        match stored_at(view, position)? {
            Some(event) if is_it(&event) => return Ok(Some(ById::Event(Box::new(event)))),
            Some(_) => {}
            None => positions::confirm_removed(view, position)?,
        }
    }
    let Some(tenant_id) = view.tenant_id(tenant)? else { return Ok(None) };
    let Some(position) = event_ids::given(view, tenant_id, id)? else { return Ok(None) };
    if let Some(event) = stored_at(view, position)? {
        return if is_it(&event) {
            Ok(Some(ById::Event(Box::new(event))))
        } else {
            Err(disagrees().at_position(position.into()))
        };
    }
    match removed_ids::at(view, position)? {
        Some(removed) if removed.event_id == id && removed.owner.aggregate_type.tenant_id == tenant_id => {
            Ok(Some(ById::Removed(removed)))
        }
        _ => Err(disagrees().at_position(position.into())),
    }
}

/// The number of the aggregate of the event at a position; `None` if there is none.
pub(in crate::sqlite) fn aggregate_at(view: &View<'_>, position: u64) -> Result<Option<i64>> {
    const SQL: &str = "SELECT key >> 32 FROM events WHERE position = ?1";
    match view.value_if_any(SQL, [positions::number_of(position)])? {
        None if positions::is_archived(view, position)? => {
            archive::attach(view)?;
            view.value_if_any(&Part::Archive.sql(SQL), [positions::number_of(position)])
        }
        found => Ok(found),
    }
}

/// The commit of the event at a position, of a purged one if it is known.
pub(super) fn commit_id_at(view: &View<'_>, position: u64) -> Result<Option<u64>> {
    match at_position(view, position, |raw, _| Ok(raw.commit_id))? {
        None => Ok(removed_ids::at(view, position)?.map(|removed| removed.commit_id)),
        commit_id => Ok(commit_id),
    }
}
