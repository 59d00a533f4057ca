//! Deliveries of outboxes: a row for each event that is not simply "delivered", by position.
//!
//! Between two steps of the leader, an event up to the checkpoint is either delivered or has a row here, and no row is
//! after the checkpoint. While a batch is being published, its rows are after it; if the runner dies, the next one
//! finds them. Every row has a checksum over all its columns. A row is read, changed in Rust and written back whole.
//!
//! A lost row would go unnoticed, so the outbox's own row holds their number. Rows are only added and removed by
//! [`insert`], [`remove`] and [`remove_after`], which keep the number. The caller saves the outbox in the same
//! transaction.

use rusqlite::{Params, Row, params};

use super::positions::number_of;
use crate::model::error::{Error, ErrorKind, Result};
use crate::model::place::Position;
use crate::sqlite::checksum;
use crate::sqlite::transaction::{Columns, View, Writing};
use crate::storage::delivery::{Checkpoint, Delivery, DeliveryCounts, DeliveryState};

/// What to do about lost rows, which cannot be identified.
pub(crate) const RECOUNT: &str =
    "copy the file; then seek the outbox to a position from which it is to publish again, or restore a backup";

macro_rules! select {
    ($rest:literal) => {
        concat!(
            "SELECT d.subscription, d.position, d.aggregate, d.state, d.attempts, d.due_at, d.last_error, d.checksum FROM deliveries d ",
            $rest
        )
    };
    // Only rows without an earlier row of their aggregate. ?2: whether a dead letter holds its aggregate.
    (heads $state:literal $rest:literal) => {
        concat!(
            "SELECT d.subscription, d.position, d.aggregate, d.state, d.attempts, d.due_at, d.last_error, d.checksum FROM deliveries d
             WHERE d.subscription = ?1 AND d.state = '",
            $state,
            "' AND NOT EXISTS (
               SELECT 1 FROM deliveries b WHERE b.subscription = d.subscription AND b.aggregate = d.aggregate
               AND b.position < d.position AND (b.state <> 'dead' OR ?2)) ",
            $rest
        )
    };
}

/// Reads a row, and whether its checksum is right.
pub(crate) fn parse(row: &Row<'_>) -> Result<(Delivery, bool)> {
    let state: String = row.at(3)?;
    let delivery = Delivery {
        subscription: row.at(0)?,
        position: row.at(1)?,
        aggregate: row.at(2)?,
        state: DeliveryState::named(&state)
            .ok_or_else(|| Error::new(ErrorKind::Corrupt, format!("a delivery has the unknown state {state:?}")))?,
        attempts: row.at(4)?,
        due_at: row.at(5)?,
        last_error: row.at(6)?,
    };
    let is_intact = row.at::<i64>(7)? == sum(&delivery);
    Ok((delivery, is_intact))
}

/// Part of the format: this must never change.
fn sum(of: &Delivery) -> i64 {
    let mut head = Vec::with_capacity(48);
    for number in [of.subscription, of.aggregate, of.due_at] {
        head.extend(number.to_le_bytes());
    }
    for number in [of.position, u64::from(of.attempts), u64::from(of.last_error.is_some())] {
        head.extend(number.to_le_bytes());
    }
    checksum::fields(0, &[&head, of.state.as_str().as_bytes(), of.last_error.as_deref().unwrap_or_default().as_bytes()])
}

fn rows(view: &View<'_>, sql: &str, params: impl Params) -> Result<Vec<Delivery>> {
    let mut found = Vec::new();
    view.each_row(sql, params, |row| {
        found.push(intact(view, row)?);
        Ok(true)
    })?;
    Ok(found)
}

fn intact(view: &View<'_>, row: &Row<'_>) -> Result<Delivery> {
    match parse(row) {
        Ok((delivery, true)) => Ok(delivery),
        Ok((delivery, false)) => Err(damaged(view, delivery.subscription, Some(delivery.position))),
        Err(_) => Err(damaged(view, row.at(0)?, row.at(1).ok())),
    }
}

fn damaged(view: &View<'_>, subscription: i64, position: Option<u64>) -> Error {
    let name: Option<String> =
        view.value_if_any("SELECT name FROM subscriptions WHERE id = ?1", params![subscription]).ok().flatten();
    let whose = name.map_or_else(|| format!("number {subscription}"), |name| format!("{name:?}"));
    let error = Error::new(ErrorKind::Corrupt, format!("a delivery of the outbox {whose} is damaged"))
        .advice("copy the file; then seek the outbox to a position before it, or restore a backup");
    match position {
        Some(position) => error.at_position(Position::new(position)),
        None => error,
    }
}

fn first(view: &View<'_>, sql: &str, params: impl Params) -> Result<Option<Delivery>> {
    Ok(rows(view, sql, params)?.into_iter().next())
}

