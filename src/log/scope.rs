//! An open log as one tenant sees it: what everything above the engine works on.

use std::sync::{Arc, RwLock};

use crate::engine::{Engine, InlineProjection};
use crate::log::signal::Signal;
use crate::metrics::Meter;
use crate::model::error::{Error, ErrorKind, Result};
use crate::model::place::{AggregateRef, DEFAULT_TENANT};
use crate::options::Options;
use crate::storage::delivery::Identity;
use crate::sync;

/// Cheap to clone: two counted references.
#[derive(Clone)]
pub(crate) struct Scope {
    pub(crate) log: Arc<Log>,
    pub(crate) tenant: Arc<str>,
}

/// An open log and its settings.
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
    pub(crate) fn new(engine: Engine, options: Options) -> Scope {
        let meter = Meter::new(options.label_bounds);
        Scope {
            log: Arc::new(Log { engine, options, meter, appended: Signal::default(), inline: RwLock::default() }),
            tenant: DEFAULT_TENANT.into(),
        }
    }

    /// The projections that run inside this process's appends.
    pub(crate) fn inline(&self) -> Vec<Arc<InlineProjection>> {
        sync::read(&self.log.inline).clone()
    }

    /// From now on runs a projection inside this process's appends.
    pub(crate) fn add_inline(&self, projection: InlineProjection) {
        sync::write(&self.log.inline).push(Arc::new(projection));
    }

    /// Stops running a projection inside this process's appends.
    pub(crate) fn remove_inline(&self, identity: &Identity) {
        sync::write(&self.log.inline).retain(|projection| projection.spec.identity != *identity);
    }

    /// Gives a copy of the log the same inline projections.
    pub(crate) fn copy_inline(&self, copy: &Scope) {
        *sync::write(&copy.log.inline) = self.inline();
    }

    pub(crate) fn engine(&self) -> &Engine {
        &self.log.engine
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

    /// Refuses a name that cannot be stored or is too long.
    pub(crate) fn check_name(&self, what: &str, name: &str) -> Result<()> {
        let most = self.options().max_name_bytes;
        if name.is_empty() {
            return Err(Error::new(ErrorKind::InvalidInput, format!("the {what} is empty")));
        }
        if name.contains('\0') {
            return Err(Error::new(ErrorKind::InvalidInput, format!("the {what} holds a NUL character")));
        }
        if name.len() > most {
            let what = format!("the {what} has {} bytes; at most {most} are allowed", name.len());
            return Err(Error::new(ErrorKind::LimitExceeded, what).advice("shorten it, or raise Options::max_name_bytes"));
        }
        Ok(())
    }
}
