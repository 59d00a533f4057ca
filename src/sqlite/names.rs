//! Names and the numbers that stand for them in rows: tenants, aggregate types, event types, replicas.
//!
//! They are few and never change, so each is looked up in the file once and then remembered.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, PoisonError, RwLock};

use rusqlite::{Connection, OptionalExtension, ToSql, params};
use uuid::Uuid;

use super::checksum;
use super::database::{View, Writing};
use super::doubt;
use super::failure::Sql;
use crate::model::error::{Error, ErrorKind, Result};

/// Above this many names of a sort the memory of them starts anew: hostile input must not grow it without end.
const MOST_REMEMBERED: usize = 10_000;

/// An event type.
#[derive(Debug)]
pub(crate) struct EventType {
    pub(crate) id: i64,
    pub(crate) name: Arc<str>,
    pub(crate) checksum: u64,
}

/// An aggregate type of a tenant.
#[derive(Debug)]
pub(crate) struct AggregateType {
    pub(crate) id: i64,
    pub(crate) tenant_id: i64,
    pub(crate) tenant: Arc<str>,
    pub(crate) name: Arc<str>,
}

/// Under which identity this file appends.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Replica {
    pub(crate) id: i64,
    pub(crate) replica_id: Uuid,
}

/// What is remembered of committed rows.
pub(crate) struct Names {
    pub(crate) replica: Replica,
    remembered: RwLock<Remembered>,
}

#[derive(Default)]
struct Remembered {
    event_types: HashMap<Arc<str>, Arc<EventType>>,
    event_types_by_id: HashMap<i64, Arc<EventType>>,
    // tenant, then name
    aggregate_types: HashMap<Arc<str>, HashMap<Arc<str>, Arc<AggregateType>>>,
    aggregate_types_by_id: HashMap<i64, Arc<AggregateType>>,
    replicas: HashMap<i64, Uuid>,
}

/// Names that a write transaction made; they are remembered when it has committed.
#[derive(Default)]
pub(crate) struct Learnt {
    event_types: Vec<Arc<EventType>>,
    aggregate_types: Vec<Arc<AggregateType>>,
}

impl Names {
    pub(crate) fn new(replica: Replica) -> Names {
        Names { replica, remembered: RwLock::default() }
    }

