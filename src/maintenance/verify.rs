//! Verifies snapshots against their events, which only a fold can do.

use std::ops::ControlFlow;

use crate::log::pages::Ids;
use crate::log::scope::Scope;
use crate::model::damage::{Damage, Found};
use crate::model::error::{ErrorKind, Result};
use crate::model::fold::sealed::Fold;
use crate::model::place::AggregateRef;
use crate::state::replay;
use crate::storage::load::Until;
use crate::storage::verify::{VerifyProgress, VerifyReport, VerifyStep};

/// Compares a fold's snapshots with replays from the first event.
pub(crate) fn verify_snapshots<F: Fold>(
    scope: &Scope,
    fold: &F,
    progress: &mut dyn FnMut(VerifyProgress) -> ControlFlow<()>,
) -> Result<VerifyReport> {
    let mut report = VerifyReport { finished: true, ..VerifyReport::default() };
    let mut found = Found::default();
    let total = scope.engine().count_aggregates(&scope.tenant, fold.aggregate_type())?;
    for id in Ids::new(scope.clone(), fold.aggregate_type()) {
        report.aggregates += 1;
        compare(scope, fold, &id?, &mut report, &mut found);
        let reached = VerifyProgress::new(VerifyStep::Snapshots, report.aggregates, total, found.count);
        report.finished &= progress(reached).is_continue();
        if !report.finished {
            break;
        }
    }
    report.damage_count = found.count;
    report.damages = found.damages;
    Ok(report)
}

fn compare<F: Fold>(scope: &Scope, fold: &F, id: &str, report: &mut VerifyReport, found: &mut Found) {
    let aggregate = scope.aggregate(fold.aggregate_type(), id);
    let rows = match scope.engine().snapshots(&scope.tenant, fold.aggregate_type(), id) {
        Ok(rows) => rows,
        Err(error) => return found.add(Damage::new(error.detail()).of(aggregate)),
    };
    for row in rows {
        report.snapshots += 1;
        if row.fold() != replay::fold_id(fold) {
            report.snapshots_not_compared += 1;
            continue;
        }
        match replayed_equally(scope, fold, id, row.version, &row.state) {
            Ok(true) => {}
            Ok(false) => {
                found.add(diverging(aggregate.clone(), row.version, "the snapshot is not what a replay of the events gives"))
            }
            Err(error) if error.kind() == ErrorKind::HistoryRemoved => report.snapshots_not_compared += 1,
            Err(error) => found.add(diverging(aggregate.clone(), row.version, error.detail())),
        }
    }
}

fn diverging(aggregate: AggregateRef, version: u64, what: &str) -> Damage {
    Damage::new(what).of(aggregate).at_version(version).advice(
        "raise the fold version if the fold was changed; delete_snapshots removes it, and the next replay makes a right one",
    )
}

/// Compares JSON values, because a map in the state may be written in another order each time.
fn replayed_equally<F: Fold>(scope: &Scope, fold: &F, id: &str, version: u64, stored: &str) -> Result<bool> {
    let loaded = replay::replay(scope, fold, id, Until::Version(version), false)?;
    let folded = fold.save(&loaded.replayed.state)?.to_value()?;
    Ok(serde_json::from_str::<serde_json::Value>(stored).is_ok_and(|stored| stored == folded))
}
