//! Spans, as a subscriber of the application's sees them.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::{Arc, Mutex};

use foldlog::{Batch, Expected, Metadata, NewEvent, Options, SnapshotPolicy, SnapshotReason, Store, TraceContext};
use serde_json::json;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::registry::LookupSpan;

type Fields = BTreeMap<&'static str, String>;

#[derive(Clone, Default)]
struct Spans(Arc<Mutex<Vec<(u64, Fields)>>>);

struct Into<'a>(&'a mut Fields);

impl Visit for Into<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.0.insert(field.name(), format!("{value:?}").trim_matches('"').to_owned());
    }
}

impl<S: tracing::Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Spans {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let mut fields = Fields::new();
        attributes.record(&mut Into(&mut fields));
        if let Some(parent) = context.lookup_current() {
            fields.insert("parent", parent.id().into_u64().to_string());
        }
        self.0.lock().unwrap().push((id.into_u64(), fields));
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, _: Context<'_, S>) {
        let mut spans = self.0.lock().unwrap();
        // The registry uses the numbers of closed spans again: the newest is meant.
        let (_, fields) = spans.iter_mut().rev().find(|(number, _)| *number == id.into_u64()).unwrap();
        values.record(&mut Into(fields));
    }
}

/// Runs `work` and returns the spans that it made, in the order in which they began.
fn spans(work: impl FnOnce()) -> Vec<Fields> {
    let layer = Spans::default();
    tracing::subscriber::with_default(tracing_subscriber::registry().with(layer.clone()), work);
    let spans = layer.0.lock().unwrap();
    spans.iter().map(|(_, fields)| fields.clone()).collect()
}

fn names(spans: &[Fields]) -> Vec<&str> {
    spans.iter().map(|span| &*span["otel.name"]).collect()
}

fn event() -> NewEvent {
    NewEvent::new("Opened", &json!({"n": 1})).unwrap()
}

#[test]
fn an_append_has_the_database_conventions_attributes() {
    let _turn = crate::turn();
    let store = Store::in_memory().unwrap();
    let made = spans(|| drop(store.append("account", "a", Expected::Any, [event(), event()]).unwrap()));
    let expected: Fields = [
        ("otel.name", "append account"),
        ("otel.kind", "client"),
        ("db.system.name", "sqlite"),
        ("db.operation.name", "append"),
        ("db.collection.name", "account"),
        ("db.operation.batch.size", "2"),
    ]
    .map(|(name, value)| (name, value.to_owned()))
    .into();
    assert_eq!(made, [expected]);
    let single = spans(|| drop(store.append("account", "a", Expected::Any, [event()]).unwrap()));
    assert!(!single[0].contains_key("db.operation.batch.size"), "the convention has no size for one");
    let across = Batch::new().append("a", "1", Expected::Any, [event()]).append("b", "1", Expected::Any, [event()]);
    let across = spans(|| drop(store.commit(across).unwrap()));
    assert_eq!(names(&across), ["append"]);
    assert!(!across[0].contains_key("db.collection.name"), "there are two");
}

#[test]
fn failures_carry_their_kind() {
    let _turn = crate::turn();
    let store = Store::in_memory().unwrap();
    let accounts = store.json_aggregates("account");
    let made = spans(|| {
        store.append("account", "a", 7, [event()]).unwrap_err();
        accounts.replay("nobody").unwrap_err();
    });
    let failures: Vec<_> = made.iter().map(|span| (&*span["error.type"], &*span["otel.status_code"])).collect();
    assert_eq!(failures, [("conflict", "ERROR"), ("not_found", "ERROR")]);
}

#[test]
fn execute_holds_its_replay_append_and_snapshot() {
    let _turn = crate::turn();
    let store = Options::new().snapshots(SnapshotPolicy::every(2)).in_memory().unwrap();
    let accounts = store.json_aggregates("account");
    (0..2).for_each(|_| drop(store.append("account", "a", Expected::Any, [event()]).unwrap()));
    let made = spans(|| drop(accounts.execute("a", |_| [event()]).unwrap()));
    assert_eq!(names(&made), ["execute account", "replay account", "snapshot account", "append account"]);
    assert!(!made[0].contains_key("parent"));
    assert!(made[1..].iter().all(|span| span.contains_key("parent")));
    assert!(made.iter().all(|span| !span.contains_key("error.type")), "{made:?}");
    let manual = spans(|| assert_eq!(accounts.create_snapshot("a", SnapshotReason::Manual).unwrap(), 3));
    assert_eq!(names(&manual), ["replay account", "snapshot account"]);
}

#[test]
fn payloads_metadata_and_tags_are_in_no_span() {
    let _turn = crate::turn();
    let canary = "canary-4711";
    let store = Store::in_memory().unwrap();
    let accounts = store.json_aggregates("account").fold_with("fails", 1, |_, _, _| Err(foldlog::FoldError::Data(canary.into())));
    let made = spans(|| {
        let secret = NewEvent::new("Opened", &json!({"owner": canary})).unwrap();
        let secret = secret.metadata(&Metadata::new().user_id(canary)).unwrap().tag(canary);
        store.append("account", "a", Expected::Any, [secret.clone()]).unwrap();
        store.append("account", "a", 9, [secret]).unwrap_err();
        accounts.replay("a").unwrap_err();
        let event = store.recent_events(1).unwrap().remove(0);
        store.run_handler("mail", &event, |_| ());
    });
    assert_eq!(made.len(), 4);
    assert!(!format!("{made:?}").contains(canary), "{made:?}");
}

#[test]
fn a_handlers_span_names_the_span_that_appended_the_event() {
    let _turn = crate::turn();
    let parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let store = Options::new().trace_context(move || TraceContext::new(parent, Some("a=1")).ok()).in_memory().unwrap();
    store.append("account", "a", Expected::Any, [event()]).unwrap();
    let event = store.recent_events(1).unwrap().remove(0);
    let made = spans(|| {
        store.run_handler("mail", &event, |_| tracing::info_span!("of_the_handler", otel.name = "inner").in_scope(|| ()))
    });
    assert_eq!(names(&made), ["handle Opened", "inner"]);
    assert_eq!(made[0]["foldlog.link.traceparent"], parent);
    assert_eq!(made[0]["foldlog.link.tracestate"], "a=1");
    assert_eq!(made[0]["foldlog.handler.name"], "mail");
    assert!(made[1].contains_key("parent"), "the handler works inside of it");
}

#[test]
fn the_current_span_of_an_append_is_its_own() {
    let _turn = crate::turn();
    let seen = Arc::new(Mutex::new(None));
    let of_closure = seen.clone();
    let current = move || {
        *of_closure.lock().unwrap() = tracing::Span::current().metadata().map(|metadata| metadata.target());
        None
    };
    let store = Options::new().trace_context(current).in_memory().unwrap();
    spans(|| drop(store.append("account", "a", Expected::Any, [event()]).unwrap()));
    assert!(seen.lock().unwrap().is_some_and(|target| target.starts_with("foldlog")));
}
