//! Indexes of names and of tags, each entry linked to the one before it. SQLite does not notice when a page has lost
//! entries, or shows some twice: a name is then not found, a query ends too early. Here whoever steps from one entry to
//! another, or finds nothing between two, looks whether they were written as neighbours.
//!
//! A link is a number of the entry before combined with a number of the entry itself, so that a new entry takes over a
//! part of the link of the one behind it. Behind the last entry stands one that ends the index. Part of the format.

use std::cmp::Ordering;

use rusqlite::{Connection, OptionalExtension, Row, ToSql, params};

use super::checksum;
use super::database::{View, Writing};
use super::doubt::disagrees;
use super::failure::Sql;
use super::former;
use crate::model::error::Result;

/// An entry, or a place where one would be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Entry<'a> {
    /// An aggregate type, or a tenant.
    pub(crate) group: i64,
    /// An aggregate's id, or a tag.
    pub(crate) name: &'a str,
    /// An aggregate's number, or an event's position.
    pub(crate) number: i64,
}

impl Entry<'_> {
    /// Whether it is nobody's and ends the index.
    pub(super) fn is_end(&self) -> bool {
        *self == Entry::END
    }

    /// Stands behind all others.
    const END: Entry<'static> = Entry { group: i64::MAX, name: "", number: 0 };

    /// What it puts into the link of the entry behind it.
    fn ahead(&self) -> u32 {
        checksum::entry(1, self.group, self.name, self.number)
    }

    /// What it puts into its own link.
    fn own(&self) -> u32 {
        checksum::entry(2, self.group, self.name, self.number)
    }
}

/// What the first entry has in the place of one before it.
const NONE_AHEAD: u32 = 0;

/// The statements of an index. `?1` to `?3`: an entry's fields; names are found without their number.
pub(crate) struct Index {
    /// Whether entries that differ in their numbers only are different.
    by_number: bool,
    before: &'static str,
    from: &'static str,
    insert: &'static str,
    relink: &'static str,
    page: &'static str,
}

/// Aggregates by their type and id.
pub(crate) const NAMES: Index = Index {
    by_number: false,
    before: "SELECT aggregate_type, aggregate_id, aggregate, link FROM aggregate_names
             WHERE (aggregate_type, aggregate_id) < (?1, ?2) ORDER BY aggregate_type DESC, aggregate_id DESC LIMIT 1",
    from: "SELECT aggregate_type, aggregate_id, aggregate, link FROM aggregate_names
           WHERE (aggregate_type, aggregate_id) >= (?1, ?2) ORDER BY aggregate_type, aggregate_id LIMIT 1",
    insert: "INSERT INTO aggregate_names (aggregate_type, aggregate_id, aggregate, link) VALUES (?1, ?2, ?3, ?4)",
    relink: "UPDATE aggregate_names SET link = ?4 WHERE aggregate_type = ?1 AND aggregate_id = ?2 AND aggregate = ?3",
    page: "SELECT aggregate_type, aggregate_id, aggregate, link FROM aggregate_names
           WHERE (aggregate_type, aggregate_id) > (?1, ?2) ORDER BY aggregate_type, aggregate_id LIMIT 1024",
};

/// Events by their tags.
pub(crate) const TAGS: Index = Index {
    by_number: true,
    before: "SELECT tenant, tag, position, link FROM event_tags WHERE (tenant, tag, position) < (?1, ?2, ?3)
             ORDER BY tenant DESC, tag DESC, position DESC LIMIT 1",
    from: "SELECT tenant, tag, position, link FROM event_tags WHERE (tenant, tag, position) >= (?1, ?2, ?3)
           ORDER BY tenant, tag, position LIMIT 1",
    insert: "INSERT INTO event_tags (tenant, tag, position, link) VALUES (?1, ?2, ?3, ?4)",
    relink: "UPDATE event_tags SET link = ?4 WHERE tenant = ?1 AND tag = ?2 AND position = ?3",
    page: "SELECT tenant, tag, position, link FROM event_tags WHERE (tenant, tag, position) > (?1, ?2, ?3)
           ORDER BY tenant, tag, position LIMIT 1024",
};

