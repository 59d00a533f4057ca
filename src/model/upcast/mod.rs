//! Upcasters: they turn the data of an old schema version into the next one when events are read.

mod edit;
mod registry;
mod steps;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::model::error::Result;
use crate::model::redacted::Redacted;
pub(crate) use registry::{OfType, Registry};
pub(crate) use steps::Reading;
use steps::{Step, Target};

/// Why an upcaster could not turn an event's data into the next version. The text must not hold the data.
pub type UpcastError = Box<dyn std::error::Error + Send + Sync>;

/// How events of old schema versions are read: a chain of pure functions for each event type.
///
/// Each event is stored with the schema version of its type. When the shape of an event type changes, register an
/// upcaster from the last version to the next one, and never touch it again. Events stay as they were appended; every
/// reader gets them in the current shape: replays, queries, subscriptions, projections, outboxes, dead letters. New
/// events are appended with the current version, which is the one after the last upcaster's.
///
/// ```
/// use foldlog::{Expected, NewEvent, Options, Query, Store, Upcasters};
/// use serde_json::json;
/// # let directory = tempfile::tempdir().unwrap();
/// # let path = directory.path().join("users.db");
///
/// // The first version of the application.
/// let store = Store::open(&path)?;
/// store.append("user", "u-1", Expected::New, [NewEvent::new("UserCreated", &json!({"mail": "a@b.c"}))?])?;
/// # drop(store);
///
/// // Years later.
/// let upcasters = Upcasters::new()
///     .rename_field("UserCreated", 1, "mail", "email")
///     .add_field("UserCreated", 2, "phoneVerified", json!(false))
///     .rename_type("UserCreated", 3, "UserRegistered", 1);
/// let store = Options::new().upcasters(upcasters)?.open(&path)?;
/// let event = store.read(Query::new()).next().unwrap()?;
/// assert_eq!(&*event.event_type, "UserRegistered");
/// assert_eq!(event.data.to_value()?, json!({"email": "a@b.c", "phoneVerified": false}));
/// # Ok::<(), foldlog::Error>(())
/// ```
///
/// The rules are checked by [`Options::upcasters`](crate::Options::upcasters): every version up to the current one has
/// one upcaster, and no event can become its own predecessor.
///
/// - An event of a newer schema version than the last one registered is an error of the kind
///   [`ErrorKind::SchemaVersionTooNew`](crate::ErrorKind::SchemaVersionTooNew), because this program does not know its
///   shape; see [`pass_newer`](Upcasters::pass_newer). A type without upcasters has version 1.
/// - [`split`](Upcasters::split) makes several events out of one. They share its position, version, time, tags and
///   metadata. The first keeps its id; the others get ids of their own, the same at each reading.
/// - A filter by a type that was renamed finds the events under both names, whichever of the two it gives.
/// - Snapshots remember the upcasters that their state depends on. Others are not used.
/// - The tables of projections are not filled again when upcasters change. If they must be, raise the projection's
///   version.
#[derive(Clone, Default)]
#[must_use = "give it to Options::upcasters"]
pub struct Upcasters {
    rules: Vec<Rule>,
    aggregate_type: Option<Arc<str>>,
    pass_newer: bool,
    revision: u32,
}

/// One upcaster.
#[derive(Clone)]
struct Rule {
    /// Only for events of aggregates of this type; `None`: of any.
    aggregate_type: Option<Arc<str>>,
    event_type: Arc<str>,
    from: u32,
    step: Step,
}

impl Upcasters {
    /// No upcasters: every event type has schema version 1.
    pub fn new() -> Upcasters {
        Upcasters::default()
    }

    /// The upcasters that follow are for events of aggregates of this type only. For an event type of such aggregates,
    /// those without an aggregate type do not count.
    ///
    /// ```
    /// # use foldlog::Upcasters;
    /// let upcasters = Upcasters::new()
    ///     .of_aggregates("order").rename_field("Created", 1, "at", "placedAt")
    ///     .of_aggregates("user").rename_type("Created", 1, "Registered", 1);
    /// # foldlog::Options::new().upcasters(upcasters).unwrap();
    /// ```
    pub fn of_aggregates(mut self, aggregate_type: impl Into<Arc<str>>) -> Upcasters {
        self.aggregate_type = Some(aggregate_type.into());
        self
    }

    /// Changes the data of `event_type` from version `from` to the next one.
    ///
    /// ```
    /// # use foldlog::Upcasters;
    /// use serde_json::json;
    /// let upcasters = Upcasters::new().data("Deposited", 1, |mut data| {
    ///     let euros = data["euros"].as_f64().ok_or("there are no euros")?;
    ///     data = json!({"cents": (euros * 100.0).round() as i64});
    ///     Ok(data)
    /// });
    /// # foldlog::Options::new().upcasters(upcasters).unwrap();
    /// ```
    pub fn data(
        self,
        event_type: impl Into<Arc<str>>,
        from: u32,
        upcast: impl Fn(Value) -> Result<Value, UpcastError> + Send + Sync + 'static,
    ) -> Upcasters {
        self.rule(event_type, from, Step::Value(Arc::new(upcast)))
    }

