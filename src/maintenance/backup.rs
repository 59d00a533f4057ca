//! Backup and restore: a verified copy of the whole file, made while others write.

use std::fs::{File, OpenOptions};
use std::io;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use serde::Serialize;
use uuid::Uuid;

use crate::engine::Engine;
use crate::log::scope::Scope;
use crate::model::error::{Error, ErrorKind, Result};
use crate::model::place::Position;
use crate::options::Options;
use crate::storage::verify::VerifyReport;

/// What SQLite keeps beside a file. Left behind by another file of the same name, it would be taken for changes of this one.
const COMPANIONS: [&str; 4] = ["-wal", "-shm", "-journal", ARCHIVE];
/// The file of archived events.
const ARCHIVE: &str = ".archive";

/// A step of a backup.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub enum BackupStep {
    /// Pages are copied.
    #[default]
    Copy,
    /// The copy is verified, as by [`Maintenance::verify`](crate::Maintenance::verify): rows of its present step.
    Verify,
}

/// The progress, and in the end the result, of a backup.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct BackupProgress {
    /// The current step.
    pub step: BackupStep,
    /// Pages copied, or rows verified.
    pub done: u64,
    /// Pages to copy, or rows of the current step of the verification; 0 if not known beforehand.
    pub total: u64,
    /// The last position of the log that is in the copy.
    pub last_position: Position,
    /// The size of the copy, in bytes; 0 before it is whole.
    pub bytes: u64,
    /// Whether it finished; `false` if it was stopped, and then there is no copy.
    pub finished: bool,
}

/// The result of a restore.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Restored {
    /// What was copied.
    pub copied: BackupProgress,
    /// Files that were left of an earlier file of this name, such as its write-ahead log: they got these names, because they
    /// do not belong to the restored file.
    pub set_aside: Vec<PathBuf>,
}

/// Makes a verified copy at a path where there is no file.
pub(crate) fn backup(
    scope: &Scope,
    to: &Path,
    progress: &mut dyn FnMut(&BackupProgress) -> ControlFlow<()>,
) -> Result<BackupProgress> {
    refuse_existing(to)?;
    refuse_left_behind(to)?;
    match copy(scope, to, progress)? {
        (done, Some(copy)) => copy.publish(to).map(|()| done),
        (stopped, None) => Ok(stopped),
    }
}

/// As [`backup`], and moves away what was left of an earlier file of this name. With `as_new` the copy gets an identity of its
/// own.
pub(crate) fn restore(
    backup: &Scope,
    to: &Path,
    as_new: bool,
    progress: &mut dyn FnMut(&BackupProgress) -> ControlFlow<()>,
) -> Result<Restored> {
    refuse_existing(to)?;
    let (copied, copy) = copy(backup, to, progress)?;
    let mut set_aside = Vec::new();
    if let Some(copy) = copy {
        if as_new {
            let options = Options { archive_path: None, ..backup.options().clone() };
            let engine = Engine::open(&copy.path, &options)?;
            engine.renew_replica()?;
            // Closing it moves the write-ahead log into the file.
            drop(engine);
            sync(&copy.path)?;
        }
        for left in left_behind(to) {
            let mut name = left.clone().into_os_string();
            name.push(format!(".left-behind-{}", Uuid::new_v4().simple()));
            std::fs::rename(&left, &name).map_err(|error| io_error(format!("{} cannot be moved away", left.display()), error))?;
            set_aside.push(PathBuf::from(name));
        }
        copy.publish(to)?;
    }
    Ok(Restored { copied, set_aside })
}

/// Copies and verifies. `None` if it was stopped.
fn copy(
    scope: &Scope,
    to: &Path,
    progress: &mut dyn FnMut(&BackupProgress) -> ControlFlow<()>,
) -> Result<(BackupProgress, Option<Copy>)> {
    let mut copy = Copy::make(to)?;
    let mut done = BackupProgress::default();
    let copied = scope.engine().copy_to_file(&copy.path, |copied| {
        (done.done, done.total) = (copied.pages, copied.total);
        done.last_position = Position::new(copied.last_position);
        progress(&done).is_continue()
    })?;
    if !copied {
        return Ok((done, None));
    }
    let copied = scope.engine().copy_archive_to_file(&beside(&copy.path, ARCHIVE), |copied| {
        (done.done, done.total) = (copied.pages, copied.total);
        progress(&done).is_continue()
    })?;
    if copied == Some(false) {
        return Ok((done, None));
    }
    done.step = BackupStep::Verify;
    let options = Options { archive_path: None, audit: false, ..scope.options().clone() };
    let engine = Engine::open(&copy.path, &options)?;
    let report = engine.verify(&mut |reached| {
        (done.done, done.total) = (reached.done, reached.total);
        progress(&done)
    })?;
    // Closing it removes what SQLite keeps beside the file.
    drop(engine);
    if !report.finished {
        return Ok((done, None));
    }
    refuse_damaged(&report)?;
    done.bytes = sync(&copy.path)?;
    copy.has_archive = copied.is_some();
    if copy.has_archive {
        done.bytes += sync(&beside(&copy.path, ARCHIVE))?;
    }
    done.finished = true;
    Ok((done, Some(copy)))
}

