//! The two kinds of fold, typed and JSON, behind one trait.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use serde_json::Value;

use crate::model::aggregate::{Aggregate, UnknownEvents};
use crate::model::codec::{self, DecodeError};
use crate::model::error::Result;
use crate::model::event::{EventContext, NewEvent};
use crate::model::json::Json;
use crate::model::upcast::{Reading, Registry};

/// The types that a handle of [`Aggregates`](crate::Aggregates) can have: one that implements [`Aggregate`], or
/// [`serde_json::Value`] for aggregates without types. Sealed: you cannot implement it.
pub trait AggregateKind: sealed::Sealed {
    /// The state that a replay returns.
    type State;
    /// What `append` and `execute` take.
    type Event;
    #[doc(hidden)]
    type Fold: sealed::Fold<State = Self::State, Event = Self::Event> + Send + Sync + 'static;
}

impl<A: Aggregate> AggregateKind for A {
    type State = A;
    type Event = A::Event;
    type Fold = Typed<A>;
}

impl AggregateKind for Value {
    type State = Value;
    type Event = NewEvent;
    type Fold = JsonFold;
}

pub(crate) mod sealed {
    use super::*;

    pub trait Sealed {}

    impl<A: Aggregate> Sealed for A {}
    impl Sealed for Value {}

    /// How state follows from events.
    pub trait Fold: Clone {
        type State;
        type Event;

        fn aggregate_type(&self) -> &str;
        /// Together with the version, names the snapshots that this fold can start from.
        fn name(&self) -> &str;
        fn version(&self) -> u32;
        /// Of what else its states depend on.
        fn fingerprint(&self) -> u64;
        fn initial(&self) -> Self::State;
        fn load(&self, state: &str) -> serde_json::Result<Self::State>;
        fn save(&self, state: &Self::State) -> Result<Json>;
        /// Whether two states of the same JSON are equal, as far as the application can tell.
        fn is_same(&self, left: &Self::State, right: &Self::State) -> bool {
            let _ = (left, right);
            true
        }
        /// Applies a stored event to the state.
        fn apply_stored(&self, state: &mut Self::State, event_type: &str, data: &str) -> Result<()>;
        /// Whether stored events go to `apply_recorded`, which also needs time, position and metadata.
        fn wants_context(&self) -> bool {
            false
        }
        /// Applies a stored event to the state, with its context.
        fn apply_recorded(&self, state: &mut Self::State, event_type: &str, data: &str, at: &EventContext<'_>) -> Result<()> {
            let _ = at;
            self.apply_stored(state, event_type, data)
        }
        /// Turns an event into one to append.
        fn encode(&self, event: Self::Event) -> Result<NewEvent>;
        /// The same, and also applies the event, in the form in which it will be read from the log.
        fn take(&self, state: &mut Self::State, event: Self::Event) -> Result<NewEvent>;
    }
}

/// The fold of an [`Aggregate`].
#[doc(hidden)]
#[derive(Debug)]
pub struct Typed<A> {
    fingerprint: u64,
    aggregate: PhantomData<fn() -> A>,
}

impl<A: Aggregate> Typed<A> {
    pub(crate) fn new(upcasters: &Registry) -> Typed<A> {
        let fingerprint = match upcasters.is_empty() {
            true => 0,
            false => upcasters.fingerprint(A::TYPE, codec::event_types::<A::Event>()),
        };
        Typed { fingerprint, aggregate: PhantomData }
    }
}

impl<A> Clone for Typed<A> {
    fn clone(&self) -> Typed<A> {
        Typed { fingerprint: self.fingerprint, aggregate: PhantomData }
    }
}

impl<A: Aggregate> sealed::Fold for Typed<A> {
    type State = A;
    type Event = A::Event;

    fn aggregate_type(&self) -> &str {
        A::TYPE
    }

    fn name(&self) -> &str {
        A::fold_name()
    }

    fn version(&self) -> u32 {
        A::FOLD_VERSION
    }

    fn fingerprint(&self) -> u64 {
        self.fingerprint
    }

    fn initial(&self) -> A {
        A::default()
    }

