//! Subscriptions: created, found, led, moved.

use std::time::{Duration, Instant};

use crate::model::error::{Error, ErrorKind, Result};
use crate::model::filter::Filter;
use crate::model::place::Position;
use crate::sqlite::Database;
use crate::sqlite::tables::subscriptions::Stored;
use crate::sqlite::tables::{deliveries, read_model, subscriptions};
use crate::sqlite::transaction::{View, Writing};
use crate::sqlite::verbs::scan;
use crate::storage::delivery::{
    Checkpoint, Claim, Claimed, FilterChange, Identity, Lead, NewSubscription, Page, Pulse, StartFrom, SubscriptionKind,
};

/// A claim that waited longer than this share of the lease for the write lock is not decided yet: the leader may have
/// waited too.
const PATIENCE_SHARE: u32 = 4;

impl Database {
    pub(crate) fn make_subscription(&self, new: &NewSubscription<'_>) -> Result<()> {
        let filter = new.filter.to_text()?;
        let stands = |view: &View<'_>| match find_checked(view, new.identity)? {
            Some(known) => fits(view, &known, new, &filter),
            None => Ok(false),
        };
        if self.read(stands)? {
            return Ok(());
        }
        self.write(|writing| make(writing, new, filter.clone()).map(|_| ()))
    }

    pub(crate) fn subscription(&self, identity: &Identity) -> Result<(Checkpoint, u64)> {
        self.read(|view| {
            let last = scan::last_position(view)?;
            let found = subscriptions::named(view, identity)?;
            subscriptions::check_position(&found, last)?;
            Ok((found, last))
        })
    }

    pub(crate) fn subscriptions(&self, tenant: &str) -> Result<(Vec<Checkpoint>, u64)> {
        self.read(|view| {
            let last = scan::last_position(view)?;
            let mut found = Vec::new();
            for stored in subscriptions::all(view)? {
                let checkpoint = stored.checked()?;
                if checkpoint.identity.tenant.is_empty() || checkpoint.identity.tenant == tenant {
                    subscriptions::check_position(&checkpoint, last)?;
                    found.push(checkpoint);
                }
            }
            let place = |of: &Checkpoint| (of.identity.tenant.is_empty(), of.identity.name.clone());
            found.sort_by_key(place);
            Ok((found, last))
        })
    }

    pub(crate) fn lead(&self, claim: &Claim<'_>) -> Result<Claimed> {
        let began = Instant::now();
        // A power cut may undo this, but after one nobody leads anyway.
        self.write_relaxed(|writing| {
            let row = subscriptions::named(writing, claim.identity)?;
            let waited = began.elapsed() >= Duration::from_millis(u64::from(row.lease_millis)) / PATIENCE_SHARE;
            take(writing, row, claim, waited && !claim.is_sure)
        })
    }

    pub(crate) fn pulse(&self, identity: &Identity) -> Result<Pulse> {
        self.read(|view| Ok(subscriptions::named(view, identity)?.pulse()))
    }

    pub(crate) fn own_pulse(&self, lead: Lead) -> Result<Option<Pulse>> {
        self.read(|view| Ok(subscriptions::led(view, lead)?.map(|row| row.pulse())))
    }

    pub(crate) fn beat(&self, lead: Lead) -> Result<Option<Pulse>> {
        self.write_relaxed(|writing| {
            let Some(mut row) = subscriptions::led(writing, lead)? else { return Ok(None) };
            row.heartbeat = raised(row.heartbeat);
            subscriptions::save(writing, &row)?;
            Ok(Some(row.pulse()))
        })
    }

    pub(crate) fn resign(&self, lead: Lead) -> Result<()> {
        self.write_relaxed(|writing| {
            let Some(mut row) = subscriptions::led(writing, lead)? else { return Ok(()) };
            (row.leader, row.in_hand, row.deaths) = (None, None, 0);
            subscriptions::save(writing, &row)
        })
    }

    pub(crate) fn next_page(&self, lead: Lead, tenant: &str, filter: &Filter, limit: usize) -> Result<Option<Page>> {
        self.read(|view| {
            let Some(row) = subscriptions::working(view, lead)? else { return Ok(None) };
            page_after(view, &row, tenant, filter, limit).map(Some)
        })
    }

    /// Moves the checkpoint, and notes the next event if asked to. `false`, without a write, if another runner leads
    /// now.
    pub(crate) fn advance(&self, lead: Lead, position: u64, in_hand: Option<u64>) -> Result<bool> {
        self.write_relaxed(|writing| advance(writing, lead, position, in_hand))
    }

    pub(crate) fn note_failure(&self, lead: Lead, position: u64, failure: &str) -> Result<()> {
        self.write(|writing| {
            let Some(mut row) = subscriptions::led(writing, lead)? else { return Ok(()) };
            (row.in_hand, row.deaths) = (None, 0);
            (row.failed_position, row.failure) = (Some(position), Some(failure.to_owned()));
            subscriptions::save(writing, &row)
        })
    }

    pub(crate) fn skip(&self, identity: &Identity) -> Result<Option<u64>> {
        self.write(|writing| {
            let mut row = subscriptions::named(writing, identity)?;
            let Some(position) = row.failed_position.or(row.in_hand.filter(|_| row.deaths > 0)) else { return Ok(None) };
            row.position = position.max(row.position);
            forget_failure(&mut row);
            subscriptions::save(writing, &row)?;
            Ok(Some(position))
        })
    }

    pub(crate) fn forgive(&self, identity: &Identity) -> Result<Option<u64>> {
        self.write(|writing| {
            let mut row = subscriptions::named(writing, identity)?;
            let Some(position) = row.failed_position.or(row.in_hand.filter(|_| row.deaths > 0)) else { return Ok(None) };
            forget_failure(&mut row);
            subscriptions::save(writing, &row)?;
            Ok(Some(position))
        })
    }

    pub(crate) fn break_lease(&self, identity: &Identity) -> Result<bool> {
        self.write(|writing| {
            let mut row = subscriptions::named(writing, identity)?;
            let was_led = depose(&mut row);
            subscriptions::save(writing, &row)?;
            Ok(was_led)
        })
    }

    /// Moves a checkpoint on request. An outbox forgets its deliveries of later events. Also repairs a damaged row.
    pub(crate) fn seek(&self, identity: &Identity, position: u64) -> Result<()> {
        self.write(|writing| {
            let mut row = find_to_mend(writing, identity)?;
            if row.kind == SubscriptionKind::Projection {
                return Err(Error::new(ErrorKind::InvalidInput, "a projection's checkpoint belongs to its tables")
                    .advice("reset it, then rebuild it"));
            }
            check_reached(position, scan::last_position(writing)?)?;
            move_to(writing, &mut row, position)
        })
    }

    pub(crate) fn reset(&self, identity: &Identity) -> Result<()> {
        self.write(|writing| {
            let mut row = find_to_mend(writing, identity)?;
            if row.kind == SubscriptionKind::Projection {
                // No definition has version 0, so nothing is applied to the tables before they are rebuilt.
                (row.version, row.rebuild_version, row.rebuild_position) = (0, None, None);
            }
            move_to(writing, &mut row, 0)
        })
    }

    pub(crate) fn remove_subscription(&self, identity: &Identity) -> Result<bool> {
        self.write(|writing| match subscriptions::find_anyhow(writing, identity)? {
            Some(stored) => remove(writing, &stored).map(|()| true),
            None => Ok(false),
        })
    }

    pub(crate) fn set_paused(&self, identity: &Identity, paused: bool) -> Result<bool> {
        self.write(|writing| {
            let mut row = subscriptions::named(writing, identity)?;
            if row.paused == paused {
                return Ok(false);
            }
            row.paused = paused;
            subscriptions::save(writing, &row)?;
            Ok(true)
        })
    }

    /// Positions between a subscription's checkpoint and the end of the log.
    pub(crate) fn lag(&self, lead: Lead) -> Result<u64> {
        self.read(|view| {
            let reached = subscriptions::by_id(view, lead.id)?.map_or(0, |row| row.position);
            Ok(scan::last_position(view)?.saturating_sub(reached))
        })
    }
}

