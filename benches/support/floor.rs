//! The floor: what bare rusqlite needs for the same rows, columns, indexes and checks. Hand-written, no abstraction, one
//! connection, every statement cached. It shares schema.sql with the crate and nothing else.

use std::path::Path;

use rusqlite::{Connection, OptionalExtension, params};
use uuid::Uuid;
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

use super::{Order, OrderEvent, event, metadata, tags};
use foldlog::Aggregate;

/// key, position, event id, event type, time, data, metadata, aggregate id
pub type PageRow = (i64, i64, [u8; 16], i64, i64, String, Option<String>, String);

pub struct Floor {
    pub connection: Connection,
    replica: Uuid,
    identity_of_type: u64,
    types: [u64; 4],
}

const TYPES: [&str; 4] = ["Placed", "ItemAdded", "ItemRemoved", "Paid"];

impl Floor {
    pub fn create(path: &Path, synchronous: &str) -> Floor {
        let connection = Connection::open(path).unwrap();
        connection.execute_batch("PRAGMA journal_mode = WAL").unwrap();
        connection.execute_batch(include_str!("../../schema.sql")).unwrap();
        let replica = Uuid::now_v7();
        connection.execute("INSERT INTO replicas VALUES (1, ?1)", params![replica.as_bytes()]).unwrap();
        connection.execute("INSERT INTO log_state VALUES (1, 1, 0, 0, 0, 0, 0, 0)", []).unwrap();
        connection.execute("INSERT INTO tenants VALUES (1, 'default')", []).unwrap();
        connection.execute("INSERT INTO aggregate_types VALUES (1, 1, 'order')", []).unwrap();
        for (number, name) in TYPES.iter().enumerate() {
            connection.execute("INSERT INTO event_types VALUES (?1, ?2)", params![number as i64 + 1, name]).unwrap();
        }
        Floor::set_up(connection, synchronous, replica)
    }

    /// Opens a file that the crate has written: both then read the very same rows.
    pub fn open(path: &Path) -> Floor {
        let connection = Connection::open(path).unwrap();
        let replica: [u8; 16] = connection.query_row("SELECT replica_id FROM replicas", [], |row| row.get(0)).unwrap();
        Floor::set_up(connection, "NORMAL", Uuid::from_bytes(replica))
    }

    fn set_up(connection: Connection, synchronous: &str, replica: Uuid) -> Floor {
        connection.set_prepared_statement_cache_capacity(64);
        // Otherwise SQLite prepares statements anew whenever a bound value changes.
        connection.set_db_config(rusqlite::config::DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true).unwrap();
        connection
            .execute_batch(&format!(
                "PRAGMA synchronous = {synchronous}; PRAGMA cache_size = -6144; PRAGMA wal_autocheckpoint = 4000"
            ))
            .unwrap();
        let mut types = [0; 4];
        let mut statement = connection.prepare("SELECT name FROM event_types ORDER BY id").unwrap();
        let names: Vec<String> = statement.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect();
        for (place, name) in types.iter_mut().zip(&names) {
            *place = xxh3_64(name.as_bytes());
        }
        drop(statement);
        let identity_of_type = xxh3_64_with_seed(b"order", xxh3_64(b"default"));
        Floor { connection, replica, identity_of_type, types }
    }

    fn run(&self, sql: &str) {
        self.connection.prepare_cached(sql).unwrap().execute([]).unwrap();
    }

    /// One transaction: check the expected version, insert `count` events.
    pub fn append(&self, order: &str, version: u64, count: u64) {
        self.append_with(order, version, count, false);
    }

    /// The same, each event with its two tags in the index of tags.
    pub fn append_tagged(&self, order: &str, version: u64, count: u64) {
        self.append_with(order, version, count, true);
    }

