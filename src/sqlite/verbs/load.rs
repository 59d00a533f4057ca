//! Loads an aggregate: its newest usable snapshot, then the events after it.

use crate::model::error::{Error, ErrorKind, Result};
use crate::model::place::Version;
use crate::sqlite::Database;
use crate::sqlite::tables::aggregates::{self, Removal};
use crate::sqlite::tables::archive::{self, Part};
use crate::sqlite::tables::erasures;
use crate::sqlite::tables::events::{self, Owner};
use crate::sqlite::tables::losses;
use crate::sqlite::tables::snapshots::{self, Whose};
use crate::sqlite::transaction::View;
use crate::sqlite::upcast::{each_part, each_part_of};
use crate::sqlite::verbs::erase::refuse_erased;
use crate::storage::load::{FoldedEvent, LoadRequest, Loaded, Loader, Until};
use crate::storage::snapshots::SnapshotRow;

/// Events folded in one read transaction. Long replays use several, so that they do not keep the write-ahead log from
/// being emptied.
const PAGE: usize = 1_024;
/// The most snapshots, of its fold and of others, that a replay tries before it starts from the first event.
const SNAPSHOTS_TRIED: usize = 32;

/// The state of a load.
struct Progress {
    /// The version of the last event that was folded, or of the snapshot.
    version: u64,
    /// The version of the last event that was read: a replay to a time skips later events.
    scanned: u64,
    folded: u64,
    from_snapshot: Option<u64>,
    latest_event_at: i64,
    /// The newest erasure when it began.
    newest_erasure: i64,
    has_ended: bool,
}

impl Database {
    /// Passes an aggregate's snapshot and events to `loader`. Long histories take several read transactions.
    pub(crate) fn load(&self, request: &LoadRequest<'_>, loader: &mut impl Loader) -> Result<Loaded> {
        let (owner, mut progress) = self.read(|view| begin(view, request, loader))?;
        while !progress.has_ended {
            self.read(|view| {
                let before = progress.scanned;
                next_page(view, request, &owner, &mut progress, loader)?;
                if progress.scanned == before && !progress.has_ended { Err(events::gap(before + 1)) } else { Ok(()) }
            })?;
        }
        finish(&progress)
    }
}

/// As [`Database::load`], in an open transaction.
pub(super) fn load(view: &View<'_>, request: &LoadRequest<'_>, loader: &mut (impl Loader + ?Sized)) -> Result<Loaded> {
    let (owner, mut progress) = begin(view, request, loader)?;
    while !progress.has_ended {
        next_page(view, request, &owner, &mut progress, loader)?;
    }
    finish(&progress)
}

fn finish(progress: &Progress) -> Result<Loaded> {
    if progress.version == 0 {
        return Err(not_found("the aggregate has no events up to the requested time"));
    }
    Ok(Loaded {
        version: progress.version,
        from_snapshot: progress.from_snapshot,
        events_folded: progress.folded,
        latest_event_at: progress.latest_event_at,
        newest_erasure: progress.newest_erasure,
    })
}

fn not_found(what: impl Into<String>) -> Error {
    Error::new(ErrorKind::NotFound, what).advice("check the tenant, the type, the id, and the version or time")
}

/// The error if events were purged that no snapshot of the fold replaces. Names a fold that has such a snapshot.
fn history_removed(view: &View<'_>, owner: &Owner, through: u64) -> Error {
    let removed = match losses::lost_through(view, owner.aggregate) {
        Ok(lost) if lost >= through => "lost when the file was repaired",
        _ => "removed",
    };
    let mut what = format!("events up to version {through} were {removed} and no usable snapshot of this fold replaces them");
    let all = snapshots::all(view, owner.aggregate, owner.identity).unwrap_or_default();
    match all.into_iter().find(|row| row.is_intact && row.version >= through) {
        Some(SnapshotRow { version, fold_name, fold_version, .. }) => {
            what.push_str(&format!("; there is one at version {version} by fold {fold_name:?} version {fold_version}"));
            Error::new(ErrorKind::HistoryRemoved, what)
                .advice("Aggregates::migrate_snapshots carries the state of another fold over; or restore the events")
        }
        None => Error::new(ErrorKind::HistoryRemoved, what)
            .advice("replay to a version at or after a snapshot of this fold, or restore the events"),
    }
}

