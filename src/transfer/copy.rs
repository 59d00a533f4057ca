//! Copies events from one log into another, without text between.

use std::ops::ControlFlow;

use super::import::{Commit, Import, ImportProgress};
use super::line::Line;
use crate::log::query::Events;
use crate::log::scope::Scope;
use crate::model::error::Result;
use crate::model::event::{NewEvent, RecordedEvent};

pub(crate) fn copy(
    scope: &Scope,
    events: Events,
    mut wanted: impl FnMut(&RecordedEvent) -> bool,
    settings: &Import,
    mut progress: impl FnMut(&ImportProgress) -> ControlFlow<()>,
) -> Result<ImportProgress> {
    let (mut done, mut commit) = (ImportProgress::default(), Commit::default());
    for event in events {
        // If it cannot be read, the commit that it may belong to is not appended.
        let event = event?;
        done.lines += 1;
        if !wanted(&event) {
            continue;
        }
        let tenant = if settings.is_into_tenant() { scope.tenant.clone() } else { event.tenant.clone() };
        let mut line = line_of(event);
        settings.rename(&mut line);
        if !commit.takes(&line, &tenant, settings) {
            commit.append(scope, settings, &mut done)?;
            if progress(&done).is_break() {
                return Ok(done);
            }
        }
        commit.add(line, done.lines, tenant, settings);
    }
    commit.append(scope, settings, &mut done)?;
    done.finished = true;
    // The last call says that it is done; it is too late to stop.
    let _ = progress(&done);
    Ok(done)
}

fn line_of(event: RecordedEvent) -> Line {
    let mut new = NewEvent::with_json(&*event.event_type, event.data).id(event.id).schema_version(event.schema_version);
    new.created_at = Some(event.created_at);
    new.metadata = event.metadata;
    new.tags = event.tags;
    Line {
        aggregate_type: event.aggregate_type.to_string(),
        aggregate_id: event.aggregate_id.to_string(),
        tenant: None,
        version: Some(event.version.get()),
        commit: Some(event.commit_id.to_string()),
        event: new,
    }
}