    fn append_with(&self, order: &str, version: u64, count: u64, tagged: bool) {
        self.run("BEGIN IMMEDIATE");
        let now = chrono::Utc::now().timestamp_micros();
        // For UPDATE … RETURNING SQLite makes a table of its own each time: two statements are faster.
        let found: Option<(i64, i64, Option<i64>)> = self
            .connection
            .prepare_cached(
                "SELECT a.id, a.version,
                        (SELECT key FROM events WHERE key > a.id << 32 AND key <= a.id << 32 | 4294967295 ORDER BY key DESC LIMIT 1)
                 FROM aggregate_names n JOIN aggregates a ON a.id = n.aggregate
                 WHERE n.aggregate_type = ?1 AND n.aggregate_id = ?2",
            )
            .unwrap()
            .query_row(params![1, order], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
            .optional()
            .unwrap();
        let id = found.map(|(id, at, newest)| {
            assert_eq!((at, newest), (version as i64, Some(id << 32 | at)));
            self.connection
                .prepare_cached("UPDATE aggregates SET version = version + ?2, latest_at = max(latest_at, ?3) WHERE id = ?1")
                .unwrap()
                .execute(params![id, count as i64, now])
                .unwrap();
            id
        });
        let id = id.unwrap_or_else(|| {
            let id = self
                .connection
                .prepare_cached("INSERT INTO aggregates VALUES (NULL, 1, ?1, ?2, ?3, 0, 0)")
                .unwrap()
                .insert(params![order, count as i64, now])
                .unwrap();
            self.connection
                .prepare_cached("INSERT INTO aggregate_names VALUES (1, ?1, ?2, 0)")
                .unwrap()
                .execute(params![order, id])
                .unwrap();
            id
        });
        let last: i64 = self
            .connection
            .prepare_cached("SELECT position_floor FROM log_state WHERE id = 1")
            .unwrap()
            .query_row([], |row| row.get(0))
            .unwrap();
        self.connection
            .prepare_cached("UPDATE log_state SET position_floor = position_floor + ?1 WHERE id = 1")
            .unwrap()
            .execute(params![count as i64])
            .unwrap();
        let identity = xxh3_64_with_seed(order.as_bytes(), self.identity_of_type);
        let mut insert = self
            .connection
            .prepare_cached("INSERT INTO events VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)")
            .unwrap();
        for n in 0..count {
            let (version, position) = (version + n + 1, last + 1 + n as i64);
            let event = event(version - 1);
            let (number, data) = match &event {
                OrderEvent::Placed(data) => (0, serde_json::to_string(data)),
                OrderEvent::ItemAdded(data) => (1, serde_json::to_string(data)),
                OrderEvent::ItemRemoved(data) => (2, serde_json::to_string(data)),
                OrderEvent::Paid(data) => (3, serde_json::to_string(data)),
            };
            let data = data.unwrap();
            let metadata = serde_json::to_string(&metadata(version - 1)).unwrap();
            let event_id = Uuid::now_v7();
            let folded = folded(identity, version, self.types[number], 1, &data);
            let mut head = [0u8; 61];
            head[..4].copy_from_slice(&folded.to_le_bytes());
            head[4..12].copy_from_slice(&position.to_le_bytes());
            head[12..20].copy_from_slice(&(last + 1).to_le_bytes());
            head[20..36].copy_from_slice(event_id.as_bytes());
            head[36..52].copy_from_slice(self.replica.as_bytes());
            head[52..60].copy_from_slice(&now.to_le_bytes());
            head[60] = 1;
            let tags = tagged.then(|| tags(version - 1));
            let tag_text = tags.as_ref().map(|tags| serde_json::to_string(tags).unwrap());
            let rest = xxh3_64_with_seed(metadata.as_bytes(), xxh3_64(&head));
            let rest = xxh3_64_with_seed(tag_text.as_deref().unwrap_or_default().as_bytes(), rest) as u32;
            insert
                .execute(params![
                    id << 32 | version as i64,
                    position,
                    n as i64,
                    event_id.as_bytes(),
                    number as i64 + 1,
                    1,
                    1,
                    now,
                    data,
                    metadata,
                    tag_text,
                    (u64::from(folded) << 32 | u64::from(rest)) as i64,
                    rest.cast_signed(),
                ])
                .unwrap();
            for tag in tags.iter().flatten() {
                self.connection
                    .prepare_cached("INSERT INTO event_tags VALUES (1, ?1, ?2, 0)")
                    .unwrap()
                    .execute(params![tag, position])
                    .unwrap();
            }
        }
        drop(insert);
        self.run("COMMIT");
    }

    /// One transaction: all events of an order and their tags go, and it is noted where they were.
    pub fn purge(&self, order: &str) -> usize {
        self.run("BEGIN IMMEDIATE");
        let (id, version) = self.find(order);
        let range = params![id << 32, id << 32 | 0xffff_ffff];
        let mut statement = self
            .connection
            .prepare_cached("SELECT position, tags FROM events WHERE key > ?1 AND key <= ?2 ORDER BY key")
            .unwrap();
        let rows = statement.query_map(range, |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
        let gone: Vec<(i64, String)> = rows.map(Result::unwrap).collect();
        for (position, tags) in &gone {
            for tag in serde_json::from_str::<Vec<String>>(tags).unwrap() {
                self.connection
                    .prepare_cached("DELETE FROM event_tags WHERE tenant = 1 AND tag = ?1 AND position = ?2")
                    .unwrap()
                    .execute(params![tag, position])
                    .unwrap();
            }
        }
        self.connection.prepare_cached("DELETE FROM events WHERE key > ?1 AND key <= ?2").unwrap().execute(range).unwrap();
        for run in gone.chunk_by(|one, next| one.0 + 1 == next.0) {
            self.connection
                .prepare_cached("INSERT INTO holes VALUES (?1, ?2)")
                .unwrap()
                .execute([run[0].0, run[run.len() - 1].0])
                .unwrap();
        }
        self.connection
            .prepare_cached("UPDATE aggregates SET purged_through = ?2 WHERE id = ?1")
            .unwrap()
            .execute([id, version])
            .unwrap();
        self.connection
            .prepare_cached("UPDATE log_state SET events_removed = events_removed + ?1 WHERE id = 1")
            .unwrap()
            .execute([gone.len()])
            .unwrap();
        self.run("COMMIT");
        gone.len()
    }

    /// Every event of an order into its state.
    pub fn replay(&self, order: &str) -> Order {
        let (id, _) = self.find(order);
        self.fold(order, id, 0, Order::default())
    }

    /// The latest snapshot of an order if it is intact and of the right fold, then the events after it.
    pub fn replay_from_snapshot(&self, order: &str) -> Order {
        self.run("BEGIN");
        let (id, _) = self.find(order);
        let identity = xxh3_64_with_seed(order.as_bytes(), self.identity_of_type);
        let (key, state): (i64, Order) = self
            .connection
            .prepare_cached(
                "SELECT key, fold_name, fold_version, state, latest_event_at, reason, event_count, created_by, created_at, checksum
                 FROM snapshots WHERE key > ?1 AND key <= ?2 ORDER BY key DESC LIMIT 1",
            )
            .unwrap()
            .query_row(params![id << 32, id << 32 | 0xffff_ffff], |row| {
                let text = |column| row.get_ref(column).map(|value| value.as_str_or_null().unwrap().unwrap_or_default());
                let (key, fold_version): (i64, u32) = (row.get(0)?, row.get(2)?);
                assert_eq!((text(1)?, fold_version), ("typed", 1));
                let created_by = row.get_ref(7)?.as_str_or_null().unwrap();
                let fields: [&[u8]; 10] = [
                    &(key & 0xffff_ffff).to_le_bytes(),
                    text(1)?.as_bytes(),
                    &fold_version.to_le_bytes(),
                    text(3)?.as_bytes(),
                    &row.get::<_, i64>(4)?.to_le_bytes(),
                    text(5)?.as_bytes(),
                    &row.get::<_, i64>(6)?.to_le_bytes(),
                    &[u8::from(created_by.is_some())],
                    created_by.unwrap_or_default().as_bytes(),
                    &row.get::<_, i64>(8)?.to_le_bytes(),
                ];
                let sum = fields.iter().fold(identity, |sum, field| xxh3_64_with_seed(field, sum));
                assert_eq!(sum as i64, row.get::<_, i64>(9)?);
                Ok((key, serde_json::from_str(text(3)?).unwrap()))
            })
            .unwrap();
        let state = self.fold(order, id, key & 0xffff_ffff, state);
        self.run("COMMIT");
        state
    }

    fn find(&self, order: &str) -> (i64, i64) {
        self.connection
            .prepare_cached(
                "SELECT a.id, a.version FROM aggregate_names n JOIN aggregates a ON a.id = n.aggregate
                 WHERE n.aggregate_type = 1 AND n.aggregate_id = ?1",
            )
            .unwrap()
            .query_row(params![order], |row| Ok((row.get(0)?, row.get(1)?)))
            .unwrap()
    }

    fn fold(&self, order: &str, id: i64, after: i64, mut state: Order) -> Order {
        let identity = xxh3_64_with_seed(order.as_bytes(), self.identity_of_type);
        let mut statement = self
            .connection
            .prepare_cached(
                "SELECT key, event_type, schema_version, checksum, data FROM events WHERE key > ?1 AND key <= ?2 ORDER BY key",
            )
            .unwrap();
        let mut rows = statement.query(params![id << 32 | after, id << 32 | 0xffff_ffff]).unwrap();
        let mut version = after;
        while let Some(row) = rows.next().unwrap() {
            version += 1;
            let key: i64 = row.get(0).unwrap();
            assert_eq!(key & 0xffff_ffff, version);
            let number: i64 = row.get(1).unwrap();
            let schema_version: u32 = row.get(2).unwrap();
            let checksum: i64 = row.get(3).unwrap();
            let data = row.get_ref(4).unwrap().as_str().unwrap();
            let folded = folded(identity, version as u64, self.types[number as usize - 1], schema_version, data);
            assert_eq!(folded, (checksum as u64 >> 32) as u32);
            state.apply(match number {
                1 => OrderEvent::Placed(serde_json::from_str(data).unwrap()),
                2 => OrderEvent::ItemAdded(serde_json::from_str(data).unwrap()),
                3 => OrderEvent::ItemRemoved(serde_json::from_str(data).unwrap()),
                _ => OrderEvent::Paid(serde_json::from_str(data).unwrap()),
            });
        }
        state
    }

    /// A page of the log, all columns, as owned values.
    pub fn page(&self, after: i64, limit: i64) -> Vec<PageRow> {
        let mut statement = self
            .connection
            .prepare_cached(
                "SELECT e.key, e.position, e.event_id, e.event_type, e.created_at, e.data, e.metadata, a.aggregate_id
                 FROM events e JOIN aggregates a ON a.id = e.key >> 32 WHERE e.position > ?1 ORDER BY e.position LIMIT ?2",
            )
            .unwrap();
        let rows = statement.query_map(params![after, limit], page_row).unwrap();
        rows.map(Result::unwrap).collect()
    }

    /// A page of the events that carry a tag, with their tags.
    pub fn page_of_tag(&self, tag: &str, after: i64, limit: i64) -> Vec<(PageRow, Vec<String>)> {
        let mut statement = self
            .connection
            .prepare_cached(
                "SELECT e.key, e.position, e.event_id, e.event_type, e.created_at, e.data, e.metadata, a.aggregate_id, e.tags
                 FROM event_tags t CROSS JOIN events e ON e.position = t.position JOIN aggregates a ON a.id = e.key >> 32
                 WHERE t.tenant = 1 AND t.tag = ?1 AND t.position > ?2 ORDER BY t.position LIMIT ?3",
            )
            .unwrap();
        let tagged = |row: &rusqlite::Row<'_>| {
            let tags = row.get_ref(8)?.as_str().map(|tags| serde_json::from_str(tags).unwrap());
            Ok((page_row(row)?, tags?))
        };
        let rows = statement.query_map(params![tag, after, limit], tagged).unwrap();
        rows.map(Result::unwrap).collect()
    }
}

fn page_row(row: &rusqlite::Row<'_>) -> rusqlite::Result<PageRow> {
    Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?, row.get(5)?, row.get(6)?, row.get(7)?))
}

fn folded(identity: u64, version: u64, event_type: u64, schema_version: u32, data: &str) -> u32 {
    let mut head = [0u8; 28];
    head[..8].copy_from_slice(&identity.to_le_bytes());
    head[8..16].copy_from_slice(&version.to_le_bytes());
    head[16..24].copy_from_slice(&event_type.to_le_bytes());
    head[24..].copy_from_slice(&schema_version.to_le_bytes());
    xxh3_64_with_seed(data.as_bytes(), xxh3_64(&head)) as u32
}
