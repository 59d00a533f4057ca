//! Stored events as readers get them: in the current schema versions of their types.

use std::sync::Arc;

use crate::model::error::Result;
use crate::model::event::RecordedEvent;
use crate::model::upcast::Reading;
use crate::sqlite::names_cache::{AggregateType, EventType};
use crate::sqlite::tables::events::{Owner, Raw};
use crate::sqlite::transaction::View;

/// Passes what a stored event is read as to `each`: mostly itself.
pub(super) fn each_part(
    view: &View<'_>,
    aggregate_type: &AggregateType,
    event_type: &EventType,
    (schema_version, data): (u32, &str),
    mut each: impl FnMut(Reading<'_>) -> Result<()>,
) -> Result<()> {
    let stored = Reading { index: 0, event_type: &event_type.name, schema_version, data };
    match event_type.current(&aggregate_type.name) == Some(schema_version) {
        true => each(stored),
        false => view.names.upcasters.upcast(&aggregate_type.name, stored, &mut each),
    }
}

/// As [`each_part`], for a whole row.
pub(super) fn each_part_of(
    view: &View<'_>,
    aggregate_type: &AggregateType,
    raw: &Raw<'_>,
    each: impl FnMut(Reading<'_>) -> Result<()>,
) -> Result<()> {
    each_part(view, aggregate_type, &raw.event_type, (raw.schema_version, &raw.data), each)
        .map_err(|error| error.at_version(raw.version.into()).at_position(raw.position.into()))
}

/// The events that a stored event is read as.
pub(super) fn read_as(view: &View<'_>, raw: &Raw<'_>, owner: &Owner) -> Result<Vec<RecordedEvent>> {
    let mut events = Vec::with_capacity(1);
    let (aggregate_type, aggregate_id): (_, &Arc<str>) = (&owner.aggregate_type, &owner.aggregate_id);
    let read = each_part_of(view, aggregate_type, raw, |part| {
        events.push(raw.recorded(part, aggregate_type, aggregate_id.clone(), None)?);
        Ok(())
    });
    read.map_err(|error| error.of(&owner.reference()))?;
    Ok(events)
}
