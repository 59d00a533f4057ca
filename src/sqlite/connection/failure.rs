//! Converts SQLite's errors into ours. No other file names a SQLite result code.

use rusqlite::ErrorCode;

use crate::model::error::{Error, ErrorKind, Result};

/// Converts the result of a statement.
pub(in crate::sqlite) trait Sql<T> {
    fn sql(self) -> Result<T>;
}

impl<T> Sql<T> for rusqlite::Result<T> {
    fn sql(self) -> Result<T> {
        self.map_err(failed)
    }
}

fn failed(error: rusqlite::Error) -> Error {
    use rusqlite::Error as E;
    let (kind, detail) = match &error {
        E::SqliteFailure(failure, _) => of_code(failure.code),
        // These are our own statements on our own tables, so a value of another type can only come from damage.
        E::FromSqlConversionFailure(..) | E::IntegralValueOutOfRange(..) | E::InvalidColumnType(..) | E::Utf8Error(..) => {
            (ErrorKind::Corrupt, "the file holds a value of a type that was never written there")
        }
        E::QueryReturnedNoRows => (ErrorKind::Corrupt, "a row that must be in the file is missing"),
        _ => (ErrorKind::Internal, "a statement failed in a way that should not be possible"),
    };
    let error_of_kind = Error::new(kind, detail);
    let error_of_kind = match kind {
        ErrorKind::Busy => error_of_kind.advice("try again, or raise Options::busy_timeout"),
        ErrorKind::ForeignFile => error_of_kind.advice("choose another path; the file was not changed"),
        ErrorKind::DiskFull => error_of_kind.advice("make space and try again"),
        ErrorKind::Corrupt => error_of_kind.advice("copy the file before anything else, then restore a backup"),
        _ if error.sqlite_error_code() == Some(ErrorCode::CannotOpen) => error_of_kind
            .advice("check the directory's permissions, that the path has at most 504 bytes, and the file's name at most 247"),
        _ => error_of_kind,
    };
    error_of_kind.caused_by(error)
}

fn of_code(code: ErrorCode) -> (ErrorKind, &'static str) {
    match code {
        ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked => {
            (ErrorKind::Busy, "another connection held the write lock longer than the busy time-out")
        }
        ErrorCode::DiskFull => (ErrorKind::DiskFull, "the disk or a quota is full"),
        ErrorCode::ReadOnly | ErrorCode::PermissionDenied => (ErrorKind::ReadOnly, "the file cannot be written"),
        ErrorCode::NotADatabase => (ErrorKind::ForeignFile, "the file is not a foldlog file: it is not a SQLite file at all"),
        ErrorCode::DatabaseCorrupt => (ErrorKind::Corrupt, "the file's pages are damaged"),
        ErrorCode::ConstraintViolation => (ErrorKind::Corrupt, "the file's tables contradict each other"),
        ErrorCode::SystemIoFailure | ErrorCode::FileLockingProtocolFailed | ErrorCode::NoLargeFileSupport => {
            (ErrorKind::Io, "the operating system refused to read or write")
        }
        ErrorCode::CannotOpen => (ErrorKind::Io, "the file or its write-ahead log cannot be opened"),
        ErrorCode::TooBig => (ErrorKind::LimitExceeded, "a text is larger than SQLite allows"),
        ErrorCode::OutOfMemory => (ErrorKind::Io, "there is not enough memory"),
        _ => (ErrorKind::Internal, "SQLite failed in a way that should not be possible"),
    }
}
