//! The audit chain: a row for each event since it was begun. Who appends keeps it up, whatever its options: the file says so.

use rusqlite::{CachedStatement, params};
use uuid::Uuid;

use super::events::{Owner, Raw};
use super::keys::{key, key_version};
use super::positions;
use crate::model::error::{Error, ErrorKind, Result};
use crate::model::place::Position;
use crate::sqlite::audit::{self, Before, Committed, Digest};
use crate::sqlite::connection::failure::Sql;
use crate::sqlite::consistency::RESTORE;
use crate::sqlite::transaction::{View, Writing};

/// The row of a position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Link {
    pub(crate) position: u64,
    /// 0 for the anchor.
    pub(crate) key: i64,
    /// `None` if the event's content cannot be proven any more.
    pub(crate) salt: Option<[u8; 16]>,
    pub(crate) commitment: Digest,
    pub(crate) link: Digest,
}

macro_rules! select {
    ($rest:literal) => {
        concat!("SELECT position, key, salt, commitment, link FROM chain ", $rest)
    };
}

impl Link {
    fn read(row: &rusqlite::Row<'_>) -> rusqlite::Result<Link> {
        Ok(Link { position: row.get(0)?, key: row.get(1)?, salt: row.get(2)?, commitment: row.get(3)?, link: row.get(4)? })
    }
}

/// The chain's last row; `None` if the file has no chain.
pub(crate) fn last(view: &View<'_>) -> Result<Option<Link>> {
    view.row_if_any(select!("ORDER BY position DESC LIMIT 1"), [], Link::read)
}

/// The chain's first row; `None` if the file has no chain.
pub(crate) fn anchor(view: &View<'_>) -> Result<Option<Link>> {
    view.row_if_any(select!("ORDER BY position LIMIT 1"), [], Link::read)
}

/// The row of a position.
pub(crate) fn at(view: &View<'_>, position: u64) -> Result<Option<Link>> {
    view.row_if_any(select!("WHERE position = ?1"), [positions::number_of(position)], Link::read)
}

/// The link of an event, by the event's key.
pub(crate) fn link_of(view: &View<'_>, key: i64) -> Result<Option<Digest>> {
    view.value_if_any("SELECT link FROM chain WHERE key = ?1", [key])
}

/// Passes rows after a position, `limit` at most, to `each`.
pub(crate) fn page(view: &View<'_>, after: i64, limit: usize, mut each: impl FnMut(Link) -> Result<()>) -> Result<()> {
    view.each_row(select!("WHERE position > ?1 ORDER BY position LIMIT ?2"), params![after, limit], |row| {
        each(Link::read(row).sql()?).map(|()| true)
    })
}

/// Begins the chain behind the last event, unless it was begun before.
pub(crate) fn begin(writing: &Writing<'_>) -> Result<()> {
    if last(writing)?.is_some() {
        return Ok(());
    }
    let position = positions::last(writing)?;
    let mut commitment = Digest::default();
    let (first, second) = commitment.split_at_mut(16);
    // So that no two chains are alike.
    first.copy_from_slice(Uuid::new_v4().as_bytes());
    second.copy_from_slice(Uuid::new_v4().as_bytes());
    let before = Before { in_log: Digest::default(), in_aggregate: None };
    let link = audit::link(before, position, 0, &commitment)?;
    insert(writing, &Link { position, key: 0, salt: None, commitment, link })
}

const INSERT: &str = "INSERT INTO chain (position, key, salt, commitment, link) VALUES (?1, ?2, ?3, ?4, ?5)";

/// Inserts a row as it is.
pub(crate) fn insert(writing: &Writing<'_>, link: &Link) -> Result<()> {
    execute(&mut writing.prepare(INSERT)?, link)
}

fn execute(statement: &mut CachedStatement<'_>, link: &Link) -> Result<()> {
    let Link { position, key, salt, commitment, link } = link;
    statement.execute(params![position, key, salt, commitment, link]).map(drop).sql()
}

