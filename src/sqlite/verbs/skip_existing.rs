//! Appends that leave out the events which the log already has.

use super::repeat::{self, Known};
use crate::model::error::Result;
use crate::model::expected::Expected;
use crate::model::place::{AggregateRef, Version};
use crate::sqlite::transaction::{View, Writing};
use crate::storage::append::{AggregateAppend, AppendOutcome, AppendRequest, Appended};

/// Appends the events that the log does not have; `None` if it has none of them, so that nothing need be left out.
pub(super) fn append_the_others(
    writing: &Writing<'_>,
    request: &AppendRequest<'_>,
    append: impl FnOnce(&AppendRequest<'_>) -> Result<AppendOutcome>,
) -> Result<Option<AppendOutcome>> {
    let parts = request.appends.iter().map(|append| Part::find(writing, request, append)).collect::<Result<Vec<_>>>()?;
    if parts.iter().all(|part| part.skipped() == 0) {
        return Ok(None);
    }
    let others: Vec<AggregateAppend> = parts.iter().filter_map(Part::others).collect();
    let mut outcome = AppendOutcome::default();
    if !others.is_empty() {
        let is_new = parts.iter().flat_map(|part| &part.known).map(Option::is_none);
        let tags: Vec<Option<String>> =
            request.tags.iter().zip(is_new).filter(|(_, is_new)| *is_new).map(|(tags, _)| tags.clone()).collect();
        outcome = append(&AppendRequest { appends: &others, tags: &tags, skip_existing: false, ..*request })?;
    }
    let mut appended = std::mem::take(&mut outcome.appended).into_iter();
    outcome.appended = parts.iter().filter_map(|part| part.result(&mut appended)).collect();
    outcome.skipped = parts.iter().flat_map(|part| part.known.iter().flatten()).map(|known| known.id).collect();
    Ok(Some(outcome))
}

/// The events of one aggregate.
struct Part<'a> {
    append: &'a AggregateAppend,
    /// For each event, the one that is in the log.
    known: Vec<Option<Known>>,
}

impl<'a> Part<'a> {
    fn find(view: &View<'_>, request: &AppendRequest<'_>, append: &'a AggregateAppend) -> Result<Part<'a>> {
        let aggregate = AggregateRef::new(request.tenant, &append.aggregate_type, &append.aggregate_id);
        let known = append.events.iter().map(|event| repeat::known(view, &aggregate, event)).collect::<Result<Vec<_>>>()?;
        let part = Part { append, known };
        if part.skipped() < part.known.len() {
            part.check_order(&aggregate)?;
        }
        Ok(part)
    }

    fn skipped(&self) -> usize {
        self.known.iter().flatten().count()
    }

    /// The version that the aggregate is expected to have before the first event, if it was given exactly.
    fn base(&self) -> Option<Version> {
        match self.append.expected {
            Expected::New => Some(Version::ZERO),
            Expected::Exactly(version) => Some(version),
            Expected::Any | Expected::Existing => None,
        }
    }

    /// Known events must be where the expected version puts them: otherwise the order would not be the caller's.
    fn check_order(&self, aggregate: &AggregateRef) -> Result<()> {
        let Some(base) = self.base() else { return Ok(()) };
        let mut is_new_before = false;
        for (at, known) in (1..).zip(&self.known) {
            let Some(known) = known else {
                is_new_before = true;
                continue;
            };
            if is_new_before {
                return Err(repeat::partly_known(known.id).of(aggregate));
            }
            if known.version.get() != base.get().saturating_add(at) {
                let what = format!("there it is version {}, here it would be {}", known.version, base.get().saturating_add(at));
                return Err(repeat::another(aggregate, known.id, known.position, &what));
            }
        }
        Ok(())
    }

    /// The append of the events that are not in the log; `None` if all are.
    fn others(&self) -> Option<AggregateAppend> {
        let skipped = self.skipped();
        if skipped == self.known.len() {
            return None;
        }
        let expected = match self.base() {
            Some(base) => Expected::Exactly(Version::new(base.get().saturating_add(skipped as u64))),
            None => self.append.expected,
        };
        let new = self.append.events.iter().zip(&self.known).filter(|(_, known)| known.is_none());
        let events = new.map(|(event, _)| event.clone()).collect();
        let AggregateAppend { aggregate_type, aggregate_id, .. } = self.append;
        Some(AggregateAppend { aggregate_type: aggregate_type.clone(), aggregate_id: aggregate_id.clone(), expected, events })
    }

    /// The result for the whole part; `appended` has those of the parts with new events.
    fn result(&self, appended: &mut impl Iterator<Item = Appended>) -> Option<Appended> {
        let skipped: Vec<Known> = self.known.iter().flatten().copied().collect();
        if skipped.len() == self.known.len() {
            return repeat::result(&skipped);
        }
        let new = appended.next()?;
        let mut new_ids = new.event_ids.iter().copied();
        let event_ids = self.known.iter().filter_map(|known| known.map_or_else(|| new_ids.next(), |known| Some(known.id)));
        Some(Appended { event_ids: event_ids.collect(), skipped: skipped.len() as u64, ..new })
    }
}
