//! Names and their numbers in rows: looked up, and created when an append brings a new name.

use std::sync::Arc;

use rusqlite::{Params, ToSql, params};
use uuid::Uuid;

use crate::model::error::{Error, ErrorKind, Result};
use crate::sqlite::consistency::{RESTORE, disagrees};
use crate::sqlite::names_cache::{AggregateType, EventType};
use crate::sqlite::transaction::{View, Writing};

/// Up to this many names, a name that the index does not have is looked for in every row, because SQLite does not
/// notice that an index has lost an entry.
const MOST_LOOKED_AT: i64 = 2_000;

impl View<'_> {
    /// The event type with this name, if an event ever had it.
    pub(crate) fn event_type(&self, name: &str) -> Result<Option<Arc<EventType>>> {
        if let Some(known) = self.names.event_type(name) {
            return Ok(Some(known));
        }
        let id = self.number_of(
            "SELECT i.id, t.name = ?1 FROM event_types i LEFT JOIN event_types t ON t.id = i.id WHERE i.name = ?1",
            ("SELECT max(id) FROM event_types", "SELECT 1 FROM event_types NOT INDEXED WHERE name = ?1"),
            &[&name],
        )?;
        Ok(id.map(|id| self.found_event_type(id, name)))
    }

    /// The event type that this number stands for.
    pub(crate) fn event_type_by_id(&self, id: i64) -> Result<Arc<EventType>> {
        if let Some(known) = self.names.event_type_by_id(id) {
            return Ok(known);
        }
        let name: Option<String> = self.value_if_any("SELECT name FROM event_types WHERE id = ?1", [id])?;
        Ok(self.found_event_type(id, &name.ok_or_else(|| dangling("event type", id))?))
    }

    fn found_event_type(&self, id: i64, name: &str) -> Arc<EventType> {
        let found = self.names.made_event_type(id, name);
        if self.committed {
            self.names.remember_event_type(found.clone());
        }
        found
    }

    /// The aggregate type with this name in this tenant, if an aggregate ever had it.
    pub(crate) fn aggregate_type(&self, tenant: &str, name: &str) -> Result<Option<Arc<AggregateType>>> {
        if let Some(known) = self.names.aggregate_type(tenant, name) {
            return Ok(Some(known));
        }
        let Some(tenant_id) = self.tenant_id(tenant)? else { return Ok(None) };
        let id = self.number_of(
            "SELECT i.id, t.tenant = ?1 AND t.name = ?2 FROM aggregate_types i LEFT JOIN aggregate_types t ON t.id = i.id
             WHERE i.tenant = ?1 AND i.name = ?2",
            ("SELECT max(id) FROM aggregate_types", "SELECT 1 FROM aggregate_types NOT INDEXED WHERE tenant = ?1 AND name = ?2"),
            &[&tenant_id, &name],
        )?;
        Ok(id.map(|id| self.found_aggregate_type(id, tenant_id, tenant, name)))
    }

    /// The aggregate type that this number stands for.
    pub(crate) fn aggregate_type_by_id(&self, id: i64) -> Result<Arc<AggregateType>> {
        if let Some(known) = self.names.aggregate_type_by_id(id) {
            return Ok(known);
        }
        let sql = "SELECT n.id, n.name, t.name FROM aggregate_types t JOIN tenants n ON n.id = t.tenant WHERE t.id = ?1";
        let found: Option<(i64, String, String)> =
            self.row_if_any(sql, [id], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
        let (tenant_id, tenant, name) = found.ok_or_else(|| dangling("aggregate type", id))?;
        Ok(self.found_aggregate_type(id, tenant_id, &tenant, &name))
    }

    fn found_aggregate_type(&self, id: i64, tenant_id: i64, tenant: &str, name: &str) -> Arc<AggregateType> {
        let found = Arc::new(AggregateType { id, tenant_id, tenant: tenant.into(), name: name.into() });
        if self.committed {
            self.names.remember_aggregate_type(found.clone());
        }
        found
    }

    /// The replica that this number stands for.
    pub(crate) fn replica_by_id(&self, id: i64) -> Result<Uuid> {
        if id == self.names.replica().id {
            return Ok(self.names.replica().replica_id);
        }
        if let Some(known) = self.names.replica_by_id(id) {
            return Ok(known);
        }
        let found: Option<[u8; 16]> = self.value_if_any("SELECT replica_id FROM replicas WHERE id = ?1", [id])?;
        let replica_id = Uuid::from_bytes(found.ok_or_else(|| dangling("replica", id))?);
        if self.committed {
            self.names.remember_replica(id, replica_id);
        }
        Ok(replica_id)
    }

    /// The number of a tenant, if it ever had an event.
    pub(crate) fn tenant_id(&self, tenant: &str) -> Result<Option<i64>> {
        self.number_of(
            "SELECT i.id, t.name = ?1 FROM tenants i LEFT JOIN tenants t ON t.id = i.id WHERE i.name = ?1",
            ("SELECT max(id) FROM tenants", "SELECT 1 FROM tenants NOT INDEXED WHERE name = ?1"),
            &[&tenant],
        )
    }

    /// The number of a name, if index and row agree. For a name that the index does not have, `doubts` has two queries:
    /// the greatest number, and a scan of all rows.
    fn number_of(&self, sql: &str, doubts: (&str, &str), name: &[&dyn ToSql]) -> Result<Option<i64>> {
        let found: Option<(i64, Option<bool>)> = self.row_if_any(sql, name, |row| Ok((row.get(0)?, row.get(1)?)))?;
        match found {
            Some((id, Some(true))) => return Ok(Some(id)),
            Some(_) => return Err(disagrees()),
            None => {}
        }
        let greatest: Option<i64> = self.value(doubts.0, [])?;
        let is_few = greatest.is_some_and(|greatest| greatest <= MOST_LOOKED_AT);
        match is_few && self.value_if_any::<i64>(doubts.1, name)?.is_some() {
            true => Err(disagrees()),
            false => Ok(None),
        }
    }
}

