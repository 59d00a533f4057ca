//! Projections: read models in tables of the same file.

mod feed;
mod rebuild;

pub use rebuild::RebuildProgress;

use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use feed::{Feed, PAGE};

use crate::delivery::control::{self, SubscriptionStatus};
use crate::delivery::lead::{Held, LEASE};
use crate::delivery::runner::{self, Follower, Halt, HandlerError, OnEnd, Step, StopReason, Work};
use crate::delivery::subscription;
use crate::engine::{Apply, InlineProjection, ReadModel};
use crate::log::scope::{Log, Scope};
use crate::model::error::{Error, ErrorKind, Result};
use crate::model::event::RecordedEvent;
use crate::model::filter::Filter;
use crate::storage::delivery::{Applied, Identity, ProjectionSpec};

/// A read model: the application's own tables in the same file, kept up to date from events.
///
/// One definition serves all three ways: inside the appends ([`Store::project_inline`](crate::Store::project_inline)),
/// following them ([`ProjectionRunner::follow`]), and rebuilt ([`ProjectionRunner::rebuild`]). Tables and checkpoint
/// are written in one transaction, so each event takes effect exactly once.
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
    /// The name under which its checkpoint is kept.
    fn name(&self) -> &str;

    /// The version of the definition, at least 1. Raise it when the tables, the filter or `apply` change, then rebuild.
    fn version(&self) -> u32 {
        1
    }

    /// The tables that it owns. Names consist of letters, digits and single underscores.
    fn tables(&self) -> Vec<String>;

    /// Which events it wants. Default: all of the tenant.
    fn filter(&self) -> Filter {
        Filter::new()
    }

    /// Creates the tables and their indexes. Write their names in braces (see [`ReadModel`]).
    ///
    /// # Errors
    /// The errors of the statements.
    fn create(&self, model: &ReadModel<'_>) -> Result<(), HandlerError>;

    /// Applies one event to the tables. Must depend on the event and the tables only.
    ///
    /// # Errors
    /// The projection then stops before this event, and none of its changes are kept.
    fn apply(&self, event: &RecordedEvent, model: &ReadModel<'_>) -> Result<(), HandlerError>;
}

macro_rules! shared {
    ($($pointer:ident),*) => {$(
        impl<P: Projection + ?Sized> Projection for $pointer<P> {
            fn name(&self) -> &str {
                (**self).name()
            }

            fn version(&self) -> u32 {
                (**self).version()
            }

            fn tables(&self) -> Vec<String> {
                (**self).tables()
            }

            fn filter(&self) -> Filter {
                (**self).filter()
            }

            fn create(&self, model: &ReadModel<'_>) -> Result<(), HandlerError> {
                (**self).create(model)
            }

            fn apply(&self, event: &RecordedEvent, model: &ReadModel<'_>) -> Result<(), HandlerError> {
                (**self).apply(event, model)
            }
        }
    )*};
}

shared!(Arc, Box);

/// How often a runner that waits for the lead tries again.
const TURN_PAUSE: Duration = Duration::from_millis(5);

/// A projection, and what the engine must know of it.
#[derive(Clone)]
struct Definition {
    projection: Arc<dyn Projection>,
    spec: ProjectionSpec,
}

impl Definition {
    fn new(scope: &Scope, projection: Arc<dyn Projection>) -> Result<Definition> {
        let (name, filter, version) = (projection.name(), projection.filter(), projection.version());
        scope.check_name("tenant", &scope.tenant)?;
        scope.check_name("projection's name", name)?;
        if version == 0 {
            return Err(Error::new(
                ErrorKind::InvalidInput,
                format!("the version of the projection {name:?} is 0; the first is 1"),
            ));
        }
        let identity = Identity::new(&scope.tenant, name, &filter);
        let spec = ProjectionSpec::new(identity, version, projection.tables(), filter)?;
        Ok(Definition { projection, spec })
    }

    /// Creates the tables.
    fn create(&self) -> impl Fn(&ReadModel<'_>) -> Result<()> + use<> {
        let projection = self.projection.clone();
        move |model| {
            runner::caught(|| projection.create(model)).map_err(|error| {
                let what = format!("the tables of the projection {:?} cannot be created: {error}", projection.name());
                Error::new(ErrorKind::Handler, what).caused_by(error)
            })
        }
    }

    /// Applies an event to the tables.
    fn apply(&self, scope: &Scope, advice: &'static str) -> Arc<Apply> {
        let (projection, tenant) = (self.projection.clone(), scope.tenant.clone());
        // A weak reference, because an inline projection is owned by the log.
        let log: Weak<Log> = Arc::downgrade(&scope.log);
        Arc::new(move |event, model| {
            let code = || projection.apply(event, model);
            let done = match log.upgrade() {
                Some(log) => runner::handle(&Scope { log, tenant: tenant.clone() }, projection.name(), event, code),
                None => runner::caught(code),
            };
            done.map_err(|error| runner::failed(event, error, advice))
        })
    }
}

/// From now on runs a projection inside every append of this process.
pub(crate) fn add_inline(scope: &Scope, projection: Arc<dyn Projection>) -> Result<()> {
    let runner = ProjectionRunner::new(scope.clone(), projection)?;
    if scope.engine().is_outdated(&runner.definition.spec)? {
        runner.rebuild(|_| std::ops::ControlFlow::Continue(()))?;
    }
    // Catches up most of the way without holding the write lock. The first append applies what comes meanwhile.
    runner.run_to_end_in_turn()?;
    let apply = runner.definition.apply(scope, "fix apply; nothing of the append was kept");
    scope.add_inline(InlineProjection::new(runner.definition.spec, runner.id, apply));
    Ok(())
}

/// No longer runs a projection inside every append of this process; returns whether it did.
pub(crate) fn end_inline(scope: &Scope, name: &str) -> bool {
    let of = |filter| scope.end_inline(&Identity::new(&scope.tenant, name, &filter), || Ok(())).1;
    // Both: one of this tenant and one of all tenants may have the name.
    let (own, of_all) = (of(Filter::new()), of(Filter::new().all_tenants()));
    own || of_all
}

/// Keeps a projection up to date: once, on a thread, or by a rebuild.
#[derive(Clone)]
pub struct ProjectionRunner {
    scope: Scope,
    definition: Definition,
    /// The number of its subscription.
    id: i64,
    lease: Duration,
    on_end: Option<OnEnd>,
}

impl ProjectionRunner {
    pub(crate) fn new(scope: Scope, projection: Arc<dyn Projection>) -> Result<ProjectionRunner> {
        let definition = Definition::new(&scope, projection)?;
        let id = scope.engine().ensure_projection(&definition.spec, &definition.create())?;
        Ok(ProjectionRunner { scope, definition, id, lease: LEASE, on_end: None })
    }

    /// How long a runner may leave another runner's question unanswered before it is taken for dead. Default: 500
    /// milliseconds, limited to between 100 milliseconds and a day.
    pub fn lease(mut self, lasts: Duration) -> ProjectionRunner {
        self.lease = lasts;
        self
    }

    /// Sets a callback for the follower's thread to run when it ends, whether it was stopped or failed.
    pub fn on_end(mut self, callback: impl Fn(&StopReason) + Send + Sync + 'static) -> ProjectionRunner {
        self.on_end = Some(Arc::new(callback));
        self
    }

    /// Applies all new events to the tables, on the calling thread, and returns how many there were.
    ///
    /// # Errors
    /// [`ErrorKind::Handler`] with the position if `apply` failed: the tables hold everything before that event and
    /// nothing of it. [`ErrorKind::ProjectionOutdated`] if a rebuild is due. [`ErrorKind::Busy`] if another runner
    /// leads.
    pub fn run_to_end(&self) -> Result<u64> {
        runner::run_to_end(&self.scope, &self.definition.spec.identity, self.lease, &mut self.work())
            .map_err(|error| error.during("run projection"))
    }

    /// As [`ProjectionRunner::run_to_end`], but waits while another runner leads, as long as one would wait for a busy
    /// file. Several processes may start together, and the previous leader may have been killed a moment ago.
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

    /// Applies events to the tables as they come, on its own thread, until it is stopped.
    ///
    /// # Errors
    /// If the thread cannot be started.
    pub fn follow(&self) -> Result<Follower> {
        let identity = self.definition.spec.identity.clone();
        runner::follow(&self.scope, identity, self.lease, self.on_end.clone(), self.work())
            .map_err(|error| error.during("follow projection"))
    }

    /// The projection's state.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] if it was removed; [`ErrorKind::Corrupt`] if its checkpoint is damaged.
    pub fn status(&self) -> Result<SubscriptionStatus> {
        control::status(&self.scope, &self.definition.spec.identity).map_err(|error| error.during("status"))
    }

    control::methods!();

    fn place(&self) -> (&Scope, Identity) {
        (&self.scope, self.definition.spec.identity.clone())
    }

    fn work(&self) -> Projecting {
        let advice = "fix apply and run again, or skip the event with skip_failed";
        let apply = self.definition.apply(&self.scope, advice);
        Projecting { spec: self.definition.spec.clone(), apply, feed: Feed::new() }
    }
}

impl std::fmt::Debug for ProjectionRunner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ProjectionRunner").field("name", &self.definition.spec.identity.name).finish_non_exhaustive()
    }
}

