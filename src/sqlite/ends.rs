//! A cache of where the log and its aggregates end, as this store's last appends left them. An append that finds its
//! aggregate here reads nothing of the file.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::audit::Digest;

/// With more aggregates than this the cache starts over.
const MOST_REMEMBERED: usize = 1_024;

/// Ends that hold as long as no other connection commits, and the writer does nothing but append and save snapshots.
#[derive(Default)]
pub(crate) struct Ends {
    /// SQLite's number that changes when another connection has committed.
    data_version: Option<i64>,
    pub(crate) last_position: Option<u64>,
    /// The last link of the audit chain; `Some(None)` if the file has none.
    pub(crate) chain: Option<Option<Digest>>,
    /// What is known of the block that is not full yet.
    pub(crate) filling: Option<Filling>,
    // aggregate type, then aggregate id
    aggregates: HashMap<i64, HashMap<Arc<str>, End>>,
    remembered: usize,
}

/// The events of a block so far, for its summary.
#[derive(Debug)]
pub(crate) struct Filling {
    /// The position of the next event.
    pub(crate) next: u64,
    pub(crate) earliest: i64,
    pub(crate) latest: i64,
    /// For each (aggregate type, event type).
    pub(crate) counts: BTreeMap<(i64, i64), u64>,
}

/// An aggregate's last version, and what else an append needs to know of it.
#[derive(Clone, Debug)]
pub(crate) struct End {
    pub(crate) aggregate: i64,
    pub(crate) identity: u64,
    pub(crate) aggregate_id: Arc<str>,
    pub(crate) version: u64,
    pub(crate) purged_through: u64,
}

impl Ends {
    /// Forgets everything if another connection has committed since.
    pub(super) fn hold_at(&mut self, data_version: i64) {
        if self.data_version != Some(data_version) {
            *self = Ends { data_version: Some(data_version), ..Ends::default() };
        }
    }

    pub(crate) fn of(&self, aggregate_type: i64, aggregate_id: &str) -> Option<End> {
        self.aggregates.get(&aggregate_type)?.get(aggregate_id).cloned()
    }

    pub(crate) fn remember(&mut self, aggregate_type: i64, end: End) {
        if self.remembered >= MOST_REMEMBERED {
            self.aggregates.clear();
            self.remembered = 0;
        }
        match self.aggregates.entry(aggregate_type).or_default().insert(end.aggregate_id.clone(), end) {
            Some(_) => {}
            None => self.remembered += 1,
        }
    }
}
