//! `foldlog export`

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use flate2::write::GzEncoder;
use foldlog::{CloudEvents, Export as Settings, ExportProgress, Store};

use crate::context::Context;
use crate::events::Wanted;
use crate::failure::{Done, Failure};
use crate::interrupt;
use crate::progress::Progress;
use crate::show::text::{self, bytes, counted};

/// Writes events as lines of JSON, oldest first, for import, backup or other programs
#[derive(Debug, Args)]
pub(crate) struct Export {
    /// The store
    file: PathBuf,
    /// Where to; - is standard output. A name that ends in .gz or .zst is compressed
    #[arg(default_value = "-")]
    output: PathBuf,
    #[command(flatten)]
    wanted: Wanted,
    /// The form of the lines
    #[arg(long, value_enum, default_value_t = Format::Ndjson)]
    format: Format,
    /// Writes events as the application's upcasters turn them into today's shape, not as they are stored
    #[arg(long)]
    upcast: bool,
    /// Compresses the output
    #[arg(long, value_enum, value_name = "METHOD")]
    compress: Option<Compression>,
    /// The source of CloudEvents, a URI reference
    #[arg(long, value_name = "URI")]
    source: Option<String>,
    /// What precedes the event type in the type of CloudEvents, such as com.example.
    #[arg(long, value_name = "PREFIX", default_value = "")]
    type_prefix: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// With everything that foldlog knows of an event: import makes the same log of it
    Ndjson,
    /// CloudEvents 1.0, for other systems
    Cloudevents,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Compression {
    Gzip,
    Zstd,
}

impl Export {
    pub(crate) fn run(self, context: &mut Context) -> Done {
        let store = context.read(&self.file)?;
        interrupt::listen()?;
        let done = if self.output.as_os_str() == "-" { self.to_output(context, &store)? } else { self.to_file(&store)? };
        if context.json && self.output.as_os_str() != "-" {
            context.out.json(&done)?;
        } else {
            context.note(format!("{}, {}", counted(done.events, "event"), bytes(done.bytes)));
        }
        if done.finished { Ok(()) } else { Err(Failure::interrupted("stopped before all events were written")) }
    }

    fn to_output(&self, context: &mut Context, store: &Store) -> Result<ExportProgress, Failure> {
        let is_terminal = context.out.is_terminal();
        let mut out = context.out.raw();
        match self.compress {
            None if is_terminal => self.write(store, SafeLines { to: out, line: Vec::new() }, &|_| interrupt::go_on()),
            _ => self.compressed(store, &mut out, self.compress),
        }
    }

    /// Written under another name first: what has the name is whole.
    fn to_file(&self, store: &Store) -> Result<ExportProgress, Failure> {
        let name = self.output.display();
        if self.output.symlink_metadata().is_ok() {
            return Err(Failure::usage(format!("there is a file {name} already")).hint("choose another name, or remove it"));
        }
        let unfinished = Unfinished::beside(&self.output);
        let failed = |error: io::Error| Failure::failed(format!("{name}: {error}"));
        let mut file = BufWriter::new(File::create_new(&unfinished.path).map_err(failed)?);
        let done = self.compressed(store, &mut file, self.compression())?;
        let file = file.into_inner().map_err(|error| failed(error.into_error()))?;
        if done.finished {
            file.sync_all().map_err(failed)?;
            std::fs::rename(&unfinished.path, &self.output).map_err(failed)?;
        }
        Ok(done)
    }

    fn compression(&self) -> Option<Compression> {
        let ending = self.output.extension().and_then(|ending| ending.to_str());
        self.compress.or(match ending {
            Some("gz") => Some(Compression::Gzip),
            Some("zst") => Some(Compression::Zstd),
            _ => None,
        })
    }

    fn compressed(&self, store: &Store, to: &mut dyn Write, how: Option<Compression>) -> Result<ExportProgress, Failure> {
        let bar = Progress::new("exporting", "positions");
        let reached = |done: &ExportProgress| {
            bar.reached(done.position.get(), done.last_position.get());
            interrupt::go_on()
        };
        match how {
            None => self.write(store, to, &reached),
            Some(Compression::Gzip) => {
                let mut encoder = GzEncoder::new(to, flate2::Compression::default());
                let done = self.write(store, &mut encoder, &reached)?;
                encoder.finish()?;
                Ok(done)
            }
            Some(Compression::Zstd) => {
                let mut encoder = zstd::Encoder::new(to, zstd::DEFAULT_COMPRESSION_LEVEL)?;
                let done = self.write(store, &mut encoder, &reached)?;
                encoder.finish()?;
                Ok(done)
            }
        }
    }

    fn write(
        &self,
        store: &Store,
        to: impl Write,
        progress: &dyn Fn(&ExportProgress) -> ControlFlow<()>,
    ) -> Result<ExportProgress, Failure> {
        let mut settings = Settings::new(self.wanted.query(store)?);
        if self.upcast {
            settings = settings.upcast();
        }
        if self.format == Format::Cloudevents {
            let form = CloudEvents::new().type_prefix(&self.type_prefix);
            settings = settings.as_cloud_events(match &self.source {
                Some(source) => form.source(source),
                None => form,
            });
        }
        let done = store.export_where(settings, |event| self.wanted.takes(event), to, progress);
        done.map_err(|error| {
            let source = std::error::Error::source(&error).and_then(|source| source.downcast_ref::<io::Error>());
            match source.map(io::Error::kind) {
                Some(kind) => Failure::from(io::Error::from(kind)),
                None => Failure::from(error),
            }
        })
    }
}

/// A file that is removed unless it got its name.
struct Unfinished {
    path: PathBuf,
}

impl Unfinished {
    fn beside(path: &Path) -> Unfinished {
        let mut name = path.as_os_str().to_owned();
        name.push(format!(".{}.tmp", std::process::id()));
        Unfinished { path: name.into() }
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        // It does not exist any more if it got its name.
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Makes whole lines of JSON safe for a terminal.
struct SafeLines<W: Write> {
    to: W,
    line: Vec<u8>,
}

impl<W: Write> Write for SafeLines<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        for byte in bytes {
            if *byte == b'\n' {
                let line = std::mem::take(&mut self.line);
                writeln!(self.to, "{}", text::safe_json(&String::from_utf8_lossy(&line)))?;
            } else {
                self.line.push(*byte);
            }
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}
