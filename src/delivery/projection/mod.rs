//! Projections: read models in tables of the same file.

mod feed;
mod rebuild;

pub use rebuild::RebuildProgress;

use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use feed::{Feed, TAIL};

use crate::delivery::runner::{self, Follower, Halt, HandlerError, Identity, Lease, Step, Work};
use crate::delivery::subscription::{self, LEASE, StartFrom};
use crate::log::query::{self, Query};
use crate::log::scope::{Inline, Log, Scope};
use crate::model::error::{Error, ErrorKind, Result};
use crate::model::event::RecordedEvent;
use crate::sqlite::checkpoints::{self, Checkpoint};
use crate::sqlite::read_model::{self, Naming, ReadModel};
use crate::sqlite::{View, Writing, state};

/// A read model: tables of the application's own in the same file, kept up to date from events.
///
/// One definition serves all three ways: inside the appends ([`Store::project_inline`](crate::Store::project_inline)),
/// following them ([`ProjectionRunner::follow`]) and built anew ([`ProjectionRunner::rebuild`]). The tables and the
/// checkpoint are written in one transaction: each event takes effect exactly once.
///
/// ```
/// use foldlog::{Expected, HandlerError, NewEvent, Projection, ReadModel, RecordedEvent, Store};
/// use foldlog::rusqlite::params;
///
/// struct Owners;
///
/// impl Projection for Owners {
///     fn name(&self) -> &str { "owners" }
///     fn tables(&self) -> Vec<String> { vec!["owners".into()] }
///     fn create(&self, model: &ReadModel<'_>) -> Result<(), HandlerError> {
///         Ok(model.execute_batch("CREATE TABLE {owners} (account TEXT PRIMARY KEY, owner TEXT NOT NULL) STRICT")?)
///     }
///     fn apply(&self, event: &RecordedEvent, model: &ReadModel<'_>) -> Result<(), HandlerError> {
///         if &*event.event_type == "Opened" {
///             let owner = event.data.to_value()?["owner"].as_str().unwrap_or("").to_owned();
///             model.execute("INSERT INTO {owners} VALUES (?1, ?2)", params![&*event.aggregate_id, owner])?;
///         }
///         Ok(())
///     }
/// }
///
/// let store = Store::in_memory()?;
/// store.project_inline(Owners)?;
/// store.append("account", "acc-1", Expected::Any, [NewEvent::new("Opened", &serde_json::json!({"owner": "Ada"}))?])?;
/// let owner: Option<String> =
///     store.query_read_model("SELECT owner FROM owners WHERE account = ?1", ["acc-1"], |row| row.get(0))?.pop();
/// assert_eq!(owner.as_deref(), Some("Ada"));
/// # Ok::<(), foldlog::Error>(())
/// ```
pub trait Projection: Send + Sync + 'static {
    /// Its name, under which its checkpoint is kept.
    fn name(&self) -> &str;

    /// The version of the definition: raise it when the tables or `apply` change, then rebuild.
    fn version(&self) -> u32 {
        1
    }

    /// The tables that it owns: letters, digits and single underscores.
    fn tables(&self) -> Vec<String>;

    /// Which events it wants; all of the tenant by default.
    fn filter(&self) -> Query {
        Query::new()
    }

    /// Makes the tables and their indexes, with their names in braces (see [`ReadModel`]).
    ///
    /// # Errors
    /// Whatever the statements give.
    fn create(&self, model: &ReadModel<'_>) -> Result<(), HandlerError>;

    /// Takes one event into the tables. Must depend on the event and the tables only.
    ///
    /// # Errors
    /// The projection then stops before this event, and nothing of it is kept.
    fn apply(&self, event: &RecordedEvent, model: &ReadModel<'_>) -> Result<(), HandlerError>;
}

/// How often one who waits for the lead looks whether it is free.
const TURN_PAUSE: Duration = Duration::from_millis(5);

/// A projection that runs inside the appends of this process.
struct InlineProjection {
    tenant: Arc<str>,
    identity: Identity,
    definition: Definition,
}

/// A projection and what is asked of it again and again.
#[derive(Clone)]
struct Definition {
    projection: Arc<dyn Projection>,
    tables: Arc<[String]>,
    filter: Query,
}

impl Definition {
    fn new(projection: Arc<dyn Projection>) -> Result<Definition> {
        let tables = projection.tables();
        read_model::check_tables(&tables)?;
        Ok(Definition { tables: tables.into(), filter: projection.filter(), projection })
    }

    fn version(&self) -> u32 {
        self.projection.version()
    }

    fn create(&self, writing: &Writing<'_>, naming: Naming) -> Result<()> {
        let model = self.model(writing, naming);
        runner::caught(|| self.projection.create(&model)).map_err(|error| {
            Error::new(ErrorKind::Handler, format!("the tables of the projection {:?} cannot be made", self.projection.name()))
                .caused_by(error)
        })
    }

    /// For all events of a transaction.
    fn model<'a>(&'a self, writing: &'a Writing<'_>, naming: Naming) -> ReadModel<'a> {
        ReadModel::new(writing, &self.tables, naming)
    }

    fn apply(&self, scope: &Scope, model: &ReadModel<'_>, event: &RecordedEvent) -> Result<()> {
        runner::handle(scope, self.projection.name(), event, || self.projection.apply(event, model))
            .map_err(|error| subscription::failed(event, error))
    }
}

