//! Reading events page by page: what is wanted, and how far the reading is.

use crate::model::filter::Filter;

/// Which events to read, in which range and direction.
#[derive(Clone, Debug, Default)]
pub(crate) struct Selection {
    pub(crate) filter: Filter,
    /// Only this aggregate (type, id), in the order of versions.
    pub(crate) aggregate: Option<(String, String)>,
    pub(crate) after_position: u64,
    pub(crate) up_to_position: Option<u64>,
    pub(crate) after_version: u64,
    pub(crate) up_to_version: Option<u64>,
    pub(crate) newest_first: bool,
    /// Events as they were appended, without upcasters.
    pub(crate) as_stored: bool,
}

/// What is left of a scan: a range of positions, or of versions of one aggregate (both ends included).
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct ScanCursor {
    pub(crate) has_begun: bool,
    pub(crate) first: u64,
    pub(crate) last: u64,
}

impl ScanCursor {
    /// Whether nothing is left.
    pub(crate) fn is_finished(&self) -> bool {
        self.has_begun && self.first > self.last
    }

    pub(crate) fn begin(&mut self, first: u64, last: u64) {
        *self = ScanCursor { has_begun: true, first, last };
    }

    pub(crate) fn finish(&mut self) {
        *self = ScanCursor { has_begun: true, first: 1, last: 0 };
    }

    /// Marks the event at this place as read.
    pub(crate) fn pass(&mut self, place: u64, newest_first: bool) {
        match newest_first {
            // Places begin at 1.
            true => self.last = place.saturating_sub(1),
            false => self.first = place.saturating_add(1),
        }
    }
}
