//! Why an event happened, and what followed, as far as metadata says it.

use std::collections::{HashMap, HashSet};

use foldlog::{EventId, Filter, Query, RecordedEvent, Result, Store};

use crate::app::App;

/// The positions after an event among which its effects are looked for.
pub(crate) const LOOKED_AT: u64 = 10_000;
/// Causes that are followed, at most.
const MOST_CAUSES: usize = 200;
/// Causes that are shown above an event, and levels below it.
const SHOWN: usize = 2;
/// Effects of one event that are shown.
const MOST_EFFECTS: usize = 5;

#[derive(Default)]
pub(crate) struct Story {
    /// The nearest causes, the farther one first.
    pub(crate) causes: Vec<RecordedEvent>,
    /// How many more there are before them, and the first of all.
    pub(crate) earlier: Option<(usize, RecordedEvent)>,
    /// What ended the search for causes, if it was not an event without a cause.
    pub(crate) broken: Option<String>,
    pub(crate) effects: Vec<Effect>,
    /// Effects of the event itself that are not in `effects`.
    pub(crate) more: usize,
}

pub(crate) struct Effect {
    pub(crate) event: RecordedEvent,
    pub(crate) effects: Vec<Effect>,
    pub(crate) more: usize,
}

/// The cause that an event names.
fn cause_of(event: &RecordedEvent) -> Option<String> {
    event.metadata().ok()?.causation_id
}

impl Story {
    pub(crate) fn of(app: &App, event: &RecordedEvent) -> Result<Story> {
        let mut story = Story::default();
        story.look_back(&app.store.tenant(&event.tenant), event)?;
        story.look_ahead(app, event)?;
        Ok(story)
    }

    fn look_back(&mut self, store: &Store, event: &RecordedEvent) -> Result<()> {
        let mut seen = HashSet::from([event.id]);
        let mut next = cause_of(event);
        let mut all = Vec::new();
        while let Some(cause) = next.take() {
            let found = match cause.parse::<EventId>() {
                Ok(id) => store.event(id)?,
                // Some applications name a command or a request.
                Err(_) => None,
            };
            let Some(found) = found else {
                self.broken = Some(format!("caused by {cause}, which is no event of this tenant"));
                break;
            };
            if !seen.insert(found.id) {
                self.broken = Some("the causes go round in a circle".to_owned());
                break;
            }
            if all.len() == MOST_CAUSES {
                self.broken = Some(format!("more than {MOST_CAUSES} causes; the search ended here"));
                break;
            }
            next = cause_of(&found);
            all.push(found);
        }
        let earlier = all.split_off(all.len().min(SHOWN));
        self.earlier = earlier.last().map(|first| (earlier.len(), first.clone()));
        all.reverse();
        self.causes = all;
        Ok(())
    }

    fn look_ahead(&mut self, app: &App, event: &RecordedEvent) -> Result<()> {
        let end = event.position + LOOKED_AT;
        let mut by_cause: HashMap<String, Vec<RecordedEvent>> = HashMap::new();
        let mut note = |found: RecordedEvent| {
            // Most events name no cause; looking for the word is far cheaper than reading the JSON.
            if found.metadata.as_ref().is_some_and(|metadata| metadata.as_str().contains("causationId"))
                && let Some(cause) = cause_of(&found)
            {
                by_cause.entry(cause).or_default().push(found);
            }
        };
        let tenant = app.store.tenant(&event.tenant);
        for found in tenant.read(Query::matching(Filter::new()).after_position(event.position).up_to_position(end)) {
            note(found?);
        }
        let rest = Query::aggregate(&*event.aggregate_type, &event.aggregate_id).after_version(event.version).limit(1_000);
        for found in tenant.read(rest) {
            let found = found?;
            if found.position > end {
                note(found);
            }
        }
        let mut seen = HashSet::from([event.id]);
        (self.effects, self.more) = effects(&mut by_cause, &mut seen, event.id, SHOWN);
        Ok(())
    }
}

fn effects(
    by_cause: &mut HashMap<String, Vec<RecordedEvent>>,
    seen: &mut HashSet<EventId>,
    of: EventId,
    levels: usize,
) -> (Vec<Effect>, usize) {
    let mut found = by_cause.remove(&of.to_string()).unwrap_or_default();
    found.retain(|event| seen.insert(event.id));
    if levels == 0 {
        return (Vec::new(), found.len());
    }
    let more = found.len().saturating_sub(MOST_EFFECTS);
    found.truncate(MOST_EFFECTS);
    let effect = |event: RecordedEvent| {
        let (effects, more) = effects(by_cause, seen, event.id, levels - 1);
        Effect { event, effects, more }
    };
    (found.into_iter().map(effect).collect(), more)
}
