//! Erasure: takes an aggregate, or fields of events, out of the store for good.

use std::collections::BTreeSet;
use std::fmt;
use std::ops::ControlFlow;

use serde::Serialize;

use super::archive;
use crate::log::scope::Scope;
use crate::model::error::{Error, ErrorKind, Result};
use crate::model::filter::Filter;
use crate::model::json::Json;
use crate::model::place::AggregateRef;
use crate::storage::erasure::{EraseOrder, ErasedPart, Fields, ProjectionToRebuild};
use crate::storage::scan::{ScanCursor, Selection};

/// Events that one transaction looks at, so that none holds the write lock for long.
const EVENTS_AT_ONCE: u64 = 1_024;
/// Events read at a time to find the aggregates of a filter.
const FOUND_AT_ONCE: usize = 1_024;

/// What to erase. Nothing happens until it is passed to [`Maintenance::erase`](crate::Maintenance::erase).
///
/// ```
/// use foldlog::{Erase, ErrorKind, Expected, NewEvent, Store};
/// use serde_json::json;
///
/// let store = Store::in_memory()?;
/// let users = store.json_aggregates("user");
/// for id in ["u-1", "u-2"] {
///     users.append(id, Expected::New, [NewEvent::new("Registered", &json!({"email": "ada@example.org", "plan": "free"}))?])?;
/// }
///
/// // One field of one user's events; versions, positions and all the rest stay.
/// let report = store.maintenance().erase(Erase::fields_of("user", "u-1").field("/email").by("operator-7"))?;
/// assert_eq!(report.events, 1);
/// assert_eq!(users.replay("u-1")?.state, json!({"email": "", "plan": "free"}));
///
/// // Everything about another one.
/// store.maintenance().erase(Erase::aggregate("user", "u-2").reason("asked for on 2026-11-02"))?;
/// assert_eq!(users.replay("u-2").unwrap_err().kind(), ErrorKind::Erased);
/// assert_eq!(store.erasures(0)?.len(), 2);
/// # Ok::<(), foldlog::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Erase {
    what: What,
    fields: Fields,
    erased_by: Option<String>,
    reason: Option<String>,
    break_replay: bool,
    wipe: bool,
    dry_run: bool,
}

#[derive(Clone, Debug)]
enum What {
    Aggregate(String, String),
    FieldsOf(String, String),
    FieldsWhere(Box<Filter>),
}

impl Erase {
    fn new(what: What) -> Erase {
        Erase { what, fields: Fields::default(), erased_by: None, reason: None, break_replay: false, wipe: true, dry_run: false }
    }

    /// Erases everything about an aggregate but its name: events, with their ids and tags, snapshots, deliveries, texts of
    /// errors. Nobody can load it or append to it afterwards: [`ErrorKind::Erased`]. The positions of its events stay unused.
    pub fn aggregate(aggregate_type: impl Into<String>, aggregate_id: impl fmt::Display) -> Erase {
        Erase::new(What::Aggregate(aggregate_type.into(), aggregate_id.to_string()))
    }

    /// Erases fields of all events of an aggregate. Name them with [`field`](Erase::field),
    /// [`metadata_field`](Erase::metadata_field) and [`tag`](Erase::tag).
    pub fn fields_of(aggregate_type: impl Into<String>, aggregate_id: impl fmt::Display) -> Erase {
        Erase::new(What::FieldsOf(aggregate_type.into(), aggregate_id.to_string()))
    }

    /// As [`Erase::fields_of`], of the events that match a filter. Of their aggregates all snapshots are deleted. Event types
    /// are those under which the events are stored.
    pub fn fields_where(filter: Filter) -> Erase {
        Erase::new(What::FieldsWhere(Box::new(filter)))
    }

    /// A field of the data as it is stored, before upcasters, as a JSON pointer such as `/address/street`; `*` stands for every
    /// element of an array. An empty value of its kind takes its place (`""`, `0`, `false`, `[]`, `{}`), so that the events still have their shape.
    pub fn field(mut self, pointer: impl Into<String>) -> Erase {
        self.fields.data.push((pointer.into(), None));
        self
    }

    /// As [`Erase::field`], with a value of your own in its place.
    pub fn field_as(mut self, pointer: impl Into<String>, value: impl Into<serde_json::Value>) -> Erase {
        let value = value.into();
        self.fields.data.push((pointer.into(), Some(Json::stored(value.to_string()))));
        self
    }

    /// A field of the metadata, as a JSON pointer such as `/ipAddress`.
    pub fn metadata_field(mut self, pointer: impl Into<String>) -> Erase {
        self.fields.metadata.push(pointer.into());
        self
    }

    /// A tag. Afterwards no query finds the events by it.
    pub fn tag(mut self, tag: impl Into<String>) -> Erase {
        self.fields.tags.push(tag.into());
        self
    }

