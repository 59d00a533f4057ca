//! The order of event ids, linked as [`links`](super::links) are: that there is no event of an id is looked up before each
//! append under an id that the caller gave, and a damaged index must not take an event for one that never was.
//!
//! The links are in the rows of the events, and that of the end is in `log_state`, which each append writes anyway: ids that
//! rise, as those of version 7 do, cost one look-up a commit. Part of the format.

use rusqlite::{OptionalExtension, Row, params};

use super::database::{View, Writing};
use super::doubt::disagrees;
use super::failure::Sql;
use super::{checksum, former, state};
use crate::model::error::Result;

/// Rows looked at in one read transaction.
const PAGE: usize = 1_024;

type Id = [u8; 16];

/// An event in the order of ids.
#[derive(Clone, Copy, Debug)]
pub(super) struct Event {
    id: Id,
    key: i64,
    link: i32,
}

impl Event {
    /// Of a row with its id, its key and its link.
    pub(super) fn read(row: &Row<'_>) -> rusqlite::Result<Event> {
        Ok(Event { id: row.get(0)?, key: row.get(1)?, link: row.get(2)? })
    }

    /// What it puts into the link of the event behind it.
    fn ahead(&self) -> u32 {
        checksum::id(1, &self.id, self.key)
    }

    /// What it puts into its own link.
    fn own(&self) -> u32 {
        checksum::id(2, &self.id, self.key)
    }

    /// What the event before it put into its link.
    fn expected(&self) -> u32 {
        self.link.cast_unsigned() ^ self.own()
    }

    fn relink(&self, writing: &Writing<'_>, ahead: u32) -> Result<()> {
        let link = (ahead ^ self.own()).cast_signed();
        let relinked = writing
            .prepare_cached("UPDATE events SET id_link = ?2 WHERE key = ?1")
            .sql()?
            .execute(params![self.key, link])
            .sql()?;
        if relinked == 1 { Ok(()) } else { Err(disagrees()) }
    }
}

/// What stands in the link of the first event for the one before it.
const NONE_AHEAD: u32 = 0;

/// The event with the next greater id.
fn behind(view: &View<'_>, id: &Id) -> Result<Option<Event>> {
    // A joined subquery would be copied into a table of its own for each append.
    const BEHIND: &str = "SELECT event_id, key, id_link FROM events
                          WHERE key = (SELECT key FROM events WHERE event_id > ?1 ORDER BY event_id LIMIT 1)";
    let found = beside(view, BEHIND, id)?;
    if found.is_some_and(|found| found.id <= *id) { Err(disagrees()) } else { Ok(found) }
}

/// The event with the next smaller id.
fn before(view: &View<'_>, id: &Id) -> Result<Option<Event>> {
    const BEFORE: &str = "SELECT event_id, key, id_link FROM events
                          WHERE key = (SELECT key FROM events WHERE event_id < ?1 ORDER BY event_id DESC LIMIT 1)";
    let found = beside(view, BEFORE, id)?;
    if found.is_some_and(|found| found.id >= *id) { Err(disagrees()) } else { Ok(found) }
}

/// As its row says it: another row than the one that the index is of has another link.
fn beside(view: &View<'_>, sql: &str, id: &Id) -> Result<Option<Event>> {
    view.prepare_cached(sql).sql()?.query_row(params![id], Event::read).optional().sql()
}

/// Confirms that no event has this id after none was found: the events beside its place were written as neighbours.
pub(super) fn confirm_none(view: &View<'_>, id: &Id) -> Result<()> {
    if former::is_former(view)? {
        return Ok(());
    }
    let (before, behind) = (before(view, id)?, behind(view, id)?);
    let expected = match &behind {
        Some(behind) => behind.expected(),
        None => state::ids_link(view)?,
    };
    if before.map_or(NONE_AHEAD, |before| before.ahead()) == expected { Ok(()) } else { Err(disagrees()) }
}

/// Links the events of an append into the order. Where one is put in, none may be lost: the links would not tell any more.
pub(crate) struct Linker {
    /// What the greatest id puts into the link of the end.
    end: u32,
    /// The event with the greatest id, where that is certain without a look at the index.
    greatest: Option<Event>,
    run: Option<Run>,
}

/// New events that follow each other, and what is behind them; it is not linked to the last of them yet.
struct Run {
    last: Event,
    behind: Option<Event>,
}

impl Linker {
    /// `end`: as it is in `log_state` before the append. `newest`: the event at the last position, whose id is most often the
    /// greatest.
    pub(super) fn new(end: u32, newest: Option<Event>) -> Linker {
        Linker { end, greatest: newest.filter(|newest| newest.ahead() == end), run: None }
    }

