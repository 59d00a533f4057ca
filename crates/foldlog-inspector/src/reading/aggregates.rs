//! Lists of aggregates: by their last event, or by id.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use foldlog::{AggregateRef, ErrorKind, Filter, Position, Query, RecordedEvent, Result, Store, Version};

use crate::app::App;
use crate::reading::contents::Snapshots;

/// Rows of a page.
pub(crate) const PAGE: usize = 50;
/// Aggregates whose events were removed that are looked at.
const MOST_REMOVED: usize = 10_000;
/// Aggregates whose events were removed that are looked at in each tenant for a choice.
const MOST_LOOKED_AT: usize = 1_000;
/// Dead letters that are looked at in each outbox for a choice.
const MOST_LETTERS: usize = 1_000;
/// Rows of a choice; beyond it only a number is given, and at least that.
const MOST_ROWS: usize = 200;
/// The size of an aggregate with more events is not added up.
const MOST_SUMMED: u64 = 1_000;
/// Events that are added up for a page.
const MOST_SUMMED_OF_PAGE: u64 = 10_000;
/// How long a page may look through the log.
const BUDGET: Duration = Duration::from_millis(1_500);

/// A page of a list.
#[derive(Default)]
pub(crate) struct Page {
    pub(crate) rows: Vec<Row>,
    pub(crate) has_more: bool,
    /// Rows that are not shown, and not on a later page.
    pub(crate) left_out: usize,
    /// Where the search ended because it took too long.
    pub(crate) cut_at: Option<Position>,
}

/// Names an aggregate.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Name {
    pub(crate) tenant: Arc<str>,
    pub(crate) aggregate_type: Arc<str>,
    pub(crate) aggregate_id: Arc<str>,
}

impl From<AggregateRef> for Name {
    fn from(AggregateRef { tenant, aggregate_type, aggregate_id, .. }: AggregateRef) -> Name {
        Name { tenant, aggregate_type, aggregate_id }
    }
}

/// An aggregate of a list.
pub(crate) struct Row {
    pub(crate) aggregate: Name,
    pub(crate) version: u64,
    /// Its newest event; `None` if all were purged.
    pub(crate) last: Option<RecordedEvent>,
    pub(crate) size: Size,
    /// The version of its newest snapshot.
    pub(crate) snapshot: Option<u64>,
}

/// The bytes of an aggregate's events.
#[derive(Clone, Copy, Default)]
pub(crate) enum Size {
    Bytes(u64),
    /// It has more events than are added up.
    Long,
    /// The archive is not there, or nobody asked.
    #[default]
    Unknown,
}

impl Size {
    pub(crate) fn bytes(self) -> Option<u64> {
        if let Size::Bytes(bytes) = self { Some(bytes) } else { None }
    }

    /// What is said about it beside the number.
    pub(crate) fn title(self) -> Option<&'static str> {
        match self {
            Size::Bytes(_) => Some("JSON of its events, metadata and tags"),
            Size::Long => Some("over 1,000 events, or too many on this page: not added up"),
            Size::Unknown => None,
        }
    }
}

impl From<RecordedEvent> for Row {
    fn from(event: RecordedEvent) -> Row {
        Row {
            aggregate: event.aggregate().into(),
            version: event.version.get(),
            last: Some(event),
            size: Size::Unknown,
            snapshot: None,
        }
    }
}

impl Page {
    /// Adds what is not known from the newest event: the size, and the newest snapshot.
    pub(crate) fn measure(&mut self, app: &App) -> Result<()> {
        let mut summed = 0;
        for row in &mut self.rows {
            let store = app.store.tenant(&row.aggregate.tenant);
            let Name { aggregate_type, aggregate_id, .. } = &row.aggregate;
            row.snapshot = store.newest_snapshot(&**aggregate_type, aggregate_id)?.map(Version::get);
            if row.version > MOST_SUMMED || summed + row.version > MOST_SUMMED_OF_PAGE {
                row.size = Size::Long;
                continue;
            }
            summed += row.version;
            row.size = match store.aggregate_size(&**aggregate_type, aggregate_id) {
                Ok(size) => size.map_or(Size::Unknown, |size| Size::Bytes(size.room.event_bytes + size.room.archived_bytes)),
                // Its newest events are here all the same.
                Err(error) if error.kind() == ErrorKind::ArchiveMissing => Size::Unknown,
                Err(error) => return Err(error),
            };
        }
        Ok(())
    }
}

