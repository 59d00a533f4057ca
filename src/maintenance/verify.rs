//! Verifies snapshots against their events, which only a fold can do; notes results.

use std::ops::ControlFlow;

use crate::log::pages::Ids;
use crate::log::scope::Scope;
use crate::model::clock::from_micros;
use crate::model::damage::{Damage, Found};
use crate::model::error::{Error, ErrorKind, Result};
use crate::model::fold::sealed::Fold;
use crate::model::place::AggregateRef;
use crate::state::{compare, replay};
use crate::storage::verify::{Verified, VerifyProgress, VerifyReport, VerifyStep};

/// Notes in the file what a verification found.
pub(crate) fn note(scope: &Scope, report: &VerifyReport) -> Result<()> {
    if !report.finished {
        return Err(Error::new(ErrorKind::InvalidInput, "the verification was stopped, so its result says nothing of the rest")
            .advice("note a report that is finished"));
    }
    let at = from_micros(scope.options().clock.now_micros())?;
    scope.engine().note_verified(&Verified::new(report, scope.engine().last_position()?, at))
}

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
    report.snapshots += rows.len() as u64;
    let (own, others): (Vec<_>, Vec<_>) = rows.into_iter().partition(|row| row.fold() == replay::fold_id(fold));
    report.snapshots_not_compared += others.len() as u64;
    let (own, damaged): (Vec<_>, Vec<_>) = own.into_iter().partition(|row| row.is_intact);
    let mut wrong: Vec<(u64, String)> =
        damaged.into_iter().map(|row| (row.version, "the snapshot's checksum is wrong".to_owned())).collect();
    let count = own.len() as u64;
    if count > 0 {
        match compare::compare(scope, fold, id, own) {
            Ok(compared) => {
                report.snapshots_not_compared += compared.not_compared;
                wrong.extend(compared.wrong);
            }
            Err(error) if error.kind() == ErrorKind::HistoryRemoved => report.snapshots_not_compared += count,
            Err(error) => {
                report.snapshots_not_compared += count;
                let damage = Damage::new(format!("the events cannot be folded: {}", error.detail())).of(aggregate.clone());
                found.add(error.version().into_iter().fold(damage, |damage, version| damage.at_version(version.get())));
            }
        }
    }
    wrong.sort_unstable_by(|left, right| right.cmp(left));
    wrong.into_iter().for_each(|(version, why)| found.add(diverging(aggregate.clone(), version, &why)));
}

fn diverging(aggregate: AggregateRef, version: u64, what: &str) -> Damage {
    Damage::new(what).of(aggregate).at_version(version).advice(
        "raise the fold version if the fold was changed, and keep everything that later events need in the state's JSON; \
         delete_snapshots removes the snapshot, and the next replay makes a right one",
    )
}
