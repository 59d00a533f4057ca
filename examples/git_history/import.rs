//! Commits become events: one commit, one atomic append over all the files that it changed.

use std::collections::HashMap;
use std::ops::ControlFlow;

use foldlog::{Aggregate as _, Batch, Expected, Json, Metadata, NewEvent, Store, Version};

use crate::failure::Failure;
use crate::file::{Change, File};
use crate::git::Repository;
use crate::raw_log::Commit;

/// What was imported.
#[derive(Debug, Default)]
pub struct Imported {
    /// Commits read.
    pub commits: u64,
    /// Commits among them that changed no file, and so made no event.
    pub commits_without_files: u64,
    pub events: u64,
}

/// A file as it stands after the commits so far: what the next commit's diff must start from.
#[derive(Default)]
struct Known {
    version: Version,
    file: File,
}

/// Files by aggregate id.
#[derive(Default)]
pub struct Import {
    files: HashMap<String, Known>,
    imported: Imported,
}

impl Import {
    /// Starts where the store ends; with nothing if it is empty.
    pub fn resume(store: &Store) -> Result<Import, Failure> {
        let mut files = HashMap::new();
        let rebuilt = store.aggregates::<File>().replay_each().run(
            |path, replayed| {
                let known = Known { version: replayed.version, file: replayed.state.clone() };
                files.insert(path.to_owned(), known);
                Ok::<(), String>(())
            },
            |_| ControlFlow::Continue(()),
        )?;
        match rebuilt.failures.into_iter().next() {
            Some((path, failure)) => Err(Failure::Failed(format!("{path:?} cannot be replayed: {failure}"))),
            None => Ok(Import { files, imported: Imported::default() }),
        }
    }

    /// Imports the commits of a history, one transaction each.
    pub fn run(
        mut self,
        store: &Store,
        history: impl Iterator<Item = Result<Commit, Failure>>,
        mut progress: impl FnMut(&Imported),
    ) -> Result<Imported, Failure> {
        for commit in history {
            let commit = commit?;
            self.imported.commits += 1;
            if commit.changes.is_empty() {
                self.imported.commits_without_files += 1;
            } else {
                let batch = self.batch(&commit)?;
                self.imported.events += batch.len() as u64;
                store.commit(batch)?;
            }
            progress(&self.imported);
        }
        Ok(self.imported)
    }

    fn batch(&mut self, commit: &Commit) -> Result<Batch, Failure> {
        let metadata = Json::from_serialize(&Metadata::new().extra("commit", commit.id.as_str()))?;
        let mut batch = Batch::new();
        for change in &commit.changes {
            let (expected, event) = self.take(&commit.id, change)?;
            batch = batch.append(
                File::TYPE,
                change.path.as_str(),
                expected,
                [event.created_at(commit.time).metadata_json(metadata.clone())],
            );
        }
        Ok(batch)
    }

    /// Checks a change against the state folded so far and folds it in; returns the event and the version it expects.
    fn take(&mut self, commit: &str, change: &Change) -> Result<(Expected, NewEvent), Failure> {
        let Change { path, before, .. } = change;
        if !self.files.contains_key(path) {
            self.files.insert(path.clone(), Known::default());
        }
        let (Some(known), Some(event)) = (self.files.get_mut(path), change.event()) else {
            return Err(Failure::Failed(format!("commit {commit} changes {path:?} from nothing to nothing")));
        };
        if known.file.content != *before {
            let folded = &known.file.content;
            return Err(Failure::Failed(format!(
                "commit {commit} changes {path:?} from {before:?}, but the events before make it {folded:?}"
            )));
        }
        let expected = match known.version {
            Version::ZERO => Expected::New,
            version => Expected::Exactly(version),
        };
        let new = NewEvent::of(&event)?;
        known.file.apply(event);
        known.version = Version::new(known.version.get() + 1);
        Ok((expected, new))
    }
}

/// The commit up to which a store was filled; `None` if it is empty.
pub fn last_commit(store: &Store, repository: &Repository) -> Result<Option<String>, Failure> {
    let Some(newest) = store.recent_events(1)?.pop() else { return Ok(None) };
    let metadata = newest.metadata()?;
    let commit = metadata.extra.get("commit").and_then(|commit| commit.as_str());
    let Some(commit) = commit.filter(|_| &*newest.aggregate_type == File::TYPE) else {
        return Err(Failure::Failed("the file was not filled by git_history: name another one with --db".to_owned()));
    };
    match repository.contains(commit)? {
        true => Ok(Some(commit.to_owned())),
        false => Err(Failure::Failed(format!(
            "the file holds a history up to commit {commit}, which is not part of this one: name another file with --db"
        ))),
    }
}
