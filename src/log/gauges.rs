//! Gauges: values that are read from the file, so that they are right whoever changed it.

use std::sync::{Arc, Mutex, Weak};

use crate::log::scope::{Log, Scope};
use crate::metrics::{self, DEFAULT_VALUES, Timer};
use crate::model::error::Result;
#[cfg(feature = "prometheus")]
use crate::model::place::DEFAULT_TENANT;
use crate::storage::append::Touched;
use crate::sync;

/// Called when a store is opened and after each of its calls: introduces the store to a recorder that it meets for the
/// first time, and reads once a second what other processes may have changed. Costs nothing while nobody listens.
///
/// An error is of no interest here: the call itself succeeded, and the next sample says the same or better.
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

/// The stores that an exporter asks before it shows their gauges.
static OPEN: Mutex<Vec<Weak<Log>>> = Mutex::new(Vec::new());

/// A store was opened.
pub(crate) fn opened(scope: &Scope) {
    if cfg!(feature = "prometheus") {
        let mut open = sync::lock(&OPEN);
        open.retain(|log| log.strong_count() > 0);
        open.push(Arc::downgrade(&scope.log));
    }
    sample(scope);
}

/// Reads every gauge of every open store anew.
#[cfg(feature = "prometheus")]
pub(crate) fn refresh_all() {
    let open: Vec<Arc<Log>> = sync::lock(&OPEN).iter().filter_map(Weak::upgrade).collect();
    for log in open {
        // A file that cannot be read now keeps the figures that it had.
        let _ = refresh(&Scope { log, tenant: DEFAULT_TENANT.into() });
    }
}

/// Reads every gauge anew. As many look-ups as aggregates are followed, at most the label's bound; no scan.
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
    let facts = scope.engine().facts()?;
    metrics::snapshots_in_file(facts.snapshots);
    metrics::file_bytes(facts.size_bytes);
    metrics::wal_bytes(scope.engine().wal_bytes());
    Ok(())
}

/// Follows every aggregate from the start if there is room for all of them. In a larger file the label belongs to those
/// that are in use, not to the oldest.
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

/// Reports what an append committed: its event types, and the version of each aggregate. A repeated append has touched none
/// and is not counted again.
pub(crate) fn appended<'a>(scope: &Scope, timer: Timer, event_types: impl Iterator<Item = &'a str>, touched: &[Touched]) {
    if touched.is_empty() || !scope.meter().is_live() {
        return;
    }
    scope.meter().appended(timer, &scope.tenant, event_types);
    for aggregate in touched {
        scope.meter().aggregate_holds(aggregate.number, &aggregate.aggregate_id, aggregate.version, aggregate.held);
    }
    sample(scope);
}
