//! What one upcaster does, and how a chain of them is run.

use std::borrow::Cow;
use std::sync::Arc;

use serde_json::Value;

use super::UpcastError;
use super::edit::Edit;
use crate::model::error::{Error, ErrorKind, Result};
use crate::model::json::Json;
use crate::model::redacted::Redacted;

/// From the text of a version to that of the next.
type TextFunction = dyn Fn(&str) -> Result<String, UpcastError> + Send + Sync;
type ValueFunction = dyn Fn(Value) -> Result<Value, UpcastError> + Send + Sync;
type SplitFunction = dyn Fn(Value) -> Result<Vec<(&'static str, Value)>, UpcastError> + Send + Sync;

/// What an upcaster does.
#[derive(Clone)]
pub(super) enum Step {
    Same,
    Edit(Edit),
    Text(Arc<TextFunction>),
    Value(Arc<ValueFunction>),
    Rename(Target),
    Split { into: Vec<Target>, split: Arc<SplitFunction> },
    Discard,
}

/// An event type in a schema version.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Target {
    pub(super) event_type: Arc<str>,
    pub(super) schema_version: u32,
}

/// One of the events that a stored event is read as.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reading<'a> {
    /// 0 for the first, which stands for the stored event.
    pub(crate) index: u64,
    pub(crate) event_type: &'a Arc<str>,
    pub(crate) schema_version: u32,
    pub(crate) data: &'a str,
}

/// Data on its way: as text, or parsed between two functions that work on values.
pub(super) enum Data<'a> {
    Text(Cow<'a, str>),
    Value(Value),
}

impl<'a> Data<'a> {
    pub(super) fn into_text(self) -> Result<Cow<'a, str>, UpcastError> {
        match self {
            Data::Text(text) => Ok(text),
            // An upcaster may have nested it deeper than any reader can follow.
            Data::Value(value) => Ok(Cow::Owned(Json::from_serialize(&value)?.into_string())),
        }
    }

    fn into_value(self) -> Result<Value, UpcastError> {
        match self {
            Data::Text(text) => serde_json::from_str(&text).map_err(|error| Redacted::from(error).to_string().into()),
            Data::Value(value) => Ok(value),
        }
    }
}

impl Step {
    /// The types and versions that events become; `None`: the next version of the same type.
    pub(super) fn targets(&self) -> Option<&[Target]> {
        match self {
            Step::Same | Step::Edit(_) | Step::Text(_) | Step::Value(_) => None,
            Step::Rename(target) => Some(std::slice::from_ref(target)),
            Step::Split { into, .. } => Some(into),
            Step::Discard => Some(&[]),
        }
    }

    /// Whether one event may become several or none.
    pub(super) fn changes_number(&self) -> bool {
        matches!(self, Step::Split { .. } | Step::Discard)
    }

    /// What is known of it for the fingerprint. The content of functions is not.
    pub(super) fn description(&self) -> String {
        match self {
            Step::Same => "same".to_owned(),
            Step::Edit(edit) => edit.description(),
            Step::Text(_) => "convert".to_owned(),
            Step::Value(_) => "data".to_owned(),
            Step::Rename(target) => format!("rename {target:?}"),
            Step::Split { into, .. } => format!("split {into:?}"),
            Step::Discard => "discard".to_owned(),
        }
    }

    /// Runs it on an event of type and version `at`. Passes each result to `next`.
    pub(super) fn run<'d>(
        &self,
        at: &Target,
        data: Data<'d>,
        next: &mut dyn FnMut(Target, Data<'d>) -> Result<()>,
    ) -> Result<()> {
        let stayed = || Target { event_type: at.event_type.clone(), schema_version: at.schema_version.saturating_add(1) };
        let failed = |error: UpcastError| failed(at, &error.to_string());
        match self {
            Step::Same => next(stayed(), data),
            Step::Edit(edit) => {
                let text = data.into_text().map_err(failed)?;
                let edited = edit.apply(&text).map_err(|error| failed(Redacted::from(error).to_string().into()))?;
                next(stayed(), Data::Text(edited.into()))
            }
            Step::Text(convert) => {
                let converted = convert(&data.into_text().map_err(failed)?).map_err(failed)?;
                next(stayed(), Data::Text(Json::written(converted)?.into_string().into()))
            }
            Step::Value(upcast) => {
                next(stayed(), Data::Value(data.into_value().and_then(|value| upcast(value)).map_err(failed)?))
            }
            Step::Rename(target) => next(target.clone(), data),
            Step::Split { into, split } => {
                for (event_type, value) in data.into_value().and_then(|value| split(value)).map_err(failed)? {
                    let Some(target) = into.iter().find(|target| *target.event_type == *event_type) else {
                        return Err(failed(format!("it returned the type {event_type:?}, which its list does not name").into()));
                    };
                    next(target.clone(), Data::Value(value))?;
                }
                Ok(())
            }
            Step::Discard => Ok(()),
        }
    }
}

fn failed(at: &Target, why: &str) -> Error {
    let what = format!("the upcaster from schema version {} failed: {why}", at.schema_version);
    Error::new(ErrorKind::Codec, what)
        .event_type_is(&at.event_type)
        .advice("correct the upcaster; the event is stored as it was appended")
}
