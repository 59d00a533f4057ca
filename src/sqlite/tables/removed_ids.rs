//! The ids of purged events, with what tells a repeated append from another one. Only ids that callers gave: nobody
//! repeats an append with an id that the store made for it.

use std::collections::BTreeSet;

use rusqlite::{Row, params};
use uuid::Uuid;

use super::events::{Owner, Raw};
use super::keys::{key, key_version};
use super::positions::number_of;
use crate::model::error::Result;
use crate::model::same_json;
use crate::sqlite::checksum;
use crate::sqlite::consistency::disagrees;
use crate::sqlite::transaction::{Columns, View, Writing};

/// What the file still knows of a purged event.
pub(crate) struct RemovedId {
    pub(crate) position: u64,
    pub(crate) owner: Owner,
    pub(crate) version: u64,
    pub(crate) commit_id: u64,
    pub(crate) schema_version: u32,
    pub(crate) created_at: i64,
    pub(crate) event_id: Uuid,
    /// The [`digest`] of its content.
    pub(crate) digest: i64,
}

impl RemovedId {
    fn checksum(&self) -> i64 {
        let numbers = checksum::numbers(&[
            number_of(self.position),
            number_of(self.version),
            number_of(self.commit_id),
            i64::from(self.schema_version),
            self.created_at,
            self.digest,
        ]);
        checksum::fields(self.owner.identity, &[self.event_id.as_bytes(), &numbers.to_le_bytes()])
    }

    /// A row, if its checksum is right.
    fn read(view: &View<'_>, row: &Row<'_>) -> Result<RemovedId> {
        let (position, key): (u64, i64) = (row.at(0)?, row.at(1)?);
        let event_id = row.at::<Vec<u8>>(5)?;
        let removed = RemovedId {
            position,
            owner: Owner::by_number(view, key >> 32)?,
            version: key_version(key),
            commit_id: position.checked_sub(row.at(2)?).ok_or_else(disagrees)?,
            schema_version: row.at(3)?,
            created_at: row.at(4)?,
            event_id: Uuid::from_slice(&event_id).map_err(|_| disagrees())?,
            digest: row.at(6)?,
        };
        if removed.checksum() == row.at::<i64>(7)? { Ok(removed) } else { Err(disagrees()) }
    }
}

/// A number for the content of an event that a repeated append must have too: the same for every way in which its JSON can
/// be written and its tags ordered. Part of the format.
pub(crate) fn digest<'t>(event_type: &str, data: &str, tags: impl IntoIterator<Item = &'t str>) -> i64 {
    let tags: BTreeSet<&str> = tags.into_iter().collect();
    let data = same_json::one_text(data);
    let fields: Vec<&[u8]> = [event_type, &data].into_iter().chain(tags).map(str::as_bytes).collect();
    // The length of each field counts, and so does their number.
    checksum::fields(fields.len() as u64, &fields)
}

/// Keeps the id of an event that is being purged.
pub(crate) fn keep(writing: &Writing<'_>, owner: &Owner, raw: &Raw<'_>) -> Result<()> {
    let tags = raw.tags()?;
    let removed = RemovedId {
        position: raw.position,
        owner: owner.clone(),
        version: raw.version,
        commit_id: raw.commit_id,
        schema_version: raw.schema_version,
        created_at: raw.created_at,
        event_id: raw.event_id,
        digest: digest(&raw.event_type.name, &raw.data, tags.iter().map(String::as_str)),
    };
    let sql = "INSERT INTO removed_ids (position, key, commit_offset, schema_version, created_at, event_id, digest, checksum)
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)";
    writing
        .execute(
            sql,
            params![
                removed.position,
                key(owner.aggregate, removed.version),
                removed.position.saturating_sub(removed.commit_id),
                removed.schema_version,
                removed.created_at,
                removed.event_id.as_bytes(),
                removed.digest,
                removed.checksum(),
            ],
        )
        .map(drop)
}

/// What is known of the purged event that was at a position.
pub(crate) fn at(view: &View<'_>, position: u64) -> Result<Option<RemovedId>> {
    let mut found = None;
    page(view, position.saturating_sub(1), 1, |at, removed| {
        if at == position {
            found = Some(removed);
        }
        Ok(())
    })?;
    found.transpose()
}

/// Passes the rows after a position, `limit` at most, to `each`: the position, and the row, or what is wrong with it.
pub(crate) fn page(
    view: &View<'_>,
    after: u64,
    limit: usize,
    mut each: impl FnMut(u64, Result<RemovedId>) -> Result<()>,
) -> Result<()> {
    let sql = "SELECT position, key, commit_offset, schema_version, created_at, event_id, digest, checksum FROM removed_ids
               WHERE position > ?1 ORDER BY position LIMIT ?2";
    view.each_row(sql, params![number_of(after), limit], |row| {
        each(row.at(0)?, RemovedId::read(view, row))?;
        Ok(true)
    })
}

/// Deletes what is known of the purged event that was at a position.
pub(crate) fn forget(writing: &Writing<'_>, position: u64) -> Result<()> {
    writing.execute("DELETE FROM removed_ids WHERE position = ?1", [number_of(position)]).map(drop)
}

/// Forgets the ids of all purged events of an aggregate, in the index of ids too. Reads the whole table.
pub(crate) fn forget_all(writing: &Writing<'_>, owner: &Owner) -> Result<()> {
    let of = params![key(owner.aggregate, 0), key(owner.aggregate, u64::from(u32::MAX)), owner.aggregate_type.tenant_id];
    let sql = "DELETE FROM event_ids WHERE (tenant, event_id) IN
               (SELECT ?3, event_id FROM removed_ids WHERE key > ?1 AND key <= ?2)";
    writing.execute(sql, of)?;
    writing.execute("DELETE FROM removed_ids WHERE key > ?1 AND key <= ?2 AND ?3 > 0", of).map(drop)
}

/// Enters all into the index of ids.
pub(crate) fn index(writing: &Writing<'_>) -> Result<()> {
    writing.batch(
        "INSERT INTO event_ids (tenant, event_id, position)
         SELECT t.tenant, r.event_id, r.position FROM removed_ids r
         JOIN aggregates a ON a.id = r.key >> 32 JOIN aggregate_types t ON t.id = a.aggregate_type
         WHERE true ON CONFLICT DO NOTHING",
    )
}

#[cfg(test)]
mod tests {
    use super::digest;

    // Files hold these numbers: they are part of the format.
    #[test]
    fn the_digest_is_frozen() {
        let frozen = [digest("Placed", r#"{"items":[1,2.50,"\u00e9"],"to":null}"#, ["b", "a"]), digest("Placed", "{}", [])];
        assert_eq!(frozen, [1_348_352_759_655_413_702, -7_621_815_433_277_469_624]);
    }

    #[test]
    fn the_content_counts_and_not_how_it_is_written() {
        let base = digest("Placed", r#"{"a":1,"b":[1,2]}"#, ["x", "y"]);
        assert_eq!(base, digest("Placed", r#" {"b": [1.0, 2], "a": 1e0}"#, ["y", "x", "y"]));
        for other in [
            digest("placed", r#"{"a":1,"b":[1,2]}"#, ["x", "y"]),
            digest("Placed", r#"{"a":1,"b":[2,1]}"#, ["x", "y"]),
            digest("Placed", r#"{"a":1,"b":[1,2]}"#, ["x"]),
            digest("Placed", r#"{"a":1,"b":[1,2]}"#, ["xy"]),
        ] {
            assert_ne!(base, other);
        }
    }
}
