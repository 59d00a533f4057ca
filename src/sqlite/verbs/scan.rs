//! Reading the log by position.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::model::clock::to_micros;
use crate::model::error::Result;
use crate::model::event::RecordedEvent;
use crate::model::filter::Filter;
use crate::sqlite::blocks::{self, Wanted};
use crate::sqlite::log::{self, Along};
use crate::sqlite::state;
use crate::sqlite::transaction::View;

const ROWS_AT_ONCE: usize = 2_048;
const BYTES_AT_ONCE: usize = 1 << 20;

/// The next events that a subscription wants after a position, `limit` at most, and the position up to which the log was
/// looked at for them.
pub(crate) fn read_after(
    view: &View<'_>,
    tenant: &str,
    filter: &Filter,
    after: u64,
    limit: usize,
) -> Result<(VecDeque<RecordedEvent>, u64)> {
    let last = state::last_position(view)?.get();
    let mut event_types = None;
    if !filter.event_types.is_empty() {
        let mut numbers = Vec::new();
        for name in &filter.event_types {
            numbers.extend(view.event_type(name)?.map(|event_type| event_type.id));
        }
        if numbers.is_empty() {
            return Ok((VecDeque::new(), last.max(after)));
        }
        event_types = Some(numbers);
    }
    let (from, to) = (filter.from.map(to_micros), filter.to.map(to_micros));
    let wanted = Wanted { event_types, from, to };
    let (mut ready, mut next, mut bytes) = (VecDeque::new(), after.saturating_add(1), 0);
    while next <= last && ready.is_empty() {
        let Some((first, through)) = blocks::next_range(view, &wanted, next)? else { return Ok((ready, last.max(after))) };
        let (first, through) = (first.max(next), through.min(last));
        if first > through {
            return Ok((ready, last.max(after)));
        }
        let (mut rows, mut stopped) = (0, false);
        log::scan_log(view, Along::Log, (first, through), false, ROWS_AT_ONCE, |raw, kind, aggregate_id| {
            rows += 1;
            next = raw.position + 1;
            let time = (from.unwrap_or(i64::MIN)..=to.unwrap_or(i64::MAX)).contains(&raw.created_at);
            let of_type = wanted.event_types.as_ref().is_none_or(|types| types.contains(&raw.event_type.id));
            let of_kind = filter.aggregate_types.is_empty() || filter.aggregate_types.iter().any(|name| **name == *kind.name);
            if !(filter.all_tenants || *kind.tenant == *tenant) || !time || !of_type || !of_kind {
                return Ok(true);
            }
            if !filter.tags.is_empty() || !filter.any_tag.is_empty() {
                let tags = raw.tags()?;
                let all = filter.tags.iter().all(|tag| tags.contains(tag));
                if !all || !(filter.any_tag.is_empty() || filter.any_tag.iter().any(|tag| tags.contains(tag))) {
                    return Ok(true);
                }
            }
            ready.push_back(raw.recorded(kind, Arc::from(aggregate_id))?);
            bytes += raw.bytes();
            stopped = ready.len() >= limit || bytes >= BYTES_AT_ONCE;
            Ok(!stopped)
        })?;
        if rows < ROWS_AT_ONCE && !stopped {
            next = through.saturating_add(1);
        }
    }
    Ok((ready, next.saturating_sub(1).max(after)))
}

/// The position of the newest event that ever was in the file; 0 if there was none.
pub(crate) fn last_position(view: &View<'_>) -> Result<u64> {
    Ok(state::last_position(view)?.get())
}
