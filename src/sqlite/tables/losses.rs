//! What the repair that made this file could not read.

use super::aggregates;
use crate::model::error::{Error, ErrorKind, Result};
use crate::model::place::Version;
use crate::sqlite::transaction::{View, Writing};

/// Whether there are any. If not, nobody needs to look again: only a repair adds some, before the file gets its name.
pub(crate) fn any(view: &View<'_>) -> Result<bool> {
    view.value("SELECT EXISTS (SELECT 1 FROM losses)", [])
}

pub(crate) fn note(writing: &Writing<'_>, aggregate: i64, lost_through: u64) -> Result<()> {
    let sql = "INSERT INTO losses (aggregate, lost_through) VALUES (?1, ?2)
               ON CONFLICT DO UPDATE SET lost_through = max(lost_through, ?2)";
    writing.execute(sql, [aggregate, lost_through.cast_signed()]).map(drop)
}

/// The last version of an aggregate that is known to be lost; 0 if none is.
pub(crate) fn lost_through(view: &View<'_>, aggregate: i64) -> Result<u64> {
    Ok(view.value_if_any("SELECT lost_through FROM losses WHERE aggregate = ?1", [aggregate])?.unwrap_or(0))
}

/// Refuses to go on from the end of an aggregate whose last events are lost.
pub(crate) fn refuse_lost_end(view: &View<'_>, aggregate: i64, version: u64) -> Result<()> {
    match lost_through(view, aggregate)? {
        lost if lost > version => {
            let what = format!("the events from version {} to {lost} were lost when the file was repaired", version + 1);
            Err(Error::new(ErrorKind::EventsLost, what)
                .at_version(Version::new(version))
                .advice("replay to that version, or accept that this is the last one: Maintenance::accept_losses"))
        }
        _ => Ok(()),
    }
}

/// Accepts that an aggregate of a tenant, or every one, ends with the last event that is left. Returns how many ends were lost.
pub(crate) fn accept(writing: &Writing<'_>, tenant: &str, only: Option<i64>) -> Result<u64> {
    const SQL: &str = "SELECT l.aggregate, l.lost_through FROM losses l JOIN aggregates a ON a.id = l.aggregate
                       JOIN aggregate_types t ON t.id = a.aggregate_type JOIN tenants n ON n.id = t.tenant
                       WHERE n.name = ?1 AND (?2 IS NULL OR a.id = ?2)";
    let all: Vec<(i64, u64)> = writing.rows(SQL, (tenant, only), |row| Ok((row.get(0)?, row.get(1)?)))?;
    let mut accepted = 0;
    for (aggregate, lost_through) in all {
        let version = aggregates::at_number(writing, aggregate)?.version;
        if lost_through > version {
            let sql = "UPDATE losses SET lost_through = ?2 WHERE aggregate = ?1";
            writing.execute(sql, [aggregate, version.cast_signed()])?;
            accepted += 1;
        }
    }
    Ok(accepted)
}
