//! Gauges: values that are read from the file, so that they are right whoever changed it.

use crate::error::Result;
use crate::metrics::{self, DEFAULT_VALUES};
use crate::scope::Scope;
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
        let _ = scope.database().read(|view| follow_first(scope, view));
        let _ = refresh(scope);
    } else if meter.is_sample_due() {
        let _ = totals(scope);
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

/// An append has moved an aggregate to this version.
pub(crate) fn appended(scope: &Scope, owner: &Owner, version: u64) {
    let events = version.saturating_sub(owner.removed_through);
    scope.meter().aggregate_holds(owner.aggregate, &owner.aggregate_id, version, events);
}
