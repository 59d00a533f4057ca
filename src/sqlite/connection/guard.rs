//! Whether the store's path still leads to the files that were opened, and a lock on writing that no copy can drop.
//!
//! SQLite knows a file by its descriptors. After its path was deleted, moved or replaced it would go on writing to a file
//! that nobody finds again. And on Unix a process loses all its POSIX locks on a file as soon as it closes any descriptor
//! of that file, as code does that copies it. SQLite's locks are of this kind, so another process could then write at the
//! same time, or take the write-ahead log for one that nobody uses and delete it.
//!
//! So each write also holds a `flock` on the write-ahead log, which belongs to a descriptor and not to the process; opening
//! and closing take it too. Under it the store compares the files behind its paths with those that it opened.
//!
//! On Windows nobody can delete, move or replace a file that SQLite has open, and locks belong to handles, so a store has
//! no guard there.

use std::fs::{File, Metadata};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{RwLock, RwLockReadGuard};
use std::time::{Duration, Instant};

use super::busy;
use super::paths::{beside, hard_linked, links};
use crate::model::error::{Error, ErrorKind, Result};
use crate::sync;

/// A write-ahead log that was deleted is noticed at once. One that was only moved still holds all events; it is looked
/// for by its path at most this often.
const LOOK_FOR_LOG_EVERY: Duration = Duration::from_millis(10);
/// The longest that closing waits for somebody who is writing. Then it leaves the write-ahead log as it is.
const LONGEST_WAIT: Duration = Duration::from_secs(1);

/// The files that a store has open.
pub(super) struct Guard {
    path: PathBuf,
    log_path: PathBuf,
    opened: RwLock<Opened>,
    began: Instant,
    /// When the log was last looked for by its path, in microseconds after `began`.
    looked_for_log: AtomicU64,
    read_only: bool,
}

/// What was found at the paths when the store was opened.
struct Opened {
    file: Identity,
    /// `None` for a store on a read-only medium, which has no write-ahead log, or if it was gone at once.
    log: Option<(Identity, File)>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
struct Identity {
    device: u64,
    inode: u64,
}

impl Identity {
    #[cfg(unix)]
    fn of(file: &Metadata) -> Identity {
        use std::os::unix::fs::MetadataExt;
        Identity { device: file.dev(), inode: file.ino() }
    }

    #[cfg(not(unix))]
    fn of(_: &Metadata) -> Identity {
        Identity { device: 0, inode: 0 }
    }
}

/// Why a store must not go on.
pub(super) enum Lost {
    /// The write-ahead log is gone. This process still has it open and can save what is in it.
    Log(Error),
    /// Another write-ahead log is in its place, and is in use. What was in the own one was saved by whoever deleted it,
    /// or cannot be saved.
    LogTaken(Error),
    /// The file itself, or nobody can tell.
    File(Error),
}

impl From<Lost> for Error {
    fn from((Lost::Log(error) | Lost::LogTaken(error) | Lost::File(error)): Lost) -> Error {
        error
    }
}

/// A lock on writing, until it is dropped.
pub(super) struct WriteLock<'a> {
    opened: RwLockReadGuard<'a, Opened>,
}

impl Drop for WriteLock<'_> {
    fn drop(&mut self) {
        if let Some((_, log)) = &self.opened.log {
            // It also ends with the descriptor.
            let _ = log.unlock();
        }
    }
}

/// A lock on the write-ahead log while a store is opened, so that SQLite does not renew what it shares with others in the
/// middle of a write of somebody whose locks were dropped. `None` if there is no log and none may be made, or if somebody is
/// writing for longer than `patience`: then opening goes on, because it writes nothing.
pub(super) fn lock_before_opening(path: &Path, may_make_log: bool, patience: Duration) -> Option<File> {
    let log_path = beside(path, "-wal");
    busy::up_to(patience);
    loop {
        let log = match File::open(&log_path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound && may_make_log => make_log(path, &log_path)?,
            opened => opened.ok()?,
        };
        if !matches!(lock(&log), Ok(true)) {
            return None;
        }
        // Whoever closed the store last has deleted it meanwhile.
        let identity = Identity::of(&log.metadata().ok()?);
        if std::fs::metadata(&log_path).is_ok_and(|found| Identity::of(&found) == identity) {
            return Some(log);
        }
    }
}

