//! Erasing: takes an aggregate, or fields of its events, out of the log for good.
//!
//! The first transaction notes what is to be erased; then nobody can load a whole aggregate of which a part is gone, or
//! append to it. Each further one erases some events and notes how far it is. The last one gives the note a new number,
//! by which readers learn of it. Whatever ends the process in between, the note says how to go on.

use std::sync::Arc;

use super::conditions::{Conditions, Tags};
use super::lookup;
use crate::model::blank;
use crate::model::clock::from_micros;
use crate::model::error::{Error, ErrorKind, Result};
use crate::model::filter::Filter;
use crate::model::place::{AggregateRef, Position, Version};
use crate::sqlite::Database;
use crate::sqlite::consistency::RESTORE;
use crate::sqlite::tables::aggregates::{self, AggregateRow, Removal};
use crate::sqlite::tables::archive::Part;
use crate::sqlite::tables::block_changes::Removed;
use crate::sqlite::tables::erasures::{self, ErasureRow, State};
use crate::sqlite::tables::event_writes::{self, Replacement};
use crate::sqlite::tables::events::{self, Owner, Raw};
use crate::sqlite::tables::{deliveries, event_tags, positions, removed_ids, snapshots, subscriptions};
use crate::sqlite::transaction::{View, Writing};
use crate::storage::delivery::{Checkpoint, DeliveryState, SubscriptionKind};
use crate::storage::erasure::{EraseOrder, ErasedPart, Erasure, Fields, Remembered};
use crate::storage::scan::Selection;

/// What takes the place of an error's text that may quote an erased event.
const ERASED_FAILURE: &str = "it failed at an event that was erased; what it said was erased with it";

impl Database {
    /// Erases the next part of an aggregate. An erasure of it that was begun before is finished first.
    pub(crate) fn erase_part(&self, tenant: &str, names: (&str, &str), order: &EraseOrder) -> Result<ErasedPart> {
        let work = |writing: &Writing<'_>| {
            let found = lookup::find(writing, tenant, names.0, names.1)?;
            let Some((row, owner)) = found else { return Err(Error::new(ErrorKind::NotFound, "the aggregate has no events")) };
            let mut erasing = Erasing { writing, order, row, owner: &owner, part: ErasedPart::default() };
            erasing.next().map(|()| erasing.part)
        };
        match order.dry_run {
            true => self.write_and_roll_back(work),
            false => self.write(work),
        }
    }

    /// The aggregates with an unfinished erasure, of all tenants.
    pub(crate) fn begun_erasures(&self) -> Result<Vec<AggregateRef>> {
        self.read(|view| {
            erasures::all_begun(view)?.iter().map(|row| Ok(Owner::by_number(view, row.aggregate)?.reference())).collect()
        })
    }

    /// The finished erasures of a tenant after a number, `limit` at most.
    pub(crate) fn erasures(&self, tenant: &str, after: u64, limit: usize) -> Result<Vec<Erasure>> {
        self.read(|view| {
            let (mut found, mut after) = (Vec::new(), positions::number_of(after));
            loop {
                let page = erasures::page(view, after, limit.max(1))?;
                let Some(last) = page.last() else { return Ok(found) };
                after = last.id;
                for row in page.into_iter().filter(|row| row.state != State::Begun) {
                    let owner = Owner::by_number(view, row.aggregate)?;
                    if &*owner.aggregate_type.tenant == tenant && found.len() < limit {
                        found.push(told(row, &owner)?);
                    }
                }
                if found.len() >= limit {
                    return Ok(found);
                }
            }
        })
    }

    /// Forgets the name of an erased aggregate.
    pub(crate) fn forget_name(&self, tenant: &str, names: (&str, &str)) -> Result<()> {
        self.write(|writing| {
            let found = lookup::find(writing, tenant, names.0, names.1)?;
            let Some((row, _)) = found else { return Err(Error::new(ErrorKind::NotFound, "the aggregate has no events")) };
            match erasures::whole(writing, row.id)? {
                Some(mut erasure) if erasure.state != State::Begun => {
                    aggregates::rename(writing, row.id, &format!("erased-{}", uuid::Uuid::new_v4()))?;
                    erasure.state = State::Erased;
                    erasures::save(writing, &erasure)
                }
                _ => Err(Error::new(ErrorKind::InvalidInput, "the aggregate was not erased")
                    .advice("erase it first: Maintenance::erase")),
            }
        })
    }
}