/// Whether a stored filter, given as text, wants the same events as this one: the same text, or other names for types that
/// were renamed.
pub(super) fn is_same_filter(view: &View<'_>, stored: &str, filter: &Filter) -> Result<bool> {
    if stored == filter.to_text()? {
        return Ok(true);
    }
    let Ok(stored) = serde_json::from_str::<Filter>(stored) else { return Ok(false) };
    Ok(renamed(view, stored).to_text()? == renamed(view, filter.clone()).to_text()?)
}

/// The filter with today's names of event types.
fn renamed(view: &View<'_>, mut filter: Filter) -> Filter {
    for name in &mut filter.event_types {
        if let Some(today) = view.names.upcasters.renamed(name) {
            *name = today.to_owned();
        }
    }
    filter
}

fn find_checked(view: &View<'_>, identity: &Identity) -> Result<Option<Checkpoint>> {
    let found = subscriptions::find(view, identity)?;
    if let Some(found) = &found {
        subscriptions::check_position(found, scan::last_position(view)?)?;
    }
    Ok(found)
}

/// Whether a subscription already is as requested; an error if only the application can decide.
fn fits(view: &View<'_>, known: &Checkpoint, new: &NewSubscription<'_>, filter: &str) -> Result<bool> {
    let name = &known.identity.name;
    if known.kind != new.kind {
        return Err(Error::new(
            ErrorKind::InvalidInput,
            format!("{name:?} is already the name of a subscription of kind {}", known.kind),
        )
        .advice("choose another name, or remove that one first"));
    }
    let is_same = is_same_filter(view, &known.filter, new.filter)?;
    if is_same || new.on_filter_change.is_some() {
        return Ok(is_same);
    }
    Err(Error::new(
        ErrorKind::InvalidInput,
        format!("the filter of {name:?} has changed: it was {}, it is {filter}", known.filter),
    )
    .at_position(Position::new(known.position))
    .advice("say with on_filter_change whether the new filter applies from now or from the beginning, or use another name"))
}

