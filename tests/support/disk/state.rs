//! Files, names, locks, shared memory. No unsafe code: results are SQLite's codes.

use std::cell::UnsafeCell;
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rusqlite::ffi;

use super::Files;

/// SQLite's result codes; `Ok` is SQLITE_OK.
pub type Code<T = ()> = Result<T, i32>;

/// Bytes of one region of shared memory, as SQLite asks for them.
pub const REGION: usize = 32_768;

/// What SQLite can ask the disk for. Closing and unlocking are not among them: they cannot fail in a way that anybody
/// could handle.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Call {
    Open,
    Delete,
    Access,
    Read,
    Write,
    Truncate,
    Sync,
    Size,
    Lock,
    ShmMap,
    ShmLock,
}

/// Which calls are to fail, and how.
#[derive(Clone, Copy, Debug)]
pub struct Fault {
    /// The first call that fails, counted from 0.
    pub at: u64,
    /// Every call from then on, or only that one.
    pub sticky: bool,
    /// A full disk: only what takes space fails. Otherwise an I/O error of the call's own kind.
    pub full: bool,
}

/// What happened to the disk, in order. Files are numbered: a name can be given to one file after another.
#[derive(Clone, Debug)]
pub enum Op {
    Create(String, usize),
    Unlink(String),
    Write(usize, u64, Arc<[u8]>),
    Truncate(usize, u64),
    Sync(usize),
    SyncDirectory,
    Mark(u64),
}

pub struct Shared(Mutex<State>);

impl Shared {
    pub fn new() -> Shared {
        Shared(Mutex::new(State::default()))
    }

    pub fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Default)]
pub struct State {
    names: BTreeMap<String, usize>,
    inodes: HashMap<usize, Inode>,
    handles: HashMap<usize, Handle>,
    next: usize,
    recording: Option<(Files, Vec<Op>)>,
    fault: Option<Fault>,
    calls: u64,
    failed: u64,
}

#[derive(Default)]
struct Inode {
    data: Vec<u8>,
    /// Handles that hold at least a shared lock.
    shared: Vec<usize>,
    reserved: Option<usize>,
    pending: Option<usize>,
    exclusive: Option<usize>,
    memory: Vec<Region>,
    memory_users: Vec<usize>,
    memory_locks: [MemoryLock; 8],
}

#[derive(Clone, Default)]
struct MemoryLock {
    shared: Vec<usize>,
    exclusive: Option<usize>,
}

struct Handle {
    inode: usize,
    name: Option<String>,
    delete_on_close: bool,
    /// As unix does it: the first sync of a new journal or write-ahead log makes the directory safe as well.
    sync_directory: bool,
}

/// Memory that SQLite's connections share: they keep order among themselves by the locks.
pub struct Region(Box<[UnsafeCell<u64>; REGION / 8]>);

// SAFETY: only SQLite reads and writes it, through the pointer, under the rules of its own locks.
unsafe impl Send for Region {}

impl Region {
    fn new() -> Region {
        Region(Box::new([const { UnsafeCell::new(0) }; REGION / 8]))
    }

    pub fn pointer(&self) -> *mut std::ffi::c_void {
        self.0.as_ptr().cast_mut().cast()
    }
}

impl State {
    pub fn files(&self) -> Files {
        self.names.iter().map(|(name, inode)| (name.clone(), self.inodes[inode].data.clone())).collect()
    }

    pub fn load(&mut self, files: &Files) {
        assert!(self.handles.is_empty(), "files are open: {:?}", self.handles.values().map(|h| &h.name).collect::<Vec<_>>());
        *self = State::default();
        for (name, data) in files {
            let inode = self.new_inode(name.clone());
            self.inodes.get_mut(&inode).unwrap().data.clone_from(data);
        }
    }

    pub fn record(&mut self) {
        self.recording = Some((self.files(), Vec::new()));
        // A recording begins with the names that there are.
        let names: Vec<_> = self.names.iter().map(|(name, inode)| Op::Create(name.clone(), *inode)).collect();
        names.into_iter().for_each(|op| self.note(op));
        let contents: Vec<_> =
            self.names.values().map(|inode| Op::Write(*inode, 0, self.inodes[inode].data.as_slice().into())).collect();
        let inodes: Vec<_> = self.names.values().map(|inode| Op::Sync(*inode)).collect();
        contents.into_iter().chain(inodes).for_each(|op| self.note(op));
        self.note(Op::SyncDirectory);
    }

