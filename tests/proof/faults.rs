//! An I/O error, or a full disk, at each call that a workload makes to the disk: once, and from then on.
//!
//! Whatever fails says so with a typed error and leaves nothing of itself; the store works again as soon as the disk does,
//! without being opened anew; and what was acknowledged is there for the next process. An outcome that is unknown is one
//! of the two.

use std::time::Instant;

use foldlog::{Durability, Error, ErrorKind, Store};

use crate::support::disk::{Disk, Fault};
use crate::support::model::{self, Planner, Step, World};
use crate::support::outcome::Outcome;
use crate::support::random::Random;

const PATH: &str = "/disk/store.db";

/// How the disk fails.
#[derive(Clone, Copy, Debug)]
pub struct Mode {
    pub sticky: bool,
    pub full: bool,
}

pub const MODES: [Mode; 4] = [
    Mode { sticky: false, full: false },
    Mode { sticky: true, full: false },
    Mode { sticky: false, full: true },
    Mode { sticky: true, full: true },
];

/// Fails every `stride`-th call of a workload, in each mode.
pub fn run(stride: u64, seed: u64) -> Outcome {
    let began = Instant::now();
    let mut outcome = Outcome::new(seed);
    let (disk, copy) = (Disk::new(), Disk::new());
    let steps = plan(seed);
    for durability in [Durability::Durable, Durability::Fast] {
        for mode in MODES {
            let mut at = seed % stride;
            loop {
                let mut run = Run { disk: &disk, copy: &copy, durability, world: World::default(), refused: 0, in_doubt: false };
                let fault = Fault { at, sticky: mode.sticky, full: mode.full };
                let done = run.all(&steps, fault).and_then(|()| run.check());
                if let Err(violation) = done {
                    outcome.violation(format!("{durability:?}, {fault:?}: {violation}"));
                }
                let (calls, _) = disk.heal();
                outcome.count("errors", run.refused);
                if at >= calls {
                    outcome.count("calls of the workloads", calls);
                    break;
                }
                outcome.rounds += 1;
                at += stride;
            }
        }
    }
    outcome.time = began.elapsed();
    outcome
}

/// The same work each time, so that the same calls come in the same order.
fn plan(seed: u64) -> Vec<Step> {
    let mut planner = Planner::new(Random::new(seed));
    let mut world = World::default();
    let mut steps = Vec::new();
    while steps.len() < 24 {
        for step in planner.plan(&world) {
            world.apply(&step);
            steps.push(step);
        }
    }
    steps
}

struct Run<'a> {
    disk: &'a Disk,
    /// For the next process.
    copy: &'a Disk,
    durability: Durability,
    world: World,
    refused: u64,
    /// Whether an outcome was unknown and nothing was committed since: what this process does not see, the next one may.
    in_doubt: bool,
}

impl Run<'_> {
    fn open(&self) -> Result<Store, Error> {
        // A small cache, so that reads reach the disk.
        model::options(self.durability).cache_bytes(64 << 10).vfs(self.disk.name()).open(PATH)
    }

    fn all(&mut self, steps: &[Step], fault: Fault) -> Result<(), String> {
        self.disk.load(&Default::default());
        self.disk.fail(fault);
        let mut failing = true;
        let mut store = self.open();
        if let Err(error) = &store {
            self.is_of_the_disk(error)?;
            self.disk.pause();
            failing = false;
            store = self.open();
        }
        let store = store.map_err(|error| format!("does not open after the disk works again: {error:?}"))?;
        for (number, step) in steps.iter().enumerate() {
            let failed = self.step(&store, step)? | self.look(&store)?;
            if failed && failing {
                // On a sticky fault a few more calls meet the broken disk, then it is repaired.
                for _ in 0..if fault.sticky { 3 } else { 0 } {
                    self.step(&store, step)?;
                    self.look(&store)?;
                }
                self.disk.pause();
                failing = false;
            } else if failed {
                return Err(format!("step {number} fails although the disk works: {step:?}"));
            }
        }
        self.disk.pause();
        match model::difference(&store, &self.world) {
            None => Ok(()),
            Some(difference) => Err(format!("on the same store: {difference}")),
        }
    }

    /// Does a step; whether it failed. A step that failed left nothing, or all of it if its outcome is unknown.
    fn step(&mut self, store: &Store, step: &Step) -> Result<bool, String> {
        match model::perform(store, step) {
            Ok(()) => {
                self.world.apply(step);
                self.in_doubt &= !matches!(step, Step::Commit(..));
                Ok(false)
            }
            // Of an aggregate whose first step failed there is nothing to make a snapshot of or to purge.
            Err(error) if error.kind() == ErrorKind::NotFound && self.is_missing(step) => Ok(false),
            Err(error) => {
                self.is_of_the_disk(&error)?;
                match error.kind() {
                    ErrorKind::OutcomeUnknown => {
                        self.in_doubt = true;
                        self.settle(store, step)?;
                    }
                    _ if self.in_doubt => {}
                    // Also if this process dies right now.
                    kind => self.check().map_err(|violation| format!("after {kind:?} at {step:?}: {violation}"))?,
                }
                Ok(true)
            }
        }
    }

    fn is_missing(&self, step: &Step) -> bool {
        match step {
            Step::Snapshot(tenant, id) | Step::Purge(tenant, id) => {
                !self.world.versions.contains_key(&(tenant.clone(), id.clone()))
            }
            Step::Commit(..) => false,
        }
    }

    /// Reads the whole log: each answer is right, or an error.
    fn look(&mut self, store: &Store) -> Result<bool, String> {
        match model::rows(store) {
            Ok(rows) if rows == self.world.rows => Ok(false),
            Ok(rows) => Err(format!("{} events are read, not {}", rows.len(), self.world.rows.len())),
            Err(error) => self.is_of_the_disk(&error).map(|()| true),
        }
    }

    /// Whether the step of an unknown outcome was kept: asked of the disk when it works.
    fn settle(&mut self, store: &Store, step: &Step) -> Result<(), String> {
        let paused = self.disk.pause();
        let unreadable = |error| format!("after an unknown outcome: {error:?}");
        let rows = model::rows(store).map_err(unreadable)?;
        if let Step::Snapshot(tenant, id) = step {
            let accounts = model::accounts(store, tenant);
            let newest = accounts.latest_snapshot(id).map_err(unreadable)?.map(|snapshot| snapshot.version);
            if newest == Some(accounts.version(id).map_err(unreadable)?) {
                self.world.apply(step);
            }
        }
        if rows != self.world.rows {
            self.world.apply(step);
            if rows != self.world.rows {
                return Err("an unknown outcome is neither all nor nothing".to_owned());
            }
        }
        self.disk.resume(paused);
        Ok(())
    }

    fn is_of_the_disk(&mut self, error: &Error) -> Result<(), String> {
        use ErrorKind::{DiskFull, Io, OutcomeUnknown, ReadOnly};
        self.refused += 1;
        match error.kind() {
            DiskFull | Io | OutcomeUnknown | ReadOnly => Ok(()),
            kind => Err(format!("the error is {kind:?}: {error:?}")),
        }
    }

    /// The next process finds what was acknowledged.
    fn check(&self) -> Result<(), String> {
        self.copy.load(&self.disk.files());
        let store =
            model::options(self.durability).vfs(self.copy.name()).open(PATH).map_err(|error| format!("anew: {error:?}"))?;
        match model::difference(&store, &self.world) {
            None => Ok(()),
            Some(difference) => Err(format!("for the next process: {difference}")),
        }
    }
}
