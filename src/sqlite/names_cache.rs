//! A cache of names and their numbers: tenants, aggregate types, event types, replicas. They are few and never change,
//! so each is read from the file once.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, RwLock};

use uuid::Uuid;

use crate::model::upcast::{OfType, Registry};
use crate::sqlite::archive_path::ArchivePath;
use crate::sqlite::checksum;
use crate::sync;

/// With more names of a kind than this the cache starts over, so that hostile input cannot grow it without limit.
const MOST_REMEMBERED: usize = 10_000;

/// An event type.
#[derive(Debug)]
pub(crate) struct EventType {
    pub(crate) id: i64,
    pub(crate) name: Arc<str>,
    pub(crate) checksum: u64,
    /// Its upcasters.
    pub(super) upcasters: Option<Arc<OfType>>,
}

impl EventType {
    /// The schema version that is read as it is stored; `None` if none is.
    pub(crate) fn current(&self, aggregate_type: &str) -> Option<u32> {
        match &self.upcasters {
            None => Some(1),
            Some(of_type) => of_type.current(&self.name, aggregate_type),
        }
    }
}

/// An aggregate type of a tenant.
#[derive(Debug)]
pub(crate) struct AggregateType {
    pub(crate) id: i64,
    pub(crate) tenant_id: i64,
    pub(crate) tenant: Arc<str>,
    pub(crate) name: Arc<str>,
}

/// The identity under which this file appends.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Replica {
    pub(crate) id: i64,
    pub(crate) replica_id: Uuid,
}

/// Names from committed rows.
pub(crate) struct NamesCache {
    replica: RwLock<Replica>,
    /// Where the file's archive is, or would be; `None` in memory.
    pub(crate) archive: Option<ArchivePath>,
    pub(super) upcasters: Arc<Registry>,
    /// Whether a repair that made the file noted losses.
    pub(super) has_losses: bool,
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

/// Names that a write transaction created or found. They enter the cache when it has committed.
#[derive(Clone, Default)]
pub(crate) struct NewNames {
    event_types: HashMap<Arc<str>, Arc<EventType>>,
    // tenant, then name
    aggregate_types: HashMap<Arc<str>, HashMap<Arc<str>, Arc<AggregateType>>>,
}

impl NamesCache {
    pub(super) fn new(replica: Replica, archive: Option<ArchivePath>, upcasters: Arc<Registry>) -> NamesCache {
        NamesCache { replica: RwLock::new(replica), archive, upcasters, has_losses: false, remembered: RwLock::default() }
    }

    /// The identity under which this file appends.
    pub(crate) fn replica(&self) -> Replica {
        *sync::read(&self.replica)
    }

    /// After it was changed in the file.
    pub(super) fn set_replica(&self, replica: Replica) {
        *sync::write(&self.replica) = replica;
    }

    pub(super) fn with_losses(self, has_losses: bool) -> NamesCache {
        NamesCache { has_losses, ..self }
    }

    /// A cache without an identity, for a file that was just opened.
    pub(super) fn unknown() -> NamesCache {
        NamesCache::new(Replica { id: 0, replica_id: Uuid::nil() }, None, Arc::default())
    }

    pub(super) fn made_event_type(&self, id: i64, name: &str) -> Arc<EventType> {
        let upcasters = self.upcasters.of_type(name);
        Arc::new(EventType { id, name: name.into(), checksum: checksum::name(name), upcasters })
    }

    fn recall<T>(&self, find: impl FnOnce(&Remembered) -> Option<T>) -> Option<T> {
        find(&sync::read(&self.remembered))
    }

    pub(super) fn event_type(&self, name: &str) -> Option<Arc<EventType>> {
        self.recall(|names| names.event_types.get(name).cloned())
    }

    pub(super) fn event_type_by_id(&self, id: i64) -> Option<Arc<EventType>> {
        self.recall(|names| names.event_types_by_id.get(&id).cloned())
    }

    pub(super) fn aggregate_type(&self, tenant: &str, name: &str) -> Option<Arc<AggregateType>> {
        self.recall(|names| names.aggregate_types.get(tenant)?.get(name).cloned())
    }

    pub(super) fn aggregate_type_by_id(&self, id: i64) -> Option<Arc<AggregateType>> {
        self.recall(|names| names.aggregate_types_by_id.get(&id).cloned())
    }

    pub(super) fn replica_by_id(&self, id: i64) -> Option<Uuid> {
        self.recall(|names| names.replicas.get(&id).copied())
    }

    pub(super) fn remember_event_type(&self, event_type: Arc<EventType>) {
        sync::write(&self.remembered).add_event_type(event_type);
    }

    pub(super) fn remember_aggregate_type(&self, aggregate_type: Arc<AggregateType>) {
        sync::write(&self.remembered).add_aggregate_type(aggregate_type);
    }

    pub(super) fn remember_replica(&self, id: i64, replica_id: Uuid) {
        put(&mut sync::write(&self.remembered).replicas, id, replica_id);
    }

    pub(super) fn remember(&self, learnt: NewNames) {
        learnt.event_types.into_values().for_each(|event_type| self.remember_event_type(event_type));
        let aggregate_types = learnt.aggregate_types.into_values().flat_map(HashMap::into_values);
        aggregate_types.for_each(|aggregate_type| self.remember_aggregate_type(aggregate_type));
    }
}

impl NewNames {
    pub(super) fn event_type(&self, name: &str) -> Option<Arc<EventType>> {
        self.event_types.get(name).cloned()
    }

    pub(super) fn aggregate_type(&self, tenant: &str, name: &str) -> Option<Arc<AggregateType>> {
        self.aggregate_types.get(tenant)?.get(name).cloned()
    }

    pub(super) fn add_event_type(&mut self, event_type: Arc<EventType>) {
        self.event_types.insert(event_type.name.clone(), event_type);
    }

    pub(super) fn add_aggregate_type(&mut self, aggregate_type: Arc<AggregateType>) {
        let of_tenant = self.aggregate_types.entry(aggregate_type.tenant.clone()).or_default();
        of_tenant.insert(aggregate_type.name.clone(), aggregate_type);
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
