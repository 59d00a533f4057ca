//! Subscriptions: their checkpoints and leaders. Every row has a checksum over all its columns. A row is read, changed
//! in Rust and written back whole.

use rusqlite::{Row, params};

use crate::model::error::{Error, ErrorKind, Result};
use crate::model::place::Position;
use crate::sqlite::checksum;
use crate::sqlite::transaction::{Columns, View, Writing};
use crate::storage::delivery::{Checkpoint, Identity, Lead, SubscriptionKind, unknown};

const ADVICE: &str = "copy the file; then reset or seek the subscription, or restore a backup";

macro_rules! select {
    ($rest:literal) => {
        concat!(
            "SELECT id, tenant, name, kind, filter, position, leader, fence, heartbeat, lease_millis, in_hand, deaths, ",
            "failed_position, failure, version, generation, rebuild_version, rebuild_position, deliveries, tables, paused, ",
            "checksum FROM subscriptions ",
            $rest
        )
    };
}

/// A row as it is in the file, damaged or not.
pub(crate) struct Stored {
    pub(crate) id: i64,
    /// `None` if the names cannot be read.
    pub(crate) identity: Option<Identity>,
    /// The content of a row whose checksum is wrong; `None` if it cannot be read at all.
    pub(crate) doubtful: Option<Checkpoint>,
    /// The row, if its checksum is right.
    pub(crate) intact: Option<Checkpoint>,
}

impl Stored {
    fn read(row: &Row<'_>) -> Result<Stored> {
        let identity = || Some(Identity { tenant: row.at(1).ok()?, name: row.at(2).ok()? });
        let (intact, doubtful) = match (parse(row), row.at::<i64>(21)) {
            (Ok(checkpoint), Ok(stored)) if stored == sum(&checkpoint) => (Some(checkpoint), None),
            (Ok(checkpoint), _) => (None, Some(checkpoint)),
            (Err(_), _) => (None, None),
        };
        Ok(Stored { id: row.at(0)?, identity: identity(), doubtful, intact })
    }

    pub(crate) fn checked(self) -> Result<Checkpoint> {
        self.intact.ok_or_else(|| {
            let name = match &self.identity {
                Some(identity) => format!("{:?}", identity.name),
                None => format!("number {}", self.id),
            };
            Error::new(ErrorKind::Corrupt, format!("the checkpoint of the subscription {name} is damaged")).advice(ADVICE)
        })
    }
}

fn parse(row: &Row<'_>) -> Result<Checkpoint> {
    let kind: String = row.at(3)?;
    Ok(Checkpoint {
        id: row.at(0)?,
        identity: Identity { tenant: row.at(1)?, name: row.at(2)? },
        kind: SubscriptionKind::named(&kind)
            .ok_or_else(|| Error::new(ErrorKind::Corrupt, "the kind of a subscription is unknown"))?,
        filter: row.at(4)?,
        position: row.at(5)?,
        leader: row.at(6)?,
        fence: row.at(7)?,
        heartbeat: row.at(8)?,
        lease_millis: row.at(9)?,
        in_hand: row.at(10)?,
        deaths: row.at(11)?,
        failed_position: row.at(12)?,
        failure: row.at(13)?,
        version: row.at(14)?,
        generation: row.at(15)?,
        rebuild_version: row.at(16)?,
        rebuild_position: row.at(17)?,
        deliveries: row.at(18)?,
        tables: row.at(19)?,
        paused: row.at(20)?,
    })
}

/// Part of the format: this must never change.
fn sum(of: &Checkpoint) -> i64 {
    let number = |number: u64| number.to_le_bytes();
    let optional = |number: Option<u64>| [u64::from(number.is_some()), number.unwrap_or(0)];
    let mut head = Vec::with_capacity(168);
    for signed in [of.id, of.fence, of.heartbeat] {
        head.extend(signed.to_le_bytes());
    }
    let (lease_millis, deaths, version) = (u64::from(of.lease_millis), u64::from(of.deaths), u64::from(of.version));
    for plain in [of.position, lease_millis, deaths, version, of.generation, of.deliveries] {
        head.extend(number(plain));
    }
    for nullable in [of.in_hand, of.failed_position, of.rebuild_version.map(u64::from), of.rebuild_position] {
        optional(nullable).into_iter().for_each(|part| head.extend(number(part)));
    }
    head.extend([u8::from(of.leader.is_some()), u8::from(of.failure.is_some()), u8::from(of.paused)]);
    checksum::fields(
        0,
        &[
            &head,
            of.identity.tenant.as_bytes(),
            of.identity.name.as_bytes(),
            of.kind.as_str().as_bytes(),
            of.filter.as_bytes(),
            of.tables.as_bytes(),
            of.leader.as_ref().map_or(&[], |leader| leader.as_slice()),
            of.failure.as_deref().unwrap_or_default().as_bytes(),
        ],
    )
}

