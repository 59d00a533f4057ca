//! All aggregates of a type: their ids, their states, a snapshot of each.

use std::fmt;
use std::ops::ControlFlow;

use chrono::{DateTime, Utc};
use serde::Serialize;

use crate::log::pages::Ids;
use crate::metrics::Timer;
use crate::model::clock::to_micros;
use crate::model::error::{Error, ErrorKind, Result};
use crate::model::fold::AggregateKind;
use crate::model::fold::sealed::Fold;
use crate::model::place::Position;
use crate::state::replay::{self, Loaded, Replayed};
use crate::state::restorable;
use crate::state::snapshot::SnapshotReason;
use crate::storage::load::Until;
use crate::store::aggregates::Aggregates;

/// The most failures that are described; the count covers all.
const FAILURES_KEPT: usize = 100;
/// The size of one transaction of [`Aggregates::snapshot_all`].
const SNAPSHOTS_AT_ONCE: usize = 256;
const SNAPSHOT_BYTES_AT_ONCE: usize = 4 << 20;

/// The progress, and in the end the result, of a call for all aggregates of a type.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct EachProgress {
    /// Aggregates of the type when it began.
    pub total: u64,
    /// Aggregates that were handled.
    pub succeeded: u64,
    /// Aggregates with nothing to do: without events up to the requested time, or with a snapshot of their last version.
    pub skipped: u64,
    /// Aggregates that failed, in the store or in your function.
    pub failed: u64,
    /// The first 100 failures: aggregate id and message.
    pub failures: Vec<(String, String)>,
    /// Whether it finished; `false` if it was stopped.
    pub finished: bool,
}

impl EachProgress {
    pub(super) fn new(total: u64) -> EachProgress {
        EachProgress { total, succeeded: 0, skipped: 0, failed: 0, failures: Vec::new(), finished: false }
    }

    pub(super) fn failed(&mut self, id: &str, failure: &dyn fmt::Display) {
        self.failed += 1;
        if self.failures.len() < FAILURES_KEPT {
            self.failures.push((id.to_owned(), failure.to_string()));
        }
    }
}

impl<A: AggregateKind> Aggregates<A> {
    /// The ids of the aggregates, in order.
    ///
    /// ```
    /// use foldlog::{Expected, NewEvent, Store};
    /// let orders = Store::in_memory()?.json_aggregates("order");
    /// for id in ["o-1", "o-2", "o-3"] {
    ///     orders.append(id, Expected::New, [NewEvent::new("Placed", &())?])?;
    /// }
    /// let page: Vec<String> = orders.ids().after("o-1").take(20).collect::<Result<_, _>>()?;
    /// assert_eq!(page, ["o-2", "o-3"]);
    /// # Ok::<(), foldlog::Error>(())
    /// ```
    pub fn ids(&self) -> Ids {
        Ids::new(self.scope.clone(), self.fold.aggregate_type())
    }