/// Refuses an aggregate that was erased, if it was. Only asked if events were removed, so it costs others nothing.
pub(super) fn refuse_erased(view: &View<'_>, aggregate: i64) -> Result<()> {
    let Some(erasure) = erasures::whole(view, aggregate)? else { return Ok(()) };
    let when = from_micros(erasure.erased_at)?.to_rfc3339_opts(chrono::SecondsFormat::Secs, true);
    let what = match erasure.state {
        State::Begun => format!("the aggregate is being erased since {when}"),
        _ => format!("the aggregate was erased on {when}"),
    };
    Err(Error::new(ErrorKind::Erased, what)
        .advice("its events are gone; Maintenance::forget_name frees its name for a new start"))
}

fn told(row: ErasureRow, owner: &Owner) -> Result<Erasure> {
    let fields = row.fields.as_deref().map(serde_json::from_str::<Remembered>).transpose().map_err(|_| damaged_note())?;
    Ok(Erasure {
        number: row.id.cast_unsigned(),
        aggregate: owner.reference(),
        fields: fields.map(|fields| fields.erased),
        through: Version::new(row.through),
        events: row.events,
        position: Position::new(row.position),
        erased_at: from_micros(row.erased_at)?,
        erased_by: row.erased_by.map(Arc::from),
        reason: row.reason.map(Arc::from),
        is_wiped: row.state == State::Clean,
    })
}

fn damaged_note() -> Error {
    Error::new(ErrorKind::Corrupt, "the record of an erasure names no fields").advice(RESTORE)
}

/// One transaction of an erasure.
struct Erasing<'a> {
    writing: &'a Writing<'a>,
    order: &'a EraseOrder,
    row: AggregateRow,
    owner: &'a Owner,
    part: ErasedPart,
}

