//! Subscriptions and projections of a store.

use std::sync::Arc;

use super::Store;
use crate::delivery::control::{self, SubscriptionStatus};
use crate::delivery::projection::{self, Projection, ProjectionRunner};
use crate::delivery::subscription::Subscription;
use crate::model::error::Result;

impl Store {
    /// A named reader of the log with a stored checkpoint. Also for what is asked by name of a projection or an outbox, such as
    /// its status. One that reads all tenants is reached by a filter that does, too.
    pub fn subscription(&self, name: &str) -> Subscription {
        Subscription::new(self.scope.clone(), name)
    }

    /// A projection that is kept up to date by itself: once, on a thread, or by a rebuild. Its tables are made if there
    /// are none.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`](crate::ErrorKind::InvalidInput) for a name of a table that it cannot have; [`ErrorKind::Handler`](crate::ErrorKind::Handler) if making the tables
    /// fails.
    pub fn projection(&self, projection: impl Projection) -> Result<ProjectionRunner> {
        ProjectionRunner::new(self.scope.clone(), Arc::new(projection)).map_err(|error| error.during("make projection"))
    }

    /// Lets a projection run inside every append of this process, in the append's own transaction: what an append
    /// returned is in the tables. First it takes up what is in the log; if its version has changed it is rebuilt.
    ///
    /// If `apply` fails, the append fails and nothing of it is kept. Events that another process appends without the
    /// projection are taken up by this process's next append.
    ///
    /// # Errors
    /// As [`ProjectionRunner::run_to_end`] and [`ProjectionRunner::rebuild`]; while another runner leads it waits first, as
    /// long as [`Options::busy_timeout`](crate::Options::busy_timeout) says.
    pub fn project_inline(&self, projection: impl Projection) -> Result<()> {
        projection::add_inline(&self.scope, Arc::new(projection)).map_err(|error| error.during("project inline"))
    }

    /// How every subscription, projection and outbox of this tenant stands, and those that read all tenants.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn subscriptions(&self) -> Result<Vec<SubscriptionStatus>> {
        control::statuses(&self.scope).map_err(|error| error.during("subscriptions"))
    }
}
