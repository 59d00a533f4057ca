//! Asks git: the program itself, through pipes.

use std::collections::HashMap;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};

use crate::failure::Failure;
use crate::file::{Content, aggregate_id};
use crate::raw_log::{Commit, FORMAT, RawLog};

/// A repository at one commit: what HEAD named when it was opened.
pub struct Repository {
    path: PathBuf,
    pub head: String,
    /// The clone holds only the newest part of the history: its oldest commit seems to add every file.
    pub is_shallow: bool,
}

impl Repository {
    pub fn open(path: &Path) -> Result<Repository, Failure> {
        let is_shallow = answer(path, &["rev-parse", "--is-shallow-repository"])?.map_err(Failure::NoHistory)? == "true";
        let head = answer(path, &["rev-parse", "--verify", "--quiet", "HEAD^{commit}"])?
            .map_err(|_| Failure::NoHistory(format!("{} has no commits yet: HEAD names none", path.display())))?;
        Ok(Repository { path: path.to_owned(), head, is_shallow })
    }

    /// How many commits [`Repository::history`] will give.
    pub fn count_commits(&self, after: Option<&str>) -> Result<u64, Failure> {
        let count = answer(&self.path, &["rev-list", "--first-parent", "--count", &self.range(after), "--"])?;
        count.map_err(Failure::Failed)?.parse().map_err(|_| Failure::Failed("git rev-list gave no number".to_owned()))
    }

    /// Whether a commit is part of HEAD's history.
    pub fn contains(&self, commit: &str) -> Result<bool, Failure> {
        Ok(answer(&self.path, &["merge-base", "--is-ancestor", commit, &self.head])?.is_ok())
    }

    /// The first-parent history, oldest commit first; only what came after a commit if one is named.
    pub fn history(&self, after: Option<&str>) -> Result<History, Failure> {
        let mut command = git(&self.path);
        // A user's settings can hide the root commit, submodules or what lies outside of the current directory.
        command.args(["-c", "log.showRoot=true", "log", "--ignore-submodules=none", "--no-relative"]);
        command.args(["--no-show-signature", "--first-parent", "--diff-merges=first-parent", "--reverse"]);
        command.args(["--raw", "--no-renames", "--no-abbrev", "-z", &format!("--format={FORMAT}")]);
        command.args([&self.range(after), "--"]);
        let (child, output) = start(command)?;
        Ok(History { child, log: RawLog::new(output), finished: false })
    }

    /// Every file of the commit, by its aggregate id.
    pub fn tree(&self) -> Result<HashMap<String, Content>, Failure> {
        let mut command = git(&self.path);
        command.args(["ls-tree", "-r", "-z", "--full-tree", &self.head]);
        let (mut child, output) = start(command)?;
        let mut files = HashMap::new();
        for entry in output.split(0) {
            let entry = entry?;
            let (path, content) = tree_entry(&entry)
                .ok_or_else(|| Failure::Failed(format!("git ls-tree gave {:?}", String::from_utf8_lossy(&entry))))?;
            files.insert(path, content);
        }
        must_succeed(&mut child, "git ls-tree")?;
        Ok(files)
    }

    fn range(&self, after: Option<&str>) -> String {
        after.map_or_else(|| self.head.clone(), |after| format!("{after}..{}", self.head))
    }
}

/// Commits from a running `git log`. Dropped early, it ends git.
pub struct History {
    child: Child,
    log: RawLog<BufReader<ChildStdout>>,
    finished: bool,
}

impl Iterator for History {
    type Item = Result<Commit, Failure>;

    fn next(&mut self) -> Option<Result<Commit, Failure>> {
        if self.finished {
            return None;
        }
        let read = self.log.read();
        self.finished = !matches!(read, Ok(Some(_)));
        match read {
            Ok(Some(commit)) => Some(Ok(commit)),
            // The end of the pipe is the end of the history only if git says so.
            Ok(None) => must_succeed(&mut self.child, "git log").err().map(Err),
            Err(error) => Some(Err(error.into())),
        }
    }
}

impl Drop for History {
    fn drop(&mut self) {
        // After a regular end both do nothing.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// `<mode> <type> <object> TAB <path>`
fn tree_entry(entry: &[u8]) -> Option<(String, Content)> {
    let tab = entry.iter().position(|byte| *byte == b'\t')?;
    let (fields, path) = (std::str::from_utf8(entry.get(..tab)?).ok()?, entry.get(tab + 1..)?);
    let mut fields = fields.split(' ');
    let (mode, _type, blob) = (fields.next()?, fields.next()?, fields.next()?);
    Some((aggregate_id(path), Content { mode: mode.to_owned(), blob: blob.to_owned() }))
}

fn git(path: &Path) -> Command {
    let mut command = Command::new("git");
    // The repository is the one that the user named, also when git itself started this program in a hook.
    command.env_remove("GIT_DIR").env_remove("GIT_WORK_TREE").arg("-C").arg(path).stdin(Stdio::null());
    command
}

/// The one line that git answers, or what it says is wrong; fails if git cannot be run at all.
fn answer(path: &Path, arguments: &[&str]) -> Result<Result<String, String>, Failure> {
    let output = git(path).args(arguments).output().map_err(|error| Failure::Failed(format!("git cannot be run: {error}")))?;
    Ok(match output.status.success() {
        true => Ok(String::from_utf8_lossy(&output.stdout).trim_end().to_owned()),
        false => Err(String::from_utf8_lossy(&output.stderr).trim_end().to_owned()),
    })
}

fn start(mut command: Command) -> Result<(Child, BufReader<ChildStdout>), Failure> {
    // What git has to say goes to the terminal as it is.
    let mut child = command.stdout(Stdio::piped()).spawn()?;
    let output = child.stdout.take().ok_or_else(|| Failure::Failed("git has no output".to_owned()))?;
    Ok((child, BufReader::with_capacity(1 << 16, output)))
}

fn must_succeed(child: &mut Child, what: &str) -> Result<(), Failure> {
    let status = child.wait()?;
    match status.success() {
        true => Ok(()),
        false => Err(Failure::Failed(format!("{what} failed: {status}"))),
    }
}
