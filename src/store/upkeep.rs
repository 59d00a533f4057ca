//! Retention rules, and upkeep by call or on a schedule.

use std::ops::ControlFlow;
use std::sync::Arc;

use uuid::Uuid;

use super::aggregates::Aggregates;
use super::maintenance::Maintenance;
use crate::log::gauges;
use crate::maintenance::retention::{self, Retention, RetentionReport};
use crate::maintenance::upkeep::{self, Upkeep, UpkeepReport, UpkeepTask};
use crate::model::error::Result;
use crate::model::fold::AggregateKind;

impl Retention {
    /// Gives the rules the fold of a handle, as [`Purge::fold`](crate::Purge::fold): its snapshots count, after they were
    /// compared with the events.
    pub fn fold<A: AggregateKind>(self, handle: &Aggregates<A>) -> Retention {
        self.with_fold(Arc::new(handle.fold.clone()))
    }
}

impl Maintenance {
    /// Applies retention rules to this tenant's aggregates: removes events that the rules do not keep and that nothing needs
    /// any more, and reports what stayed and why.
    ///
    /// # Errors
    /// If the file cannot be written. What was removed before that stays removed.
    pub fn retain(&self, rules: Retention) -> Result<RetentionReport> {
        self.retain_by_steps(rules, |_| ControlFlow::Continue(()))
    }

    /// As [`Maintenance::retain`]. `progress` is called after each transaction and can stop it.
    ///
    /// # Errors
    /// As [`Maintenance::retain`].
    pub fn retain_by_steps(
        &self,
        rules: Retention,
        progress: impl FnMut(&RetentionReport) -> ControlFlow<()>,
    ) -> Result<RetentionReport> {
        let done = retention::retain(self.scope(), &rules, progress).map_err(|error| error.during("retain"));
        let _ = gauges::refresh(self.scope());
        done
    }

    /// Does all that is due, of all tenants, in short transactions that yield to other writers: see [`Upkeep`]. Only what is left
    /// of erasures is wiped in one long one. `progress` is called after each transaction and can stop it; the next call goes
    /// on.
    ///
    /// ```
    /// use std::ops::ControlFlow;
    /// use foldlog::{Archive, Store, Upkeep};
    /// # let directory = tempfile::tempdir().unwrap();
    /// let store = Store::open(directory.path().join("bank.db"))?;
    /// let report = store.maintenance().maintain(Upkeep::new().archive(Archive::default()), |_| ControlFlow::Continue(()))?;
    /// assert!(report.finished);
    /// # Ok::<(), foldlog::Error>(())
    /// ```
    ///
    /// # Errors
    /// If a file cannot be written, or the archive is needed and not there. What was done before that stays done.
    pub fn maintain(&self, upkeep: Upkeep, mut progress: impl FnMut(&UpkeepReport) -> ControlFlow<()>) -> Result<UpkeepReport> {
        let done = upkeep::maintain(self.scope(), &upkeep, &mut progress).map_err(|error| error.during("maintain"));
        let _ = gauges::refresh(self.scope());
        done
    }

    /// [Maintains](Maintenance::maintain) the store on a schedule, on its own thread, until the result is dropped or the store
    /// is closed. When it ran last is kept in the file.
    ///
    /// # Errors
    /// [`ErrorKind::ReadOnly`](crate::ErrorKind::ReadOnly) if the store was opened for reading;
    /// [`ErrorKind::Io`](crate::ErrorKind::Io) if no thread can be started.
    pub fn schedule(&self, upkeep: Upkeep) -> Result<UpkeepTask> {
        upkeep::start(self.scope(), upkeep).map_err(|error| error.during("schedule upkeep"))
    }

    /// Gives the file a new identity, under which it appends from now on; returns it. For a file that was copied by other means
    /// than [`Store::restore_as_new`](crate::Store::restore_as_new) and is to live beside the original: events of both can then be
    /// told apart by their [`origin`](crate::RecordedEvent::origin). Other processes that have the file open go on under the
    /// old one until they open it again.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn renew_replica_id(&self) -> Result<Uuid> {
        self.scope().engine().renew_replica().map_err(|error| error.during("renew replica id"))
    }
}
