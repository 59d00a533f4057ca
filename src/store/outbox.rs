//! The store's outboxes.

use super::Store;
use crate::delivery::outbox::Outbox;

impl Store {
    /// An outbox: hands events to the outside world, at least once and in order per aggregate.
    pub fn outbox(&self, name: &str) -> Outbox {
        Outbox::new(self.scope.clone(), name)
    }
}
