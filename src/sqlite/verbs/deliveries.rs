//! Deliveries of outboxes: leased, marked, given up, retried.

use std::collections::{BTreeSet, VecDeque};

use crate::model::error::{ErrorKind, Result};
use crate::model::event::RecordedEvent;
use crate::model::filter::Filter;
use crate::sqlite::Database;
use crate::sqlite::consistency::disagrees;
use crate::sqlite::tables::{deliveries, positions, subscriptions};
use crate::sqlite::transaction::{View, Writing};
use crate::sqlite::verbs::lookup;
use crate::sqlite::verbs::subscriptions::{move_on, page_after};
use crate::storage::delivery::{
    Batch, Checkpoint, Delivery, DeliveryCounts, DeliveryState, Lead, Leased, Letter, LetterChange, Outcome, Page, Rules, Source,
};

/// The most bytes of data loaded at a time for retries.
const BATCH_BYTES: usize = 1 << 20;
/// The most rows changed in one transaction.
const ROWS_AT_ONCE: usize = 512;

/// The result of a transaction under the lead: `None` if another runner leads now.
type UnderLead<T> = Result<Option<T>>;

impl Database {
    /// Leases the next events of the log, durably: nothing leaves the process before it is on the disk. Events of held
    /// aggregates wait. The batch is empty if there is nothing new.
    pub(crate) fn lease_new(&self, lead: Lead, tenant: &str, filter: &Filter, rules: &Rules) -> UnderLead<Option<Batch>> {
        let page = self.read(|view| {
            let Some(row) = subscriptions::working(view, lead)? else { return Ok(None) };
            page_after(view, &row, tenant, filter, rules.batch).map(Some)
        })?;
        let Some(page) = page else { return Ok(None) };
        if page.scanned == page.after {
            return Ok(Some(None));
        }
        self.write_durably(|writing| lease_page(writing, lead, page, rules.holds))
    }

    pub(crate) fn lease_due(&self, lead: Lead, rules: &Rules) -> UnderLead<Option<Batch>> {
        let due = |view: &View<'_>, limit: usize| deliveries::due(view, lead.id, rules.holds, rules.now, limit);
        // No write transaction as long as nothing is due.
        if self.read(|view| due(view, 1))?.is_empty() {
            return Ok(Some(None));
        }
        self.write_durably(|writing| {
            let Some(row) = subscriptions::working(writing, lead)? else { return Ok(None) };
            let (mut items, mut bytes) = (Vec::new(), 0);
            for delivery in due(writing, rules.batch)? {
                if bytes > BATCH_BYTES {
                    break;
                }
                let item = lease_again(writing, &row, delivery)?;
                bytes += item.events.iter().flatten().map(|event| event.data.as_str().len()).sum::<usize>();
                items.push(item);
            }
            Ok(Some((!items.is_empty()).then_some(Batch { items, reached: row.position, source: Source::Due })))
        })
    }

    pub(crate) fn lease_orphan(&self, lead: Lead, rules: &Rules) -> UnderLead<Option<Batch>> {
        if self.read(|view| deliveries::first_leased(view, lead.id))?.is_none() {
            return Ok(Some(None));
        }
        self.write_durably(|writing| {
            let Some(row) = subscriptions::working(writing, lead)? else { return Ok(None) };
            let Some(orphan) = deliveries::first_leased(writing, lead.id)? else { return Ok(Some(None)) };
            // The dead runner's whole batch has rows, so the checkpoint can move past it.
            let reached = row.position.max(deliveries::last_position(writing, lead.id)?);
            let item = match orphan.attempts >= rules.max_attempts {
                true => leased(orphan, Err("the process died in the last attempt".to_owned())),
                false => lease_again(writing, &row, orphan)?,
            };
            Ok(Some(Some(Batch { items: vec![item], reached, source: Source::Orphan })))
        })
    }

    /// Records the outcomes of a batch. Events that were not tried stay as they were. `false` if another runner leads
    /// now.
    pub(crate) fn mark(&self, lead: Lead, batch: &Batch, outcomes: &[Outcome], rules: &Rules) -> Result<bool> {
        self.write_in_background(|writing| mark(writing, lead, batch, outcomes, rules))
    }

