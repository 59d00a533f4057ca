//! Verifies subscriptions and deliveries.

use rusqlite::params;

use super::{PAGE, damage_of};
use crate::model::damage::{Damage, Found};
use crate::model::error::{ErrorKind, Result};
use crate::model::filter::Filter;
use crate::sqlite::tables::{deliveries, positions, read_model, subscriptions};
use crate::sqlite::transaction::{Columns, View};
use crate::sqlite::verbs::{lookup, scan};
use crate::storage::delivery::Delivery;

const RESET: &str = "copy the file; then reset or seek the subscription, or restore a backup";
const SEEK: &str = "copy the file; then seek the outbox to a position before it, or restore a backup";

/// Checks every subscription: its checksum, its position, its filter, its number of deliveries, and that the index
/// finds its name.
pub(crate) fn all_subscriptions(view: &View<'_>, found: &mut Found) -> Result<()> {
    let last = scan::last_position(view)?;
    for stored in subscriptions::all(view)? {
        let checkpoint = match stored.checked() {
            Ok(checkpoint) => checkpoint,
            Err(error) => {
                found.add(damage_of(&error).advice(RESET));
                continue;
            }
        };
        if let Err(error) = subscriptions::check_position(&checkpoint, last) {
            found.add(damage_of(&error).advice(RESET));
        }
        let name = &checkpoint.identity.name;
        if serde_json::from_str::<Filter>(&checkpoint.filter).is_err() {
            found.add(Damage::new(format!("the filter of the subscription {name:?} is not one")).advice(RESET));
        }
        if let Err(error) = read_model::named(&checkpoint) {
            found.add(damage_of(&error));
        }
        match deliveries::check_number(view, &checkpoint) {
            Err(error) if error.kind() == ErrorKind::Corrupt => found.add(damage_of(&error).advice(deliveries::RECOUNT)),
            checked => checked?,
        }
        let indexed: Option<i64> = view.value_if_any(
            "SELECT id FROM subscriptions WHERE tenant = ?1 AND name = ?2",
            params![checkpoint.identity.tenant, name],
        )?;
        if indexed != Some(checkpoint.id) {
            found.add(Damage::new(format!("the subscription {name:?} is not found under its name")));
        }
    }
    Ok(())
}

/// The progress of the check of deliveries.
#[derive(Debug, Default)]
pub(crate) struct DeliveriesCursor {
    after: (i64, i64),
    pub(crate) rows: u64,
}

/// Checks every delivery: its checksum, its outbox, its event, that it is not after the checkpoint, and that both
/// indexes contain it.
pub(crate) fn all_deliveries(view: &View<'_>, cursor: &mut DeliveriesCursor, found: &mut Found) -> Result<bool> {
    let (mut seen, after) = (0, cursor.after);
    view.each_row(
        "SELECT subscription, position, aggregate, state, attempts, due_at, last_error, checksum FROM deliveries
         WHERE (subscription, position) > (?1, ?2) ORDER BY subscription, position LIMIT ?3",
        params![after.0, after.1, PAGE],
        |row| {
            seen += 1;
            cursor.rows += 1;
            let place: (i64, i64) = (row.at(0)?, row.at(1)?);
            cursor.after = place;
            match deliveries::parse(row) {
                Ok((delivery, true)) => check(view, &delivery, found)?,
                _ => {
                    let what = format!("a delivery of the outbox {} is damaged", name_of(view, place.0)?);
                    found.add(Damage::new(what).at_position(place.1.cast_unsigned()).advice(SEEK));
                }
            }
            Ok(true)
        },
    )?;
    if seen == PAGE {
        return Ok(true);
    }
    check_counts(view, found)?;
    Ok(false)
}

fn check(view: &View<'_>, delivery: &Delivery, found: &mut Found) -> Result<()> {
    let mut complain = |what: &str| -> Result<()> {
        let whose = name_of(view, delivery.subscription)?;
        found.add(Damage::new(format!("{what}, outbox {whose}")).at_position(delivery.position).advice(SEEK));
        Ok(())
    };
    let (subscription, position) = (delivery.subscription, delivery.position);
    match subscriptions::by_id(view, subscription) {
        Ok(None) => complain("a delivery belongs to no subscription")?,
        Ok(Some(row)) if position > row.position => {
            // While a batch is being published, or after its runner died, its rows are after the checkpoint.
            let is_out: bool = view.value(
                "SELECT EXISTS (SELECT 1 FROM deliveries WHERE subscription = ?1 AND state = 'leased' AND position > ?2)",
                params![subscription, row.position],
            )?;
            if !is_out {
                complain("a delivery lies beyond the checkpoint")?;
            }
        }
        Ok(Some(_)) => {}
        // The check of subscriptions has reported it.
        Err(error) if error.kind() == ErrorKind::Corrupt => {}
        Err(error) => return Err(error),
    }
    match lookup::aggregate_at(view, position)? {
        Some(aggregate) if aggregate != delivery.aggregate => complain("a delivery names another aggregate than its event")?,
        Some(_) => {}
        None => {
            if positions::hole_at(view, position)?.is_none() {
                complain("a delivery is of an event that never was")?;
            }
        }
    }
    let due: bool = view.value(
        "SELECT EXISTS (SELECT 1 FROM deliveries INDEXED BY deliveries_due
                        WHERE subscription = ?1 AND state = ?2 AND due_at = ?3 AND position = ?4)",
        params![subscription, delivery.state.as_str(), delivery.due_at, position],
    )?;
    let of_aggregate: bool = view.value(
        "SELECT EXISTS (SELECT 1 FROM deliveries INDEXED BY deliveries_aggregate
                        WHERE subscription = ?1 AND aggregate = ?2 AND position = ?3)",
        params![subscription, delivery.aggregate, position],
    )?;
    if !due || !of_aggregate {
        complain("an index of the deliveries hides one")?;
    }
    Ok(())
}

/// Compares the numbers of entries: an index with too many would otherwise go unnoticed.
fn check_counts(view: &View<'_>, found: &mut Found) -> Result<()> {
    let count = |sql: &str| view.value::<u64>(sql, []);
    // The condition is needed, because a bare count uses whichever index is smallest.
    let rows = count("SELECT count(*) FROM deliveries NOT INDEXED")?;
    for (name, sql) in [
        (
            "deliveries_due",
            "SELECT count(*) FROM deliveries INDEXED BY deliveries_due WHERE subscription >= -9223372036854775808",
        ),
        (
            "deliveries_aggregate",
            "SELECT count(*) FROM deliveries INDEXED BY deliveries_aggregate WHERE subscription >= -9223372036854775808",
        ),
    ] {
        let indexed = count(sql)?;
        if indexed != rows {
            found.add(Damage::new(format!("the index {name} has {indexed} entries for {rows} deliveries")));
        }
    }
    Ok(())
}

/// The name of the outbox, in quotes, or else its number.
fn name_of(view: &View<'_>, id: i64) -> Result<String> {
    let name: Option<String> = view.value_if_any("SELECT name FROM subscriptions WHERE id = ?1", params![id])?;
    Ok(name.map_or_else(|| format!("number {id}"), |name| format!("{name:?}")))
}