/// Makes the row and the tables of a projection if there are none.
fn ensure(scope: &Scope, definition: &Definition) -> Result<Identity> {
    let name = definition.projection.name();
    refuse_foreign_tables(scope, definition)?;
    let identity = subscription::make(scope, name, "projection", &definition.filter, StartFrom::Beginning, definition.version())?;
    scope.database().write(|writing| {
        let row = row_of(writing, &identity)?;
        let missing = definition.tables.first().is_some_and(|table| !matches!(read_model::exists(writing, table), Ok(true)));
        if missing && row.position == 0 {
            definition.create(writing, Naming { generation: row.generation, shadow: false })?;
        }
        Ok(())
    })?;
    Ok(identity)
}

/// Tables that were there before the projection are somebody else's: another tenant's projection of the same name, one
/// that was removed, or the application's own. Their rows must not be mixed with ours.
fn refuse_foreign_tables(scope: &Scope, definition: &Definition) -> Result<()> {
    let identity = subscription::identity(scope, definition.projection.name(), &definition.filter);
    scope.database().read(|view| {
        if checkpoints::find(view, &identity.tenant, &identity.name)?.is_some() {
            return Ok(());
        }
        for table in definition.tables.iter() {
            if read_model::exists(view, table)? {
                return Err(Error::new(ErrorKind::InvalidInput, format!("a table {table:?} is in the file already"))
                    .advice("choose another name, or drop it; one projection serves several tenants with Query::all_tenants"));
            }
        }
        Ok(())
    })
}

fn row_of(view: &View<'_>, identity: &Identity) -> Result<Checkpoint> {
    checkpoints::find(view, &identity.tenant, &identity.name)?.ok_or_else(|| runner::unknown(&identity.name))
}

fn outdated(row: &Checkpoint, definition: &Definition) -> Error {
    Error::new(
        ErrorKind::ProjectionOutdated,
        format!(
            "the tables of the projection {:?} are of version {}, its definition is of version {}",
            row.name,
            row.version,
            definition.version()
        ),
    )
    .advice("rebuild it; the old tables serve until the new ones are ready")
}

/// Lets a projection run inside every append of this process from now on.
pub(crate) fn add_inline(scope: &Scope, projection: Arc<dyn Projection>) -> Result<()> {
    let runner = ProjectionRunner::new(scope.clone(), projection)?;
    let row = scope.database().read(|view| checkpoints::find(view, &runner.identity.tenant, &runner.identity.name))?;
    if row.is_some_and(|row| row.version != runner.definition.version()) {
        runner.rebuild(|_| std::ops::ControlFlow::Continue(()))?;
    }
    // The bulk without holding the file; what comes meanwhile is taken up by the first append.
    runner.run_to_end_in_turn()?;
    let mut inline = scope.log.inline.write().unwrap_or_else(PoisonError::into_inner);
    inline.push(Arc::new(InlineProjection {
        tenant: scope.tenant.clone(),
        identity: runner.identity,
        definition: runner.definition,
    }));
    Ok(())
}

impl Inline for InlineProjection {
    fn run(&self, log: &Arc<Log>, writing: &Writing<'_>) -> Result<()> {
        let row = row_of(writing, &self.identity)?;
        if row.version != self.definition.version() {
            // A newer definition has taken the tables over; it takes up these events itself.
            return Ok(());
        }
        let scope = Scope { log: log.clone(), tenant: self.tenant.clone() };
        let model = self.definition.model(writing, Naming { generation: row.generation, shadow: false });
        let last = state::last_position(writing)?.get();
        let mut position = row.position;
        while position < last {
            let (events, scanned) = query::read_after(&scope, writing, &self.definition.filter, position, TAIL)?;
            for event in &events {
                self.definition.apply(&scope, &model, event)?;
            }
            position = scanned;
        }
        match position > row.position {
            true => checkpoints::advance_inline(writing, row.id, position),
            false => Ok(()),
        }
    }

