//! Converts a serde enum to and from (event type, data), without a JSON value in between.
//!
//! What is stored does not depend on the form that serde gives the enum. The event type is the variant's serde name,
//! and the data is the content alone: an object for a struct variant, an array for a tuple variant, the value itself
//! for a newtype variant, and `{}` for a unit variant. A tag is left out of the data and put back when it is read. So a
//! program can change from one form to another, programs with different forms can read the same log, and a fold by
//! merge patch does not collect tags.

use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use crate::model::error::{Error, ErrorKind, Result};
use crate::model::redacted::Redacted;

mod read;
mod shape;
#[cfg(test)]
mod tests;
mod write;

/// The event type and the JSON data of an enum value.
pub(crate) fn encode<E: Serialize + DeserializeOwned>(event: &E) -> Result<(Cow<'static, str>, String)> {
    event
        .serialize(write::Capture { shape: shape::Shape::of::<E> })
        .map_err(|error| Error::new(ErrorKind::Codec, format!("the event cannot be written as JSON: {error}")))
}

/// The enum value of an event type and its JSON data.
pub(crate) fn decode<E: DeserializeOwned>(event_type: &str, data: &str) -> Decoded<E> {
    read::read(event_type, data).map_err(|error| match error {
        DecodeError::MissingField(_) | DecodeError::Data(_) => match offending_field::<E>(event_type, data) {
            Some(field) => DecodeError::Data(Redacted::of_field(&field, &error)),
            None => error,
        },
        error => error,
    })
}

/// The event types of an enum; `None` if it takes others too, or cannot say.
pub(crate) fn event_types<E: DeserializeOwned>() -> Option<&'static [&'static str]> {
    if let shape::Shape::CatchAll { .. } | shape::Shape::Refused(_) = shape::Shape::of::<E>() {
        return None;
    }
    // Asked for a type that it does not have, the enum says which ones it has.
    match DecodeError::noting_the_first(|| read::read::<E>(shape::NO_NAME, "{}").is_ok()) {
        (false, Some(DecodeError::UnknownVariant(names))) => Some(names),
        _ => None,
    }
}

pub(crate) type Decoded<T> = std::result::Result<T, DecodeError>;

/// Why an event could not be decoded.
#[derive(Clone, Debug)]
pub(crate) enum DecodeError {
    /// The enum has no such variant; it has these.
    UnknownVariant(&'static [&'static str]),
    /// The data does not fit the variant.
    Data(Redacted),
    MissingField(&'static str),
    /// The type is not an enum in a supported form. The text says what to write instead.
    NotAnEnum(String),
    /// An error of a fold's own code.
    Other(String),
    /// The enum is not externally tagged.
    OtherForm,
}

impl DecodeError {
    pub(crate) fn into_error(self, event_type: &str) -> Error {
        let error = match self {
            DecodeError::UnknownVariant(_) => Error::new(ErrorKind::UnknownEventType, "the fold does not know this event type")
                .advice("add the variant, or set UNKNOWN_EVENTS to Ignore"),
            DecodeError::NotAnEnum(why) => Error::new(ErrorKind::Codec, why),
            DecodeError::Other(_) => {
                Error::new(ErrorKind::Codec, format!("the event's data does not fit the type it is read as: {self}"))
            }
            _ => Error::new(ErrorKind::Codec, format!("the event's data does not fit the type it is read as: {self}"))
                .advice("serde's `default` reads events that lack a field, `alias` those that have it under another name"),
        };
        error.event_type_is(event_type)
    }

    /// Runs `read` and returns its result with the first of these errors that occurred meanwhile. serde drops the
    /// errors of the variants that it tries.
    fn noting_the_first<T>(read: impl FnOnce() -> T) -> (T, Option<DecodeError>) {
        let outer = FIRST.replace(Noted::Nothing);
        let done = read();
        let first = match FIRST.replace(outer) {
            Noted::First(error) => Some(error),
            Noted::Off | Noted::Nothing => None,
        };
        (done, first)
    }

    fn noted(self) -> DecodeError {
        FIRST.with_borrow_mut(|first| {
            if matches!(first, Noted::Nothing) {
                *first = Noted::First(self.clone());
            }
        });
        self
    }
}

enum Noted {
    Off,
    Nothing,
    First(DecodeError),
}

thread_local! {
    static FIRST: RefCell<Noted> = const { RefCell::new(Noted::Off) };
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DecodeError::UnknownVariant(_) => f.write_str("unknown event type"),
            DecodeError::Data(error) => error.fmt(f),
            DecodeError::MissingField(field) => write!(f, "missing field `{field}`"),
            DecodeError::NotAnEnum(message) | DecodeError::Other(message) => f.write_str(message),
            DecodeError::OtherForm => f.write_str("not an externally tagged enum"),
        }
    }
}

impl std::error::Error for DecodeError {}

impl serde::de::Error for DecodeError {
    fn custom<T: fmt::Display>(message: T) -> DecodeError {
        DecodeError::Data(Redacted::of(&message.to_string())).noted()
    }

    fn unknown_variant(_variant: &str, expected: &'static [&'static str]) -> DecodeError {
        DecodeError::UnknownVariant(expected).noted()
    }

    fn missing_field(field: &'static str) -> DecodeError {
        DecodeError::MissingField(field).noted()
    }
}

/// Above these limits an error does not name the field.
const SEARCHED_BYTES: usize = 64 * 1_024;
const SEARCHED_MEMBERS: usize = 64;

/// Finds the field that does not fit: without it the data fits, or only lacks it. Only field names are shown, because
/// the keys of a map are data. What serde says about a duplicated field tells the two apart.
fn offending_field<E: DeserializeOwned>(event_type: &str, data: &str) -> Option<String> {
    if data.len() > SEARCHED_BYTES {
        return None;
    }
    let members: BTreeMap<String, &RawValue> = serde_json::from_str(data).ok()?;
    if members.len() > SEARCHED_MEMBERS {
        return None;
    }
    let says = |text: &str, start: &str, field: &str| {
        let said = read::read::<E>(event_type, text).err().map(|error| error.to_string());
        said.is_some_and(|said| said.starts_with(&format!("{start} field `{field}`")))
    };
    let (field, rest) = members.keys().find_map(|field| {
        let rest: BTreeMap<_, _> = members.iter().filter(|(key, _)| *key != field).collect();
        let rest = serde_json::to_string(&rest).ok()?;
        (read::read::<E>(event_type, &rest).is_ok() || says(&rest, "missing", field)).then_some((field, rest))
    })?;
    let key = serde_json::to_string(field).ok()?;
    let is_field = says(&rest, "missing", field)
        || ["null", "0", "\"\"", "false", "[]", "{}"]
            .iter()
            .any(|value| says(&format!("{{{key}:{value},{key}:{value}}}"), "duplicate", field));
    is_field.then(|| field.clone())
}
