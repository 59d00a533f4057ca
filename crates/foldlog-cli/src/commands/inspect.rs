//! `foldlog inspect`

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use foldlog_inspector::{Inspector, ServeError};
use serde_json::json;

use crate::context::Context;
use crate::failure::{Done, Failure};
use crate::interrupt;
use crate::show::output;

/// Shows the store in a browser, until Ctrl-C
#[derive(Debug, Args)]
pub(crate) struct Inspect {
    /// The store
    file: PathBuf,
    /// The port on 127.0.0.1; 0 takes any that is free
    #[arg(long, value_name = "PORT", default_value_t = 0)]
    port: u16,
    /// Offers to retry and discard dead letters, and to skip the event at which a subscription stopped; each asks first
    #[arg(long)]
    allow_writes: bool,
    /// Shows only the tenant of --tenant
    #[arg(long)]
    only_tenant: bool,
}

impl Inspect {
    pub(crate) fn run(self, context: &mut Context) -> Done {
        let store = if self.allow_writes { context.write(&self.file)? } else { context.read(&self.file)? };
        let mut inspector = Inspector::new(store).folds(context.registry.inspected());
        if self.allow_writes {
            inspector = inspector.allow_writes();
        }
        if self.only_tenant {
            inspector = inspector.only_its_tenant();
        }
        interrupt::listen()?;
        let server = inspector.serve(("127.0.0.1", self.port)).map_err(|error| match error {
            ServeError::Open(error) => Failure::from(error),
            error => Failure::failed(error),
        })?;
        let mode = if self.allow_writes { "writes allowed" } else { "read-only" };
        if context.json {
            context.out.json(&json!({ "url": server.url(), "allowWrites": self.allow_writes }))?;
        } else {
            context.out.line(format!("inspector of {} ({mode}): {}", self.file.display(), server.url()))?;
        }
        context.out.flush()?;
        if !context.json {
            output::note("Ctrl-C to stop");
        }
        while !interrupt::is_asked() {
            std::thread::sleep(Duration::from_millis(100));
        }
        Ok(())
    }
}