    /// To be called once under each lead until it returns `false`, because a runner with another policy or clock may
    /// have led before. What waits for nothing becomes due, and so does what is due later than possible.
    pub(crate) fn tidy_deliveries(&self, lead: Lead, rules: &Rules, latest: i64) -> Result<bool> {
        let misplaced = |view: &View<'_>| {
            let mut rows = deliveries::waiting_for_nothing(view, lead.id, rules.holds, ROWS_AT_ONCE)?;
            rows.extend(deliveries::due_after(view, lead.id, latest, ROWS_AT_ONCE)?);
            Ok(rows)
        };
        if self.read(misplaced)?.is_empty() {
            return Ok(false);
        }
        self.write_in_background(|writing| {
            if subscriptions::led(writing, lead)?.is_none() {
                return Ok(false);
            }
            for row in misplaced(writing)? {
                deliveries::save(writing, &Delivery { state: DeliveryState::Retry, due_at: rules.now, ..row })?;
            }
            Ok(true)
        })
    }

    pub(crate) fn next_due(&self, lead: Lead, rules: &Rules) -> Result<Option<i64>> {
        self.read(|view| deliveries::next_due(view, lead.id, rules.holds))
    }

    pub(crate) fn count_deliveries(&self, outbox: i64) -> Result<DeliveryCounts> {
        self.read(|view| match subscriptions::by_id(view, outbox)? {
            Some(row) => deliveries::count(view, &row),
            None => Ok(DeliveryCounts::default()),
        })
    }

    pub(crate) fn dead_letters(&self, outbox: i64, after: u64, limit: usize) -> Result<VecDeque<Letter>> {
        self.read(|view| {
            let Some(row) = subscriptions::by_id(view, outbox)? else { return Ok(VecDeque::new()) };
            // Once for each iteration, because it counts all rows.
            if after == 0 {
                deliveries::check_number(view, &row)?;
            }
            let letters = deliveries::dead(view, outbox, after, limit)?;
            let with_events = |delivery: Delivery| {
                let events = match events_of(view, &row, delivery.position) {
                    Ok(events) => events.unwrap_or_default(),
                    Err(error) if error.kind() == ErrorKind::SchemaVersionTooNew => Vec::new(),
                    Err(error) => return Err(error),
                };
                let waiting = deliveries::waiting(view, outbox, delivery.aggregate)?;
                Ok(Letter { delivery, events, waiting })
            };
            letters.into_iter().map(with_events).collect()
        })
    }

    pub(crate) fn change_letters(&self, outbox: i64, position: Option<u64>, change: LetterChange) -> Result<u64> {
        self.write(|writing| {
            let Some(mut row) = subscriptions::by_id(writing, outbox)? else { return Ok(0) };
            let letters = match position {
                Some(position) => deliveries::at(writing, outbox, position)?.into_iter().collect(),
                None => deliveries::dead(writing, outbox, 0, ROWS_AT_ONCE)?,
            };
            let mut changed = 0;
            for letter in letters.into_iter().filter(|letter| letter.state == DeliveryState::Dead) {
                changed += 1;
                let aggregate = letter.aggregate;
                match change {
                    LetterChange::Revive => deliveries::save(writing, &due_now(letter))?,
                    LetterChange::Discard => {
                        deliveries::remove(writing, &mut row, letter.position)?;
                        // Under the stricter policy: nothing waits that the other one lets through.
                        release(writing, outbox, aggregate, true, 0)?;
                    }
                }
            }
            if change == LetterChange::Discard {
                subscriptions::save(writing, &row)?;
            }
            Ok(changed)
        })
    }
}

fn due_now(letter: Delivery) -> Delivery {
    // The time 0 is due whatever the clocks say.
    Delivery { state: DeliveryState::Retry, attempts: 0, due_at: 0, ..letter }
}

/// What the event of a delivery is read as, or why there is nothing to publish.
fn events_of(view: &View<'_>, outbox: &Checkpoint, position: u64) -> Result<Result<Vec<RecordedEvent>, String>> {
    let found = lookup::events_at(view, position).and_then(|found| match found {
        Some(events) => Ok(Some(events)),
        None => positions::confirm_removed(view, position).map(|()| None),
    });
    match found {
        Ok(Some(events)) => Ok(Ok(wanted(view, outbox, events))),
        Ok(None) => Ok(Err("the event is no longer in the file".to_owned())),
        // A newer program can publish it.
        Err(error) if matches!(error.kind(), ErrorKind::Busy | ErrorKind::Io | ErrorKind::SchemaVersionTooNew) => Err(error),
        // One damaged event must not hold up the others.
        Err(error) => Ok(Err(error.to_string())),
    }
}

