//! Bounded labels. Without a bound each value from outside would create a time series, in the process and in every
//! monitoring system that scrapes it.

use std::collections::HashSet;
use std::sync::{Arc, PoisonError, RwLock};

use super::facade::{Text, shared};

/// The label value for all values beyond the bound.
pub const OTHER: &str = "__other__";

/// How many values a label may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Bound {
    /// The first values that occur, up to this number. All later ones count under [`OTHER`].
    AtMost(usize),
    /// No values: everything counts under [`OTHER`], and there are no gauges for single aggregates.
    Off,
    /// All values. Memory and scrapes grow with their number: for 100,000 aggregates by 29 MB and 9 MB.
    Unlimited,
}

impl Bound {
    /// The greatest number of values; `None` if there is no bound.
    pub fn limit(self) -> Option<usize> {
        match self {
            Bound::AtMost(values) => Some(values),
            Bound::Off => Some(0),
            Bound::Unlimited => None,
        }
    }

    fn has_room(self, taken: usize) -> bool {
        self.limit().is_none_or(|limit| taken < limit)
    }
}

/// How many values the labels with values from outside may take, for each store and each metric. Default: 1,000.
///
/// Totals stay right whatever the bound, because the rest counts under [`OTHER`].
///
/// ```
/// use foldlog::Options;
/// use foldlog::metrics::{Bound, LabelBounds};
/// let store = Options::new()
///     .label_bounds(LabelBounds::default().aggregates(Bound::Off).tenants(Bound::AtMost(50)))
///     .in_memory()?;
/// # Ok::<(), foldlog::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LabelBounds {
    pub(crate) aggregates: Bound,
    pub(crate) tenants: Bound,
    pub(crate) event_types: Bound,
}

impl Default for LabelBounds {
    fn default() -> LabelBounds {
        LabelBounds { aggregates: DEFAULT, tenants: DEFAULT, event_types: DEFAULT }
    }
}

pub(crate) const DEFAULT_VALUES: usize = 1_000;
const DEFAULT: Bound = Bound::AtMost(DEFAULT_VALUES);

impl LabelBounds {
    /// Sets the bound of `aggregate_id`.
    pub fn aggregates(mut self, bound: Bound) -> LabelBounds {
        self.aggregates = bound;
        self
    }

    /// Sets the bound of `tenant_id`.
    pub fn tenants(mut self, bound: Bound) -> LabelBounds {
        self.tenants = bound;
        self
    }

    /// Sets the bound of `event_type`.
    pub fn event_types(mut self, bound: Bound) -> LabelBounds {
        self.event_types = bound;
        self
    }
}

/// The values that a label has taken so far.
pub(super) struct Labels {
    bound: Bound,
    admitted: RwLock<HashSet<Arc<str>>>,
}

impl Labels {
    pub(super) fn new(bound: Bound) -> Labels {
        Labels { bound, admitted: RwLock::default() }
    }

    /// The label for a value: the value itself while there is room.
    pub(super) fn admit(&self, value: &str) -> Text {
        {
            let admitted = self.admitted.read().unwrap_or_else(PoisonError::into_inner);
            if let Some(known) = admitted.get(value) {
                return shared(known.clone());
            }
            if !self.bound.has_room(admitted.len()) {
                return OTHER.into();
            }
        }
        let mut admitted = self.admitted.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = admitted.get(value) {
            return shared(known.clone());
        }
        // Between the two locks another thread may have taken the last place.
        if !self.bound.has_room(admitted.len()) {
            return OTHER.into();
        }
        let value: Arc<str> = value.into();
        admitted.insert(value.clone());
        shared(value)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;

    use super::*;

    #[test]
    fn one_of_the_threads_that_race_for_the_last_place_gets_it() {
        for _ in 0..500 {
            let labels = Labels::new(Bound::AtMost(1));
            let start = Barrier::new(4);
            std::thread::scope(|scope| {
                for thread in 0..4 {
                    let (labels, start) = (&labels, &start);
                    scope.spawn(move || {
                        start.wait();
                        labels.admit(&thread.to_string());
                    });
                }
            });
            assert_eq!(labels.admitted.read().unwrap().len(), 1);
        }
    }
}
