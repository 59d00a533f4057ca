//! Second looks at the index of aggregates' names (see [`doubt`](super::doubt)): that a name is not there, and that a page of
//! names is whole.

use rusqlite::{OptionalExtension, Row, params};

use super::database::View;
use super::doubt::{Side, disagrees};
use super::failure::Sql;
use crate::error::Result;

/// An entry of the index, or a place in it.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Named {
    aggregate_type: i64,
    aggregate_id: String,
}

/// Confirms that there is no aggregate of this name after none was found.
pub(super) fn confirm_absent(view: &View<'_>, aggregate_type: i64, aggregate_id: &str) -> Result<()> {
    let place = Named { aggregate_type, aggregate_id: aggregate_id.to_owned() };
    match look_around(view, &place)? {
        Some(following) if following == place => Err(disagrees()),
        Some(_) => Ok(()),
        // Nothing follows, and nothing may be there at all: an index without entries is of an empty table.
        None if Named::beside(view, &place, Side::Before)?.is_some() => Ok(()),
        None => {
            let any = "SELECT EXISTS (SELECT 1 FROM aggregates NOT INDEXED)";
            match view.prepare_cached(any).sql()?.query_row([], |row| row.get(0)).sql()? {
                true => Err(disagrees()),
                false => Ok(()),
            }
        }
    }
}

/// Confirms that the entries beside a place are what their rows say and stand side by side.
pub(super) fn confirm_neighbours(view: &View<'_>, aggregate_type: i64, aggregate_id: &str) -> Result<()> {
    let place = Named { aggregate_type, aggregate_id: aggregate_id.to_owned() };
    look_around(view, &place)?;
    Named::beside(view, &place, Side::After).map(drop)
}

/// The entry at a place or else the one after it, as a step from the entry before finds it; searches must agree with it.
fn look_around(view: &View<'_>, place: &Named) -> Result<Option<Named>> {
    let following = match Named::beside(view, place, Side::Before)? {
        None => Named::first(view)?,
        Some(before) => {
            let following = Named::beside(view, &before, Side::After)?;
            before.confirm_followed_by(view, following.as_ref())?;
            following
        }
    };
    match following {
        Some(following) if following < *place => Err(disagrees()),
        Some(following) if following == *place => Ok(Some(following)),
        other if Named::beside(view, place, Side::After)? != other => Err(disagrees()),
        other => Ok(other),
    }
}

impl Named {
    /// The entry beside a place, which must be what its row says. A search passes over entries that hold nothing.
    fn beside(view: &View<'_>, place: &Named, side: Side) -> Result<Option<Named>> {
        let sql = match side {
            Side::Before => {
                "SELECT i.aggregate_type, i.aggregate_id, t.aggregate_type = i.aggregate_type AND t.aggregate_id = i.aggregate_id
                 FROM (SELECT id, aggregate_type, aggregate_id FROM aggregates WHERE (aggregate_type, aggregate_id) < (?1, ?2)
                       ORDER BY aggregate_type DESC, aggregate_id DESC LIMIT 1) i LEFT JOIN aggregates t ON t.id = i.id"
            }
            Side::After => {
                "SELECT i.aggregate_type, i.aggregate_id, t.aggregate_type = i.aggregate_type AND t.aggregate_id = i.aggregate_id
                 FROM (SELECT id, aggregate_type, aggregate_id FROM aggregates WHERE (aggregate_type, aggregate_id) > (?1, ?2)
                       ORDER BY aggregate_type, aggregate_id LIMIT 1) i LEFT JOIN aggregates t ON t.id = i.id"
            }
        };
        let found = view
            .prepare_cached(sql)
            .sql()?
            .query_row(params![place.aggregate_type, place.aggregate_id], |row| Ok((Named::read(row)?, row.get(2)?)))
            .optional()
            .sql()?;
        match found {
            None => Ok(None),
            Some((named, Some(true))) => Ok(Some(named)),
            Some(_) => Err(disagrees()),
        }
    }

    /// The first entry, found without a search.
    fn first(view: &View<'_>) -> Result<Option<Named>> {
        view.prepare_cached("SELECT aggregate_type, aggregate_id FROM aggregates ORDER BY aggregate_type, aggregate_id LIMIT 1")
            .sql()?
            .query_row([], Named::read)
            .optional()
            .sql()
    }

    fn read(row: &Row<'_>) -> rusqlite::Result<Named> {
        Ok(Named { aggregate_type: row.get(0)?, aggregate_id: row.get(1)? })
    }

    /// A step from entry to entry meets also those that hold nothing.
    fn confirm_followed_by(&self, view: &View<'_>, following: Option<&Named>) -> Result<()> {
        let mut statement = view
            .prepare_cached(
                "SELECT aggregate_type, aggregate_id FROM aggregates WHERE aggregate_type = ?1 AND aggregate_id >= ?2
                 ORDER BY aggregate_id LIMIT 2",
            )
            .sql()?;
        let mut rows = statement.query(params![self.aggregate_type, self.aggregate_id]).sql()?;
        let mut next = || match rows.next().sql()? {
            Some(row) => Named::read(row).sql().map(Some),
            None => Ok(None),
        };
        let (again, then) = (next()?, next()?);
        let same_type = following.filter(|following| following.aggregate_type == self.aggregate_type);
        if again.as_ref() == Some(self) && then.as_ref() == same_type { Ok(()) } else { Err(disagrees()) }
    }
}