/// Of several events that a stored one is read as, those that the outbox wants.
fn wanted(view: &View<'_>, outbox: &Checkpoint, mut events: Vec<RecordedEvent>) -> Vec<RecordedEvent> {
    // Whether it wants the stored event was decided when it was leased first.
    if events.len() > 1
        && let Ok(Filter { event_types, .. }) = serde_json::from_str(&outbox.filter)
        && !event_types.is_empty()
    {
        events.retain(|event| view.names.upcasters.matches(&event_types, &event.aggregate_type, &event.event_type));
    }
    events
}

fn leased(before: Delivery, events: Result<Vec<RecordedEvent>, String>) -> Leased {
    let attempt = before.attempts.saturating_add(1);
    Leased { position: before.position, aggregate: before.aggregate, attempt, before: Some(before), events }
}

/// Leases a delivery that has a row. The attempt is counted now, so that a death during it counts.
fn lease_again(writing: &Writing<'_>, outbox: &Checkpoint, before: Delivery) -> Result<Leased> {
    let events = events_of(writing, outbox, before.position)?;
    let attempts = before.attempts.saturating_add(1);
    deliveries::save(writing, &Delivery { state: DeliveryState::Leased, attempts, due_at: 0, ..before.clone() })?;
    Ok(leased(before, events))
}

fn lease_page(writing: &Writing<'_>, lead: Lead, page: Page, holds: bool) -> UnderLead<Option<Batch>> {
    let Some(mut row) = subscriptions::working(writing, lead)? else { return Ok(None) };
    let mut items = Vec::new();
    if row.position != page.after {
        // The checkpoint was moved since the events were read.
        return Ok(Some(Some(Batch { items, reached: row.position, source: Source::New })));
    }
    let mut events = page.events.into_iter().peekable();
    while let Some(first) = events.next() {
        let position = first.position.get();
        let mut parts = vec![first];
        while let Some(part) = events.next_if(|event| event.position == position) {
            parts.push(part);
        }
        if deliveries::at(writing, lead.id, position)?.is_some() {
            continue;
        }
        let aggregate = lookup::aggregate_at(writing, position)?.ok_or_else(|| disagrees().at_position(position.into()))?;
        let held = deliveries::is_held(writing, lead.id, aggregate, holds)?;
        let (state, attempts) = if held { (DeliveryState::Waiting, 0) } else { (DeliveryState::Leased, 1) };
        let delivery = Delivery { subscription: lead.id, position, aggregate, state, attempts, due_at: 0, last_error: None };
        deliveries::insert(writing, &mut row, &delivery)?;
        if !held {
            items.push(Leased { position, aggregate, attempt: 1, before: None, events: Ok(parts) });
        }
    }
    if items.is_empty() {
        // Nothing is to be published, so only the checkpoint moves.
        move_on(&mut row, page.scanned, None);
    }
    subscriptions::save(writing, &row)?;
    Ok(Some(Some(Batch { items, reached: page.scanned, source: Source::New })))
}

fn mark(writing: &Writing<'_>, lead: Lead, batch: &Batch, outcomes: &[Outcome], rules: &Rules) -> Result<bool> {
    let Some(mut row) = subscriptions::led(writing, lead)? else { return Ok(false) };
    let id = lead.id;
    let untried = batch.items.get(outcomes.len()..).unwrap_or_default();
    let is_new = batch.source == Source::New;
    let reached = match batch.items.iter().take(outcomes.len()).next_back() {
        Some(last) if is_new && !untried.is_empty() => last.position,
        _ => batch.reached,
    };
    move_on(&mut row, reached, None);
    for (item, outcome) in batch.items.iter().zip(outcomes) {
        let (state, due_at, reason) = match outcome {
            Outcome::Held => continue,
            Outcome::Delivered => {
                deliveries::remove(writing, &mut row, item.position)?;
                continue;
            }
            Outcome::Retry { due_at, reason } => (DeliveryState::Retry, *due_at, reason),
            Outcome::Dead(reason) => (DeliveryState::Dead, 0, reason),
        };
        if let Some(delivery) = deliveries::at(writing, id, item.position)? {
            deliveries::save(writing, &Delivery { state, due_at, last_error: Some(reason.clone()), ..delivery })?;
        }
        if state == DeliveryState::Retry || rules.holds {
            // Nobody knows whether the dead runner tried what it had leased behind an orphan, so the attempt counts.
            hold_back(writing, id, item, batch.source != Source::Orphan)?;
        }
    }
    if is_new && !untried.is_empty() {
        deliveries::remove_after(writing, &mut row, reached)?;
    }
    for before in untried.iter().filter_map(|item| item.before.as_ref()) {
        deliveries::save(writing, before)?;
    }
    if !is_new {
        let aggregates: BTreeSet<i64> = batch.items.iter().map(|item| item.aggregate).collect();
        for aggregate in aggregates {
            release(writing, id, aggregate, rules.holds, rules.now)?;
        }
    }
    subscriptions::save(writing, &row)?;
    Ok(true)
}

