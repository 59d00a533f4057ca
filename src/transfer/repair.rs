//! Repair: a new file of what can be read of a damaged one.

use std::fs::OpenOptions;
use std::io::{BufWriter, Write};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use super::line;
use crate::engine::Engine;
use crate::maintenance::backup::{Copy, beside, io_error, refuse_existing, refuse_left_behind, sync};
use crate::model::error::{Error, ErrorKind, Result};
use crate::model::event::RecordedEvent;
use crate::options::Options;
use crate::storage::repair::{RepairProgress, RepairReport, RepairStep, Witness};

/// What the name of the file of events without a place ends in.
const UNPLACED: &str = ".unplaced.ndjson";

/// Makes a store at `to`, where no file is.
pub(crate) fn repair(
    damaged: &Path,
    to: &Path,
    options: &Options,
    progress: &mut dyn FnMut(&RepairProgress) -> ControlFlow<()>,
) -> Result<RepairReport> {
    let unplaced = beside(to, UNPLACED);
    refuse_existing(to)?;
    refuse_existing(&unplaced)?;
    refuse_left_behind(to)?;
    let copy = Copy::make(to)?;
    let mut clerk = Clerk { progress, path: beside(copy.path(), UNPLACED), lines: None };
    let Some((engine, mut report)) = Engine::salvage(damaged, copy.path(), options, &mut clerk)? else {
        return Ok(RepairReport::default());
    };
    let mut reached = RepairProgress { step: RepairStep::Verify, ..RepairProgress::default() };
    let verified = engine.verify(&mut |progress| {
        (reached.done, reached.total) = (progress.done, progress.total);
        (clerk.progress)(&reached)
    })?;
    // Closing it removes what SQLite keeps beside the file.
    drop(engine);
    if !verified.finished {
        return Ok(RepairReport::default());
    }
    if let Some(first) = verified.damages.first() {
        let what = format!("what was salvaged does not hold together: {first}");
        return Err(Error::new(ErrorKind::Internal, what).advice("please report it; the damaged file is as it was"));
    }
    sync(copy.path())?;
    if let Some(lines) = clerk.finish()? {
        std::fs::rename(lines, &unplaced).map_err(|error| io_error(format!("{} cannot be made", unplaced.display()), error))?;
        report.unplaced_file = Some(unplaced);
    }
    copy.publish(to)?;
    Ok(report)
}

/// Passes progress on, and writes the events that have no place in the new file.
struct Clerk<'p> {
    progress: &'p mut dyn FnMut(&RepairProgress) -> ControlFlow<()>,
    path: PathBuf,
    lines: Option<BufWriter<std::fs::File>>,
}

impl Witness for Clerk<'_> {
    fn reached(&mut self, progress: RepairProgress) -> bool {
        (self.progress)(&progress).is_continue()
    }

    fn unplaced(&mut self, event: RecordedEvent) -> Result<()> {
        let lines = match &mut self.lines {
            Some(lines) => lines,
            none => {
                let mut options = OpenOptions::new();
                options.write(true).create_new(true);
                #[cfg(unix)]
                std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
                let file = options.open(&self.path).map_err(|error| cannot_write(&self.path, error))?;
                none.insert(BufWriter::new(file))
            }
        };
        let text = line::write(&event).map(line::on_one_line);
        let text = text.map_err(|error| Error::new(ErrorKind::Codec, format!("the event cannot be written as JSON: {error}")))?;
        lines.write_all(text.as_bytes()).and_then(|()| lines.write_all(b"\n")).map_err(|error| cannot_write(&self.path, error))
    }
}

impl Clerk<'_> {
    /// Waits until the disk has the lines; returns their file, if there are any.
    fn finish(&mut self) -> Result<Option<PathBuf>> {
        let Some(mut lines) = self.lines.take() else { return Ok(None) };
        let written = lines.flush().and_then(|()| lines.get_ref().sync_all());
        written.map_err(|error| cannot_write(&self.path, error))?;
        Ok(Some(self.path.clone()))
    }
}

impl Drop for Clerk<'_> {
    fn drop(&mut self) {
        // Gone, if it got its name.
        let _ = std::fs::remove_file(&self.path);
    }
}

fn cannot_write(path: &Path, error: std::io::Error) -> Error {
    io_error(format!("{} cannot be written", path.display()), error)
}
