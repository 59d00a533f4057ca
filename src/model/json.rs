//! JSON text that is kept byte for byte.

use std::fmt;

use serde::de::DeserializeOwned;
use serde::ser::{Error as _, Serialize, Serializer};
use serde_json::Value;
use serde_json::value::RawValue;

use crate::model::error::{Error, ErrorKind, Result};
use crate::model::redacted::Misfit;

/// serde_json refuses deeper nesting when it reads; so it is refused before it is written.
pub(crate) const MAX_DEPTH: usize = 127;

/// A valid JSON text, byte for byte as it was appended.
///
/// Its `Debug` shows the length and never the content: payloads do not belong into logs.
///
/// ```
/// let json = foldlog::Json::from_text(r#"{"b":1, "a":2.50}"#)?;
/// assert_eq!(json.as_str(), r#"{"b":1, "a":2.50}"#);
/// assert_eq!(json.to_value()?["a"], 2.5);
/// assert_eq!(format!("{json:?}"), "Json(17 bytes)");
/// # Ok::<(), foldlog::Error>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Json(String);

impl Json {
    /// Takes a text as it is.
    ///
    /// # Errors
    /// [`ErrorKind::Codec`] if it is not one JSON value, nested deeper than 127 levels, or holds a number or an escape that
    /// [`serde_json::Value`] cannot.
    pub fn from_text(text: impl Into<String>) -> Result<Json> {
        let text = text.into();
        // As a value, not only as a grammar: half of a surrogate pair, or 1e999, is a text that nobody could read again.
        serde_json::from_str::<Value>(&text)
            .map_err(|error| Error::new(ErrorKind::Codec, "the text is not JSON").caused_by(Misfit::from(error)))?;
        Json::trusted(text)
    }

    /// Turns any serialisable value into JSON text.
    ///
    /// # Errors
    /// [`ErrorKind::Codec`] if the value cannot be represented or is nested deeper than 127 levels.
    pub fn from_serialize(value: &impl Serialize) -> Result<Json> {
        let text = serde_json::to_string(value)
            .map_err(|error| Error::new(ErrorKind::Codec, "the value cannot be written as JSON").caused_by(error))?;
        Json::trusted(text)
    }

    /// A text that is known to be JSON; only its depth is left to check.
    pub(crate) fn trusted(text: String) -> Result<Json> {
        if deeper_than(&text, MAX_DEPTH) {
            return Err(Error::new(ErrorKind::Codec, format!("the JSON is nested deeper than {MAX_DEPTH} levels")));
        }
        Ok(Json(text))
    }

    /// A text that was read from the file and whose checksum was right.
    pub(crate) fn stored(text: String) -> Json {
        Json(text)
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Gives the text away.
    pub fn into_string(self) -> String {
        self.0
    }

    /// Reads the text as a type of the application.
    ///
    /// # Errors
    /// [`ErrorKind::Codec`] if the text has another shape.
    pub fn parse<T: DeserializeOwned>(&self) -> Result<T> {
        parse(&self.0)
    }

    /// Reads the text as a [`serde_json::Value`].
    ///
    /// # Errors
    /// [`ErrorKind::Codec`] if a number in it is outside of what `Value` holds.
    pub fn to_value(&self) -> Result<Value> {
        self.parse()
    }
}

/// Reads a text as a type of the application.
pub(crate) fn parse<T: DeserializeOwned>(text: &str) -> Result<T> {
    serde_json::from_str(text).map_err(|error| {
        let reason = Misfit::from(error);
        Error::new(ErrorKind::Codec, format!("the JSON does not fit the type that was asked for: {reason}"))
    })
}

impl fmt::Debug for Json {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Json({} bytes)", self.0.len())
    }
}

impl Serialize for Json {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        let raw: &RawValue = serde_json::from_str(&self.0).map_err(S::Error::custom)?;
        raw.serialize(serializer)
    }
}

/// Whether a valid JSON text nests deeper than `limit`.
fn deeper_than(text: &str, limit: usize) -> bool {
    // Each level takes an opening and a closing byte, so most texts are too short to be looked at.
    if text.len() <= 2 * limit {
        return false;
    }
    let (mut depth, mut in_string, mut escaped) = (0usize, false, false);
    for byte in text.bytes() {
        if in_string {
            match byte {
                _ if escaped => escaped = false,
                b'\\' => escaped = true,
                b'"' => in_string = false,
                _ => {}
            }
            continue;
        }
        match byte {
            b'"' => in_string = true,
            b'{' | b'[' => {
                depth += 1;
                if depth > limit {
                    return true;
                }
            }
            b'}' | b']' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nested(depth: usize) -> String {
        format!("{}{}", "[".repeat(depth), "]".repeat(depth))
    }

    #[test]
    fn what_is_accepted_can_be_read_again() {
        for depth in [MAX_DEPTH - 1, MAX_DEPTH] {
            Json::from_text(nested(depth)).unwrap().to_value().unwrap();
        }
        assert_eq!(Json::from_text(nested(MAX_DEPTH + 1)).unwrap_err().kind(), ErrorKind::Codec);
        assert!(serde_json::from_str::<Value>(&nested(MAX_DEPTH + 1)).is_err(), "the bound is serde_json's");
    }

    #[test]
    fn brackets_in_strings_are_not_depth() {
        let text = format!(r#"["{}\"{}"]"#, "[".repeat(300), "[".repeat(300));
        Json::from_text(text).unwrap().to_value().unwrap();
    }

    #[test]
    fn what_is_not_json_is_refused() {
        for text in ["", "{", "nul", "{} {}", "\u{0}", "{\"a\":}", "[1,]", r#""\ud800""#, "1e999"] {
            assert_eq!(Json::from_text(text).unwrap_err().kind(), ErrorKind::Codec, "{text:?}");
        }
    }
}
