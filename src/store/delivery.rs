//! Subscriptions and projections of a store.

use std::sync::Arc;
use std::time::Duration;

use super::Store;
use crate::delivery::projection::{self, Projection, ProjectionRunner};
use crate::delivery::runner::SubscriptionStatus;
use crate::delivery::subscription::{self, Subscription};
use crate::model::error::Result;
use crate::model::place::Position;

impl Store {
    /// A named reader of the log with a stored checkpoint.
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
        subscription::statuses(&self.scope).map_err(|error| error.during("subscriptions"))
    }

    /// Waits until a subscription, projection or outbox has passed a position, so that a user reads what he wrote.
    ///
    /// # Errors
    /// [`ErrorKind::Busy`](crate::ErrorKind::Busy) if the time is over; [`ErrorKind::Handler`](crate::ErrorKind::Handler) if it has stopped at an event before; both say where
    /// it is. [`ErrorKind::NotFound`](crate::ErrorKind::NotFound) if there is none of this name.
    pub fn wait_until(&self, subscription: &str, position: Position, timeout: Duration) -> Result<()> {
        subscription::wait_until(&self.scope, subscription, position, timeout).map_err(|error| error.during("wait"))
    }

    /// Passes over the event at which a subscription or a projection has stopped; returns its position.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`](crate::ErrorKind::NotFound) if it has not stopped at an event.
    pub fn skip_failed(&self, subscription: &str) -> Result<Position> {
        subscription::skip_failed(&self.scope, subscription).map_err(|error| error.during("skip"))
    }

    /// Forgets a subscription: its checkpoint and its deliveries. A projection's tables stay.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`](crate::ErrorKind::NotFound) if there is none of this name.
    pub fn remove_subscription(&self, subscription: &str) -> Result<()> {
        subscription::remove(&self.scope, subscription).map_err(|error| error.during("remove subscription"))
    }
}