/// Forgets the salts of an aggregate's events from version `after + 1` to `through`: from now on nobody can find out what
/// they were, but the chain still holds.
pub(crate) fn forget(writing: &Writing<'_>, aggregate: i64, (after, through): (u64, u64)) -> Result<()> {
    let sql = "UPDATE chain SET salt = NULL WHERE key > ?1 AND key <= ?2 AND salt IS NOT NULL";
    writing.execute(sql, params![key(aggregate, after), key(aggregate, through)]).map(drop)
}

/// Adds events to the chain, in the transaction that appends them.
pub(crate) struct Chaining<'a> {
    writing: &'a Writing<'a>,
    statement: CachedStatement<'a>,
    last: Digest,
}

impl<'a> Chaining<'a> {
    /// `None` if the file has no chain. `position` is that of the last event.
    pub(crate) fn begin(writing: &'a Writing<'_>, position: u64) -> Result<Option<Chaining<'a>>> {
        let known = writing.ends()?.chain;
        let last = match known {
            Some(known) => known,
            None => match last(writing)? {
                Some(last) if last.position == position => Some(last.link),
                Some(last) => return Err(short(last.position, position)),
                None => None,
            },
        };
        writing.ends()?.chain = Some(last);
        let Some(last) = last else { return Ok(None) };
        Ok(Some(Chaining { writing, statement: writing.prepare(INSERT)?, last }))
    }

    /// Adds the next event.
    pub(crate) fn add(&mut self, position: u64, key: i64, event: &Committed<'_>) -> Result<()> {
        let salt = Uuid::new_v4().into_bytes();
        let commitment = audit::commitment(&salt, event)?;
        let version = key_version(key);
        let in_aggregate = if version == 1 { None } else { link_of(self.writing, key - 1)? };
        let link = audit::link(Before { in_log: self.last, in_aggregate }, position, version, &commitment)?;
        execute(&mut self.statement, &Link { position, key, salt: Some(salt), commitment, link })?;
        self.last = link;
        Ok(())
    }

    /// Remembers where the chain ends, for the next append.
    pub(crate) fn end(self) -> Result<()> {
        self.writing.ends()?.chain = Some(Some(self.last));
        Ok(())
    }
}

fn short(chain: u64, log: u64) -> Error {
    Error::new(ErrorKind::Corrupt, format!("the audit chain ends at position {chain}, and the log at {log}"))
        .at_position(Position::new(chain.min(log) + 1))
        .advice(RESTORE)
}

/// What the chain says of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Proof {
    /// The event is the one that was appended.
    Proven,
    /// Its salt was forgotten.
    Erased,
    /// The event was changed.
    Changed,
    /// The chain has no such event.
    Missing,
}

/// Compares an event with its row.
pub(crate) fn prove(view: &View<'_>, owner: &Owner, raw: &Raw<'_>) -> Result<Proof> {
    let Some(link) = at(view, raw.position)? else { return Ok(Proof::Missing) };
    let Some(salt) = link.salt else { return Ok(Proof::Erased) };
    let is_it =
        link.key == key(owner.aggregate, raw.version) && audit::commitment(&salt, &committed(owner, raw))? == link.commitment;
    Ok(if is_it { Proof::Proven } else { Proof::Changed })
}

fn committed<'a>(owner: &'a Owner, raw: &'a Raw<'_>) -> Committed<'a> {
    Committed {
        tenant: &owner.aggregate_type.tenant,
        aggregate_type: &owner.aggregate_type.name,
        aggregate_id: &owner.aggregate_id,
        event_type: &raw.event_type.name,
        schema_version: raw.schema_version,
        event_id: raw.event_id.as_bytes(),
        origin: raw.origin.as_bytes(),
        commit_id: raw.commit_id,
        created_at: raw.created_at,
        tags: raw.tags,
        metadata: raw.metadata,
        data: &raw.data,
    }
}
