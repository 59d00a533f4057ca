//! The archive: a second SQLite file with the oldest events of some aggregates. Its rows are copies, byte by byte, of
//! rows that were in the main file, and refer to the main file's numbers.
//!
//! Which events are archived only the main file says: `removals` by aggregate, `holes` by position. A row of the archive
//! that it does not mention is ignored, so a move that was interrupted leaves nothing to clean up.

use std::borrow::Cow;

use rusqlite::params;
use rusqlite::types::{ToSqlOutput, ValueRef};
use uuid::Uuid;

use crate::model::error::{Error, ErrorKind, Result};
use crate::sqlite::archive_path::ArchivePath;
use crate::sqlite::tables::log_state;
use crate::sqlite::transaction::View;

/// Which of the two files holds an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    Main,
    Archive,
}

impl Part {
    /// Makes this part readable.
    pub(crate) fn open(self, view: &View<'_>) -> Result<()> {
        match self {
            Part::Main => Ok(()),
            Part::Archive => attach(view),
        }
    }

    /// A statement that reads `events`, for this part. It must be [open](Part::open).
    pub(crate) fn sql(self, sql: &'static str) -> Cow<'static, str> {
        match self {
            Part::Main => Cow::Borrowed(sql),
            Part::Archive => Cow::Owned(sql.replace(" events ", " archive.events ")),
        }
    }
}

/// Makes the archive readable through this connection, as the schema `archive`.
///
/// Its first read must come after the main file's in the same transaction. An event leaves the main file only after its
/// copy is in the archive, so the two views then fit together.
pub(crate) fn attach(view: &View<'_>) -> Result<()> {
    if is_attached(view)? {
        return Ok(());
    }
    let archive = path(view)?;
    if archive.is_missing() {
        return Err(archive.missing());
    }
    attach_file(view, archive)?;
    let expected = log_state::archive_id(view)?;
    match stored_id(view) {
        Ok(found) if Some(found) == expected => Ok(()),
        other => {
            view.connection().execute_batch("DETACH archive").map_err(|error| archive.foreign().caused_by(error))?;
            match other {
                Err(error) if matches!(error.kind(), ErrorKind::Busy | ErrorKind::Io) => Err(error),
                _ => Err(archive.foreign()),
            }
        }
    }
}

pub(crate) fn is_attached(view: &View<'_>) -> Result<bool> {
    view.value("SELECT EXISTS (SELECT 1 FROM pragma_database_list WHERE name = 'archive')", [])
}

/// The archive's path.
pub(crate) fn path<'v>(view: &View<'v>) -> Result<&'v ArchivePath> {
    view.names
        .archive
        .as_ref()
        .ok_or_else(|| Error::new(ErrorKind::ArchiveMissing, "a store in memory has no archive").advice("use a store in a file"))
}

pub(crate) fn attach_file(view: &View<'_>, archive: &ArchivePath) -> Result<()> {
    let path = archive.path();
    let name = ToSqlOutput::Borrowed(ValueRef::Text(path.as_os_str().as_encoded_bytes()));
    view.prepare("ATTACH ?1 AS archive")?
        .execute(params![name])
        .map(|_| ())
        .map_err(|error| Error::new(ErrorKind::Io, format!("the archive {} cannot be opened", path.display())).caused_by(error))
}

pub(crate) fn stored_id(view: &View<'_>) -> Result<Uuid> {
    Ok(Uuid::from_bytes(view.value("SELECT archive_id FROM archive.archive_state WHERE id = 1", [])?))
}

/// The archive lacks an event that the main file says it has.
pub(crate) fn lacks_event() -> Error {
    Error::new(ErrorKind::Corrupt, "an event is missing from the archive")
        .advice("restore the archive from a backup that was made after the main file's")
}
