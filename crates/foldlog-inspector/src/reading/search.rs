//! The log's filters, and the search through JSON.

use std::time::{Duration, Instant};

use chrono::{DateTime, NaiveDate, Utc};
use foldlog::{Filter, Query, RecordedEvent, Result};

use super::days::midnight;
use crate::app::App;
use crate::http::Request;
use crate::json::Node;

/// Rows of a page.
pub(crate) const PAGE: usize = 50;
/// How long a search through JSON may take.
const BUDGET: Duration = Duration::from_millis(2_000);

/// What the log's page is asked for.
#[derive(Clone, Debug, Default)]
pub(crate) struct Wanted {
    pub(crate) tenant: Option<String>,
    pub(crate) aggregate_type: Option<String>,
    pub(crate) event_type: Option<String>,
    pub(crate) tag: Option<String>,
    pub(crate) from: Option<NaiveDate>,
    pub(crate) to: Option<NaiveDate>,
    pub(crate) path: Option<Condition>,
    /// Only events whose metadata holds this text as a value: a correlation id.
    pub(crate) meta: Option<String>,
    /// What was written in the field of the path if it is no condition.
    pub(crate) wrong_path: Option<String>,
    /// Only events before this position.
    pub(crate) before: Option<u64>,
    /// Only events after this position.
    pub(crate) after: Option<u64>,
}

/// `$.a.b = value`: a path into an event's data, and what must be there. Without a value: that something is there.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Condition {
    pub(crate) text: String,
    path: Vec<String>,
    value: Option<(Comparison, String)>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Comparison {
    Equal,
    NotEqual,
    Less,
    Greater,
}

/// A page of the log.
#[derive(Default)]
pub(crate) struct Found {
    pub(crate) events: Vec<RecordedEvent>,
    /// Whether there are more beyond the last one.
    pub(crate) has_more: bool,
    /// Events whose JSON was read.
    pub(crate) read: u64,
    /// The position at which the search ended because it took too long.
    pub(crate) cut_at: Option<u64>,
}

impl Wanted {
    pub(crate) fn of(request: &Request) -> Wanted {
        let text = |name: &str| request.get(name).map(str::to_owned);
        let day = |name: &str| request.get(name).and_then(|text| text.trim().parse::<NaiveDate>().ok());
        let path = request.get("path").map(str::trim).filter(|path| !path.is_empty());
        let condition = path.and_then(Condition::parse);
        Wanted {
            tenant: text("tenant"),
            aggregate_type: text("atype"),
            event_type: text("type"),
            tag: text("tag"),
            meta: text("meta"),
            from: day("from"),
            to: day("to"),
            wrong_path: path.filter(|_| condition.is_none()).map(str::to_owned),
            path: condition,
            before: request.number("before"),
            after: request.number("after"),
        }
    }

    /// Whether anything but the place in the log is asked for.
    pub(crate) fn is_filtered(&self) -> bool {
        let Wanted { tenant, aggregate_type, event_type, tag, meta, from, to, path, .. } = self;
        let texts = [tenant, aggregate_type, event_type, tag, meta].iter().any(|text| text.is_some());
        texts || from.is_some() || to.is_some() || path.is_some()
    }

    /// Everything but tags.
    pub(crate) fn filter(&self) -> Filter {
        let mut filter = Filter::new();
        if let Some(aggregate_type) = &self.aggregate_type {
            filter = filter.aggregate_type(aggregate_type);
        }
        if let Some(event_type) = &self.event_type {
            filter = filter.event_type(event_type);
        }
        if let Some(from) = self.from {
            filter = filter.from(midnight(from));
        }
        if let Some(end) = self.to.and_then(end_of) {
            filter = filter.to(end);
        }
        filter
    }

