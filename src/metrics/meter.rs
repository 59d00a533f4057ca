//! The metrics that one store reports.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::facade::{self, Text};
use super::labels::{Bound, LabelBounds, Labels, OTHER};
use super::names;
use crate::model::error::{Error, ErrorKind};

/// While the store is in use, gauges that other processes may have changed are read again at this interval.
const SAMPLE_EVERY: Duration = Duration::from_secs(1);

/// Failures that should wake an operator.
const ALARMING: [ErrorKind; 5] =
    [ErrorKind::Corrupt, ErrorKind::DiskFull, ErrorKind::Io, ErrorKind::OutcomeUnknown, ErrorKind::ReadOnly];

/// A running measurement; off if there is no recorder.
#[derive(Clone, Copy)]
pub(crate) struct Timer(Option<Instant>);

impl Timer {
    pub(crate) fn start() -> Timer {
        Timer(facade::is_live().then(Instant::now))
    }

    /// A timer that measures nothing.
    pub(crate) fn off() -> Timer {
        Timer(None)
    }

    /// The time so far; `None` if there is no recorder.
    pub(crate) fn elapsed(self) -> Option<Duration> {
        self.0.map(|started| started.elapsed())
    }
}

/// What is measured of a replay.
pub(crate) struct Replay<R> {
    pub(crate) events_folded: u64,
    pub(crate) found_snapshot: bool,
    /// Why snapshots were rejected.
    pub(crate) rejected: R,
}

/// What one store must remember of its reports.
pub(crate) struct Meter {
    event_types: Labels,
    tenants: Labels,
    // Each metric has its own set of first values: aggregates with conflicts are rarely those that were used first.
    conflicts: Labels,
    handlers: Labels,
    aggregates: Bound,
    followed: Mutex<Followed>,
    born: Instant,
    // Milliseconds after `born` at which the gauges are due again.
    due_at_millis: AtomicU64,
    introduced: AtomicBool,
}

/// The aggregates whose number of events is reported as a gauge.
#[derive(Default)]
struct Followed {
    // By aggregate id. The label shows neither type nor tenant, so aggregates of the same id count together.
    by_id: HashMap<Arc<str>, SameId>,
    count: usize,
}

/// The aggregates of the same id.
struct SameId {
    label: Arc<str>,
    holdings: Vec<Holding>,
}

#[derive(Clone, Copy)]
struct Holding {
    /// The aggregate's number in the file.
    aggregate: i64,
    version: u64,
    events: u64,
}

impl Meter {
    pub(crate) fn new(bounds: LabelBounds) -> Meter {
        Meter {
            event_types: Labels::new(bounds.event_types),
            tenants: Labels::new(bounds.tenants),
            conflicts: Labels::new(bounds.aggregates),
            handlers: Labels::new(Bound::AtMost(super::DEFAULT_VALUES)),
            aggregates: bounds.aggregates,
            followed: Mutex::default(),
            born: Instant::now(),
            due_at_millis: AtomicU64::new(0),
            introduced: AtomicBool::new(false),
        }
    }

    pub(crate) fn is_live(&self) -> bool {
        facade::is_live()
    }

    /// Returns true once, for the call that first finds a recorder.
    pub(crate) fn is_first_contact(&self) -> bool {
        !self.introduced.load(Ordering::Relaxed) && !self.introduced.swap(true, Ordering::Relaxed)
    }

