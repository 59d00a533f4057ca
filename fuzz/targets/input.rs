//! What a caller may give: names, texts, tags, times, ids of any sort are refused, or come back as they were.
#![no_main]

use std::cell::RefCell;

use arbitrary::Arbitrary;
use chrono::DateTime;
use foldlog::{ErrorKind, EventId, Expected, Filter, Json, Metadata, NewEvent, Options, Query, Store, TraceContext, Upcasters};
use foldlog_fuzz::{look_at, told};
use libfuzzer_sys::fuzz_target;

const RUNS: u64 = 2_000;

thread_local! {
    static STORE: RefCell<(Store, u64)> = RefCell::new((new_store(), 0));
}

fn new_store() -> Store {
    let any_version = Upcasters::new().pass_newer();
    Options::new()
        .upcasters(any_version)
        .expect("no rule")
        .max_name_bytes(64)
        .max_event_bytes(2_000)
        .in_memory()
        .expect("a store")
}

#[derive(Arbitrary, Debug)]
struct Input<'a> {
    tenant: &'a str,
    kind: &'a str,
    id: &'a str,
    event_type: &'a str,
    data: &'a str,
    metadata: Option<&'a str>,
    tags: Vec<&'a str>,
    seconds: Option<(i64, u32)>,
    schema_version: Option<u32>,
    event_id: Option<[u8; 16]>,
    expected: Option<u64>,
    parent: &'a str,
    state: Option<&'a str>,
}

fuzz_target!(|input: Input<'_>| {
    STORE.with_borrow_mut(|(store, runs)| {
        *runs += 1;
        if *runs % RUNS == 0 {
            *store = new_store();
        }
        check(store, &input);
    });
    if let Some(context) = told(TraceContext::new(input.parent, input.state)) {
        assert_eq!((context.traceparent(), context.trace_id().len(), context.span_id().len()), (input.parent, 32, 16));
    }
});

fn event(input: &Input<'_>) -> Option<NewEvent> {
    let data = told(Json::from_text(input.data))?;
    assert_eq!(format!("{data:?}"), format!("Json({} bytes)", input.data.len()), "its Debug shows no payload");
    let mut event = NewEvent::with_json(input.event_type, data);
    if let Some(metadata) = input.metadata {
        event = event.metadata_json(told(Json::from_text(metadata))?);
    }
    for tag in input.tags.iter().take(5) {
        event = event.tag(*tag);
    }
    if let Some(time) = input.seconds.and_then(|(seconds, nanos)| DateTime::from_timestamp(seconds, nanos)) {
        event = event.created_at(time);
    }
    if let Some(id) = input.event_id {
        event = event.id(EventId::from_bytes(id));
    }
    Some(event.schema_version(input.schema_version.unwrap_or(1)))
}

fn check(store: &Store, input: &Input<'_>) {
    let Some(event) = event(input) else { return };
    let store = store.tenant(input.tenant);
    let before = store.last_position().expect("a position");
    let expected = input.expected.map_or(Expected::Any, Expected::from);
    match store.append(input.kind, input.id, expected, [event]) {
        Err(error) => {
            look_at(&error);
            assert!(
                matches!(
                    error.kind(),
                    ErrorKind::InvalidInput | ErrorKind::LimitExceeded | ErrorKind::Conflict | ErrorKind::DuplicateEventId
                ),
                "{error:?}"
            );
            assert_eq!(store.last_position().expect("a position"), before);
        }
        Ok(appended) if appended.was_duplicate => assert_eq!(store.last_position().expect("a position"), before),
        Ok(appended) => {
            assert_eq!(appended.position, before.get() + 1);
            comes_back(&store, input, appended.event_ids[0]);
        }
    }
}

fn comes_back(store: &Store, input: &Input<'_>, id: EventId) {
    let event = store.event(id).expect("a read").expect("it was appended");
    assert_eq!((&*event.tenant, &*event.aggregate_type, &*event.aggregate_id), (input.tenant, input.kind, input.id));
    assert_eq!((&*event.event_type, event.data.as_str()), (input.event_type, input.data));
    assert_eq!(event.metadata.as_ref().map(Json::as_str), input.metadata);
    assert!(event.tags.iter().eq(input.tags.iter().take(5)), "{:?}", event.tags);
    assert_eq!(event.schema_version, input.schema_version.unwrap_or(1));
    if let Some(time) = input.seconds.and_then(|(seconds, nanos)| DateTime::from_timestamp(seconds, nanos)) {
        assert_eq!(event.created_at.timestamp_micros(), time.timestamp_micros());
    }
    told(event.metadata());
    event.trace_context();
    serde_json::to_string(&event).expect("an event is JSON");
    let newest = |query: Query| store.read(query.newest_first().limit(1)).map(|event| event.expect("a read")).last();
    for query in [
        Query::new(),
        Query::matching(Filter::new().aggregate_type(input.kind)),
        Query::aggregate(input.kind, input.id),
        Query::matching(Filter::new().event_type(input.event_type)),
    ] {
        assert_eq!(newest(query).as_ref(), Some(&event));
    }
    for tag in &event.tags {
        assert_eq!(newest(Query::matching(Filter::new().tag(tag))).as_ref(), Some(&event));
    }
    let replayed = store.json_aggregates(input.kind).replay(input.id).expect("a merge patch takes anything");
    assert_eq!(replayed.version, event.version);
    let again = store.append(input.kind, input.id, Expected::Any, [crate::event(input).expect("as before").id(id)]);
    assert_eq!(again.map(|appended| appended.was_duplicate).ok(), Some(true), "the same event is the same");
    told(store.json_aggregates(input.kind).with_metadata(&Metadata::new().user_id(input.id)));
}
