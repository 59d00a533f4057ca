//! What happened before the cut, as far as anybody outside of the file knows of it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use foldlog::{EventId, RecordedEvent};

use crate::support::disk::{Disk, Fault};

/// An event as somebody saw it.
#[derive(Clone, Debug)]
pub struct Seen {
    pub position: u64,
    pub id: EventId,
}

impl Seen {
    pub fn of(event: &RecordedEvent) -> Seen {
        Seen { position: event.position.get(), id: event.id }
    }
}

/// What the outside world did with an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    Taken,
    Failed,
    Refused,
}

#[derive(Clone, Debug)]
pub enum Entry {
    /// A commit has returned: the log is as the world with this number.
    Committed(usize),
    /// The outbox handed an event out.
    Published { event: Seen, attempt: u32, answer: Answer },
    /// The handler got an event, and took it or failed.
    Handled { event: Seen, taken: bool },
    /// All dead letters are about to be revived.
    Reviving,
    /// This dead letter is about to be discarded.
    Discarding(u64),
    /// It was.
    Discarded(u64),
    /// The tables of a projection have been built: they are of this generation.
    Built { name: &'static str, generation: u64 },
}

/// Notes what happens, in the order in which the disk sees it.
pub struct Ledger<'a> {
    disk: &'a Disk,
    entries: Mutex<Vec<Entry>>,
    dead: AtomicBool,
}

impl<'a> Ledger<'a> {
    pub fn new(disk: &'a Disk) -> Ledger<'a> {
        Ledger { disk, entries: Mutex::default(), dead: AtomicBool::new(false) }
    }

    fn entries(&self) -> MutexGuard<'_, Vec<Entry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn note(&self, entry: Entry) {
        let mut entries = self.entries();
        entries.push(entry);
        self.disk.mark(entries.len() as u64);
    }

    /// From here on the process reaches the disk no more, as if it were killed.
    pub fn die(&self) {
        self.dead.store(true, Ordering::Relaxed);
        self.disk.fail(Fault { at: 0, sticky: true, full: false });
    }

    pub fn is_dead(&self) -> bool {
        self.dead.load(Ordering::Relaxed)
    }

    /// The next process begins. Nothing may be open. Returns whether the one before was killed.
    pub fn begin_anew(&self) -> bool {
        self.disk.heal();
        self.dead.swap(false, Ordering::Relaxed)
    }

    pub fn into_entries(self) -> Vec<Entry> {
        self.entries.into_inner().unwrap_or_else(PoisonError::into_inner)
    }
}
