//! Documents: a read model of JSON documents, one for each key, without SQL.

use std::fmt;

use serde_json::Value;

use crate::delivery::projection::Projection;
use crate::delivery::runner::HandlerError;
use crate::engine::{DocumentTable, ReadModel};
use crate::model::event::RecordedEvent;
use crate::model::filter::Filter;
use crate::model::json::Json;

type Key = dyn Fn(&RecordedEvent) -> Option<String> + Send + Sync;
type Fold = dyn Fn(&mut Value, &RecordedEvent) -> Result<(), HandlerError> + Send + Sync;

/// A projection that keeps a JSON document for each key, for a read model without tables of your own.
///
/// `key` says which document an event belongs to (`None`: to none), and `fold` applies the event to it. A missing
/// document is `null`, and a document that the fold leaves as `null` is deleted. Use it like any other [`Projection`]:
/// inline, following, or rebuilt. Read the documents with [`Store::document`](crate::Store::document) and
/// [`Store::documents`](crate::Store::documents).
///
/// A document belongs to the tenant of its events. To keep documents of all tenants under one name, filter by
/// [`Filter::all_tenants`]; each tenant can still read only its own.
///
/// ```
/// use foldlog::{Documents, Expected, NewEvent, Store};
/// use serde_json::json;
///
/// let store = Store::in_memory()?;
/// store.project_inline(Documents::new(
///     "account_view",
///     1,
///     |event| Some(event.aggregate_id.to_string()),
///     |account, event| {
///         let data = event.data.to_value()?;
///         match &*event.event_type {
///             "Opened" => *account = json!({"owner": data["owner"], "cents": 0}),
///             "Deposited" => account["cents"] = json!(account["cents"].as_i64().unwrap_or(0) + data["cents"].as_i64().unwrap_or(0)),
///             "Closed" => *account = json!(null),
///             _ => {}
///         }
///         Ok(())
///     },
/// ))?;
/// store.append("account", "acc-1", Expected::Any, [
///     NewEvent::new("Opened", &json!({"owner": "Ada"}))?,
///     NewEvent::new("Deposited", &json!({"cents": 500}))?,
/// ])?;
/// let account = store.document("account_view", "acc-1")?.unwrap().to_value()?;
/// assert_eq!(account, json!({"owner": "Ada", "cents": 500}));
/// # Ok::<(), foldlog::Error>(())
/// ```
pub struct Documents {
    name: String,
    version: u32,
    filter: Filter,
    key: Box<Key>,
    fold: Box<Fold>,
    table: DocumentTable,
}

impl Documents {
    /// Documents under a name of letters, digits and single underscores. Raise the version when `key` or `fold`
    /// changes, and rebuild. Both must depend on their arguments only.
    pub fn new(
        name: impl Into<String>,
        version: u32,
        key: impl Fn(&RecordedEvent) -> Option<String> + Send + Sync + 'static,
        fold: impl Fn(&mut Value, &RecordedEvent) -> Result<(), HandlerError> + Send + Sync + 'static,
    ) -> Documents {
        let name = name.into();
        Documents {
            version,
            filter: Filter::new(),
            key: Box::new(key),
            fold: Box::new(fold),
            table: DocumentTable::of_projection(&name),
            name,
        }
    }

    /// Sets which events it wants. Default: all of the tenant.
    pub fn filter(mut self, filter: Filter) -> Documents {
        self.filter = filter;
        self
    }
}

impl Projection for Documents {
    fn name(&self) -> &str {
        &self.name
    }

    fn version(&self) -> u32 {
        self.version
    }

    fn tables(&self) -> Vec<String> {
        vec![self.name.clone()]
    }

    fn filter(&self) -> Filter {
        self.filter.clone()
    }

    fn create(&self, model: &ReadModel<'_>) -> Result<(), HandlerError> {
        Ok(self.table.create(model)?)
    }

    fn apply(&self, event: &RecordedEvent, model: &ReadModel<'_>) -> Result<(), HandlerError> {
        let Some(key) = (self.key)(event) else { return Ok(()) };
        let before = self.table.get(model, &event.tenant, &key)?;
        let mut document = match &before {
            Some(text) => serde_json::from_str(text)?,
            None => Value::Null,
        };
        (self.fold)(&mut document, event)?;
        if document.is_null() {
            if before.is_some() {
                self.table.delete(model, &event.tenant, &key)?;
            }
            return Ok(());
        }
        let after = Json::from_serialize(&document)?.into_string();
        if before.as_ref() != Some(&after) {
            self.table.put(model, &event.tenant, &key, &after)?;
        }
        Ok(())
    }
}

impl fmt::Debug for Documents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Documents").field("name", &self.name).field("version", &self.version).finish_non_exhaustive()
    }
}
