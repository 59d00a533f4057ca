//! Carries names, snapshots, subscriptions and other small tables over.

use rusqlite::types::Value;
use rusqlite::{params, params_from_iter};

use super::{Salvage, up_to_an_error};
use crate::model::error::Result;
use crate::sqlite::checksum;
use crate::sqlite::connection::failure::Sql;
use crate::sqlite::format::is_ours;
use crate::sqlite::tables::events::Owner;
use crate::sqlite::tables::keys::key_version;
use crate::sqlite::tables::positions::{self, Hole};
use crate::sqlite::tables::{chain, deliveries, erasures, removed_ids, snapshots, subscriptions};
use crate::sqlite::transaction::{View, Writing};
use crate::storage::delivery::SubscriptionKind;

/// Copies the rows of a table that SQLite finds, from both ends.
fn carry(old: &View<'_>, writing: &Writing<'_>, table: &str, columns: usize, order: &str) -> Result<()> {
    let marks: Vec<String> = (1..=columns).map(|column| format!("?{column}")).collect();
    let insert = format!("INSERT OR IGNORE INTO main.{table} VALUES ({})", marks.join(", "));
    for direction in ["", " DESC"] {
        let select = format!("SELECT * FROM {table} NOT INDEXED ORDER BY {order}{direction}");
        let read = old.each_row(&select, [], |row| {
            let values: Vec<Value> = (0..columns).map(|column| row.get(column).sql()).collect::<Result<_>>()?;
            // A row that the table refuses is a damaged one.
            let _ = writing.execute(&insert, params_from_iter(values));
            Ok(true)
        });
        if read.is_ok() {
            return Ok(());
        }
    }
    Ok(())
}

/// Carries names over, with their numbers, from the tables and then from their indexes.
pub(super) fn names(old: &View<'_>, writing: &Writing<'_>) -> Result<()> {
    let replica: Option<i64> = up_to_an_error(old, "SELECT replica FROM log_state").first().copied();
    // The new file is to go on under the identity of the old one.
    let new: Vec<u8> = writing.value("SELECT replica_id FROM main.replicas WHERE id = 1", [])?;
    writing.execute("DELETE FROM main.replicas", [])?;
    for (table, columns, order) in [
        ("tenants", 2, "name"),
        ("event_types", 2, "name"),
        ("aggregate_types", 3, "tenant, name"),
        ("replicas", 2, "replica_id"),
    ] {
        carry(old, writing, table, columns, "id")?;
        let insert = format!("INSERT OR IGNORE INTO main.{table} VALUES (?1, ?2{})", if columns == 3 { ", ?3" } else { "" });
        let _ = old.each_row(&format!("SELECT * FROM {table} ORDER BY {order}"), [], |row| {
            let values: Vec<Value> = (0..columns).map(|column| row.get(column).sql()).collect::<Result<_>>()?;
            let _ = writing.execute(&insert, params_from_iter(values));
            Ok(true)
        });
    }
    writing.execute("INSERT OR IGNORE INTO main.replicas VALUES (1, ?1)", [new])?;
    if let Some(replica) = replica {
        let sql = "UPDATE main.log_state SET replica = ?1 WHERE EXISTS (SELECT 1 FROM main.replicas WHERE id = ?1)";
        writing.execute(sql, [replica])?;
    }
    for sql in [
        "SELECT id, aggregate_type, aggregate_id, checksum FROM aggregates NOT INDEXED ORDER BY id",
        "SELECT id, aggregate_type, aggregate_id, checksum FROM aggregates NOT INDEXED ORDER BY id DESC",
        "SELECT id, aggregate_type, aggregate_id, checksum FROM aggregates ORDER BY aggregate_type, aggregate_id",
    ] {
        let _ = old.each_row(sql, [], |row| {
            let (Ok(id), Ok(kind), Ok(name), Ok(sum)) = (row.get(0), row.get(1), row.get::<_, String>(2), row.get(3)) else {
                return Ok(true);
            };
            aggregate(writing, id, kind, &name, sum).map(|()| true)
        });
    }
    Ok(())
}

