//! Verifies names: of tenants, types and replicas; of aggregates, and the index of those.

use rusqlite::params;
use rusqlite::types::Value;

use super::{PAGE, RowsCursor, damage_of};
use crate::model::damage::{Damage, Found};
use crate::model::error::Result;
use crate::sqlite::consistency::Ascending;
use crate::sqlite::tables::aggregates::{self, number};
use crate::sqlite::tables::events::Owner;
use crate::sqlite::transaction::{Columns, View};

const REINDEX: &str = "an aggregate may seem not to exist; reindex recreates the index";

/// A table of names, and its queries.
pub(super) enum NamesOf {
    EventTypes,
    Tenants,
    AggregateTypes,
    Replicas,
}

impl NamesOf {
    pub(super) const ALL: [NamesOf; 4] = [NamesOf::EventTypes, NamesOf::Tenants, NamesOf::AggregateTypes, NamesOf::Replicas];

    fn singular(&self) -> &'static str {
        match self {
            NamesOf::EventTypes => "event type",
            NamesOf::Tenants => "tenant",
            NamesOf::AggregateTypes => "aggregate type",
            NamesOf::Replicas => "replica",
        }
    }

    /// The queries for the rows after a number, and for the number of a name.
    fn statements(&self) -> (&'static str, &'static str) {
        match self {
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
        }
    }
}

/// Checks every name: it must be readable, belong to an existing row, and be found by the index.
pub(super) fn names(view: &View<'_>, of: &NamesOf, cursor: &mut RowsCursor, found: &mut Found) -> Result<bool> {
    let (rows, by_name) = of.statements();
    let mut seen = 0;
    let mut order = Ascending::after(cursor.id);
    let after = cursor.id;
    view.each_row(rows, params![after, PAGE], |row| {
        seen += 1;
        let id = row.at(0)?;
        order.next(id)?;
        cursor.id = id;
        cursor.rows += 1;
        let back: Option<i64> = view.value_if_any(by_name, params![row.at::<Value>(1)?, row.at::<i64>(2)?])?;
        if back != Some(id) {
            found.add(Damage::new(format!("{} number {id} is not found under its name", of.singular())));
        }
        Ok(true)
    })?;
    Ok(seen == PAGE)
}

/// Checks every aggregate: its checksum, its type, its entry in the index, the ends of its events.
pub(super) fn aggregates(view: &View<'_>, cursor: &mut RowsCursor, found: &mut Found) -> Result<bool> {
    let sql = "SELECT id FROM aggregates NOT INDEXED WHERE id > ?1 ORDER BY id LIMIT ?2";
    let mut order = Ascending::after(cursor.id);
    let ids: Vec<i64> = view.rows(sql, params![cursor.id, PAGE], |row| row.get(0))?;
    for id in &ids {
        order.next(*id)?;
        cursor.id = *id;
        cursor.rows += 1;
        let owner = match Owner::by_number(view, *id) {
            Ok(owner) => owner,
            Err(error) => {
                found.add(damage_of(&error));
                continue;
            }
        };
        if !matches!(number(view, owner.aggregate_type.id, &owner.aggregate_id), Ok(Some(back)) if back == *id) {
            found.add(Damage::new("the aggregate is not found under its name").of(owner.reference()).advice(REINDEX));
        }
        if let Err(error) = aggregates::at_number(view, *id) {
            found.add(damage_of(&error).of(owner.reference()));
        }
    }
    Ok(ids.len() == PAGE)
}

/// Checks every entry of the index of aggregates: it must lead to an aggregate of this name.
pub(super) fn aggregate_index(view: &View<'_>, cursor: &mut (i64, String), found: &mut Found) -> Result<bool> {
    let sql = "SELECT aggregate_type, aggregate_id, id FROM aggregates WHERE (aggregate_type, aggregate_id) > (?1, ?2)
               ORDER BY aggregate_type, aggregate_id LIMIT ?3";
    let mut order = Ascending::after(cursor.clone());
    let mut seen = 0;
    view.each_row(sql, params![cursor.0, cursor.1, PAGE], |row| {
        seen += 1;
        let (aggregate_type, aggregate_id, id): (i64, String, i64) = (row.at(0)?, row.at(1)?, row.at(2)?);
        order.next((aggregate_type, aggregate_id.clone()))?;
        if !matches!(aggregates::names(view, id), Ok(names) if names == (aggregate_type, aggregate_id)) {
            let what = format!("a name leads to aggregate number {id}, which is missing or has another name");
            found.add(Damage::new(what).advice(REINDEX));
        }
        Ok(true)
    })?;
    *cursor = order.into_last();
    Ok(seen == PAGE)
}