/// Makes an empty log of a file that is not empty, with the file's mode and owner, as SQLite would.
fn make_log(path: &Path, log_path: &Path) -> Option<File> {
    let file = std::fs::metadata(path).ok().filter(|file| file.len() > 1)?;
    let mut options = File::options();
    options.read(true).write(true).create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, std::os::unix::fs::MetadataExt::mode(&file) & 0o777);
    let log = options.open(log_path).ok()?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        // Only the administrator can give files away, and only then is it needed.
        let _ = std::os::unix::fs::fchown(&log, Some(file.uid()), Some(file.gid()));
    }
    Some(log)
}

/// Takes the lock, and waits as long as the current call may. `false` if others keep it for longer.
fn lock(log: &File) -> io::Result<bool> {
    let mut attempt = 0;
    loop {
        match log.try_lock() {
            Ok(()) => return Ok(true),
            Err(std::fs::TryLockError::WouldBlock) if busy::wait(attempt) => attempt = attempt.saturating_add(1),
            Err(std::fs::TryLockError::WouldBlock) => return Ok(false),
            Err(std::fs::TryLockError::Error(error)) => return Err(error),
        }
    }
}

impl Guard {
    /// Notes which files a connection has just opened.
    pub(super) fn new(path: &Path, read_only: bool) -> Result<Guard> {
        let log_path = beside(path, "-wal");
        let opened = RwLock::new(Opened::find(path, &log_path)?);
        Ok(Guard { path: path.to_owned(), log_path, opened, began: Instant::now(), looked_for_log: AtomicU64::new(0), read_only })
    }

