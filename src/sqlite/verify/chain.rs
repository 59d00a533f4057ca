//! Verifies the audit chain: its rows against each other, and events against their rows.

use std::collections::HashMap;

use rusqlite::params;

use super::{Cursor, PAGE};
use crate::model::damage::{Damage, Found};
use crate::model::error::Result;
use crate::sqlite::audit::{self, Before, Digest};
use crate::sqlite::tables::chain::{self, Link, Proof};
use crate::sqlite::tables::events::{Owner, Raw};
use crate::sqlite::tables::keys::{key, key_version};
use crate::sqlite::tables::positions;
use crate::sqlite::transaction::View;

/// The most aggregates whose last link is remembered.
const MOST_REMEMBERED: usize = 100_000;
const ADVICE: &str = "somebody changed the file, or it is damaged: keep it, and restore a backup";

/// The progress of the walk along the chain.
#[derive(Debug, Default)]
pub(super) struct ChainCursor {
    /// The last position that was checked.
    position: i64,
    pub(super) rows: u64,
    last: Option<Digest>,
    /// The last version of each aggregate, and its link.
    aggregates: HashMap<i64, (u64, Digest)>,
}

impl ChainCursor {
    pub(super) fn new() -> ChainCursor {
        ChainCursor { position: -1, ..ChainCursor::default() }
    }
}

impl Cursor for ChainCursor {
    fn id(&mut self) -> &mut i64 {
        &mut self.position
    }

    fn rows(&self) -> u64 {
        self.rows
    }
}

/// Checks every link: it must follow from those before it, without a gap up to the end of the log.
pub(super) fn links(view: &View<'_>, cursor: &mut ChainCursor, found: &mut Found) -> Result<bool> {
    let mut seen = 0;
    chain::page(view, cursor.position, PAGE, |link| {
        seen += 1;
        check(view, cursor, &link, found)?;
        cursor.position = positions::number_of(link.position);
        cursor.rows += 1;
        cursor.last = Some(link.link);
        Ok(())
    })?;
    let end = positions::last(view)?;
    if seen < PAGE && cursor.rows > 0 && cursor.position != positions::number_of(end) {
        let what = format!("the audit chain ends at position {}, and the log at {end}", cursor.position);
        found.add(Damage::new(what).at_position(end).advice(ADVICE));
    }
    Ok(seen == PAGE)
}

fn check(view: &View<'_>, cursor: &mut ChainCursor, link: &Link, found: &mut Found) -> Result<()> {
    let broken = |what: String| Damage::new(what).at_position(link.position).advice(ADVICE);
    let (aggregate, version) = (link.key >> 32, key_version(link.key));
    let before = match (cursor.last, cursor.rows) {
        (Some(in_log), _) if link.position == cursor.position.cast_unsigned() + 1 => {
            Before { in_log, in_aggregate: link_before(view, cursor, aggregate, version)? }
        }
        (None, 0) if link.key == 0 => Before { in_log: Digest::default(), in_aggregate: None },
        (_, 0) => {
            found.add(broken("the audit chain has lost its beginning".to_owned()));
            return Ok(());
        }
        _ => {
            found.add(broken(format!("the audit chain lacks the positions {} to {}", cursor.position + 1, link.position - 1)));
            return Ok(());
        }
    };
    if audit::link(before, link.position, version, &link.commitment)? != link.link {
        found.add(broken("the audit chain is broken: this link does not follow from those before it".to_owned()));
    }
    if link.key != 0 {
        if cursor.aggregates.len() >= MOST_REMEMBERED {
            cursor.aggregates.clear();
        }
        cursor.aggregates.insert(aggregate, (version, link.link));
        check_forgotten(view, link, found)?;
    }
    Ok(())
}

fn link_before(view: &View<'_>, cursor: &ChainCursor, aggregate: i64, version: u64) -> Result<Option<Digest>> {
    match cursor.aggregates.get(&aggregate) {
        _ if version <= 1 => Ok(None),
        Some((before, link)) if before + 1 == version => Ok(Some(*link)),
        _ => chain::link_of(view, key(aggregate, version - 1)),
    }
}

/// A link without a salt is that of an event that is gone, or of one that lost fields by an erasure.
fn check_forgotten(view: &View<'_>, link: &Link, found: &mut Found) -> Result<()> {
    const SQL: &str = "SELECT EXISTS (SELECT 1 FROM events WHERE key = ?1) AND NOT EXISTS
                       (SELECT 1 FROM erasures WHERE aggregate = ?2 AND through >= ?3 AND fields IS NOT NULL)";
    if link.salt.is_none() && view.value::<bool>(SQL, params![link.key, link.key >> 32, key_version(link.key)])? {
        let what = "the audit chain says that the event was removed, but there is one";
        found.add(Damage::new(what).at_position(link.position).advice(ADVICE));
    }
    Ok(())
}

/// Checks an event against its row; returns whether it is proven. `begins` is the position of the anchor.
pub(super) fn prove(view: &View<'_>, begins: Option<u64>, owner: &Owner, raw: &Raw<'_>, found: &mut Found) -> Result<bool> {
    if begins.is_none_or(|begins| raw.position <= begins) {
        return Ok(false);
    }
    let what = match chain::prove(view, owner, raw)? {
        Proof::Proven => return Ok(true),
        // The walk along the chain reports it.
        Proof::Erased | Proof::Missing => return Ok(false),
        Proof::Changed => "the event is not the one that was appended: the audit chain has another",
    };
    let damage = Damage::new(what).of(owner.reference()).at_version(raw.version);
    found.add(damage.at_position(raw.position).advice(ADVICE));
    Ok(false)
}

/// The position of the chain's anchor; `None` if there is no chain.
pub(super) fn begins(view: &View<'_>) -> Result<Option<u64>> {
    Ok(chain::anchor(view)?.map(|anchor| anchor.position))
}
