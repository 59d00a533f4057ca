//! An open log as one tenant sees it: what everything above the SQL works on.

use std::sync::{Arc, PoisonError, RwLock};

use crate::engine::{Engine, InlineProjection};
use crate::log::signal::Signal;
use crate::metrics::Meter;
use crate::model::error::{Error, ErrorKind, Result};
use crate::model::place::{AggregateRef, DEFAULT_TENANT};
use crate::options::Options;
use crate::sqlite::aggregates::{self, AggregateRow};
use crate::sqlite::events::Owner;
use crate::sqlite::verbs::projections::run_inline;
use crate::sqlite::{Database, View, Writing};
use crate::storage::delivery::Identity;

/// Cheap to clone: two counted references.
#[derive(Clone)]
pub(crate) struct Scope {
    pub(crate) log: Arc<Log>,
    pub(crate) tenant: Arc<str>,
}

/// An open file and its settings.
pub(crate) struct Log {
    pub(crate) engine: Engine,
    pub(crate) options: Options,
    /// Raised after each append of this process, and when a subscription has moved.
    pub(crate) appended: Signal,
    /// Projections that run inside this process's appends.
    pub(crate) inline: RwLock<Vec<Arc<InlineProjection>>>,
    pub(crate) meter: Meter,
}

impl Scope {
    pub(crate) fn new(database: Database, options: Options) -> Scope {
        let meter = Meter::new(options.label_bounds);
        Scope {
            log: Arc::new(Log {
                engine: Engine::Sqlite(database),
                options,
                meter,
                appended: Signal::default(),
                inline: RwLock::default(),
            }),
            tenant: DEFAULT_TENANT.into(),
        }
    }

    /// Does the inline work, in the transaction that appends.
    pub(crate) fn run_inline(&self, writing: &Writing<'_>) -> Result<()> {
        let inline = self.log.inline.read().unwrap_or_else(PoisonError::into_inner);
        run_inline(writing, &inline)
    }

    /// The projections that run inside this process's appends.
    pub(crate) fn inline(&self) -> Vec<Arc<InlineProjection>> {
        self.log.inline.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Lets a projection run inside this process's appends from now on.
    pub(crate) fn add_inline(&self, projection: InlineProjection) {
        self.log.inline.write().unwrap_or_else(PoisonError::into_inner).push(Arc::new(projection));
    }

    /// Lets a projection run inside this process's appends no longer.
    pub(crate) fn remove_inline(&self, identity: &Identity) {
        let mut inline = self.log.inline.write().unwrap_or_else(PoisonError::into_inner);
        inline.retain(|projection| projection.spec.identity != *identity);
    }

    /// Lets a copy of the log do the same inline work.
    pub(crate) fn copy_inline(&self, copy: &Scope) {
        let inline = self.log.inline.read().unwrap_or_else(PoisonError::into_inner).clone();
        *copy.log.inline.write().unwrap_or_else(PoisonError::into_inner) = inline;
    }

    pub(crate) fn engine(&self) -> &Engine {
        &self.log.engine
    }

    pub(crate) fn database(&self) -> &Database {
        match &self.log.engine {
            Engine::Sqlite(database) => database,
        }
    }

    pub(crate) fn options(&self) -> &Options {
        &self.log.options
    }

    pub(crate) fn meter(&self) -> &Meter {
        &self.log.meter
    }

    pub(crate) fn aggregate(&self, aggregate_type: &str, aggregate_id: &str) -> AggregateRef {
        AggregateRef::new(&self.tenant, aggregate_type, aggregate_id)
    }

    /// An aggregate's row, and what its events are checked against; `None` if it never had events.
    pub(crate) fn find(
        &self,
        view: &View<'_>,
        aggregate_type: &str,
        aggregate_id: &str,
    ) -> Result<Option<(AggregateRow, Owner)>> {
        let found = self.look_up(view, aggregate_type, aggregate_id)?;
        found.iter().try_for_each(|(row, _)| aggregates::check_ends(view, row)).map(|()| found)
    }

    /// As [`Scope::find`], for who compares the row with the events himself.
    pub(crate) fn look_up(
        &self,
        view: &View<'_>,
        aggregate_type: &str,
        aggregate_id: &str,
    ) -> Result<Option<(AggregateRow, Owner)>> {
        let Some(aggregate_type) = view.aggregate_type(&self.tenant, aggregate_type)? else { return Ok(None) };
        let Some(row) = aggregates::look_up(view, aggregate_type.id, aggregate_id)? else { return Ok(None) };
        let owner = Owner::new(row.id, aggregate_type, aggregate_id);
        Ok(Some((row, owner)))
    }

    /// Refuses a name that cannot be stored or that is too long.
    pub(crate) fn check_name(&self, what: &str, name: &str) -> Result<()> {
        let most = self.options().max_name_bytes;
        if name.is_empty() {
            return Err(Error::new(ErrorKind::InvalidInput, format!("the {what} is empty")));
        }
        if name.contains('\0') {
            return Err(Error::new(ErrorKind::InvalidInput, format!("the {what} holds a NUL character")));
        }
        if name.len() > most {
            return Err(Error::new(
                ErrorKind::LimitExceeded,
                format!("the {what} has {} bytes; at most {most} are allowed", name.len()),
            )
            .advice("shorten it, or raise Options::max_name_bytes"));
        }
        Ok(())
    }
}

pub(crate) fn not_found() -> Error {
    Error::new(ErrorKind::NotFound, "the aggregate has no events")
}

pub(crate) fn history_removed(through: u64) -> Error {
    Error::new(
        ErrorKind::HistoryRemoved,
        format!("events up to version {through} were removed and no usable snapshot stands in for them"),
    )
    .advice("replay to a version at or after a snapshot of this fold version, or restore the events")
}
