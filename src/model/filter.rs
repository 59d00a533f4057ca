//! Filters: which events are wanted.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::model::error::{Error, ErrorKind, Result};

/// Which events are wanted: by aggregate type, event type, tag and time; of one tenant or of all. Queries,
/// subscriptions, projections and outboxes take one.
///
/// Conditions of different kinds must all hold. Without conditions, all events of the tenant match.
///
/// ```
/// use foldlog::{Filter, Query, Store};
/// # let store = Store::in_memory()?;
/// // Orders of a customer that were placed or cancelled.
/// let filter = Filter::new().aggregate_type("order").event_types(["Placed", "Cancelled"]).tag("customer:c-1");
/// let events = store.read(Query::matching(filter).newest_first().limit(10));
/// # assert_eq!(events.count(), 0);
/// # Ok::<(), foldlog::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Filter {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) aggregate_types: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) event_types: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) tags: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) any_tag: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) from: Option<DateTime<Utc>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) to: Option<DateTime<Utc>>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(crate) all_tenants: bool,
}

impl Filter {
    /// Matches all events.
    pub fn new() -> Filter {
        Filter::default()
    }

    /// Only events of aggregates of this type. If called again: of any of these types.
    pub fn aggregate_type(mut self, aggregate_type: impl Into<String>) -> Filter {
        self.aggregate_types.push(aggregate_type.into());
        self
    }

    /// Only events of this type. If called again: of any of these types.
    pub fn event_type(mut self, event_type: impl Into<String>) -> Filter {
        self.event_types.push(event_type.into());
        self
    }

    /// Only events of any of these types. An empty list is no condition.
    pub fn event_types<T: Into<String>>(mut self, event_types: impl IntoIterator<Item = T>) -> Filter {
        self.event_types.extend(event_types.into_iter().map(Into::into));
        self
    }

    /// Only events that carry this tag. If called again: all of these tags.
    pub fn tag(mut self, tag: impl Into<String>) -> Filter {
        self.tags.push(tag.into());
        self
    }

    /// Only events that carry at least one of these tags. If called again, the tags are added. An empty list is no
    /// condition.
    pub fn any_tag<T: Into<String>>(mut self, tags: impl IntoIterator<Item = T>) -> Filter {
        self.any_tag.extend(tags.into_iter().map(Into::into));
        self
    }

    /// Only events whose time is at or after this one.
    pub fn from(mut self, time: DateTime<Utc>) -> Filter {
        self.from = Some(time);
        self
    }

    /// Only events whose time is at or before this one.
    pub fn to(mut self, time: DateTime<Utc>) -> Filter {
        self.to = Some(time);
        self
    }

    /// Events of all tenants, for example for an operator or an export.
    pub fn all_tenants(mut self) -> Filter {
        self.all_tenants = true;
        self
    }

    /// As JSON text: the same for equal filters, whatever the order of their lists.
    pub(crate) fn to_text(&self) -> Result<String> {
        let mut filter = self.clone();
        for list in [&mut filter.aggregate_types, &mut filter.event_types, &mut filter.tags, &mut filter.any_tag] {
            list.sort_unstable();
            list.dedup();
        }
        serde_json::to_string(&filter).map_err(|error| Error::new(ErrorKind::Codec, "the filter is not JSON").caused_by(error))
    }
}