/// Creates the subscription, or sets its new filter.
fn make(writing: &Writing<'_>, new: &NewSubscription<'_>, filter: String) -> Result<Checkpoint> {
    if let Some(mut known) = find_checked(writing, new.identity)? {
        if fits(writing, &known, new, &filter)? {
            return Ok(known);
        }
        known.filter = filter;
        match new.on_filter_change {
            Some(FilterChange::FromBeginning) => move_to(writing, &mut known, 0)?,
            _ => subscriptions::save(writing, &known)?,
        }
        return Ok(known);
    }
    let last = scan::last_position(writing)?;
    let position = match new.start {
        StartFrom::Beginning => 0,
        StartFrom::Now => last,
        StartFrom::After(position) => position.get(),
    };
    check_reached(position, last)?;
    let made = Checkpoint { filter, position, ..blank(subscriptions::next_id(writing)?, new.identity, new.kind) };
    subscriptions::insert(writing, &made)?;
    Ok(made)
}

pub(super) fn blank(id: i64, identity: &Identity, kind: SubscriptionKind) -> Checkpoint {
    Checkpoint {
        id,
        identity: identity.clone(),
        kind,
        filter: String::new(),
        tables: "[]".to_owned(),
        paused: false,
        position: 0,
        leader: None,
        fence: 0,
        heartbeat: 0,
        lease_millis: 0,
        in_hand: None,
        deaths: 0,
        failed_position: None,
        failure: None,
        version: 1,
        generation: 1,
        rebuild_version: None,
        rebuild_position: None,
        deliveries: 0,
    }
}

fn check_reached(position: u64, last: u64) -> Result<()> {
    if position <= last {
        return Ok(());
    }
    Err(Error::new(ErrorKind::InvalidInput, format!("the log ends at position {last}"))
        .at_position(Position::new(position))
        .advice("give a position that the log has reached: events up to it would be skipped"))
}

