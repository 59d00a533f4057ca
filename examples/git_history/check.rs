//! Every file replayed, and compared with what git says it is.

use std::collections::HashMap;
use std::ops::ControlFlow;

use foldlog::{Aggregates, EachProgress};

use crate::failure::Failure;
use crate::file::{Content, File};

/// Differences that are named; all are counted.
const NAMED: usize = 5;

/// How the replayed files compare with git's tree.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Checked {
    /// Files replayed, deleted ones among them.
    pub files: u64,
    /// Files in git's tree.
    pub files_in_tree: u64,
    pub differences: u64,
    /// The first few, described.
    pub named: Vec<String>,
}

/// Replays every file there ever was. What git lists and no replay gave is a difference too.
pub fn check(
    files: &Aggregates<File>,
    mut tree: HashMap<String, Content>,
    mut progress: impl FnMut(&EachProgress),
) -> Result<Checked, Failure> {
    let files_in_tree = tree.len() as u64;
    let rebuilt = files.replay_each().run(
        |path, replayed| {
            let (git, replay) = (tree.remove(path), &replayed.state.content);
            match git == *replay {
                true => Ok(()),
                false => Err(format!("git has {}, the replay gives {}", shown(git.as_ref()), shown(replay.as_ref()))),
            }
        },
        |done| {
            progress(done);
            ControlFlow::Continue(())
        },
    )?;
    let mut missing: Vec<_> = tree.into_iter().collect();
    missing.sort_by(|a, b| a.0.cmp(&b.0));
    let found = rebuilt.failures.iter().map(|(path, failure)| format!("{path:?}: {failure}"));
    let not_found = missing.iter().map(|(path, git)| format!("{path:?}: git has {}, there are no events", shown(Some(git))));
    Ok(Checked {
        files: rebuilt.succeeded + rebuilt.failed,
        files_in_tree,
        differences: rebuilt.failed + missing.len() as u64,
        named: found.chain(not_found).take(NAMED).collect(),
    })
}

fn shown(content: Option<&Content>) -> String {
    content.map_or_else(|| "no file".to_owned(), |Content { mode, blob }| format!("{mode} {blob}"))
}
