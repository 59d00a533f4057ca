//! What goes wrong, and the exit code that says so.

use std::fmt;
use std::io;

use foldlog::ErrorKind;
use serde_json::{Value, json};

/// The exit codes of the command.
pub mod exit {
    /// Done.
    pub const DONE: u8 = 0;
    /// Failed for any other reason.
    pub const FAILED: u8 = 1;
    /// The arguments make no sense.
    pub const USAGE: u8 = 2;
    /// There is no such file, aggregate, event, subscription or dead letter.
    pub const NOT_FOUND: u8 = 3;
    /// The aggregate is not at the expected version, or an event id is taken.
    pub const CONFLICT: u8 = 4;
    /// The file is damaged.
    pub const INTEGRITY: u8 = 5;
    /// Stopped by Ctrl-C; what was begun was finished or taken back.
    pub const INTERRUPTED: u8 = 130;
}

/// Why a command failed: its exit code, and what to say.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) code: u8,
    message: String,
    hint: Option<String>,
    /// The library's error as JSON.
    error: Option<Value>,
    /// Nobody reads the output any more, so nothing is said.
    pub(crate) is_quiet: bool,
}

pub(crate) type Done = Result<(), Failure>;

impl Failure {
    fn new(code: u8, message: impl fmt::Display) -> Failure {
        Failure { code, message: message.to_string(), hint: None, error: None, is_quiet: false }
    }

    pub(crate) fn failed(message: impl fmt::Display) -> Failure {
        Failure::new(exit::FAILED, message)
    }

    pub(crate) fn usage(message: impl fmt::Display) -> Failure {
        Failure::new(exit::USAGE, message)
    }

    pub(crate) fn not_found(message: impl fmt::Display) -> Failure {
        Failure::new(exit::NOT_FOUND, message)
    }

    pub(crate) fn integrity(message: impl fmt::Display) -> Failure {
        Failure::new(exit::INTEGRITY, message)
    }

    pub(crate) fn interrupted(message: impl fmt::Display) -> Failure {
        Failure::new(exit::INTERRUPTED, message)
    }

    /// Adds what to do next.
    pub(crate) fn hint(mut self, hint: impl fmt::Display) -> Failure {
        self.hint = Some(hint.to_string());
        self
    }

    /// Says first where it happened.
    pub(crate) fn of(mut self, place: &str) -> Failure {
        self.message = format!("{place}: {}", self.message);
        self
    }

    /// Adds what to do next, if there is something.
    pub(crate) fn maybe_hint(mut self, hint: Option<String>) -> Failure {
        self.hint = hint.or(self.hint);
        self
    }

    pub(crate) fn to_json(&self) -> Value {
        let name = match self.code {
            exit::USAGE => "usage",
            exit::NOT_FOUND => "not_found",
            exit::CONFLICT => "conflict",
            exit::INTEGRITY => "integrity",
            exit::INTERRUPTED => "interrupted",
            _ => "failed",
        };
        json!({"error": {"exit": self.code, "name": name, "message": self.message, "hint": self.hint, "cause": self.error}})
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        match &self.hint {
            Some(hint) => write!(f, "; {hint}"),
            None => Ok(()),
        }
    }
}

impl From<foldlog::Error> for Failure {
    fn from(error: foldlog::Error) -> Failure {
        let code = match error.kind() {
            ErrorKind::NotFound => exit::NOT_FOUND,
            ErrorKind::Conflict | ErrorKind::DuplicateEventId => exit::CONFLICT,
            ErrorKind::Corrupt => exit::INTEGRITY,
            ErrorKind::InvalidInput => exit::USAGE,
            _ => exit::FAILED,
        };
        let mut failure = Failure::new(code, &error);
        let source = std::error::Error::source(&error).map(ToString::to_string);
        // Some errors tell their cause themselves.
        if let Some(source) = source.filter(|source| !failure.message.contains(source)) {
            failure.message = format!("{error}: {source}");
        }
        failure.error = serde_json::to_value(&error).ok();
        failure
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Failure {
        let is_quiet = error.kind() == io::ErrorKind::BrokenPipe;
        let code = if is_quiet { exit::DONE } else { exit::FAILED };
        Failure { is_quiet, ..Failure::new(code, error) }
    }
}

impl From<serde_json::Error> for Failure {
    fn from(error: serde_json::Error) -> Failure {
        match error.io_error_kind() {
            Some(kind) => Failure::from(io::Error::new(kind, error)),
            None => Failure::failed(format!("the output cannot be written as JSON: {error}")),
        }
    }
}
