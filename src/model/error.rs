//! The error type: what failed, where, why, and what to do next.

use serde::{Serialize, Serializer};
use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;

use crate::model::expected::Expected;
use crate::model::place::{AggregateRef, Position, Version};

/// The result of every fallible call of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// The kind of an [`Error`]; more kinds may come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ErrorKind {
    /// The aggregate is at another version than the writer expected. Nothing was written. Replay, decide again, append.
    Conflict,
    /// The aggregate has no events, or none up to the requested version or time.
    NotFound,
    /// Another connection held the write lock longer than the busy time-out. Nothing was written; a retry may succeed.
    Busy,
    /// The file holds something that this library did not write: a damaged row, page or number. It is not returned.
    Corrupt,
    /// Data could not be turned into JSON, or JSON not into the requested type.
    Codec,
    /// A stored event has a type that the fold does not know.
    UnknownEventType,
    /// An event has a newer schema version than this program knows: a newer version of the program appended it. Nothing
    /// was written.
    SchemaVersionTooNew,
    /// A name, a time or a text cannot be stored. Nothing was written.
    InvalidInput,
    /// A payload, a batch, a name or a counter is above its limit. Nothing was written.
    LimitExceeded,
    /// An event with this id but other content is already in the log. Nothing was written.
    DuplicateEventId,
    /// A replay needs events that were purged or archived, and no usable snapshot replaces them; or a removal was
    /// refused because it would lead to this.
    HistoryRemoved,
    /// The last events of the aggregate were lost with a damaged file, and the file was repaired without them. What is left still
    /// reads.
    EventsLost,
    /// The events are in the archive, and the archive is not there, or is that of another file. What is in the main file
    /// still works.
    ArchiveMissing,
    /// The aggregate was erased: there is nothing to replay, and nothing is appended to it.
    Erased,
    /// The file was written by a newer version of the library. It was not changed.
    FormatTooNew,
    /// The file is not a foldlog file, or its schema was changed. It was not changed.
    ForeignFile,
    /// The application's code for an event failed: a handler, a projection or a publisher. The checkpoint is before
    /// that event.
    Handler,
    /// A projection's tables are of another version than its definition.
    ProjectionOutdated,
    /// A write to a store that was opened for reading, or that is on a read-only medium.
    ReadOnly,
    /// The disk or a quota is full. The transaction was rolled back; writing works again once there is space.
    DiskFull,
    /// The commit failed, and it is unknown whether it will be found after a crash. Read the aggregate before a retry,
    /// or append with your own event ids, which makes a retry safe.
    OutcomeUnknown,
    /// The store was opened before this process was forked. Nothing was done. Open the store again in this process.
    Forked,
    /// The store's file, or its write-ahead log, was deleted, moved or replaced while the store was open. Nothing was
    /// written. Once the file is back in its place the same call works again.
    FileMoved,
    /// The file has several names (hard links). Each would get a write-ahead log of its own, so nothing is written.
    HardLink,
    /// The operating system refused to read, write or open something.
    Io,
    /// The program was built without something that the file or the call needs: one of foldlog's features, or SQLCipher.
    /// Nothing was written.
    FeatureMissing,
    /// A bug in the library or in SQLite. Please report it.
    Internal,
}

impl ErrorKind {
    /// A fixed name in lower case, for labels, spans and machine-readable output.
    ///
    /// ```
    /// assert_eq!(foldlog::ErrorKind::DiskFull.as_str(), "disk_full");
    /// ```
    pub fn as_str(self) -> &'static str {
        match self {
            ErrorKind::Conflict => "conflict",
            ErrorKind::NotFound => "not_found",
            ErrorKind::Busy => "busy",
            ErrorKind::Corrupt => "corrupt",
            ErrorKind::Codec => "codec",
            ErrorKind::UnknownEventType => "unknown_event_type",
            ErrorKind::SchemaVersionTooNew => "schema_version_too_new",
            ErrorKind::InvalidInput => "invalid_input",
            ErrorKind::LimitExceeded => "limit_exceeded",
            ErrorKind::DuplicateEventId => "duplicate_event_id",
            ErrorKind::HistoryRemoved => "history_removed",
            ErrorKind::EventsLost => "events_lost",
            ErrorKind::ArchiveMissing => "archive_missing",
            ErrorKind::Erased => "erased",
            ErrorKind::FormatTooNew => "format_too_new",
            ErrorKind::ForeignFile => "foreign_file",
            ErrorKind::Handler => "handler",
            ErrorKind::ProjectionOutdated => "projection_outdated",
            ErrorKind::ReadOnly => "read_only",
            ErrorKind::DiskFull => "disk_full",
            ErrorKind::OutcomeUnknown => "outcome_unknown",
            ErrorKind::Forked => "forked",
            ErrorKind::FileMoved => "file_moved",
            ErrorKind::HardLink => "hard_link",
            ErrorKind::Io => "io",
            ErrorKind::FeatureMissing => "feature_missing",
            ErrorKind::Internal => "internal",
        }
    }
}

