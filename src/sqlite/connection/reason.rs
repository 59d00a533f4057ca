//! Why a file cannot be opened: SQLite says only that it cannot.

use std::fs::OpenOptions;
use std::io;
use std::path::Path;

use uuid::Uuid;

use super::paths::{hard_linked, links};
use crate::model::error::{Error, ErrorKind, Result};

/// SQLite's own limit for a path on Unix, so that the longest of its files' names still fits into 512 bytes.
const LONGEST_PATH: usize = 504;
/// What nearly all file systems allow for a name, without the `-journal` that SQLite appends.
const LONGEST_NAME: usize = 255 - 8;

/// Refuses a path that cannot be that of a store, before SQLite sees it.
pub(super) fn check_path(path: &Path, read_only: bool) -> Result<()> {
    let io = |detail: String, advice| Err(Error::new(ErrorKind::Io, detail).advice(advice));
    match std::fs::metadata(path) {
        Ok(file) if file.is_dir() => io(format!("{} is a directory, not a file", path.display()), "name a file in it"),
        // Opening a pipe would block, and reading a device would never end.
        Ok(file) if !file.is_file() => io(format!("{} is not a plain file", path.display()), "choose another path"),
        Ok(file) if links(&file) > 1 => Err(hard_linked(path)),
        Ok(_) => check_length(path),
        Err(error) if error.kind() == io::ErrorKind::NotFound && !read_only => match path.parent().map(std::fs::metadata) {
            Some(Err(error)) if error.kind() == io::ErrorKind::NotFound => {
                io(format!("the directory {} does not exist", path.parent().unwrap_or(path).display()), "create it first")
            }
            Some(Err(error)) => Err(cannot(path, "", advice(&error)).caused_by(error)),
            _ => check_length(path),
        },
        Err(error) => {
            if error.kind() == io::ErrorKind::NotFound {
                check_length(path)?;
            }
            Err(cannot(path, "", advice(&error)).caused_by(error))
        }
    }
}

fn check_length(path: &Path) -> Result<()> {
    let length = path.as_os_str().len();
    if cfg!(unix) && length > LONGEST_PATH {
        let what =
            format!("{} cannot be opened: the path has {length} bytes; SQLite takes {LONGEST_PATH} at most", path.display());
        return Err(Error::new(ErrorKind::Io, what).advice("use a shorter path"));
    }
    Ok(())
}

fn advice(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::NotFound => "check the path",
        io::ErrorKind::PermissionDenied => "give this process's user access to the file and its directory",
        io::ErrorKind::ReadOnlyFilesystem => "open it with open_read_only, or move it to a place that can be written",
        io::ErrorKind::InvalidFilename => "use a shorter name",
        _ => "remove the cause, then open the store again",
    }
}

/// The message shows the cause too, so `why` is empty if that says it.
fn cannot(path: &Path, why: &str, advice: &'static str) -> Error {
    Error::new(ErrorKind::Io, format!("{} cannot be opened{why}", path.display())).advice(advice)
}

/// Adds the operating system's reason to an error of SQLite, by trying what SQLite tried.
pub(super) fn explained(path: &Path, read_only: bool, error: Error) -> Error {
    let is_of_sqlite = std::error::Error::source(&error).is_some_and(|source| source.is::<rusqlite::Error>());
    if !is_of_sqlite || !matches!(error.kind(), ErrorKind::Io | ErrorKind::ReadOnly) {
        return error;
    }
    let kind = error.kind();
    let Some(reason) = reason_of_file(path, read_only).or_else(|| reason_of_directory(path, read_only)) else { return error };
    reason.with_kind(kind).caused_by(error)
}

fn reason_of_file(path: &Path, read_only: bool) -> Option<Error> {
    let name = path.file_name().map_or(0, |name| name.len());
    if name > LONGEST_NAME {
        let what = format!(
            "{} cannot be opened: its name has {name} bytes, and with the ends of SQLite's own files beside it more than the \
             255 that a file system allows",
            path.display()
        );
        return Some(Error::new(ErrorKind::Io, what).advice("use a name of at most 247 bytes"));
    }
    match OpenOptions::new().read(true).write(!read_only).open(path) {
        Ok(file) => {
            // Closing it would drop the locks of another store that this process has on the file.
            std::mem::forget(file);
            None
        }
        // It would have been made. What keeps it from that shows in its directory.
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => Some(cannot(path, &format!(": {error}"), advice(&error))),
    }
}

/// SQLite makes files beside the store's.
fn reason_of_directory(path: &Path, read_only: bool) -> Option<Error> {
    let directory = path.parent().filter(|_| !read_only)?;
    let probe = directory.join(format!(".foldlog-{}", Uuid::new_v4()));
    match OpenOptions::new().write(true).create_new(true).open(&probe) {
        Ok(_) => {
            // It is empty and nobody knows it.
            let _ = std::fs::remove_file(&probe);
            None
        }
        Err(error) => {
            let what = format!("no files can be created in {}: {error}", directory.display());
            Some(Error::new(ErrorKind::Io, what).advice("the store needs a -wal and a -shm file there; or use open_read_only"))
        }
    }
}
