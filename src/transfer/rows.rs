//! The rows of a table in PostgreSQL's formats. This knows columns and cells, not what they mean.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, BufRead, ErrorKind};

use crate::model::json::Json;

/// How the rows of a table are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TableFormat {
    /// What `COPY table TO STDOUT` writes, with a header or with [`Table::columns`](crate::Table::columns); also a whole `pg_dump` in plain text, of
    /// which the first table that has events is read.
    Copy,
    /// CSV with a header, as `COPY table TO STDOUT (FORMAT csv, HEADER)` writes it. Empty and not in quotes is NULL.
    Csv,
    /// One JSON object a line: `SELECT row_to_json(t) FROM table t`.
    JsonLines,
}

/// A row that cannot be read.
#[derive(Debug)]
pub(crate) struct BadRow(pub(super) String);

impl fmt::Display for BadRow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for BadRow {}

/// The value of a column.
pub(super) enum Cell {
    Null,
    Text(String),
    Json(Json),
}

impl Cell {
    /// `None` for NULL.
    pub(super) fn text(&self) -> Option<String> {
        match self {
            Cell::Null => None,
            Cell::Text(text) => Some(text.clone()),
            Cell::Json(json) => match json.as_str() {
                "null" => None,
                text => Some(json.parse::<String>().unwrap_or_else(|_| text.to_owned())),
            },
        }
    }

    /// The JSON that it holds; a text of JSON lines may hold some too.
    pub(super) fn json(&self) -> Option<Json> {
        match self {
            Cell::Json(json) if !json.as_str().starts_with('"') => Some(json.clone()),
            _ => Json::from_text(self.text()?).ok(),
        }
    }

    /// The value as JSON.
    pub(super) fn as_json(&self) -> Json {
        match self {
            Cell::Json(json) => json.clone(),
            Cell::Text(text) => Json::from_serialize(text).unwrap_or_else(|_| Json::stored("null".to_owned())),
            Cell::Null => Json::stored("null".to_owned()),
        }
    }
}

/// What was read: a row, or something else of the input.
pub(super) struct Part {
    pub(super) cells: Option<BTreeMap<String, Cell>>,
    /// Lines of the input that it took.
    pub(super) lines: usize,
}

pub(super) struct Rows<R> {
    format: TableFormat,
    columns: Option<Vec<String>>,
    from: R,
    longest: usize,
    /// In a dump, between two tables.
    is_outside: bool,
    has_begun: bool,
}

fn bad(what: impl Into<String>) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, BadRow(what.into()))
}

impl<R: BufRead> Rows<R> {
    pub(super) fn new(format: TableFormat, columns: Option<Vec<String>>, from: R, longest: usize) -> Rows<R> {
        Rows { format, columns, from, longest, is_outside: false, has_begun: false }
    }

    /// The next row or line; `None` at the end. `fits` says whether a table of a dump is the wanted one.
    pub(super) fn next(&mut self, fits: impl Fn(&[String]) -> bool) -> io::Result<Option<Part>> {
        let Some(mut text) = self.line()? else { return Ok(None) };
        let mut lines = 1;
        if self.format == TableFormat::Csv {
            // A line break inside quotes belongs to the cell.
            while text.matches('"').count() % 2 == 1 {
                let Some(more) = self.line()? else { return Err(bad("a quote is not closed")) };
                text.push_str(&more);
                lines += 1;
                if text.len() > self.longest {
                    return Err(bad(format!("the row is longer than {} bytes; is a quote not closed?", self.longest)));
                }
            }
        }
        let text = text.strip_suffix('\n').unwrap_or(&text);
        let text = text.strip_suffix('\r').unwrap_or(text);
        let text = if self.has_begun { text } else { text.trim_start_matches('\u{feff}') };
        let is_first = !std::mem::replace(&mut self.has_begun, true);
        let cells = self.cells(text, is_first, fits)?;
        Ok(Some(Part { cells, lines }))
    }

    fn line(&mut self) -> io::Result<Option<String>> {
        let mut line = Vec::new();
        let most = u64::try_from(self.longest).unwrap_or(u64::MAX);
        let read = io::Read::take(&mut self.from, most).read_until(b'\n', &mut line)?;
        if read >= self.longest {
            return Err(bad(format!("it is longer than {} bytes", self.longest)));
        }
        let text = String::from_utf8(line).map_err(|_| bad("it is not UTF-8; write the table with the encoding UTF8"))?;
        Ok((read > 0).then_some(text))
    }

