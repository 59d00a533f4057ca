//! JSON text that is kept byte for byte.

use std::fmt;
use std::str::FromStr;

use serde::de::{Deserialize, DeserializeOwned, Deserializer, Error as _};
use serde::ser::{Error as _, Serialize, Serializer};
use serde_json::Value;
use serde_json::value::RawValue;

use crate::model::error::{Error, ErrorKind, Result};
use crate::model::redacted::Redacted;

/// serde_json does not read deeper nesting, so it is refused when written.
pub(crate) const MAX_DEPTH: usize = 127;

/// A valid JSON text, byte for byte as it was appended.
///
/// `Debug` shows the length and never the content: payloads do not belong in logs.
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
    /// [`ErrorKind::Codec`] if it is not exactly one JSON value, is nested deeper than 127 levels, or holds a number or
    /// an escape that [`serde_json::Value`] cannot hold.
    pub fn from_text(text: impl Into<String>) -> Result<Json> {
        let text = text.into();
        readable(&text)?;
        Ok(Json(text))
    }

    /// Takes the bytes of a text as they are.
    ///
    /// # Errors
    /// [`ErrorKind::Codec`] if they are not UTF-8, and as for [`Json::from_text`].
    pub fn from_slice(bytes: &[u8]) -> Result<Json> {
        let text = std::str::from_utf8(bytes)
            .map_err(|error| Error::new(ErrorKind::Codec, format!("the bytes are not JSON: {error}")))?;
        Json::from_text(text)
    }

    /// Turns any serialisable value into JSON text.
    ///
    /// # Errors
    /// [`ErrorKind::Codec`] if the value cannot be written as JSON that [`Json::from_text`] takes.
    pub fn from_serialize<T: Serialize + ?Sized>(value: &T) -> Result<Json> {
        let text = serde_json::to_string(value)
            .map_err(|error| Error::new(ErrorKind::Codec, format!("the value cannot be written as JSON: {error}")))?;
        Json::written(text)
    }

    /// Takes a text that serde_json wrote. A part of it may come from elsewhere: a `RawValue`.
    pub(crate) fn written(text: String) -> Result<Json> {
        match scan(&text) {
            Scan { depth, .. } if depth > MAX_DEPTH => Err(too_deep()),
            Scan { is_doubtful: true, .. } => readable(&text).map(|()| Json(text)),
            _ => Ok(Json(text)),
        }
    }

    /// Takes a text that was read from the file and whose checksum was right.
    pub(crate) fn stored(text: String) -> Json {
        Json(text)
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the text by value.
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
    /// [`ErrorKind::Codec`] if it holds a number that `Value` cannot hold.
    pub fn to_value(&self) -> Result<Value> {
        self.parse()
    }
}

/// Reads a text as a type of the application.
pub(crate) fn parse<T: DeserializeOwned>(text: &str) -> Result<T> {
    serde_json::from_str(text).map_err(|error| {
        let reason = Redacted::from(error);
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

impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Json, D::Error> {
        let raw = Box::<RawValue>::deserialize(deserializer)?;
        Json::from_text(Box::<str>::from(raw)).map_err(D::Error::custom)
    }
}

impl FromStr for Json {
    type Err = Error;

    fn from_str(text: &str) -> Result<Json> {
        Json::from_text(text)
    }
}

/// Checks that the text can be read as a value. The grammar alone would accept half of a surrogate pair, or 1e999.
fn readable(text: &str) -> Result<()> {
    let Err(error) = serde_json::from_str::<Value>(text) else { return Ok(()) };
    match scan(text) {
        // serde_json's own limit is the same.
        Scan { depth, .. } if depth > MAX_DEPTH => Err(too_deep()),
        _ => Err(Error::new(ErrorKind::Codec, format!("the text is not JSON: {}", Redacted::from(error)))),
    }
}

fn too_deep() -> Error {
    Error::new(ErrorKind::Codec, format!("the JSON is nested deeper than {MAX_DEPTH} levels"))
        .advice("flatten it, or append the inner part as a text")
}

/// What a look at the bytes of a valid JSON text finds.
#[derive(Default)]
struct Scan {
    depth: usize,
    /// Whether it holds valid JSON that perhaps cannot be read: a very long number, one with an exponent, or an escaped
    /// surrogate. serde_json itself only writes the second.
    is_doubtful: bool,
}

/// A number with up to this many digits and no exponent fits a float.
const MOST_DIGITS: usize = 300;

fn scan(text: &str) -> Scan {
    let mut scan = Scan::default();
    if is_plain(text.as_bytes()) {
        return scan;
    }
    let (mut depth, mut digits) = (0usize, 0usize);
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'"' => {
                scan_string(&mut bytes, &mut scan);
                digits = 0;
            }
            b'{' | b'[' => {
                depth += 1;
                scan.depth = scan.depth.max(depth);
            }
            b'}' | b']' => {
                depth = depth.saturating_sub(1);
                digits = 0;
            }
            b'0'..=b'9' => {
                digits += 1;
                scan.is_doubtful |= digits > MOST_DIGITS;
            }
            b'e' | b'E' => scan.is_doubtful |= digits > 0,
            _ => digits = 0,
        }
    }
    scan
}

/// Whether a valid JSON text is certainly shallow and not doubtful, as most are. These loops look at all bytes and count in
/// bytes, so that they become vector instructions.
fn is_plain(text: &[u8]) -> bool {
    let is_odd = text.iter().zip(text.get(1..).unwrap_or_default()).fold(false, |odd, (first, second)| {
        odd | (first.is_ascii_digit() & (second | 0x20 == b'e')) | ((*first == b'\\') & (*second == b'u'))
    });
    let is_few = |most: usize, is: fn(u8) -> bool| {
        let count = |part: &[u8]| usize::from(part.iter().map(|byte| u8::from(is(*byte))).sum::<u8>());
        text.len() <= most || text.chunks(u8::MAX.into()).map(count).sum::<usize>() <= most
    };
    !is_odd && is_few(MAX_DEPTH, |byte| byte | 0x20 == b'{') && is_few(MOST_DIGITS, |byte| byte.is_ascii_digit())
}

fn scan_string(bytes: &mut std::str::Bytes<'_>, scan: &mut Scan) {
    while let Some(byte) = bytes.next() {
        match byte {
            b'"' => return,
            b'\\' if bytes.next() == Some(b'u') => scan.is_doubtful |= matches!(bytes.next(), Some(b'd' | b'D')),
            _ => {}
        }
    }
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
    fn what_serde_json_writes_is_looked_at_closely_only_where_it_must_be() {
        for plain in ["{}", r#"{"a":[1,2.5,"two \"three\""]}"#, &format!("[{}]", "\"long text\",".repeat(500))] {
            assert!(is_plain(plain.as_bytes()), "{plain}");
        }
        for odd in ["1e5", "[7E2]", r#""\ud800""#, &nested(MAX_DEPTH + 1), &"{".repeat(128), &"9".repeat(301)] {
            assert!(!is_plain(odd.as_bytes()), "{odd}");
        }
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
