//! Events in the rows of a table, as PostgreSQL writes them: turned into the lines that an import reads.

use std::collections::BTreeMap;
use std::io::{self, BufRead, Read};

use chrono::{DateTime, NaiveDateTime, SecondsFormat, Utc};
use serde_json::Value;
use uuid::Uuid;

pub use super::rows::TableFormat;
use super::rows::{BadRow, Cell, Rows};
use crate::model::json::Json;

/// A table whose rows are events, and which column is what: see [`Store::import_table`](crate::Store::import_table).
///
/// Columns are found by their usual names, whatever their case, with or without underscores: `id`, `"aggregateId"`,
/// `event_type`, `"eventData"`, `payload`, `"tenantId"`, `version`, `"occurredAt"`, `created_at` and so on; [`Table::column`] names
/// others. A column that is none of these becomes a member of the metadata. Times without a zone are UTC. An id that is no
/// UUID is kept in the metadata, and the event gets one that follows from its row.
///
/// ```
/// use std::ops::ControlFlow;
/// use foldlog::{Import, Store, Table, TableFormat};
///
/// let rows = "\
/// id,aggregateId,eventType,version,eventData,occurredAt,channel
/// 0199fd0e-7c00-7000-8000-000000000001,u-1,UserCreated,1,\"{\"\"email\"\":\"\"ada@example.org\"\"}\",2025-10-22 13:00:00.5,web
/// ";
/// let store = Store::in_memory()?;
/// let table = Table::new(TableFormat::Csv).aggregate_type("user");
/// let done = store.import_table(&table, &Import::new(), rows.as_bytes(), |_| ControlFlow::Continue(()))?;
/// assert_eq!(done.appended, 1);
/// assert_eq!(store.json_aggregates("user").replay("u-1")?.state["email"], "ada@example.org");
/// # Ok::<(), foldlog::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Table {
    format: TableFormat,
    aggregate_type: Option<String>,
    named: Vec<(String, String)>,
    columns: Option<Vec<String>>,
}

/// The members of an event's line, and the names of columns that usually hold them, the likeliest first.
const MEMBERS: [(&str, &[&str]); 10] = [
    ("event_id", &["eventid", "id", "uuid"]),
    ("aggregate_type", &["aggregatetype"]),
    ("aggregate_id", &["aggregateid", "streamid", "entityid"]),
    ("event_type", &["eventtype", "eventname", "type"]),
    ("data", &["eventdata", "data", "payload"]),
    ("metadata", &["metadata"]),
    ("occurred_at", &["occurredat", "createdat", "timestamp"]),
    ("schema_version", &["schemaversion", "eventversion"]),
    ("tenant", &["tenantid", "tenant"]),
    ("version", &["version", "aggregateversion", "sequencenumber"]),
];

impl Table {
    /// A table in this format.
    pub fn new(format: TableFormat) -> Table {
        Table { format, aggregate_type: None, named: Vec::new(), columns: None }
    }

    /// Sets the aggregate type of all rows, for a table without such a column.
    pub fn aggregate_type(mut self, aggregate_type: impl Into<String>) -> Table {
        self.aggregate_type = Some(aggregate_type.into());
        self
    }

    /// Names the column of a member: `event_id`, `aggregate_type`, `aggregate_id`, `event_type`, `data`, `metadata`, `occurred_at`,
    /// `schema_version`, `tenant` or `version`.
    pub fn column(mut self, member: impl Into<String>, column: impl Into<String>) -> Table {
        self.named.push((member.into(), column.into()));
        self
    }

    /// Names all columns in their order, for rows without a header.
    pub fn columns<S: Into<String>>(mut self, columns: impl IntoIterator<Item = S>) -> Table {
        self.columns = Some(columns.into_iter().map(Into::into).collect());
        self
    }