    /// Reports counters with fixed labels as zero. `rate()` misses the first step of a counter that begins at one, and
    /// the first damaged page must not be missed.
    pub(crate) fn show_zeros(&self) {
        facade::count(names::CONFLICTS, [("aggregate_id", OTHER.into())], 0);
        for (success, allowed) in [(true, true), (true, false), (false, true), (false, false)] {
            facade::count(names::REPLAYS, [("success", bool_label(success)), ("use_snapshot", bool_label(allowed))], 0);
        }
        for reason in ["manual", "scheduled", "threshold"] {
            facade::count(names::SNAPSHOTS_CREATED, [("reason", reason.into())], 0);
        }
        for result in ["hit", "miss"] {
            facade::count(names::SNAPSHOT_LOOKUPS, [("result", result.into())], 0);
        }
        for reason in ["damaged", "not_restorable", "other_fold", "other_upcasters", "undecodable"] {
            facade::count(names::SNAPSHOTS_REJECTED, [("reason", reason.into())], 0);
        }
        for operation in ["append", "checkpoint", "replay", "snapshot"] {
            for kind in ALARMING {
                facade::count(names::ERRORS, [("operation", operation.into()), ("kind", kind.as_str().into())], 0);
            }
        }
        facade::count(names::BUSY_WAITS, [], 0);
        facade::count(names::BUSY_TIMEOUTS, [], 0);
    }

    /// Whether the gauges should be read again; true for one caller a second.
    pub(crate) fn is_sample_due(&self) -> bool {
        let now = u64::try_from(self.born.elapsed().as_millis()).unwrap_or(u64::MAX);
        let due_at = self.due_at_millis.load(Ordering::Relaxed);
        let next = now.saturating_add(SAMPLE_EVERY.as_millis() as u64);
        now >= due_at && self.due_at_millis.compare_exchange(due_at, next, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }

    /// Reports a committed append of these event types.
    pub(crate) fn appended<'a>(&self, timer: Timer, tenant: &str, mut event_types: impl Iterator<Item = &'a str>) {
        let (Some(took), Some(first)) = (timer.elapsed(), event_types.next()) else { return };
        // Events are counted first, so that a batch of a thousand events of one type is one call to the recorder. The
        // usual append has one type and needs no map.
        let (mut of_first, mut of_others, mut events) = (1, BTreeMap::new(), 1);
        for event_type in event_types {
            *(if event_type == first { &mut of_first } else { of_others.entry(event_type).or_insert(0) }) += 1;
            events += 1;
        }
        let tenant = self.tenants.admit(tenant);
        for (event_type, count) in std::iter::once((first, of_first)).chain(of_others) {
            let event_type = self.event_types.admit(event_type);
            facade::observe(names::SAVE_DURATION, [("event_type", event_type.clone())], took.as_secs_f64());
            facade::count(names::EVENTS, [("event_type", event_type), ("tenant_id", tenant.clone())], count);
        }
        facade::observe(names::BATCH_EVENTS, [], f64::from(events));
    }

    /// Reports a failed call.
    pub(crate) fn failed(&self, operation: &'static str, error: &Error) {
        if !facade::is_live() || error.kind() == ErrorKind::NotFound {
            return;
        }
        if error.kind() == ErrorKind::Conflict {
            let aggregate = error.aggregate().map_or("", |aggregate| &aggregate.aggregate_id);
            facade::count(names::CONFLICTS, [("aggregate_id", self.conflicts.admit(aggregate))], 1);
            return;
        }
        facade::count(names::ERRORS, [("operation", operation.into()), ("kind", error.kind().as_str().into())], 1);
    }

    /// Reports a replay, successful or not.
    pub(crate) fn replayed<R>(&self, timer: Timer, use_snapshots: bool, outcome: Result<Replay<R>, &Error>)
    where
        R: Iterator<Item = &'static str>,
    {
        let Some(took) = timer.elapsed() else { return };
        let allowed = bool_label(use_snapshots);
        facade::count(names::REPLAYS, [("success", bool_label(outcome.is_ok())), ("use_snapshot", allowed.clone())], 1);
        let class = names::event_count_class(outcome.as_ref().map_or(0, |replay| replay.events_folded));
        facade::observe(names::REPLAY_DURATION, [("use_snapshot", allowed), ("event_count", class.into())], took.as_secs_f64());
        match outcome {
            Ok(replay) => {
                if use_snapshots {
                    let result = if replay.found_snapshot { "hit" } else { "miss" };
                    facade::count(names::SNAPSHOT_LOOKUPS, [("result", result.into())], 1);
                }
                replay.rejected.for_each(|reason| self.snapshot_rejected(reason));
            }
            Err(error) => self.failed("replay", error),
        }
    }

