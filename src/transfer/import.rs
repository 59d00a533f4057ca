//! Import: appends events from lines of JSON.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read};
use std::ops::ControlFlow;
use std::sync::Arc;

use serde::Serialize;

use super::line::{Line, Reading};
use super::rows::BadRow;
use super::table::{Lines, Table};
use crate::log::append::{self, Batch, Snapshots};
use crate::log::scope::Scope;
use crate::model::error::{Error, ErrorKind, Result};
use crate::model::expected::Expected;

/// An event of the greatest size, with every character escaped, fits a line so many times as long.
const LONGEST_ESCAPE: usize = 6;
/// Room for what a line has besides the event's own text.
const FRAME: usize = 64 << 10;

/// How lines of JSON are imported. The defaults take what [`Store::export`](crate::Store::export) writes.
///
/// A line is an event in the shape of [`Export`](crate::Export), in that of a [`RecordedEvent`](crate::RecordedEvent)'s JSON
/// form, or a CloudEvent with JSON data. Only aggregate type and id, event type and data are required; a member of another
/// name is refused.
#[derive(Clone, Debug)]
pub struct Import {
    events_per_commit: usize,
    commit_by: Option<String>,
    type_prefix: String,
    aggregate_type: Option<String>,
    any_version: bool,
    into_tenant: bool,
    /// Former and new names.
    aggregate_types: BTreeMap<String, String>,
    event_types: BTreeMap<String, String>,
}

impl Default for Import {
    fn default() -> Import {
        Import {
            events_per_commit: 1_000,
            commit_by: None,
            type_prefix: String::new(),
            aggregate_type: None,
            any_version: false,
            into_tenant: false,
            aggregate_types: BTreeMap::new(),
            event_types: BTreeMap::new(),
        }
    }
}

impl Import {
    /// The defaults.
    pub fn new() -> Import {
        Import::default()
    }

    /// Sets how many lines that name no commit are appended at once. Default: 1,000. With 1, each event is a commit of its
    /// own.
    pub fn events_per_commit(mut self, events: usize) -> Import {
        self.events_per_commit = events.max(1);
        self
    }

    /// Appends lines that stand together and are equal at a JSON Pointer (RFC 6901) as one commit, such as
    /// `/metadata/commit`.
    pub fn commit_by(mut self, pointer: impl Into<String>) -> Import {
        self.commit_by = Some(pointer.into());
        self
    }

    /// Sets what is cut off the `type` of CloudEvents, such as `com.example.`.
    pub fn type_prefix(mut self, prefix: impl Into<String>) -> Import {
        self.type_prefix = prefix.into();
        self
    }

    /// Sets the aggregate type of CloudEvents that do not name theirs.
    pub fn aggregate_type(mut self, aggregate_type: impl Into<String>) -> Import {
        self.aggregate_type = Some(aggregate_type.into());
        self
    }

    /// Appends an event after whatever its aggregate has, even if the line names another version: to merge files, and for
    /// an export whose first events were purged. Otherwise that is a conflict.
    pub fn any_version(mut self) -> Import {
        self.any_version = true;
        self
    }

    /// Appends every event to the tenant of the store's handle, whatever tenant its line names. Otherwise a line's tenant
    /// is kept.
    pub fn into_tenant(mut self) -> Import {
        self.into_tenant = true;
        self
    }

    /// Gives aggregates of a type another type.
    pub fn rename_aggregate_type(mut self, from: impl Into<String>, to: impl Into<String>) -> Import {
        self.aggregate_types.insert(from.into(), to.into());
        self
    }

    /// Gives events of a type another type; their data stays as it is.
    pub fn rename_event_type(mut self, from: impl Into<String>, to: impl Into<String>) -> Import {
        self.event_types.insert(from.into(), to.into());
        self
    }

    pub(super) fn is_into_tenant(&self) -> bool {
        self.into_tenant
    }

    pub(super) fn rename(&self, line: &mut Line) {
        if let Some(to) = self.aggregate_types.get(&line.aggregate_type) {
            line.aggregate_type.clone_from(to);
        }
        if let Some(to) = self.event_types.get(&line.event.event_type) {
            line.event.event_type.clone_from(to);
        }
    }
}

/// The progress, and in the end the result, of an import.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct ImportProgress {
    /// Lines read.
    pub lines: u64,
    /// Bytes read.
    pub bytes: u64,
    /// Events appended.
    pub appended: u64,
    /// Events that the log already had.
    pub skipped: u64,
    /// Atomic appends that wrote something.
    pub commits: u64,
    /// Whether all was read; `false` if it was stopped.
    pub finished: bool,
}

/// Lines that are appended together.
#[derive(Default)]
pub(super) struct Commit {
    batch: Batch,
    tenant: Option<Arc<str>>,
    name: Option<String>,
    /// The numbers of its first and its last line.
    lines: (u64, u64),
}

