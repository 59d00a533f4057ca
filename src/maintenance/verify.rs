//! Verifying: is everything in the file as the library left it?

use crate::log::scope::Scope;
use crate::model::damage::{Damage, Found};
use crate::model::error::{ErrorKind, Result};
use crate::model::fold::sealed::Fold;
use crate::model::place::AggregateRef;
use crate::sqlite::verify::{
    self as checks, DeliveriesCursor, EventsCursor, IdsCursor, LinksCursor, NamesOf, PositionsCursor, RowsCursor, TagsCursor,
};
use crate::sqlite::{Anew, View, aggregates, snapshots};
use crate::state::replay::{self, Until};

/// Unreadable stretches in a row that a check passes over before it gives up on the rest of a table: the stretches
/// double in length, so that it gets past any that a table can have.
const STRETCHES: u32 = 62;
/// Aggregates looked up in one read transaction.
const AGGREGATES_AT_ONCE: usize = 256;

/// A part of the verification.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum VerifyStep {
    /// The file's pages, by SQLite's own check.
    Structure,
    /// The counters that the log keeps.
    Totals,
    /// The names of tenants, aggregate types, event types and replicas.
    Names,
    /// The aggregates, against their events and their names.
    Aggregates,
    /// Every event, with its checksum.
    Events,
    /// The positions, in order.
    Positions,
    /// The event ids, in order.
    Ids,
    /// The index of tags.
    Tags,
    /// The summaries by which queries pass over parts of the log.
    Summaries,
    /// Every snapshot, with its checksum; or, in `verify_snapshots`, against a replay.
    Snapshots,
    /// The subscriptions: their checkpoints, with their checksums.
    Subscriptions,
    /// The deliveries of outboxes, with their checksums and indexes.
    Deliveries,
}

/// How far a verification has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct VerifyProgress {
    /// What is looked at.
    pub step: VerifyStep,
    /// Rows looked at in this step.
    pub done: u64,
    /// Rows of this step when it began; 0 where that is not known beforehand.
    pub total: u64,
    /// Damages found so far, in all steps.
    pub damages: u64,
}

/// What a verification found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct VerifyReport {
    /// Events that were looked at.
    pub events: u64,
    /// Aggregates that were looked at.
    pub aggregates: u64,
    /// Snapshots that were looked at.
    pub snapshots: u64,
    /// Of those, snapshots that could not be compared: another fold made them, or the events that they stand in for
    /// were removed. Only of [`Aggregates::verify_snapshots`](crate::Aggregates::verify_snapshots).
    pub snapshots_not_compared: u64,
    /// Damages that were found.
    pub damage_count: u64,
    /// What they are; the first 1,000.
    pub damages: Vec<Damage>,
}

impl VerifyReport {
    /// Whether nothing is wrong.
    pub fn is_clean(&self) -> bool {
        self.damage_count == 0
    }
}

/// Checks the whole file, of all tenants.
pub(crate) fn verify(scope: &Scope, progress: &mut dyn FnMut(VerifyProgress)) -> Result<VerifyReport> {
    let mut walk = Walk { anew: scope.database().anew()?, found: Found::default(), progress };
    let (events, aggregates, snapshots) = walk.anew.read(|view| Ok(checks::sizes(view))).unwrap_or_default();
    walk.once(VerifyStep::Structure, checks::structure);
    walk.once(VerifyStep::Totals, checks::totals);
    for of in &NamesOf::ALL {
        walk.rows(VerifyStep::Names, 0, |view, cursor, found| checks::names(view, of, cursor, found));
    }
    walk.links(VerifyStep::Names, checks::aggregate_names);
    let mut report = VerifyReport {
        aggregates: walk.rows(VerifyStep::Aggregates, aggregates, checks::all_aggregates),
        ..VerifyReport::default()
    };
    let mut cursor = EventsCursor::default();
    walk.pages(VerifyStep::Events, events, &mut cursor, checks::events, |cursor| &mut cursor.key, |cursor| cursor.rows);
    report.events = cursor.rows;
    let mut cursor = PositionsCursor::default();
    let rows = |cursor: &PositionsCursor| cursor.position.cast_unsigned();
    walk.pages(VerifyStep::Positions, events, &mut cursor, checks::positions, |cursor| &mut cursor.position, rows);
    let mut cursor = IdsCursor::default();
    walk.until_an_error(VerifyStep::Ids, |view, found| checks::ids(view, &mut cursor, found));
    walk.tags();
    walk.links(VerifyStep::Tags, checks::tag_links);
    walk.rows(VerifyStep::Summaries, 0, checks::summaries);
    report.snapshots = walk.rows(VerifyStep::Snapshots, snapshots, checks::all_snapshots);
    walk.once(VerifyStep::Subscriptions, checks::all_subscriptions);
    let mut cursor = DeliveriesCursor::default();
    walk.until_an_error(VerifyStep::Deliveries, |view, found| checks::all_deliveries(view, &mut cursor, found));
    report.damage_count = walk.found.count;
    report.damages = walk.found.damages;
    Ok(report)
}

/// Walks through tables. An error ends a page, never the verification.
struct Walk<'p> {
    anew: Anew,
    found: Found,
    progress: &'p mut dyn FnMut(VerifyProgress),
}

