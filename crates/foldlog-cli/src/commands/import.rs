//! `foldlog import`

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use clap::Args;
use flate2::bufread::MultiGzDecoder;
use foldlog::{Import as Settings, ImportProgress};

use crate::context::Context;
use crate::failure::{Done, Failure};
use crate::interrupt;
use crate::progress::Progress;
use crate::show::text::{bytes, count, counted};

/// Appends events from lines of JSON, plain or compressed by gzip or zstd. What is there already is skipped
///
/// A line is an event as `export` writes it, as `events --json` does, or a CloudEvent with JSON data. An import that was stopped
/// is simply started again.
#[derive(Debug, Args)]
pub(crate) struct Import {
    /// The store; made if there is none
    file: PathBuf,
    /// The files to read, in this order; - is standard input
    #[arg(default_value = "-")]
    input: Vec<PathBuf>,
    /// Lines that stand together and are equal at this JSON Pointer are one commit: /metadata/commit
    #[arg(long, value_name = "POINTER")]
    commit_by: Option<String>,
    /// So many lines that name no commit are appended at once
    #[arg(long, value_name = "COUNT", default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..))]
    events_per_commit: u32,
    /// The aggregate type of CloudEvents that name none
    #[arg(long, value_name = "TYPE")]
    aggregate_type: Option<String>,
    /// What is cut off the type of CloudEvents, such as com.example.
    #[arg(long, value_name = "PREFIX", default_value = "")]
    type_prefix: String,
    /// Appends after whatever an aggregate has, even if the line names another version
    #[arg(long)]
    any_version: bool,
    /// Appends everything to the tenant of --tenant, whatever tenant a line names
    #[arg(long)]
    into_tenant: bool,
}

impl Import {
    pub(crate) fn run(self, context: &mut Context) -> Done {
        // Opened first, so that a wrong name does not make a store.
        let inputs = self.input.iter().map(|path| Input::open(path)).collect::<Result<Vec<_>, _>>()?;
        let store = context.fill(&self.file)?;
        interrupt::listen()?;
        let mut sum = ImportProgress::default();
        for input in inputs {
            let (name, bar) = (input.name.clone(), Progress::of_bytes("importing", input.size));
            let from = input.decompressed(&bar)?;
            let imported = store.import(&self.settings(), from, |done| {
                bar.says(format!("{} added, {} already there", count(done.appended), count(done.skipped)));
                interrupt::go_on()
            });
            drop(bar);
            let done = imported.map_err(|error| Failure::from(error).of(&name))?;
            sum.lines += done.lines;
            sum.bytes += done.bytes;
            sum.appended += done.appended;
            sum.skipped += done.skipped;
            sum.commits += done.commits;
            sum.finished = done.finished;
            if !done.finished {
                break;
            }
        }
        // Until now a power cut could take the newest commits back.
        store.maintenance().checkpoint()?;
        if context.json {
            context.out.json(&sum)?;
        } else {
            let read = format!("{} in {}", bytes(sum.bytes), counted(sum.lines, "line"));
            let added = format!("{} added in {}", counted(sum.appended, "event"), counted(sum.commits, "commit"));
            context.out.line(format!("{added}, {} already there; {read}", count(sum.skipped)))?;
        }
        match sum.finished {
            true => Ok(()),
            false => Err(Failure::interrupted("stopped; what was added stays").hint("the same import again goes on from here")),
        }
    }

    fn settings(&self) -> Settings {
        let mut settings = Settings::new()
            .events_per_commit(usize::try_from(self.events_per_commit).unwrap_or(usize::MAX))
            .type_prefix(&self.type_prefix);
        if let Some(pointer) = &self.commit_by {
            settings = settings.commit_by(pointer);
        }
        if let Some(aggregate_type) = &self.aggregate_type {
            settings = settings.aggregate_type(aggregate_type);
        }
        if self.any_version {
            settings = settings.any_version();
        }
        if self.into_tenant { settings.into_tenant() } else { settings }
    }
}

/// A file to read, or standard input.
struct Input {
    name: String,
    size: Option<u64>,
    from: Box<dyn Read>,
}

/// What the first bytes of a file say of its compression.
const GZIP: [u8; 2] = [0x1f, 0x8b];
const ZSTD: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];

impl Input {
    fn open(path: &Path) -> Result<Input, Failure> {
        if path.as_os_str() == "-" {
            return Ok(Input { name: "standard input".to_owned(), size: None, from: Box::new(std::io::stdin()) });
        }
        let name = path.display().to_string();
        let file = File::open(path).map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => Failure::not_found(format!("there is no file {name}")),
            _ => Failure::failed(format!("{name}: {error}")),
        })?;
        let size = file.metadata().ok().map(|file| file.len()).filter(|size| *size > 0);
        Ok(Input { name, size, from: Box::new(file) })
    }

    fn decompressed(self, bar: &Progress) -> Result<Box<dyn BufRead>, Failure> {
        let mut from = BufReader::with_capacity(1 << 16, bar.counting(self.from));
        let begins = from.fill_buf().map_err(|error| Failure::failed(format!("{}: {error}", self.name)))?;
        if begins.starts_with(&GZIP) {
            return Ok(Box::new(BufReader::with_capacity(1 << 16, MultiGzDecoder::new(from))));
        }
        if begins.starts_with(&ZSTD) {
            let decoder = zstd::Decoder::with_buffer(from).map_err(|error| Failure::failed(format!("{}: {error}", self.name)))?;
            return Ok(Box::new(BufReader::with_capacity(1 << 16, decoder)));
        }
        Ok(Box::new(from))
    }
}
