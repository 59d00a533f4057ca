//! Appending: expected versions are checked and events inserted, all in one transaction.

use std::sync::Arc;

use uuid::Uuid;

use crate::model::clock::to_micros;
use crate::model::error::{Error, ErrorKind, Result};
use crate::model::event::NewEvent;
use crate::model::expected::Expected;
use crate::model::json::Json;
use crate::model::place::{AggregateRef, Position, Version};
use crate::sqlite::Database;
use crate::sqlite::connection::queue::QueuedAppend;
use crate::sqlite::ends::End;
use crate::sqlite::names_cache::EventType;
use crate::sqlite::tables::aggregates;
use crate::sqlite::tables::block_changes::Filled;
use crate::sqlite::tables::event_writes::{Inserter, NewRow};
use crate::sqlite::tables::events::Owner;
use crate::sqlite::tables::{event_ids, event_tags, losses, positions, snapshots};
use crate::sqlite::transaction::Writing;
use crate::sqlite::verbs::erase::refuse_erased;
use crate::sqlite::verbs::load::load;
use crate::sqlite::verbs::projections::{InlineProjection, run_inline};
use crate::sqlite::verbs::{lookup, repeat, skip_existing};
use crate::storage::append::{AggregateAppend, AppendOutcome, AppendRequest, Appended, Rehearsed, Transaction};
use crate::storage::load::{LoadRequest, Loaded, Loader};
use crate::storage::lookup::Held;
use crate::storage::snapshots::{FoldId, NewSnapshot};

impl Database {
    pub(crate) fn append(&self, request: &AppendRequest<'_>, inline: &[Arc<InlineProjection>]) -> Result<AppendOutcome> {
        let alone = |writing: &Writing<'_>| append(writing, request, inline);
        match request.snapshot {
            // It belongs to the caller, and is large.
            Some(_) => self.write(alone),
            None => self.write_in_group(alone, || queued(request, inline)),
        }
    }
}

/// The same append, for whichever thread carries it out.
fn queued(request: &AppendRequest<'_>, inline: &[Arc<InlineProjection>]) -> QueuedAppend {
    let (tenant, clock, skip_existing) = (request.tenant.clone(), request.clock.clone(), request.skip_existing);
    let (appends, checks, tags) = (request.appends.to_vec(), request.checks.to_vec(), request.tags.to_vec());
    let (trace, inline) = (request.trace.cloned(), inline.to_vec());
    let fold = request.fold.map(|fold| (fold.name.to_owned(), fold.version, fold.fingerprint));
    let append = move |writing: &Writing<'_>| {
        let fold =
            fold.as_ref().map(|(name, version, fingerprint)| FoldId { name, version: *version, fingerprint: *fingerprint });
        let request = AppendRequest {
            tenant: &tenant,
            appends: &appends,
            checks: &checks,
            tags: &tags,
            trace: trace.as_ref(),
            clock: &clock,
            skip_existing,
            snapshot: None,
            fold,
        };
        append(writing, &request, &inline)
    };
    QueuedAppend { events: request.tags.len(), append: Box::new(append) }
}

/// A write transaction that loads and appends.
struct InTurn<'a> {
    writing: &'a Writing<'a>,
    inline: &'a [Arc<InlineProjection>],
}