    /// Which member each column is; `None` for one that goes into the metadata.
    fn mapping(&self, columns: &[String]) -> Result<Vec<Option<&'static str>>, String> {
        let mut mapping = vec![None; columns.len()];
        for (member, column) in &self.named {
            let known = MEMBERS.iter().find(|(known, _)| known == member).map(|(known, _)| *known);
            let known = known.ok_or_else(|| format!("an event has no member {member:?}"))?;
            let place = columns.iter().position(|name| name == column).and_then(|place| mapping.get_mut(place));
            *place.ok_or_else(|| format!("the table has no column {column:?}"))? = Some(known);
        }
        let plain = |name: &str| name.to_lowercase().replace(['_', '-', ' '], "");
        for (member, usual) in MEMBERS {
            if mapping.contains(&Some(member)) {
                continue;
            }
            let found = usual.iter().find_map(|usual| columns.iter().position(|name| plain(name) == *usual));
            if let Some(place @ None) = found.and_then(|place| mapping.get_mut(place)) {
                *place = Some(member);
            }
        }
        for member in ["aggregate_id", "event_type", "data"] {
            if !mapping.contains(&Some(member)) {
                return Err(format!("no column holds the {member}; name it: the columns are {}", columns.join(", ")));
            }
        }
        match self.aggregate_type.is_some() || mapping.contains(&Some("aggregate_type")) {
            true => Ok(mapping),
            false => Err("no column holds the aggregate type; name the type of all rows".to_owned()),
        }
    }

    /// Whether these columns are those of events.
    fn fits(&self, columns: &[String]) -> bool {
        self.mapping(columns).is_ok()
    }

    /// The row as a line that an import reads.
    fn line(&self, row: &BTreeMap<String, Cell>) -> Result<String, String> {
        let columns: Vec<String> = row.keys().cloned().collect();
        let mut line: BTreeMap<&str, Json> = BTreeMap::new();
        let mut others: BTreeMap<String, Json> = BTreeMap::new();
        for (member, (column, cell)) in self.mapping(&columns)?.into_iter().zip(row) {
            let wrong = |what: &str| format!("its column {column:?} is not {what}");
            match (member, cell.text()) {
                (_, None) => {}
                (Some("data" | "metadata"), Some(_)) => {
                    line.insert(member.unwrap_or_default(), cell.json().ok_or_else(|| wrong("JSON"))?);
                }
                (Some("occurred_at"), Some(text)) => {
                    let time = time(&text).ok_or_else(|| wrong("a time"))?.to_rfc3339_opts(SecondsFormat::AutoSi, true);
                    line.insert("occurred_at", json(time));
                }
                (Some(member @ ("version" | "schema_version")), Some(text)) => {
                    let number: u64 = text.trim().parse().map_err(|_| wrong("a whole number"))?;
                    line.insert(member, json(number));
                }
                (Some("event_id"), Some(text)) => match text.parse::<Uuid>() {
                    Ok(id) if !id.is_nil() => drop(line.insert("event_id", json(id.to_string()))),
                    _ => drop(others.insert(column.clone(), cell.as_json())),
                },
                (Some(member), Some(text)) => drop(line.insert(member, json(text))),
                (None, Some(_)) => drop(others.insert(column.clone(), cell.as_json())),
            }
        }
        if !others.is_empty() {
            let known = line.remove("metadata").map(|metadata| metadata.parse::<BTreeMap<String, Json>>());
            // A member of the same name says the same, or more.
            others.extend(known.transpose().map_err(|_| "its metadata is not a JSON object".to_owned())?.unwrap_or_default());
            line.insert("metadata", json(others));
        }
        if let Some(aggregate_type) = self.aggregate_type.as_ref().filter(|_| !line.contains_key("aggregate_type")) {
            line.insert("aggregate_type", json(aggregate_type));
        }
        serde_json::to_string(&line).map_err(|error| error.to_string())
    }
}

/// What is written here can always be written as JSON.
fn json(value: impl serde::Serialize) -> Json {
    Json::from_serialize(&value).unwrap_or_else(|_| Json::stored(Value::Null.to_string()))
}

/// A time of PostgreSQL: `2025-10-22 13:00:00.123+02`. Without a zone it is UTC.
fn time(text: &str) -> Option<DateTime<Utc>> {
    let text = text.trim().replacen(' ', "T", 1);
    let short_zone = text.len().checked_sub(3).and_then(|at| text.get(at..)).is_some_and(|end| end.starts_with(['+', '-']));
    let zoned = if short_zone && text.contains('T') { format!("{text}:00") } else { text.clone() };
    if let Ok(time) = DateTime::parse_from_rfc3339(&zoned) {
        return Some(time.to_utc());
    }
    NaiveDateTime::parse_from_str(&text, "%Y-%m-%dT%H:%M:%S%.f").ok().map(|time| time.and_utc())
}

/// The lines of a table's events, so that they can be imported. Lines of the input that hold no row are empty ones, so that
/// errors name the right line.
pub(crate) struct Lines<'a, R> {
    table: &'a Table,
    rows: Rows<R>,
    ready: Vec<u8>,
    taken: usize,
}

impl<'a, R: BufRead> Lines<'a, R> {
    /// `longest`: bytes of a row, at most.
    pub(crate) fn new(table: &'a Table, from: R, longest: usize) -> Lines<'a, R> {
        let rows = Rows::new(table.format, table.columns.clone(), from, longest);
        Lines { table, rows, ready: Vec::new(), taken: 0 }
    }
}

impl<R: BufRead> Read for Lines<'_, R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.taken == self.ready.len() {
            (self.taken, self.ready) = (0, Vec::new());
            let bad = |what: String| io::Error::new(io::ErrorKind::InvalidData, BadRow(what));
            let Some(row) = self.rows.next(|columns| self.table.fits(columns))? else { return Ok(0) };
            let line = row.cells.map(|cells| self.table.line(&cells)).transpose().map_err(bad)?.unwrap_or_default();
            self.ready = line.into_bytes();
            self.ready.resize(self.ready.len() + row.lines, b'\n');
        }
        let rest = self.ready.get(self.taken..).unwrap_or_default();
        let count = rest.len().min(into.len());
        if let (Some(to), Some(from)) = (into.get_mut(..count), rest.get(..count)) {
            to.copy_from_slice(from);
        }
        self.taken += count;
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_of_postgresql_are_read() {
        for (text, read) in [
            ("2025-10-22 13:00:00", "2025-10-22T13:00:00Z"),
            ("2025-10-22 13:00:00.123456", "2025-10-22T13:00:00.123456Z"),
            ("2025-10-22 13:00:00+02", "2025-10-22T11:00:00Z"),
            ("2025-10-22 13:00:00.5-03:30", "2025-10-22T16:30:00.500Z"),
            ("2025-10-22T13:00:00.5Z", "2025-10-22T13:00:00.500Z"),
        ] {
            assert_eq!(time(text).map(|time| time.to_rfc3339_opts(SecondsFormat::AutoSi, true)).as_deref(), Some(read), "{text}");
        }
        assert_eq!([time(""), time("infinity"), time("13:00")], [None; 3]);
    }
}
