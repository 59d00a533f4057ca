//! Events on their way into a projection's tables: read, and checked, before the transaction that takes them, so that it
//! holds the file no longer than the tables need.

use crate::storage::delivery::{Page, Taken};

/// Events read at once. Many, for a connection that reads begins with an empty page cache after each commit.
pub(super) const PAGE: usize = 4_096;

/// What was read and not yet taken.
pub(super) struct Feed {
    pub(super) page: Page,
    /// At most so many in the next transaction.
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

    /// Whether the log has nothing more, not even events that the projection does not want.
    pub(super) fn is_at_end(&self) -> bool {
        self.page.events.is_empty() && self.page.scanned == self.page.after
    }

    /// The transaction has committed. What it did not get to waits for the next one.
    pub(super) fn committed(&mut self, taken: Taken) {
        self.page.after = taken.reached;
        self.page.events.drain(..taken.events.min(self.page.events.len()));
        self.limit = usize::MAX;
    }

    /// Somebody moved the projection: what is at hand is not what comes next.
    pub(super) fn forget(&mut self) {
        self.fill(Page::default());
    }

    /// The transaction was rolled back because an event failed. If others came before, the next one takes those; otherwise
    /// `false`.
    pub(super) fn failed_after(&mut self, before: usize) -> bool {
        self.limit = before;
        before > 0
    }
}