impl Transaction for InTurn<'_> {
    fn load(&self, request: &LoadRequest<'_>, loader: &mut dyn Loader) -> Result<Option<Loaded>> {
        match load(self.writing, request, loader) {
            Ok(loaded) => Ok(Some(loaded)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn append(&self, request: &AppendRequest<'_>) -> Result<AppendOutcome> {
        append(self.writing, request, self.inline)
    }
}

impl Database {
    pub(crate) fn in_turn<T>(
        &self,
        inline: &[Arc<InlineProjection>],
        work: impl FnOnce(&dyn Transaction) -> Result<T>,
    ) -> Result<T> {
        self.write(|writing| work(&InTurn { writing, inline }))
    }

    pub(crate) fn rehearse(&self, request: &AppendRequest<'_>, inline: &[Arc<InlineProjection>]) -> Result<Rehearsed> {
        let ((appended, events), changes) = self.rehearse_in(inline, |writing| {
            let outcome = append(writing, request, inline)?;
            let mut events = Vec::new();
            let mut written = outcome.appended.iter().filter(|part| !part.was_duplicate);
            if let (Some(first), Some(last)) = (written.clone().next(), written.next_back()) {
                for position in first.commit_id.get()..=last.position.get() {
                    events.extend(lookup::events_at(writing, position)?.into_iter().flatten());
                }
            }
            Ok((outcome.appended, events))
        })?;
        Ok(Rehearsed { appended, events, changes })
    }
}

/// Appends in an open transaction.
pub(crate) fn append(
    writing: &Writing<'_>,
    request: &AppendRequest<'_>,
    inline: &[Arc<InlineProjection>],
) -> Result<AppendOutcome> {
    if request.skip_existing
        && let Some(outcome) = skip_existing::append_the_others(writing, request, |others| append(writing, others, inline))?
    {
        return Ok(outcome);
    }
    let known = writing.ends()?.last_position;
    let last = known.map_or_else(|| positions::last(writing), Ok)?;
    if claim_ids(writing, request, last)? == Claim::Known {
        let appended = repeat::find(writing, request)?;
        writing.keep_ends();
        return Ok(AppendOutcome { appended, ..AppendOutcome::default() });
    }
    check_others(writing, request)?;
    let outcome = insert(writing, request, last)?;
    run_inline(writing, inline)?;
    writing.keep_ends();
    Ok(outcome)
}

/// Whether the ids of an append were unused.
#[derive(PartialEq, Eq)]
enum Claim {
    Free,
    /// The first id is already in the log. Nothing was written.
    Known,
}

/// Records the given ids with the positions that their events will get.
///
/// Must come before the check of the expected version: after an earlier identical append the aggregate may have moved
/// on.
fn claim_ids(writing: &Writing<'_>, request: &AppendRequest<'_>, last: u64) -> Result<Claim> {
    let events = || request.appends.iter().flat_map(|append| &append.events);
    if events().all(|event| event.id.is_none()) {
        return Ok(Claim::Free);
    }
    let tenant = writing.tenant_or_new(request.tenant)?;
    let mut claimed = 0;
    for (position, event) in (last + 1..).zip(events()) {
        let Some(id) = event.id else { continue };
        if repeat::is_known_as_made(writing, tenant, id, last)? || !event_ids::claim(writing, tenant, id, position)? {
            return match claimed {
                0 => Ok(Claim::Known),
                _ => Err(repeat::partly_known(id)),
            };
        }
        claimed += 1;
    }
    Ok(Claim::Free)
}

fn insert(writing: &Writing<'_>, request: &AppendRequest<'_>, last: u64) -> Result<AppendOutcome> {
    let mut batch = Inserting {
        inserter: Inserter::new(writing, last)?,
        writing,
        request,
        now: request.clock.now_micros(),
        commit_id: last + 1,
        position: last,
        tags: request.tags.iter(),
        tagged: Vec::new(),
        filled: Filled::new(writing.ends()?.filling.take()),
        event_type: None,
        latest_at: i64::MIN,
    };
    let mut outcome = AppendOutcome::default();
    let mut first = None;
    for append in request.appends {
        let of = |error: Error| error.of(&AggregateRef::new(request.tenant, &append.aggregate_type, &append.aggregate_id));
        let (owner, mut end) = find_or_make(writing, request, append).map_err(of)?;
        outcome.appended.push(batch.insert(&owner, end.version, &append.events)?);
        end.version += append.events.len() as u64;
        outcome.touched.push(Held {
            number: end.aggregate,
            aggregate_id: end.aggregate_id.clone(),
            version: end.version,
            held: end.version.saturating_sub(end.purged_through),
        });
        writing.ends()?.remember(owner.aggregate_type.id, end);
        first.get_or_insert(owner);
    }
    let Inserting { inserter, position, tagged, filled, latest_at, commit_id, .. } = batch;
    writing.ends()?.last_position = Some(position);
    inserter.end()?;
    let Some(first) = first else { return Ok(outcome) };
    event_tags::insert(writing, first.aggregate_type.tenant_id, tagged)?;
    let filling = filled.summarise(writing, commit_id, position)?;
    writing.ends()?.filling = filling;
    if let Some((snapshot, retain)) = request.snapshot {
        let snapshot = NewSnapshot { latest_event_at: snapshot.latest_event_at.max(latest_at), ..snapshot };
        snapshots::save(writing, first.aggregate, first.identity, &snapshot, retain)?;
    }
    if let Some(fold) = request.fold {
        outcome.newest_snapshot = Some(snapshots::newest_version(writing, first.aggregate, fold)?);
    }
    Ok(outcome)
}

/// An append that is being inserted.
struct Inserting<'a> {
    inserter: Inserter<'a>,
    writing: &'a Writing<'a>,
    request: &'a AppendRequest<'a>,
    now: i64,
    commit_id: u64,
    /// The position of the event inserted last.
    position: u64,
    tags: std::slice::Iter<'a, Option<String>>,
    tagged: Vec<(&'a str, u64)>,
    filled: Filled,
    /// That of the event before, which is often the same.
    event_type: Option<Arc<EventType>>,
    latest_at: i64,
}

impl<'a> Inserting<'a> {
    /// Inserts the events of one aggregate after a version.
    fn insert(&mut self, owner: &Owner, mut version: u64, events: &'a [NewEvent]) -> Result<Appended> {
        let mut event_ids = Vec::with_capacity(events.len());
        for event in events {
            version += 1;
            self.position += 1;
            event_ids.push(self.insert_event(owner, version, event)?);
            self.tagged.extend(event.tags.iter().map(|tag| (tag.as_str(), self.position)));
        }
        Ok(Appended {
            version: Version::new(version),
            position: Position::new(self.position),
            commit_id: Position::new(self.commit_id),
            event_ids,
            skipped: 0,
            was_duplicate: false,
        })
    }

    fn insert_event(&mut self, owner: &Owner, version: u64, event: &NewEvent) -> Result<Uuid> {
        let event_type = match self.event_type.take().filter(|before| *before.name == event.event_type) {
            Some(before) => before,
            None => self.writing.event_type_or_new(&event.event_type)?,
        };
        let traced = self.request.trace.and_then(|context| context.added_to(event.metadata.as_ref()));
        let created_at = event.created_at.map_or(self.now, to_micros);
        self.latest_at = self.latest_at.max(created_at);
        self.filled.add(self.position, owner.aggregate_type.id, event_type.id, created_at);
        let event_id = self.inserter.insert(&NewRow {
            owner,
            version,
            position: self.position,
            commit_id: self.commit_id,
            event_id: event.id,
            event_type: &event_type,
            schema_version: event.schema_version.or(event_type.current(&owner.aggregate_type.name)).unwrap_or(1),
            created_at,
            data: event.data.as_str(),
            metadata: traced.as_deref().or_else(|| event.metadata.as_ref().map(Json::as_str)),
            tags: self.tags.next().and_then(Option::as_deref),
        })?;
        self.event_type = Some(event_type);
        Ok(event_id)
    }
}

/// The aggregate of a part, created if needed, at the expected version.
fn find_or_make(writing: &Writing<'_>, request: &AppendRequest<'_>, append: &AggregateAppend) -> Result<(Owner, End)> {
    let aggregate_type = writing.aggregate_type_or_new(request.tenant, &append.aggregate_type)?;
    let check = |version| check_version(append.expected, version, append.events.len() as u64);
    let known = writing.ends()?.of(aggregate_type.id, &append.aggregate_id);
    if let Some(end) = known {
        check(end.version)?;
        let (aggregate_id, identity) = (end.aggregate_id.clone(), end.identity);
        return Ok((Owner { aggregate: end.aggregate, identity, aggregate_type, aggregate_id }, end));
    }
    let row = aggregates::find(writing, aggregate_type.id, &append.aggregate_id)?;
    if let Some(row) = row.filter(|row| row.removal.purged_through > 0) {
        refuse_erased(writing, row.id)?;
    }
    if let Some(row) = row.filter(|_| writing.names.has_losses) {
        losses::refuse_lost_end(writing, row.id, row.version)?;
    }
    check(row.map_or(0, |row| row.version))?;
    let aggregate = match row {
        Some(row) => row.id,
        None => aggregates::make(writing, aggregate_type.id, &append.aggregate_id)?,
    };
    let owner = Owner::new(aggregate, aggregate_type, &append.aggregate_id);
    let end = End {
        aggregate,
        identity: owner.identity,
        aggregate_id: owner.aggregate_id.clone(),
        version: row.map_or(0, |row| row.version),
        purged_through: row.map_or(0, |row| row.removal.purged_through),
    };
    Ok((owner, end))
}

/// Checks the aggregates that are only expected to be at a version.
fn check_others(writing: &Writing<'_>, request: &AppendRequest<'_>) -> Result<()> {
    for check in request.checks {
        let found = lookup::find(writing, request.tenant, &check.aggregate_type, &check.aggregate_id)?;
        check_version(check.expected, found.map_or(0, |(row, _)| row.version), 0)
            .map_err(|error| error.of(&AggregateRef::new(request.tenant, &check.aggregate_type, &check.aggregate_id)))?;
    }
    Ok(())
}

fn check_version(expected: Expected, actual: u64, count: u64) -> Result<()> {
    let (least, most) = expected.range();
    if !(least..=most).contains(&actual) {
        return Err(Error::version_conflict(expected, Version::new(actual)));
    }
    if count > Version::MAX.get().saturating_sub(actual) {
        let what = format!(
            "the aggregate is at version {actual} and cannot take {count} more events; the highest version is {}",
            Version::MAX
        );
        return Err(Error::new(ErrorKind::LimitExceeded, what).advice("continue in a new aggregate"));
    }
    Ok(())
}