/// The work of a following projection.
struct Projecting {
    spec: ProjectionSpec,
    apply: Arc<Apply>,
    feed: Feed,
}

impl Work for Projecting {
    fn step(&mut self, scope: &Scope, held: &Held) -> std::result::Result<Step, Halt> {
        let Projecting { spec, apply, feed } = self;
        if feed.is_empty() {
            feed.fill(scope.engine().next_for_tables(held.lead, spec, PAGE)?.ok_or(Halt::LeadLost)?);
        }
        if feed.is_at_end() {
            return Ok(Step::CaughtUp(None));
        }
        if let (true, Some(event)) = (held.wary.get(), feed.page.events.front()) {
            feed.limit = 1;
            subscription::advance(scope, held, feed.page.after, Some(event.position.get()))?;
        }
        match scope.engine().apply_page(held.lead, spec, &feed.page, feed.limit, &**apply)? {
            Applied::Taken(taken) => {
                feed.committed(taken);
                scope.log.appended.raise();
                Ok(Step::Worked(taken.events as u64))
            }
            Applied::Moved => {
                feed.forget();
                Ok(Step::Worked(0))
            }
            Applied::LeadLost => {
                feed.forget();
                Err(Halt::LeadLost)
            }
            Applied::Failed { before, .. } if feed.failed_after(before) => Ok(Step::Worked(0)),
            Applied::Failed { error, .. } => {
                feed.forget();
                Err(Halt::Error(error))
            }
        }
    }
}