/// An entry as it was found.
#[derive(Debug)]
pub(crate) struct Found {
    group: i64,
    name: String,
    number: i64,
    /// `None` in a file of a format that had no links, opened for reading.
    link: Option<i32>,
}

impl Found {
    fn read(row: &Row<'_>) -> rusqlite::Result<Found> {
        Ok(Found { group: row.get(0)?, name: row.get(1)?, number: row.get(2)?, link: row.get(3)? })
    }

    fn entry(&self) -> Entry<'_> {
        Entry { group: self.group, name: &self.name, number: self.number }
    }
}

/// How far a walk over an index has come.
#[derive(Debug)]
pub(crate) struct Cursor {
    group: i64,
    name: String,
    number: i64,
}

impl Default for Cursor {
    fn default() -> Cursor {
        Cursor { group: i64::MIN, name: String::new(), number: i64::MIN }
    }
}

/// What is at a place.
pub(crate) enum Place {
    Taken,
    /// Nothing; this entry is behind it.
    FreeBefore(Found),
}

impl Index {
    fn order(&self, one: &Entry<'_>, other: &Entry<'_>) -> Ordering {
        let by_name = (one.group, one.name).cmp(&(other.group, other.name));
        if self.by_number { by_name.then(one.number.cmp(&other.number)) } else { by_name }
    }

    fn seek(&self, view: &View<'_>, sql: &str, place: &Entry<'_>) -> Result<Option<Found>> {
        let fields: [&dyn ToSql; 3] = [&place.group, &place.name, &place.number];
        view.prepare_cached(sql).sql()?.query_row(self.key_of(&fields), Found::read).optional().sql()
    }

    fn key_of<'f>(&self, fields: &'f [&'f dyn ToSql; 3]) -> &'f [&'f dyn ToSql] {
        if self.by_number { &fields[..] } else { fields.get(..2).unwrap_or_default() }
    }

    /// The last entry before a place.
    fn before(&self, view: &View<'_>, place: &Entry<'_>) -> Result<Option<Found>> {
        let found = self.seek(view, self.before, place)?;
        match &found {
            Some(found) if self.order(&found.entry(), place) != Ordering::Less => Err(disagrees()),
            _ => Ok(found),
        }
    }

    /// The first entry at a place or behind it. An older format has none behind the last.
    fn from(&self, view: &View<'_>, place: &Entry<'_>) -> Result<Option<Found>> {
        let found = self.seek(view, self.from, place)?;
        match &found {
            Some(found) if self.order(&found.entry(), place) == Ordering::Less => Err(disagrees()),
            None if !former::is_shown(view)? => Err(disagrees()),
            _ => Ok(found),
        }
    }

    /// What is at a place. If nothing is, that is certain.
    pub(crate) fn place(&self, writing: &Writing<'_>, place: &Entry<'_>) -> Result<Place> {
        let behind = self.from(writing, place)?.ok_or_else(disagrees)?;
        if self.order(&behind.entry(), place) == Ordering::Equal {
            return Ok(Place::Taken);
        }
        self.confirm_between(writing, place, &behind)?;
        Ok(Place::FreeBefore(behind))
    }

    /// Confirms that nothing is at a place after nothing was found.
    pub(crate) fn confirm_free(&self, view: &View<'_>, place: &Entry<'_>) -> Result<()> {
        match self.from(view, place)? {
            Some(behind) if self.order(&behind.entry(), place) == Ordering::Equal => Err(disagrees()),
            Some(behind) => self.confirm_between(view, place, &behind),
            None => Ok(()),
        }
    }

    /// Confirms that nothing is between the entry before a place and the one that was found behind it.
    fn confirm_between(&self, view: &View<'_>, place: &Entry<'_>, behind: &Found) -> Result<()> {
        Steps::up(self, view, place)?.next(&behind.entry(), behind.link)
    }

    /// Fills an empty index with the rows that a statement gives: an entry's fields, in the order of the index.
    pub(super) fn fill(&self, connection: &Connection, sql: &str) -> Result<()> {
        let mut statement = connection.prepare(sql).sql()?;
        let mut rows = statement.query([]).sql()?;
        let mut ahead = NONE_AHEAD;
        while let Some(row) = rows.next().sql()? {
            let name: String = row.get(1).sql()?;
            let entry = Entry { group: row.get(0).sql()?, name: &name, number: row.get(2).sql()? };
            self.write(connection, self.insert, &entry, ahead ^ entry.own())?;
            ahead = entry.ahead();
        }
        self.write(connection, self.insert, &Entry::END, ahead ^ Entry::END.own())
    }

    /// Puts an entry in before the one that was found behind its place.
    pub(crate) fn insert_before(&self, writing: &Writing<'_>, entry: &Entry<'_>, behind: &Found) -> Result<()> {
        self.insert_run(writing, std::slice::from_ref(entry), behind)
    }

    /// Puts entries in that rise and that nothing stands between.
    pub(crate) fn insert_all(&self, writing: &Writing<'_>, run: &[Entry<'_>]) -> Result<()> {
        let Some(first) = run.first() else { return Ok(()) };
        let behind = self.seek(writing, self.from, first)?.ok_or_else(disagrees)?;
        if run.iter().any(|entry| self.order(entry, &behind.entry()) != Ordering::Less) {
            return Err(disagrees());
        }
        // An entry that is lost here would be taken out of the links as well, and nothing would tell of it any more.
        self.confirm_between(writing, first, &behind)?;
        self.insert_run(writing, run, &behind)
    }

