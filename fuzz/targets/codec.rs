//! Event types and data of any sort, held against serde_json's own reading of them and against another merge patch.
#![no_main]

use std::cell::RefCell;

use arbitrary::{Arbitrary, Unstructured};
use foldlog::{ErrorKind, Expected, Json, NewEvent, Query, Store};
use foldlog_fuzz::domain::{EVENT_TYPES, Event, State};
use foldlog_fuzz::{look_at, told};
use libfuzzer_sys::fuzz_target;
use serde_json::{Value, json};

/// After so many runs a new store: the log is not to grow for ever.
const RUNS: u64 = 2_000;

thread_local! {
    static STORE: RefCell<(Store, u64)> = RefCell::new((Store::in_memory().expect("a store"), 0));
}

fuzz_target!(|data: &[u8]| {
    let mut data = Unstructured::new(data);
    let Ok(count) = data.int_in_range(1..=3) else { return };
    let mut events = Vec::new();
    for _ in 0..count {
        let (Ok(kind), Ok(text)) = (data.int_in_range(0..=EVENT_TYPES.len() - 1), <&str>::arbitrary(&mut data)) else { return };
        events.push((EVENT_TYPES[kind], text));
    }
    STORE.with_borrow_mut(|(store, runs)| {
        *runs += 1;
        if *runs % RUNS == 0 {
            *store = Store::in_memory().expect("a store");
        }
        check(store, &format!("t-{runs}"), &events);
    });
});

fn check(store: &Store, id: &str, events: &[(&str, &str)]) {
    let mut accepted = Vec::new();
    for (event_type, text) in events {
        let parsed = serde_json::from_str::<Value>(text);
        let json = Json::from_text(*text);
        assert_eq!(parsed.is_ok(), json.is_ok(), "JSON is what serde_json can read: {text:?}");
        match (json, parsed) {
            (Ok(json), Ok(value)) => accepted.push((*event_type, json, value)),
            (json, _) => drop(told(json)),
        }
    }
    if accepted.is_empty() {
        return;
    }
    let new = accepted.iter().map(|(event_type, json, _)| NewEvent::with_json(*event_type, json.clone()));
    store.append("thing", id, Expected::New, new).expect("valid JSON is appended");
    let recorded: Vec<_> = store.read(Query::aggregate("thing", id)).map(|event| event.expect("an event")).collect();
    assert_eq!(recorded.len(), accepted.len());

    let (mut typed, mut merged) = (Some(State::default()), json!({}));
    for (event, (event_type, json, value)) in recorded.iter().zip(&accepted) {
        assert_eq!((&*event.event_type, event.data.as_str()), (*event_type, json.as_str()), "kept byte for byte");
        assert_eq!(event.data.to_value().expect("it was read before"), *value);
        let decoded = decoded_as_serde_json_does(event, value);
        typed = typed.zip(decoded).map(|(mut state, event)| {
            state.events.push(event);
            state
        });
        json_patch::merge(&mut merged, value);
    }
    let replayed = store.json_aggregates("thing").replay(id).expect("a merge patch takes anything");
    assert_eq!(replayed.state, merged, "RFC 7396");
    match store.aggregates::<State>().replay(id) {
        Ok(replayed) => assert_eq!(Some(replayed.state), typed),
        Err(error) => {
            look_at(&error);
            assert!(matches!(error.kind(), ErrorKind::Codec | ErrorKind::UnknownEventType), "{error:?}");
            assert_eq!(typed, None, "{error:?}");
        }
    }
}

/// Decodes and compares with `{"type": data}` as serde_json reads an enum.
fn decoded_as_serde_json_does(event: &foldlog::RecordedEvent, value: &Value) -> Option<Event> {
    let decoded = told(event.decode::<Event>());
    if &*event.event_type == "closed" {
        // A variant without fields takes whatever an older program put there.
        assert_eq!(decoded, Some(Event::Closed));
        return decoded;
    }
    // One level more than the data itself, so that the deepest cannot be compared.
    if event.data.as_str().bytes().filter(|byte| matches!(byte, b'[' | b'{')).count() < 100 {
        let whole = format!("{{\"{}\":{}}}", event.event_type, event.data.as_str());
        assert_eq!(decoded, serde_json::from_str(&whole).ok(), "{value}");
    }
    if let Some(event) = &decoded {
        NewEvent::of(event).expect("what was read can be written, and read again");
    }
    decoded
}
