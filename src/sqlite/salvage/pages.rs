//! Reads the rows of a SQLite file page by page, without its trees: what lies on a page that nothing leads to any more is
//! found as well. Whether a row is true only its checksum tells.
//!
//! See <https://sqlite.org/fileformat2.html>, sections 1.6 and 2.1.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};

use rusqlite::types::Value;

/// The size of our pages. No other was ever written.
pub(super) const PAGE: usize = 4_096;
const FILE_HEADER: usize = 100;
const TABLE_LEAF: u8 = 0x0D;
const INDEX_LEAF: u8 = 0x0A;
/// The largest row that is read: more than the largest event that can be appended.
const LARGEST: usize = 600 << 20;

/// A row of a leaf page. Without a number it is an entry of an index.
pub(super) struct FoundRow {
    pub(super) number: Option<i64>,
    pub(super) columns: Vec<Value>,
}

/// The pages of a file.
pub(super) struct Pages {
    file: File,
    pub(super) count: u64,
}

impl Pages {
    pub(super) fn open(mut file: File) -> io::Result<Pages> {
        let bytes = file.seek(SeekFrom::End(0))?;
        Ok(Pages { file, count: bytes / PAGE as u64 })
    }

    fn read(&mut self, number: u64) -> Option<Vec<u8>> {
        let at = number.checked_sub(1).filter(|index| *index < self.count)? * PAGE as u64;
        let mut page = vec![0; PAGE];
        self.file.seek(SeekFrom::Start(at)).ok()?;
        self.file.read_exact(&mut page).ok()?;
        Some(page)
    }

    /// The rows on a page (from 1) that can be decoded.
    pub(super) fn rows(&mut self, number: u64) -> Vec<FoundRow> {
        let Some(page) = self.read(number) else { return Vec::new() };
        let header = if number == 1 { FILE_HEADER } else { 0 };
        let is_table = match page.get(header) {
            Some(&TABLE_LEAF) => true,
            Some(&INDEX_LEAF) => false,
            _ => return Vec::new(),
        };
        let cells = big_endian(&page, header + 3, 2).unwrap_or(0).min(PAGE / 4);
        let starts = (0..cells).filter_map(|cell| big_endian(&page, header + 8 + 2 * cell, 2));
        starts.filter_map(|start| self.cell(&page, start, is_table)).collect()
    }

    fn cell(&mut self, page: &[u8], mut at: usize, is_table: bool) -> Option<FoundRow> {
        let length = usize::try_from(varint(page, &mut at)?).ok().filter(|length| *length <= LARGEST)?;
        let number = if is_table { Some(varint(page, &mut at)?) } else { None };
        let payload = self.payload(page, at, length, is_table)?;
        Some(FoundRow { number, columns: record(&payload)? })
    }

    /// A cell's bytes: those on the page, and those on its overflow pages.
    fn payload(&mut self, page: &[u8], at: usize, length: usize, is_table: bool) -> Option<Vec<u8>> {
        let most = if is_table { PAGE - 35 } else { (PAGE - 12) * 64 / 255 - 23 };
        if length <= most {
            return page.get(at..at + length).map(<[u8]>::to_vec);
        }
        let least = (PAGE - 12) * 32 / 255 - 23;
        let here = least + (length - least) % (PAGE - 4);
        let here = if here <= most { here } else { least };
        let mut payload = page.get(at..at + here)?.to_vec();
        let mut next = big_endian(page, at + here, 4)? as u64;
        // A damaged chain may lead in a circle, but each page brings the end nearer.
        while payload.len() < length {
            let overflow = self.read(next)?;
            let part = overflow.get(4..)?;
            payload.extend(part.iter().take(length - payload.len()));
            next = big_endian(&overflow, 0, 4)? as u64;
        }
        Some(payload)
    }
}

fn big_endian(bytes: &[u8], at: usize, length: usize) -> Option<usize> {
    let bytes = bytes.get(at..at + length)?;
    Some(bytes.iter().fold(0, |number, byte| number << 8 | usize::from(*byte)))
}

fn varint(bytes: &[u8], at: &mut usize) -> Option<i64> {
    let mut number = 0_u64;
    for index in 0..9 {
        let byte = *bytes.get(*at)?;
        *at += 1;
        if index == 8 {
            return Some((number << 8 | u64::from(byte)).cast_signed());
        }
        number = number << 7 | u64::from(byte & 0x7F);
        if byte < 0x80 {
            break;
        }
    }
    Some(number.cast_signed())
}