impl Erasing<'_> {
    fn next(&mut self) -> Result<()> {
        let Some((mut erasure, is_the_one)) = self.begin()? else { return Ok(()) };
        let fields = erasure.fields.as_deref().map(serde_json::from_str::<Fields>).transpose().map_err(|_| damaged_note())?;
        let events = match &fields {
            Some(_) if self.row.removal.archived_through > erasure.through.max(self.row.removal.purged_through) => {
                self.part = ErasedPart { is_archived: true, ..ErasedPart::default() };
                return self.note(&erasure);
            }
            Some(fields) => self.erase_fields(&mut erasure, fields)?,
            None => self.erase_events(&mut erasure)?,
        };
        self.part.events = events;
        erasure.events += events;
        if erasure.through < self.row.version {
            return self.note(&erasure);
        }
        self.forget_copies(&mut erasure)?;
        erasure.state = State::Erased;
        if let Some(fields) = fields {
            erasure.fields = Some(text_of(&fields.remembered())?);
        }
        erasures::renumber(self.writing, &mut erasure)?;
        (self.part.finished, self.part.number) = (is_the_one, Some(erasure.id.cast_unsigned()));
        Ok(())
    }

    fn note(&self, erasure: &ErasureRow) -> Result<()> {
        erasures::save(self.writing, erasure)
    }

    /// The erasure to go on with, and whether it is the one that is asked for. `None` if there is nothing to do.
    fn begin(&mut self) -> Result<Option<(ErasureRow, bool)>> {
        let writing = self.writing;
        let fields = self.order.fields.as_ref().map(text_of).transpose()?;
        if let Some(begun) = erasures::begun(writing, self.row.id)? {
            let is_the_one = begun.fields == fields;
            return Ok(Some((begun, is_the_one)));
        }
        if self.order.only_begun || erasures::whole(writing, self.row.id)?.is_some() {
            self.part.finished = true;
            return Ok(None);
        }
        let purged = self.row.removal.purged_through;
        if fields.is_some() && purged > 0 && !self.order.break_replay {
            let what = format!(
                "events up to version {purged} were purged, so that a replay needs the snapshots, which may hold the fields"
            );
            return Err(Error::new(ErrorKind::HistoryRemoved, what)
                .advice("erase the whole aggregate, or let it be unreadable: Erase::even_if_replay_breaks"));
        }
        let mut erasure = ErasureRow {
            id: erasures::newest(writing)? + 1,
            aggregate: self.row.id,
            through: purged,
            fields,
            events: 0,
            state: State::Begun,
            projections: "[]".to_owned(),
            position: positions::last(writing)?,
            erased_by: self.order.erased_by.clone(),
            reason: self.order.reason.clone(),
            erased_at: self.order.now,
        };
        self.forget_copies(&mut erasure)?;
        if erasure.fields.is_none() && purged > 0 {
            removed_ids::forget_all(writing, self.owner)?;
        }
        Ok(Some((erasure, true)))
    }

    /// Removes the next events.
    fn erase_events(&mut self, erasure: &mut ErasureRow) -> Result<u64> {
        let (mut removed, mut events) = (Removed::default(), 0);
        let mut after = erasure.through.max(self.row.removal.purged_through);
        let through = after.saturating_add(self.order.at_once).min(self.row.version);
        while after < through {
            let (part, range) = self.row.removal.part_of((after, through), false);
            events += event_writes::purge(self.writing, part, self.owner, range, &mut removed, false)?.0;
            after = range.1;
        }
        removed.subtract(self.writing)?;
        aggregates::note_removal(self.writing, self.row.id, Removal { purged_through: after, ..self.row.removal })?;
        erasure.through = after;
        Ok(events)
    }

    /// Blanks the fields in the next events.
    fn erase_fields(&mut self, erasure: &mut ErasureRow, fields: &Fields) -> Result<u64> {
        let after = erasure.through.max(self.row.removal.purged_through);
        let through = after.saturating_add(self.order.at_once).min(self.row.version);
        let selection = Selection { filter: fields.of.clone().unwrap_or_default(), as_stored: true, ..Selection::default() };
        let tenant = &*self.owner.aggregate_type.tenant;
        let conditions = Conditions::of(self.writing, tenant, &selection)?;
        let limit = usize::try_from(through.saturating_sub(after)).unwrap_or(usize::MAX);
        let mut changed = Vec::new();
        events::scan_aggregate(self.writing, Part::Main, self.owner, (after, through), false, limit, |raw| {
            if let Some(conditions) = &conditions
                && conditions.types.matches(self.owner.aggregate_type.id, raw.event_type.id, raw.created_at)
                && !matches!(conditions.tags_of(raw)?, Tags::Missing)
            {
                changed.extend(blanked(raw, self.owner, fields)?);
            }
            Ok(true)
        })?;
        for Blanked { replacement, forgotten, position } in &changed {
            for tag in forgotten {
                event_tags::forget(self.writing, self.owner.aggregate_type.tenant_id, tag, *position)?;
            }
            event_writes::replace(self.writing, self.owner.aggregate, replacement)?;
        }
        erasure.through = through;
        Ok(changed.len() as u64)
    }

    /// Removes what is derived from the events: snapshots, deliveries, the texts of errors. Notes the projections whose
    /// tables may hold them, and lets those that are being rebuilt begin again.
    fn forget_copies(&mut self, erasure: &mut ErasureRow) -> Result<()> {
        self.part.snapshots += snapshots::delete_all(self.writing, self.row.id)?;
        let mut generations = Vec::new();
        for stored in subscriptions::all(self.writing)? {
            let mut row = stored.checked()?;
            if !row.identity.tenant.is_empty() && *row.identity.tenant != *self.owner.aggregate_type.tenant {
                continue;
            }
            if row.kind == SubscriptionKind::Projection && wants(&row, &self.owner.aggregate_type.name) {
                generations.push((row.id, row.generation));
                (row.rebuild_version, row.rebuild_position) = (None, None);
            }
            if row.kind == SubscriptionKind::Outbox {
                self.part.deliveries += self.forget_deliveries(&mut row, erasure.fields.is_none())?;
            }
            if let Some(position) = row.failed_position
                && row.failure.is_some()
                && lookup::aggregate_at(self.writing, position)?.is_none_or(|aggregate| aggregate == self.row.id)
            {
                row.failure = Some(ERASED_FAILURE.to_owned());
            }
            subscriptions::save(self.writing, &row)?;
        }
        erasure.projections = text_of(&generations)?;
        Ok(())
    }

    /// Removes the deliveries of the aggregate, or only what errors said. One that is just being published stays: its
    /// outbox will finish it.
    fn forget_deliveries(&self, outbox: &mut Checkpoint, whole: bool) -> Result<u64> {
        let mut forgotten = 0;
        for mut delivery in deliveries::of_aggregate(self.writing, outbox.id, self.row.id, 0, usize::MAX >> 1)? {
            if whole && delivery.state != DeliveryState::Leased {
                deliveries::remove(self.writing, outbox, delivery.position)?;
                forgotten += 1;
            } else if delivery.last_error.take().is_some() {
                deliveries::save(self.writing, &delivery)?;
            }
        }
        Ok(forgotten)
    }
}

