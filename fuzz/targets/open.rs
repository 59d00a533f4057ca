//! A file that is anything at all: no panic, no hang, no payload in an error, and what is refused stays as it was.
#![no_main]

use std::path::Path;
use std::sync::LazyLock;

use arbitrary::{Arbitrary, Result, Unstructured};
use foldlog::ErrorKind;
use foldlog_fuzz::exercise;
use foldlog_fuzz::template::{Files, Template};
use libfuzzer_sys::fuzz_target;

static TEMPLATE: LazyLock<Template> = LazyLock::new(Template::make);

/// What is done to the file or to its log.
#[derive(Arbitrary, Debug)]
enum Edit<'a> {
    Write { in_log: bool, at: u32, bytes: &'a [u8] },
    Number { in_log: bool, at: u32, number: u32 },
    Copy { in_log: bool, from: u16, to: u16 },
    Cut { in_log: bool, at: u32 },
}

fuzz_target!(|data: &[u8]| {
    let mut data = Unstructured::new(data);
    let Ok((kind, writes)) = <(u8, bool)>::arbitrary(&mut data) else { return };
    let Ok(files) = files(kind % 16, &mut data) else { return };
    let directory = tempfile::tempdir().expect("a directory");
    let (path, wal) = (directory.path().join("store.db"), directory.path().join("store.db-wal"));
    std::fs::write(&path, &files.file).expect("a file");
    if !files.wal.is_empty() {
        std::fs::write(&wal, &files.wal).expect("a log");
    }
    let refused = |kind: Option<ErrorKind>| matches!(kind, Some(ErrorKind::ForeignFile | ErrorKind::FormatTooNew));
    let outcome = if writes { exercise::write_file(&path) } else { exercise::read_file(&path) };
    if refused(outcome) || !writes {
        assert!(is(&path, &files.file), "the file was changed that was refused or only read: {outcome:?}");
        assert!(is(&wal, &files.wal), "the log was changed of a file that was refused or only read: {outcome:?}");
    }
});

fn is(path: &Path, bytes: &[u8]) -> bool {
    std::fs::read(path).unwrap_or_default() == bytes
}

fn files(kind: u8, data: &mut Unstructured<'_>) -> Result<Files> {
    let template = match kind {
        0 => return Ok(Files { file: data.bytes(data.len())?.to_vec(), wal: Vec::new() }),
        1 => return Ok(Files { file: TEMPLATE.closed.file.clone(), wal: data.bytes(data.len())?.to_vec() }),
        2 => &TEMPLATE.long,
        3..8 => &TEMPLATE.killed,
        _ => &TEMPLATE.closed,
    };
    let mut files = template.clone();
    for edit in data.arbitrary_iter::<Edit<'_>>()?.take(32) {
        edit?.apply(&mut files);
    }
    Ok(files)
}

impl Edit<'_> {
    fn apply(&self, files: &mut Files) {
        match *self {
            Edit::Write { in_log, at, bytes } => write(of(files, in_log), at as usize, bytes),
            Edit::Number { in_log, at, number } => write(of(files, in_log), at as usize, &number.to_be_bytes()),
            Edit::Copy { in_log, from, to } => {
                let file = of(files, in_log);
                let from = usize::from(from) * 512 % file.len().max(1);
                let page = file[from..file.len().min(from + 512)].to_vec();
                write(file, usize::from(to) * 512, &page);
            }
            Edit::Cut { in_log, at } => {
                let file = of(files, in_log);
                file.truncate(at as usize % (file.len() + 1));
            }
        }
    }
}

fn of(files: &mut Files, in_log: bool) -> &mut Vec<u8> {
    if in_log { &mut files.wal } else { &mut files.file }
}

/// Over what is there; a place beyond the end is one within.
fn write(file: &mut [u8], at: usize, bytes: &[u8]) {
    if file.is_empty() {
        return;
    }
    let at = at % file.len();
    let length = bytes.len().min(file.len() - at);
    file[at..at + length].copy_from_slice(&bytes[..length]);
}
