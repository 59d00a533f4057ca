//! Checks of the whole file, page by page. Each function looks at one page inside one read transaction, adds what is
//! wrong to `found`, moves its cursor on, and says whether there is more.
//!
//! Nothing here believes an index: what was found along one path is looked up along another.

mod delivery;
mod derived;
mod log;

use std::sync::Arc;

use rusqlite::{OptionalExtension, params};

use super::aggregates::{self, AggregateRow};
use super::database::View;
use super::doubt::Ascending;
use super::events::Owner;
use super::failure::Sql;
use super::names::AggregateType;
use super::{holes, state};
use crate::model::damage::{Damage, Found};
use crate::model::error::{Error, Result};
use crate::model::place::{AggregateRef, Position};

pub(crate) use super::links::Cursor as LinksCursor;
pub(crate) use delivery::{DeliveriesCursor, all_deliveries, all_subscriptions};
pub(crate) use derived::{TagsCursor, aggregate_names, all_snapshots, summaries, tag_links, tags};
pub(crate) use log::{EventsCursor, IdsCursor, PositionsCursor, events, ids, positions};

/// Rows looked at in one read transaction.
pub(crate) const PAGE: usize = 1_024;
/// Complaints that SQLite is asked for.
const MOST_COMPLAINTS: u32 = 100;

/// What SQLite itself says of its pages, tables and indexes.
pub(crate) fn structure(view: &View<'_>, found: &mut Found) -> Result<()> {
    let mut statement = view.prepare(&format!("PRAGMA integrity_check({MOST_COMPLAINTS})"))?;
    let complaints = statement.query_map([], |row| row.get::<_, String>(0)).sql()?;
    for complaint in complaints {
        let complaint = complaint.sql()?;
        for line in complaint.lines().filter(|line| *line != "ok" && !line.starts_with("*** in database")) {
            found.add(Damage::new(format!("page structure: {line}")));
        }
    }
    Ok(())
}

/// The totals that are kept, against counts. One transaction, for they belong together.
pub(crate) fn totals(view: &View<'_>, found: &mut Found) -> Result<()> {
    let rows = count(view, "log_state")?;
    if rows != 1 {
        found.add(Damage::new(format!("log_state has {rows} rows, not one")));
        return Ok(());
    }
    if let Err(error) = state::replica(view) {
        found.add(damage_of(&error).advice("the file has lost its own identity: restore a backup"));
    }
    let kept = state::totals(view)?;
    let last = state::last_position(view)?.get();
    let events = count(view, "events")?;
    if last.saturating_sub(events) != kept.events_removed {
        found.add(Damage::new(format!(
            "{events} events stand at positions 1 to {last}, and {} are said to have been removed",
            kept.events_removed
        )));
    }
    if let Some(missing) = holes::count(view)?.filter(|missing| *missing != kept.events_removed) {
        found.add(Damage::new(format!(
            "{missing} positions are said to be without an event, and {} events to have been removed",
            kept.events_removed
        )));
    }
    let (held, purged): (u64, u64) = view
        .query_row(
            "SELECT coalesce(sum(version - max(purged_through, archived_through)), 0), coalesce(sum(purged_through), 0) FROM aggregates",
            [],
            |row| Ok((row.get(0)?, row.get(1)?)),
        )
        .sql()?;
    if held != events {
        found.add(Damage::new(format!("the aggregates should have {held} events together, the log has {events}")));
    }
    if purged != kept.events_removed {
        found.add(Damage::new(format!("the aggregates lost {purged} events by purging, the log says {}", kept.events_removed)));
    }
    let counted = count(view, "snapshots")?;
    if counted != kept.snapshots {
        found.add(
            Damage::new(format!("there are {counted} snapshots, the log says {}", kept.snapshots))
                .advice("only the statistics are wrong; restore a backup when you can"),
        );
    }
    Ok(())
}

/// How far a walk over rows with numbers has come.
#[derive(Debug, Default)]
pub(crate) struct RowsCursor {
    pub(crate) id: i64,
    pub(crate) rows: u64,
}

/// Every aggregate: its names, its place in the index of names, its newest and its oldest event.
pub(crate) fn all_aggregates(view: &View<'_>, cursor: &mut RowsCursor, found: &mut Found) -> Result<bool> {
    let mut seen = 0;
    aggregates::check_page(view, cursor.id, PAGE, |aggregate_type, aggregate_id, row| {
        seen += 1;
        cursor.id = row.id;
        cursor.rows += 1;
        let kind = match view.aggregate_type_by_id(aggregate_type) {
            Ok(kind) => kind,
            Err(error) => {
                found.add(damage_of(&error));
                return Ok(());
            }
        };
        let reference = AggregateRef::new(&kind.tenant, &kind.name, aggregate_id);
        if number_by_name(view, aggregate_type, aggregate_id)? != Some(row.id) {
            found.add(Damage::new("the aggregate is not found under its name").of(reference.clone()));
        }
        if let Err(error) = aggregates::check_ends(view, &row) {
            found.add(damage_of(&error).of(reference));
        }
        Ok(())
    })?;
    Ok(seen == PAGE)
}

