//! The floor: the leanest layout that still does what an event store must, by hand on bare rusqlite. One connection, every
//! statement cached, tables of its own; nothing of foldlog is in it.
//!
//! Its duties: an append is one transaction and checks the expected version; a repeated append is found by the caller's
//! event id; versions and positions have no gap, none is used twice, and a reader notices a missing one; an aggregate's
//! events lie together for replay; a snapshot that another fold made is not used. It leaves out checksums, tenants, schema
//! versions, and ids where no caller gives any. Indexes over ids, tags and event types exist only where a line is about
//! them: each one costs an append a page.

use std::cell::RefCell;
use std::path::Path;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OptionalExtension, Params, params};
use uuid::Uuid;

use super::domain::{ORDER, Order, OrderEvent, event, noted, tags};

const TABLES: &str = "
CREATE TABLE names (        -- of aggregate types and event types
  id        INTEGER PRIMARY KEY,
  name      TEXT NOT NULL UNIQUE
) STRICT;
CREATE TABLE aggregates (   -- written once; the version is that of the last event
  id        INTEGER PRIMARY KEY,
  type      INTEGER NOT NULL,
  name      TEXT NOT NULL,
  removed   INTEGER NOT NULL DEFAULT 0, -- events 1 to this were purged
  UNIQUE (type, name)
) STRICT;
CREATE TABLE events (
  key       INTEGER PRIMARY KEY, -- aggregates.id << 32 | version
  position  INTEGER NOT NULL UNIQUE,
  type      INTEGER NOT NULL,
  time      INTEGER NOT NULL,
  event_id  BLOB,
  tags      TEXT,
  noted     TEXT,
  data      TEXT NOT NULL
) STRICT;
CREATE TABLE holes (        -- positions of purged events
  first     INTEGER PRIMARY KEY,
  last      INTEGER NOT NULL
) STRICT;
CREATE TABLE snapshots (
  key       INTEGER PRIMARY KEY, -- aggregates.id << 32 | version
  fold      INTEGER NOT NULL,
  state     TEXT NOT NULL
) STRICT;
INSERT INTO names VALUES (1, 'Placed'), (2, 'ItemAdded'), (3, 'ItemRemoved'), (4, 'Paid');";

const IDS: &str = "CREATE UNIQUE INDEX ids ON events (event_id);";
const TAGS: &str = "CREATE TABLE event_tags (tag TEXT, position INTEGER, PRIMARY KEY (tag, position)) STRICT, WITHOUT ROWID;";
const TYPES: &str = "CREATE INDEX types ON events (type, position);";

const FOLD: i64 = 1;
const SNAPSHOTS_KEPT: i64 = 5;

/// Which indexes a file has beyond those that every append needs.
#[derive(Clone, Copy, Default)]
pub struct Indexes {
    pub ids: bool,
    pub tags: bool,
    pub types: bool,
}

/// An event to be appended.
pub struct Entry {
    pub event_type: &'static str,
    pub data: String,
    pub noted: Option<String>,
    pub id: Option<Uuid>,
    pub tags: Vec<String>,
}

/// An event as it is read by position.
#[derive(Debug)]
pub struct Row {
    pub aggregate: String,
    pub version: i64,
    pub position: i64,
    pub event_type: i64,
    pub time: i64,
    pub id: Option<[u8; 16]>,
    pub tags: Option<String>,
    pub noted: Option<String>,
    pub data: String,
}

/// Another writer was there first: the version that was found.
#[derive(Debug, PartialEq, Eq)]
pub struct Conflict(pub u64);

pub struct Floor {
    pub connection: Connection,
    indexes: Indexes,
    names: RefCell<Vec<(String, i64)>>,
}

impl Entry {
    /// The nth event of an order.
    pub fn order(n: u64) -> Entry {
        let (event_type, data) = match event(n) {
            OrderEvent::Placed(data) => ("Placed", serde_json::to_string(&data)),
            OrderEvent::ItemAdded(data) => ("ItemAdded", serde_json::to_string(&data)),
            OrderEvent::ItemRemoved(data) => ("ItemRemoved", serde_json::to_string(&data)),
            OrderEvent::Paid(data) => ("Paid", serde_json::to_string(&data)),
        };
        let noted = Some(serde_json::to_string(&noted(n)).unwrap());
        Entry { event_type, data: data.unwrap(), noted, id: None, tags: Vec::new() }
    }

    /// The same with its two tags.
    pub fn tagged(n: u64) -> Entry {
        Entry { tags: tags(n).into(), ..Entry::order(n) }
    }
}