pub(crate) fn insert(writing: &Writing<'_>, outbox: &mut Checkpoint, of: &Delivery) -> Result<()> {
    let inserted = writing.execute(
        "INSERT INTO deliveries (subscription, position, aggregate, state, attempts, due_at, last_error, checksum)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
        params![of.subscription, of.position, of.aggregate, of.state.as_str(), of.attempts, of.due_at, of.last_error, sum(of)],
    )?;
    outbox.deliveries = outbox.deliveries.saturating_add(inserted as u64);
    Ok(())
}

/// Writes a row back.
pub(crate) fn save(writing: &Writing<'_>, of: &Delivery) -> Result<()> {
    writing.execute(
        "UPDATE deliveries SET state = ?3, attempts = ?4, due_at = ?5, last_error = ?6, checksum = ?7
         WHERE subscription = ?1 AND position = ?2",
        params![of.subscription, of.position, of.state.as_str(), of.attempts, of.due_at, of.last_error, sum(of)],
    )?;
    Ok(())
}

pub(crate) fn remove(writing: &Writing<'_>, outbox: &mut Checkpoint, position: u64) -> Result<()> {
    let sql = "DELETE FROM deliveries WHERE subscription = ?1 AND position = ?2";
    let removed = writing.execute(sql, params![outbox.id, position])?;
    outbox.deliveries = outbox.deliveries.saturating_sub(removed as u64);
    Ok(())
}

/// Deletes the rows after a position, whose events will be read from the log again.
pub(crate) fn remove_after(writing: &Writing<'_>, outbox: &mut Checkpoint, position: u64) -> Result<()> {
    let sql = "DELETE FROM deliveries WHERE subscription = ?1 AND position > ?2";
    let removed = writing.execute(sql, params![outbox.id, position])?;
    outbox.deliveries = outbox.deliveries.saturating_sub(removed as u64);
    Ok(())
}

/// Counts the rows.
pub(crate) fn number(view: &View<'_>, subscription: i64) -> Result<u64> {
    // With the second condition SQLite counts by the primary key, which is the rows themselves, and reads no columns. A
    // damaged index would hide lost rows.
    view.value("SELECT count(*) FROM deliveries WHERE subscription = ?1 AND position >= 0", params![subscription])
}

/// Fails if rows were lost: otherwise events that wait for them would be published, and dead letters forgotten.
pub(crate) fn check_number(view: &View<'_>, outbox: &Checkpoint) -> Result<()> {
    let (there, noted) = (number(view, outbox.id)?, outbox.deliveries);
    if there == noted {
        return Ok(());
    }
    let what = format!("the outbox {:?} should have {noted} deliveries, but has {there}", outbox.identity.name);
    Err(Error::new(ErrorKind::Corrupt, what).advice(RECOUNT))
}

pub(crate) fn at(view: &View<'_>, subscription: i64, position: u64) -> Result<Option<Delivery>> {
    first(view, select!("WHERE d.subscription = ?1 AND d.position = ?2"), params![subscription, number_of(position)])
}

/// The first delivery that a dead runner left leased. Only meaningful between two steps.
pub(crate) fn first_leased(view: &View<'_>, subscription: i64) -> Result<Option<Delivery>> {
    let sql = select!("WHERE d.subscription = ?1 AND d.state = 'leased' ORDER BY d.position LIMIT 1");
    first(view, sql, params![subscription])
}

/// The position of the newest row; 0 without any.
pub(crate) fn last_position(view: &View<'_>, subscription: i64) -> Result<u64> {
    view.value("SELECT coalesce(max(position), 0) FROM deliveries WHERE subscription = ?1", params![subscription])
}

/// The position of an aggregate's first row at or after a position.
pub(crate) fn first_of(view: &View<'_>, subscription: i64, aggregate: i64, from: u64) -> Result<Option<u64>> {
    view.value(
        "SELECT min(position) FROM deliveries WHERE subscription = ?1 AND aggregate = ?2 AND position >= ?3",
        params![subscription, aggregate, from],
    )
}

/// Deliveries that are due now, each with those that wait directly behind it; `limit` in all, in order within each
/// aggregate.
pub(crate) fn due(view: &View<'_>, subscription: i64, holds: bool, now: i64, limit: usize) -> Result<Vec<Delivery>> {
    let heads = rows(
        view,
        select!(heads "retry" "AND d.due_at <= ?3 ORDER BY d.due_at, d.position LIMIT ?4"),
        params![subscription, holds, now, limit],
    )?;
    let mut due = Vec::new();
    let mut room = limit.saturating_sub(heads.len());
    for head in heads {
        let (aggregate, position) = (head.aggregate, head.position);
        due.push(head);
        if room == 0 {
            continue;
        }
        for behind in of_aggregate(view, subscription, aggregate, position, room)? {
            match behind.state {
                DeliveryState::Waiting => due.push(behind),
                DeliveryState::Dead if !holds => continue,
                _ => break,
            }
            room -= 1;
        }
    }
    Ok(due)
}