    /// Takes the lock on writing, waits for others as long as the current call may, and checks the files.
    pub(super) fn lock(&self) -> Result<WriteLock<'_>, Lost> {
        self.lock_and_check(false)
    }

    fn lock_and_check(&self, thoroughly: bool) -> Result<WriteLock<'_>, Lost> {
        let opened = sync::read(&self.opened);
        let Some((_, log)) = &opened.log else { return Err(Lost::Log(self.no_log())) };
        match lock(log) {
            Ok(false) => {
                return Err(Lost::File(
                    Error::new(ErrorKind::Busy, "another connection held the write lock longer than the busy time-out")
                        .advice("try again, or raise Options::busy_timeout"),
                ));
            }
            // A file system without this kind of lock.
            Err(_) => {}
            Ok(true) => {}
        }
        let locked = WriteLock { opened };
        self.check(&locked.opened, true, thoroughly)?;
        Ok(locked)
    }

    /// As [`Guard::lock`], before the last connection is closed.
    pub(super) fn lock_before_closing(&self, patience: Duration) -> Result<WriteLock<'_>, Lost> {
        busy::up_to(patience.min(LONGEST_WAIT));
        self.lock_and_check(true)
    }

    /// As [`Guard::lock_before_closing`], if the own log is gone: on the log that is at the path now, or a new one. `None` if
    /// somebody has written to it, or is doing so.
    pub(super) fn lock_other_log(&self, patience: Duration) -> Option<File> {
        let log = lock_before_opening(&self.path, true, patience.min(LONGEST_WAIT))?;
        (!self.has_other_log()).then_some(log)
    }

    /// Whether the log at the path has been written to.
    pub(super) fn has_other_log(&self) -> bool {
        std::fs::metadata(&self.log_path).is_ok_and(|log| log.len() > 0)
    }

    /// Checks the files before a reading. They stay the ones that are open until the result is dropped.
    pub(super) fn reading(&self) -> Result<impl Sized + '_, Lost> {
        let opened = sync::read(&self.opened);
        self.check(&opened, false, false)?;
        Ok(opened)
    }

    /// Lets `reopen` open all connections again while nobody reads, and notes which files are open then, if it says that it
    /// did so. Returns `false` if readings went on for longer than the current call may wait.
    pub(super) fn renew(&self, reopen: impl FnOnce() -> Result<bool>) -> Result<bool> {
        let mut attempt = 0;
        loop {
            // Never queues for it, because a reading may begin another one.
            if let Ok(mut opened) = self.opened.try_write() {
                if reopen()? {
                    *opened = Opened::find(&self.path, &self.log_path)?;
                }
                return Ok(true);
            }
            if !busy::wait(attempt) {
                return Ok(false);
            }
            attempt = attempt.saturating_add(1);
        }
    }

    fn check(&self, opened: &Opened, writing: bool, thoroughly: bool) -> Result<(), Lost> {
        match std::fs::metadata(&self.path) {
            Ok(file) if Identity::of(&file) != opened.file => {
                self.set_log_aside(opened);
                return Err(Lost::File(self.replaced()));
            }
            Ok(file) if writing && links(&file) > 1 => return Err(Lost::File(hard_linked(&self.path))),
            Ok(_) => {}
            Err(error) => return Err(Lost::File(self.gone(error))),
        }
        let Some((identity, log)) = &opened.log else {
            return if self.read_only { Ok(()) } else { Err(Lost::Log(self.no_log())) };
        };
        let is_deleted = log.metadata().map_or(true, |log| links(&log) == 0);
        if !thoroughly && !is_deleted && !self.is_time_to_look() {
            return Ok(());
        }
        match std::fs::metadata(&self.log_path) {
            Ok(found) if Identity::of(&found) == *identity => Ok(()),
            // An empty one is of somebody who has not written to it.
            Ok(found) if found.len() > 0 => Err(Lost::LogTaken(self.other_log())),
            _ => Err(Lost::Log(self.no_log())),
        }
    }

    /// Moves the write-ahead log of the file that was replaced away: SQLite would take it for the new file's. Failures
    /// are ignored, because then it is somebody else's by now.
    fn set_log_aside(&self, opened: &Opened) {
        let Some((identity, _)) = opened.log.as_ref().filter(|_| !self.read_only) else { return };
        if std::fs::metadata(&self.log_path).is_ok_and(|log| Identity::of(&log) == *identity) {
            let _ = std::fs::rename(&self.log_path, beside(&self.path, "-wal-replaced"));
            let _ = std::fs::remove_file(beside(&self.path, "-shm"));
        }
    }

    fn is_time_to_look(&self) -> bool {
        let now = u64::try_from(self.began.elapsed().as_micros()).unwrap_or(u64::MAX);
        let last = self.looked_for_log.load(Ordering::Relaxed);
        let is_time = u128::from(now.saturating_sub(last)) >= LOOK_FOR_LOG_EVERY.as_micros();
        if is_time {
            self.looked_for_log.store(now, Ordering::Relaxed);
        }
        is_time
    }

    fn gone(&self, error: io::Error) -> Error {
        let path = self.path.display();
        let what = match error.kind() {
            io::ErrorKind::NotFound => format!("{path} was deleted or moved while the store was open"),
            _ => format!("{path} cannot be reached any more: {error}"),
        };
        Error::new(ErrorKind::FileMoved, what)
            .advice("move it back together with its -wal file, or open the store again where it is now")
            .caused_by(error)
    }

    fn replaced(&self) -> Error {
        let what = format!("{} was replaced by another file while the store was open", self.path.display());
        Error::new(ErrorKind::FileMoved, what).advice(
            "open the store again to use the new file; the newest events of the old one may be in the file that ends in \
             -wal-replaced",
        )
    }

    fn no_log(&self) -> Error {
        let what = format!("{} was deleted or moved while the store was open", self.log_path.display());
        Error::new(ErrorKind::FileMoved, what).advice("open the store again")
    }

    fn other_log(&self) -> Error {
        let what = format!("{} was replaced by another file while the store was open", self.log_path.display());
        Error::new(ErrorKind::FileMoved, what).advice("open the store again")
    }
}

impl Opened {
    fn find(path: &Path, log_path: &Path) -> Result<Opened> {
        let cannot = |path: &Path, error: io::Error| {
            Error::new(ErrorKind::Io, format!("{} cannot be looked at: {error}", path.display())).caused_by(error)
        };
        let file = Identity::of(&std::fs::metadata(path).map_err(|error| cannot(path, error))?);
        let log = match File::open(log_path) {
            Ok(log) => Some((Identity::of(&log.metadata().map_err(|error| cannot(log_path, error))?), log)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(cannot(log_path, error)),
        };
        Ok(Opened { file, log })
    }
}