    /// Counts the aggregates of this type.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn count(&self) -> Result<u64> {
        self.scope
            .engine()
            .count_aggregates(&self.scope.tenant, self.fold.aggregate_type())
            .map_err(|error| error.during("count aggregates"))
    }

    /// The state of every aggregate, in the order of the ids: now, or as of a position or a time.
    ///
    /// Use it as an iterator that you can leave early; or call [`ReplayEach::run`], which counts, reports its progress and
    /// continues after failures. Each aggregate is read by itself: to see all at the same moment, name a position.
    ///
    /// ```
    /// use foldlog::{Expected, NewEvent, Store};
    /// use serde_json::json;
    ///
    /// let stocks = Store::in_memory()?.json_aggregates("stock");
    /// let set = |left: u32| NewEvent::new("Counted", &json!({"left": left}));
    /// stocks.append("apples", Expected::New, [set(7)?])?;
    /// let then = stocks.append("pears", Expected::New, [set(5)?])?.position;
    /// stocks.append("apples", Expected::Any, [set(0)?])?;
    ///
    /// let mut left = Vec::new();
    /// for each in stocks.replay_each().to_position(then) {
    ///     let (id, stock) = each?;
    ///     left.push((id, stock.state["left"].as_u64().unwrap()));
    /// }
    /// assert_eq!(left, [("apples".to_owned(), 7), ("pears".to_owned(), 5)]);
    /// # Ok::<(), foldlog::Error>(())
    /// ```
    pub fn replay_each(&self) -> ReplayEach<A> {
        ReplayEach { ids: self.ids(), handle: self.clone(), until: Until::Now }
    }

    /// Makes a snapshot of every aggregate that has none of its last version by this fold: before a
    /// [purge](crate::Maintenance::purge), which keeps events that no snapshot replaces. It writes some hundred in each
    /// transaction, so it is many times faster than [`create_snapshot`](Aggregates::create_snapshot) in a loop.
    ///
    /// `progress` is called after each transaction and can stop it; snapshots already made stay. An aggregate that cannot
    /// be replayed is counted and described, and the rest goes on.
    ///
    /// ```
    /// use std::ops::ControlFlow;
    /// use foldlog::{Expected, NewEvent, SnapshotReason, Store};
    ///
    /// let orders = Store::in_memory()?.json_aggregates("order");
    /// orders.append("o-1", Expected::New, [NewEvent::new("Placed", &())?])?;
    /// let done = orders.snapshot_all(SnapshotReason::Manual, |_| ControlFlow::Continue(()))?;
    /// assert_eq!((done.succeeded, done.skipped, done.finished), (1, 0, true));
    /// # Ok::<(), foldlog::Error>(())
    /// ```
    ///
    /// # Errors
    /// If the file cannot be read or written; snapshots of earlier transactions stay.
    pub fn snapshot_all(
        &self,
        reason: SnapshotReason,
        mut progress: impl FnMut(&EachProgress) -> ControlFlow<()>,
    ) -> Result<EachProgress> {
        let mut done = EachProgress::new(self.count()?);
        let mut ids = self.ids();
        while !done.finished {
            let timer = Timer::start();
            let (mut batch, mut bytes) = (Vec::new(), 0);
            while batch.len() < SNAPSHOTS_AT_ONCE && bytes < SNAPSHOT_BYTES_AT_ONCE {
                let Some(id) = ids.next().transpose()? else {
                    done.finished = true;
                    break;
                };
                match self.unsaved(&id) {
                    Ok(Some((loaded, state))) => {
                        bytes += state.as_str().len();
                        batch.push((id, loaded, state));
                    }
                    Ok(None) => done.skipped += 1,
                    Err(error) if error.kind() == ErrorKind::Erased => done.skipped += 1,
                    Err(error) => done.failed(&id, &error),
                }
            }
            replay::save_all(&self.scope, &self.fold, &batch, (reason, self.created_by()), timer)
                .map_err(|error| error.during("snapshot all"))?;
            done.succeeded += batch.len() as u64;
            if progress(&done).is_break() {
                break;
            }
        }
        Ok(done)
    }

    /// The content of a snapshot of the last version; `None` if that snapshot exists.
    fn unsaved(&self, id: &str) -> Result<Option<(Loaded<A::State>, crate::Json)>> {
        let Some(loaded) = replay::replay_if_any(&self.scope, &self.fold, id, Until::Now, true)? else { return Ok(None) };
        if loaded.replayed.from_snapshot == Some(loaded.replayed.version) {
            return Ok(None);
        }
        let (state, _) =
            restorable::save(&self.fold, &loaded.replayed.state).map_err(|error| self.of("snapshot all", id, error))?;
        Ok(Some((loaded, state)))
    }
}

/// The states of all aggregates of a type; see [`Aggregates::replay_each`]. Aggregates without events up
/// to the requested time are left out. A failure is an error that names the aggregate, and the next item is the next aggregate. If
/// the list of ids fails, the iterator ends.
#[must_use = "an iterator does nothing until it is asked for the next item"]
pub struct ReplayEach<A: AggregateKind> {
    handle: Aggregates<A>,
    ids: Ids,
    until: Until,
}

