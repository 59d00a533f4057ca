//! How far readers were behind since the inspector started. In memory: the file keeps no history of it.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::health::{Reader, Readers};

/// Between two looks, at first.
const FIRST_STEP: Duration = Duration::from_secs(5);
/// Values that are kept; then every other one goes, and looks become rarer.
const MOST: usize = 240;

/// The tenant, `None` for all of them, and the name of a reader.
type Key = (Option<String>, String);

#[derive(Default)]
pub(crate) struct Trends(Mutex<Kept>);

struct Kept {
    step: Duration,
    last: Option<Instant>,
    lags: BTreeMap<Key, Vec<u64>>,
}

impl Default for Kept {
    fn default() -> Kept {
        Kept { step: FIRST_STEP, last: None, lags: BTreeMap::new() }
    }
}

/// The lags of one reader, oldest first, and the time between two of them.
pub(crate) struct Trend {
    pub(crate) lags: Vec<u64>,
    pub(crate) step: Duration,
}

fn key(reader: &Reader) -> Key {
    (reader.tenant.clone(), reader.status.name.clone())
}

impl Trends {
    /// Whether it is time to look again.
    pub(crate) fn is_due(&self) -> bool {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.last.is_none_or(|last| last.elapsed() >= kept.step)
    }

    pub(crate) fn note(&self, readers: &Readers) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.last = Some(Instant::now());
        kept.lags.retain(|known, _| readers.all.iter().any(|reader| key(reader) == *known));
        for reader in &readers.all {
            kept.lags.entry(key(reader)).or_default().push(reader.status.lag);
        }
        if kept.lags.values().any(|lags| lags.len() > MOST) {
            kept.step *= 2;
            for lags in kept.lags.values_mut() {
                let newest = lags.len().saturating_sub(1);
                let mut place = 0..;
                // The newest stays.
                lags.retain(|_| place.next().is_some_and(|place: usize| (newest - place).is_multiple_of(2)));
            }
        }
    }

    pub(crate) fn of(&self, reader: &Reader) -> Trend {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Trend { lags: kept.lags.get(&key(reader)).cloned().unwrap_or_default(), step: kept.step }
    }
}

impl Trend {
    /// From the first value to the last.
    pub(crate) fn span(&self) -> Duration {
        self.step * u32::try_from(self.lags.len().saturating_sub(1)).unwrap_or(u32::MAX)
    }

    /// Whether it fell behind, or caught up, over the last six looks.
    pub(crate) fn direction(&self) -> Option<&'static str> {
        let now = *self.lags.last()?;
        let then = *self.lags.get(self.lags.len().checked_sub(6)?)?;
        match now.cmp(&then) {
            std::cmp::Ordering::Greater => Some("↑ growing"),
            std::cmp::Ordering::Less => Some("↓ shrinking"),
            std::cmp::Ordering::Equal => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_direction_is_that_of_the_last_looks() {
        let of = |lags: &[u64]| Trend { lags: lags.to_vec(), step: FIRST_STEP }.direction();
        assert_eq!([of(&[]), of(&[1, 2, 3]), of(&[5, 5, 5, 5, 5, 5])], [None, None, None]);
        assert_eq!((of(&[9, 0, 0, 0, 0, 0, 1]), of(&[0, 9, 0, 0, 0, 0, 1])), (Some("↑ growing"), Some("↓ shrinking")));
    }
}