    /// Who asked for it; kept in the record.
    pub fn by(mut self, whom: impl Into<String>) -> Erase {
        self.erased_by = Some(whom.into());
        self
    }

    /// Why; kept in the record.
    pub fn reason(mut self, reason: impl Into<String>) -> Erase {
        self.reason = Some(reason.into());
        self
    }

    /// Also erases fields of an aggregate whose first events were purged. Its snapshots are deleted, because they may hold the
    /// fields, so it can no longer be replayed.
    pub fn even_if_replay_breaks(mut self) -> Erase {
        self.break_replay = true;
        self
    }

    /// Leaves the bytes where they are in the files, unused: to erase many aggregates and then
    /// [wipe](crate::Maintenance::wipe) once.
    pub fn without_wiping(mut self) -> Erase {
        self.wipe = false;
        self
    }

    /// Only reports what would be erased.
    pub fn dry_run(mut self) -> Erase {
        self.dry_run = true;
        self
    }

    fn check(&self) -> Result<()> {
        let invalid = |what: String| Error::new(ErrorKind::InvalidInput, what);
        if matches!(self.what, What::Aggregate(..)) {
            return match self.fields.is_empty() {
                true => Ok(()),
                false => Err(invalid("a whole aggregate has no single fields to erase".to_owned())
                    .advice("use Erase::fields_of to erase fields only")),
            };
        }
        if self.fields.is_empty() {
            return Err(invalid("no field is named".to_owned()).advice("name one with field, metadata_field or tag"));
        }
        let pointers = self.fields.data.iter().map(|(pointer, _)| pointer).chain(&self.fields.metadata);
        match pointers.into_iter().find(|pointer| !pointer.starts_with('/')) {
            Some(pointer) => Err(invalid(format!("{pointer:?} is no JSON pointer: it must begin with a slash"))),
            None => Ok(()),
        }
    }
}

/// What was erased, or would be.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct EraseReport {
    /// Events that were removed, or whose fields were.
    pub events: u64,
    /// Aggregates that are done.
    pub aggregates: u64,
    /// Snapshots that were deleted, because they may hold what was erased.
    pub snapshots: u64,
    /// Deliveries and dead letters that were deleted.
    pub deliveries: u64,
    /// The numbers of the records: see [`Store::erasures`](crate::Store::erasures).
    pub erasures: Vec<u64>,
    /// Projections whose tables may still hold what was erased. Rebuild them, then [wipe](crate::Maintenance::wipe).
    pub projections: Vec<ProjectionToRebuild>,
    /// Whether nothing of this and of all earlier erasures is left in the store's files.
    pub wiped: bool,
    /// Whether every aggregate is done, and it was not stopped before.
    pub finished: bool,
}

/// What a wipe did.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct WipeReport {
    /// Unused rows that were deleted from the archive.
    pub archived_rows: u64,
    /// Projections whose tables may still hold what was erased.
    pub projections: Vec<ProjectionToRebuild>,
    /// Whether the write-ahead log is empty. If `false`, a reader still uses an older state of the file: wipe again.
    pub log_is_empty: bool,
    /// Erasures that are not wiped yet, because of one of these.
    pub left: u64,
}

/// Erases aggregate by aggregate, each in several transactions.
pub(crate) fn erase(
    scope: &Scope,
    erase: &Erase,
    mut progress: impl FnMut(&EraseReport) -> ControlFlow<()>,
) -> Result<EraseReport> {
    erase.check()?;
    let mut report = EraseReport::default();
    let order = EraseOrder {
        fields: None,
        erased_by: erase.erased_by.clone(),
        reason: erase.reason.clone(),
        break_replay: erase.break_replay,
        only_begun: false,
        now: scope.options().clock.now_micros(),
        at_once: if erase.dry_run { u64::MAX } else { EVENTS_AT_ONCE },
        dry_run: erase.dry_run,
    };
    let fields = Fields { of: None, ..erase.fields.clone() };
    let targets = match &erase.what {
        What::Aggregate(aggregate_type, id) => vec![(scope.aggregate(aggregate_type, id), order)],
        What::FieldsOf(aggregate_type, id) => {
            vec![(scope.aggregate(aggregate_type, id), EraseOrder { fields: Some(fields), ..order })]
        }
        What::FieldsWhere(filter) => {
            if !erase.dry_run && finish_begun(scope, &mut report, &mut progress)?.is_break() {
                return Ok(report);
            }
            let order = EraseOrder { fields: Some(Fields { of: Some((**filter).clone()), ..fields }), ..order };
            aggregates_of(scope, filter)?.into_iter().map(|aggregate| (aggregate, order.clone())).collect()
        }
    };
    for (aggregate, order) in &targets {
        if erase_one(scope, aggregate, order, &mut report, &mut progress)?.is_break() {
            return Ok(report);
        }
    }
    report.finished = true;
    if !erase.dry_run && erase.wipe {
        let wiped = wipe(scope)?;
        report.wiped = wiped.left == 0;
    }
    report.projections = scope.engine().unwiped()?.projections;
    Ok(report)
}

