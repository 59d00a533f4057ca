//! The single row about the log as a whole. An append does not touch it.

use rusqlite::{Connection, ToSql, params};
use uuid::Uuid;

use crate::model::error::{Error, ErrorKind, Result};
use crate::sqlite::connection::failure::Sql;
use crate::sqlite::consistency::disagrees;
use crate::sqlite::names_cache::Replica;
use crate::sqlite::transaction::{View, Writing};
use crate::storage::verify::Verified;

/// Creates the row of a new file, with a new identity.
pub(crate) fn make(connection: &Connection, now_micros: i64) -> Result<()> {
    connection.execute("INSERT INTO replicas (id, replica_id) VALUES (1, ?1)", [Uuid::now_v7().into_bytes()]).sql()?;
    let sql = "INSERT INTO log_state (id, replica, snapshot_count, snapshots_expired_at, maintained_at, created_at)
               VALUES (1, 1, 0, 0, 0, ?1)";
    connection.execute(sql, [now_micros]).sql()?;
    Ok(())
}

/// Gives an empty log another identity.
pub(crate) fn make_anew(connection: &Connection, now_micros: i64) -> Result<Replica> {
    let replica = Replica { id: 1, replica_id: Uuid::now_v7() };
    let change = |sql: &str, value: &dyn ToSql| connection.prepare_cached(sql)?.execute([value]);
    change("UPDATE replicas SET replica_id = ?1", &replica.replica_id.into_bytes()).sql()?;
    change("UPDATE log_state SET created_at = ?1", &now_micros).sql()?;
    Ok(replica)
}

/// The identity under which the file appends now.
pub(crate) fn replica(view: &View<'_>) -> Result<Replica> {
    let sql = "SELECT r.id, r.replica_id FROM log_state s JOIN replicas r ON r.id = s.replica WHERE s.id = 1";
    view.row(sql, [], |row| Ok(Replica { id: row.get(0)?, replica_id: Uuid::from_bytes(row.get(1)?) }))
}

/// Gives the file a new identity, under which it appends from now on. Earlier events keep theirs.
pub(crate) fn renew_replica(writing: &Writing<'_>) -> Result<Replica> {
    let replica = Replica { id: writing.value("SELECT max(id) + 1 FROM replicas", [])?, replica_id: Uuid::now_v7() };
    let sql = "INSERT INTO replicas (id, replica_id) VALUES (?1, ?2)";
    writing.execute(sql, params![replica.id, replica.replica_id.into_bytes()])?;
    writing.execute("UPDATE log_state SET replica = ?1 WHERE id = 1", [replica.id])?;
    Ok(replica)
}

/// The identity of the file's archive; `None` if it has none.
pub(crate) fn archive_id(view: &View<'_>) -> Result<Option<Uuid>> {
    let id: Option<[u8; 16]> = view.value("SELECT archive_id FROM log_state WHERE id = 1", [])?;
    Ok(id.map(Uuid::from_bytes))
}

/// Gives the file an archive.
pub(crate) fn note_archive(writing: &Writing<'_>, id: Uuid) -> Result<()> {
    writing.execute("UPDATE log_state SET archive_id = ?1 WHERE id = 1", [id.into_bytes()])?;
    Ok(())
}

/// The number of snapshots in the file, which is stored, not counted.
pub(crate) fn snapshot_count(view: &View<'_>) -> Result<u64> {
    view.value("SELECT snapshot_count FROM log_state WHERE id = 1", [])
}

/// Records that the number of snapshots changed.
pub(crate) fn note_snapshots(writing: &Writing<'_>, change: i64) -> Result<()> {
    if change == 0 {
        return Ok(());
    }
    let count = snapshot_count(writing)?.saturating_add_signed(change);
    writing.execute("UPDATE log_state SET snapshot_count = ?1 WHERE id = 1", [count])?;
    writing.snapshots.set(Some(count));
    Ok(())
}

/// When the scheduled clean-up ran last, in microseconds; 0 if never.
pub(crate) fn snapshots_expired_at(view: &View<'_>) -> Result<i64> {
    view.value("SELECT snapshots_expired_at FROM log_state WHERE id = 1", [])
}

pub(crate) fn note_expired(writing: &Writing<'_>, at_micros: i64) -> Result<()> {
    writing.execute("UPDATE log_state SET snapshots_expired_at = ?1 WHERE id = 1", params![at_micros])?;
    Ok(())
}

/// When the scheduled upkeep ran last, in microseconds; 0 if never.
pub(crate) fn maintained_at(view: &View<'_>) -> Result<i64> {
    view.value("SELECT maintained_at FROM log_state WHERE id = 1", [])
}

pub(crate) fn note_maintained(writing: &Writing<'_>, at_micros: i64) -> Result<()> {
    writing.execute("UPDATE log_state SET maintained_at = ?1 WHERE id = 1", params![at_micros])?;
    Ok(())
}

/// What the last noted verification found; `None` if none was noted.
pub(crate) fn verified(view: &View<'_>) -> Result<Option<Verified>> {
    let text: Option<String> = view.value("SELECT verified FROM log_state WHERE id = 1", [])?;
    text.map(|text| serde_json::from_str(&text)).transpose().map_err(|_| disagrees())
}

pub(crate) fn note_verified(writing: &Writing<'_>, verified: &Verified) -> Result<()> {
    let text = serde_json::to_string(verified)
        .map_err(|error| Error::new(ErrorKind::Internal, "the result of the verification is no JSON").caused_by(error))?;
    writing.execute("UPDATE log_state SET verified = ?1 WHERE id = 1", [text])?;
    Ok(())
}

/// The bytes of pages that hold nothing.
pub(crate) fn free_bytes(view: &View<'_>) -> Result<u64> {
    let pages: u64 = view.value("PRAGMA freelist_count", [])?;
    let page_size: u64 = view.value("PRAGMA page_size", [])?;
    Ok(pages.saturating_mul(page_size))
}

/// The size of the file's pages, in bytes. A page that is also in the write-ahead log counts once.
pub(crate) fn size_bytes(view: &View<'_>) -> Result<u64> {
    let pages: u64 = view.value("PRAGMA page_count", [])?;
    let page_size: u64 = view.value("PRAGMA page_size", [])?;
    Ok(pages.saturating_mul(page_size))
}
