//! The reader of `git log`'s output, where git itself cannot be made to write what it must withstand.

use std::io::ErrorKind;

use crate::file::Content;
use crate::raw_log::{Commit, RawLog};

const ADDED: &[u8] = b"commit aa 7\0\n:000000 100644 00 11 A\0:100644 is a name, too\0commit bb 8\0";

fn all(bytes: &[u8]) -> std::io::Result<Vec<Commit>> {
    let mut log = RawLog::new(bytes);
    let mut commits = Vec::new();
    while let Some(commit) = log.read()? {
        commits.push(commit);
    }
    Ok(commits)
}

#[test]
fn a_path_may_look_like_anything_else() {
    for name in [":100644 100644 11 22 M", "commit cc 9", "\n"] {
        let log = format!("commit aa 7\0\n:000000 100644 00 11 A\0{name}\0:100644 000000 11 00 D\0b\0commit bb 8\0");
        let commits = all(log.as_bytes()).unwrap();
        assert_eq!(commits.iter().map(|commit| commit.changes.len()).collect::<Vec<_>>(), [2, 0]);
        let change = &commits[0].changes[0];
        assert_eq!((&*change.path, &change.before), (name, &None));
        assert_eq!(change.after, Some(Content { mode: "100644".into(), blob: "11".into() }));
    }
}

#[test]
fn an_output_that_was_cut_off_is_an_error() {
    // A cut between two commits cannot be seen here; git's exit code tells.
    let (header, last) = ("commit aa 7\0".len(), ADDED.len() - "commit bb 8\0".len());
    for length in 1..=ADDED.len() {
        match all(&ADDED[..length]) {
            Ok(_) => assert!([header, last, ADDED.len()].contains(&length), "{length} bytes were taken for all"),
            Err(error) => assert_eq!(error.kind(), ErrorKind::UnexpectedEof, "{length} bytes: {error}"),
        }
    }
}

#[test]
fn what_git_never_writes_is_refused() {
    for text in [
        ":000000 100644 00 11 A\0no commit before\0",
        "commit\0",
        "commit aa 7\0:000000 100644 00 11 R100\0a\0",
        "commit aa 7\0:000000 100644 00 11\0a\0",
        "commit aa 7\0fatal: something\0",
    ] {
        assert_eq!(all(text.as_bytes()).unwrap_err().kind(), ErrorKind::InvalidData, "{text:?}");
    }
}

#[test]
fn a_time_beyond_the_calendar_is_1970() {
    for time in ["", "99999999999999999999999999", "9223372036854775807"] {
        let commits = all(format!("commit aa {time}\0").as_bytes()).unwrap();
        assert_eq!(commits[0].time.timestamp(), 0, "{time:?}");
    }
    assert_eq!(all(b"commit aa -5\0").unwrap()[0].time.timestamp(), -5);
}