impl Walk<'_> {
    fn say(&mut self, step: VerifyStep, done: u64, total: u64) {
        (self.progress)(VerifyProgress { step, done, total, damages: self.found.count });
    }

    fn once(&mut self, step: VerifyStep, check: impl FnOnce(&View<'_>, &mut Found) -> Result<()>) {
        self.say(step, 0, 1);
        let Walk { anew, found, .. } = self;
        if let Err(error) = anew.read(|view| check(view, found)) {
            self.found.add(checks::damage_of(&error));
        }
        self.say(step, 1, 1);
    }

    fn rows(
        &mut self,
        step: VerifyStep,
        total: u64,
        page: impl FnMut(&View<'_>, &mut RowsCursor, &mut Found) -> Result<bool>,
    ) -> u64 {
        let mut cursor = RowsCursor::default();
        self.pages(step, total, &mut cursor, page, |cursor| &mut cursor.id, |cursor| cursor.rows);
        cursor.rows
    }

    /// Page after page; what cannot be read is said once and passed over.
    fn pages<C>(
        &mut self,
        step: VerifyStep,
        total: u64,
        cursor: &mut C,
        mut page: impl FnMut(&View<'_>, &mut C, &mut Found) -> Result<bool>,
        place: impl Fn(&mut C) -> &mut i64,
        rows: impl Fn(&C) -> u64,
    ) {
        let mut stretch = 0;
        loop {
            let before = *place(cursor);
            let Walk { anew, found, .. } = self;
            let outcome = anew.read(|view| page(view, cursor, found));
            self.say(step, rows(cursor), total);
            match outcome {
                Ok(true) => stretch = 0,
                Ok(false) => return,
                Err(error) => {
                    let moved = *place(cursor) != before;
                    if moved || stretch == 0 {
                        stretch = 0;
                        self.found.add(checks::damage_of(&error));
                    }
                    if stretch > STRETCHES {
                        return;
                    }
                    *place(cursor) = place(cursor).saturating_add(1 << stretch);
                    stretch += 1;
                }
            }
        }
    }

    fn tags(&mut self) {
        let mut cursor = TagsCursor::default();
        self.until_an_error(VerifyStep::Tags, |view, found| checks::tags(view, &mut cursor, found));
    }

    fn links(&mut self, step: VerifyStep, page: impl Fn(&View<'_>, &mut LinksCursor, &mut Found) -> Result<bool>) {
        let mut cursor = LinksCursor::default();
        self.until_an_error(step, |view, found| page(view, &mut cursor, found));
    }

    fn until_an_error(&mut self, step: VerifyStep, mut page: impl FnMut(&View<'_>, &mut Found) -> Result<bool>) {
        loop {
            let Walk { anew, found, .. } = self;
            let outcome = anew.read(|view| page(view, found));
            self.say(step, 0, 0);
            match outcome {
                Ok(true) => {}
                Ok(false) => return,
                Err(error) => return self.found.add(checks::damage_of(&error)),
            }
        }
    }
}

/// Compares the snapshots of a fold with what a replay from the first event gives.
pub(crate) fn verify_snapshots<F: Fold>(
    scope: &Scope,
    fold: &F,
    progress: &mut dyn FnMut(VerifyProgress),
) -> Result<VerifyReport> {
    let mut report = VerifyReport::default();
    let mut found = Found::default();
    let kind = scope.database().read(|view| view.aggregate_type(&scope.tenant, fold.aggregate_type()))?;
    let Some(kind) = kind else { return Ok(report) };
    let total = scope.database().read(|view| aggregates::count(view, kind.id))?;
    let mut after: Option<String> = None;
    loop {
        let page = scope.database().read(|view| aggregates::page(view, kind.id, after.as_deref(), AGGREGATES_AT_ONCE))?;
        for (id, row) in &page {
            report.aggregates += 1;
            compare(scope, fold, id, row.id, &mut report, &mut found);
            progress(VerifyProgress { step: VerifyStep::Snapshots, done: report.aggregates, total, damages: found.count });
        }
        if page.len() < AGGREGATES_AT_ONCE {
            report.damage_count = found.count;
            report.damages = found.damages;
            return Ok(report);
        }
        after = page.into_iter().next_back().map(|(id, _)| id);
    }
}

fn compare<F: Fold>(scope: &Scope, fold: &F, id: &str, number: i64, report: &mut VerifyReport, found: &mut Found) {
    let aggregate = scope.aggregate(fold.aggregate_type(), id);
    let rows = match scope.database().read(|view| snapshots::all(view, number)) {
        Ok(rows) => rows,
        Err(error) => return found.add(checks::damage_of(&error).of(aggregate)),
    };
    for row in rows {
        report.snapshots += 1;
        if row.fold_name != fold.name() || row.fold_version != fold.version() {
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

/// As JSON values: a map in the state may be written in another order each time.
fn replayed_equally<F: Fold>(scope: &Scope, fold: &F, id: &str, version: u64, stored: &str) -> Result<bool> {
    let loaded = replay::replay(scope, fold, id, Until::Version(version), false)?;
    let folded = fold.save(&loaded.replayed.state)?.to_value()?;
    Ok(serde_json::from_str::<serde_json::Value>(stored).is_ok_and(|stored| stored == folded))
}