    fn tables(&self) -> &[String] {
        &self.definition.tables
    }
}

/// Keeps a projection up to date: once, on a thread, or by building it anew.
#[derive(Clone)]
pub struct ProjectionRunner {
    scope: Scope,
    identity: Identity,
    definition: Definition,
    lease: Duration,
}

impl ProjectionRunner {
    pub(crate) fn new(scope: Scope, projection: Arc<dyn Projection>) -> Result<ProjectionRunner> {
        let definition = Definition::new(projection)?;
        let identity = ensure(&scope, &definition)?;
        Ok(ProjectionRunner { scope, identity, definition, lease: LEASE })
    }

    /// How long a runner that was killed keeps the others waiting. Default: 5 seconds.
    pub fn lease(mut self, lasts: Duration) -> ProjectionRunner {
        self.lease = lasts;
        self
    }

    /// Takes the events that are there into the tables, on this thread, and returns how many there were.
    ///
    /// # Errors
    /// [`ErrorKind::Handler`] with the position if `apply` failed: everything before that event is in the tables, nothing of
    /// it. [`ErrorKind::ProjectionOutdated`] if a rebuild is due. [`ErrorKind::Busy`] if another runner leads.
    pub fn run_to_end(&self) -> Result<u64> {
        runner::run_to_end(&self.scope, &self.identity, self.lease, &mut self.work())
            .map_err(|error| error.during("run projection"))
    }

    /// As [`ProjectionRunner::run_to_end`], but while another runner leads it waits, as one waits for a busy file: several
    /// processes may start together, and the one before may have been killed a moment ago.
    fn run_to_end_in_turn(&self) -> Result<u64> {
        let began = Instant::now();
        loop {
            match self.run_to_end() {
                Err(error) if error.kind() == ErrorKind::Busy && began.elapsed() < self.scope.options().busy_timeout => {
                    std::thread::sleep(TURN_PAUSE);
                }
                other => return other,
            }
        }
    }

    /// Takes events into the tables as they come, on a thread of its own, until it is stopped.
    ///
    /// # Errors
    /// If the thread cannot be started.
    pub fn follow(&self) -> Result<Follower> {
        runner::follow(&self.scope, self.identity.clone(), self.lease, self.work())
            .map_err(|error| error.during("follow projection"))
    }

    fn work(&self) -> Projecting {
        Projecting { definition: self.definition.clone(), feed: Feed::new() }
    }
}

impl std::fmt::Debug for ProjectionRunner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ProjectionRunner").field("name", &self.identity.name).finish_non_exhaustive()
    }
}

/// The work of a following projection.
struct Projecting {
    definition: Definition,
    feed: Feed,
}

impl Work for Projecting {
    fn step(&mut self, scope: &Scope, lease: &Lease) -> std::result::Result<Step, Halt> {
        let Projecting { definition, feed } = self;
        scope.database().read(|view| {
            let row = checkpoints::find_by_id(view, lease.id)?.ok_or_else(|| runner::unknown(definition.projection.name()))?;
            if row.version != definition.version() {
                return Err(outdated(&row, definition));
            }
            feed.fill(scope, view, definition, row.position)
        })?;
        if feed.is_at_end() {
            return Ok(Step::CaughtUp(None));
        }
        let mut lead_lost = false;
        let done = scope.database().write_in_background(|writing| {
            let row = checkpoints::find_by_id(writing, lease.id)?.ok_or_else(|| runner::unknown(definition.projection.name()))?;
            if row.version != definition.version() {
                return Err(outdated(&row, definition));
            }
            if row.position != feed.after {
                // Somebody moved it since the events were read: an append with the projection inline, a skip.
                return Ok(None);
            }
            let taken = feed.take(scope, writing, definition, Naming { generation: row.generation, shadow: false })?;
            if !checkpoints::advance(writing, lease.id, lease.fence, taken.reached, lease.until())? {
                lead_lost = true;
                return Err(Error::new(ErrorKind::Busy, "another runner leads"));
            }
            Ok(Some(taken))
        });
        match done {
            Ok(Some(taken)) => {
                feed.committed(taken);
                scope.log.appended.raise();
                Ok(Step::Worked(taken.events as u64))
            }
            Ok(None) => Ok(Step::Worked(0)),
            Err(_) if lead_lost => Err(Halt::LeadLost),
            Err(_) if feed.rolled_back() => Ok(Step::Worked(0)),
            Err(error) => Err(Halt::Error(error)),
        }
    }
}
