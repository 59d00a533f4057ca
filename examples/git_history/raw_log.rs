//! Reads what `git log --raw -z` writes, one commit at a time, from a pipe.
//!
//! The output is a row of texts that end with a NUL byte: for each commit a header in the format [`FORMAT`], and for
//! each changed file `:<mode> <mode> <object> <object> <letter>` followed by its path. A line break stands between a
//! header and the first change. A path is read by its place and not by its looks, for it may hold anything but NUL.

use std::io::{self, BufRead};

use chrono::{DateTime, Utc};

use crate::file::{Change, Content, aggregate_id};

/// What git is asked to write for each commit: id and commit time.
pub const FORMAT: &str = "tformat:commit %H %ct";

/// A commit and what it changed, seen from its first parent.
#[derive(Debug, PartialEq, Eq)]
pub struct Commit {
    pub id: String,
    pub time: DateTime<Utc>,
    pub changes: Vec<Change>,
}

/// The commits of a log, in its order.
pub struct RawLog<R> {
    input: R,
    text: Vec<u8>,
    /// The header that ended the commit before.
    next: Option<Commit>,
}

impl<R: BufRead> RawLog<R> {
    pub fn new(input: R) -> RawLog<R> {
        RawLog { input, text: Vec::new(), next: None }
    }

    /// The next commit; `None` at the end.
    pub fn read(&mut self) -> io::Result<Option<Commit>> {
        let mut current = self.next.take();
        while self.read_text()? {
            let text = self.text.strip_prefix(b"\n").unwrap_or(&self.text);
            if let Some(header) = text.strip_prefix(b"commit ") {
                let commit = parse_header(header).ok_or_else(|| strange(&self.text))?;
                if current.is_some() {
                    self.next = Some(commit);
                    return Ok(current);
                }
                current = Some(commit);
            } else {
                let (before, after) = parse_change(text).ok_or_else(|| strange(&self.text))?;
                if !self.read_text()? {
                    return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "git's log ends where a path should be"));
                }
                let commit = current.as_mut().ok_or_else(|| strange(&self.text))?;
                commit.changes.push(Change { path: aggregate_id(&self.text), before, after });
            }
        }
        Ok(current)
    }

    /// Reads up to the next NUL; false at the end.
    fn read_text(&mut self) -> io::Result<bool> {
        self.text.clear();
        if self.input.read_until(0, &mut self.text)? == 0 {
            return Ok(false);
        }
        match self.text.pop() {
            Some(0) => Ok(true),
            _ => Err(io::Error::new(io::ErrorKind::UnexpectedEof, "git's log ends in the middle of a text")),
        }
    }
}

fn parse_header(header: &[u8]) -> Option<Commit> {
    let (id, time) = std::str::from_utf8(header).ok()?.split_once(' ')?;
    // A commit can be made with a time that no calendar holds, or with none. Times only inform: 1970 will do.
    let time = time.parse().ok().and_then(|seconds| DateTime::from_timestamp(seconds, 0)).unwrap_or(DateTime::UNIX_EPOCH);
    Some(Commit { id: id.to_owned(), time, changes: Vec::new() })
}

fn parse_change(text: &[u8]) -> Option<(Option<Content>, Option<Content>)> {
    let mut parts = std::str::from_utf8(text).ok()?.strip_prefix(':')?.split(' ');
    let (mode_before, mode_after, before, after) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    // With renames off there are additions, deletions, modifications and changes of type; nothing has two paths.
    let known = matches!(parts.next()?, "A" | "D" | "M" | "T");
    (known && parts.next().is_none()).then(|| (content(mode_before, before), content(mode_after, after)))
}

fn content(mode: &str, blob: &str) -> Option<Content> {
    (mode != "000000").then(|| Content { mode: mode.to_owned(), blob: blob.to_owned() })
}

fn strange(text: &[u8]) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("git's log holds {:?}", String::from_utf8_lossy(text)))
}
