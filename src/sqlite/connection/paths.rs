//! The paths of a store's files, and what the operating system says of them.

use std::fs::Metadata;
use std::path::{Path, PathBuf};

use crate::model::error::{Error, ErrorKind, Result};

/// Makes a path absolute and resolves its symbolic links, so that neither another working directory nor another link
/// changes where it leads. Refuses paths that SQLite would misread.
pub(crate) fn absolute(path: &Path) -> Result<PathBuf> {
    let refuse = |detail: &str| Err(Error::new(ErrorKind::InvalidInput, format!("{detail}: {}", path.display())));
    if path.as_os_str().is_empty() {
        return Err(Error::new(ErrorKind::InvalidInput, "the path is empty").advice("name a file"));
    }
    if path.as_os_str().as_encoded_bytes().contains(&0) {
        return refuse("the path holds a NUL byte");
    }
    let path = std::path::absolute(path)
        .map_err(|error| Error::new(ErrorKind::Io, format!("the working directory cannot be read: {error}")).caused_by(error))?;
    Ok(resolved(&path).unwrap_or(path))
}

/// The path without symbolic links. If there is no file yet, that of its directory with the file's name.
#[cfg(unix)]
fn resolved(path: &Path) -> Option<PathBuf> {
    if let Ok(real) = std::fs::canonicalize(path) {
        return Some(real);
    }
    Some(std::fs::canonicalize(path.parent()?).ok()?.join(path.file_name()?))
}

/// Elsewhere this would make a verbatim path, which SQLite cannot open in each case.
#[cfg(not(unix))]
fn resolved(_: &Path) -> Option<PathBuf> {
    None
}

/// How many names a file has.
#[cfg(unix)]
pub(super) fn links(file: &Metadata) -> u64 {
    std::os::unix::fs::MetadataExt::nlink(file)
}

/// Known on Unix only.
#[cfg(not(unix))]
pub(super) fn links(_: &Metadata) -> u64 {
    1
}

/// The size of a database's write-ahead log, in bytes; 0 if there is none.
pub(crate) fn wal_bytes(path: &Path) -> u64 {
    std::fs::metadata(beside(path, "-wal")).map_or(0, |file| file.len())
}

/// Creates an empty file that only its owner may read and write.
pub(super) fn private(path: &Path) -> std::io::Result<()> {
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path).map(|_| ())
}

/// The path of one of the files that SQLite keeps beside a database.
pub(in crate::sqlite) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// Each name of a file would have a write-ahead log of its own, and so its own truth.
pub(super) fn hard_linked(path: &Path) -> Error {
    Error::new(ErrorKind::HardLink, format!("{} has another name: a hard link", path.display()))
        .advice("remove all names but one; to copy a store use Store::backup")
}

/// Escapes every byte but the plainest, because a name need not be UTF-8.
pub(super) fn immutable_uri(path: &Path) -> String {
    let mut uri = String::from("file:");
    if !path.has_root() || cfg!(windows) {
        uri.push('/');
    }
    for byte in path.as_os_str().as_encoded_bytes() {
        match byte {
            b'\\' if cfg!(windows) => uri.push('/'),
            b'/' | b':' | b'.' | b'-' | b'_' => uri.push(char::from(*byte)),
            plain if plain.is_ascii_alphanumeric() => uri.push(char::from(*plain)),
            other => uri.push_str(&format!("%{other:02x}")),
        }
    }
    uri.push_str("?immutable=1");
    uri
}