impl Row {
    fn of(app: &App, aggregate: Name) -> Result<Row> {
        let store = app.store.tenant(&aggregate.tenant);
        match newest(&store, &aggregate.aggregate_type, &aggregate.aggregate_id)? {
            Some(event) => Ok(event.into()),
            None => {
                let version = store.version(&aggregate.aggregate_type, &aggregate.aggregate_id)?.get();
                Ok(Row { aggregate, version, last: None, size: Size::Unknown, snapshot: None })
            }
        }
    }
}

/// The type and the beginning of the id that are wanted.
#[derive(Clone, Copy, Default)]
pub(crate) struct Wanted<'a> {
    pub(crate) tenant: Option<&'a str>,
    pub(crate) aggregate_type: Option<&'a str>,
    pub(crate) prefix: &'a str,
}

impl Wanted<'_> {
    fn has(&self, aggregate: &Name) -> bool {
        self.aggregate_type.is_none_or(|wanted| *wanted == *aggregate.aggregate_type)
            && aggregate.aggregate_id.starts_with(self.prefix)
    }

    fn filter(&self) -> Filter {
        self.aggregate_type.map_or(Filter::new(), |name| Filter::new().aggregate_type(name))
    }

    fn read(&self, app: &App, query: impl FnOnce(Filter) -> Query) -> foldlog::Events {
        let (store, filter) = app.scope(self.tenant, self.filter());
        store.read(query(filter))
    }
}

/// The newest event of an aggregate.
pub(crate) fn newest(store: &Store, aggregate_type: &str, aggregate_id: &str) -> Result<Option<RecordedEvent>> {
    store.read(Query::aggregate(aggregate_type, aggregate_id).newest_first().limit(1)).next().transpose()
}

/// Aggregates by their last event, newest first, of those before a position.
pub(crate) fn recent(app: &App, wanted: &Wanted<'_>, before: Option<u64>) -> Result<Page> {
    let up_to = before.map_or(u64::MAX, |before| before.saturating_sub(1));
    let mut page = Page::default();
    let mut seen = HashSet::new();
    let deadline = Instant::now() + BUDGET;
    for event in wanted.read(app, |filter| Query::matching(filter).newest_first().up_to_position(up_to)) {
        let event = event?;
        if Instant::now() > deadline {
            page.cut_at = Some(event.position);
            break;
        }
        if !event.aggregate_id.starts_with(wanted.prefix) || !seen.insert(event.aggregate()) {
            continue;
        }
        // On a later page the first event met is the last one only if nothing came after it.
        let is_last = before.is_none()
            || app.store.tenant(&event.tenant).version(&event.aggregate_type, &event.aggregate_id)? == event.version;
        if !is_last {
            continue;
        }
        if page.rows.len() == PAGE {
            page.has_more = true;
            break;
        }
        page.rows.push(event.into());
    }
    if !page.has_more && page.cut_at.is_none() {
        purged(app, wanted, &mut page)?;
    }
    Ok(page)
}

/// Adds the aggregates whose events were all purged: they come last, because the log no longer says when they changed.
fn purged(app: &App, wanted: &Wanted<'_>, page: &mut Page) -> Result<()> {
    for tenant in app.tenants()?.into_iter().filter(|tenant| wanted.tenant.is_none_or(|wanted| wanted == tenant)) {
        for of in app.store.tenant(&tenant).removed_aggregates(MOST_REMOVED)? {
            let aggregate = Name::from(of.aggregate);
            if of.removed.purged_through == of.version && wanted.has(&aggregate) {
                if page.rows.len() >= PAGE {
                    page.left_out += 1;
                } else {
                    page.rows.push(Row { aggregate, version: of.version.get(), last: None, size: Size::Unknown, snapshot: None });
                }
            }
        }
    }
    Ok(())
}