    fn insert_run(&self, writing: &Writing<'_>, run: &[Entry<'_>], behind: &Found) -> Result<()> {
        let link = behind.link.ok_or_else(disagrees)?.cast_unsigned();
        let mut ahead = link ^ behind.entry().own();
        for entry in run {
            self.write(writing, self.insert, entry, ahead ^ entry.own())?;
            ahead = entry.ahead();
        }
        self.write(writing, self.relink, &behind.entry(), ahead ^ behind.entry().own())
    }

    /// Gives the entries of a page to `each`, with whether they follow the one before them, and says whether there are more.
    pub(super) fn check_page(
        &self,
        view: &View<'_>,
        cursor: &mut Cursor,
        mut each: impl FnMut(&Entry<'_>, bool),
    ) -> Result<bool> {
        let following = format!("{}\0", cursor.name);
        let after = Entry { group: cursor.group, name: &cursor.name, number: cursor.number };
        let lower = match self.by_number {
            true => Entry { number: after.number.saturating_add(1), ..after },
            false => Entry { name: &following, ..after },
        };
        // Between two pages entries may have come and gone: what stands before this one is looked up again.
        let mut steps = Steps::up(self, view, &lower)?;
        let mut last: Option<Found> = None;
        let mut statement = view.prepare_cached(self.page).sql()?;
        let fields: [&dyn ToSql; 3] = [&after.group, &after.name, &after.number];
        let mut rows = statement.query(self.key_of(&fields)).sql()?;
        while let Some(row) = rows.next().sql()? {
            let found = Found::read(row).sql()?;
            let before = last.as_ref().map_or(after, Found::entry);
            if self.order(&before, &found.entry()) != Ordering::Less {
                return Err(disagrees());
            }
            each(&found.entry(), steps.next(&found.entry(), found.link).is_ok());
            last = Some(found);
        }
        match last {
            Some(last) if last.entry().is_end() => Ok(false),
            Some(last) => {
                *cursor = Cursor { group: last.group, name: last.name, number: last.number };
                Ok(true)
            }
            None if former::is_shown(view)? => Ok(false),
            None => Err(disagrees()),
        }
    }

    fn write(&self, connection: &Connection, sql: &str, entry: &Entry<'_>, link: u32) -> Result<()> {
        let fields = params![entry.group, entry.name, entry.number, link.cast_signed()];
        let changed = connection.prepare_cached(sql).sql()?.execute(fields).sql()?;
        if changed == 1 { Ok(()) } else { Err(disagrees()) }
    }
}

