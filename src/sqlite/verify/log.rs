//! The log itself: every event, every position.

use rusqlite::{OptionalExtension, params};

use super::{PAGE, damage_of, facts, reference};
use crate::model::damage::{Damage, Found};
use crate::model::error::Result;
use crate::sqlite::aggregates::AggregateRow;
use crate::sqlite::database::View;
use crate::sqlite::events::{self, Owner, Raw};
use crate::sqlite::failure::Sql;
use crate::sqlite::holes::Walk;
use crate::sqlite::id_order;
use crate::sqlite::key_version;

/// How far the walk over the events has come.
#[derive(Debug, Default)]
pub(crate) struct EventsCursor {
    /// The last key that was looked at.
    pub(crate) key: i64,
    pub(crate) rows: u64,
    run: Option<Run>,
}

/// The events of one aggregate, as they go by.
#[derive(Debug)]
struct Run {
    aggregate: i64,
    /// `None` if the aggregate or its names are missing, which was said.
    facts: Option<(AggregateRow, Owner)>,
    version: u64,
    latest_at: Option<i64>,
    all_intact: bool,
}

/// Every event: checksum, version, tags; at the end of an aggregate its version and its latest time.
pub(crate) fn events(view: &View<'_>, cursor: &mut EventsCursor, found: &mut Found) -> Result<bool> {
    if let Some(run) = &mut cursor.run {
        // Since the last page events may have come and gone.
        run.facts = facts(view, run.aggregate).ok();
    }
    let EventsCursor { key: last_key, rows, run } = cursor;
    let mut seen = 0;
    events::check_page(view, *last_key, PAGE, |found_key, read| {
        seen += 1;
        *rows += 1;
        *last_key = found_key;
        let aggregate = found_key >> 32;
        if run.as_ref().is_none_or(|run| run.aggregate != aggregate) {
            if let Some(ended) = run.take() {
                end(&ended, found);
            }
            *run = Some(begin(view, aggregate, found_key, found));
        }
        let Some(run) = run.as_mut() else { return Ok(()) };
        check_version(run, key_version(found_key), found);
        let Some((_, owner)) = &run.facts else { return Ok(()) };
        match read.event(view, owner.identity) {
            Ok(raw) => {
                run.latest_at = run.latest_at.max(Some(raw.created_at));
                check_tags(view, owner, &raw, found)?;
            }
            Err(error) => {
                run.all_intact = false;
                found.add(damage_of(&error).of(reference(owner)).at_version(key_version(found_key)));
            }
        }
        Ok(())
    })?;
    if seen < PAGE
        && let Some(ended) = cursor.run.take()
    {
        end(&ended, found);
    }
    Ok(seen == PAGE)
}

fn begin(view: &View<'_>, aggregate: i64, first_key: i64, found: &mut Found) -> Run {
    let facts = facts(view, aggregate)
        .map_err(|error| {
            found.add(
                Damage::new(format!("the events from version {} on belong to nobody: {error}", key_version(first_key)))
                    .at_version(key_version(first_key)),
            );
        })
        .ok();
    let version = facts.as_ref().map_or(key_version(first_key).saturating_sub(1), |(row, _)| row.removed_through());
    Run { aggregate, facts, version, latest_at: None, all_intact: true }
}

fn check_version(run: &mut Run, version: u64, found: &mut Found) {
    let removed = run.facts.as_ref().map_or(0, |(row, _)| row.removed_through());
    let expected = run.version.max(removed) + 1;
    if version != expected {
        run.all_intact = false;
        let what = if version > expected {
            format!("the events from version {expected} to {} are missing", version - 1)
        } else {
            format!("the event stands at version {version}, up to {removed} all are said to be removed")
        };
        let damage = Damage::new(what).at_version(version.min(expected));
        found.add(match &run.facts {
            Some((_, owner)) => damage.of(reference(owner)),
            None => damage,
        });
    }
    run.version = version;
}

