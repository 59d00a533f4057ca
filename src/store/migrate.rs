//! Carries the state of snapshots to another fold, after the events were removed.

use std::fmt;
use std::ops::ControlFlow;

use super::aggregates::Aggregates;
use super::each::EachProgress;
use crate::metrics::Timer;
use crate::model::error::{Error, ErrorKind, Result};
use crate::model::fold::AggregateKind;
use crate::model::fold::sealed::Fold;
use crate::state::replay;
use crate::state::restorable;
use crate::state::snapshot::{self, Snapshot, SnapshotReason};
use crate::storage::load::Until;
use crate::storage::snapshots::NewSnapshot;

impl<A: AggregateKind> Aggregates<A> {
    /// Carries the state of another fold's snapshots over to this fold, for the aggregates that it can no longer replay
    /// because events were purged or archived: after a new [fold version](crate::Aggregate::FOLD_VERSION) or another
    /// [fold name](crate::Aggregate::fold_name). Aggregates that it can replay are skipped: their events are the truth.
    ///
    /// `migrate` gets the snapshots of other folds that reach far enough, newest first. It returns the state that this fold
    /// would have at the snapshot's version, `None` to be offered the next one, or an error. What it returns is saved as a
    /// snapshot of this fold. Nobody can check it against the events, so test it before.
    ///
    /// `progress` is called after each aggregate and can stop it. An aggregate that fails is counted and described, and the
    /// rest goes on.
    ///
    /// ```
    /// use std::ops::ControlFlow;
    /// use foldlog::{Expected, NewEvent, Purge, SnapshotReason, Store};
    /// use serde_json::json;
    ///
    /// let store = Store::in_memory()?;
    /// let counting = |version, step: u64| store.json_aggregates("counter").fold_with("count", version, move |state, _, _| {
    ///     state["count"] = json!(state["count"].as_u64().unwrap_or(0) + step);
    ///     Ok(())
    /// });
    /// let (old, new) = (counting(1, 1), counting(2, 1_000));
    /// old.append("c-1", Expected::New, [NewEvent::new("Counted", &())?])?;
    /// old.create_snapshot("c-1", SnapshotReason::Manual)?;
    /// let all = chrono::Utc::now() + chrono::TimeDelta::hours(1);
    /// store.maintenance().purge(Purge::created_before(all).fold(&old))?;
    ///
    /// assert!(new.replay("c-1").is_err(), "the event is gone, and the snapshot is of another fold version");
    /// let done = new.migrate_snapshots(
    ///     |old| {
    ///         let mut state = old.state.to_value().map_err(|error| error.to_string())?;
    ///         state["count"] = json!(state["count"].as_u64().ok_or("no count")? * 1_000);
    ///         Ok::<_, String>((old.fold_version == 1).then_some(state))
    ///     },
    ///     |_| ControlFlow::Continue(()),
    /// )?;
    /// assert_eq!((done.succeeded, done.failed), (1, 0));
    /// assert_eq!(new.replay("c-1")?.state, json!({"count": 1_000}));
    /// # Ok::<(), foldlog::Error>(())
    /// ```
    ///
    /// # Errors
    /// If the list of aggregates cannot be read.
    pub fn migrate_snapshots<E: fmt::Display>(
        &self,
        mut migrate: impl FnMut(&Snapshot) -> Result<Option<A::State>, E>,
        mut progress: impl FnMut(&EachProgress) -> ControlFlow<()>,
    ) -> Result<EachProgress> {
        let mut done = EachProgress::new(self.count()?);
        for id in self.ids() {
            let id = id?;
            match self.migrate_one(&id, &mut migrate) {
                Ok(true) => done.succeeded += 1,
                Ok(false) => done.skipped += 1,
                Err(why) => done.failed(&id, &why),
            }
            if progress(&done).is_break() {
                return Ok(done);
            }
        }
        done.finished = true;
        Ok(done)
    }

    /// Carries one aggregate's state over; `false` if that is not needed.
    fn migrate_one<E: fmt::Display>(
        &self,
        id: &str,
        migrate: &mut impl FnMut(&Snapshot) -> Result<Option<A::State>, E>,
    ) -> Result<bool, String> {
        let of = |error: Error| self.of("migrate snapshots", id, error).to_string();
        match replay::replay_if_any(&self.scope, &self.fold, id, Until::Now, true) {
            Ok(_) => return Ok(false),
            Err(error) if error.kind() == ErrorKind::HistoryRemoved => {}
            Err(error) => return Err(of(error)),
        }
        let (tenant, aggregate_type) = (&*self.scope.tenant, self.fold.aggregate_type());
        let engine = self.scope.engine();
        let newest_erasure = engine.newest_erasure().map_err(of)?.cast_signed();
        let removed = engine.purged_through(tenant, aggregate_type, id).map_err(of)?;
        let rows = engine.snapshots(tenant, aggregate_type, id).map_err(of)?;
        let usable = rows.into_iter().filter(|row| row.is_intact && row.version >= removed);
        for row in usable.filter(|row| row.fold() != replay::fold_id(&self.fold)) {
            let timer = Timer::start();
            let (version, latest_event_at) = (row.version, row.latest_event_at);
            let old = snapshot::from_row(row, &self.scope.aggregate(aggregate_type, id)).map_err(of)?;
            let Some(state) = migrate(&old).map_err(|error| error.to_string())? else { continue };
            let (text, _) = restorable::save(&self.fold, &state).map_err(of)?;
            let reason = SnapshotReason::Manual.as_str();
            let new = NewSnapshot {
                version,
                fold: replay::fold_id(&self.fold),
                state: text.as_str(),
                latest_event_at,
                reason,
                event_count: 0,
                created_by: self.created_by(),
                created_at: self.scope.options().clock.now_micros(),
                newest_erasure,
            };
            let retain = self.scope.options().snapshots.retained();
            engine.save_snapshot(tenant, (aggregate_type, id), &new, retain, true).map_err(of)?;
            self.scope.meter().snapshot_made(timer.elapsed(), reason);
            return Ok(true);
        }
        Err(format!("events up to version {removed} were removed, and no other fold's snapshot could be carried over"))
    }
}
