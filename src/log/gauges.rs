//! Gauges: values read from the file, so that they are right whoever changed it.

use std::sync::{Arc, Mutex, Weak};

use crate::log::scope::{Log, Scope};
use crate::metrics::{self, DEFAULT_VALUES, Timer};
use crate::model::error::Result;
#[cfg(feature = "prometheus")]
use crate::model::place::DEFAULT_TENANT;
use crate::storage::lookup::Held;
use crate::sync;

/// Called when a store is opened and after each of its calls. Introduces the store to a recorder that it has not met
/// yet, and reads once a second what other processes may have changed. Costs nothing if there is no recorder.
///
/// Errors are ignored: the call itself succeeded, and the next sample reports the same values or better ones.
pub(crate) fn sample(scope: &Scope) {
    let meter = scope.meter();
    if !meter.is_live() {
        return;
    }
    if meter.is_first_contact() {
        metrics::describe();
        meter.show_zeros();
        let _ = follow_first(scope);
        let _ = refresh(scope);
    } else if meter.is_sample_due() {
        let _ = totals(scope);
    }
}

/// The stores whose gauges an exporter refreshes before it shows them.
static OPEN: Mutex<Vec<Weak<Log>>> = Mutex::new(Vec::new());

/// Registers an opened store.
pub(crate) fn opened(scope: &Scope) {
    if cfg!(feature = "prometheus") {
        let mut open = sync::lock(&OPEN);
        open.retain(|log| log.strong_count() > 0);
        open.push(Arc::downgrade(&scope.log));
    }
    sample(scope);
}

/// Refreshes all gauges of all open stores.
#[cfg(feature = "prometheus")]
pub(crate) fn refresh_all() {
    let open: Vec<Arc<Log>> = sync::lock(&OPEN).iter().filter_map(Weak::upgrade).collect();
    for log in open {
        // A file that cannot be read now keeps its last values.
        let _ = refresh(&Scope { log, tenant: DEFAULT_TENANT.into() });
    }
}

/// Refreshes all gauges. One look-up for each followed aggregate, at most the label's limit; no scan.
pub(crate) fn refresh(scope: &Scope) -> Result<()> {
    if !scope.meter().is_live() {
        return Ok(());
    }
    totals(scope)?;
    for held in scope.engine().held(scope.meter().followed())? {
        scope.meter().aggregate_holds(held.number, &held.aggregate_id, held.version, held.held);
    }
    Ok(())
}

fn totals(scope: &Scope) -> Result<()> {
    let facts = scope.engine().file_statistics()?;
    metrics::snapshots_in_file(facts.snapshots);
    metrics::file_bytes(facts.size_bytes);
    metrics::wal_bytes(scope.engine().wal_bytes());
    Ok(())
}

/// Follows all aggregates from the start if there is room for them. In a larger file the label is for the aggregates in
/// use, not for the oldest.
fn follow_first(scope: &Scope) -> Result<()> {
    let most = scope.meter().aggregate_bound().limit().unwrap_or(DEFAULT_VALUES);
    let aggregates = scope.engine().first_aggregates(most.saturating_add(1))?;
    if aggregates.len() <= most {
        for held in aggregates {
            scope.meter().aggregate_holds(held.number, &held.aggregate_id, held.version, held.held);
        }
    }
    Ok(())
}

/// Reports a committed append: its event types, and the version of each aggregate. A repeated append changed none and
/// is not counted again.
pub(crate) fn appended<'a>(scope: &Scope, timer: Timer, event_types: impl Iterator<Item = &'a str>, touched: &[Held]) {
    if touched.is_empty() || !scope.meter().is_live() {
        return;
    }
    scope.meter().appended(timer, &scope.tenant, event_types);
    for aggregate in touched {
        scope.meter().aggregate_holds(aggregate.number, &aggregate.aggregate_id, aggregate.version, aggregate.held);
    }
    sample(scope);
}
