//! `foldlog metrics`, `completions` and `man`

use std::path::PathBuf;

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use crate::arguments::Arguments;
use crate::context::Context;
use crate::failure::{Done, Failure};

/// The file's gauges in the text format of Prometheus, for a collector of text files
#[derive(Debug, Args)]
pub(crate) struct Metrics {
    /// The store
    file: PathBuf,
}

impl Metrics {
    pub(crate) fn run(self, context: &mut Context) -> Done {
        let exporter = foldlog::prometheus::install()?;
        let store = context.read(&self.file)?;
        store.maintenance().refresh_metrics()?;
        // Counters and histograms are of a process, and this one has done nothing yet.
        let text: String = exporter.render().split_inclusive("\n\n").filter(|family| is_gauge(family)).collect();
        if context.json {
            return context.out.json(&serde_json::json!({"text": text}));
        }
        text.lines().try_for_each(|line| context.out.line(line))
    }
}

fn is_gauge(family: &str) -> bool {
    family.lines().any(|line| line.starts_with("# TYPE ") && line.ends_with(" gauge"))
}

/// Writes the completions of a shell
#[derive(Debug, Args)]
pub(crate) struct Completions {
    /// The shell
    shell: Shell,
}

impl Completions {
    pub(crate) fn run(self, context: &mut Context) -> Done {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut Arguments::command(), "foldlog", &mut script);
        Ok(std::io::Write::write_all(&mut context.out.raw(), &script)?)
    }
}

/// Writes the manual: of the command, or of one of its commands, to read it by `man -l -`
#[derive(Debug, Args)]
pub(crate) struct Man {
    /// The command, such as `snapshot create`
    command: Vec<String>,
    /// Writes the manual of every command into a folder instead, such as ~/.local/share/man/man1
    #[arg(long, value_name = "FOLDER", conflicts_with = "command")]
    into: Option<PathBuf>,
}

impl Man {
    pub(crate) fn run(self, context: &mut Context) -> Done {
        let mut command = Arguments::command();
        command.build();
        if let Some(folder) = &self.into {
            return clap_mangen::generate_to(command, folder)
                .map_err(|error| Failure::failed(format!("{}: {error}", folder.display())));
        }
        for name in &self.command {
            let Some(found) = command.find_subcommand(name).cloned() else {
                return Err(Failure::not_found(format!("there is no command {name}")));
            };
            command = found;
        }
        Ok(clap_mangen::Man::new(command).render(&mut context.out.raw())?)
    }
}
