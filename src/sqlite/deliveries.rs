//! Deliveries of outboxes: the events that are not simply "delivered", by position.
//!
//! Between two steps of the one who leads, an event up to the checkpoint is either delivered or has a row here, and no
//! row lies beyond the checkpoint. While a batch is out, its rows lie beyond it; if its runner dies, they are how the
//! next one knows.

use rusqlite::{OptionalExtension, Row, params};

use super::database::{View, Writing};
use super::failure::Sql;
use crate::model::error::{Error, ErrorKind, Result};

/// Where a delivery stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// A runner has it in hand, or died with it.
    Leased,
    /// To be tried, again or for the first time, when it is due.
    Retry,
    /// Behind another delivery of its aggregate.
    Waiting,
    /// Given up: a dead letter.
    Dead,
}

impl State {
    fn name(self) -> &'static str {
        match self {
            State::Leased => "leased",
            State::Retry => "retry",
            State::Waiting => "waiting",
            State::Dead => "dead",
        }
    }

    fn of(name: &str) -> Result<State> {
        match name {
            "leased" => Ok(State::Leased),
            "retry" => Ok(State::Retry),
            "waiting" => Ok(State::Waiting),
            "dead" => Ok(State::Dead),
            _ => Err(Error::new(ErrorKind::Corrupt, "a delivery is in a state that there is not")),
        }
    }
}

/// A delivery's row.
#[derive(Clone, Debug)]
pub(crate) struct Delivery {
    pub(crate) position: u64,
    pub(crate) aggregate: i64,
    pub(crate) state: State,
    pub(crate) attempts: u32,
    pub(crate) due_at: i64,
    pub(crate) last_error: Option<String>,
}

impl Delivery {
    fn read(row: &Row<'_>) -> Result<Delivery> {
        Ok(Delivery {
            position: row.get(0).sql()?,
            aggregate: row.get(1).sql()?,
            state: State::of(row.get_ref(2).sql()?.as_str().unwrap_or_default())?,
            attempts: row.get(3).sql()?,
            due_at: row.get(4).sql()?,
            last_error: row.get(5).sql()?,
        })
    }
}

macro_rules! select {
    ($rest:literal) => {
        concat!("SELECT d.position, d.aggregate, d.state, d.attempts, d.due_at, d.last_error FROM deliveries d ", $rest)
    };
    // Not behind another of its aggregate. ?2: whether a dead letter holds its aggregate.
    (heads $rest:literal) => {
        concat!(
            "SELECT d.position, d.aggregate, d.state, d.attempts, d.due_at, d.last_error FROM deliveries d
             WHERE d.subscription = ?1 AND d.state = 'retry' AND NOT EXISTS (
               SELECT 1 FROM deliveries b WHERE b.subscription = d.subscription AND b.aggregate = d.aggregate
               AND b.position < d.position AND (b.state <> 'dead' OR ?2)) ",
            $rest
        )
    };
}

fn rows(view: &View<'_>, sql: &str, params: impl rusqlite::Params) -> Result<Vec<Delivery>> {
    let mut statement = view.prepare_cached(sql).sql()?;
    let mut rows = statement.query(params).sql()?;
    let mut found = Vec::new();
    while let Some(row) = rows.next().sql()? {
        found.push(Delivery::read(row)?);
    }
    Ok(found)
}

fn change(writing: &Writing<'_>, sql: &str, params: impl rusqlite::Params) -> Result<u64> {
    let changed = writing.prepare_cached(sql).sql()?.execute(params).sql()?;
    Ok(u64::try_from(changed).unwrap_or(u64::MAX))
}

/// The first delivery that somebody died with: to be asked between two steps only.
pub(crate) fn first_leased(view: &View<'_>, subscription: i64) -> Result<Option<Delivery>> {
    let sql = select!("WHERE d.subscription = ?1 AND d.state = 'leased' ORDER BY d.position LIMIT 1");
    Ok(rows(view, sql, params![subscription])?.pop())
}

/// The position of the newest row; 0 without any.
pub(crate) fn last_position(view: &View<'_>, subscription: i64) -> Result<u64> {
    view.prepare_cached("SELECT coalesce(max(position), 0) FROM deliveries WHERE subscription = ?1")
        .sql()?
        .query_row(params![subscription], |row| row.get(0))
        .sql()
}

/// The position of an aggregate's first row at or after a position.
pub(crate) fn first_of(view: &View<'_>, subscription: i64, aggregate: i64, from: u64) -> Result<Option<u64>> {
    view.prepare_cached("SELECT min(position) FROM deliveries WHERE subscription = ?1 AND aggregate = ?2 AND position >= ?3")
        .sql()?
        .query_row(params![subscription, aggregate, from], |row| row.get(0))
        .sql()
}

