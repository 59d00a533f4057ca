//! What the targets share: a store to damage, a look at everything in it, and what no error may say.

pub mod domain;
pub mod exercise;
pub mod template;

use foldlog::{Error, Result};

/// In every payload of the template; in no error.
pub const CANARY: &str = "c4n4ry-7f3a";

/// Whatever fails must say so without a payload and without control characters, which could steer a terminal.
pub fn look_at(error: &Error) {
    let mut said = format!("{error}\n{error:?}");
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        said.push_str(&format!("\n{error}\n{error:?}"));
        cause = error.source();
    }
    assert!(!said.contains(CANARY), "an error quotes a payload: {said}");
    assert!(!error.to_string().chars().any(char::is_control), "an error holds control characters: {error:?}");
}

/// The value, or nothing after a look at the error.
pub fn told<T>(result: Result<T>) -> Option<T> {
    result.inspect_err(look_at).ok()
}
