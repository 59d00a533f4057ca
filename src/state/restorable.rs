//! A state gets a snapshot only if it comes back from JSON as it went in.

use crate::model::error::{Error, ErrorKind, Result};
use crate::model::fold::sealed::Fold;
use crate::model::json::Json;
use crate::model::redacted::Redacted;
use crate::model::same_json::{self, Arrays};

const ADVICE: &str = "make the state come back from JSON unchanged: no infinite floats, no map keys that are not texts or numbers, \
                      nothing that serde skips; foldlog::testing::check_snapshots tests that";

/// The state as JSON, and the state that comes back from it.
///
/// # Errors
/// [`ErrorKind::Codec`] if that is another state.
pub(crate) fn save<F: Fold>(fold: &F, state: &F::State) -> Result<(Json, F::State)> {
    let lost = |why: String| {
        Error::new(ErrorKind::Codec, format!("the state does not come back from JSON as it went in: {why}")).advice(ADVICE)
    };
    let text = fold.save(state).map_err(|error| lost(error.detail().to_owned()))?;
    let restored =
        fold.load(text.as_str()).map_err(|error| lost(format!("its JSON cannot be read: {}", Redacted::from(error))))?;
    match is_same(fold, state, text.as_str(), &restored) {
        true => Ok((text, restored)),
        false => Err(lost("something is skipped, rounded or written as null".to_owned())),
    }
}

/// Whether a state, of which the JSON is known, equals another one.
pub(crate) fn is_same<F: Fold>(fold: &F, state: &F::State, text: &str, other: &F::State) -> bool {
    let other_text = fold.save(other);
    other_text.is_ok_and(|other| same_json::is_same(text, other.as_str(), Arrays::Unordered)) && fold.is_same(state, other)
}
