//! Events: can the log store them and return them unchanged?

use std::fmt::Debug;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::unexpected;
use crate::{Expected, NewEvent, Query, Store};

/// Appends each sample to a store and reads it back. The test fails if an event is refused or comes back changed. Give
/// it one sample of each variant.
///
/// ```
/// use foldlog::testing::check_events;
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Debug, PartialEq, Serialize, Deserialize)]
/// #[serde(tag = "type")]
/// enum AccountEvent { Opened { owner: String }, Deposited { cents: u64 }, Closed }
///
/// check_events([
///     AccountEvent::Opened { owner: "Ada".into() },
///     AccountEvent::Deposited { cents: 5 },
///     AccountEvent::Closed,
/// ]);
/// ```
#[track_caller]
pub fn check_events<E: Serialize + DeserializeOwned + PartialEq + Debug>(samples: impl IntoIterator<Item = E>) {
    let store = match Store::in_memory() {
        Ok(store) => store,
        Err(error) => unexpected("there is no store in memory", &error),
    };
    for (at, sample) in samples.into_iter().enumerate() {
        let event = match NewEvent::of(&sample) {
            Ok(event) => event,
            Err(error) => panic!("{sample:?} cannot be an event: {error}"),
        };
        let id = at.to_string();
        if let Err(error) = store.append("sample", &id, Expected::New, [event]) {
            panic!("{sample:?} cannot be appended: {error}");
        }
        let Some(Ok(stored)) = store.read(Query::aggregate("sample", &id)).next() else {
            panic!("{sample:?} cannot be read back");
        };
        match stored.decode::<E>() {
            Ok(back) if back == sample => {}
            Ok(back) => panic!(
                "an event comes back from the log as another (- given, + read):\n  - {sample:?}\n  + {back:?}\nIt is stored as \
                 {} {}. What serde skips, or writes less exactly than it is, does not come back; in an enum with an untagged \
                 variant that one must not hold the name of another.",
                stored.event_type,
                stored.data.as_str()
            ),
            Err(error) => panic!("{sample:?} cannot be read back: {error}"),
        }
    }
}
