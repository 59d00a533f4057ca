//! Erasure: what is to be erased, and the record of what was.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::model::filter::Filter;
use crate::model::json::Json;
use crate::model::place::{AggregateRef, Position, Version};

/// Fields of events, and what takes their place. Stored as JSON in a row of `erasures`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Fields {
    /// JSON pointers into the data; with what takes the field's place, or `None` for an empty value of its kind.
    pub(crate) data: Vec<(String, Option<Json>)>,
    /// JSON pointers into the metadata.
    pub(crate) metadata: Vec<String>,
    /// Tags. Not kept once the erasure is finished: they may be what was to be forgotten.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) tags: Vec<String>,
    /// Which events of the aggregate. Not kept either.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) of: Option<Filter>,
}

impl Fields {
    pub(crate) fn is_empty(&self) -> bool {
        self.data.is_empty() && self.metadata.is_empty() && self.tags.is_empty()
    }

    /// As pointers into an event: `/data/email`, `/metadata/ipAddress`, `/tags`.
    pub(crate) fn pointers(&self) -> Vec<String> {
        let data = self.data.iter().map(|(pointer, _)| format!("/data{pointer}"));
        let metadata = self.metadata.iter().map(|pointer| format!("/metadata{pointer}"));
        let tags = (!self.tags.is_empty()).then(|| "/tags".to_owned());
        data.chain(metadata).chain(tags).collect()
    }

    /// What stays in the file: no value, no tag, no filter.
    pub(crate) fn remembered(&self) -> Remembered {
        Remembered { erased: self.pointers() }
    }
}

/// What a finished erasure of fields remembers of them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Remembered {
    pub(crate) erased: Vec<String>,
}

/// What to erase of one aggregate, and for whom.
#[derive(Clone, Debug)]
pub(crate) struct EraseOrder {
    /// `None`: everything.
    pub(crate) fields: Option<Fields>,
    pub(crate) erased_by: Option<String>,
    pub(crate) reason: Option<String>,
    /// Also fields of an aggregate whose first events are gone, so that no replay is left without its snapshots.
    pub(crate) break_replay: bool,
    /// Only to go on with one that was begun.
    pub(crate) only_begun: bool,
    pub(crate) now: i64,
    /// The most events that one transaction looks at.
    pub(crate) at_once: u64,
    pub(crate) dry_run: bool,
}

/// What one transaction of an erasure did.
#[derive(Clone, Debug, Default)]
pub(crate) struct ErasedPart {
    pub(crate) events: u64,
    pub(crate) snapshots: u64,
    pub(crate) deliveries: u64,
    /// Whether the aggregate is done.
    pub(crate) finished: bool,
    /// Nothing was done: its events must leave the archive first.
    pub(crate) is_archived: bool,
    /// The number of the erasure, if this part finished one.
    pub(crate) number: Option<u64>,
}

/// How far the traces of erasures are removed.
#[derive(Clone, Debug, Default)]
pub(crate) struct Wiped {
    /// Finished erasures whose bytes may still be in the files.
    pub(crate) left: u64,
    /// Projections whose tables may hold what was erased.
    pub(crate) projections: Vec<ProjectionToRebuild>,
}

/// A projection whose tables may still hold what was erased: [rebuild](crate::ProjectionRunner::rebuild) it, then call
/// [`Maintenance::wipe`](crate::Maintenance::wipe).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct ProjectionToRebuild {
    /// Its name.
    pub projection: String,
    /// Whether it reads the events of all tenants.
    pub all_tenants: bool,
}

/// The record of a finished erasure: what a reader that keeps copies of events has to forget too.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Erasure {
    /// Its number: rises with each erasure of the file, of any tenant.
    pub number: u64,
    /// The aggregate. Once its name is forgotten, a name that says nothing.
    pub aggregate: AggregateRef,
    /// The erased fields, as JSON pointers into an event (`/data/email`, `/metadata/ipAddress`, `/tags`); `None` if everything
    /// of the aggregate was erased.
    pub fields: Option<Vec<String>>,
    /// The version of the last event that was looked at.
    pub through: Version,
    /// Events that were removed or changed.
    pub events: u64,
    /// The end of the log when it was erased.
    pub position: Position,
    /// When.
    pub erased_at: DateTime<Utc>,
    /// Who asked for it.
    pub erased_by: Option<Arc<str>>,
    /// Why.
    pub reason: Option<Arc<str>>,
    /// Whether the bytes are gone from the store's files too: see [`Maintenance::wipe`](crate::Maintenance::wipe).
    pub is_wiped: bool,
}