/// All rows, in the order of their numbers, read without the index over names.
pub(crate) fn all(view: &View<'_>) -> Result<Vec<Stored>> {
    let mut all = Vec::new();
    view.each_row(select!("NOT INDEXED ORDER BY id"), [], |row| {
        all.push(Stored::read(row)?);
        Ok(true)
    })?;
    Ok(all)
}

/// Looks up a subscription by name. Reads every row, so that a damaged index hides none. A damaged row is an error
/// unless an intact one has the name.
pub(crate) fn find(view: &View<'_>, identity: &Identity) -> Result<Option<Checkpoint>> {
    let mut damaged: Option<Stored> = None;
    for stored in all(view)? {
        match &stored.intact {
            Some(checkpoint) if checkpoint.identity == *identity => return stored.checked().map(Some),
            Some(_) => {}
            None if damaged.is_none() || stored.identity.as_ref() == Some(identity) => damaged = Some(stored),
            None => {}
        }
    }
    damaged.map_or(Ok(None), |stored| stored.checked().map(Some))
}

/// The row with a number.
pub(crate) fn by_id(view: &View<'_>, id: i64) -> Result<Option<Checkpoint>> {
    let mut found = None;
    view.each_row(select!("WHERE id = ?1"), params![id], |row| {
        found = Some(Stored::read(row)?);
        Ok(false)
    })?;
    found.map(Stored::checked).transpose()
}

/// The leader's row; `None` if another runner leads now.
pub(crate) fn led(view: &View<'_>, lead: Lead) -> Result<Option<Checkpoint>> {
    let row = by_id(view, lead.id)?.ok_or_else(|| Error::new(ErrorKind::NotFound, "the subscription was removed"))?;
    Ok((row.fence == lead.fence && row.leader.is_some()).then_some(row))
}

/// As [`led`], for a leader that wants more work; `None` too if the subscription is paused.
pub(crate) fn working(view: &View<'_>, lead: Lead) -> Result<Option<Checkpoint>> {
    Ok(led(view, lead)?.filter(|row| !row.paused))
}

/// A checkpoint after the end of the log is damage too: events would be skipped.
pub(crate) fn check_position(checkpoint: &Checkpoint, last: u64) -> Result<()> {
    let most = checkpoint.position.max(checkpoint.rebuild_position.unwrap_or(0));
    if most <= last {
        return Ok(());
    }
    let name = &checkpoint.identity.name;
    let what = format!("the subscription {name:?} is at position {most}, but the log ends at {last}");
    Err(Error::new(ErrorKind::Corrupt, what).at_position(Position::new(most)).advice(ADVICE))
}

/// The number for a new row.
pub(crate) fn next_id(view: &View<'_>) -> Result<i64> {
    view.value("SELECT coalesce(max(id), 0) + 1 FROM subscriptions", [])
}

pub(crate) fn insert(writing: &Writing<'_>, of: &Checkpoint) -> Result<()> {
    writing.insert(
        "INSERT INTO subscriptions (id, tenant, name, kind, filter, position, leader, fence, heartbeat, lease_millis, in_hand,
           deaths, failed_position, failure, version, generation, rebuild_version, rebuild_position, deliveries, tables, paused,
           checksum)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20, ?21, ?22)",
        params![
            of.id,
            of.identity.tenant,
            of.identity.name,
            of.kind.as_str(),
            of.filter,
            of.position,
            of.leader,
            of.fence,
            of.heartbeat,
            of.lease_millis,
            of.in_hand,
            of.deaths,
            of.failed_position,
            of.failure,
            of.version,
            of.generation,
            of.rebuild_version,
            of.rebuild_position,
            of.deliveries,
            of.tables,
            of.paused,
            sum(of)
        ],
    )?;
    Ok(())
}