    fn cells(
        &mut self,
        text: &str,
        is_first: bool,
        fits: impl Fn(&[String]) -> bool,
    ) -> io::Result<Option<BTreeMap<String, Cell>>> {
        if self.format == TableFormat::JsonLines {
            if text.trim().is_empty() {
                return Ok(None);
            }
            let row = Json::from_text(text).and_then(|row| row.parse::<BTreeMap<String, Json>>());
            let row = row.map_err(|_| bad("it is not a JSON object"))?;
            return Ok(Some(row.into_iter().map(|(name, value)| (name, Cell::Json(value))).collect()));
        }
        if self.format == TableFormat::Copy {
            let begins_dump = is_first && ["--", "COPY ", "SET ", "\\"].iter().any(|begin| text.starts_with(begin));
            self.is_outside |= begins_dump || text == "\\.";
            if self.is_outside {
                let copied = text.strip_prefix("COPY ").and_then(|rest| rest.strip_suffix(" FROM stdin;")).and_then(names);
                if let Some(columns) = copied.filter(|columns| fits(columns)) {
                    (self.columns, self.is_outside) = (Some(columns), false);
                }
                return Ok(None);
            }
        }
        let cells: Vec<Cell> = match self.format {
            TableFormat::Csv if text.is_empty() => return Ok(None),
            TableFormat::Csv => csv(text)?,
            _ => text.split('\t').map(copied).collect::<io::Result<_>>()?,
        };
        let Some(columns) = &self.columns else {
            self.columns = Some(cells.iter().map(|cell| cell.text().unwrap_or_default()).collect());
            return Ok(None);
        };
        match cells.len() == columns.len() {
            true => Ok(Some(columns.iter().cloned().zip(cells).collect())),
            false => Err(bad(format!("it has {} columns, not {}", cells.len(), columns.len()))),
        }
    }
}

/// The columns of `public.user_events (id, "aggregateId")`.
fn names(copy: &str) -> Option<Vec<String>> {
    let (_, list) = copy.strip_suffix(')')?.rsplit_once(" (")?;
    let name = |name: &str| name.trim_matches('"').replace("\"\"", "\"");
    Some(list.split(", ").map(name).collect())
}

/// A cell of `COPY` in its text format.
fn copied(text: &str) -> io::Result<Cell> {
    if text == "\\N" {
        return Ok(Cell::Null);
    }
    let (mut plain, mut rest) = (Vec::new(), text.bytes().peekable());
    while let Some(byte) = rest.next() {
        if byte != b'\\' {
            plain.push(byte);
            continue;
        }
        plain.push(match rest.next() {
            Some(b'b') => 8,
            Some(b'f') => 12,
            Some(b'n') => b'\n',
            Some(b'r') => b'\r',
            Some(b't') => b'\t',
            Some(b'v') => 11,
            Some(digit @ b'0'..=b'7') => (digits_of(&mut rest, 8, 2, u32::from(digit - b'0')) & 0xff) as u8,
            Some(b'x') => (digits_of(&mut rest, 16, 2, 0) & 0xff) as u8,
            Some(other) => other,
            None => return Err(bad("it ends with a backslash")),
        });
    }
    String::from_utf8(plain).map(Cell::Text).map_err(|_| bad("an escaped cell is not UTF-8"))
}

/// A number of some more digits, as far as there are any.
fn digits_of(rest: &mut std::iter::Peekable<std::str::Bytes<'_>>, radix: u32, most: usize, first: u32) -> u32 {
    let mut number = first;
    for _ in 0..most {
        let Some(digit) = rest.peek().and_then(|byte| char::from(*byte).to_digit(radix)) else { break };
        number = number * radix + digit;
        rest.next();
    }
    number
}

/// The cells of a CSV row.
fn csv(text: &str) -> io::Result<Vec<Cell>> {
    let (mut cells, mut rest) = (Vec::new(), text);
    loop {
        if let Some(quoted) = rest.strip_prefix('"') {
            let mut from = 0;
            let end = loop {
                let at = quoted.get(from..).and_then(|rest| rest.find('"')).map(|at| from + at);
                let at = at.ok_or_else(|| bad("a quote is not closed"))?;
                if !quoted.get(at + 1..).is_some_and(|after| after.starts_with('"')) {
                    break at;
                }
                from = at + 2;
            };
            let (cell, after) = quoted.split_at_checked(end).unwrap_or((quoted, ""));
            cells.push(Cell::Text(cell.replace("\"\"", "\"")));
            rest = after.strip_prefix('"').unwrap_or(after);
            match rest.strip_prefix(',') {
                Some(next) => rest = next,
                None if rest.is_empty() => return Ok(cells),
                None => return Err(bad("something follows a quoted cell")),
            }
        } else {
            let (cell, next) = rest.split_once(',').map_or((rest, None), |(cell, next)| (cell, Some(next)));
            cells.push(if cell.is_empty() { Cell::Null } else { Cell::Text(cell.to_owned()) });
            match next {
                Some(next) => rest = next,
                None => return Ok(cells),
            }
        }
    }
}
