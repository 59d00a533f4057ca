//! Events for each day.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use chrono::{DateTime, Days as Span, NaiveDate, NaiveTime, Utc};
use foldlog::{FileStatistics, Filter, Query, Result};

use crate::app::App;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// More new events than this are counted anew.
const MOST_ADDED: u64 = 5_000;

/// The events of consecutive days, in UTC.
#[derive(Clone, Debug, Default)]
pub(crate) struct Days {
    pub(crate) first: NaiveDate,
    pub(crate) events: Vec<u64>,
}

/// The last count, so that only what came after it must be read.
#[derive(Default)]
pub(crate) struct Counted(Mutex<Option<(FileStatistics, Days)>>);

impl Days {
    /// The last days up to that of the newest event. No days if there are no events.
    pub(crate) fn last(app: &App, days: u64) -> Result<Days> {
        let newest = app.store.read(Query::matching(app.all(Filter::new())).newest_first().limit(1)).next().transpose()?;
        let Some(newest) = newest else { return Ok(Days::default()) };
        let last = newest.created_at.date_naive();
        let first = last.checked_sub_days(Span::new(days.saturating_sub(1))).unwrap_or(last);
        let length = usize::try_from(days).unwrap_or(60);
        let mut kept = app.days.0.lock().unwrap_or_else(PoisonError::into_inner);
        let now = app.store.file_statistics()?;
        if let Some((then, known)) = kept.as_mut()
            && known.first == first
            && known.events.len() == length
            && known.add(app, then, &now)?
        {
            *then = now;
            return Ok(known.clone());
        }
        let events = app.store.count_by_time(&app.all(Filter::new()), midnight(first), DAY, length)?;
        let counted = Days { first, events };
        *kept = Some((now, counted.clone()));
        Ok(counted)
    }

    /// Adds what came since; `false` if too much came, or something was removed.
    fn add(&mut self, app: &App, then: &FileStatistics, now: &FileStatistics) -> Result<bool> {
        let came = now.last_position.get().saturating_sub(then.last_position.get());
        if came > MOST_ADDED || now.events != then.events + came {
            return Ok(false);
        }
        let query = Query::matching(app.all(Filter::new())).after_position(then.last_position).up_to_position(now.last_position);
        for event in app.store.read(query) {
            let day = (event?.created_at.date_naive() - self.first).num_days();
            if let Some(events) = usize::try_from(day).ok().and_then(|day| self.events.get_mut(day)) {
                *events += 1;
            }
        }
        Ok(true)
    }

    pub(crate) fn each(&self) -> impl DoubleEndedIterator<Item = (NaiveDate, u64)> + ExactSizeIterator {
        let first = self.first;
        let day =
            move |(number, events): (usize, &u64)| (first.checked_add_days(Span::new(number as u64)).unwrap_or(first), *events);
        self.events.iter().enumerate().map(day)
    }

    pub(crate) fn total(&self) -> u64 {
        self.events.iter().sum()
    }
}

pub(crate) fn midnight(day: NaiveDate) -> DateTime<Utc> {
    day.and_time(NaiveTime::MIN).and_utc()
}