/// Finishes the erasures that were begun by a process that died.
fn finish_begun(
    scope: &Scope,
    report: &mut EraseReport,
    progress: &mut impl FnMut(&EraseReport) -> ControlFlow<()>,
) -> Result<ControlFlow<()>> {
    for aggregate in scope.engine().begun_erasures()? {
        let of_tenant = Scope { log: scope.log.clone(), tenant: aggregate.tenant.clone() };
        // What is begun says itself what it is.
        let order = EraseOrder {
            fields: None,
            erased_by: None,
            reason: None,
            break_replay: true,
            only_begun: true,
            now: 0,
            at_once: EVENTS_AT_ONCE,
            dry_run: false,
        };
        let mut is_done = false;
        while !is_done {
            let part = next_part(&of_tenant, &aggregate, &order)?;
            is_done = part.finished || part.number.is_some();
            report.add(&part);
            if progress(report).is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
    }
    Ok(ControlFlow::Continue(()))
}

fn erase_one(
    scope: &Scope,
    aggregate: &AggregateRef,
    order: &EraseOrder,
    report: &mut EraseReport,
    progress: &mut impl FnMut(&EraseReport) -> ControlFlow<()>,
) -> Result<ControlFlow<()>> {
    let mut is_done = false;
    while !is_done {
        let part = next_part(scope, aggregate, order)?;
        is_done = part.finished;
        report.add(&part);
        report.aggregates += u64::from(is_done);
        if progress(report).is_break() {
            return Ok(ControlFlow::Break(()));
        }
    }
    Ok(ControlFlow::Continue(()))
}

/// Erases the next part of an aggregate. Fields are erased in the main file: archived events come back first.
fn next_part(scope: &Scope, aggregate: &AggregateRef, order: &EraseOrder) -> Result<ErasedPart> {
    let names = (&*aggregate.aggregate_type, &*aggregate.aggregate_id);
    let of = |error: Error| error.of(aggregate);
    let part = scope.engine().erase_part(&scope.tenant, names, order).map_err(of)?;
    if !part.is_archived {
        return Ok(part);
    }
    if order.dry_run {
        return Err(of(Error::new(ErrorKind::InvalidInput, "its first events are in the archive, where a dry run cannot look")
            .advice("unarchive the aggregate first; erasing does so by itself")));
    }
    archive::unarchive(scope, Some(names)).map_err(of)?;
    Ok(part)
}

/// The aggregates with events that match a filter.
fn aggregates_of(scope: &Scope, filter: &Filter) -> Result<BTreeSet<AggregateRef>> {
    if filter.all_tenants {
        return Err(Error::new(ErrorKind::InvalidInput, "an erasure concerns one tenant: leave all_tenants out"));
    }
    let selection = Selection { filter: filter.clone(), as_stored: true, ..Selection::default() };
    let (mut cursor, mut found) = (ScanCursor::default(), BTreeSet::new());
    while !cursor.is_finished() {
        let mut page = std::collections::VecDeque::new();
        scope.engine().scan(&scope.tenant, &selection, &mut cursor, FOUND_AT_ONCE, &mut page)?;
        found.extend(page.iter().map(crate::model::event::RecordedEvent::aggregate));
    }
    Ok(found)
}

impl EraseReport {
    fn add(&mut self, part: &ErasedPart) {
        self.events += part.events;
        self.snapshots += part.snapshots;
        self.deliveries += part.deliveries;
        self.erasures.extend(part.number);
    }
}

/// Finishes what was begun and removes the traces of all erasures from the files.
pub(crate) fn wipe(scope: &Scope) -> Result<WipeReport> {
    let engine = scope.engine();
    let mut report = WipeReport { log_is_empty: true, ..WipeReport::default() };
    if finish_begun(scope, &mut EraseReport::default(), &mut |_| ControlFlow::Continue(()))?.is_break() {
        return Ok(report);
    }
    // What is erased from here on may be behind the part of the files that was written anew.
    let through = engine.newest_erasure()?;
    let found = engine.unwiped()?;
    report.projections = found.projections;
    if found.left == 0 {
        return Ok(report);
    }
    let mut after = Some(0);
    while let Some(aggregate) = after {
        let (swept, next) = engine.sweep_archive(aggregate)?;
        report.archived_rows += swept;
        after = next;
    }
    engine.rewrite_archive()?;
    engine.checkpoint()?;
    engine.rewrite()?;
    report.log_is_empty = engine.checkpoint()?.is_none_or(|done| done.complete && done.pages_left == 0);
    if report.log_is_empty {
        engine.note_wiped(through)?;
        // The note itself says nothing of what was erased.
    }
    report.left = engine.unwiped()?.left;
    Ok(report)
}
