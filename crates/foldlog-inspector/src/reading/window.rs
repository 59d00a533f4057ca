//! The steps of a stretch of an aggregate's history: each event, and what it changed.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use foldlog::{Json, Query, RecordedEvent, Result, Store};

use crate::folds::{Fold, Steps};
use crate::json::{Change, Mark, Node, compare};

/// Versions in a window.
pub(crate) const WINDOW: u64 = 250;
/// States of a window together; beyond that its events are listed without what they changed.
const MOST_BYTES: usize = 16 << 20;
/// Windows that are remembered.
const REMEMBERED: usize = 12;

pub(crate) struct Window {
    /// The version before the first step.
    pub(crate) after: u64,
    /// The state at `after`; `None` before the first event.
    pub(crate) before: Option<Json>,
    pub(crate) steps: Vec<Step>,
    /// Why the steps end early: the fold cannot take the next event.
    pub(crate) failure: Option<String>,
}

pub(crate) struct Step {
    pub(crate) event: RecordedEvent,
    /// The state after it; `None` behind a failure, or if the states are too large together.
    pub(crate) state: Option<Json>,
    /// Paths that were changed, added and removed.
    pub(crate) counts: [usize; 3],
    /// The first changes in a line of text.
    pub(crate) summary: String,
}

impl Window {
    /// The step that made a version.
    pub(crate) fn step(&self, version: u64) -> Option<&Step> {
        let place = version.checked_sub(self.after)?.checked_sub(1)?;
        self.steps.get(usize::try_from(place).ok()?)
    }

    /// The state at a version of this window. `None` is the state before the first event.
    pub(crate) fn state(&self, version: u64) -> Option<&Json> {
        match version == self.after {
            true => self.before.as_ref(),
            false => self.step(version)?.state.as_ref(),
        }
    }

    fn read(store: &Store, fold: &Fold, place: &Place<'_>) -> Result<Window> {
        let (before, steps) = fold.steps(store, place.aggregate_id, place.after)?;
        let mut window =
            Window { after: place.after, before: (place.after > 0).then_some(before), steps: Vec::new(), failure: None };
        window.fold(steps, place.version);
        let folded = window.after + window.steps.len() as u64;
        let wanted = place.version.min(place.after + WINDOW);
        if folded < wanted {
            // What could not be folded is listed all the same.
            let rest = Query::aggregate(place.aggregate_type, place.aggregate_id).after_version(folded).up_to_version(wanted);
            for event in store.read(rest) {
                window.steps.push(Step { event: event?, state: None, counts: [0; 3], summary: String::new() });
            }
        }
        Ok(window)
    }

    fn fold(&mut self, steps: Steps, last: u64) {
        let mut before = self.before.as_ref().map(|state| Node::parse(state.as_str()));
        let mut bytes = 0;
        let room = usize::try_from(WINDOW.min(last.saturating_sub(self.after))).unwrap_or(usize::MAX);
        for step in steps.take(room) {
            let step = match step {
                Ok(step) => step,
                Err(error) => {
                    self.failure = Some(error.to_string());
                    return;
                }
            };
            bytes += step.state.as_str().len();
            if bytes > MOST_BYTES {
                self.failure = Some("the states of these versions are too large to compare step by step".to_owned());
                return;
            }
            let after = Node::parse(step.state.as_str());
            let changes = compare(before.as_ref(), Some(&after), true).changes;
            let (counts, summary) = (counts(&changes), summary(&changes));
            self.steps.push(Step { event: step.event, state: Some(step.state), counts, summary });
            before = Some(after);
        }
    }
}

/// How many paths were changed, added and removed.
pub(crate) fn counts(changes: &[Change<'_>]) -> [usize; 3] {
    let count = |mark| changes.iter().filter(|change| change.mark == mark).count();
    [count(Mark::Changed), count(Mark::Added), count(Mark::Removed)]
}

/// What changed in a line: names with their new values, counters last.
fn summary(changes: &[Change<'_>]) -> String {
    const MOST: usize = 3;
    let is_number = |change: &&Change<'_>| matches!(change.after, Some(Node::Leaf(leaf)) if leaf.starts_with(|c: char| c == '-' || c.is_ascii_digit()));
    let (counters, others): (Vec<&Change<'_>>, Vec<&Change<'_>>) = changes.iter().partition(is_number);
    let one = |change: &&Change<'_>| {
        let name = change.path.rsplit('/').next().unwrap_or_default().replace("~1", "/").replace("~0", "~");
        match (change.mark, change.after.and_then(Node::as_text)) {
            (Mark::Removed, _) => format!("− {name}"),
            (Mark::Added, None) if name.is_empty() => change.after.map(Node::summary).unwrap_or_default(),
            (Mark::Added, None) => format!("+ {name}"),
            (Mark::Added, Some(value)) if name.is_empty() => value,
            (_, Some(value)) => format!("{name} → {}", value.chars().take(60).collect::<String>()),
            (_, None) => format!("{name} → …"),
        }
    };
    others.iter().chain(&counters).take(MOST).map(one).collect::<Vec<_>>().join(", ")
}

/// Which window of which aggregate.
pub(crate) struct Place<'a> {
    pub(crate) aggregate_type: &'a str,
    pub(crate) aggregate_id: &'a str,
    /// The version before the window.
    pub(crate) after: u64,
    /// The aggregate's version: a window at its end is read again when it has grown.
    pub(crate) version: u64,
}

/// The windows that were read last.
#[derive(Default)]
pub(crate) struct Windows(Mutex<VecDeque<(Key, Arc<Window>)>>);

#[derive(PartialEq)]
struct Key {
    tenant: String,
    aggregate: (String, String),
    after: u64,
    last: u64,
}

impl Windows {
    pub(crate) fn get(&self, store: &Store, fold: &Fold, place: &Place<'_>) -> Result<Arc<Window>> {
        let key = Key {
            tenant: store.tenant_name().to_owned(),
            aggregate: (place.aggregate_type.to_owned(), place.aggregate_id.to_owned()),
            after: place.after,
            last: place.version.min(place.after + WINDOW),
        };
        let known = |windows: &VecDeque<(Key, Arc<Window>)>| {
            windows.iter().find(|(known, _)| *known == key).map(|(_, window)| window.clone())
        };
        if let Some(window) = known(&self.0.lock().unwrap_or_else(PoisonError::into_inner)) {
            return Ok(window);
        }
        let window = Arc::new(Window::read(store, fold, place)?);
        let mut windows = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        windows.push_front((key, window.clone()));
        windows.truncate(REMEMBERED);
        Ok(window)
    }
}