/// What is due now, each with those that wait directly behind it, `limit` in all; in order within each aggregate.
pub(crate) fn due(view: &View<'_>, subscription: i64, holds: bool, now: i64, limit: usize) -> Result<Vec<Delivery>> {
    let heads = rows(
        view,
        select!(heads "AND d.due_at <= ?3 ORDER BY d.due_at, d.position LIMIT ?4"),
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
        let sql = select!(
            "WHERE d.subscription = ?1 AND d.aggregate = ?2 AND d.position > ?3 ORDER BY d.aggregate, d.position LIMIT ?4"
        );
        for behind in rows(view, sql, params![subscription, aggregate, position, room])? {
            match behind.state {
                State::Waiting => due.push(behind),
                State::Dead if !holds => continue,
                _ => break,
            }
            room -= 1;
        }
    }
    Ok(due)
}

/// When the next one falls due; `None` if nothing is to be tried again.
pub(crate) fn next_due(view: &View<'_>, subscription: i64, holds: bool) -> Result<Option<i64>> {
    let next = rows(view, select!(heads "ORDER BY d.due_at LIMIT 1"), params![subscription, holds])?;
    Ok(next.first().map(|delivery| delivery.due_at))
}

/// Leases an event for the first time, or lets it wait if its aggregate is held up. `None` if it has a row already.
pub(crate) fn lease_new(
    writing: &Writing<'_>,
    subscription: i64,
    position: u64,
    holds: bool,
    until: i64,
) -> Result<Option<(i64, State)>> {
    let row: Option<(i64, bool)> = writing
        .prepare_cached(
            "INSERT INTO deliveries (subscription, position, aggregate, state, attempts, due_at)
             SELECT ?1, ?2, e.aggregate, iif(e.held, 'waiting', 'leased'), iif(e.held, 0, 1), iif(e.held, 0, ?4) FROM (
               SELECT key >> 32 AS aggregate, EXISTS (
                 SELECT 1 FROM deliveries b WHERE b.subscription = ?1 AND b.aggregate = key >> 32
                 AND (b.state IN ('retry', 'waiting') OR (?3 AND b.state = 'dead'))) AS held
               FROM events WHERE position = ?2) e
             WHERE true ON CONFLICT DO NOTHING RETURNING aggregate, state = 'leased'",
        )
        .sql()?
        .query_row(params![subscription, position, holds, until], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()
        .sql()?;
    Ok(row.map(|(aggregate, leased)| (aggregate, if leased { State::Leased } else { State::Waiting })))
}

/// Leases a delivery that has a row: the attempt is counted now, so that a death in it counts.
pub(crate) fn lease(writing: &Writing<'_>, subscription: i64, position: u64, until: i64) -> Result<()> {
    let sql =
        "UPDATE deliveries SET state = 'leased', attempts = attempts + 1, due_at = ?3 WHERE subscription = ?1 AND position = ?2";
    change(writing, sql, params![subscription, position, until]).map(drop)
}

/// It is through: nothing is left to remember.
pub(crate) fn delivered(writing: &Writing<'_>, subscription: i64, position: u64) -> Result<()> {
    let sql = "DELETE FROM deliveries WHERE subscription = ?1 AND position = ?2 AND state = 'leased'";
    change(writing, sql, params![subscription, position]).map(drop)
}

/// The attempt failed: to be tried again at `due_at`, or dead.
pub(crate) fn failed(
    writing: &Writing<'_>,
    subscription: i64,
    position: u64,
    state: State,
    due_at: i64,
    error: &str,
) -> Result<()> {
    let sql = "UPDATE deliveries SET state = ?3, due_at = ?4, last_error = ?5 WHERE subscription = ?1 AND position = ?2";
    change(writing, sql, params![subscription, position, state.name(), due_at, error]).map(drop)
}

/// Lets what was leased of an aggregate after a position wait. `untried`: their attempts were counted but not made.
pub(crate) fn hold_back(writing: &Writing<'_>, subscription: i64, aggregate: i64, after: u64, untried: bool) -> Result<()> {
    let sql = "UPDATE deliveries SET state = 'waiting', attempts = attempts - ?4, due_at = 0
               WHERE subscription = ?1 AND aggregate = ?2 AND position > ?3 AND state = 'leased'";
    change(writing, sql, params![subscription, aggregate, after, untried]).map(drop)
}

/// Puts a delivery back as it was before it was leased.
pub(crate) fn give_back(writing: &Writing<'_>, subscription: i64, before: &Delivery) -> Result<()> {
    let sql = "UPDATE deliveries SET state = ?3, attempts = ?4, due_at = ?5 WHERE subscription = ?1 AND position = ?2";
    change(writing, sql, params![subscription, before.position, before.state.name(), before.attempts, before.due_at]).map(drop)
}

/// Forgets what was leased beyond a position: it will be read from the log again.
pub(crate) fn forget_after(writing: &Writing<'_>, subscription: i64, position: u64) -> Result<()> {
    let sql = "DELETE FROM deliveries WHERE subscription = ?1 AND position > ?2";
    change(writing, sql, params![subscription, position]).map(drop)
}

/// Lets the first of an aggregate go on if it was waiting: what was before it is through.
pub(crate) fn release(writing: &Writing<'_>, subscription: i64, aggregate: i64, holds: bool, now: i64) -> Result<()> {
    let sql = "UPDATE deliveries SET state = 'retry', due_at = ?4 WHERE subscription = ?1 AND state = 'waiting' AND position = (
                 SELECT min(position) FROM deliveries WHERE subscription = ?1 AND aggregate = ?2 AND (state <> 'dead' OR ?3))";
    change(writing, sql, params![subscription, aggregate, holds, now]).map(drop)
}

