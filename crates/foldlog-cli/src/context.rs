//! What a command works with: the registry, the shared arguments, the output, and how files are opened.

use std::path::{Path, PathBuf};

use foldlog::{Durability, Options, Store};

use crate::arguments::Shared;
use crate::failure::{Done, Failure};
use crate::registry::Registry;
use crate::show::output::{self, Output};
use crate::time::Zone;

pub(crate) struct Context {
    pub(crate) registry: Registry,
    pub(crate) out: Output,
    pub(crate) json: bool,
    pub(crate) zone: Zone,
    tenant: String,
    /// The file that the command made, because there was none.
    made: Option<PathBuf>,
}

impl Context {
    pub(crate) fn new(registry: Registry, shared: &Shared) -> Context {
        Context {
            registry,
            out: Output::new(shared.wide),
            json: shared.json.is_some(),
            zone: Zone { is_local: shared.local },
            tenant: shared.tenant.clone(),
            made: None,
        }
    }

    /// Opens a file for reading. Another process may write to it meanwhile.
    pub(crate) fn read(&self, file: &Path) -> Result<Store, Failure> {
        must_exist(file)?;
        Ok(self.options().open_read_only(file)?.tenant(&self.tenant))
    }

    /// Opens an existing file for reading and writing.
    pub(crate) fn write(&self, file: &Path) -> Result<Store, Failure> {
        must_exist(file)?;
        Ok(self.options().open(file)?.tenant(&self.tenant))
    }

    /// As [`Context::write`], with other options.
    pub(crate) fn write_with(&self, file: &Path, settings: impl FnOnce(Options) -> Options) -> Result<Store, Failure> {
        must_exist(file)?;
        Ok(settings(self.options()).open(file)?.tenant(&self.tenant))
    }

    /// Opens a file for reading and writing, and makes it if there is none. What is written is safe after the death of the
    /// process; the caller runs a WAL checkpoint in the end.
    pub(crate) fn fill(&mut self, file: &Path) -> Result<Store, Failure> {
        self.note_new(file);
        Ok(self.options().durability(Durability::Fast).open(file)?.tenant(&self.tenant))
    }

    /// Opens a file for reading and writing, and makes it if there is none.
    pub(crate) fn make(&mut self, file: &Path) -> Result<Store, Failure> {
        self.note_new(file);
        Ok(self.options().open(file)?.tenant(&self.tenant))
    }

    fn note_new(&mut self, file: &Path) {
        if matches!(file.try_exists(), Ok(false)) {
            self.made = Some(file.to_owned());
        }
    }

    /// A command that failed before the first event leaves no store behind that was not there before.
    pub(crate) fn clear_away(&self) {
        let Some(file) = &self.made else { return };
        let last = self.options().open_read_only(file).and_then(|store| store.last_position());
        if last.is_ok_and(|position| position == 0) {
            for ending in ["-wal", "-shm", ""] {
                let mut name = file.clone().into_os_string();
                name.push(ending);
                // If it cannot be removed, an empty store is left; why the command failed matters more.
                let _ = std::fs::remove_file(name);
            }
        }
    }

    fn options(&self) -> Options {
        self.registry.store_options()
    }

    /// Says something to a person; a program that asked for JSON finds it in there.
    pub(crate) fn note(&self, message: impl std::fmt::Display) {
        if !self.json {
            output::note(message);
        }
    }

    /// Whether a command that destroys may do so. Without `--yes` it only says what it would do.
    pub(crate) fn may_destroy(&mut self, yes: bool) -> Done {
        if yes {
            return Ok(());
        }
        self.out.flush()?;
        Err(Failure::usage("nothing was changed").hint("add --yes to do it"))
    }
}

fn must_exist(file: &Path) -> Done {
    match file.try_exists() {
        Ok(false) => {
            let wrong = file.to_string_lossy();
            let folder = file.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
            let names: Vec<String> = std::fs::read_dir(folder)
                .into_iter()
                .flatten()
                .flatten()
                .map(|entry| file.with_file_name(entry.file_name()).to_string_lossy().into_owned())
                .collect();
            let near = crate::name::nearest(&wrong, names.iter().map(String::as_str));
            Err(Failure::not_found(format!("there is no file {wrong}"))
                .maybe_hint(near.map(|near| format!("did you mean {}?", crate::show::text::safe(&near)))))
        }
        // Opening says what else is wrong.
        _ => Ok(()),
    }
}
