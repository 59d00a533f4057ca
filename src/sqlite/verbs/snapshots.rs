//! Snapshots: saving, listing, deleting.

use super::lookup;
use crate::model::error::{Error, ErrorKind, Result};
use crate::sqlite::Database;
use crate::sqlite::tables::{log_state, names, snapshots};
use crate::sqlite::transaction::Writing;
use crate::storage::snapshots::{NewSnapshot, SnapshotRow, SnapshotStatistics, SnapshotsOfType};

/// The most snapshots deleted in one transaction, so that none holds the write lock for long.
const EXPIRE_AT_ONCE: usize = 1_000;

fn not_found() -> Error {
    Error::new(ErrorKind::NotFound, "the aggregate has no events")
}

impl Database {
    pub(crate) fn save_snapshot(
        &self,
        tenant: &str,
        names: (&str, &str),
        snapshot: &NewSnapshot<'_>,
        retain: u32,
        patiently: bool,
    ) -> Result<bool> {
        let save = |writing: &Writing<'_>| {
            let (row, owner) = lookup::find(writing, tenant, names.0, names.1)?.ok_or_else(not_found)?;
            writing.keep_ends();
            snapshots::save(writing, row.id, owner.identity, snapshot, retain)
        };
        match patiently {
            true => self.write(save).map(|()| true),
            false => self.try_write(save).map(|saved| saved.is_some()),
        }
    }

    pub(crate) fn save_snapshots(
        &self,
        tenant: &str,
        aggregate_type: &str,
        batch: &[(&str, NewSnapshot<'_>)],
        retain: u32,
    ) -> Result<()> {
        self.write(|writing| {
            for (aggregate_id, snapshot) in batch {
                let (row, owner) = lookup::find(writing, tenant, aggregate_type, aggregate_id)?.ok_or_else(not_found)?;
                snapshots::save(writing, row.id, owner.identity, snapshot, retain)?;
            }
            Ok(())
        })
    }

    pub(crate) fn snapshots(&self, tenant: &str, aggregate_type: &str, aggregate_id: &str) -> Result<Vec<SnapshotRow>> {
        self.read(|view| match lookup::find(view, tenant, aggregate_type, aggregate_id)? {
            Some((row, owner)) => snapshots::all(view, row.id, owner.identity),
            None => Ok(Vec::new()),
        })
    }

    pub(crate) fn delete_snapshots(&self, tenant: &str, aggregate_type: &str, aggregate_id: &str) -> Result<u64> {
        self.write(|writing| {
            let (row, _) = lookup::find(writing, tenant, aggregate_type, aggregate_id)?.ok_or_else(not_found)?;
            let removed = row.removal.through();
            if removed > 0 {
                let what = format!("events up to version {removed} were removed: the replay needs a snapshot");
                return Err(Error::new(ErrorKind::HistoryRemoved, what).advice("prune_snapshots keeps the newest"));
            }
            snapshots::delete_all(writing, row.id)
        })
    }

    pub(crate) fn prune_snapshots(&self, tenant: &str, names: (&str, &str), retain: u32) -> Result<u64> {
        self.write(|writing| match lookup::find(writing, tenant, names.0, names.1)? {
            Some((row, _)) => snapshots::delete_superseded(writing, row.id, retain, None),
            None => Ok(0),
        })
    }

    pub(crate) fn expire_snapshots(&self, tenant: &str, before: i64) -> Result<(u64, bool)> {
        let deleted = self.write_in_background(|writing| snapshots::expire(writing, tenant, before, EXPIRE_AT_ONCE))?;
        Ok((deleted, deleted == EXPIRE_AT_ONCE as u64))
    }

    /// Records that the scheduled clean-up runs now, if `is_due` returns true for the time of its last run
    /// (microseconds; 0: never). Returns the tenants whose snapshots are to be checked. Of several processes only one
    /// finds it due.
    pub(crate) fn begin_expiry(&self, now: i64, is_due: impl Fn(i64) -> bool) -> Result<Vec<String>> {
        if !self.read(|view| Ok(is_due(log_state::snapshots_expired_at(view)?)))? {
            return Ok(Vec::new());
        }
        self.write(|writing| {
            if !is_due(log_state::snapshots_expired_at(writing)?) {
                return Ok(Vec::new());
            }
            log_state::note_expired(writing, now)?;
            names::tenants(writing)
        })
    }

    pub(crate) fn snapshot_statistics(&self, tenant: &str, limit: usize) -> Result<SnapshotStatistics> {
        self.read(|view| snapshots::statistics(view, tenant, limit))
    }

    pub(crate) fn newest_snapshot(&self, tenant: &str, aggregate_type: &str, aggregate_id: &str) -> Result<Option<u64>> {
        self.read(|view| match lookup::find(view, tenant, aggregate_type, aggregate_id)? {
            Some((row, _)) => snapshots::newest_of_any_fold(view, row.id),
            None => Ok(None),
        })
    }

    pub(crate) fn snapshots_by_type(&self) -> Result<Vec<SnapshotsOfType>> {
        self.read(snapshots::by_type)
    }
}
