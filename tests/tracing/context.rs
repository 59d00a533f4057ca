//! The W3C trace context in an event's metadata.

use std::sync::Mutex;

use foldlog::{ErrorKind, Expected, Json, Metadata, NewEvent, Options, Query, RecordedEvent, Store, TraceContext};
use serde_json::json;

const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
const OTHER: &str = "00-ffffffffffffffffffffffffffffffff-0000000000000001-00";

fn event() -> NewEvent {
    NewEvent::new("Opened", &json!({"n": 1})).unwrap()
}

fn stored(store: &Store, event: NewEvent) -> RecordedEvent {
    store.append("account", "a", Expected::Any, [event]).unwrap();
    store.recent_events(1).unwrap().remove(0)
}

fn context(parent: &str, state: Option<&str>) -> TraceContext {
    TraceContext::new(parent, state).unwrap()
}

#[test]
fn only_a_w3c_traceparent_is_taken() {
    let _turn = crate::turn();
    assert_eq!(context(PARENT, None).trace_id(), "0af7651916cd43dd8448eb211c80319c");
    assert_eq!(context(PARENT, None).span_id(), "b7ad6b7169203331");
    assert!(context(PARENT, None).is_sampled() && !context(OTHER, None).is_sampled());
    // A later version may be longer.
    context(&format!("01{}-what-comes-later", &PARENT[2..]), None);
    let wrong = [
        String::new(),
        PARENT.to_uppercase(),
        PARENT[1..].to_owned(),
        format!("{PARENT}-more"),
        format!("{PARENT}\n"),
        format!("ff{}", &PARENT[2..]),
        format!("01{}more", &PARENT[2..]),
        "00-00000000000000000000000000000000-b7ad6b7169203331-01".to_owned(),
        "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01".to_owned(),
        "00-0af7651916cd43dd8448eb211c80319é-b7ad6b7169203331-01".to_owned(),
        "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331".to_owned(),
    ];
    for text in wrong {
        let error = TraceContext::new(text.clone(), None).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{text:?}");
        assert!(!error.to_string().contains("0af7"), "the text is not repeated");
    }
}

#[test]
fn a_tracestate_that_cannot_be_passed_on_is_dropped_and_the_trace_goes_on() {
    let _turn = crate::turn();
    assert_eq!(context(PARENT, Some("a=1,b=2")).tracestate(), Some("a=1,b=2"));
    assert_eq!(context(PARENT, Some(&"x".repeat(512))).tracestate().map(str::len), Some(512));
    for state in ["", "a=\n", "ä=1", &"x".repeat(513)] {
        assert_eq!(context(PARENT, Some(state)).tracestate(), None, "{state:?}");
    }
}

#[test]
fn what_the_caller_gives_comes_back() {
    let _turn = crate::turn();
    let store = Store::in_memory().unwrap();
    let given = context(PARENT, Some("a=1"));
    let metadata = Metadata::new().user_id("u-1").trace_context(&given);
    let event = stored(&store, event().metadata(&metadata).unwrap());
    assert_eq!(event.trace_context(), Some(given));
    assert_eq!(event.metadata().unwrap(), metadata);
    let replaced = metadata.trace_context(&context(OTHER, None));
    assert!(!replaced.extra.contains_key("tracestate"), "the state of another trace");
}

#[test]
fn metadata_that_carries_something_else_under_these_names_is_no_error() {
    let _turn = crate::turn();
    let store = Store::in_memory().unwrap();
    for metadata in [r#"{}"#, r#"{"traceparent":7}"#, r#"{"traceparent":"hello"}"#, r#"{"tracestate":"a=1"}"#] {
        let event = stored(&store, event().metadata_json(Json::from_text(metadata).unwrap()));
        assert_eq!(event.trace_context(), None, "{metadata}");
    }
    assert_eq!(stored(&store, event()).trace_context(), None);
    let odd_state = format!(r#"{{"traceparent":"{PARENT}","tracestate":["a"]}}"#);
    let event = stored(&store, event().metadata_json(Json::from_text(odd_state).unwrap()));
    assert_eq!(event.trace_context(), Some(context(PARENT, None)));
}

#[test]
fn the_current_span_goes_into_events_that_do_not_say() {
    let _turn = crate::turn();
    let current = || Some(context(PARENT, Some(r#"a="\"#)));
    let store = Options::new().trace_context(current).in_memory().unwrap();
    let text = |event: NewEvent| stored(&store, event).metadata.unwrap().into_string();
    let own = |metadata: &str| event().metadata_json(Json::from_text(metadata).unwrap());
    let members = format!(r#""traceparent":"{PARENT}","tracestate":"a=\"\\""#);
    assert_eq!(text(event()), format!("{{{members}}}"));
    assert_eq!(text(own("{}")), format!("{{{members}}}"));
    assert_eq!(text(own("{ }")), format!("{{{members} }}"));
    assert_eq!(text(own("\n { \"a\" : 1.50 }")), format!("{{{members}, \"a\" : 1.50 }}"), "the rest byte for byte");
    let said = format!(r#"{{"traceparent":"{OTHER}"}}"#);
    assert_eq!(text(own(&said)), said);
    for event in store.read(Query::new()) {
        let event = event.unwrap();
        let expected = if event.version == 5 { context(OTHER, None) } else { current().unwrap() };
        assert_eq!(event.trace_context(), Some(expected));
    }
}

#[test]
fn nobody_asked_and_no_current_span_leave_metadata_as_it_is() {
    let _turn = crate::turn();
    let store = Options::new().trace_context(|| None).in_memory().unwrap();
    assert_eq!(stored(&store, event()).metadata, None);
    assert_eq!(stored(&Store::in_memory().unwrap(), event()).metadata, None);
}

#[test]
fn an_append_repeated_from_another_span_is_the_same_append() {
    let _turn = crate::turn();
    let spans = [Some(context(PARENT, None)), Some(context(OTHER, Some("a=1"))), None];
    let spans = Mutex::new(spans.into_iter().cycle());
    let store = Options::new().trace_context(move || spans.lock().unwrap().next().flatten()).in_memory().unwrap();
    let metadata = Metadata::new().user_id("u-1");
    for metadata in [Some(&metadata), None] {
        let id = uuid::Uuid::now_v7();
        let again = || match metadata {
            Some(metadata) => event().id(id).metadata(metadata).unwrap(),
            None => event().id(id),
        };
        let append = |event| store.append("account", "a", Expected::Any, [event]);
        let first = append(again()).unwrap();
        let traced = store.event(id).unwrap().unwrap().trace_context();
        let second = append(again()).unwrap();
        assert!(second.was_duplicate);
        assert_eq!(second.event_ids, first.event_ids);
        assert_eq!(store.event(id).unwrap().unwrap().trace_context(), traced, "the first append's trace stays");
    }
}
