//! Lists of aggregates: by their last event, or by id.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use foldlog::{Filter, Position, Query, RecordedEvent, Result, Store};

use crate::app::App;

/// Rows of a page.
pub(crate) const PAGE: usize = 50;
/// How long a page may look through the log.
const BUDGET: Duration = Duration::from_millis(1_500);

/// A page of a list.
#[derive(Default)]
pub(crate) struct Page {
    /// The newest event of each aggregate.
    pub(crate) rows: Vec<RecordedEvent>,
    pub(crate) has_more: bool,
    /// Where the search ended because it took too long.
    pub(crate) cut_at: Option<Position>,
}

/// The type and the beginning of the id that are wanted.
#[derive(Clone, Copy, Default)]
pub(crate) struct Wanted<'a> {
    pub(crate) tenant: Option<&'a str>,
    pub(crate) aggregate_type: Option<&'a str>,
    pub(crate) prefix: &'a str,
}

impl Wanted<'_> {
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
        page.rows.push(event);
    }
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
            page.rows.push(event);
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
            of_type(&store, &aggregate_type, wanted.prefix, start, &mut page)?;
            if page.has_more {
                return Ok(page);
            }
        }
    }
    Ok(page)
}

fn of_type(store: &Store, aggregate_type: &str, prefix: &str, start: Option<&str>, page: &mut Page) -> Result<()> {
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
        // An aggregate whose events were all purged has none to show.
        page.rows.extend(newest(store, aggregate_type, &id)?);
    }
    Ok(())
}