/// Finds the aggregate, and loads its newest usable snapshot and the first page of events.
fn begin(view: &View<'_>, request: &LoadRequest<'_>, loader: &mut (impl Loader + ?Sized)) -> Result<(Owner, Progress)> {
    let no_events = || not_found("the aggregate has no events");
    let aggregate_type = view.aggregate_type(request.tenant, request.aggregate_type)?.ok_or_else(no_events)?;
    let number = aggregates::number(view, aggregate_type.id, request.aggregate_id)?.ok_or_else(no_events)?;
    let owner = Owner::new(number, aggregate_type, request.aggregate_id);
    match request.until {
        Until::Version(version) => check_reached(view, &owner, version)?,
        _ if view.names.has_losses => {
            losses::refuse_lost_end(view, owner.aggregate, aggregates::at_number(view, owner.aggregate)?.version)?;
        }
        _ => {}
    }
    let mut progress = Progress {
        version: 0,
        scanned: 0,
        folded: 0,
        from_snapshot: None,
        latest_event_at: i64::MIN,
        newest_erasure: erasures::newest(view)?,
        has_ended: false,
    };
    offer_snapshots(view, request, 0, &owner, &mut progress, loader)?;
    match next_page(view, request, &owner, &mut progress, loader) {
        // The snapshot that was made last is of a version whose next events are gone. There may be one of a later version.
        Err(error) if progress.from_snapshot.is_some() && is_gone(error.kind()) => {
            progress.from_snapshot = None;
            let removed = aggregates::removed(view, owner.aggregate)?;
            offer_snapshots(view, request, removed.through().max(1), &owner, &mut progress, loader)?;
            if progress.from_snapshot.is_none() {
                return Err(error);
            }
            next_page(view, request, &owner, &mut progress, loader)?;
        }
        done => done?,
    }
    Ok((owner, progress))
}

fn is_gone(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::HistoryRemoved | ErrorKind::ArchiveMissing)
}

/// Offers the snapshots of the request's fold, then those of others, of versions from `least` on.
fn offer_snapshots(
    view: &View<'_>,
    request: &LoadRequest<'_>,
    least: u64,
    owner: &Owner,
    progress: &mut Progress,
    loader: &mut (impl Loader + ?Sized),
) -> Result<()> {
    let Some(fold) = request.snapshots_of else { return Ok(()) };
    for whose in [Whose::Of(fold), Whose::NotOf(fold)] {
        if progress.from_snapshot.is_none() {
            offer_snapshots_of(view, request, (whose, least), owner, progress, loader)?;
        }
    }
    Ok(())
}

fn check_reached(view: &View<'_>, owner: &Owner, version: u64) -> Result<()> {
    if version == 0 {
        return Err(not_found("there is no state at version 0: the first event makes version 1"));
    }
    // The event usually exists. If not, the aggregate's end is read for the error.
    if version <= Version::MAX.get() && events::position_of(view, owner.aggregate, version)?.is_some() {
        return Ok(());
    }
    let actual = aggregates::at_number(view, owner.aggregate)?.version;
    match version > actual {
        true => Err(not_found(format!("the aggregate is at version {actual}")).at_version(Version::new(version))),
        false => Ok(()),
    }
}