fn end(run: &Run, found: &mut Found) {
    let Some((row, owner)) = &run.facts else { return };
    if run.version < row.version {
        found.add(
            Damage::new(format!("the events after version {} are missing, the aggregate is at {}", run.version, row.version))
                .of(reference(owner))
                .at_version(run.version + 1),
        );
    } else if run.version > row.version {
        found.add(
            Damage::new(format!("the aggregate says it is at version {}, its newest event says otherwise", row.version))
                .of(reference(owner))
                .at_version(run.version),
        );
    }
    let Some(latest_at) = run.latest_at else { return };
    let removed = row.removed_through() > 0;
    if row.latest_at < latest_at || (row.latest_at > latest_at && !removed && run.all_intact && run.version == row.version) {
        found.add(Damage::new("the aggregate's latest time is not that of its events").of(reference(owner)));
    }
}

fn check_tags(view: &View<'_>, owner: &Owner, raw: &Raw<'_>, found: &mut Found) -> Result<()> {
    let Ok(tags) = raw.tags() else {
        found.add(Damage::new("the event's tags are not a list").of(reference(owner)).at_version(raw.version));
        return Ok(());
    };
    for tag in tags {
        let indexed: Option<i64> = view
            .prepare_cached("SELECT 1 FROM event_tags WHERE tenant = ?1 AND tag = ?2 AND position = ?3")
            .sql()?
            .query_row(params![owner.aggregate_type.tenant_id, tag, raw.position], |row| row.get(0))
            .optional()
            .sql()?;
        if indexed.is_none() {
            found.add(
                Damage::new("a tag of the event is missing from the index of tags, a query by it does not find the event")
                    .of(reference(owner))
                    .at_version(raw.version)
                    .at_position(raw.position),
            );
        }
    }
    Ok(())
}

/// How far the walk over the ids has come.
pub(crate) type IdsCursor = Option<[u8; 16]>;

/// Every id in order: the event with the next smaller one is the one that was there when it was written.
pub(crate) fn ids(view: &View<'_>, cursor: &mut IdsCursor, found: &mut Found) -> Result<bool> {
    let (wrong, more) = id_order::check_page(view, cursor)?;
    for _ in 0..wrong {
        let damage = Damage::new("the index of event ids has lost entries, or has some in each other's place");
        found.add(damage.advice("an event may seem not to exist, and a repeated append be taken again; restore a backup"));
    }
    Ok(more)
}

/// How far the walk over the positions has come.
#[derive(Debug, Default)]
pub(crate) struct PositionsCursor {
    pub(crate) position: i64,
}

/// Every position in order: that of an event, or in a hole.
pub(crate) fn positions(view: &View<'_>, cursor: &mut PositionsCursor, found: &mut Found) -> Result<bool> {
    let mut statement =
        view.prepare_cached("SELECT position FROM events WHERE position > ?1 ORDER BY position LIMIT ?2").sql()?;
    let mut rows = statement.query(params![cursor.position, PAGE]).sql()?;
    let mut seen = 0;
    let walk_from = |position: i64| Walk::new((position.saturating_add(1).cast_unsigned(), u64::MAX), false);
    let mut walk = walk_from(cursor.position);
    while let Some(row) = rows.next().sql()? {
        seen += 1;
        let position: i64 = row.get(0).sql()?;
        let expected = cursor.position.saturating_add(1);
        if position < expected {
            found.add(Damage::new(format!("position {position} comes after position {}", cursor.position)));
        } else if let Err(error) = walk.next(view, position.cast_unsigned()) {
            let damage = match position > expected {
                true => Damage::new(format!(
                    "no event stands at positions {expected} to {}, and that is not a hole that a removal made",
                    position - 1
                )),
                false => damage_of(&error),
            };
            found.add(damage.at_position(expected.cast_unsigned()));
            walk = walk_from(position);
        }
        cursor.position = position.max(expected);
    }
    Ok(seen == PAGE)
}