/// The expected and the actual version of a refused append.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Conflict {
    /// The version that the writer expected.
    pub expected: Expected,
    /// The version of the aggregate; 0 if it has no events.
    pub actual: Version,
}

/// Any failure of this crate, with the place where it happened.
///
/// ```
/// use foldlog::{ErrorKind, Expected, NewEvent, Store};
///
/// let store = Store::in_memory()?;
/// let opened = || NewEvent::new("Opened", &serde_json::json!({"owner": "Ada"}));
/// store.append("account", "acc-1", Expected::New, [opened()?])?;
/// let error = store.append("account", "acc-1", Expected::New, [opened()?]).unwrap_err();
///
/// assert_eq!(error.kind(), ErrorKind::Conflict);
/// assert_eq!(error.conflict().unwrap().actual, 1);
/// assert_eq!(
///     error.to_string(),
///     "append: version conflict: expected no events, found version 1 (account \"acc-1\"); replay, decide again and append"
/// );
/// # Ok::<(), foldlog::Error>(())
/// ```
pub struct Error(Box<Inner>);

#[derive(Clone)]
struct Inner {
    kind: ErrorKind,
    operation: Option<&'static str>,
    detail: String,
    advice: Option<&'static str>,
    aggregate: Option<AggregateRef>,
    version: Option<Version>,
    position: Option<Position>,
    event_type: Option<String>,
    conflict: Option<Conflict>,
    source: Option<Arc<dyn StdError + Send + Sync>>,
}

impl Error {
    pub(crate) fn new(kind: ErrorKind, detail: impl Into<String>) -> Error {
        Error(Box::new(Inner {
            kind,
            operation: None,
            detail: detail.into(),
            advice: None,
            aggregate: None,
            version: None,
            position: None,
            event_type: None,
            conflict: None,
            source: None,
        }))
    }

    /// The error for a write to a store that was opened for reading.
    pub(crate) fn read_only() -> Error {
        Error::new(ErrorKind::ReadOnly, "the store was opened for reading").advice("open it for writing: Store::open")
    }

    pub(crate) fn version_conflict(expected: Expected, actual: Version) -> Error {
        let found = match actual.get() {
            0 => "no events".to_owned(),
            n => format!("version {n}"),
        };
        let mut error = Error::new(ErrorKind::Conflict, format!("version conflict: expected {expected}, found {found}"))
            .advice("replay, decide again and append");
        error.0.conflict = Some(Conflict { expected, actual });
        error
    }

    // The caller knows the outermost operation. An inner one that is already set is more exact, so it stays.
    pub(crate) fn during(mut self, operation: &'static str) -> Error {
        self.0.operation.get_or_insert(operation);
        self
    }

    pub(crate) fn of(mut self, aggregate: &AggregateRef) -> Error {
        self.0.aggregate.get_or_insert_with(|| aggregate.clone());
        self
    }

    pub(crate) fn at_version(mut self, version: Version) -> Error {
        self.0.version.get_or_insert(version);
        self
    }

    pub(crate) fn at_position(mut self, position: Position) -> Error {
        self.0.position.get_or_insert(position);
        self
    }

    pub(crate) fn event_type_is(mut self, event_type: &str) -> Error {
        self.0.event_type.get_or_insert_with(|| event_type.to_owned());
        self
    }

    pub(crate) fn advice(mut self, advice: &'static str) -> Error {
        self.0.advice.get_or_insert(advice);
        self
    }

    /// Says before the reason what it kept from being done.
    pub(crate) fn because_of(mut self, what: impl fmt::Display) -> Error {
        self.0.detail = format!("{what}: {}", self.0.detail);
        self
    }

