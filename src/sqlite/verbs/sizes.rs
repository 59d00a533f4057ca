//! What tables, indexes, types and aggregates take.

use std::collections::BTreeMap;

use rusqlite::params;

use super::lookup;
use crate::model::error::Result;
use crate::model::place::Version;
use crate::sqlite::Database;
use crate::sqlite::tables::archive::Part;
use crate::sqlite::tables::events::Owner;
use crate::sqlite::tables::keys::{key, key_version};
use crate::sqlite::tables::{aggregates, positions};
use crate::sqlite::transaction::{Columns, View};
use crate::storage::lookup::{AggregateSize, Room, Rows, SizeReport, TableSize, TypeSize};

/// Rows measured in one read transaction.
const ROWS_AT_ONCE: usize = 8_192;

impl Database {
    pub(crate) fn table_sizes(&self) -> Result<Vec<TableSize>> {
        const HAS_DBSTAT: &str = "SELECT EXISTS (SELECT 1 FROM pragma_module_list WHERE name = 'dbstat')";
        // The inner pages of a table with row ids hold no rows; those of an index and of a table without them do.
        const SIZES: &str = "SELECT d.name, coalesce(s.tbl_name, d.name), sum(d.pgsize), sum(d.unused),
                               sum(CASE WHEN d.pagetype = 'leaf' OR s.type = 'index' OR s.sql LIKE '%WITHOUT ROWID%' THEN d.ncell ELSE 0 END)
                             FROM dbstat d LEFT JOIN sqlite_schema s ON s.name = d.name
                             WHERE d.schema = 'main' GROUP BY d.name ORDER BY sum(d.pgsize) DESC, d.name";
        self.read(|view| {
            let mut sizes = Vec::new();
            if view.value::<bool>(HAS_DBSTAT, [])? {
                view.each_row(SIZES, [], |row| {
                    sizes.push(TableSize {
                        name: row.at(0)?,
                        table: row.at(1)?,
                        bytes: row.at(2)?,
                        unused: row.at(3)?,
                        rows: row.at(4)?,
                    });
                    Ok(true)
                })?;
            }
            Ok(sizes)
        })
    }

    /// Measures some rows after a key, and adds what they take to their aggregates. Returns the key to continue from; `None` at
    /// the end. Only the beginnings of rows are read, which say how long they are.
    pub(crate) fn measure(&self, rows: Rows, after: i64, rooms: &mut BTreeMap<i64, Room>) -> Result<Option<i64>> {
        self.read(|view| {
            if matches!(rows, Rows::Archived) {
                if positions::removed(view)?.1 == 0 {
                    return Ok(None);
                }
                Part::Archive.open(view)?;
            }
            measure(view, rows, after, rooms)
        })
    }

    /// What an aggregate takes; `None` if it never had events. As [`Database::measure`], only the beginnings of rows are read.
    pub(crate) fn aggregate_size(&self, tenant: &str, aggregate_type: &str, id: &str) -> Result<Option<AggregateSize>> {
        const EVENTS: &str =
            "SELECT count(*), total(octet_length(data) + coalesce(octet_length(metadata), 0) + coalesce(octet_length(tags), 0))
             FROM events WHERE key > ?1 AND key <= ?2";
        const SNAPSHOTS: &str = "SELECT count(*), total(octet_length(state)) FROM snapshots WHERE key > ?1 AND key <= ?2";
        self.read(|view| {
            let Some((row, owner)) = lookup::find(view, tenant, aggregate_type, id)? else { return Ok(None) };
            let sum = |sql: &str, after: u64, through: u64| -> Result<(u64, u64)> {
                let range = params![key(row.id, after), key(row.id, through)];
                // A float, because SQLite's sum of nothing is NULL; exact up to 2^53 bytes.
                view.row(sql, range, |row| Ok((row.get(0)?, row.get::<_, f64>(1)? as u64)))
            };
            let removal = row.removal;
            let mut room = Room::default();
            (room.events, room.event_bytes) = sum(EVENTS, removal.through(), row.version)?;
            (room.snapshots, room.snapshot_bytes) = sum(SNAPSHOTS, 0, Version::MAX.get())?;
            if removal.archived_through > removal.purged_through {
                Part::Archive.open(view)?;
                let sql = Part::Archive.sql(EVENTS);
                (room.archived_events, room.archived_bytes) = sum(&sql, removal.purged_through, removal.archived_through)?;
            }
            Ok(Some(AggregateSize { aggregate: owner.reference(), room }))
        })
    }