    pub fn mark(&mut self, promise: u64) {
        self.note(Op::Mark(promise));
    }

    pub fn recorded(&mut self) -> (Files, Vec<Op>) {
        self.recording.take().expect("nothing was recorded")
    }

    fn note(&mut self, op: Op) {
        if let Some((_, ops)) = &mut self.recording {
            ops.push(op);
        }
    }

    pub fn fail(&mut self, fault: Option<Fault>) -> (u64, u64) {
        self.fault = fault;
        (std::mem::take(&mut self.calls), std::mem::take(&mut self.failed))
    }

    pub fn pause(&mut self) -> Option<Fault> {
        self.fault.take()
    }

    pub fn resume(&mut self, fault: Option<Fault>) {
        self.fault = fault;
    }

    /// Counts a call, and fails it if it is its turn.
    pub fn call(&mut self, call: Call) -> Code {
        let number = self.calls;
        self.calls += 1;
        let Some(fault) = self.fault else { return Ok(()) };
        let turn = number == fault.at || (fault.sticky && number > fault.at);
        let takes_space = matches!(call, Call::Write | Call::ShmMap | Call::Open);
        if !turn || (fault.full && !takes_space) {
            return Ok(());
        }
        let code = match call {
            // On a full disk a file that exists can be opened.
            Call::Open if fault.full => return Ok(()),
            Call::Write | Call::ShmMap if fault.full => ffi::SQLITE_FULL,
            Call::Open => ffi::SQLITE_CANTOPEN,
            Call::Delete => ffi::SQLITE_IOERR_DELETE,
            Call::Access => ffi::SQLITE_IOERR_ACCESS,
            Call::Read => ffi::SQLITE_IOERR_READ,
            Call::Write => ffi::SQLITE_IOERR_WRITE,
            Call::Truncate => ffi::SQLITE_IOERR_TRUNCATE,
            Call::Sync => ffi::SQLITE_IOERR_FSYNC,
            Call::Size => ffi::SQLITE_IOERR_FSTAT,
            Call::Lock => ffi::SQLITE_IOERR_LOCK,
            Call::ShmMap => ffi::SQLITE_IOERR_SHMMAP,
            Call::ShmLock => ffi::SQLITE_IOERR_SHMLOCK,
        };
        self.failed += 1;
        Err(code)
    }

    fn new_inode(&mut self, name: String) -> usize {
        self.next += 1;
        self.inodes.insert(self.next, Inode::default());
        self.names.insert(name, self.next);
        self.next
    }

    pub fn open(&mut self, name: Option<&str>, flags: i32) -> Code<usize> {
        self.call(Call::Open)?;
        let temporary = format!("temporary-{}", self.next + 1);
        let file = name.unwrap_or(&temporary);
        let (inode, created) = match self.names.get(file) {
            Some(inode) => (*inode, false),
            None if flags & ffi::SQLITE_OPEN_CREATE == 0 => return Err(ffi::SQLITE_CANTOPEN),
            None => (self.new_inode(file.to_owned()), true),
        };
        if created {
            self.note(Op::Create(file.to_owned(), inode));
        }
        let journal = ffi::SQLITE_OPEN_WAL | ffi::SQLITE_OPEN_MAIN_JOURNAL | ffi::SQLITE_OPEN_SUPER_JOURNAL;
        let creates = flags & ffi::SQLITE_OPEN_CREATE != 0;
        self.next += 1;
        self.handles.insert(
            self.next,
            Handle {
                inode,
                name: Some(file.to_owned()),
                delete_on_close: flags & ffi::SQLITE_OPEN_DELETEONCLOSE != 0,
                sync_directory: flags & journal != 0 && creates,
            },
        );
        Ok(self.next)
    }