fn offer_snapshots_of(
    view: &View<'_>,
    request: &LoadRequest<'_>,
    (whose, least): (Whose<'_>, u64),
    owner: &Owner,
    progress: &mut Progress,
    loader: &mut (impl Loader + ?Sized),
) -> Result<()> {
    let through = request.until.through();
    let mut left = SNAPSHOTS_TRIED;
    snapshots::each_newest_first(view, (owner.aggregate, owner.identity), whose, through, |snapshot| {
        let (version, latest_event_at, is_intact) = (snapshot.version, snapshot.latest_event_at, snapshot.is_intact);
        // A snapshot with later events than wanted is not damaged.
        let is_too_late = is_intact
            && match request.until {
                Until::Time(time) => latest_event_at > time,
                Until::Position(position) => events::position_of(view, owner.aggregate, version)?.is_none_or(|at| at > position),
                _ => false,
            };
        if version >= least && !is_too_late && loader.offer(snapshot) {
            (progress.version, progress.scanned) = (version, version);
            (progress.from_snapshot, progress.latest_event_at) = (Some(version), latest_event_at);
            return Ok(false);
        }
        left -= 1;
        Ok(left > 0)
    })
}

/// Folds the next page of events.
fn next_page(
    view: &View<'_>,
    request: &LoadRequest<'_>,
    owner: &Owner,
    progress: &mut Progress,
    loader: &mut (impl Loader + ?Sized),
) -> Result<()> {
    if request.with_context || matches!(request.until, Until::Time(_) | Until::Position(_)) {
        return next_page_with_context(view, request, owner, progress, loader);
    }
    let (before, through) = (progress.scanned, request.until.through());
    // Whether events are in the archive is looked up only if the main file lacks them, so it costs other replays nothing.
    let page = match fold_page(view, Part::Main, owner, progress, through, loader) {
        Err(error) if error.kind() == ErrorKind::Corrupt => match aggregates::removed(view, owner.aggregate) {
            Ok(removal) if removal.through() > before => archived_page(view, owner, progress, removal, through, loader)?,
            _ => return Err(error),
        },
        Ok(page) if page.version == before => match page.behind {
            Some(behind) => match confirm_end(view, owner, before, behind)? {
                Some(removal) => archived_page(view, owner, progress, removal, through, loader)?,
                None => events::PageEnd { version: before, behind: None },
            },
            None => page,
        },
        other => other?,
    };
    (progress.version, progress.scanned) = (page.version, page.version);
    progress.folded += page.version - before;
    if let Some(Some(behind)) = page.behind {
        aggregates::confirm_begins(view, behind, page.version)?;
    }
    progress.has_ended = page.version == before || page.behind.is_some() || page.version >= through;
    Ok(())
}

/// Folds the next page of events of one part.
fn fold_page(
    view: &View<'_>,
    part: Part,
    owner: &Owner,
    progress: &mut Progress,
    through: u64,
    loader: &mut (impl Loader + ?Sized),
) -> Result<events::PageEnd> {
    let latest = &mut progress.latest_event_at;
    events::fold_page(view, part, owner, (progress.scanned, through), PAGE, |event| {
        *latest = (*latest).max(event.created_at);
        each_part(view, &owner.aggregate_type, event.event_type, (event.schema_version, event.data), |part| {
            loader.apply(FoldedEvent {
                version: event.version,
                event_type: part.event_type,
                created_at: event.created_at,
                data: part.data,
                position: None,
                metadata: None,
            })
        })
        .map_err(|error| error.at_version(Version::new(event.version)))
    })
}

/// Folds the next page of events from the archive.
fn archived_page(
    view: &View<'_>,
    owner: &Owner,
    progress: &mut Progress,
    removal: Removal,
    through: u64,
    loader: &mut (impl Loader + ?Sized),
) -> Result<events::PageEnd> {
    check_not_purged(view, owner, removal, progress.scanned)?;
    archive::attach(view)?;
    let through = through.min(removal.archived_through);
    let page = fold_page(view, Part::Archive, owner, progress, through, loader)?;
    match page.behind {
        Some(_) => Err(archive::lacks_event().at_version(Version::new(page.version + 1))),
        None => Ok(page),
    }
}

fn check_not_purged(view: &View<'_>, owner: &Owner, removal: Removal, after: u64) -> Result<()> {
    match removal.purged_through > after {
        true => refuse_erased(view, owner.aggregate).and_then(|()| Err(history_removed(view, owner, removal.purged_through))),
        false => Ok(()),
    }
}

/// Confirms that an aggregate ends at the version of a snapshot: the last event exists, and the next key begins another
/// aggregate. If later events are in the archive instead, returns what was removed.
fn confirm_end(view: &View<'_>, owner: &Owner, version: u64, behind: Option<i64>) -> Result<Option<Removal>> {
    if let Some(behind) = behind {
        aggregates::confirm_begins(view, behind, version)?;
    }
    let actual = aggregates::at_number(view, owner.aggregate)?;
    check_not_purged(view, owner, actual.removal, version)?;
    match actual.version == version {
        true => Ok(None),
        false if actual.removal.is_archived(version + 1) => Ok(Some(actual.removal)),
        false => Err(events::gap(actual.version)),
    }
}

fn next_page_with_context(
    view: &View<'_>,
    request: &LoadRequest<'_>,
    owner: &Owner,
    progress: &mut Progress,
    loader: &mut (impl Loader + ?Sized),
) -> Result<()> {
    let row = aggregates::at_number(view, owner.aggregate)?;
    check_not_purged(view, owner, row.removal, progress.scanned)?;
    let through = request.until.through().min(row.version);
    let (part, range) = row.removal.part_of((progress.scanned, through), false);
    part.open(view)?;
    events::scan_aggregate(view, part, owner, range, false, PAGE, |raw| {
        if let Until::Position(position) = request.until
            && raw.position > position
        {
            // Positions rise with versions, so nothing later is wanted. A later time does not tell that.
            progress.scanned = through;
            return Ok(false);
        }
        progress.scanned = raw.version;
        let is_wanted = match request.until {
            Until::Time(time) => raw.created_at <= time,
            _ => true,
        };
        if is_wanted {
            each_part_of(view, &owner.aggregate_type, raw, |part| {
                loader.apply(FoldedEvent {
                    version: raw.version,
                    event_type: part.event_type,
                    created_at: raw.created_at,
                    data: part.data,
                    position: Some(raw.position),
                    metadata: raw.metadata,
                })
            })?;
            progress.version = raw.version;
            progress.folded += 1;
            progress.latest_event_at = progress.latest_event_at.max(raw.created_at);
        }
        Ok(true)
    })?;
    progress.has_ended = progress.scanned >= through;
    Ok(())
}
