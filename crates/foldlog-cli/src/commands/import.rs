//! `foldlog import`

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use flate2::bufread::MultiGzDecoder;
use foldlog::{Import as Settings, ImportProgress, Table, TableFormat};

use crate::context::Context;
use crate::failure::{Done, Failure};
use crate::interrupt;
use crate::progress::Progress;
use crate::show::text::{bytes, count, counted};

/// Appends events from lines of JSON, plain or compressed by gzip or zstd. What is there already is skipped
///
/// A line is an event as `export` writes it, as `events --json` does, or a CloudEvent with JSON data. With --format the events are
/// the rows of a PostgreSQL table, in their order. An import that was stopped is simply started again.
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
    /// What the input is
    #[arg(long, value_enum, default_value_t = Format::Lines)]
    format: Format,
    /// The column that holds a member of events, if it has no usual name: data=payload, aggregate_id=user_id. Members:
    /// event_id, aggregate_type, aggregate_id, event_type, data, metadata, occurred_at, schema_version, tenant, version
    #[arg(long, value_name = "MEMBER=COLUMN", value_parser = pair)]
    column: Vec<(String, String)>,
    /// All columns of a table without a header, in their order
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    columns: Vec<String>,
    /// The aggregate type of rows and of CloudEvents that name none
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

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// Events as lines of JSON
    Lines,
    /// Rows: COPY in its text format with a header or --columns, or a plain pg_dump
    PgCopy,
    /// Rows: COPY as CSV with a header
    PgCsv,
    /// Rows: a JSON object a line, from row_to_json
    PgJson,
}

/// For clap: `NAME=VALUE`.
pub(crate) fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() && !value.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("expected two names, as in data=payload".to_owned()),
    }
}

impl Import {
    pub(crate) fn run(self, context: &mut Context) -> Done {
        // Opened first, so that a wrong name does not make a store.
        let inputs = self.input.iter().map(|path| Input::open(path)).collect::<Result<Vec<_>, _>>()?;
        if self.format == Format::Lines && !(self.column.is_empty() && self.columns.is_empty()) {
            return Err(Failure::usage("--column and --columns are about the rows of a table").hint("say which: --format pg-csv"));
        }
        let store = context.fill(&self.file)?;
        interrupt::listen()?;
        let mut sum = ImportProgress::default();
        for input in inputs {
            let (name, bar) = (input.name.clone(), Progress::of_bytes("importing", input.size));
            let from = input.decompressed(&bar)?;
            let progress = |done: &ImportProgress| {
                bar.says(format!("{} added, {} already there", count(done.appended), count(done.skipped)));
                interrupt::go_on()
            };
            let imported = match self.table() {
                Some(table) => store.import_table(&table, &self.settings(), from, progress),
                None => store.import(&self.settings(), from, progress),
            };
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

    /// The table whose rows are read; `None` for lines of JSON.
    fn table(&self) -> Option<Table> {
        let mut table = Table::new(match self.format {
            Format::Lines => return None,
            Format::PgCopy => TableFormat::Copy,
            Format::PgCsv => TableFormat::Csv,
            Format::PgJson => TableFormat::JsonLines,
        });
        for (member, column) in &self.column {
            table = table.column(member, column);
        }
        if let Some(aggregate_type) = &self.aggregate_type {
            table = table.aggregate_type(aggregate_type);
        }
        Some(if self.columns.is_empty() { table } else { table.columns(&self.columns) })
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
