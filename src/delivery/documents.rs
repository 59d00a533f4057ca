//! Documents: a read model of JSON, one fold for each key, without SQL.

use std::fmt;

use rusqlite::params;
use serde_json::Value;

use crate::delivery::projection::Projection;
use crate::delivery::runner::HandlerError;
use crate::log::query::Query;
use crate::model::event::RecordedEvent;
use crate::model::json::Json;
use crate::sqlite::read_model::{ReadModel, document_sql};

type Key = dyn Fn(&RecordedEvent) -> Option<String> + Send + Sync;
type Fold = dyn Fn(&mut Value, &RecordedEvent) -> Result<(), HandlerError> + Send + Sync;

/// A projection that keeps a JSON document for each key, for those who want a read model and no tables of their own.
///
/// `key` says which document an event belongs to (`None`: to none), `fold` takes the event into it. A document that is
/// not there yet is `null`, and one that the fold leaves as `null` is deleted. It is used like any other [`Projection`]:
/// inline, following, rebuilt; its documents are read with [`Store::document`](crate::Store::document) and
/// [`Store::documents`](crate::Store::documents).
///
/// Documents belong to the tenant of their events. To keep those of all tenants under one name, filter by
/// [`Query::all_tenants`]; each tenant still reads its own only.
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
    filter: Query,
    key: Box<Key>,
    fold: Box<Fold>,
    get: String,
    put: String,
    delete: String,
}

impl Documents {
    /// Documents under a name of letters, digits and single underscores. Raise the version when `key` or `fold` changes,
    /// and rebuild. Both must depend on their arguments only.
    pub fn new(
        name: impl Into<String>,
        version: u32,
        key: impl Fn(&RecordedEvent) -> Option<String> + Send + Sync + 'static,
        fold: impl Fn(&mut Value, &RecordedEvent) -> Result<(), HandlerError> + Send + Sync + 'static,
    ) -> Documents {
        let name = name.into();
        let sql = document_sql(&format!("{{{name}}}"));
        Documents {
            version,
            filter: Query::new(),
            key: Box::new(key),
            fold: Box::new(fold),
            get: sql.get,
            put: sql.put,
            delete: sql.delete,
            name,
        }
    }

    /// Which events it wants; all of the tenant by default.
    pub fn filter(mut self, filter: Query) -> Documents {
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

    fn filter(&self) -> Query {
        self.filter.clone()
    }

    fn create(&self, model: &ReadModel<'_>) -> Result<(), HandlerError> {
        Ok(model.execute_batch(&document_sql(&format!("{{{}}}", self.name)).create)?)
    }

    fn apply(&self, event: &RecordedEvent, model: &ReadModel<'_>) -> Result<(), HandlerError> {
        let Some(key) = (self.key)(event) else { return Ok(()) };
        let before: Option<String> = model.query_row(&self.get, params![&*event.tenant, key], |row| row.get(0))?;
        let mut document = match &before {
            Some(text) => serde_json::from_str(text)?,
            None => Value::Null,
        };
        (self.fold)(&mut document, event)?;
        if document.is_null() {
            if before.is_some() {
                model.execute(&self.delete, params![&*event.tenant, key])?;
            }
            return Ok(());
        }
        let after = Json::from_serialize(&document)?.into_string();
        if before.as_ref() != Some(&after) {
            model.execute(&self.put, params![&*event.tenant, key, after])?;
        }
        Ok(())
    }
}

impl fmt::Debug for Documents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Documents").field("name", &self.name).field("version", &self.version).finish_non_exhaustive()
    }
}