pub(crate) fn import(
    scope: &Scope,
    settings: &Import,
    mut from: impl BufRead,
    mut progress: impl FnMut(&ImportProgress) -> ControlFlow<()>,
) -> Result<ImportProgress> {
    let reading = Reading {
        commit_by: settings.commit_by.as_deref(),
        type_prefix: &settings.type_prefix,
        aggregate_type: settings.aggregate_type.as_deref(),
    };
    let longest = scope.options().max_event_bytes.saturating_mul(LONGEST_ESCAPE).saturating_add(FRAME);
    let mut done = ImportProgress::default();
    let (mut commit, mut text) = (Commit::default(), Vec::new());
    loop {
        let has_line = match next_line(&mut from, &mut text, longest) {
            Ok(has_line) => has_line,
            Err(error) => {
                // As below, if it is the line that is wrong, and not the reading.
                if error.kind() == ErrorKind::InvalidInput {
                    commit.append(scope, settings, &mut done)?;
                }
                return Err(at_line(error, done.lines + 1));
            }
        };
        if !has_line {
            commit.append(scope, settings, &mut done)?;
            done.finished = true;
            // The last call says that it is done; it is too late to stop.
            let _ = progress(&done);
            return Ok(done);
        }
        done.lines += 1;
        done.bytes += text.len() as u64;
        let mut line = match read(&reading, &text, done.lines) {
            Ok(Some(line)) => line,
            Ok(None) => continue,
            Err(error) => {
                // What stands before the bad line is kept, whether or not it filled a batch.
                commit.append(scope, settings, &mut done)?;
                return Err(at_line(error, done.lines));
            }
        };
        settings.rename(&mut line);
        let tenant: Arc<str> = match &line.tenant {
            Some(tenant) if !settings.into_tenant => tenant.as_str().into(),
            _ => scope.tenant.clone(),
        };
        if !commit.takes(&line, &tenant, settings) {
            commit.append(scope, settings, &mut done)?;
            if progress(&done).is_break() {
                return Ok(done);
            }
        }
        commit.add(line, done.lines, tenant, settings);
    }
}

pub(crate) fn import_table(
    scope: &Scope,
    table: &Table,
    settings: &Import,
    from: impl BufRead,
    progress: impl FnMut(&ImportProgress) -> ControlFlow<()>,
) -> Result<ImportProgress> {
    let longest = scope.options().max_event_bytes.saturating_mul(LONGEST_ESCAPE).saturating_add(FRAME);
    import(scope, settings, BufReader::new(Lines::new(table, from, longest)), progress)
}

/// The event of a line; `None` if the line is empty.
fn read(reading: &Reading<'_>, text: &[u8], number: u64) -> Result<Option<Line>> {
    let text = std::str::from_utf8(text).map_err(|_| Error::new(ErrorKind::InvalidInput, "it is not UTF-8"))?;
    // Some programs begin a file with this mark.
    let text = text.trim_start_matches('\u{feff}').trim();
    if text.is_empty() { Ok(None) } else { reading.read(text, number).map(Some) }
}

/// Reads a line; `false` at the end of the input.
fn next_line(from: &mut impl BufRead, line: &mut Vec<u8>, longest: usize) -> Result<bool> {
    line.clear();
    let most = u64::try_from(longest).unwrap_or(u64::MAX);
    let read = from.take(most).read_until(b'\n', line);
    let read = read.map_err(|error| match error.get_ref().and_then(|inner| inner.downcast_ref::<BadRow>()) {
        Some(row) => Error::new(ErrorKind::InvalidInput, row.to_string()),
        None => Error::new(ErrorKind::Io, "the input cannot be read").caused_by(error),
    })?;
    if read == longest && line.last() != Some(&b'\n') {
        return Err(Error::new(ErrorKind::LimitExceeded, format!("it is longer than {longest} bytes"))
            .advice("is it one JSON object a line? Otherwise raise Options::max_event_bytes"));
    }
    Ok(read > 0)
}

fn at_line(error: Error, number: u64) -> Error {
    error.because_of(format!("line {number} cannot be imported")).during("import")
}

impl Commit {
    /// Whether a line belongs to this commit.
    pub(super) fn takes(&self, line: &Line, tenant: &Arc<str>, settings: &Import) -> bool {
        if self.batch.is_empty() {
            return true;
        }
        self.tenant.as_ref() == Some(tenant)
            && match (&self.name, &line.commit) {
                (None, None) => self.batch.len() < settings.events_per_commit,
                (one, other) => one == other,
            }
    }

    pub(super) fn add(&mut self, line: Line, number: u64, tenant: Arc<str>, settings: &Import) {
        self.lines = (if self.batch.is_empty() { number } else { self.lines.0 }, number);
        let expected = match line.version {
            Some(version) if !settings.any_version => Expected::from(version.saturating_sub(1)),
            _ => Expected::Any,
        };
        self.tenant = Some(tenant);
        self.name = line.commit;
        let batch = std::mem::take(&mut self.batch);
        self.batch = batch.append_next(line.aggregate_type, line.aggregate_id, expected, line.event);
    }

    /// Appends what was collected, except what is there already.
    pub(super) fn append(&mut self, scope: &Scope, settings: &Import, done: &mut ImportProgress) -> Result<()> {
        let Commit { batch, tenant, lines: (first, last), .. } = std::mem::take(self);
        let Some(tenant) = tenant.filter(|_| !batch.is_empty()) else { return Ok(()) };
        let events = batch.len() as u64;
        let of_tenant = Scope { log: scope.log.clone(), tenant };
        let appended = append::commit(&of_tenant, &batch.skip_existing(), Snapshots::default(), None);
        let appended = appended.map(|outcome| outcome.appended).map_err(|error| {
            let lines = format!("lines {first} to {last} cannot be imported");
            match error.kind() {
                ErrorKind::Conflict if !settings.any_version => {
                    let why = "the log has other events of the aggregate: import into an empty file, or with Import::any_version";
                    error.because_of(format!("{lines}, because {why}"))
                }
                _ => error.because_of(lines),
            }
        })?;
        let skipped: u64 = appended.iter().map(|one| one.skipped).sum();
        done.skipped += skipped;
        done.appended += events - skipped;
        done.commits += u64::from(skipped < events);
        Ok(())
    }
}
