//! How a file lies.

use std::path::Path;

use rusqlite::types::Value;

use super::truth::Place;

/// A lie: what it is, and the file that tells it.
pub type Lie = (String, Vec<u8>);

/// The lies that the one page of a tree can tell: of its list of entries, each two bytes long.
pub fn of_page(place: &Place, tree: &str) -> Vec<Lie> {
    let root = "SELECT s.rootpage FROM sqlite_schema s WHERE s.name = ?1 OR (s.tbl_name = 'events' AND s.type = 'index'
                AND ?1 IN (SELECT i.name FROM pragma_index_info(s.name) i))";
    let raw = place.raw();
    let page: usize = raw.query_row(root, [tree], |row| row.get(0)).expect("the file is sound");
    let size: usize = raw.query_row("PRAGMA page_size", [], |row| row.get(0)).expect("the file is sound");
    drop(raw);
    let bytes = std::fs::read(place.file()).expect("the file is sound");
    let start = (page - 1) * size;
    assert!([10, 13].contains(&bytes[start]), "{tree} is one leaf");
    let list: Vec<[u8; 2]> = {
        let count = usize::from(bytes[start + 3]) << 8 | usize::from(bytes[start + 4]);
        (0..count).map(|n| [bytes[start + 8 + 2 * n], bytes[start + 9 + 2 * n]]).collect()
    };
    let with = |what: String, list: &[[u8; 2]]| {
        let mut bytes = bytes.clone();
        bytes[start + 3..start + 5].copy_from_slice(&u16::try_from(list.len()).expect("the file is sound").to_be_bytes());
        bytes[start + 8..start + 8 + 2 * list.len()].copy_from_slice(list.as_flattened());
        (format!("{tree}: {what}"), bytes)
    };
    let mut lies = Vec::new();
    let count = list.len();
    for one in 0..count {
        for through in [one, one + 1, count - 1] {
            if (one..count).contains(&through) {
                let rest = [&list[..one], &list[through + 1..]].concat();
                lies.push(with(format!("{one} to {through} lost"), &rest));
            }
        }
        for other in (0..count).filter(|other| *other != one && (one.abs_diff(*other) < 3 || *other == 0)) {
            let mut mixed = list.clone();
            mixed[one] = list[other];
            lies.push(with(format!("{other} in the place of {one}"), &mixed));
            mixed[other] = list[one];
            lies.push(with(format!("{other} and {one} in each other's"), &mixed));
        }
    }
    lies
}

type Row = Vec<Value>;

/// Rows that are there, gone; and rows that are gone, there again, as a page from an earlier time would have them.
pub fn of_rows(place: &Place) -> Vec<Lie> {
    let mut lies = Vec::new();
    let mut told = |what: String, change: &dyn Fn(&rusqlite::Connection)| {
        let copy = Place::new();
        std::fs::copy(place.file(), copy.file()).expect("a copy");
        change(&copy.raw());
        lies.push((what, std::fs::read(copy.file()).expect("a copy")));
    };
    for table in ["events", "event_tags", "aggregate_names", "aggregates", "holes"] {
        let now = rows(&place.file(), table);
        for row in &now {
            told(format!("{table}: {row:?} lost"), &|raw| {
                raw.execute(&format!("DELETE FROM {table}"), []).expect("a copy");
                now.iter().filter(|other| *other != row).for_each(|other| insert(raw, table, other));
            });
        }
        for row in gone(place, table) {
            told(format!("{table}: {row:?} is back"), &|raw| insert(raw, table, &row));
        }
    }
    for tables in [&["events"][..], &["event_tags"], &["aggregates"], &["events", "event_tags"]] {
        told(format!("{tables:?} as before the purge"), &|raw| {
            tables.iter().for_each(|table| gone(place, table).iter().for_each(|row| insert(raw, table, row)));
        });
    }
    lies
}

/// Numbers that have no checksum, one too great or too small.
pub fn of_numbers(place: &Place) -> Vec<Lie> {
    let mut lies = Vec::new();
    let tables: [(&str, &[&str]); 6] = [
        ("log_state", &["replica", "position_floor", "events_removed", "snapshot_count", "ids_link"]),
        ("events", &["id_link"]),
        ("aggregates", &["id", "aggregate_type", "version", "purged_through"]),
        ("aggregate_names", &["aggregate_type", "aggregate", "link"]),
        ("event_tags", &["tenant", "position", "link"]),
        ("holes", &["first", "last"]),
    ];
    for (table, columns) in tables {
        for number in 0..rows(&place.file(), table).len() {
            for (column, change) in columns.iter().flat_map(|column| [(column, 1), (column, -1)]) {
                let copy = Place::new();
                std::fs::copy(place.file(), copy.file()).expect("a copy");
                let raw = copy.raw();
                raw.pragma_update(None, "ignore_check_constraints", true).expect("a copy");
                let whole = format!("SELECT * FROM {table} LIMIT 1 OFFSET {number}");
                let keys = "SELECT group_concat(name, ', ') FROM pragma_table_info(?1) WHERE pk > 0";
                let keys: String = raw.query_row(keys, [table], |row| row.get(0)).expect("a copy");
                let row = format!("({keys}) = (SELECT {keys} FROM ({whole}))");
                let sql = format!("UPDATE {table} SET {column} = {column} + {change} WHERE {row}");
                // Where a neighbour has the number already, there is nothing to tell.
                if raw.execute(&sql, []).is_ok() {
                    drop(raw);
                    let what = format!("{table}: row {number}, {column} {change:+}");
                    lies.push((what, std::fs::read(copy.file()).expect("a copy")));
                }
            }
        }
    }
    lies
}

fn rows(path: &Path, table: &str) -> Vec<Row> {
    let raw = rusqlite::Connection::open(path).expect("the file is sound");
    let mut statement = raw.prepare(&format!("SELECT * FROM {table}")).expect("the file is sound");
    let columns = statement.column_count();
    let rows = statement.query_map([], |row| (0..columns).map(|column| row.get(column)).collect());
    rows.expect("the file is sound").map(|row| row.expect("the file is sound")).collect()
}

/// Rows that were there before the purge and are not there now, or not as they were.
fn gone(place: &Place, table: &str) -> Vec<Row> {
    let now = rows(&place.file(), table);
    rows(&place.before(), table).into_iter().filter(|row| !now.contains(row)).collect()
}

fn insert(raw: &rusqlite::Connection, table: &str, row: &Row) {
    let places = vec!["?"; row.len()].join(", ");
    let sql = format!("INSERT OR REPLACE INTO {table} VALUES ({places})");
    raw.execute(&sql, rusqlite::params_from_iter(row)).expect("a copy");
}