impl Floor {
    pub fn create(path: &Path, synchronous: &str, indexes: Indexes) -> Floor {
        let floor = Floor::open(path, synchronous);
        floor.connection.execute_batch("PRAGMA journal_mode = WAL").unwrap();
        floor.connection.execute_batch(TABLES).unwrap();
        for (wanted, sql) in [(indexes.ids, IDS), (indexes.tags, TAGS), (indexes.types, TYPES)] {
            if wanted {
                floor.connection.execute_batch(sql).unwrap();
            }
        }
        Floor { indexes, ..floor }
    }

    /// A file that is only read.
    pub fn open(path: &Path, synchronous: &str) -> Floor {
        let connection = Connection::open(path).unwrap();
        connection.set_prepared_statement_cache_capacity(64);
        // Otherwise SQLite prepares statements anew whenever a bound value changes.
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true).unwrap();
        let settings = "PRAGMA cache_size = -6144; PRAGMA wal_autocheckpoint = 4000; PRAGMA synchronous = ";
        connection.execute_batch(&format!("{settings}{synchronous}")).unwrap();
        Floor { connection, indexes: Indexes::default(), names: RefCell::default() }
    }

    fn run(&self, sql: &str, parameters: impl Params) -> usize {
        self.connection.prepare_cached(sql).unwrap().execute(parameters).unwrap()
    }

    /// The number of a name, which is made if it is not there.
    fn name(&self, name: &str) -> i64 {
        if let Some((_, id)) = self.names.borrow().iter().find(|(known, _)| known == name) {
            return *id;
        }
        let mut statement = self.connection.prepare_cached("SELECT id FROM names WHERE name = ?1").unwrap();
        let found = statement.query_row([name], |row| row.get(0)).optional().unwrap();
        let id = found.unwrap_or_else(|| {
            self.run("INSERT INTO names (name) VALUES (?1)", [name]);
            self.connection.last_insert_rowid()
        });
        self.names.borrow_mut().push((name.to_owned(), id));
        id
    }

    pub fn transaction<T>(&self, work: impl FnOnce() -> T) -> T {
        self.run("BEGIN IMMEDIATE", []);
        let done = work();
        self.run("COMMIT", []);
        done
    }

    /// One transaction: the expected version is checked, the events are inserted. Returns the position of the first one.
    pub fn append(&self, order: &str, expected: u64, entries: impl IntoIterator<Item = Entry>) -> Result<i64, Conflict> {
        self.transaction(|| self.append_within(ORDER, order, expected, entries))
    }

    /// The part between BEGIN and COMMIT.
    pub fn append_within(
        &self,
        aggregate_type: &str,
        name: &str,
        expected: u64,
        entries: impl IntoIterator<Item = Entry>,
    ) -> Result<i64, Conflict> {
        let mut entries = entries.into_iter().peekable();
        // An append is in the file whole or not at all, so its first event stands for it.
        if let Some(id) = entries.peek().and_then(|entry| entry.id)
            && let Some(position) = self.position_of(id)
        {
            return Ok(position);
        }
        let aggregate_type = self.name(aggregate_type);
        let (aggregate, version) = self.find(aggregate_type, name).unwrap_or((0, 0));
        if version != expected {
            return Err(Conflict(version));
        }
        let aggregate = match aggregate {
            0 => {
                let mut insert = self.connection.prepare_cached("INSERT INTO aggregates (type, name) VALUES (?1, ?2)").unwrap();
                insert.insert(params![aggregate_type, name]).unwrap()
            }
            known => known,
        };
        let first = self.last_position() + 1;
        let time = chrono::Utc::now().timestamp_micros();
        let mut insert = self.connection.prepare_cached("INSERT INTO events VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)").unwrap();
        for (n, entry) in (1..).zip(entries) {
            let (key, position) = (aggregate << 32 | (version as i64 + n), first + n - 1);
            let tags = (!entry.tags.is_empty()).then(|| serde_json::to_string(&entry.tags).unwrap());
            let event_type = self.name(entry.event_type);
            let id = entry.id.as_ref().map(|id| id.as_bytes());
            insert.execute(params![key, position, event_type, time, id, tags, entry.noted, entry.data]).unwrap();
            for tag in &entry.tags {
                self.run("INSERT INTO event_tags VALUES (?1, ?2)", params![tag, position]);
            }
        }
        Ok(first)
    }

    fn position_of(&self, id: Uuid) -> Option<i64> {
        assert!(self.indexes.ids);
        let mut statement = self.connection.prepare_cached("SELECT position FROM events WHERE event_id = ?1").unwrap();
        statement.query_row([id.as_bytes()], |row| row.get(0)).optional().unwrap()
    }

    /// An aggregate's number, and its version by a seek to its last event.
    fn find(&self, aggregate_type: i64, name: &str) -> Option<(i64, u64)> {
        let mut statement = self
            .connection
            .prepare_cached(
                "SELECT id, removed, (SELECT key FROM events WHERE key BETWEEN a.id << 32 AND a.id << 32 | 4294967295
                                      ORDER BY key DESC LIMIT 1)
                 FROM aggregates a WHERE type = ?1 AND name = ?2",
            )
            .unwrap();
        let found = statement.query_row(params![aggregate_type, name], |row| {
            let (removed, key): (i64, Option<i64>) = (row.get(1)?, row.get(2)?);
            Ok((row.get(0)?, key.map_or(removed, |key| key & 0xffff_ffff) as u64))
        });
        found.optional().unwrap()
    }

    pub fn last_position(&self) -> i64 {
        let sql = "SELECT max(ifnull((SELECT max(position) FROM events), 0), ifnull((SELECT last FROM holes ORDER BY first DESC LIMIT 1), 0))";
        self.connection.prepare_cached(sql).unwrap().query_row([], |row| row.get(0)).unwrap()
    }

    /// Every event of an order into its state; its version.
    pub fn replay(&self, order: &str) -> (Order, u64) {
        let (aggregate, version) = self.find(self.name(ORDER), order).unwrap();
        let mut state = Order::default();
        let at = self.fold(aggregate, 0, &mut state);
        assert_eq!(at, version);
        (state, version)
    }

    /// The events after a version into a state; the version reached.
    fn fold(&self, aggregate: i64, after: u64, state: &mut Order) -> u64 {
        let mut statement = self
            .connection
            .prepare_cached("SELECT key, type, data FROM events WHERE key > ?1 AND key <= ?2 ORDER BY key")
            .unwrap();
        let mut rows = statement.query([aggregate << 32 | after as i64, aggregate << 32 | 0xffff_ffff]).unwrap();
        let mut version = after;
        while let Some(row) = rows.next().unwrap() {
            version += 1;
            assert_eq!(row.get::<_, i64>(0).unwrap(), aggregate << 32 | version as i64, "an event is missing");
            let data = row.get_ref(2).unwrap().as_str().unwrap();
            state.take(match row.get::<_, i64>(1).unwrap() {
                1 => OrderEvent::Placed(serde_json::from_str(data).unwrap()),
                2 => OrderEvent::ItemAdded(serde_json::from_str(data).unwrap()),
                3 => OrderEvent::ItemRemoved(serde_json::from_str(data).unwrap()),
                4 => OrderEvent::Paid(serde_json::from_str(data).unwrap()),
                other => panic!("event type {other}"),
            });
        }
        version
    }

    /// The latest snapshot and the events after it; how many those were.
    pub fn replay_from_snapshot(&self, order: &str) -> (Order, u64) {
        self.run("BEGIN", []);
        let (aggregate, version) = self.find(self.name(ORDER), order).unwrap();
        let (state, at, from) = self.fold_from_snapshot(aggregate);
        self.run("COMMIT", []);
        assert_eq!(at, version);
        (state, at - from)
    }

    fn fold_from_snapshot(&self, aggregate: i64) -> (Order, u64, u64) {
        let mut statement = self
            .connection
            .prepare_cached(
                "SELECT key, state FROM snapshots WHERE key > ?1 AND key <= ?2 AND fold = ?3 ORDER BY key DESC LIMIT 1",
            )
            .unwrap();
        let latest = statement.query_row(params![aggregate << 32, aggregate << 32 | 0xffff_ffff, FOLD], |row| {
            Ok((row.get::<_, i64>(0)?, serde_json::from_str(row.get_ref(1)?.as_str()?).unwrap()))
        });
        let (key, mut state) = latest.optional().unwrap().unwrap_or_default();
        let from = (key & 0xffff_ffff) as u64;
        let at = self.fold(aggregate, from, &mut state);
        (state, at, from)
    }

    /// Saves the state as it is now, within a transaction.
    pub fn snapshot_within(&self, order: &str) {
        let (aggregate, _) = self.find(self.name(ORDER), order).unwrap();
        let (state, at, _) = self.fold_from_snapshot(aggregate);
        let state = serde_json::to_string(&state).unwrap();
        self.run("INSERT OR REPLACE INTO snapshots VALUES (?1, ?2, ?3)", params![aggregate << 32 | at as i64, FOLD, state]);
        self.run(
            "DELETE FROM snapshots WHERE key > ?1 AND key <= (SELECT key FROM snapshots WHERE key > ?1 AND key <= ?2
                                                               ORDER BY key DESC LIMIT 1 OFFSET ?3)",
            [aggregate << 32, aggregate << 32 | 0xffff_ffff, SNAPSHOTS_KEPT],
        );
    }

    /// Whole events in the order of their positions, and whether none is missing between them.
    pub fn read(&self, after: u64, limit: u64, mut each: impl FnMut(Row)) {
        let mut next = after as i64 + 1;
        self.select("events e WHERE e.position > ?1 ORDER BY e.position LIMIT ?2", params![after, limit], |row| {
            assert!(row.position == next || self.only_holes(next, row.position), "an event is missing");
            next = row.position + 1;
            each(row);
        });
    }

    /// Whether every event between two positions was purged.
    fn only_holes(&self, from: i64, to: i64) -> bool {
        let mut statement =
            self.connection.prepare_cached("SELECT first, last FROM holes WHERE first >= ?1 AND last < ?2").unwrap();
        let holes = statement.query_map([from, to], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?))).unwrap();
        holes.map(|hole| hole.unwrap()).try_fold(from, |next, (first, last)| (first == next).then_some(last + 1)) == Some(to)
    }

    /// Whole events of a statement's rest.
    fn select(&self, rest: &str, parameters: impl Params, mut each: impl FnMut(Row)) {
        let columns = "SELECT e.key, e.position, e.type, e.time, e.event_id, e.tags, e.noted, e.data,
                              (SELECT name FROM aggregates WHERE id = e.key >> 32) FROM ";
        let mut statement = self.connection.prepare_cached(&[columns, rest].concat()).unwrap();
        let mut rows = statement.query(parameters).unwrap();
        while let Some(row) = rows.next().unwrap() {
            each(Row {
                version: row.get::<_, i64>(0).unwrap() & 0xffff_ffff,
                position: row.get(1).unwrap(),
                event_type: row.get(2).unwrap(),
                time: row.get(3).unwrap(),
                id: row.get(4).unwrap(),
                tags: row.get(5).unwrap(),
                noted: row.get(6).unwrap(),
                data: row.get(7).unwrap(),
                aggregate: row.get(8).unwrap(),
            });
        }
    }

    /// At most 1,000 whole events; `rest` ends with what they are ordered by.
    fn count(&self, rest: &str, newest_first: bool, parameters: impl Params) -> usize {
        let mut found = 0;
        let order = if newest_first { " DESC LIMIT 1000" } else { " LIMIT 1000" };
        self.select(&[rest, order].concat(), parameters, |row| {
            std::hint::black_box(row);
            found += 1;
        });
        found
    }

    /// At most 1,000 whole events of an aggregate type.
    pub fn of_aggregate_type(&self, aggregate_type: &str, newest_first: bool) -> usize {
        let rest = "aggregates a CROSS JOIN events e WHERE a.type = ?1 AND e.key BETWEEN a.id << 32 AND a.id << 32 | 4294967295
                    ORDER BY e.position";
        self.count(rest, newest_first, [self.name(aggregate_type)])
    }

    /// At most 1,000 whole events of an event type.
    pub fn of_event_type(&self, event_type: &str, newest_first: bool) -> usize {
        self.count("events e INDEXED BY types WHERE e.type = ?1 ORDER BY e.position", newest_first, [self.name(event_type)])
    }

    /// At most 1,000 whole events with a tag.
    pub fn of_tag(&self, tag: &str) -> usize {
        let rest = "event_tags t CROSS JOIN events e ON e.position = t.position WHERE t.tag = ?1 ORDER BY t.position";
        self.count(rest, false, [tag])
    }

    /// At most 1,000 whole events with a tag and of a type, for tags that more events carry than have that type.
    pub fn of_tag_and_type(&self, tag: &str, event_type: &str, newest_first: bool) -> usize {
        let rest = "events e INDEXED BY types WHERE e.type = ?1
                    AND EXISTS (SELECT 1 FROM event_tags t WHERE t.tag = ?2 AND t.position = e.position)
                    ORDER BY e.position";
        self.count(rest, newest_first, params![self.name(event_type), tag])
    }

    pub fn count_type(&self, event_type: &str) -> u64 {
        let mut statement = self.connection.prepare_cached("SELECT count(*) FROM events WHERE type = ?1").unwrap();
        statement.query_row([self.name(event_type)], |row| row.get(0)).unwrap()
    }

    /// Events of each type, and how many aggregates there are.
    pub fn statistics(&self) -> (Vec<(String, u64)>, u64) {
        let sql = "SELECT (SELECT name FROM names WHERE id = type), count(*) FROM events GROUP BY type";
        let mut statement = self.connection.prepare_cached(sql).unwrap();
        let types = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap().map(Result::unwrap).collect();
        let mut aggregates = self.connection.prepare_cached("SELECT count(*) FROM aggregates").unwrap();
        (types, aggregates.query_row([], |row| row.get(0)).unwrap())
    }

    /// Names of orders after a name.
    pub fn ids(&self, after: &str, limit: u64) -> Vec<String> {
        let sql = "SELECT name FROM aggregates WHERE type = ?1 AND name > ?2 ORDER BY name LIMIT ?3";
        let mut statement = self.connection.prepare_cached(sql).unwrap();
        statement.query_map(params![self.name(ORDER), after, limit], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
    }

    /// One transaction: all events of an order and their tags go, and it is noted where they were.
    pub fn purge(&self, order: &str) -> usize {
        self.transaction(|| {
            let (aggregate, version) = self.find(self.name(ORDER), order).unwrap();
            let range = [aggregate << 32, aggregate << 32 | 0xffff_ffff];
            let mut statement = self
                .connection
                .prepare_cached("SELECT position, tags FROM events WHERE key > ?1 AND key <= ?2 ORDER BY key")
                .unwrap();
            let rows = statement.query_map(range, |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
            let gone: Vec<(i64, Option<String>)> = rows.map(Result::unwrap).collect();
            for (position, tags) in &gone {
                for tag in tags.iter().flat_map(|tags| serde_json::from_str::<Vec<String>>(tags).unwrap()) {
                    self.run("DELETE FROM event_tags WHERE tag = ?1 AND position = ?2", params![tag, position]);
                }
            }
            self.run("DELETE FROM events WHERE key > ?1 AND key <= ?2", range);
            for run in gone.chunk_by(|one, next| one.0 + 1 == next.0) {
                self.run("INSERT INTO holes VALUES (?1, ?2)", [run[0].0, run[run.len() - 1].0]);
            }
            self.run("UPDATE aggregates SET removed = ?2 WHERE id = ?1", params![aggregate, version]);
            gone.len()
        })
    }

    /// Fails if the floor neglects a duty: then a ratio to it would mean nothing.
    pub fn prove(directory: &Path) {
        let floor = Floor::create(&directory.join("proof.db"), "NORMAL", Indexes { ids: true, tags: true, types: true });
        let id = Some(Uuid::now_v7());
        let with_id = || [Entry { id, ..Entry::tagged(0) }, Entry::tagged(1)];
        assert_eq!(floor.append("a", 0, with_id()), Ok(1));
        assert_eq!(floor.append("a", 0, with_id()), Ok(1), "a repeat is found");
        assert_eq!(floor.append("a", 1, [Entry::order(1)]), Err(Conflict(2)), "the version is checked");
        assert_eq!(floor.append("b", 0, (0..100).map(Entry::order)), Ok(3));
        floor.transaction(|| floor.snapshot_within("b"));
        assert_eq!(floor.append("b", 100, [Entry::order(100)]), Ok(103));
        let (state, folded) = floor.replay_from_snapshot("b");
        assert_eq!((state, folded), (floor.replay("b").0, 1));
        assert_eq!((floor.purge("a"), floor.purge("b"), floor.last_position()), (2, 101, 103));
        assert_eq!(floor.append("b", 101, [Entry::tagged(101)]), Ok(104), "neither version nor position is used again");
        let (mut positions, [first, second]) = (Vec::new(), tags(101));
        floor.read(0, 1_000, |row| positions.push(row.position));
        assert_eq!((positions, floor.of_tag(&first), floor.of_tag(&second), floor.of_tag(&tags(0)[0])), (vec![104], 1, 1, 0));
        assert_eq!((floor.ids("", 9).len(), floor.count_type("ItemAdded"), floor.of_aggregate_type(ORDER, true)), (2, 1, 1));
        assert!(floor.only_holes(1, 104) && !floor.only_holes(1, 105), "a missing event is noticed");
    }
}
