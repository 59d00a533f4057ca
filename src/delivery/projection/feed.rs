//! Feeds events to a projection's tables. Events are read and checked before the transaction that applies them, so that
//! it holds the write lock only for the tables.

use crate::storage::delivery::{Page, Taken};

/// Events read at a time. Many, because a reading connection starts with an empty page cache after each commit.
pub(super) const PAGE: usize = 4_096;

/// Events that were read but not yet applied.
pub(super) struct Feed {
    pub(super) page: Page,
    /// The most events for the next transaction.
    pub(super) limit: usize,
}

impl Feed {
    pub(super) fn new() -> Feed {
        Feed { page: Page::default(), limit: usize::MAX }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.page.events.is_empty()
    }

    pub(super) fn fill(&mut self, page: Page) {
        self.page = page;
        self.limit = usize::MAX;
    }

    /// Whether the end of the log was reached, unwanted events included.
    pub(super) fn is_at_end(&self) -> bool {
        self.page.events.is_empty() && self.page.scanned == self.page.after
    }

    /// The transaction has committed. Events that it did not reach stay for the next one.
    pub(super) fn committed(&mut self, taken: Taken) {
        self.page.after = taken.reached;
        self.page.events.drain(..taken.events.min(self.page.events.len()));
        self.limit = usize::MAX;
    }

    /// Somebody moved the checkpoint: the events at hand are no longer the next ones.
    pub(super) fn forget(&mut self) {
        self.fill(Page::default());
    }

    /// The transaction was rolled back because an event failed. If there were events before it, the next transaction
    /// applies only those. Otherwise returns `false`.
    pub(super) fn failed_after(&mut self, before: usize) -> bool {
        self.limit = before;
        before > 0
    }
}