    /// The link of an event that is inserted next.
    pub(super) fn link(&mut self, writing: &Writing<'_>, id: &Id, key: i64) -> Result<i32> {
        let mut event = Event { id: *id, key, link: 0 };
        let follows = |run: &&Run| run.last.id < *id && run.behind.is_none_or(|behind| *id < behind.id);
        let (ahead, behind) = match self.run.as_ref().filter(follows) {
            Some(run) => (run.last.ahead(), run.behind),
            None => {
                self.flush(writing)?;
                let (before, behind) = match self.greatest {
                    Some(greatest) if greatest.id < *id => (Some(greatest), None),
                    _ => (before(writing, id)?, behind(writing, id)?),
                };
                let ahead = behind.map_or(self.end, |behind| behind.expected());
                if before.map_or(NONE_AHEAD, |before| before.ahead()) != ahead {
                    return Err(disagrees());
                }
                (ahead, behind)
            }
        };
        event.link = (ahead ^ event.own()).cast_signed();
        self.run = Some(Run { last: event, behind });
        Ok(event.link)
    }

    fn flush(&mut self, writing: &Writing<'_>) -> Result<()> {
        match self.run.take() {
            Some(Run { last, behind: Some(behind) }) => behind.relink(writing, last.ahead()),
            Some(Run { last, behind: None }) => {
                (self.end, self.greatest) = (last.ahead(), Some(last));
                Ok(())
            }
            None => Ok(()),
        }
    }

    /// The end as it is after the append.
    pub(super) fn finish(mut self, writing: &Writing<'_>) -> Result<u32> {
        self.flush(writing)?;
        Ok(self.end)
    }
}

/// Takes the event at a key out of the order, before it is removed.
pub(super) fn unlink(writing: &Writing<'_>, key: i64) -> Result<()> {
    let event = writing
        .prepare_cached("SELECT event_id, key, id_link FROM events WHERE key = ?1")
        .sql()?
        .query_row(params![key], Event::read)
        .sql()?;
    match behind(writing, &event.id)? {
        Some(behind) if behind.expected() == event.ahead() => behind.relink(writing, event.expected()),
        None if state::ids_link(writing)? == event.ahead() => state::note_ids_link(writing, event.expected()),
        _ => Err(disagrees()),
    }
}

/// Links all events of a file whose events have no links.
pub(super) fn link_all(writing: &rusqlite::Connection) -> Result<()> {
    let mut order = writing.prepare("SELECT event_id, key, id_link FROM events ORDER BY event_id").sql()?;
    let mut relink = writing.prepare("UPDATE events SET id_link = ?2 WHERE key = ?1").sql()?;
    let mut rows = order.query([]).sql()?;
    let mut ahead = NONE_AHEAD;
    while let Some(row) = rows.next().sql()? {
        let event = Event::read(row).sql()?;
        relink.execute(params![event.key, (ahead ^ event.own()).cast_signed()]).sql()?;
        ahead = event.ahead();
    }
    state::note_ids_link(writing, ahead)
}

/// Looks at the events of a page after the id `after`, says how many do not follow the one before them, and whether there
/// are more.
pub(super) fn check_page(view: &View<'_>, after: &mut Option<Id>) -> Result<(u64, bool)> {
    if former::is_former(view)? {
        return Ok((0, false));
    }
    let start = after.unwrap_or_default();
    // Between two pages events may have come and gone: what stands before this one is looked up again. No id is nil.
    let first_after = u128::from_be_bytes(start).saturating_add(1).to_be_bytes();
    let mut ahead = before(view, &first_after)?.map_or(NONE_AHEAD, |before| before.ahead());
    let mut statement =
        view.prepare_cached("SELECT event_id, key, id_link FROM events WHERE event_id > ?1 ORDER BY event_id LIMIT ?2").sql()?;
    let mut rows = statement.query(params![start, PAGE]).sql()?;
    let (mut seen, mut wrong) = (0, 0);
    while let Some(row) = rows.next().sql()? {
        let event = Event::read(row).sql()?;
        if after.is_some_and(|after| event.id <= after) {
            return Err(disagrees());
        }
        wrong += u64::from(event.expected() != ahead);
        ahead = event.ahead();
        *after = Some(event.id);
        seen += 1;
    }
    if seen < PAGE && state::ids_link(view)? != ahead {
        wrong += 1;
    }
    Ok((wrong, seen == PAGE))
}