impl Writing<'_> {
    /// The event type with this name; created if there is none.
    pub(crate) fn event_type_or_new(&self, name: &str) -> Result<Arc<EventType>> {
        let learnt = self.learnt.borrow().event_type(name);
        if let Some(known) = self.names.event_type(name).or(learnt) {
            return Ok(known);
        }
        let event_type = match self.event_type(name)? {
            Some(found) => found,
            None => {
                let id = self.insert("INSERT INTO event_types (name) VALUES (?1)", [name])?;
                self.names.made_event_type(id, name)
            }
        };
        self.learnt.borrow_mut().add_event_type(event_type.clone());
        Ok(event_type)
    }

    /// The number of a tenant; created if there is none.
    pub(crate) fn tenant_or_new(&self, tenant: &str) -> Result<i64> {
        if let Some(known) = self.tenant_id(tenant)? {
            return Ok(known);
        }
        let id = self.insert("INSERT INTO tenants (name) VALUES (?1)", [tenant])?;
        self.confirm_unused("SELECT EXISTS (SELECT 1 FROM aggregate_types WHERE tenant = ?1)", [id])?;
        Ok(id)
    }

    /// The aggregate type with this name in this tenant; both are created if needed.
    pub(crate) fn aggregate_type_or_new(&self, tenant: &str, name: &str) -> Result<Arc<AggregateType>> {
        let learnt = self.learnt.borrow().aggregate_type(tenant, name);
        if let Some(known) = self.names.aggregate_type(tenant, name).or(learnt) {
            return Ok(known);
        }
        let aggregate_type = match self.aggregate_type(tenant, name)? {
            Some(found) => found,
            None => {
                let tenant_id = self.tenant_or_new(tenant)?;
                let id = self.insert("INSERT INTO aggregate_types (tenant, name) VALUES (?1, ?2)", params![tenant_id, name])?;
                self.confirm_unused("SELECT EXISTS (SELECT 1 FROM aggregates WHERE aggregate_type = ?1)", [id])?;
                Arc::new(AggregateType { id, tenant_id, tenant: tenant.into(), name: name.into() })
            }
        };
        self.learnt.borrow_mut().add_aggregate_type(aggregate_type.clone());
        Ok(aggregate_type)
    }

    /// Confirms that nothing refers to a new number. A damaged table of names may have lost a number and give it again,
    /// and a new tenant would then write into another one's aggregates.
    fn confirm_unused(&self, refers: &str, id: impl Params) -> Result<()> {
        if self.value(refers, id)? { Err(disagrees()) } else { Ok(()) }
    }
}

/// The names of all tenants, in order.
pub(crate) fn tenants(view: &View<'_>) -> Result<Vec<String>> {
    agreed(view, ("SELECT name FROM tenants ORDER BY name", "SELECT name FROM tenants NOT INDEXED"), &[])
}

/// The names of a tenant's aggregate types, in order.
pub(crate) fn aggregate_types(view: &View<'_>, tenant: &str) -> Result<Vec<String>> {
    let Some(tenant) = view.tenant_id(tenant)? else { return Ok(Vec::new()) };
    agreed(
        view,
        (
            "SELECT name FROM aggregate_types WHERE tenant = ?1 ORDER BY name",
            "SELECT name FROM aggregate_types NOT INDEXED WHERE tenant = ?1",
        ),
        &[&tenant],
    )
}

/// Counts the aggregate types in the file, of all tenants.
pub(crate) fn count_aggregate_types(view: &View<'_>) -> Result<usize> {
    view.value("SELECT count(*) FROM aggregate_types NOT INDEXED", [])
}

/// Reads a list by its index, and fails if the rows give another.
fn agreed(view: &View<'_>, (by_index, by_row): (&str, &str), params: &[&dyn ToSql]) -> Result<Vec<String>> {
    let name = |row: &rusqlite::Row<'_>| row.get(0);
    let (by_index, mut by_row) = (view.rows(by_index, params, name)?, view.rows(by_row, params, name)?);
    by_row.sort_unstable();
    if by_index == by_row { Ok(by_index) } else { Err(disagrees()) }
}

fn dangling(what: &str, id: i64) -> Error {
    Error::new(ErrorKind::Corrupt, format!("no {what} has the number {id} that a row refers to")).advice(RESTORE)
}
