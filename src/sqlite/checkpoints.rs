//! Subscriptions: how far each has come, and who leads it.

use rusqlite::{OptionalExtension, Row, params};
use uuid::Uuid;

use super::database::{View, Writing};
use super::failure::Sql;
use crate::model::error::Result;

/// A subscription's row.
#[derive(Clone, Debug)]
pub(crate) struct Checkpoint {
    pub(crate) id: i64,
    /// `""` for one that reads the events of all tenants.
    pub(crate) tenant: String,
    pub(crate) name: String,
    pub(crate) kind: String,
    pub(crate) position: u64,
    pub(crate) leader: Option<[u8; 16]>,
    pub(crate) lease_until: i64,
    pub(crate) failed_position: Option<u64>,
    pub(crate) failure: Option<String>,
    pub(crate) version: u32,
    pub(crate) generation: u64,
    pub(crate) rebuild_version: Option<u32>,
    pub(crate) rebuild_position: Option<u64>,
}

macro_rules! select {
    ($rest:literal) => {
        concat!(
            "SELECT id, tenant, name, kind, position, leader, lease_until, failed_position, failure, version, generation, ",
            "rebuild_version, rebuild_position FROM subscriptions ",
            $rest
        )
    };
}

impl Checkpoint {
    fn read(row: &Row<'_>) -> rusqlite::Result<Checkpoint> {
        Ok(Checkpoint {
            id: row.get(0)?,
            tenant: row.get(1)?,
            name: row.get(2)?,
            kind: row.get(3)?,
            position: row.get(4)?,
            leader: row.get(5)?,
            lease_until: row.get(6)?,
            failed_position: row.get(7)?,
            failure: row.get(8)?,
            version: row.get(9)?,
            generation: row.get(10)?,
            rebuild_version: row.get(11)?,
            rebuild_position: row.get(12)?,
        })
    }
}

pub(crate) fn find(view: &View<'_>, tenant: &str, name: &str) -> Result<Option<Checkpoint>> {
    view.prepare_cached(select!("WHERE tenant = ?1 AND name = ?2"))
        .sql()?
        .query_row(params![tenant, name], Checkpoint::read)
        .optional()
        .sql()
}

pub(crate) fn find_by_id(view: &View<'_>, id: i64) -> Result<Option<Checkpoint>> {
    view.prepare_cached(select!("WHERE id = ?1")).sql()?.query_row(params![id], Checkpoint::read).optional().sql()
}

/// All subscriptions of a tenant, in the order of their names.
pub(crate) fn all(view: &View<'_>, tenant: &str) -> Result<Vec<Checkpoint>> {
    let mut statement = view.prepare_cached(select!("WHERE tenant = ?1 ORDER BY name")).sql()?;
    let rows = statement.query_map(params![tenant], Checkpoint::read).sql()?;
    rows.map(|row| row.sql()).collect()
}

/// All that read a tenant's events: its own, and those that read the events of all tenants.
pub(crate) fn readers(view: &View<'_>, tenant: &str) -> Result<Vec<Checkpoint>> {
    let mut statement = view.prepare_cached(select!("WHERE tenant IN (?1, '') ORDER BY name, tenant")).sql()?;
    let rows = statement.query_map(params![tenant], Checkpoint::read).sql()?;
    rows.map(|row| row.sql()).collect()
}

/// Makes a subscription that starts after `position`, unless there is one of this name.
pub(crate) fn make(writing: &Writing<'_>, tenant: &str, name: &str, kind: &str, position: u64, version: u32) -> Result<()> {
    writing
        .prepare_cached(
            "INSERT INTO subscriptions (tenant, name, kind, position, lease_until, fence, version, generation)
             VALUES (?1, ?2, ?3, ?4, 0, 0, ?5, 1) ON CONFLICT DO NOTHING",
        )
        .sql()?
        .execute(params![tenant, name, kind, position, version])
        .sql()
        .map(drop)
}