/// Takes an aggregate, if its checksum is right.
pub(super) fn aggregate(writing: &Writing<'_>, id: i64, aggregate_type: i64, aggregate_id: &str, sum: i64) -> Result<()> {
    if sum == i64::from(checksum::aggregate(id, aggregate_type, aggregate_id)) {
        let _ = writing.execute(
            "INSERT OR IGNORE INTO main.aggregates VALUES (?1, ?2, ?3, ?4)",
            params![id, aggregate_type, aggregate_id, sum],
        );
    }
    Ok(())
}

/// Takes an entry of the index of positions, if it tells of an event that is not there.
pub(super) fn place(writing: &Writing<'_>, position: i64, key: i64) -> Result<()> {
    // No aggregate can have more events than the log.
    let may_be = (1..=position.cast_unsigned()).contains(&key_version(key)) && position > 0;
    const SQL: &str = "INSERT OR IGNORE INTO found.places SELECT ?1, ?2
                       WHERE EXISTS (SELECT 1 FROM main.aggregates WHERE id = ?2 >> 32)
                         AND NOT EXISTS (SELECT 1 FROM main.events WHERE position = ?1)
                         AND NOT EXISTS (SELECT 1 FROM main.events WHERE key = ?2)";
    if may_be { writing.execute(SQL, [position, key]).map(drop) } else { Ok(()) }
}

/// Takes what the index of positions, and the audit chain, tell of events that are not there.
pub(super) fn places(old: &View<'_>, writing: &Writing<'_>) -> Result<()> {
    for sql in [
        "SELECT position, key FROM events ORDER BY position",
        "SELECT position, key FROM events ORDER BY position DESC",
        "SELECT position, key FROM chain WHERE key <> 0 ORDER BY position",
    ] {
        let mut failed = Ok(());
        let _ = old.each_row(sql, [], |row| {
            if let (Ok(position), Ok(key)) = (row.get(0), row.get(1)) {
                failed = place(writing, position, key);
            }
            Ok(failed.is_ok())
        });
        failed?;
    }
    Ok(())
}

/// Carries the other tables over. Returns the positions whose events were purged.
pub(super) fn tables(old: &View<'_>, writing: &Writing<'_>) -> Result<Vec<Hole>> {
    for (table, columns, order) in [
        ("removals", 4, "aggregate"),
        ("holes", 4, "first"),
        ("losses", 2, "aggregate"),
        ("removed_ids", 8, "position"),
        ("erasures", 12, "id"),
        ("snapshots", 12, "key"),
        ("subscriptions", 22, "id"),
        ("deliveries", 8, "subscription, position"),
    ] {
        carry(old, writing, table, columns, order)?;
    }
    let mut purged = Vec::new();
    positions::check_holes(writing, -1, usize::MAX >> 1, |_, hole| purged.extend(hole.ok().filter(|hole| !hole.archived)))?;
    Ok(purged)
}

/// Deletes the snapshots that are not intact.
pub(super) fn check_snapshots(writing: &Writing<'_>) -> Result<()> {
    let mut after = i64::MIN;
    loop {
        let (mut seen, mut wrong) = (0, Vec::new());
        snapshots::check_page(writing, after, super::PAGE, |key, read| {
            (seen, after) = (seen + 1, key);
            let owner = Owner::by_number(writing, snapshots::split_key(key).0);
            if !owner.and_then(|owner| read(owner.identity)).is_ok_and(|row| row.is_intact) {
                wrong.push(key);
            }
        })?;
        for key in wrong {
            writing.execute("DELETE FROM main.snapshots WHERE key = ?1", [key])?;
        }
        if seen < super::PAGE {
            break;
        }
    }
    writing.execute("UPDATE main.log_state SET snapshot_count = (SELECT count(*) FROM main.snapshots)", []).map(drop)
}