fn number_by_name(view: &View<'_>, aggregate_type: i64, aggregate_id: &str) -> Result<Option<i64>> {
    view.prepare_cached("SELECT aggregate FROM aggregate_names WHERE aggregate_type = ?1 AND aggregate_id = ?2")
        .sql()?
        .query_row(params![aggregate_type, aggregate_id], |row| row.get(0))
        .optional()
        .sql()
}

/// A table of names, and how its rows are found by name.
pub(crate) enum NamesOf {
    EventTypes,
    Tenants,
    AggregateTypes,
    Replicas,
}

/// Every name: readable, belonging to somebody, and found under itself.
pub(crate) fn names(view: &View<'_>, of: &NamesOf, cursor: &mut RowsCursor, found: &mut Found) -> Result<bool> {
    let (rows, by_name) = match of {
        NamesOf::EventTypes => (
            "SELECT id, name, 0 FROM event_types WHERE id > ?1 ORDER BY id LIMIT ?2",
            "SELECT id FROM event_types WHERE name = ?1 AND ?2 = 0",
        ),
        NamesOf::Tenants => (
            "SELECT id, name, 0 FROM tenants WHERE id > ?1 ORDER BY id LIMIT ?2",
            "SELECT id FROM tenants WHERE name = ?1 AND ?2 = 0",
        ),
        NamesOf::AggregateTypes => (
            "SELECT id, name, tenant FROM aggregate_types WHERE id > ?1 ORDER BY id LIMIT ?2",
            "SELECT t.id FROM aggregate_types t JOIN tenants n ON n.id = t.tenant WHERE t.name = ?1 AND t.tenant = ?2",
        ),
        NamesOf::Replicas => (
            "SELECT id, replica_id, 0 FROM replicas WHERE id > ?1 ORDER BY id LIMIT ?2",
            "SELECT id FROM replicas WHERE replica_id = ?1 AND ?2 = 0",
        ),
    };
    let mut statement = view.prepare_cached(rows).sql()?;
    let mut rows = statement.query(params![cursor.id, PAGE]).sql()?;
    let mut seen = 0;
    let mut order = Ascending::after(cursor.id);
    while let Some(row) = rows.next().sql()? {
        seen += 1;
        let id = row.get(0).sql()?;
        order.next(id)?;
        cursor.id = id;
        cursor.rows += 1;
        let name: rusqlite::types::Value = row.get(1).sql()?;
        let parent: i64 = row.get(2).sql()?;
        let back: Option<i64> =
            view.prepare_cached(by_name).sql()?.query_row(params![name, parent], |row| row.get(0)).optional().sql()?;
        if back != Some(cursor.id) {
            found.add(Damage::new(format!("{} number {} is not found under its name", of.singular(), cursor.id)));
        }
    }
    Ok(seen == PAGE)
}

impl NamesOf {
    pub(crate) const ALL: [NamesOf; 4] = [NamesOf::EventTypes, NamesOf::Tenants, NamesOf::AggregateTypes, NamesOf::Replicas];

    fn singular(&self) -> &'static str {
        match self {
            NamesOf::EventTypes => "event type",
            NamesOf::Tenants => "tenant",
            NamesOf::AggregateTypes => "aggregate type",
            NamesOf::Replicas => "replica",
        }
    }
}

/// An aggregate's row and names by its number.
fn facts(view: &View<'_>, aggregate: i64) -> Result<(AggregateRow, Owner)> {
    let (aggregate_type, aggregate_id, row) = aggregates::by_number(view, aggregate)?;
    let aggregate_type: Arc<AggregateType> = view.aggregate_type_by_id(aggregate_type)?;
    Ok((row, Owner::new(aggregate, aggregate_type, &aggregate_id)))
}

fn reference(owner: &Owner) -> AggregateRef {
    AggregateRef::new(&owner.aggregate_type.tenant, &owner.aggregate_type.name, &owner.aggregate_id)
}

/// What an error says, as a finding.
pub(crate) fn damage_of(error: &Error) -> Damage {
    let mut damage = Damage::new(error.detail());
    damage.aggregate = error.aggregate().cloned();
    damage.version = error.version();
    damage.position = error.position().filter(|position| *position > Position::ZERO);
    damage
}

fn count(view: &View<'_>, table: &str) -> Result<u64> {
    view.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0)).sql()
}

/// How many rows there are to look at, for the progress; 0 if even that cannot be told.
pub(crate) fn sizes(view: &View<'_>) -> (u64, u64, u64) {
    let size = |table| count(view, table).unwrap_or(0);
    (size("events"), size("aggregates"), size("snapshots"))
}