    pub fn close(&mut self, handle: usize) {
        self.unlock(handle, ffi::SQLITE_LOCK_NONE);
        self.unmap(handle);
        let Some(closed) = self.handles.remove(&handle) else { return };
        if closed.delete_on_close
            && let Some(name) = closed.name
        {
            self.unlink(&name);
        }
        self.forget(closed.inode);
    }

    /// A file without a name and without a handle is gone.
    fn forget(&mut self, inode: usize) {
        let named = self.names.values().any(|named| *named == inode);
        let open = self.handles.values().any(|handle| handle.inode == inode);
        if !named && !open {
            self.inodes.remove(&inode);
        }
    }

    fn unlink(&mut self, name: &str) {
        if let Some(inode) = self.names.remove(name) {
            self.note(Op::Unlink(name.to_owned()));
            self.forget(inode);
        }
    }

    pub fn delete(&mut self, name: &str, sync_directory: bool) -> Code {
        self.call(Call::Delete)?;
        if !self.names.contains_key(name) {
            return Err(ffi::SQLITE_IOERR_DELETE_NOENT);
        }
        self.unlink(name);
        if sync_directory {
            self.note(Op::SyncDirectory);
        }
        Ok(())
    }

    /// As unix does it: an empty file does not exist.
    pub fn exists(&mut self, name: &str) -> Code<bool> {
        self.call(Call::Access)?;
        Ok(self.names.get(name).is_some_and(|inode| !self.inodes[inode].data.is_empty()))
    }

    fn inode(&mut self, handle: usize) -> (usize, &mut Inode) {
        let number = self.handles[&handle].inode;
        (number, self.inodes.get_mut(&number).expect("an open file exists"))
    }

    /// Fills the buffer; what lies beyond the end is zeros, and said to be missing.
    pub fn read(&mut self, handle: usize, offset: u64, buffer: &mut [u8]) -> Code {
        self.call(Call::Read)?;
        let (_, inode) = self.inode(handle);
        let from = (offset as usize).min(inode.data.len());
        let there = (inode.data.len() - from).min(buffer.len());
        buffer[..there].copy_from_slice(&inode.data[from..from + there]);
        buffer[there..].fill(0);
        if there == buffer.len() { Ok(()) } else { Err(ffi::SQLITE_IOERR_SHORT_READ) }
    }

    /// A write that fails has written half of it.
    pub fn write(&mut self, handle: usize, offset: u64, bytes: &[u8]) -> Code {
        let allowed = self.call(Call::Write);
        let bytes = if allowed.is_ok() { bytes } else { &bytes[..bytes.len() / 2] };
        let (number, inode) = self.inode(handle);
        put(&mut inode.data, offset, bytes);
        self.note(Op::Write(number, offset, bytes.into()));
        allowed
    }

    pub fn truncate(&mut self, handle: usize, length: u64) -> Code {
        self.call(Call::Truncate)?;
        let (number, inode) = self.inode(handle);
        inode.data.resize(length as usize, 0);
        self.note(Op::Truncate(number, length));
        Ok(())
    }

    pub fn sync(&mut self, handle: usize) -> Code {
        self.call(Call::Sync)?;
        let (number, _) = self.inode(handle);
        self.note(Op::Sync(number));
        let opened = self.handles.get_mut(&handle).expect("an open file exists");
        if std::mem::take(&mut opened.sync_directory) {
            self.note(Op::SyncDirectory);
        }
        Ok(())
    }

    pub fn size(&mut self, handle: usize) -> Code<u64> {
        self.call(Call::Size)?;
        Ok(self.inode(handle).1.data.len() as u64)
    }