/// Puts subscriptions and deliveries in order, names what is not carried over, and counts.
pub(super) fn finish(salvage: &mut Salvage<'_>) -> Result<()> {
    let (old, writing) = (salvage.old, salvage.writing);
    if !up_to_an_error::<i64>(old, "SELECT position FROM chain LIMIT 1").is_empty() {
        // A chain over events that were found apart would prove nothing.
        let goes_on = if chain::begin(writing).is_ok() { ": a new one begins" } else { "" };
        salvage.report.left_out.push(format!("the audit chain{goes_on}"));
    }
    delete_damaged(salvage)?;
    subscriptions_again(salvage)?;
    let tables: Vec<String> = up_to_an_error(old, "SELECT name FROM sqlite_schema WHERE type = 'table'");
    for table in tables.iter().filter(|name| !is_ours(name) && !name.starts_with("sqlite_")) {
        salvage.report.left_out.push(format!("table {table}, which is not foldlog's own"));
    }
    let count = |table| writing.value::<u64>(&format!("SELECT count(*) FROM main.{table}"), []);
    salvage.report.events = count("events")?;
    salvage.report.aggregates = count("aggregates")?;
    salvage.report.snapshots = count("snapshots")?;
    Ok(())
}

/// Deletes rows of small tables that are not intact.
fn delete_damaged(salvage: &mut Salvage<'_>) -> Result<()> {
    let writing = salvage.writing;
    let mut lost = [0_u64; 2];
    for position in writing.rows("SELECT position FROM main.removed_ids", [], |row| row.get(0))? {
        if !matches!(removed_ids::at(writing, position), Ok(Some(_))) {
            removed_ids::forget(writing, position)?;
            lost[0] += 1;
        }
    }
    for (id, aggregate) in
        writing.rows("SELECT id, aggregate FROM main.erasures", [], |row| Ok((row.get::<_, i64>(0)?, row.get(1)?)))?
    {
        if erasures::page(writing, id - 1, 1).is_err() || Owner::by_number(writing, aggregate).is_err() {
            writing.execute("DELETE FROM main.erasures WHERE id = ?1", [id])?;
            lost[1] += 1;
        }
    }
    for (count, what) in lost.into_iter().zip(["ids of purged events", "records of erasures"]) {
        if count > 0 {
            salvage.report.left_out.push(format!("{count} {what}"));
        }
    }
    let all: Vec<(i64, u64)> =
        writing.rows("SELECT subscription, position FROM main.deliveries", [], |row| Ok((row.get(0)?, row.get(1)?)))?;
    for (subscription, position) in all {
        if deliveries::at(writing, subscription, position).is_err() {
            let sql = "DELETE FROM main.deliveries WHERE subscription = ?1 AND position = ?2";
            writing.execute(sql, params![subscription, position])?;
        }
    }
    Ok(())
}

/// Removes what cannot go on: damaged subscriptions, projections without tables, deliveries of lost events.
fn subscriptions_again(salvage: &mut Salvage<'_>) -> Result<()> {
    let writing = salvage.writing;
    let last = positions::last(writing)?;
    for stored in subscriptions::all(writing)? {
        let name = stored.identity.as_ref().map_or_else(|| format!("number {}", stored.id), |identity| identity.name.clone());
        let Some(mut checkpoint) = stored.intact.filter(|checkpoint| checkpoint.kind != SubscriptionKind::Projection) else {
            subscriptions::remove(writing, stored.id)?;
            writing.execute("DELETE FROM main.deliveries WHERE subscription = ?1", [stored.id])?;
            salvage.report.left_out.push(format!("subscription or projection {name}: it begins anew"));
            continue;
        };
        let sql = "DELETE FROM main.deliveries WHERE subscription = ?1
                   AND (position > ?2 OR NOT EXISTS (SELECT 1 FROM main.events e WHERE e.position = deliveries.position))";
        writing.execute(sql, params![stored.id, checkpoint.position])?;
        let there = deliveries::number(writing, stored.id)?;
        if there != checkpoint.deliveries {
            let lost = checkpoint.deliveries.saturating_sub(there);
            salvage.report.left_out.push(format!("{lost} deliveries of the outbox {name}"));
        }
        (checkpoint.deliveries, checkpoint.position) = (there, checkpoint.position.min(last));
        subscriptions::save(writing, &checkpoint)?;
    }
    let sql = "DELETE FROM main.deliveries WHERE subscription NOT IN (SELECT id FROM main.subscriptions)";
    writing.execute(sql, []).map(drop)
}
