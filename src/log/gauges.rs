//! Gauges: values that are read from the file, so that they are right whoever changed it.

use std::sync::{Arc, Mutex, PoisonError, Weak};

use crate::log::scope::{Log, Scope};
use crate::metrics::{self, DEFAULT_VALUES, Timer};
use crate::model::error::Result;
#[cfg(feature = "prometheus")]
use crate::model::place::DEFAULT_TENANT;
use crate::model::place::Version;
use crate::sqlite::events::Owner;
use crate::sqlite::{View, aggregates, state};

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
        let _ = scope.database().read(|view| follow_first(scope, view));
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
        let mut open = OPEN.lock().unwrap_or_else(PoisonError::into_inner);
        open.retain(|log| log.strong_count() > 0);
        open.push(Arc::downgrade(&scope.log));
    }
    sample(scope);
}

/// Reads every gauge of every open store anew.
#[cfg(feature = "prometheus")]
pub(crate) fn refresh_all() {
    let open: Vec<Arc<Log>> = OPEN.lock().unwrap_or_else(PoisonError::into_inner).iter().filter_map(Weak::upgrade).collect();
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
    scope.database().read(|view| {
        for (number, aggregate_id) in scope.meter().followed() {
            let (_, _, row) = aggregates::by_number(view, number)?;
            let held = row.version.saturating_sub(row.removed_through());
            scope.meter().aggregate_holds(number, &aggregate_id, row.version, held);
        }
        Ok(())
    })
}

fn totals(scope: &Scope) -> Result<()> {
    let (snapshots, bytes) = scope.database().read(|view| Ok((state::totals(view)?.snapshots, state::size_bytes(view)?)))?;
    metrics::snapshots_in_file(snapshots);
    metrics::file_bytes(bytes);
    metrics::wal_bytes(scope.database().wal_bytes());
    Ok(())
}

/// Follows every aggregate from the start if there is room for all of them. In a larger file the label belongs to those
/// that are in use, not to the oldest.
fn follow_first(scope: &Scope, view: &View<'_>) -> Result<()> {
    let most = scope.meter().aggregate_bound().limit().unwrap_or(DEFAULT_VALUES);
    let rows = aggregates::page_of_all(view, 0, most.saturating_add(1))?;
    if rows.len() <= most {
        for (_, aggregate_id, row) in rows {
            let events = row.version.saturating_sub(row.removed_through());
            scope.meter().aggregate_holds(row.id, &aggregate_id, row.version, events);
        }
    }
    Ok(())
}

/// Reports what an append committed: its event types, and the version of each aggregate. Events that were in the log already
/// have no owners and are not counted again.
pub(crate) fn appended<'a>(
    scope: &Scope,
    timer: Timer,
    event_types: impl Iterator<Item = &'a str>,
    versions: impl ExactSizeIterator<Item = (&'a Owner, Version)>,
) {
    if versions.len() == 0 || !scope.meter().is_live() {
        return;
    }
    scope.meter().appended(timer, &scope.tenant, event_types);
    for (owner, version) in versions {
        let events = version.get().saturating_sub(owner.removed_through);
        scope.meter().aggregate_holds(owner.aggregate, &owner.aggregate_id, version.get(), events);
    }
    sample(scope);
}
