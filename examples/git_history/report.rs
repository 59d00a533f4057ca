//! What the example prints.

use std::fmt;

use serde::Serialize;

/// The figures: printed as text, or as one JSON object.
#[derive(Serialize)]
pub struct Report {
    pub head: String,
    /// The commit after which the import began, when the file held a part of the history already.
    pub resumed_after: Option<String>,
    /// Commits, and events made from them, in this run.
    pub commits: u64,
    pub commits_without_files: u64,
    pub events: u64,
    /// Files there ever were, each an aggregate.
    pub files: u64,
    pub files_in_head: u64,
    pub matches_git: bool,
    pub differences: u64,
    pub import_seconds: f64,
    pub check_seconds: f64,
    pub events_per_second: f64,
    pub durability: &'static str,
    /// The size of the file, and of all events in it.
    pub file_bytes: u64,
    pub bytes_per_event: Option<f64>,
    pub is_shallow: bool,
    pub debug_build: bool,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(commit) = &self.resumed_after {
            writeln!(f, "the file held the history up to {commit}; imported is what came after")?;
        }
        let without = self.commits_without_files;
        writeln!(f, "commits  {:>12}  on the first-parent line; {without} of them changed no file", grouped(self.commits))?;
        writeln!(f, "files    {:>12}  each an aggregate; {} of them in HEAD", grouped(self.files), grouped(self.files_in_head))?;
        writeln!(f, "events   {:>12}  one commit, one atomic append", grouped(self.events))?;
        writeln!(
            f,
            "import   {:>10.3} s  {} events/s with Durability::Fast: a power cut could lose the newest commits",
            self.import_seconds,
            grouped(self.events_per_second as u64)
        )?;
        writeln!(f, "check    {:>10.3} s  every file replayed and compared with git ls-tree", self.check_seconds)?;
        let per_event = self.bytes_per_event.map_or_else(|| "-".to_owned(), |bytes| format!("{bytes:.0}"));
        writeln!(
            f,
            "size     {:>10.2} MB  {per_event} bytes per event, indexes and checksums included",
            self.file_bytes as f64 / 1e6
        )?;
        if self.is_shallow {
            writeln!(f, "The clone is shallow: its oldest commit counts as the one that added every file.")?;
        }
        if self.debug_build {
            writeln!(f, "This is a debug build: for figures that mean something, run it with --release.")?;
        }
        match self.matches_git {
            true => writeln!(f, "All files are as git has them at {}.", self.head),
            false => writeln!(f, "{} files DIFFER from git at {}.", grouped(self.differences), self.head),
        }
    }
}

/// 1234567 as 1,234,567.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut grouped = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}
