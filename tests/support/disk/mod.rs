//! A disk in memory for SQLite, as a VFS: it remembers every write and sync, so that [`power`] can tell what a power cut
//! could leave of them, and it fails when it is told to.
//!
//! The library opens files on it by `Options::vfs(disk.name())`. Locks and shared memory work, so that several
//! connections and threads of this process can have the same file open, as they can on a real disk.

mod ffi;
pub mod power;
mod state;

use std::collections::BTreeMap;
use std::sync::MutexGuard;

pub use state::Fault;
use state::{Op, Shared, State};

/// The contents of a disk: name, bytes.
pub type Files = BTreeMap<String, Vec<u8>>;

pub struct Disk {
    registered: ffi::Registered,
}

impl Disk {
    /// An empty disk, registered under a name of its own.
    pub fn new() -> Disk {
        Disk { registered: ffi::register() }
    }

    /// What `Options::vfs` takes.
    pub fn name(&self) -> &str {
        self.registered.name()
    }

    fn state(&self) -> MutexGuard<'static, State> {
        let shared: &'static Shared = self.registered.shared();
        shared.lock()
    }

    /// What is on it now: what a process that dies leaves behind.
    pub fn files(&self) -> Files {
        self.state().files()
    }

    /// Replaces everything. Nothing may be open.
    pub fn load(&self, files: &Files) {
        self.state().load(files);
    }

    /// Begins to remember, with what is on the disk as a state that is safe.
    pub fn record(&self) {
        self.state().record();
    }

    /// Notes in the record that something was promised.
    pub fn mark(&self, promise: u64) {
        self.state().mark(promise);
    }

    /// Ends the record and gives it away.
    pub fn recorded(&self) -> power::Recording {
        let (start, ops) = self.state().recorded();
        power::Recording::new(start, ops)
    }

    /// Fails calls as described from now on; counts them from 0.
    pub fn fail(&self, fault: Fault) {
        self.state().fail(Some(fault));
    }

    /// Works again, and goes on counting; gives what it was told to fail.
    pub fn pause(&self) -> Option<Fault> {
        self.state().pause()
    }

    /// Fails again after [`Disk::pause`].
    pub fn resume(&self, fault: Option<Fault>) {
        self.state().resume(fault);
    }

    /// Works again; returns how many calls there were since [`Disk::fail`] or [`Disk::heal`], and how many of them failed.
    pub fn heal(&self) -> (u64, u64) {
        self.state().fail(None)
    }
}