fn take(writing: &Writing<'_>, mut row: Checkpoint, claim: &Claim<'_>, waited: bool) -> Result<Claimed> {
    if row.paused {
        return Ok(Claimed::Paused);
    }
    let pulse = row.pulse();
    if row.leader.is_some_and(|leader| leader != claim.runner) && (waited || claim.dead != Some(pulse)) {
        if !pulse.is_asked() {
            row.heartbeat = row.heartbeat.wrapping_add(1);
            subscriptions::save(writing, &row)?;
        }
        return Ok(Claimed::Other(row.pulse()));
    }
    let after_death = row.leader.is_some_and(|leader| leader != claim.runner);
    if after_death && row.in_hand.is_some() {
        row.deaths = row.deaths.saturating_add(1);
    }
    if let Some(position) = row.deadly() {
        let deaths = row.deaths;
        (row.leader, row.failed_position) = (None, Some(position));
        row.failure = Some(format!("the process died while it handled this event, {deaths} times as far as noted"));
        subscriptions::save(writing, &row)?;
        return Ok(Claimed::Deadly { position, deaths });
    }
    deliveries::check_number(writing, &row)?;
    row.fence = row.fence.wrapping_add(i64::from(row.leader != Some(claim.runner)));
    row.leader = Some(claim.runner);
    row.heartbeat = raised(row.heartbeat);
    row.lease_millis = u32::try_from(claim.lease.as_millis()).unwrap_or(u32::MAX);
    subscriptions::save(writing, &row)?;
    Ok(Claimed::Led { lead: Lead { id: row.id, fence: row.fence }, after_death })
}

/// The next even number.
fn raised(heartbeat: i64) -> i64 {
    (heartbeat | 1).wrapping_add(1)
}

pub(super) fn page_after(view: &View<'_>, row: &Checkpoint, tenant: &str, filter: &Filter, limit: usize) -> Result<Page> {
    let last = scan::last_position(view)?;
    subscriptions::check_position(row, last)?;
    let (events, scanned) = scan::read_after(view, tenant, filter, row.position, limit)?;
    Ok(Page { after: row.position, events, scanned, last })
}

/// Moves the leader's checkpoint, which also counts as a heartbeat.
pub(super) fn advance(writing: &Writing<'_>, lead: Lead, position: u64, in_hand: Option<u64>) -> Result<bool> {
    let Some(mut row) = subscriptions::led(writing, lead)? else { return Ok(false) };
    move_on(&mut row, position, in_hand);
    subscriptions::save(writing, &row)?;
    Ok(true)
}

/// As [`advance`], on a row that the caller saves.
pub(super) fn move_on(row: &mut Checkpoint, position: u64, in_hand: Option<u64>) {
    row.position = position;
    row.heartbeat = raised(row.heartbeat);
    (row.failed_position, row.failure) = (None, None);
    if row.in_hand != in_hand {
        (row.in_hand, row.deaths) = (in_hand, 0);
    }
}

/// Deletes a subscription with its deliveries, and the tables that its row names.
pub(super) fn remove(writing: &Writing<'_>, stored: &Stored) -> Result<()> {
    if let Some(row) = &stored.intact {
        let tables = read_model::named(row)?;
        read_model::drop_shadows(writing, &tables)?;
        read_model::drop_tables(writing, &tables)?;
    }
    subscriptions::remove(writing, stored.id)
}

fn forget_failure(row: &mut Checkpoint) {
    (row.failed_position, row.failure, row.in_hand, row.deaths) = (None, None, None, 0);
}

/// Ends the current lead: the leader can write no more. Returns whether there was one.
fn depose(row: &mut Checkpoint) -> bool {
    row.fence = row.fence.wrapping_add(1);
    row.leader.take().is_some()
}

fn move_to(writing: &Writing<'_>, row: &mut Checkpoint, position: u64) -> Result<()> {
    // A running leader continues from the new position only after it has taken the lead again.
    depose(row);
    forget_failure(row);
    row.position = position;
    deliveries::remove_after(writing, row, position)?;
    // A requested move decides what is published again, so it also corrects the number.
    row.deliveries = deliveries::number(writing, row.id)?;
    subscriptions::save(writing, row)
}

/// The row with this name; if it is damaged, whatever can be read of it.
fn find_to_mend(view: &View<'_>, identity: &Identity) -> Result<Checkpoint> {
    let Some(stored) = subscriptions::find_anyhow(view, identity)? else {
        return subscriptions::named(view, identity);
    };
    match (&stored.intact, &stored.doubtful) {
        (None, Some(doubtful)) => {
            let mut mended = doubtful.clone();
            // Part of the names of indexes, so it must differ from any in use.
            mended.generation = mended.generation % 1_000_000 + 1_000_000;
            Ok(mended)
        }
        _ => stored.checked(),
    }
}