/// As [`release`], for every aggregate: the policy may be another than the one before. What is due later than can be
/// is due now: the machine's clock was put back.
pub(crate) fn release_all(writing: &Writing<'_>, subscription: i64, holds: bool, now: i64, latest: i64) -> Result<()> {
    let sql =
        "UPDATE deliveries AS d SET state = 'retry', due_at = ?3 WHERE subscription = ?1 AND state = 'waiting' AND NOT EXISTS (
                 SELECT 1 FROM deliveries b WHERE b.subscription = d.subscription AND b.aggregate = d.aggregate
                 AND b.position < d.position AND (b.state <> 'dead' OR ?2))";
    change(writing, sql, params![subscription, holds, now])?;
    let sql = "UPDATE deliveries SET due_at = ?2 WHERE subscription = ?1 AND state = 'retry' AND due_at > ?3";
    change(writing, sql, params![subscription, now, latest]).map(drop)
}

/// Dead letters after a position, oldest first.
pub(crate) fn dead(view: &View<'_>, subscription: i64, after: u64, limit: usize) -> Result<Vec<Delivery>> {
    let sql = select!("WHERE d.subscription = ?1 AND d.position > ?2 AND d.state = 'dead' ORDER BY d.position LIMIT ?3");
    rows(view, sql, params![subscription, after, limit])
}

/// Makes a dead letter, or with `None` every one, a delivery that is due now, with all its attempts before it.
pub(crate) fn revive(writing: &Writing<'_>, subscription: i64, position: Option<u64>, now: i64) -> Result<u64> {
    let sql = "UPDATE deliveries SET state = 'retry', attempts = 0, due_at = ?3
               WHERE subscription = ?1 AND state = 'dead' AND (?2 IS NULL OR position = ?2)";
    change(writing, sql, params![subscription, position, now])
}

/// Forgets a dead letter, or with `None` every one; what waited behind it goes on.
pub(crate) fn discard(writing: &Writing<'_>, subscription: i64, position: Option<u64>, now: i64) -> Result<u64> {
    let mut statement = writing
        .prepare_cached(
            "DELETE FROM deliveries WHERE subscription = ?1 AND state = 'dead' AND (?2 IS NULL OR position = ?2) RETURNING aggregate",
        )
        .sql()?;
    let aggregates: rusqlite::Result<Vec<i64>> =
        statement.query_map(params![subscription, position], |row| row.get(0)).sql()?.collect();
    let mut aggregates = aggregates.sql()?;
    let discarded = aggregates.len();
    aggregates.sort_unstable();
    aggregates.dedup();
    for aggregate in aggregates {
        // Under the stricter policy: what the other one lets through is not waiting.
        release(writing, subscription, aggregate, true, now)?;
    }
    Ok(u64::try_from(discarded).unwrap_or(u64::MAX))
}

/// How many are to be tried (or in hand), wait, and are dead.
pub(crate) fn count(view: &View<'_>, subscription: i64) -> Result<(u64, u64, u64)> {
    view.prepare_cached(
        "SELECT count(*) FILTER (WHERE state IN ('retry', 'leased')), count(*) FILTER (WHERE state = 'waiting'),
                count(*) FILTER (WHERE state = 'dead') FROM deliveries WHERE subscription = ?1",
    )
    .sql()?
    .query_row(params![subscription], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
    .sql()
}
