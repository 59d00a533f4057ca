//! The aggregate: one file of the repository, by its path.

use foldlog::Aggregate;
use serde::{Deserialize, Serialize};

/// What git knows of a file at one commit: its mode and the id of its content.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Content {
    /// Six octal digits: 100644 a file, 100755 an executable one, 120000 a symbolic link, 160000 a submodule's commit.
    pub mode: String,
    /// The object id, in full.
    pub blob: String,
}

/// A file as its events made it; `None` when it is deleted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct File {
    pub content: Option<Content>,
}

/// What a commit can do to a file. `prev_mode` is there when the mode changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all_fields = "camelCase")]
#[expect(clippy::enum_variant_names, reason = "a variant's name is the event type in the file, where it stands alone")]
pub enum FileEvent {
    FileAdded {
        mode: String,
        blob: String,
    },
    FileModified {
        mode: String,
        blob: String,
        prev_blob: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        prev_mode: Option<String>,
    },
    /// A file became a symbolic link or a submodule, or the other way round.
    FileTypeChanged {
        mode: String,
        blob: String,
        prev_blob: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        prev_mode: Option<String>,
    },
    FileDeleted {
        prev_mode: String,
        prev_blob: String,
    },
}

impl Aggregate for File {
    const TYPE: &'static str = "file";
    type Event = FileEvent;

    fn apply(&mut self, event: FileEvent) {
        self.content = match event {
            FileEvent::FileAdded { mode, blob }
            | FileEvent::FileModified { mode, blob, .. }
            | FileEvent::FileTypeChanged { mode, blob, .. } => Some(Content { mode, blob }),
            FileEvent::FileDeleted { .. } => None,
        };
    }
}

/// A change of one file between two commits, as git tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    pub path: String,
    pub before: Option<Content>,
    pub after: Option<Content>,
}

impl Change {
    /// The event that says the same; `None` for a change from nothing to nothing, which git does not report.
    pub fn event(&self) -> Option<FileEvent> {
        match (self.before.clone(), self.after.clone()) {
            (None, None) => None,
            (None, Some(Content { mode, blob })) => Some(FileEvent::FileAdded { mode, blob }),
            (Some(before), None) => Some(FileEvent::FileDeleted { prev_mode: before.mode, prev_blob: before.blob }),
            (Some(before), Some(Content { mode, blob })) => {
                let same_type = file_type(&before.mode) == file_type(&mode);
                let (prev_blob, prev_mode) = (before.blob, (before.mode != mode).then_some(before.mode));
                Some(match same_type {
                    true => FileEvent::FileModified { mode, blob, prev_blob, prev_mode },
                    false => FileEvent::FileTypeChanged { mode, blob, prev_blob, prev_mode },
                })
            }
        }
    }
}

/// The part of a mode that says what sort of thing it is, without the permissions.
fn file_type(mode: &str) -> &str {
    mode.get(..3).unwrap_or(mode)
}

/// A path as the aggregate's id, which has to be text.
///
/// A path that is UTF-8 is taken as it is, with whatever blanks and line breaks. Any other one is written the way git
/// itself quotes it, `"caf\351"`; so is one that begins with a quotation mark, so that no two paths look the same.
pub fn aggregate_id(path: &[u8]) -> String {
    match std::str::from_utf8(path) {
        Ok(path) if !path.starts_with('"') => path.to_owned(),
        _ => quoted(path),
    }
}

fn quoted(path: &[u8]) -> String {
    let mut text = String::from("\"");
    for byte in path {
        match byte {
            0x07 => text.push_str("\\a"),
            0x08 => text.push_str("\\b"),
            b'\t' => text.push_str("\\t"),
            b'\n' => text.push_str("\\n"),
            0x0b => text.push_str("\\v"),
            0x0c => text.push_str("\\f"),
            b'\r' => text.push_str("\\r"),
            b'"' => text.push_str("\\\""),
            b'\\' => text.push_str("\\\\"),
            0x20..=0x7e => text.push(char::from(*byte)),
            _ => text.push_str(&format!("\\{byte:03o}")),
        }
    }
    text + "\""
}