/// Writes a row back. The names do not change, so the index over them does not either.
pub(crate) fn save(writing: &Writing<'_>, of: &Checkpoint) -> Result<()> {
    writing.execute(
        "UPDATE subscriptions SET kind = ?2, filter = ?3, position = ?4, leader = ?5, fence = ?6, heartbeat = ?7,
           lease_millis = ?8, in_hand = ?9, deaths = ?10, failed_position = ?11, failure = ?12, version = ?13,
           generation = ?14, rebuild_version = ?15, rebuild_position = ?16, deliveries = ?17, tables = ?18, paused = ?19,
           checksum = ?20 WHERE id = ?1",
        params![
            of.id,
            of.kind.as_str(),
            of.filter,
            of.position,
            of.leader,
            of.fence,
            of.heartbeat,
            of.lease_millis,
            of.in_hand,
            of.deaths,
            of.failed_position,
            of.failure,
            of.version,
            of.generation,
            of.rebuild_version,
            of.rebuild_position,
            of.deliveries,
            of.tables,
            of.paused,
            sum(of)
        ],
    )?;
    Ok(())
}

pub(crate) fn remove(writing: &Writing<'_>, id: i64) -> Result<()> {
    writing.execute("DELETE FROM deliveries WHERE subscription = ?1", params![id])?;
    writing.execute("DELETE FROM subscriptions WHERE id = ?1", params![id])?;
    Ok(())
}

/// The row with this name even if it is damaged, to repair or remove it.
pub(crate) fn find_anyhow(view: &View<'_>, identity: &Identity) -> Result<Option<Stored>> {
    Ok(all(view)?.into_iter().find(|stored| stored.identity.as_ref() == Some(identity)))
}

/// As [`find`], for a name that must exist.
pub(crate) fn named(view: &View<'_>, identity: &Identity) -> Result<Checkpoint> {
    find(view, identity)?.ok_or_else(|| unknown(&identity.name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checkpoint() -> Checkpoint {
        Checkpoint {
            id: 1,
            identity: Identity { tenant: "t".into(), name: "n".into() },
            kind: SubscriptionKind::Outbox,
            filter: "{}".into(),
            tables: "[]".into(),
            paused: false,
            position: 5,
            leader: None,
            fence: 2,
            heartbeat: 4,
            lease_millis: 500,
            in_hand: None,
            deaths: 0,
            failed_position: None,
            failure: None,
            version: 1,
            generation: 1,
            rebuild_version: None,
            rebuild_position: None,
            deliveries: 3,
        }
    }

    // Files hold this number: it is part of the format.
    #[test]
    fn the_checksum_is_frozen_and_covers_every_column() {
        let base = checkpoint();
        assert_eq!(sum(&base), FROZEN);
        let others = [
            Checkpoint { id: 2, ..base.clone() },
            Checkpoint { identity: Identity { tenant: "tn".into(), name: "".into() }, ..base.clone() },
            Checkpoint { kind: SubscriptionKind::Handler, ..base.clone() },
            Checkpoint { filter: "{ }".into(), ..base.clone() },
            Checkpoint { tables: "[ ]".into(), ..base.clone() },
            Checkpoint { paused: true, ..base.clone() },
            Checkpoint { position: 13, ..base.clone() },
            Checkpoint { leader: Some([0; 16]), ..base.clone() },
            Checkpoint { fence: 3, ..base.clone() },
            Checkpoint { heartbeat: 5, ..base.clone() },
            Checkpoint { lease_millis: 501, ..base.clone() },
            Checkpoint { in_hand: Some(0), ..base.clone() },
            Checkpoint { deaths: 1, ..base.clone() },
            Checkpoint { failed_position: Some(0), ..base.clone() },
            Checkpoint { failure: Some(String::new()), ..base.clone() },
            Checkpoint { version: 2, ..base.clone() },
            Checkpoint { generation: 2, ..base.clone() },
            Checkpoint { rebuild_version: Some(0), ..base.clone() },
            Checkpoint { rebuild_position: Some(0), ..base.clone() },
            Checkpoint { deliveries: 2, ..base.clone() },
        ];
        assert!(others.iter().all(|other| sum(other) != FROZEN));
    }

    const FROZEN: i64 = -1_394_256_186_642_709_538;
}