    /// The newest events that match, or those after a position.
    pub(crate) fn read(&self, app: &App) -> Result<Found> {
        let mut filter = self.filter();
        if let Some(tag) = &self.tag {
            filter = filter.tag(tag);
        }
        // Tags belong to a tenant, so without one only those of the handle's tenant are found.
        let (store, filter) = match (&self.tenant, &self.tag) {
            (None, Some(_)) => (app.store.clone(), filter),
            (tenant, _) => app.scope(tenant.as_deref(), filter),
        };
        let upward = self.after.is_some();
        let mut query = Query::matching(filter);
        query = match (self.after, self.before) {
            (Some(after), _) => query.after_position(after),
            (None, Some(before)) => query.newest_first().up_to_position(before.saturating_sub(1)),
            (None, None) => query.newest_first(),
        };
        let mut found = Found::default();
        let deadline = Instant::now() + BUDGET;
        for event in store.read(query) {
            let event = event?;
            if self.path.is_some() || self.meta.is_some() {
                if found.read % 64 == 0 && Instant::now() > deadline {
                    found.cut_at = Some(event.position.get());
                    break;
                }
                found.read += 1;
                if !self.json_matches(&event) {
                    continue;
                }
            }
            if found.events.len() == PAGE {
                found.has_more = true;
                break;
            }
            found.events.push(event);
        }
        if upward {
            found.events.reverse();
        }
        Ok(found)
    }
}

impl Wanted {
    fn json_matches(&self, event: &RecordedEvent) -> bool {
        let has_value = |wanted: &String| {
            let metadata = event.metadata.as_ref().map_or("", |metadata| metadata.as_str());
            // Most metadata is passed over by its text alone.
            let could_be = metadata.contains(wanted.as_str()) || metadata.contains('\\');
            could_be
                && matches!(Node::parse(metadata), Node::Object(members) if members.iter().any(|(_, value)| value.as_text().as_ref() == Some(wanted)))
        };
        self.path.as_ref().is_none_or(|condition| condition.holds(event)) && self.meta.as_ref().is_none_or(has_value)
    }
}

/// The last microsecond of a day.
fn end_of(day: NaiveDate) -> Option<DateTime<Utc>> {
    Some(midnight(day.succ_opt()?) - chrono::TimeDelta::microseconds(1))
}

impl Condition {
    /// Reads `$.a.b`, `a.b = "text"`, `a.0 > 5`, `a != null`.
    fn parse(text: &str) -> Option<Condition> {
        let signs = [("!=", Comparison::NotEqual), ("=", Comparison::Equal), ("<", Comparison::Less), (">", Comparison::Greater)];
        let place = signs.iter().filter_map(|(sign, comparison)| Some((text.find(sign)?, *sign, *comparison)));
        let (path, value) = match place.min_by_key(|(place, ..)| *place) {
            Some((place, sign, comparison)) => {
                let (path, rest) = text.split_at_checked(place)?;
                let value = rest.strip_prefix(sign)?.trim().trim_start_matches('=').trim();
                (path, Some((comparison, value.to_owned())))
            }
            None => (text, None),
        };
        let path = path.trim().trim_start_matches('$').trim_start_matches('.');
        let path: Vec<String> = path.split('.').map(|part| part.trim().to_owned()).collect();
        (path.iter().all(|part| !part.is_empty())).then(|| Condition { text: text.to_owned(), path, value })
    }

    fn holds(&self, event: &RecordedEvent) -> bool {
        // The last name of the path must be somewhere in the text, which is far cheaper to see.
        if self.path.last().is_some_and(|name| {
            name.parse::<usize>().is_err() && !event.data.as_str().contains(name) && !event.data.as_str().contains("\\u")
        }) {
            return false;
        }
        let data = Node::parse(event.data.as_str());
        let mut at = Some(&data);
        for name in &self.path {
            at = at.and_then(|node| match node {
                Node::Array(items) => name.parse::<usize>().ok().and_then(|number| items.get(number)),
                _ => node.member(name),
            });
        }
        let (Some(at), Some((comparison, wanted))) = (at, &self.value) else { return at.is_some() && self.value.is_none() };
        let Node::Leaf(leaf) = at else { return *comparison == Comparison::NotEqual };
        let text = at.as_text().unwrap_or_default();
        let is_equal = **leaf == **wanted || text == wanted.trim_matches('"');
        let numbers = (leaf.parse::<f64>(), wanted.parse::<f64>());
        match (comparison, numbers) {
            (Comparison::Equal, (Ok(one), Ok(other))) => is_equal || one == other,
            (Comparison::Equal, _) => is_equal,
            (Comparison::NotEqual, _) => !is_equal,
            (Comparison::Less, (Ok(one), Ok(other))) => one < other,
            (Comparison::Greater, (Ok(one), Ok(other))) => one > other,
            (Comparison::Less, _) => *text < *wanted.trim_matches('"'),
            (Comparison::Greater, _) => *text > *wanted.trim_matches('"'),
        }
    }
}
