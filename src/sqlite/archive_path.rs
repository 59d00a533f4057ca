//! Where the archive of a file is.

use std::path::{Path, PathBuf};

use crate::model::error::{Error, ErrorKind};

/// Where the archive of a file is, or would be.
#[derive(Clone, Debug)]
pub(crate) struct ArchivePath {
    path: PathBuf,
    /// Whether the operating system knows the path; a VFS of the application may keep its files elsewhere.
    is_of_system: bool,
}

impl ArchivePath {
    pub(crate) fn new(path: PathBuf, is_of_system: bool) -> ArchivePath {
        ArchivePath { path, is_of_system }
    }

    /// Where it is unless the options say otherwise: next to the file, as `<file>.archive`.
    pub(crate) fn beside(main: &Path, is_of_system: bool) -> ArchivePath {
        let mut path = main.as_os_str().to_owned();
        path.push(".archive");
        ArchivePath::new(path.into(), is_of_system)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn is_missing(&self) -> bool {
        self.is_of_system && !self.path.is_file()
    }

    pub(crate) fn missing(&self) -> Error {
        Error::new(
            ErrorKind::ArchiveMissing,
            format!("the events are in the archive {}, which is not there", self.path.display()),
        )
        .advice("put the archive back next to the file, or say where it is with Options::archive_path")
    }

    pub(crate) fn foreign(&self) -> Error {
        Error::new(ErrorKind::ArchiveMissing, format!("the archive {} is not the one of this file", self.path.display()))
            .advice("put this file's own archive there, or say where it is with Options::archive_path")
    }
}