    /// Changes the data by a conversion between two Rust types: what the old version stored, and what the new one
    /// stores.
    ///
    /// ```
    /// # use foldlog::Upcasters;
    /// use serde::{Deserialize, Serialize};
    ///
    /// #[derive(Deserialize)]
    /// struct DepositedV1 { euros: f64 }
    ///
    /// #[derive(Serialize)]
    /// struct DepositedV2 { cents: i64 }
    ///
    /// impl From<DepositedV1> for DepositedV2 {
    ///     fn from(old: DepositedV1) -> DepositedV2 {
    ///         DepositedV2 { cents: (old.euros * 100.0).round() as i64 }
    ///     }
    /// }
    ///
    /// let upcasters = Upcasters::new().convert::<DepositedV1, DepositedV2>("Deposited", 1);
    /// # foldlog::Options::new().upcasters(upcasters).unwrap();
    /// ```
    pub fn convert<Old: DeserializeOwned, New: From<Old> + Serialize>(
        self,
        event_type: impl Into<Arc<str>>,
        from: u32,
    ) -> Upcasters {
        let convert = |text: &str| -> Result<String, UpcastError> {
            let old: Old = serde_json::from_str(text).map_err(|error| Redacted::from(error).to_string())?;
            serde_json::to_string(&New::from(old)).map_err(|error| Redacted::from(error).to_string().into())
        };
        self.rule(event_type, from, Step::Text(Arc::new(convert)))
    }

    /// Adds a field to the data, unless it has one of this name.
    pub fn add_field(
        self,
        event_type: impl Into<Arc<str>>,
        from: u32,
        field: impl Into<String>,
        value: impl Into<Value>,
    ) -> Upcasters {
        let step = Step::Edit(edit::Edit::Add { field: field.into(), value: value.into().to_string() });
        self.rule(event_type, from, step)
    }

    /// Renames a field of the data, if it has it.
    pub fn rename_field(
        self,
        event_type: impl Into<Arc<str>>,
        from: u32,
        old_name: impl Into<String>,
        new_name: impl Into<String>,
    ) -> Upcasters {
        let step = Step::Edit(edit::Edit::Rename { from: old_name.into(), to: new_name.into() });
        self.rule(event_type, from, step)
    }

    /// Removes a field of the data, if it has it.
    pub fn remove_field(self, event_type: impl Into<Arc<str>>, from: u32, field: impl Into<String>) -> Upcasters {
        self.rule(event_type, from, Step::Edit(edit::Edit::Remove { field: field.into() }))
    }

    /// The data of version `from` is also valid as the next version, for instance because the new one has an optional
    /// field more.
    pub fn compatible(self, event_type: impl Into<Arc<str>>, from: u32) -> Upcasters {
        self.rule(event_type, from, Step::Same)
    }

    /// Renames the event type: events of version `from` become events of type `to` in its version `to_version`, mostly
    /// 1. The old type then has no current version, so no new events of it can be appended.
    pub fn rename_type(self, event_type: impl Into<Arc<str>>, from: u32, to: impl Into<Arc<str>>, to_version: u32) -> Upcasters {
        self.rule(event_type, from, Step::Rename(Target { event_type: to.into(), schema_version: to_version }))
    }

    /// Makes several events out of one, or none. `into` names the types and schema versions that `split` may return.
    ///
    /// ```
    /// # use foldlog::Upcasters;
    /// use serde_json::json;
    /// let upcasters = Upcasters::new().split("ContactChanged", 1, [("MailChanged", 1), ("PhoneChanged", 1)], |data| {
    ///     let changed = |event_type, field: &str| (!data[field].is_null()).then(|| (event_type, json!({"to": data[field]})));
    ///     Ok([changed("MailChanged", "mail"), changed("PhoneChanged", "phone")].into_iter().flatten().collect())
    /// });
    /// # foldlog::Options::new().upcasters(upcasters).unwrap();
    /// ```
    pub fn split<T: Into<Arc<str>>>(
        self,
        event_type: impl Into<Arc<str>>,
        from: u32,
        into: impl IntoIterator<Item = (T, u32)>,
        split: impl Fn(Value) -> Result<Vec<(&'static str, Value)>, UpcastError> + Send + Sync + 'static,
    ) -> Upcasters {
        let target = |(event_type, schema_version): (T, u32)| Target { event_type: event_type.into(), schema_version };
        let into = into.into_iter().map(target).collect();
        self.rule(event_type, from, Step::Split { into, split: Arc::new(split) })
    }

    /// Leaves events out: no reader gets them. They keep their place in the log and in their aggregate.
    pub fn discard(self, event_type: impl Into<Arc<str>>, from: u32) -> Upcasters {
        self.rule(event_type, from, Step::Discard)
    }

    /// Passes events of a newer schema version than this program knows as they are stored, instead of failing. For
    /// programs that show, copy or forward events of any application, and for those that manage schema versions
    /// themselves.
    pub fn pass_newer(mut self) -> Upcasters {
        self.pass_newer = true;
        self
    }

    /// Raise this when you correct the function of an upcaster that was already in use. Snapshots that were made with
    /// the earlier one are then not used. Which rules there are, and what the declared ones do, is noticed without it.
    pub fn revision(mut self, revision: u32) -> Upcasters {
        self.revision = revision;
        self
    }

    /// Checks the rules, and puts them in the form in which they are used.
    pub(crate) fn registry(self) -> Result<Registry> {
        Registry::new(self)
    }

    fn rule(mut self, event_type: impl Into<Arc<str>>, from: u32, step: Step) -> Upcasters {
        let aggregate_type = self.aggregate_type.clone();
        self.rules.push(Rule { aggregate_type, event_type: event_type.into(), from, step });
        self
    }
}

impl fmt::Debug for Upcasters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Upcasters")
            .field("rules", &self.rules.len())
            .field("pass_newer", &self.pass_newer)
            .finish_non_exhaustive()
    }
}