impl<A: AggregateKind> ReplayEach<A> {
    /// The states when the log ended at this position.
    pub fn to_position(mut self, position: impl Into<Position>) -> ReplayEach<A> {
        self.until = Until::Position(position.into().get());
        self
    }

    /// The states from the events created at or before a time, as for [`Aggregates::replay_to_time`].
    pub fn to_time(mut self, time: DateTime<Utc>) -> ReplayEach<A> {
        self.until = Until::Time(to_micros(time));
        self
    }

    /// Starts after the aggregate with this id.
    pub fn after(mut self, aggregate_id: impl fmt::Display) -> ReplayEach<A> {
        self.ids = self.ids.after(aggregate_id);
        self
    }

    /// Passes each state to `each`, for instance to fill a table. `progress` is called after each aggregate and can
    /// stop it. An aggregate that fails, in the replay or in `each`, is counted and described, and the rest goes on.
    ///
    /// ```
    /// use std::ops::ControlFlow;
    /// # use foldlog::{Expected, NewEvent, Store};
    /// # let orders = Store::in_memory()?.json_aggregates("order");
    /// # orders.append("o-1", Expected::New, [NewEvent::new("Placed", &())?])?;
    /// let done = orders.replay_each().run(
    ///     |id, order| if order.version > 0 { Ok(()) } else { Err(format!("{id} is empty")) },
    ///     |done| {
    ///         eprintln!("{} of {}", done.succeeded + done.skipped + done.failed, done.total);
    ///         ControlFlow::Continue(())
    ///     },
    /// )?;
    /// assert_eq!((done.succeeded, done.failed), (1, 0));
    /// # Ok::<(), foldlog::Error>(())
    /// ```
    ///
    /// # Errors
    /// If the list of aggregates cannot be read.
    pub fn run<E: fmt::Display>(
        mut self,
        mut each: impl FnMut(&str, &Replayed<A::State>) -> Result<(), E>,
        mut progress: impl FnMut(&EachProgress) -> ControlFlow<()>,
    ) -> Result<EachProgress> {
        let mut done = EachProgress::new(self.handle.count()?);
        while let Some(id) = self.ids.next().transpose()? {
            match self.load(&id) {
                Ok(Some(replayed)) => match self.handle.scope.meter().handle("rebuild", "*", || each(&id, &replayed)) {
                    Ok(()) => done.succeeded += 1,
                    Err(error) => done.failed(&id, &error),
                },
                Ok(None) => done.skipped += 1,
                Err(error) => done.failed(&id, &error),
            }
            if progress(&done).is_break() {
                return Ok(done);
            }
        }
        Ok(EachProgress { finished: true, ..done })
    }

    fn load(&self, id: &str) -> Result<Option<Replayed<A::State>>> {
        let Aggregates { scope, fold, use_snapshots, .. } = &self.handle;
        match replay::replay_if_any(scope, fold, id, self.until, *use_snapshots) {
            // It has no state any more.
            Err(error) if error.kind() == ErrorKind::Erased => Ok(None),
            loaded => Ok(loaded?.map(|loaded| loaded.replayed)),
        }
    }
}

impl<A: AggregateKind> Iterator for ReplayEach<A> {
    type Item = Result<(String, Replayed<A::State>), Error>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            match self.ids.next()? {
                Ok(id) => match self.load(&id) {
                    Ok(Some(replayed)) => return Some(Ok((id, replayed))),
                    Ok(None) => {}
                    Err(error) => return Some(Err(error)),
                },
                Err(error) => return Some(Err(error)),
            }
        }
    }
}

impl<A: AggregateKind> fmt::Debug for ReplayEach<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReplayEach").field("handle", &self.handle).field("until", &self.until).finish_non_exhaustive()
    }
}