    fn load(&self, state: &str) -> serde_json::Result<A> {
        serde_json::from_str(state)
    }

    fn save(&self, state: &A) -> Result<Json> {
        Json::from_serialize(state)
    }

    fn is_same(&self, left: &A, right: &A) -> bool {
        left.is_same(right)
    }

    fn apply_stored(&self, state: &mut A, event_type: &str, data: &str) -> Result<()> {
        if let Some(event) = known::<A>(event_type, data)? {
            state.apply(event);
        }
        Ok(())
    }

    fn wants_context(&self) -> bool {
        A::WANTS_CONTEXT
    }

    fn apply_recorded(&self, state: &mut A, event_type: &str, data: &str, at: &EventContext<'_>) -> Result<()> {
        if let Some(event) = known::<A>(event_type, data)? {
            state.apply_recorded(event, at);
        }
        Ok(())
    }

    fn encode(&self, event: A::Event) -> Result<NewEvent> {
        NewEvent::of(&event)
    }

    fn take(&self, state: &mut A, event: A::Event) -> Result<NewEvent> {
        // What serde skips or rounds is not in the log, so it must not be in the state either.
        let (event, stored) = NewEvent::encode_and_read_back(&event)?;
        state.apply(stored);
        Ok(event)
    }
}

/// The event; `None` if the aggregate does not know its type and skips it.
fn known<A: Aggregate>(event_type: &str, data: &str) -> Result<Option<A::Event>> {
    match codec::decode(event_type, data) {
        Ok(event) => Ok(Some(event)),
        Err(DecodeError::UnknownVariant(_)) if A::UNKNOWN_EVENTS == UnknownEvents::Ignore => Ok(None),
        Err(error) => Err(error.into_error(event_type)),
    }
}

type Function = dyn Fn(&mut Value, &str, &Value) -> Result<(), FoldError> + Send + Sync;

/// Why a fold over JSON could not apply an event.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FoldError {
    /// The fold does not know the event type. A fold that skips such events returns `Ok` instead.
    UnknownEventType,
    /// The data is not what the fold needs. The text says why, without the data.
    Data(String),
}

impl fmt::Display for FoldError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FoldError::UnknownEventType => f.write_str("the fold does not know this event type"),
            FoldError::Data(reason) => f.write_str(reason),
        }
    }
}

impl std::error::Error for FoldError {}

impl FoldError {
    fn into_decode_error(self) -> DecodeError {
        match self {
            FoldError::UnknownEventType => DecodeError::UnknownVariant(&[]),
            FoldError::Data(reason) => DecodeError::Other(reason),
        }
    }
}

/// A fold over JSON, for aggregates without types.
#[derive(Clone)]
#[doc(hidden)]
pub struct JsonFold {
    aggregate_type: Arc<str>,
    name: Cow<'static, str>,
    version: u32,
    fingerprint: u64,
    upcasters: Arc<Registry>,
    // None means JSON Merge Patch.
    function: Option<Arc<Function>>,
}

impl fmt::Debug for JsonFold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JsonFold").field("aggregate_type", &self.aggregate_type).field("name", &self.name).finish_non_exhaustive()
    }
}

impl JsonFold {
    /// Merges each event's data into the state (RFC 7396).
    pub(crate) fn merge_patch(aggregate_type: &str, upcasters: Arc<Registry>) -> JsonFold {
        let fingerprint = upcasters.fingerprint(aggregate_type, None);
        let name = Cow::Borrowed("merge-patch");
        JsonFold { aggregate_type: aggregate_type.into(), name, version: 1, fingerprint, upcasters, function: None }
    }

    pub(crate) fn with_function(
        self,
        name: &str,
        version: u32,
        function: impl Fn(&mut Value, &str, &Value) -> Result<(), FoldError> + Send + Sync + 'static,
    ) -> JsonFold {
        // The prefix keeps the application's names apart from ours.
        let name = Cow::Owned(format!("fn:{name}"));
        JsonFold { name, version, function: Some(Arc::new(function)), ..self }
    }

    fn fold(&self, state: &mut Value, event_type: &str, data: Value) -> Result<()> {
        match &self.function {
            Some(function) => {
                function(state, event_type, &data).map_err(|error| error.into_decode_error().into_error(event_type))
            }
            None => {
                merge(state, data);
                Ok(())
            }
        }
    }
}

