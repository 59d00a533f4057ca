//! `foldlog backup` and `foldlog restore`

use std::ops::ControlFlow;
use std::path::PathBuf;

use clap::Args;
use foldlog::{BackupProgress, BackupStep, Store};

use crate::context::Context;
use crate::failure::{Done, Failure};
use crate::interrupt;
use crate::progress::Progress;
use crate::show::text::{bytes, count};

/// Makes a verified copy of the whole file while others write to it
#[derive(Debug, Args)]
pub(crate) struct Backup {
    /// The store
    file: PathBuf,
    /// Where the copy goes; there must be no file of this name
    to: PathBuf,
}

/// Makes a store of a backup, and verifies it
///
/// A write-ahead log that an earlier file of the same name left behind is moved away: it does not belong to the restored file.
#[derive(Debug, Args)]
pub(crate) struct Restore {
    /// The backup; it is only read
    backup: PathBuf,
    /// Where the store is to be; there must be no file of this name
    file: PathBuf,
    /// Gives it an identity of its own, for a copy that lives beside the original
    #[arg(long)]
    as_new: bool,
}

impl Backup {
    pub(crate) fn run(self, context: &mut Context) -> Done {
        let store = context.read(&self.file)?;
        interrupt::listen()?;
        let bar = Progress::new("copying", "pages");
        let done = store.backup(&self.to, |done| shown(&bar, done))?;
        drop(bar);
        if !done.finished {
            return Err(Failure::interrupted("stopped; there is no copy"));
        }
        if context.json {
            return context.out.json(&done);
        }
        let (to, position) = (self.to.display(), count(done.last_position.get()));
        context.out.line(format!("{to}: {}, up to position {position}, verified", bytes(done.bytes)))
    }
}

impl Restore {
    pub(crate) fn run(self, context: &mut Context) -> Done {
        // Says what is near if there is no such file.
        drop(context.read(&self.backup)?);
        interrupt::listen()?;
        let bar = Progress::new("copying", "pages");
        let done = match self.as_new {
            true => Store::restore_as_new(&self.backup, &self.file, |done| shown(&bar, done))?,
            false => Store::restore(&self.backup, &self.file, |done| shown(&bar, done))?,
        };
        drop(bar);
        if !done.copied.finished {
            return Err(Failure::interrupted("stopped; nothing was restored"));
        }
        if context.json {
            return context.out.json(&done);
        }
        for path in &done.set_aside {
            context.note(format!("moved away, because it belongs to an earlier file: {}", path.display()));
        }
        let (file, position) = (self.file.display(), count(done.copied.last_position.get()));
        context.out.line(format!("{file}: {}, up to position {position}, verified", bytes(done.copied.bytes)))
    }
}

fn shown(bar: &Progress, done: &BackupProgress) -> ControlFlow<()> {
    bar.reached(done.done, done.total);
    bar.says(if done.step == BackupStep::Verify { "verifying".to_owned() } else { String::new() });
    interrupt::go_on()
}