/// Takes an event's entry out of the index of tags. What stands before it is not looked at: if that is not what stood there
/// when the entry was written, the link behind it says so from now on.
pub(crate) fn remove_tag(writing: &Writing<'_>, entry: &Entry<'_>) -> Result<()> {
    let place = params![entry.group, entry.name, entry.number];
    let (found, behind) = {
        let mut statement = writing
            .prepare_cached(
                "SELECT tenant, tag, position, link FROM event_tags WHERE (tenant, tag, position) >= (?1, ?2, ?3)
                 ORDER BY tenant, tag, position LIMIT 2",
            )
            .sql()?;
        let mut rows = statement.query_map(place, Found::read).sql()?;
        (rows.next().transpose().sql()?.ok_or_else(disagrees)?, rows.next().transpose().sql()?.ok_or_else(disagrees)?)
    };
    let (Some(own_link), Some(link_behind)) = (found.link, behind.link) else { return Err(disagrees()) };
    let follows = TAGS.order(entry, &behind.entry()) == Ordering::Less
        && link_behind.cast_unsigned() == entry.ahead() ^ behind.entry().own();
    if found.entry() != *entry || !follows {
        return Err(disagrees());
    }
    let removed = writing
        .prepare_cached("DELETE FROM event_tags WHERE tenant = ?1 AND tag = ?2 AND position = ?3")
        .sql()?
        .execute(place)
        .sql()?;
    if removed != 1 {
        return Err(disagrees());
    }
    let ahead = own_link.cast_unsigned() ^ entry.own();
    TAGS.write(writing, TAGS.relink, &behind.entry(), ahead ^ behind.entry().own())
}

/// Steps from entry to entry: each must have been written as the neighbour of the last one.
pub(crate) struct Steps {
    descending: bool,
    /// Whether every entry has a link.
    linked: bool,
    /// Upwards, what the last entry puts into the link of the next; downwards, what the next must have put into that of the
    /// last. `None` where there are no links.
    expected: Option<u32>,
}

impl Steps {
    /// Upwards through the entries from a place on.
    pub(crate) fn up(index: &Index, view: &View<'_>, lower: &Entry<'_>) -> Result<Steps> {
        let before = index.before(view, lower)?;
        let expected = Some(before.map_or(NONE_AHEAD, |before| before.entry().ahead()));
        Ok(Steps { descending: false, linked: !former::is_shown(view)?, expected })
    }

    /// Downwards through the entries before a place.
    pub(crate) fn down(index: &Index, view: &View<'_>, upper: &Entry<'_>) -> Result<Steps> {
        let behind = index.from(view, upper)?;
        let mut steps = Steps { descending: true, linked: !former::is_shown(view)?, expected: None };
        behind.iter().for_each(|behind| steps.pass(&behind.entry(), behind.link));
        Ok(steps)
    }

    /// The next entry.
    pub(crate) fn next(&mut self, entry: &Entry<'_>, link: Option<i32>) -> Result<()> {
        let agrees = match (self.expected, link) {
            (Some(expected), _) if self.descending => expected == entry.ahead(),
            (Some(expected), Some(link)) => link.cast_unsigned() == expected ^ entry.own(),
            _ => true,
        };
        self.pass(entry, link);
        if agrees && link.is_some() == self.linked { Ok(()) } else { Err(disagrees()) }
    }

    fn pass(&mut self, entry: &Entry<'_>, link: Option<i32>) {
        self.expected = match self.descending {
            true => link.map(|link| link.cast_unsigned() ^ entry.own()),
            false => Some(entry.ahead()),
        };
    }

    /// No further entry is before the place `upper`, or at the place `lower` or behind it.
    pub(crate) fn end(mut self, index: &Index, view: &View<'_>, lower: &Entry<'_>, upper: &Entry<'_>) -> Result<()> {
        if !self.descending {
            return match index.from(view, upper)? {
                Some(behind) => self.next(&behind.entry(), behind.link),
                None => Ok(()),
            };
        }
        match (index.before(view, lower)?, self.expected) {
            (Some(before), _) => self.next(&before.entry(), before.link),
            (None, Some(expected)) if expected != NONE_AHEAD => Err(disagrees()),
            (None, _) => Ok(()),
        }
    }
}