impl sealed::Fold for JsonFold {
    type State = Value;
    type Event = NewEvent;

    fn aggregate_type(&self) -> &str {
        &self.aggregate_type
    }

    fn name(&self) -> &str {
        &self.name
    }

    fn version(&self) -> u32 {
        self.version
    }

    fn fingerprint(&self) -> u64 {
        self.fingerprint
    }

    fn initial(&self) -> Value {
        Value::Object(serde_json::Map::new())
    }

    fn load(&self, state: &str) -> serde_json::Result<Value> {
        serde_json::from_str(state)
    }

    fn save(&self, state: &Value) -> Result<Json> {
        Json::from_serialize(state)
    }

    fn apply_stored(&self, state: &mut Value, event_type: &str, data: &str) -> Result<()> {
        let data = serde_json::from_str(data).map_err(|error| DecodeError::Data(error.into()).into_error(event_type))?;
        self.fold(state, event_type, data)
    }

    fn encode(&self, event: NewEvent) -> Result<NewEvent> {
        Ok(event)
    }

    fn take(&self, state: &mut Value, event: NewEvent) -> Result<NewEvent> {
        match event.schema_version {
            // It may be of an old version, or of a type that was renamed.
            Some(schema_version) if !self.upcasters.is_empty() => {
                let (event_type, data) = (&Arc::from(event.event_type.as_str()), event.data.as_str());
                let stored = Reading { index: 0, event_type, schema_version, data };
                let mut apply = |part: Reading<'_>| self.apply_stored(state, part.event_type, part.data);
                self.upcasters.upcast(&self.aggregate_type, stored, &mut apply)?;
            }
            _ => self.apply_stored(state, &event.event_type, event.data.as_str())?,
        }
        Ok(event)
    }
}

/// JSON Merge Patch (RFC 7396, section 2): a null member removes, an object merges, everything else replaces.
fn merge(target: &mut Value, patch: Value) {
    let Value::Object(patch) = patch else {
        *target = patch;
        return;
    };
    if !target.is_object() {
        *target = Value::Object(serde_json::Map::new());
    }
    let Value::Object(target) = target else { return };
    for (name, value) in patch {
        if value.is_null() {
            target.remove(&name);
        } else {
            merge(target.entry(name).or_insert(Value::Null), value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    // The examples of RFC 7396, appendix A.
    #[test]
    fn the_rfcs_examples() {
        for (target, patch, result) in [
            (json!({"a":"b"}), json!({"a":"c"}), json!({"a":"c"})),
            (json!({"a":"b"}), json!({"b":"c"}), json!({"a":"b","b":"c"})),
            (json!({"a":"b"}), json!({"a":null}), json!({})),
            (json!({"a":"b","b":"c"}), json!({"a":null}), json!({"b":"c"})),
            (json!({"a":["b"]}), json!({"a":"c"}), json!({"a":"c"})),
            (json!({"a":"c"}), json!({"a":["b"]}), json!({"a":["b"]})),
            (json!({"a":{"b":"c"}}), json!({"a":{"b":"d","c":null}}), json!({"a":{"b":"d"}})),
            (json!({"a":[{"b":"c"}]}), json!({"a":[1]}), json!({"a":[1]})),
            (json!(["a", "b"]), json!(["c", "d"]), json!(["c", "d"])),
            (json!({"a":"b"}), json!(["c"]), json!(["c"])),
            (json!({"a":"foo"}), json!(null), json!(null)),
            (json!({"a":"foo"}), json!("bar"), json!("bar")),
            (json!({"e":null}), json!({"a":1}), json!({"e":null,"a":1})),
            (json!([1, 2]), json!({"a":"b","c":null}), json!({"a":"b"})),
            (json!({}), json!({"a":{"bb":{"ccc":null}}}), json!({"a":{"bb":{}}})),
        ] {
            let mut merged = target.clone();
            merge(&mut merged, patch.clone());
            assert_eq!(merged, result, "{target} {patch}");
        }
    }
}
