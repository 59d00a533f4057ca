//! The store's outboxes.

use super::Store;
use crate::delivery::outbox::dead_letters::DeadLetters;
use crate::delivery::outbox::{self, Outbox, OutboxStatus};
use crate::model::error::Result;

impl Store {
    /// Hands events to the outside world: at least once, in order per aggregate.
    pub fn outbox(&self, name: &str) -> Outbox {
        Outbox::new(self.scope.clone(), name)
    }

    /// How an outbox stands: how far it is, and what is not through.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`](crate::ErrorKind::NotFound) if there is none of this name; if the file cannot be read.
    pub fn outbox_status(&self, name: &str) -> Result<OutboxStatus> {
        outbox::status(&self.scope, name).map_err(|error| error.during("outbox status"))
    }

    /// What an outbox has given up.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`](crate::ErrorKind::NotFound) if there is none of this name; if the file cannot be read.
    pub fn outbox_dead_letters(&self, name: &str) -> Result<DeadLetters> {
        DeadLetters::of(&self.scope, name).map_err(|error| error.during("dead letters"))
    }
}