fn refuse_damaged(report: &VerifyReport) -> Result<()> {
    match report.damages.first() {
        None => Ok(()),
        Some(first) => Err(Error::new(ErrorKind::Corrupt, format!("the copy is damaged, as the file is: {first}"))
            .advice("verify the file; the copy was not kept")),
    }
}

/// Refuses a place where an earlier file of the name left something.
pub(crate) fn refuse_left_behind(to: &Path) -> Result<()> {
    match left_behind(to).first() {
        None => Ok(()),
        Some(left) => Err(Error::new(ErrorKind::InvalidInput, format!("{} was left behind by another file", left.display()))
            .advice("choose another name, or move it away")),
    }
}

pub(crate) fn refuse_existing(to: &Path) -> Result<()> {
    match std::fs::symlink_metadata(to) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(io_error(format!("{} cannot be looked at", to.display()), error)),
        Ok(_) => Err(exists(to)),
    }
}

fn exists(to: &Path) -> Error {
    Error::new(ErrorKind::InvalidInput, format!("there is a file at {} already", to.display()))
        .advice("choose another name, or move it away together with its -wal and -shm files")
}

fn left_behind(to: &Path) -> Vec<PathBuf> {
    COMPANIONS.iter().map(|ending| beside(to, ending)).filter(|path| path.symlink_metadata().is_ok()).collect()
}

pub(crate) fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    PathBuf::from(name)
}

pub(crate) fn io_error(what: String, error: io::Error) -> Error {
    Error::new(ErrorKind::Io, format!("{what}: {error}")).caused_by(error)
}

/// An unfinished copy beside its place. It disappears unless it is published.
pub(crate) struct Copy {
    path: PathBuf,
    has_archive: bool,
}

impl Copy {
    pub(crate) fn make(to: &Path) -> Result<Copy> {
        let path = beside(to, &format!(".{}.tmp", Uuid::new_v4().simple()));
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        options.open(&path).map_err(|error| io_error(format!("{} cannot be made", path.display()), error))?;
        Ok(Copy { path, has_archive: false })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Gives it its name, unless another file has it by now. The archive comes first, so that the main file is never there
    /// without it.
    pub(crate) fn publish(&self, to: &Path) -> Result<()> {
        if self.has_archive {
            give_name(&beside(&self.path, ARCHIVE), &beside(to, ARCHIVE))?;
        }
        give_name(&self.path, to)?;
        if let Some(folder) = to.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            // Only some systems can sync a folder; elsewhere a power cut may take the name back, never the source.
            let _ = File::open(folder).and_then(|folder| folder.sync_all());
        }
        Ok(())
    }
}

impl Drop for Copy {
    fn drop(&mut self) {
        for ending in COMPANIONS.iter().chain([&""]) {
            // Most of them do not exist.
            let _ = std::fs::remove_file(beside(&self.path, ending));
        }
    }
}

/// Waits until the disk has a file; returns its size.
pub(crate) fn sync(path: &Path) -> Result<u64> {
    let file = OpenOptions::new().write(true).open(path);
    let synced = file.and_then(|file| file.sync_all().and_then(|()| file.metadata()));
    Ok(synced.map_err(|error| io_error(format!("{} cannot be written", path.display()), error))?.len())
}

/// Gives a file a name, unless another one has it.
fn give_name(from: &Path, to: &Path) -> Result<()> {
    // A link fails where a file is; a rename would replace it.
    match std::fs::hard_link(from, to) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Err(exists(to)),
        // Not every file system has links.
        Err(_) => {
            refuse_existing(to)?;
            std::fs::rename(from, to).map_err(|error| io_error(format!("{} cannot be made", to.display()), error))
        }
    }
}