/// Decodes a record.
fn record(payload: &[u8]) -> Option<Vec<Value>> {
    let mut at = 0;
    let header = usize::try_from(varint(payload, &mut at)?).ok().filter(|length| *length <= payload.len())?;
    let (mut body, mut columns) = (header, Vec::new());
    while at < header {
        let kind = varint(payload, &mut at)?;
        let length = match kind {
            0 | 8 | 9 => 0,
            1..=4 => usize::try_from(kind).ok()?,
            5 => 6,
            6 | 7 => 8,
            12.. => usize::try_from((kind - 12) / 2).ok()?,
            _ => return None,
        };
        let bytes = payload.get(body..body.checked_add(length)?)?;
        body += length;
        columns.push(match kind {
            0 => Value::Null,
            8 | 9 => Value::Integer(kind - 8),
            1..=6 => Value::Integer(signed(bytes)),
            // None of our tables holds one.
            7 => return None,
            text if text % 2 == 1 => Value::Text(String::from_utf8(bytes.to_vec()).ok()?),
            _ => Value::Blob(bytes.to_vec()),
        });
    }
    Some(columns)
}

fn signed(bytes: &[u8]) -> i64 {
    let sign = bytes.first().map_or(0, |first| i64::from(first.cast_signed() >> 7));
    bytes.iter().fold(sign, |number, byte| number << 8 | i64::from(*byte))
}

#[cfg(test)]
mod tests {
    use rusqlite::Connection;

    use super::*;

    #[test]
    fn every_row_of_a_file_is_found_without_its_trees() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.db");
        let connection = Connection::open(&path).unwrap();
        connection.execute_batch("CREATE TABLE t (id INTEGER PRIMARY KEY, n INTEGER UNIQUE, text TEXT, blob BLOB)").unwrap();
        let numbers = [0, 1, -1, 127, -128, 1 << 15, -(1 << 23), 1 << 40, i64::MAX, i64::MIN];
        let mut expected = Vec::new();
        for id in 0..1_500_i64 {
            let n = numbers[id as usize % 10].wrapping_add(id);
            let text = "ä".repeat(if id % 97 == 0 { 9_000 } else { id as usize % 60 });
            let blob = (id % 3 > 0).then(|| vec![id as u8; 16]);
            connection.execute("INSERT OR IGNORE INTO t VALUES (?1, ?2, ?3, ?4)", (id << 33, n, &text, &blob)).unwrap();
        }
        let mut statement = connection.prepare("SELECT * FROM t ORDER BY id").unwrap();
        let mut rows = statement.query([]).unwrap();
        while let Some(row) = rows.next().unwrap() {
            let columns: Vec<Value> = (1..4).map(|column| row.get(column).unwrap()).collect();
            expected.push((row.get::<_, i64>(0).unwrap(), columns));
        }
        let mut pages = Pages::open(File::open(&path).unwrap()).unwrap();
        let (mut found, mut entries) = (Vec::new(), 0);
        for page in 2..=pages.count {
            for row in pages.rows(page) {
                match row.number {
                    Some(number) => found.push((number, row.columns[1..].to_vec())),
                    None => entries += 1,
                }
            }
        }
        found.sort_by_key(|(number, _)| *number);
        assert_eq!(found, expected);
        // Some entries are on inner pages.
        assert!(entries > expected.len() * 9 / 10 && entries <= expected.len(), "{entries}");
    }

    #[test]
    fn no_bytes_make_it_fail() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.db");
        let mut seed = 7_u64;
        for _ in 0..300 {
            let mut bytes = Vec::new();
            for index in 0..2 * PAGE {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                bytes.push(match index % PAGE {
                    0 => [TABLE_LEAF, INDEX_LEAF][(seed >> 33) as usize % 2],
                    3 => 0,
                    _ => (seed >> 40) as u8,
                });
            }
            std::fs::write(&path, &bytes).unwrap();
            let mut pages = Pages::open(File::open(&path).unwrap()).unwrap();
            assert!((0..=3).map(|page| pages.rows(page).len()).sum::<usize>() < 1_000);
        }
    }
}