/// The rows of an aggregate after a position, in order.
pub(crate) fn of_aggregate(
    view: &View<'_>,
    subscription: i64,
    aggregate: i64,
    after: u64,
    limit: usize,
) -> Result<Vec<Delivery>> {
    let sql =
        select!("WHERE d.subscription = ?1 AND d.aggregate = ?2 AND d.position > ?3 ORDER BY d.aggregate, d.position LIMIT ?4");
    rows(view, sql, params![subscription, aggregate, after, limit])
}

/// When the next delivery falls due; `None` if there is none.
pub(crate) fn next_due(view: &View<'_>, subscription: i64, holds: bool) -> Result<Option<i64>> {
    let next = first(view, select!(heads "retry" "ORDER BY d.due_at LIMIT 1"), params![subscription, holds])?;
    Ok(next.map(|delivery| delivery.due_at))
}

/// Whether the aggregate has an unfinished delivery, so that its next event must wait.
pub(crate) fn is_held(view: &View<'_>, subscription: i64, aggregate: i64, holds: bool) -> Result<bool> {
    let sql = select!(
        "WHERE d.subscription = ?1 AND d.aggregate = ?2 AND (d.state IN ('retry', 'waiting') OR (?3 AND d.state = 'dead')) LIMIT 1"
    );
    Ok(first(view, sql, params![subscription, aggregate, holds])?.is_some())
}

/// The first delivery of an aggregate that holds the later ones, under this policy.
pub(crate) fn head_of(view: &View<'_>, subscription: i64, aggregate: i64, holds: bool) -> Result<Option<Delivery>> {
    let sql = select!(
        "WHERE d.subscription = ?1 AND d.aggregate = ?2 AND (d.state <> 'dead' OR ?3) ORDER BY d.aggregate, d.position LIMIT 1"
    );
    first(view, sql, params![subscription, aggregate, holds])
}

/// Waiting deliveries with nothing to wait for.
pub(crate) fn waiting_for_nothing(view: &View<'_>, subscription: i64, holds: bool, limit: usize) -> Result<Vec<Delivery>> {
    rows(view, select!(heads "waiting" "ORDER BY d.position LIMIT ?3"), params![subscription, holds, limit])
}

/// Deliveries that fall due after a time.
pub(crate) fn due_after(view: &View<'_>, subscription: i64, latest: i64, limit: usize) -> Result<Vec<Delivery>> {
    let sql = select!("WHERE d.subscription = ?1 AND d.state = 'retry' AND d.due_at > ?2 ORDER BY d.due_at LIMIT ?3");
    rows(view, sql, params![subscription, latest, limit])
}

/// Dead letters after a position, oldest first.
pub(crate) fn dead(view: &View<'_>, subscription: i64, after: u64, limit: usize) -> Result<Vec<Delivery>> {
    // The sign keeps SQLite from using the index over states: a damaged one would hide letters.
    let sql = select!("WHERE d.subscription = ?1 AND d.position > ?2 AND +d.state = 'dead' ORDER BY d.position LIMIT ?3");
    rows(view, sql, params![subscription, after, limit])
}

/// How many deliveries of an aggregate wait.
pub(crate) fn waiting(view: &View<'_>, subscription: i64, aggregate: i64) -> Result<u64> {
    let sql = "SELECT count(*) FROM deliveries WHERE subscription = ?1 AND aggregate = ?2 AND +state = 'waiting'";
    view.value(sql, [subscription, aggregate])
}

/// The numbers by state. Checks each row and the total.
pub(crate) fn count(view: &View<'_>, outbox: &Checkpoint) -> Result<DeliveryCounts> {
    check_number(view, outbox)?;
    let mut counts = DeliveryCounts::default();
    view.each_row(select!("WHERE d.subscription = ?1 ORDER BY d.position"), params![outbox.id], |row| {
        let state = intact(view, row)?.state;
        counts.leased += u64::from(state == DeliveryState::Leased);
        let of_state = match state {
            DeliveryState::Retry | DeliveryState::Leased => &mut counts.to_retry,
            DeliveryState::Waiting => &mut counts.waiting,
            DeliveryState::Dead => &mut counts.dead,
        };
        *of_state += 1;
        Ok(true)
    })?;
    Ok(counts)
}

#[cfg(test)]
mod tests {
    use super::*;

    // Files hold this number: it is part of the format.
    #[test]
    fn the_checksum_is_frozen_and_covers_every_column() {
        let base = Delivery {
            subscription: 1,
            position: 7,
            aggregate: 3,
            state: DeliveryState::Retry,
            attempts: 2,
            due_at: 9,
            last_error: None,
        };
        assert_eq!(sum(&base), FROZEN);
        let others = [
            Delivery { subscription: 2, ..base.clone() },
            Delivery { position: 8, ..base.clone() },
            Delivery { aggregate: 4, ..base.clone() },
            Delivery { state: DeliveryState::Dead, ..base.clone() },
            Delivery { attempts: 1, ..base.clone() },
            Delivery { due_at: 8, ..base.clone() },
            Delivery { last_error: Some(String::new()), ..base.clone() },
        ];
        assert!(others.iter().all(|other| sum(other) != FROZEN));
    }

    const FROZEN: i64 = -5_108_255_979_959_573_130;
}
