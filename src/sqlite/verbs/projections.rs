//! Projections: their tables are created, filled, rebuilt, swapped and dropped; and the application's queries on them.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rusqlite::{Params, Row};

use crate::model::error::{Error, ErrorKind, Result};
use crate::model::event::RecordedEvent;
use crate::sqlite::Database;
use crate::sqlite::tables::read_model::{self, Naming, ReadModel};
use crate::sqlite::tables::subscriptions;
use crate::sqlite::transaction::{View, Writing};
use crate::sqlite::verbs::scan;
use crate::sqlite::verbs::subscriptions::{advance, blank, is_same_filter, page_after, remove};
use crate::storage::delivery::{Applied, Checkpoint, Lead, Page, ProjectionSpec, Rebuilt, SubscriptionKind, Taken};

/// How long one transaction of a projection may hold the write lock, and so delay an append of another process.
const HOLDS: Duration = Duration::from_millis(8);
/// The same if a thread of this process waits.
const HOLDS_WANTED: Duration = Duration::from_millis(1);
/// Events read at a time in the transaction that applies them. A rebuild finishes when at most this many are left.
const TAIL: usize = 512;

/// Applies an event to the tables: the application's code, measured, with its panics caught.
pub(crate) type Apply = dyn Fn(&RecordedEvent, &ReadModel<'_>) -> Result<()> + Send + Sync;

/// Creates a projection's tables: the application's code.
pub(crate) type Create = dyn Fn(&ReadModel<'_>) -> Result<()>;

/// A projection that runs inside the appends of this process.
pub(crate) struct InlineProjection {
    pub(crate) spec: ProjectionSpec,
    /// The number of its subscription.
    id: i64,
    apply: Arc<Apply>,
    /// Set when this process removes it. An append that is under way then passes it over.
    ended: AtomicBool,
}

/// Applies what was appended since the tables were last filled, in the append's own transaction.
pub(crate) fn run_inline(writing: &Writing<'_>, projections: &[Arc<InlineProjection>]) -> Result<()> {
    projections.iter().try_for_each(|projection| projection.run(writing))
}

impl InlineProjection {
    pub(crate) fn new(spec: ProjectionSpec, id: i64, apply: Arc<Apply>) -> InlineProjection {
        InlineProjection { spec, id, apply, ended: AtomicBool::new(false) }
    }

    /// The same projection for a copy of the log.
    pub(crate) fn copied(&self) -> InlineProjection {
        InlineProjection::new(self.spec.clone(), self.id, self.apply.clone())
    }

    /// Sets whether appends pass it over.
    pub(crate) fn end(&self, ended: bool) {
        self.ended.store(ended, Ordering::Release);
    }

    /// Applies what is missing from the tables, or fails: an append must not return while its events are missing.
    fn run(&self, writing: &Writing<'_>) -> Result<()> {
        if self.ended.load(Ordering::Acquire) {
            return Ok(());
        }
        let known = subscriptions::by_id(writing, self.id)?.filter(|row| row.identity == self.spec.identity);
        let found = match known {
            Some(row) => Some(row),
            None => subscriptions::find(writing, &self.spec.identity)?,
        };
        let mut row = found.ok_or_else(|| self.removed())?;
        check_definition(writing, &row, &self.spec)?;
        let last = scan::last_position(writing)?;
        subscriptions::check_position(&row, last)?;
        if row.position == last {
            return Ok(());
        }
        let model = ReadModel::new(writing, &self.spec.tables, serving(&row));
        take_tail(writing, &self.spec, &model, row.position, last, &*self.apply)?;
        row.position = last;
        subscriptions::save(writing, &row)
    }

    fn removed(&self) -> Error {
        let what = format!("the projection {:?}, which runs inside the appends, was removed", self.spec.identity.name);
        Error::new(ErrorKind::ProjectionOutdated, what)
            .advice("build it again with project_inline, or go on without it with Store::end_inline")
    }
}

fn serving(row: &Checkpoint) -> Naming {
    Naming { generation: row.generation, shadow: false }
}

/// Applies everything up to the end of the log; returns the number of events.
fn take_tail(
    writing: &Writing<'_>,
    spec: &ProjectionSpec,
    model: &ReadModel<'_>,
    after: u64,
    last: u64,
    apply: &Apply,
) -> Result<u64> {
    let (mut reached, mut events) = (after, 0);
    while reached < last {
        let (tail, scanned) = scan::read_after(writing, &spec.identity.tenant, &spec.filter, reached, TAIL)?;
        tail.iter().try_for_each(|event| apply(event, model))?;
        events += tail.len() as u64;
        reached = scanned;
    }
    Ok(events)
}

impl Database {
    pub(crate) fn ensure_projection(&self, spec: &ProjectionSpec, create: &Create) -> Result<i64> {
        read_model::check_tables(&spec.tables)?;
        let stands = |view: &View<'_>| {
            let Some(row) = subscriptions::find(view, &spec.identity)? else { return Ok(None) };
            if row.kind != SubscriptionKind::Projection {
                let what = format!("{:?} is already the name of a subscription of kind {}", row.identity.name, row.kind);
                return Err(Error::new(ErrorKind::InvalidInput, what).advice("choose another name, or remove that one first"));
            }
            subscriptions::check_position(&row, scan::last_position(view)?)?;
            let has_table = spec.tables.first().is_none_or(|table| !matches!(read_model::exists(view, table), Ok(false)));
            Ok(Some((row, has_table)))
        };
        if let Some((row, has_table)) = self.read(stands)?
            && (has_table || row.position > 0)
        {
            return Ok(row.id);
        }
        self.write(|writing| {
            let row = match stands(writing)? {
                Some((row, true)) => return Ok(row.id),
                Some((row, false)) => row,
                None => make(writing, spec)?,
            };
            // Tables of another version are made by a rebuild.
            if row.position == 0 && row.version == spec.version {
                create(&ReadModel::new(writing, &spec.tables, serving(&row)))?;
            }
            Ok(row.id)
        })
    }

    pub(crate) fn is_outdated(&self, spec: &ProjectionSpec) -> Result<bool> {
        self.read(|view| {
            let row = subscriptions::named(view, &spec.identity)?;
            check_not_newer(row.version, spec)?;
            Ok(check_definition(view, &row, spec).is_err())
        })
    }

    pub(crate) fn next_for_tables(&self, lead: Lead, spec: &ProjectionSpec, limit: usize) -> Result<Option<Page>> {
        self.read(|view| {
            let Some(row) = subscriptions::working(view, lead)? else { return Ok(None) };
            check_definition(view, &row, spec)?;
            page_after(view, &row, &spec.identity.tenant, &spec.filter, limit).map(Some)
        })
    }

    /// Applies events to the tables and moves the checkpoint, in one transaction: as many as its time allows, `limit`
    /// at most.
    pub(crate) fn apply_page(
        &self,
        lead: Lead,
        spec: &ProjectionSpec,
        page: &Page,
        limit: usize,
        apply: &Apply,
    ) -> Result<Applied<Taken>> {
        let (failed_after, lead_lost) = (Cell::new(None), Cell::new(false));
        let done = self.write_in_background(|writing| {
            let Some(row) = subscriptions::working(writing, lead)? else {
                lead_lost.set(true);
                return Ok(None);
            };
            check_definition(writing, &row, spec)?;
            if row.position != page.after {
                return Ok(None);
            }
            let model = ReadModel::new(writing, &spec.tables, serving(&row));
            let taken = self.take(&model, page, limit, apply, &failed_after)?;
            advance(writing, lead, taken.reached, None)?;
            Ok(Some(taken))
        });
        match done {
            Ok(Some(taken)) => Ok(Applied::Taken(taken)),
            Ok(None) if lead_lost.get() => Ok(Applied::LeadLost),
            Ok(None) => Ok(Applied::Moved),
            Err(error) => failed(&failed_after, error),
        }
    }

    pub(crate) fn next_for_rebuild(&self, spec: &ProjectionSpec, limit: usize) -> Result<Page> {
        self.read(|view| {
            let row = subscriptions::named(view, &spec.identity)?;
            check_may_rebuild(&row, spec)?;
            let after = built(&row, spec).unwrap_or(0);
            page_after(view, &Checkpoint { position: after, ..row }, &spec.identity.tenant, &spec.filter, limit)
        })
    }

    pub(crate) fn rebuild_page(
        &self,
        spec: &ProjectionSpec,
        page: &Page,
        limit: usize,
        create: &Create,
        apply: &Apply,
    ) -> Result<Applied<Rebuilt>> {
        let failed_after = Cell::new(None);
        let part = |writing: &Writing<'_>| self.rebuild_part(writing, spec, page, limit, (create, apply), &failed_after);
        // A power cut may lose earlier pages, which are then built again. The last page puts the new tables in place
        // and must not be lost, so it waits for the disk. If more was appended meanwhile it is not the last, and waits
        // needlessly.
        let done = match page.last.saturating_sub(page.scanned) <= TAIL as u64 {
            true => self.write(part),
            false => self.write_in_background(part),
        };
        match done {
            Ok(Some(rebuilt)) => Ok(Applied::Taken(rebuilt)),
            Ok(None) => Ok(Applied::Moved),
            Err(error) => failed(&failed_after, error),
        }
    }

    fn rebuild_part(
        &self,
        writing: &Writing<'_>,
        spec: &ProjectionSpec,
        page: &Page,
        limit: usize,
        (create, apply): (&Create, &Apply),
        failed_after: &Cell<Option<usize>>,
    ) -> Result<Option<Rebuilt>> {
        let mut row = subscriptions::named(writing, &spec.identity)?;
        check_may_rebuild(&row, spec)?;
        let built = built(&row, spec);
        if built.unwrap_or(0) != page.after {
            return Ok(None);
        }
        let model = ReadModel::new(writing, &spec.tables, Naming { generation: row.generation + 1, shadow: true });
        if built.is_none() {
            read_model::drop_shadows(writing, &spec.tables)?;
            check_free(writing, spec, &read_model::named(&row)?)?;
            create(&model)?;
        }
        let mut taken = self.take(&model, page, limit, apply, failed_after)?;
        let (last, mut more) = (scan::last_position(writing)?, 0);
        if taken.reached == page.scanned && last.saturating_sub(page.scanned) <= TAIL as u64 {
            more = take_tail(writing, spec, &model, taken.reached, last, apply)?;
            taken.reached = taken.reached.max(last);
        }
        let finished = taken.reached >= last;
        drop(model);
        if finished {
            let old = read_model::named(&row)?;
            check_free(writing, spec, &old)?;
            read_model::swap(writing, &old, &spec.tables)?;
            (row.version, row.position, row.generation) = (spec.version, taken.reached, row.generation + 1);
            (row.rebuild_version, row.rebuild_position) = (None, None);
            (row.failed_position, row.failure, row.in_hand, row.deaths) = (None, None, None, 0);
            (row.filter, row.tables) = (spec.filter_text().to_owned(), spec.tables_text().to_owned());
        } else {
            (row.rebuild_version, row.rebuild_position) = (Some(spec.version), Some(taken.reached));
        }
        subscriptions::save(writing, &row)?;
        Ok(Some(Rebuilt { taken, more, last, finished }))
    }

    /// Applies as many events to the tables as the transaction's time allows.
    fn take(
        &self,
        model: &ReadModel<'_>,
        page: &Page,
        limit: usize,
        apply: &Apply,
        failed_after: &Cell<Option<usize>>,
    ) -> Result<Taken> {
        let began = Instant::now();
        // Several events that a stored one is read as are applied together or not at all.
        let mut whole = 0;
        for (before, event) in page.events.iter().enumerate() {
            if let Err(error) = apply(event, model) {
                failed_after.set(Some(whole));
                return Err(error);
            }
            let (events, held) = (before + 1, began.elapsed());
            if page.events.get(events).is_some_and(|next| next.position == event.position) {
                continue;
            }
            whole = events;
            let time_is_up = held >= HOLDS || (held >= HOLDS_WANTED && self.is_wanted());
            if events < page.events.len() && (time_is_up || events >= limit) {
                return Ok(Taken { reached: event.position.get(), events });
            }
        }
        Ok(Taken { reached: page.scanned, events: page.events.len() })
    }

    /// Deletes a projection and its tables, those of an unfinished rebuild included; `false` if there is none.
    pub(crate) fn drop_projection(&self, spec: &ProjectionSpec) -> Result<bool> {
        self.write(|writing| {
            let Some(stored) = subscriptions::find_anyhow(writing, &spec.identity)? else { return Ok(false) };
            match &stored.intact {
                Some(row) => check_not_newer(row.version, spec)?,
                // The row cannot say which tables it has.
                None => read_model::drop_tables(writing, &spec.tables)?,
            }
            read_model::drop_shadows(writing, &spec.tables)?;
            remove(writing, &stored).map(|()| true)
        })
    }

    pub(crate) fn query_read_model<T>(
        &self,
        sql: &str,
        params: impl Params,
        row: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Vec<T>> {
        self.read(|view| read_model::query(view, sql, params, row))
    }

    pub(crate) fn document(&self, name: &str, tenant: &str, key: &str) -> Result<Option<String>> {
        self.in_documents(name, |view| read_model::document(view, name, tenant, key))
    }

    pub(crate) fn documents(&self, name: &str, tenant: &str, after: Option<&str>, limit: usize) -> Result<Vec<(String, String)>> {
        self.in_documents(name, |view| read_model::documents(view, name, tenant, after, limit))
    }

    fn in_documents<T>(&self, name: &str, read: impl FnOnce(&View<'_>) -> Result<T>) -> Result<T> {
        read_model::check_tables(&[name.to_owned()])?;
        self.read(|view| match read_model::has_documents(view, name)? {
            true => read(view),
            false => Err(Error::new(ErrorKind::NotFound, format!("there are no documents {name:?}"))
                .advice("create them first, with Store::projection or Store::project_inline")),
        })
    }
}

fn failed<T>(failed_after: &Cell<Option<usize>>, error: Error) -> Result<Applied<T>> {
    match failed_after.get() {
        Some(before) => Ok(Applied::Failed { before, error }),
        None => Err(error),
    }
}

/// How far the tables of this version are built; `None` if they do not exist yet.
fn built(row: &Checkpoint, spec: &ProjectionSpec) -> Option<u64> {
    row.rebuild_position.filter(|_| row.rebuild_version == Some(spec.version))
}

/// Creates a projection's row. Tables that already exist belong to somebody else: to another tenant's projection of the
/// same name, to one that was removed, or to the application. Their rows must not mix with ours.
fn make(writing: &Writing<'_>, spec: &ProjectionSpec) -> Result<Checkpoint> {
    check_free(writing, spec, &[])?;
    let id = subscriptions::next_id(writing)?;
    let made = Checkpoint {
        filter: spec.filter_text().to_owned(),
        tables: spec.tables_text().to_owned(),
        version: spec.version,
        ..blank(id, &spec.identity, SubscriptionKind::Projection)
    };
    subscriptions::insert(writing, &made)?;
    Ok(made)
}

/// Fails if tables of these names exist that are not those that the projection owns.
fn check_free(writing: &Writing<'_>, spec: &ProjectionSpec, owned: &[String]) -> Result<()> {
    for table in spec.tables.iter().filter(|table| !owned.iter().any(|owned| owned.eq_ignore_ascii_case(table))) {
        if read_model::exists(writing, table)? {
            return Err(Error::new(ErrorKind::InvalidInput, format!("a table {table:?} already exists in the file"))
                .advice("choose another name, or drop it; one projection serves several tenants with Filter::all_tenants"));
        }
    }
    Ok(())
}

/// Fails unless the tables were made by this definition.
fn check_definition(view: &View<'_>, row: &Checkpoint, spec: &ProjectionSpec) -> Result<()> {
    check_not_newer(row.version, spec)?;
    let name = &row.identity.name;
    let what = if row.version != spec.version {
        let (tables, definition) = (row.version, spec.version);
        format!("the tables of the projection {name:?} have version {tables}, its definition has version {definition}")
    } else if !is_same_filter(view, &row.filter, &spec.filter)? {
        format!("the filter of the projection {name:?} has changed since its tables were built")
    } else if row.tables != spec.tables_text() {
        format!("the names of the tables of the projection {name:?} have changed since they were built")
    } else {
        return Ok(());
    };
    Err(Error::new(ErrorKind::ProjectionOutdated, what).advice("rebuild it; the old tables serve until the new ones are ready"))
}

/// An older version of an application must not take back the tables of a newer one.
fn check_not_newer(tables: u32, spec: &ProjectionSpec) -> Result<()> {
    if tables <= spec.version {
        return Ok(());
    }
    let (name, definition) = (&spec.identity.name, spec.version);
    let what =
        format!("the tables of the projection {name:?} have the newer version {tables}, its definition has version {definition}");
    Err(Error::new(ErrorKind::ProjectionOutdated, what)
        .advice("update the application; to go back to the older version on purpose, reset the projection and rebuild it"))
}

/// Fails if the tables, or those that are being built, belong to a newer definition.
fn check_may_rebuild(row: &Checkpoint, spec: &ProjectionSpec) -> Result<()> {
    check_not_newer(row.version.max(row.rebuild_version.unwrap_or(0)), spec)
}
