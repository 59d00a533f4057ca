//! Events by id, purged ones too. An id made by the store holds the event's position; only ids given by callers have an
//! index.

use rusqlite::params;
use uuid::Uuid;

use crate::model::error::Result;
use crate::model::ids::position_in;
use crate::sqlite::transaction::{Columns, View, Writing};

/// Records the position of a given id; `false` if the tenant already has an event with this id.
pub(crate) fn claim(writing: &Writing<'_>, tenant: i64, event_id: Uuid, position: u64) -> Result<bool> {
    let sql = "INSERT INTO event_ids (tenant, event_id, position) VALUES (?1, ?2, ?3) ON CONFLICT DO NOTHING";
    Ok(writing.execute(sql, params![tenant, event_id.as_bytes(), position])? == 1)
}

/// The recorded position of a given id.
pub(crate) fn given(view: &View<'_>, tenant: i64, event_id: Uuid) -> Result<Option<u64>> {
    let sql = "SELECT position FROM event_ids WHERE tenant = ?1 AND event_id = ?2";
    view.value_if_any(sql, params![tenant, event_id.as_bytes()])
}

/// The positions, up to `last`, that an id made by the store may stand for. Usually one.
pub(crate) fn made(event_id: Uuid, last: u64) -> impl Iterator<Item = u64> {
    position_in(event_id).into_iter().flatten().take_while(move |position| *position <= last)
}

/// Deletes the id of a removed event that is not to be recognised any more.
pub(crate) fn forget(writing: &Writing<'_>, tenant: i64, event_id: Uuid) -> Result<()> {
    writing.execute("DELETE FROM event_ids WHERE tenant = ?1 AND event_id = ?2", params![tenant, event_id.as_bytes()])?;
    Ok(())
}

/// Passes the entries after one, `limit` at most, to `each`: tenant, id, position.
pub(crate) fn check_page(
    view: &View<'_>,
    after: &(i64, Vec<u8>),
    limit: usize,
    mut each: impl FnMut(i64, Vec<u8>, u64) -> Result<()>,
) -> Result<()> {
    let sql = "SELECT tenant, event_id, position FROM event_ids WHERE (tenant, event_id) > (?1, ?2)
               ORDER BY tenant, event_id LIMIT ?3";
    view.each_row(sql, params![after.0, after.1, limit], |row| {
        each(row.at(0)?, row.at(1)?, row.at::<i64>(2)?.cast_unsigned())?;
        Ok(true)
    })
}

/// Empties the index, to fill it again.
pub(crate) fn clear(writing: &Writing<'_>) -> Result<()> {
    writing.batch("DELETE FROM event_ids")
}