    /// The report of what was measured, with the `top` largest aggregates.
    pub(crate) fn size_report(&self, rooms: &BTreeMap<i64, Room>, top: usize) -> Result<SizeReport> {
        let mut largest: Vec<(i64, Room)> = rooms.iter().map(|(number, room)| (*number, *room)).collect();
        largest.sort_by_key(|(number, room)| (std::cmp::Reverse(room.bytes()), *number));
        self.read(|view| {
            let mut of_types: BTreeMap<i64, TypeSize> = BTreeMap::new();
            for (number, room) in &largest {
                let (aggregate_type, _) = aggregates::names(view, *number)?;
                let of_type = match of_types.entry(aggregate_type) {
                    std::collections::btree_map::Entry::Occupied(known) => known.into_mut(),
                    std::collections::btree_map::Entry::Vacant(new) => {
                        let named = view.aggregate_type_by_id(aggregate_type)?;
                        let (tenant, aggregate_type) = (named.tenant.clone(), named.name.clone());
                        new.insert(TypeSize { tenant, aggregate_type, aggregates: 0, room: Room::default() })
                    }
                };
                of_type.aggregates += 1;
                of_type.room.add(room);
            }
            let mut types: Vec<TypeSize> = of_types.into_values().collect();
            types.sort_by_key(|of_type| std::cmp::Reverse(of_type.room.bytes()));
            let named = largest
                .iter()
                .take(top)
                .map(|(number, room)| Ok(AggregateSize { aggregate: Owner::by_number(view, *number)?.reference(), room: *room }));
            Ok(SizeReport { types, aggregates: named.collect::<Result<_>>()? })
        })
    }
}

fn measure(view: &View<'_>, rows: Rows, after: i64, rooms: &mut BTreeMap<i64, Room>) -> Result<Option<i64>> {
    const EVENTS: &str = "SELECT key, octet_length(data) + coalesce(octet_length(metadata), 0) + coalesce(octet_length(tags), 0) \
         FROM events WHERE key > ?1 ORDER BY key LIMIT ?2";
    const SNAPSHOTS: &str = "SELECT key, octet_length(state) FROM snapshots WHERE key > ?1 ORDER BY key LIMIT ?2";
    let sql = match rows {
        Rows::Events => Part::Main.sql(EVENTS),
        Rows::Archived => Part::Archive.sql(EVENTS),
        Rows::Snapshots => SNAPSHOTS.into(),
    };
    let (mut seen, mut last, mut removal) = (0, after, None);
    view.each_row(&sql, params![after, ROWS_AT_ONCE], |row| {
        let (key, bytes): (i64, u64) = (row.at(0)?, row.at(1)?);
        (seen, last) = (seen + 1, key);
        let aggregate = key >> 32;
        let room = match rows {
            Rows::Events => Room { events: 1, event_bytes: bytes, ..Room::default() },
            Rows::Snapshots => Room { snapshots: 1, snapshot_bytes: bytes, ..Room::default() },
            Rows::Archived => {
                let known = match removal {
                    Some((of, known)) if of == aggregate => known,
                    _ => aggregates::removed(view, aggregate)?,
                };
                removal = Some((aggregate, known));
                // Rows that nothing leads to wait for the next upkeep.
                let counts = u64::from(known.is_archived(key_version(key)));
                Room { archived_events: counts, archived_bytes: bytes * counts, ..Room::default() }
            }
        };
        rooms.entry(aggregate).or_default().add(&room);
        Ok(true)
    })?;
    Ok((seen == ROWS_AT_ONCE).then_some(last))
}