/// Makes leased deliveries behind a failed one of their aggregate wait. `untried`: their attempts were counted but not
/// made.
fn hold_back(writing: &Writing<'_>, subscription: i64, failed: &Leased, untried: bool) -> Result<()> {
    let mut after = failed.position;
    loop {
        let behind = deliveries::of_aggregate(writing, subscription, failed.aggregate, after, ROWS_AT_ONCE)?;
        for row in behind.iter().filter(|row| row.state == DeliveryState::Leased) {
            let attempts = row.attempts.saturating_sub(u32::from(untried));
            deliveries::save(writing, &Delivery { state: DeliveryState::Waiting, attempts, due_at: 0, ..row.clone() })?;
        }
        match behind.last() {
            Some(last) if behind.len() == ROWS_AT_ONCE => after = last.position,
            _ => return Ok(()),
        }
    }
}

/// Releases the first delivery of an aggregate if it was waiting: the ones before it are done.
fn release(writing: &Writing<'_>, subscription: i64, aggregate: i64, holds: bool, now: i64) -> Result<()> {
    match deliveries::head_of(writing, subscription, aggregate, holds)? {
        Some(head) if head.state == DeliveryState::Waiting => {
            deliveries::save(writing, &Delivery { state: DeliveryState::Retry, due_at: now, ..head })
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::Options;
    use crate::storage::delivery::{Claim, Claimed, Identity, NewSubscription, StartFrom, SubscriptionKind};

    const DAY: i64 = 86_400_000_000;

    fn outbox(database: &Database) -> Lead {
        let identity = Identity { tenant: "default".into(), name: "out".into() };
        let filter = Filter::new();
        let kind = SubscriptionKind::Outbox;
        let new =
            NewSubscription { identity: &identity, kind, filter: &filter, start: StartFrom::Beginning, on_filter_change: None };
        database.make_subscription(&new).unwrap();
        let lease = std::time::Duration::from_millis(100);
        match database.lead(&Claim { identity: &identity, runner: [1; 16], lease, dead: None, is_sure: false }).unwrap() {
            Claimed::Led { lead, .. } => lead,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_a_wrong_clock_put_off_for_years_is_due_at_once() {
        let database = Database::in_memory(&Options::new()).unwrap();
        let lead = outbox(&database);
        let now = 20_000 * DAY;
        let rules = Rules { holds: true, max_attempts: 3, batch: 128, now };
        let row = |position: u64, due_at| Delivery {
            subscription: lead.id,
            position,
            aggregate: i64::try_from(position).unwrap(),
            state: DeliveryState::Retry,
            attempts: 1,
            due_at,
            last_error: None,
        };
        let many = 2 * ROWS_AT_ONCE as u64;
        database
            .write(|writing| {
                let mut outbox = subscriptions::by_id(writing, lead.id)?.unwrap();
                deliveries::insert(writing, &mut outbox, &row(1, now + DAY / 2))?;
                (2..=many)
                    .try_for_each(|position| deliveries::insert(writing, &mut outbox, &row(position, now + 3_650 * DAY)))?;
                subscriptions::save(writing, &outbox)
            })
            .unwrap();
        while database.tidy_deliveries(lead, &rules, now + DAY).unwrap() {}
        let due = database.read(|view| deliveries::due(view, lead.id, true, now, usize::MAX >> 1)).unwrap();
        assert_eq!(due.len() as u64, many - 1, "all but the one that is really put off");
        assert_eq!(database.next_due(lead, &rules).unwrap(), Some(now));
    }

    #[test]
    fn a_runner_that_lost_the_lead_writes_nothing() {
        let database = Database::in_memory(&Options::new()).unwrap();
        let lead = outbox(&database);
        let rules = Rules { holds: true, max_attempts: 3, batch: 128, now: 0 };
        assert!(database.break_lease(&Identity { tenant: "default".into(), name: "out".into() }).unwrap());
        assert!(!database.advance(lead, 0, None).unwrap());
        assert!(database.beat(lead).unwrap().is_none() && database.own_pulse(lead).unwrap().is_none());
        let empty = Batch { items: Vec::new(), reached: 0, source: Source::New };
        assert!(!database.mark(lead, &empty, &[], &rules).unwrap());
        database.resign(lead).unwrap();
    }
}