fn text_of(value: &impl serde::Serialize) -> Result<String> {
    serde_json::to_string(value).map_err(|error| Error::new(ErrorKind::Internal, format!("a note cannot be written: {error}")))
}

/// Whether a projection may have got events of this aggregate type.
fn wants(projection: &Checkpoint, aggregate_type: &str) -> bool {
    match serde_json::from_str::<Filter>(&projection.filter) {
        Ok(filter) => filter.aggregate_types.is_empty() || filter.aggregate_types.iter().any(|wanted| wanted == aggregate_type),
        Err(_) => true,
    }
}

/// An event without the fields.
struct Blanked {
    replacement: Replacement,
    forgotten: Vec<String>,
    position: u64,
}

/// `None` if the event has none of the fields.
fn blanked(raw: &Raw<'_>, owner: &Owner, fields: &Fields) -> Result<Option<Blanked>> {
    let (mut data, mut metadata) = (raw.data.to_string(), raw.metadata.map(str::to_owned));
    let mut erased = Vec::new();
    for (pointer, value) in &fields.data {
        if let Some(changed) = blank::blank(&data, pointer, value.as_ref().map(|value| value.as_str())) {
            data = changed;
            erased.push(format!("/data{pointer}"));
        }
    }
    for pointer in &fields.metadata {
        if let Some(changed) = metadata.as_deref().and_then(|text| blank::blank(text, pointer, None)) {
            metadata = Some(changed);
            erased.push(format!("/metadata{pointer}"));
        }
    }
    let tags = raw.tags()?;
    let (forgotten, kept): (Vec<String>, Vec<String>) = tags.into_iter().partition(|tag| fields.tags.contains(tag));
    if !forgotten.is_empty() {
        erased.push("/tags".to_owned());
    }
    if erased.is_empty() {
        return Ok(None);
    }
    let metadata = blank::marked(metadata.as_deref(), &erased);
    let tags = if kept.is_empty() { None } else { Some(text_of(&kept)?) };
    let checksum = raw.checksum_with(owner.identity, &data, metadata.as_deref(), tags.as_deref());
    let replacement = Replacement { version: raw.version, checksum, data, metadata, tags };
    Ok(Some(Blanked { replacement, forgotten, position: raw.position }))
}
