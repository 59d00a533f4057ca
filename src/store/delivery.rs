//! Subscriptions and projections of a store.

use std::sync::Arc;

use super::Store;
use crate::delivery::control::{self, SubscriptionStatus};
use crate::delivery::projection::{self, Projection, ProjectionRunner};
use crate::delivery::subscription::Subscription;
use crate::model::error::Result;

impl Store {
    /// A named reader of the log with a stored checkpoint. It also gives access by name to a projection or an outbox,
    /// such as its status. For one that reads all tenants, set a filter that does too.
    pub fn subscription(&self, name: &str) -> Subscription {
        Subscription::new(self.scope.clone(), name)
    }

    /// A projection that follows the log: once, on a thread, or by a rebuild. Its tables are created if they do not
    /// exist.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`](crate::ErrorKind::InvalidInput) for an invalid table name;
    /// [`ErrorKind::Handler`](crate::ErrorKind::Handler) if the tables cannot be created.
    pub fn projection(&self, projection: impl Projection) -> Result<ProjectionRunner> {
        ProjectionRunner::new(self.scope.clone(), Arc::new(projection)).map_err(|error| error.during("make projection"))
    }

    /// Runs a projection inside every append of this process, in the append's own transaction: when an append returns,
    /// its events are in the tables. Before that it catches up with the log; if its version has changed, it is rebuilt.
    ///
    /// If `apply` fails, the append fails and nothing of it is kept. It fails with
    /// [`ErrorKind::ProjectionOutdated`](crate::ErrorKind::ProjectionOutdated) if another process has rebuilt the
    /// tables in another version, or has removed the projection. Events that another process appends without the
    /// projection are applied by this process's next append. A second call with the same name replaces the definition.
    ///
    /// # Errors
    /// As [`ProjectionRunner::run_to_end`] and [`ProjectionRunner::rebuild`]:
    /// [`ErrorKind::ProjectionOutdated`](crate::ErrorKind::ProjectionOutdated) if the tables are of a newer version.
    /// While another runner leads, it first waits as long as
    /// [`Options::busy_timeout`](crate::Options::busy_timeout) says.
    pub fn project_inline(&self, projection: impl Projection) -> Result<()> {
        projection::add_inline(&self.scope, Arc::new(projection)).map_err(|error| error.during("project inline"))
    }

    /// No longer runs the projection of this name inside this process's appends; returns whether it did. The projection
    /// and its tables stay in the file: another process may go on with them, and so may a follower. Use it if appends
    /// matter more than the tables, for instance in an old version of the application whose appends fail with
    /// [`ErrorKind::ProjectionOutdated`](crate::ErrorKind::ProjectionOutdated).
    ///
    /// ```
    /// # let store = foldlog::Store::in_memory()?;
    /// assert!(!store.end_inline("owners"), "none was projected");
    /// # Ok::<(), foldlog::Error>(())
    /// ```
    pub fn end_inline(&self, name: &str) -> bool {
        projection::end_inline(&self.scope, name)
    }

    /// The status of every subscription, projection and outbox of this tenant, and of those that read all tenants.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn subscriptions(&self) -> Result<Vec<SubscriptionStatus>> {
        control::statuses(&self.scope).map_err(|error| error.during("subscriptions"))
    }
}