/// What aggregates can be chosen by, beside their names.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Choice {
    Snapshot,
    DeadLetter,
    Removed,
}

impl Choice {
    pub(crate) const ALL: [(Choice, &'static str, &'static str); 3] = [
        (Choice::Snapshot, "snapshot", "With a snapshot"),
        (Choice::DeadLetter, "dead", "With a dead letter"),
        (Choice::Removed, "removed", "Purged or archived"),
    ];

    pub(crate) fn of(name: &str) -> Option<Choice> {
        Choice::ALL.iter().find(|(_, known, _)| *known == name).map(|(choice, ..)| *choice)
    }

    pub(crate) fn name(self) -> &'static str {
        Choice::ALL.iter().find(|(choice, ..)| *choice == self).map_or("", |(_, name, _)| name)
    }

    /// How many aggregates have it, and whether that is all of them. `None` if only a list could tell.
    pub(crate) fn count(self, app: &App, wanted: &Wanted<'_>) -> Result<Option<(u64, bool)>> {
        if self != Choice::Snapshot {
            let found = self.aggregates(app, wanted)?;
            return Ok(Some((found.len().min(MOST_ROWS) as u64, found.len() <= MOST_ROWS)));
        }
        if !wanted.prefix.is_empty() {
            return Ok(None);
        }
        // Snapshots of several folds may be of the same aggregates: then it is at least the largest number.
        let mut of_types: BTreeMap<(&str, &str), (u64, bool)> = BTreeMap::new();
        let snapshots = Snapshots::of(app)?;
        for of in &snapshots.of_types {
            let is_wanted = wanted.tenant.is_none_or(|tenant| *tenant == *of.tenant)
                && wanted.aggregate_type.is_none_or(|aggregate_type| *aggregate_type == *of.aggregate_type);
            if is_wanted {
                let known = of_types.entry((&of.tenant, &of.aggregate_type));
                known.and_modify(|sum| *sum = (sum.0.max(of.aggregates), false)).or_insert((of.aggregates, true));
            }
        }
        Ok(Some((of_types.values().map(|(aggregates, _)| aggregates).sum(), of_types.values().all(|(_, is_all)| *is_all))))
    }

    /// Aggregates that have it; if there are more than `MOST_ROWS`, at least one more than that.
    fn aggregates(self, app: &App, wanted: &Wanted<'_>) -> Result<Vec<Name>> {
        let mut found = Vec::new();
        if self == Choice::DeadLetter {
            for reader in app.readers()?.all.iter().filter(|reader| reader.dead() > 0) {
                for letter in reader.outbox(&app.store).dead_letters()?.iter().take(MOST_LETTERS) {
                    found.extend(letter?.event.map(|event| event.aggregate().into()));
                }
            }
            found.sort();
            found.dedup();
            found.retain(|aggregate| wanted.has(aggregate));
            return Ok(found);
        }
        for tenant in app.tenants()?.into_iter().filter(|tenant| wanted.tenant.is_none_or(|wanted| wanted == tenant)) {
            let store = app.store.tenant(&tenant);
            match self {
                Choice::Snapshot => {
                    found.extend(store.snapshot_statistics()?.snapshots_by_aggregate.into_iter().map(|of| Name {
                        tenant: tenant.as_str().into(),
                        aggregate_type: of.aggregate_type.into(),
                        aggregate_id: of.aggregate_id.into(),
                    }));
                }
                Choice::Removed | Choice::DeadLetter => {
                    found.extend(store.removed_aggregates(MOST_LOOKED_AT)?.into_iter().map(|of| of.aggregate.into()));
                }
            }
            found.retain(|aggregate| wanted.has(aggregate));
            if found.len() > MOST_ROWS {
                break;
            }
        }
        Ok(found)
    }
}