/// Takes or renews the lead: possible if nobody leads, if the lease has run out, or for the one who leads. Returns the
/// fence to write under, or `None` if somebody else leads.
pub(crate) fn lead(writing: &Writing<'_>, id: i64, runner: Uuid, now: i64, until: i64) -> Result<Option<i64>> {
    writing
        .prepare_cached(
            "UPDATE subscriptions SET fence = fence + (leader IS NULL OR leader <> ?2), leader = ?2, lease_until = ?4
             WHERE id = ?1 AND (leader IS NULL OR leader = ?2 OR lease_until <= ?3) RETURNING fence",
        )
        .sql()?
        .query_row(params![id, runner.as_bytes(), now, until], |row| row.get(0))
        .optional()
        .sql()
}

/// Gives the lead away, so that the next one need not wait for the lease to run out.
pub(crate) fn resign(writing: &Writing<'_>, id: i64, fence: i64) -> Result<()> {
    writing
        .prepare_cached("UPDATE subscriptions SET leader = NULL, lease_until = 0 WHERE id = ?1 AND fence = ?2")
        .sql()?
        .execute(params![id, fence])
        .sql()
        .map(drop)
}

/// Moves the checkpoint and renews the lease; `false` if somebody else leads by now, and then nothing is written.
pub(crate) fn advance(writing: &Writing<'_>, id: i64, fence: i64, position: u64, lease_until: i64) -> Result<bool> {
    let moved = writing
        .prepare_cached(
            "UPDATE subscriptions SET position = ?3, lease_until = ?4, failed_position = NULL, failure = NULL
             WHERE id = ?1 AND fence = ?2",
        )
        .sql()?
        .execute(params![id, fence, position, lease_until])
        .sql()?;
    Ok(moved == 1)
}

/// Moves the checkpoint of a projection that runs inside the appends, where the file's own lock is the lead.
pub(crate) fn advance_inline(writing: &Writing<'_>, id: i64, position: u64) -> Result<()> {
    writing
        .prepare_cached("UPDATE subscriptions SET position = ?2 WHERE id = ?1")
        .sql()?
        .execute(params![id, position])
        .sql()
        .map(drop)
}

/// Notes at which event it stopped, and why.
pub(crate) fn note_failure(writing: &Writing<'_>, id: i64, position: u64, failure: &str) -> Result<()> {
    writing
        .prepare_cached("UPDATE subscriptions SET failed_position = ?2, failure = ?3 WHERE id = ?1")
        .sql()?
        .execute(params![id, position, failure])
        .sql()
        .map(drop)
}

/// Passes over the event at which it stopped; `false` if it did not stop there.
pub(crate) fn skip(writing: &Writing<'_>, id: i64, position: u64) -> Result<bool> {
    let skipped = writing
        .prepare_cached(
            "UPDATE subscriptions SET position = ?2, failed_position = NULL, failure = NULL WHERE id = ?1 AND failed_position = ?2",
        )
        .sql()?
        .execute(params![id, position])
        .sql()?;
    Ok(skipped == 1)
}

/// Notes that tables of another version are being built, and how far they are.
pub(crate) fn note_rebuild(writing: &Writing<'_>, id: i64, version: u32, position: u64) -> Result<()> {
    writing
        .prepare_cached("UPDATE subscriptions SET rebuild_version = ?2, rebuild_position = ?3 WHERE id = ?1")
        .sql()?
        .execute(params![id, version, position])
        .sql()
        .map(drop)
}

/// Notes that the tables that were being built are the projection's now.
pub(crate) fn note_swapped(writing: &Writing<'_>, id: i64, version: u32, position: u64) -> Result<()> {
    writing
        .prepare_cached(
            "UPDATE subscriptions SET version = ?2, position = ?3, generation = generation + 1, rebuild_version = NULL,
                    rebuild_position = NULL, failed_position = NULL, failure = NULL WHERE id = ?1",
        )
        .sql()?
        .execute(params![id, version, position])
        .sql()
        .map(drop)
}

/// Forgets a subscription and what is left of its deliveries.
pub(crate) fn remove(writing: &Writing<'_>, id: i64) -> Result<()> {
    writing.prepare_cached("DELETE FROM deliveries WHERE subscription = ?1").sql()?.execute(params![id]).sql()?;
    writing.prepare_cached("DELETE FROM subscriptions WHERE id = ?1").sql()?.execute(params![id]).sql().map(drop)
}