    pub fn lock(&mut self, handle: usize, level: i32) -> Code {
        self.call(Call::Lock)?;
        let (_, inode) = self.inode(handle);
        let of_another = |holder: Option<usize>| holder.is_some_and(|holder| holder != handle);
        match level {
            ffi::SQLITE_LOCK_SHARED => {
                if of_another(inode.pending) || of_another(inode.exclusive) {
                    return Err(ffi::SQLITE_BUSY);
                }
                if !inode.shared.contains(&handle) {
                    inode.shared.push(handle);
                }
            }
            ffi::SQLITE_LOCK_RESERVED => {
                if of_another(inode.reserved) || of_another(inode.pending) {
                    return Err(ffi::SQLITE_BUSY);
                }
                inode.reserved = Some(handle);
            }
            _ => {
                if of_another(inode.reserved) || of_another(inode.pending) {
                    return Err(ffi::SQLITE_BUSY);
                }
                inode.pending = Some(handle);
                if inode.shared.iter().any(|holder| *holder != handle) {
                    return Err(ffi::SQLITE_BUSY);
                }
                inode.exclusive = Some(handle);
            }
        }
        Ok(())
    }

    pub fn unlock(&mut self, handle: usize, level: i32) {
        if !self.handles.contains_key(&handle) {
            return;
        }
        let (_, inode) = self.inode(handle);
        for lock in [&mut inode.reserved, &mut inode.pending, &mut inode.exclusive] {
            if *lock == Some(handle) {
                *lock = None;
            }
        }
        if level == ffi::SQLITE_LOCK_NONE {
            inode.shared.retain(|holder| *holder != handle);
        }
    }

    pub fn is_reserved(&mut self, handle: usize) -> Code<bool> {
        self.call(Call::Lock)?;
        let (_, inode) = self.inode(handle);
        Ok(inode.reserved.is_some() || inode.pending.is_some() || inode.exclusive.is_some())
    }

    /// A region of the memory that the connections of a file share; `None` if there is none and none is to be made.
    pub fn map(&mut self, handle: usize, region: usize, make: bool) -> Code<Option<*mut std::ffi::c_void>> {
        self.call(Call::ShmMap)?;
        let (_, inode) = self.inode(handle);
        if !inode.memory_users.contains(&handle) {
            inode.memory_users.push(handle);
        }
        while make && inode.memory.len() <= region {
            inode.memory.push(Region::new());
        }
        Ok(inode.memory.get(region).map(Region::pointer))
    }

    /// Locks or unlocks `count` slots from `first`.
    pub fn memory_lock(&mut self, handle: usize, first: usize, count: usize, flags: i32) -> Code {
        let locks = flags & ffi::SQLITE_SHM_LOCK != 0;
        let exclusive = flags & ffi::SQLITE_SHM_EXCLUSIVE != 0;
        if locks {
            self.call(Call::ShmLock)?;
        }
        let (_, inode) = self.inode(handle);
        let slots = &mut inode.memory_locks[first..first + count];
        let of_others = |slot: &MemoryLock| {
            slot.exclusive.is_some_and(|holder| holder != handle)
                || (exclusive && slot.shared.iter().any(|holder| *holder != handle))
        };
        if locks && slots.iter().any(of_others) {
            return Err(ffi::SQLITE_BUSY);
        }
        for slot in slots {
            match (locks, exclusive) {
                (true, true) => slot.exclusive = Some(handle),
                (true, false) => slot.shared.push(handle),
                (false, true) => slot.exclusive = slot.exclusive.filter(|holder| *holder != handle),
                (false, false) => {
                    if let Some(at) = slot.shared.iter().position(|holder| *holder == handle) {
                        slot.shared.swap_remove(at);
                    }
                }
            }
        }
        Ok(())
    }

    /// With its last user the shared memory goes, as the first user of a real one starts it anew.
    pub fn unmap(&mut self, handle: usize) {
        if !self.handles.contains_key(&handle) {
            return;
        }
        let (_, inode) = self.inode(handle);
        inode.memory_users.retain(|user| *user != handle);
        for slot in &mut inode.memory_locks {
            slot.shared.retain(|holder| *holder != handle);
            slot.exclusive = slot.exclusive.filter(|holder| *holder != handle);
        }
        if inode.memory_users.is_empty() {
            inode.memory.clear();
        }
    }
}

/// Writes into a file, which grows if need be.
pub fn put(data: &mut Vec<u8>, offset: u64, bytes: &[u8]) {
    let from = offset as usize;
    if data.len() < from + bytes.len() {
        data.resize(from + bytes.len(), 0);
    }
    data[from..from + bytes.len()].copy_from_slice(bytes);
}