/// The aggregates of a choice, by their last event, newest first.
pub(crate) fn chosen(app: &App, wanted: &Wanted<'_>, choice: Choice) -> Result<Page> {
    let found = choice.aggregates(app, wanted)?;
    let left_out = found.len().saturating_sub(MOST_ROWS);
    let rows = found.into_iter().take(MOST_ROWS).map(|aggregate| Row::of(app, aggregate)).collect::<Result<Vec<_>>>()?;
    let mut page = Page { rows, left_out, ..Page::default() };
    page.rows.sort_by_key(|row| std::cmp::Reverse(row.last.as_ref().map(|event| event.position)));
    Ok(page)
}

/// The page before: aggregates whose last event came after a position, the nearest ones.
pub(crate) fn newer(app: &App, wanted: &Wanted<'_>, after: u64) -> Result<Page> {
    let mut page = Page::default();
    let deadline = Instant::now() + BUDGET;
    for event in wanted.read(app, |filter| Query::matching(filter).after_position(after)) {
        let event = event?;
        if Instant::now() > deadline {
            page.cut_at = Some(event.position);
            break;
        }
        let store = app.store.tenant(&event.tenant);
        if event.aggregate_id.starts_with(wanted.prefix)
            && store.version(&event.aggregate_type, &event.aggregate_id)? == event.version
        {
            if page.rows.len() == PAGE {
                page.has_more = true;
                break;
            }
            page.rows.push(event.into());
        }
    }
    page.rows.reverse();
    Ok(page)
}

/// Aggregates by tenant, type and id, after one of them.
pub(crate) fn by_id(app: &App, wanted: &Wanted<'_>, after: Option<[&str; 3]>) -> Result<Page> {
    let mut page = Page::default();
    for tenant in app.tenants()? {
        if wanted.tenant.is_some_and(|wanted| wanted != tenant) || after.is_some_and(|[of, ..]| *of > *tenant) {
            continue;
        }
        let store = app.store.tenant(&tenant);
        for aggregate_type in store.aggregate_types()? {
            let is_wanted = wanted.aggregate_type.is_none_or(|wanted| wanted == aggregate_type);
            let is_passed = after.is_some_and(|[of, passed, _]| of == tenant && *passed > *aggregate_type);
            if !is_wanted || is_passed {
                continue;
            }
            let start = after.filter(|[of, passed, _]| of == &tenant && passed == &aggregate_type).map(|[.., id]| id);
            of_type(app, &store, (&aggregate_type, wanted.prefix, start), &mut page)?;
            if page.has_more {
                return Ok(page);
            }
        }
    }
    Ok(page)
}

fn of_type(app: &App, store: &Store, (aggregate_type, prefix, start): (&str, &str, Option<&str>), page: &mut Page) -> Result<()> {
    let ids = store.json_aggregates(aggregate_type).ids();
    let mut found = Vec::new();
    let ids = match start {
        Some(start) => ids.after(start),
        None if prefix.is_empty() => ids,
        None => {
            // `after` leaves out the id that is the prefix itself.
            if store.version(aggregate_type, prefix)? > 0 {
                found.push(prefix.to_owned());
            }
            ids.after(prefix)
        }
    };
    for id in ids {
        let id = id?;
        if !id.starts_with(prefix) {
            break;
        }
        found.push(id);
        if page.rows.len() + found.len() > PAGE {
            break;
        }
    }
    for id in found {
        if page.rows.len() == PAGE {
            page.has_more = true;
            break;
        }
        let tenant = store.tenant_name().into();
        page.rows.push(Row::of(app, Name { tenant, aggregate_type: aggregate_type.into(), aggregate_id: id.into() })?);
    }
    Ok(())
}