    /// Reports a snapshot that could not be used, or not be made.
    pub(crate) fn snapshot_rejected(&self, reason: &'static str) {
        facade::count(names::SNAPSHOTS_REJECTED, [("reason", reason.into())], 1);
    }

    /// Reports a snapshot that was saved.
    pub(crate) fn snapshot_made(&self, took: Option<Duration>, reason: &'static str) {
        let Some(took) = took else { return };
        facade::count(names::SNAPSHOTS_CREATED, [("reason", reason.into())], 1);
        facade::observe(names::SNAPSHOT_DURATION, [("reason", reason.into())], took.as_secs_f64());
    }

    /// Runs and measures a handler on an event of this type.
    pub(crate) fn handle<T>(&self, handler: &str, event_type: &str, work: impl FnOnce() -> T) -> T {
        let timer = Timer::start();
        let done = work();
        if let Some(took) = timer.elapsed() {
            let labels = [("handler_name", self.handlers.admit(handler)), ("event_type", self.event_types.admit(event_type))];
            facade::observe(names::HANDLER_DURATION, labels, took.as_secs_f64());
        }
        done
    }

    /// Reports how many positions a subscription, projection or outbox has still to read.
    pub(crate) fn lags(&self, subscription: &str, positions: u64) {
        facade::set(names::LAG, [("subscription", self.handlers.admit(subscription))], positions as f64);
    }

    /// Reports how many events an aggregate has at this version.
    pub(crate) fn aggregate_holds(&self, aggregate: i64, aggregate_id: &str, version: u64, events: u64) {
        let holding = Holding { aggregate, version, events };
        // Reported under the lock, so that the older of two threads' values is not reported last.
        let mut followed = self.followed.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((label, events)) = followed.take(self.aggregates, aggregate_id, holding) {
            facade::set(names::EVENTS_BY_AGGREGATE, [("aggregate_id", label)], events as f64);
        }
    }

    /// The followed aggregates, by number and id.
    pub(crate) fn followed(&self) -> Vec<(i64, Arc<str>)> {
        let followed = self.followed.lock().unwrap_or_else(PoisonError::into_inner);
        let same_ids = followed.by_id.values();
        same_ids.flat_map(|same| same.holdings.iter().map(|holding| (holding.aggregate, same.label.clone()))).collect()
    }

    pub(crate) fn aggregate_bound(&self) -> Bound {
        self.aggregates
    }
}

impl Followed {
    /// Records a value. Returns the label and its new value, unless the aggregate is beyond the bound or the value is
    /// outdated.
    fn take(&mut self, bound: Bound, aggregate_id: &str, new: Holding) -> Option<(Text, u64)> {
        let has_room = bound.limit().is_none_or(|limit| self.count < limit);
        let same_id = match self.by_id.get_mut(aggregate_id) {
            Some(same_id) => same_id,
            None if has_room => {
                let label: Arc<str> = aggregate_id.into();
                self.by_id.entry(label.clone()).or_insert(SameId { label, holdings: Vec::with_capacity(1) })
            }
            None => return None,
        };
        match same_id.holdings.iter_mut().find(|holding| holding.aggregate == new.aggregate) {
            Some(known) if known.version > new.version => return None,
            Some(known) => *known = new,
            None if has_room => {
                same_id.holdings.push(new);
                self.count += 1;
            }
            None => return None,
        }
        Some((facade::shared(same_id.label.clone()), same_id.holdings.iter().map(|holding| holding.events).sum()))
    }
}

fn bool_label(value: bool) -> Text {
    if value { "true".into() } else { "false".into() }
}