    pub(crate) fn with_kind(mut self, kind: ErrorKind) -> Error {
        self.0.kind = kind;
        self
    }

    pub(crate) fn caused_by(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Error {
        self.0.source = Some(Arc::from(source.into()));
        self
    }

    /// The same error, for another call that failed for the same reason.
    pub(crate) fn shared(&self) -> Error {
        Error(self.0.clone())
    }

    /// Whether SQLite reported it, not one of our own checks.
    pub(crate) fn is_of_sqlite(&self) -> bool {
        self.0.source.is_some()
    }

    /// Whether the message gives what the operating system or SQLite said. Other sources are in the detail already.
    fn shows_source(&self) -> bool {
        matches!(self.0.kind, ErrorKind::Io | ErrorKind::ReadOnly | ErrorKind::Internal)
    }

    pub(crate) fn detail(&self) -> &str {
        &self.0.detail
    }

    /// The kind of failure.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// The failed call, such as `append` or `replay`.
    pub fn operation(&self) -> Option<&'static str> {
        self.0.operation
    }

    /// The aggregate at which the call failed.
    pub fn aggregate(&self) -> Option<&AggregateRef> {
        self.0.aggregate.as_ref()
    }

    /// The version, in that aggregate, at which the call failed.
    pub fn version(&self) -> Option<Version> {
        self.0.version
    }

    /// The position in the log at which the call failed.
    pub fn position(&self) -> Option<Position> {
        self.0.position
    }

    /// The type of the event at which the call failed.
    pub fn event_type(&self) -> Option<&str> {
        self.0.event_type.as_deref()
    }

    /// The expected and the actual version, if the kind is [`ErrorKind::Conflict`].
    pub fn conflict(&self) -> Option<&Conflict> {
        self.0.conflict.as_ref()
    }

    /// Whether the same call may succeed without any other change.
    ///
    /// True for [`ErrorKind::Busy`] only: a conflict needs a new decision, a full disk needs space.
    pub fn is_retryable(&self) -> bool {
        self.0.kind == ErrorKind::Busy
    }
}

/// A name may have a thousand bytes, and more if that is what is wrong with it; a message need not.
fn shortened(mut place: String) -> String {
    const MOST: usize = 160;
    if let Some((cut, _)) = place.char_indices().nth(MOST) {
        place.truncate(cut);
        place.push('…');
    }
    place
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let inner = &*self.0;
        if let Some(operation) = inner.operation {
            write!(f, "{operation}: ")?;
        }
        f.write_str(&inner.detail)?;
        if let (true, Some(source)) = (self.shows_source(), &inner.source) {
            write!(f, ": {source}")?;
        }
        let mut places = Vec::new();
        if let Some(aggregate) = &inner.aggregate {
            places.push(shortened(aggregate.to_string()));
        }
        if let Some(version) = inner.version {
            places.push(format!("version {version}"));
        }
        if let Some(position) = inner.position {
            places.push(format!("position {position}"));
        }
        if let Some(event_type) = &inner.event_type {
            places.push(shortened(format!("event type {event_type:?}")));
        }
        if !places.is_empty() {
            write!(f, " ({})", places.join(", "))?;
        }
        if let Some(advice) = inner.advice {
            write!(f, "; {advice}")?;
        }
        Ok(())
    }
}

/// An object with kind, message, place and all that is known, for programs to read.
impl Serialize for Error {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        #[serde(rename_all = "camelCase")]
        struct Fields<'a> {
            kind: ErrorKind,
            message: String,
            operation: Option<&'static str>,
            aggregate: Option<&'a AggregateRef>,
            version: Option<Version>,
            position: Option<Position>,
            event_type: Option<&'a str>,
            conflict: Option<Conflict>,
            is_retryable: bool,
        }
        let fields = Fields {
            kind: self.kind(),
            message: self.to_string(),
            operation: self.operation(),
            aggregate: self.aggregate(),
            version: self.version(),
            position: self.position(),
            event_type: self.event_type(),
            conflict: self.conflict().copied(),
            is_retryable: self.is_retryable(),
        };
        fields.serialize(serializer)
    }
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Error({:?}: {self}", self.0.kind)?;
        if let (false, Some(source)) = (self.shows_source(), &self.0.source) {
            write!(f, ": {source}")?;
        }
        f.write_str(")")
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.source.as_deref().map(|source| source as &(dyn StdError + 'static))
    }
}