    fn recall<T>(&self, find: impl FnOnce(&Remembered) -> Option<T>) -> Option<T> {
        find(&self.remembered.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn remember(&self, learnt: Learnt) {
        if learnt.event_types.is_empty() && learnt.aggregate_types.is_empty() {
            return;
        }
        let mut remembered = self.remembered.write().unwrap_or_else(PoisonError::into_inner);
        learnt.event_types.into_iter().for_each(|event_type| remembered.add_event_type(event_type));
        learnt.aggregate_types.into_iter().for_each(|aggregate_type| remembered.add_aggregate_type(aggregate_type));
    }
}

impl Remembered {
    fn add_event_type(&mut self, event_type: Arc<EventType>) {
        put(&mut self.event_types, event_type.name.clone(), event_type.clone());
        put(&mut self.event_types_by_id, event_type.id, event_type);
    }

    fn add_aggregate_type(&mut self, aggregate_type: Arc<AggregateType>) {
        if self.aggregate_types.len() >= MOST_REMEMBERED {
            self.aggregate_types.clear();
        }
        let of_tenant = self.aggregate_types.entry(aggregate_type.tenant.clone()).or_default();
        put(of_tenant, aggregate_type.name.clone(), aggregate_type.clone());
        put(&mut self.aggregate_types_by_id, aggregate_type.id, aggregate_type);
    }
}

fn put<K: Hash + Eq, V>(map: &mut HashMap<K, V>, key: K, value: V) {
    if map.len() >= MOST_REMEMBERED {
        map.clear();
    }
    map.insert(key, value);
}

impl View<'_> {
    /// The event type of this name, if any event ever had it.
    pub(crate) fn event_type(&self, name: &str) -> Result<Option<Arc<EventType>>> {
        if let Some(known) = self.names.recall(|names| names.event_types.get(name).cloned()) {
            return Ok(Some(known));
        }
        let id = self.number_of(
            "SELECT i.id, t.name = ?1 FROM event_types i LEFT JOIN event_types t ON t.id = i.id WHERE i.name = ?1",
            ("SELECT coalesce(max(id), 0) FROM event_types", "SELECT 1 FROM event_types NOT INDEXED WHERE name = ?1"),
            &[&name],
        )?;
        Ok(id.map(|id| self.found_event_type(id, name)))
    }

    /// The event type that this number stands for.
    pub(crate) fn event_type_by_id(&self, id: i64) -> Result<Arc<EventType>> {
        if let Some(known) = self.names.recall(|names| names.event_types_by_id.get(&id).cloned()) {
            return Ok(known);
        }
        let name: Option<String> = self
            .prepare_cached("SELECT name FROM event_types WHERE id = ?1")
            .sql()?
            .query_row(params![id], |row| row.get(0))
            .optional()
            .sql()?;
        let name = name.ok_or_else(|| dangling("event type", id))?;
        Ok(self.found_event_type(id, &name))
    }

    fn found_event_type(&self, id: i64, name: &str) -> Arc<EventType> {
        let found = Arc::new(EventType { id, name: name.into(), checksum: checksum::name(name) });
        if self.committed {
            self.names.remember(Learnt { event_types: vec![found.clone()], ..Learnt::default() });
        }
        found
    }

    /// The aggregate type of this name in this tenant, if any aggregate ever had it.
    pub(crate) fn aggregate_type(&self, tenant: &str, name: &str) -> Result<Option<Arc<AggregateType>>> {
        let known = self.names.recall(|names| names.aggregate_types.get(tenant)?.get(name).cloned());
        if known.is_some() {
            return Ok(known);
        }
        let Some(tenant_id) = self.tenant_id(tenant)? else { return Ok(None) };
        let id = self.number_of(
            "SELECT i.id, t.tenant = ?1 AND t.name = ?2 FROM aggregate_types i LEFT JOIN aggregate_types t ON t.id = i.id
             WHERE i.tenant = ?1 AND i.name = ?2",
            (
                "SELECT coalesce(max(id), 0) FROM aggregate_types",
                "SELECT 1 FROM aggregate_types NOT INDEXED WHERE tenant = ?1 AND name = ?2",
            ),
            &[&tenant_id, &name],
        )?;
        Ok(id.map(|id| self.found_aggregate_type(id, tenant_id, tenant, name)))
    }

    /// The aggregate type that this number stands for.
    pub(crate) fn aggregate_type_by_id(&self, id: i64) -> Result<Arc<AggregateType>> {
        if let Some(known) = self.names.recall(|names| names.aggregate_types_by_id.get(&id).cloned()) {
            return Ok(known);
        }
        let found: Option<(i64, String, String)> = self
            .prepare_cached(
                "SELECT n.id, n.name, t.name FROM aggregate_types t JOIN tenants n ON n.id = t.tenant WHERE t.id = ?1",
            )
            .sql()?
            .query_row(params![id], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
            .optional()
            .sql()?;
        let (tenant_id, tenant, name) = found.ok_or_else(|| dangling("aggregate type", id))?;
        Ok(self.found_aggregate_type(id, tenant_id, &tenant, &name))
    }

    fn found_aggregate_type(&self, id: i64, tenant_id: i64, tenant: &str, name: &str) -> Arc<AggregateType> {
        let found = Arc::new(AggregateType { id, tenant_id, tenant: tenant.into(), name: name.into() });
        if self.committed {
            self.names.remember(Learnt { aggregate_types: vec![found.clone()], ..Learnt::default() });
        }
        found
    }

    /// The replica that this number stands for.
    pub(crate) fn replica_by_id(&self, id: i64) -> Result<Uuid> {
        if id == self.names.replica.id {
            return Ok(self.names.replica.replica_id);
        }
        if let Some(known) = self.names.recall(|names| names.replicas.get(&id).copied()) {
            return Ok(known);
        }
        let found: Option<[u8; 16]> = self
            .prepare_cached("SELECT replica_id FROM replicas WHERE id = ?1")
            .sql()?
            .query_row(params![id], |row| row.get(0))
            .optional()
            .sql()?;
        let replica_id = Uuid::from_bytes(found.ok_or_else(|| dangling("replica", id))?);
        if self.committed {
            let mut remembered = self.names.remembered.write().unwrap_or_else(PoisonError::into_inner);
            put(&mut remembered.replicas, id, replica_id);
        }
        Ok(replica_id)
    }

    /// The number of a tenant, if it ever had an event.
    pub(crate) fn tenant_id(&self, tenant: &str) -> Result<Option<i64>> {
        self.number_of(
            "SELECT i.id, t.name = ?1 FROM tenants i LEFT JOIN tenants t ON t.id = i.id WHERE i.name = ?1",
            ("SELECT coalesce(max(id), 0) FROM tenants", "SELECT 1 FROM tenants NOT INDEXED WHERE name = ?1"),
            &[&tenant],
        )
    }

    /// The number that stands for a name: in the index and in the row alike. `doubts` are the greatest number there is and
    /// a look at every row, for a name that the index does not have.
    fn number_of(&self, sql: &str, doubts: (&str, &str), name: &[&dyn ToSql]) -> Result<Option<i64>> {
        let found: Option<(i64, Option<bool>)> =
            self.prepare_cached(sql).sql()?.query_row(name, |row| Ok((row.get(0)?, row.get(1)?))).optional().sql()?;
        match found {
            Some((id, Some(true))) => Ok(Some(id)),
            Some(_) => Err(doubt::disagrees()),
            None => doubt::confirm_no_name(self, doubts.0, doubts.1, name).map(|()| None),
        }
    }
}

impl Writing<'_> {
    /// The event type of this name; made if there is none.
    pub(crate) fn event_type_or_new(&self, name: &str) -> Result<Arc<EventType>> {
        if let Some(known) = self.event_type(name)? {
            return Ok(known);
        }
        let id = insert_name(self, "INSERT INTO event_types (name) VALUES (?1) RETURNING id", name)?;
        let made = Arc::new(EventType { id, name: name.into(), checksum: checksum::name(name) });
        self.learnt.borrow_mut().event_types.push(made.clone());
        Ok(made)
    }

    /// The aggregate type of this name in this tenant; both are made if need be.
    pub(crate) fn aggregate_type_or_new(&self, tenant: &str, name: &str) -> Result<Arc<AggregateType>> {
        if let Some(known) = self.aggregate_type(tenant, name)? {
            return Ok(known);
        }
        let tenant_id = match self.tenant_id(tenant)? {
            Some(id) => id,
            None => {
                let id = insert_name(self, "INSERT INTO tenants (name) VALUES (?1) RETURNING id", tenant)?;
                self.confirm_unused("SELECT EXISTS (SELECT 1 FROM aggregate_types WHERE tenant = ?1)", id)?;
                id
            }
        };
        let id = self
            .prepare_cached("INSERT INTO aggregate_types (tenant, name) VALUES (?1, ?2) RETURNING id")
            .sql()?
            .query_row(params![tenant_id, name], |row| row.get(0))
            .sql()?;
        self.confirm_unused("SELECT EXISTS (SELECT 1 FROM aggregate_names WHERE aggregate_type = ?1)", id)?;
        let made = Arc::new(AggregateType { id, tenant_id, tenant: tenant.into(), name: name.into() });
        self.learnt.borrow_mut().aggregate_types.push(made.clone());
        Ok(made)
    }

    /// Confirms that nothing refers to a number that was just given. A damaged table of names gives a number that it has
    /// lost a second time, and a new tenant would write into another one's aggregates.
    fn confirm_unused(&self, refers: &str, id: i64) -> Result<()> {
        match self.prepare_cached(refers).sql()?.query_row(params![id], |row| row.get(0)).sql()? {
            true => Err(doubt::disagrees()),
            false => Ok(()),
        }
    }
}

/// The names of all tenants, in order.
pub(crate) fn tenants(view: &View<'_>) -> Result<Vec<String>> {
    let by_index = list(view, "SELECT name FROM tenants ORDER BY name", &[])?;
    let by_row = list(view, "SELECT name FROM tenants NOT INDEXED", &[])?;
    agreed(by_index, by_row)
}

/// The names of a tenant's aggregate types, in order.
pub(crate) fn aggregate_types(view: &View<'_>, tenant: &str) -> Result<Vec<String>> {
    let Some(tenant) = view.tenant_id(tenant)? else { return Ok(Vec::new()) };
    let by_index = list(view, "SELECT name FROM aggregate_types WHERE tenant = ?1 ORDER BY name", &[&tenant])?;
    let by_row = list(view, "SELECT name FROM aggregate_types NOT INDEXED WHERE tenant = ?1", &[&tenant])?;
    agreed(by_index, by_row)
}

fn list(view: &View<'_>, sql: &str, parameters: &[&dyn ToSql]) -> Result<Vec<String>> {
    let mut statement = view.prepare_cached(sql).sql()?;
    let names = statement.query_map(parameters, |row| row.get(0)).sql()?;
    names.map(|name| name.sql()).collect()
}

/// The list in order, if the index and the rows give the same.
fn agreed(by_index: Vec<String>, mut by_row: Vec<String>) -> Result<Vec<String>> {
    by_row.sort_unstable();
    if by_index == by_row { Ok(by_index) } else { Err(doubt::disagrees()) }
}

fn insert_name(connection: &Connection, sql: &str, name: &str) -> Result<i64> {
    connection.prepare_cached(sql).sql()?.query_row(params![name], |row| row.get(0)).sql()
}

fn dangling(what: &str, id: i64) -> Error {
    Error::new(ErrorKind::Corrupt, format!("no {what} has the number {id} that a row refers to"))
        .advice("copy the file before anything else, then restore a backup")
}
