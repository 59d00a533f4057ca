//! Why the program ends early, and with which exit code.

use std::fmt;
use std::io;

#[derive(Debug)]
pub enum Failure {
    /// There is no history to read: not a repository, or no commit yet.
    NoHistory(String),
    /// Anything else.
    Failed(String),
}

impl Failure {
    pub fn exit_code(&self) -> u8 {
        match self {
            Failure::Failed(_) => 1,
            Failure::NoHistory(_) => 3,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::NoHistory(message) | Failure::Failed(message) => f.write_str(message),
        }
    }
}

impl From<foldlog::Error> for Failure {
    fn from(error: foldlog::Error) -> Failure {
        Failure::Failed(error.to_string())
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Failure {
        Failure::Failed(error.to_string())
    }
}
