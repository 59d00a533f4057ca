//! An open log as one tenant sees it: what everything above the SQL works on.

use std::sync::{Arc, PoisonError, RwLock};

use crate::log::signal::Signal;
use crate::metrics::Meter;
use crate::model::error::{Error, ErrorKind, Result};
use crate::model::place::{AggregateRef, DEFAULT_TENANT};
use crate::options::Options;
use crate::sqlite::aggregates::{self, AggregateRow};
use crate::sqlite::events::Owner;
use crate::sqlite::{Database, View, Writing};

/// Cheap to clone: two counted references.
#[derive(Clone)]
pub(crate) struct Scope {
    pub(crate) log: Arc<Log>,
    pub(crate) tenant: Arc<str>,
}

/// Work that every append of this process does in its own transaction. The log knows no more of projections.
pub(crate) trait Inline: Send + Sync {
    /// Takes up whatever was appended since it ran last.
    fn run(&self, log: &Arc<Log>, writing: &Writing<'_>) -> Result<()>;

    /// The tables that it writes.
    fn tables(&self) -> &[String];
}

/// An open file and its settings.
pub(crate) struct Log {
    pub(crate) database: Database,
    pub(crate) options: Options,
    /// Raised after each append of this process, and when a subscription has moved.
    pub(crate) appended: Signal,
    /// Projections that run inside this process's appends.
    pub(crate) inline: RwLock<Vec<Arc<dyn Inline>>>,
    pub(crate) meter: Meter,
}

impl Scope {
    pub(crate) fn new(database: Database, options: Options) -> Scope {
        let meter = Meter::new(options.label_bounds);
        Scope {
            log: Arc::new(Log { database, options, meter, appended: Signal::default(), inline: RwLock::default() }),
            tenant: DEFAULT_TENANT.into(),
        }
    }

    /// Does the inline work, in the transaction that appends.
    pub(crate) fn run_inline(&self, writing: &Writing<'_>) -> Result<()> {
        let inline = self.log.inline.read().unwrap_or_else(PoisonError::into_inner);
        inline.iter().try_for_each(|work| work.run(&self.log, writing))
    }

    /// Lets a copy of the log do the same inline work.
    pub(crate) fn copy_inline(&self, copy: &Scope) {
        let inline = self.log.inline.read().unwrap_or_else(PoisonError::into_inner).clone();
        *copy.log.inline.write().unwrap_or_else(PoisonError::into_inner) = inline;
    }

    /// The tables that the inline work writes.
    pub(crate) fn inline_tables(&self) -> Vec<String> {
        let inline = self.log.inline.read().unwrap_or_else(PoisonError::into_inner);
        inline.iter().flat_map(|work| work.tables().iter().cloned()).collect()
    }

    pub(crate) fn database(&self) -> &Database {
        &self.log.database
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
