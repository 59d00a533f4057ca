//! Names of subscriptions, outboxes, projections, documents and their keys that no honest application would give: each is
//! that one thing and no other, or it is refused.

use std::time::Duration;

use foldlog::{
    Documents, Error, ErrorKind, Expected, HandlerError, Message, Projection, PublishError, ReadModel, RecordedEvent, Store,
};
use proptest::prelude::*;
use serde_json::json;

use super::event;
use super::names::{HOSTILE, hostile_name};

/// No control character of a name, and nothing that turns the direction of writing, reaches a terminal.
fn is_plain(error: &Error) {
    let said = error.to_string();
    assert!(!said.contains(|c: char| c.is_control() || c == '\u{202e}'), "{said:?}");
}

/// One event at position 1, in a store in memory.
fn with_an_event() -> Store {
    let store = Store::in_memory().unwrap();
    store.append("counter", "c", Expected::Any, [event(1)]).unwrap();
    store
}

fn is_sound(store: &Store) {
    assert_eq!(store.last_position().unwrap(), 1);
    assert!(store.maintenance().verify(|_| std::ops::ControlFlow::Continue(())).unwrap().is_clean());
}

fn subscription(name: &str, other: &str) {
    let store = with_an_event();
    let run = |name: &str| store.subscription(name).run_to_end(|_| Ok(())).unwrap();
    assert_eq!((run(name), run(name), run(other), run(other)), (1, 0, 1, 0));
    let mut known: Vec<String> = store.subscriptions().unwrap().into_iter().map(|status| status.name).collect();
    let mut wanted = [name.to_owned(), other.to_owned()];
    known.sort();
    wanted.sort();
    assert_eq!(known, wanted);
    store.subscription(name).wait_until(1, Duration::ZERO).unwrap();
    is_plain(&store.subscription(name).wait_until(2, Duration::ZERO).unwrap_err());
    is_plain(&store.subscription(name).skip_failed().unwrap_err());
    store.subscription(name).remove().unwrap();
    for error in [
        store.subscription(name).remove().unwrap_err(),
        store.subscription(name).skip_failed().unwrap_err(),
        store.subscription(name).wait_until(1, Duration::ZERO).unwrap_err(),
    ] {
        assert_eq!(error.kind(), ErrorKind::NotFound);
        is_plain(&error);
    }
    assert_eq!((run(other), run(name)), (0, 1), "the other one was not touched");
    is_sound(&store);
}

fn outbox(name: &str, other: &str) {
    let store = with_an_event();
    let reason = format!("{name}{other}");
    let refuse = |_: &Message<'_>| Err(PublishError::Reject(reason.clone()));
    assert_eq!(store.outbox(name).publisher(refuse).run_to_end().unwrap(), 0);
    let letters = store.outbox(name).dead_letters().unwrap();
    let letter = letters.iter().next().unwrap().unwrap();
    assert!(reason.starts_with(letter.last_error.trim_end_matches('…')), "{:?}", letter.last_error);
    assert_eq!(store.outbox(other).publisher(|_: &Message<'_>| Ok(())).run_to_end().unwrap(), 1);
    assert_eq!((store.outbox(name).status().unwrap().dead, store.outbox(other).status().unwrap().dead), (1, 0));
    letters.discard(1).unwrap();
    is_plain(&letters.discard(1).unwrap_err());
    is_plain(&store.subscription(name).run_to_end(|_| Ok(())).unwrap_err());
    is_sound(&store);
}

/// Its own name may be anything, its table's may not.
struct Named {
    name: String,
    table: String,
}

impl Projection for Named {
    fn name(&self) -> &str {
        &self.name
    }

    fn tables(&self) -> Vec<String> {
        vec![self.table.clone()]
    }

    fn create(&self, model: &ReadModel<'_>) -> Result<(), HandlerError> {
        Ok(model.execute_batch("CREATE TABLE {named} (position INTEGER PRIMARY KEY)")?)
    }

    fn apply(&self, event: &RecordedEvent, model: &ReadModel<'_>) -> Result<(), HandlerError> {
        model.execute("INSERT INTO {named} VALUES (?1)", [event.position.get()])?;
        Ok(())
    }
}

fn projection(name: &str) {
    let store = with_an_event();
    let runner = store.projection(Named { name: name.into(), table: "named".into() }).unwrap();
    assert_eq!((runner.run_to_end().unwrap(), runner.run_to_end().unwrap()), (1, 0));
    assert!(runner.rebuild(|_| std::ops::ControlFlow::Continue(())).unwrap().finished);
    assert_eq!(store.query_read_model("SELECT position FROM named", [], |row| row.get::<_, u64>(0)).unwrap(), [1]);
    assert_eq!(store.subscriptions().unwrap()[0].name, name);
    is_sound(&store);
}

/// A table's name goes into statements as it is, so it must be an identifier.
fn table(name: &str) {
    let is_identifier = |c: char| c.is_ascii_alphanumeric() || c == '_';
    if name.chars().all(is_identifier) {
        return;
    }
    let store = with_an_event();
    let documents = || Documents::new(name, 1, |_| Some("k".into()), |_, _| Ok(()));
    for error in [
        store.projection(Named { name: "p".into(), table: name.into() }).map(drop).unwrap_err(),
        store.project_inline(documents()).unwrap_err(),
        store.projection(documents()).map(drop).unwrap_err(),
        store.document(name, "k").map(drop).unwrap_err(),
        store.documents(name).collect::<foldlog::Result<Vec<_>>>().map(drop).unwrap_err(),
    ] {
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        is_plain(&error);
    }
    assert_eq!(store.subscriptions().unwrap(), []);
    is_sound(&store);
}

fn document_key(key: &str, other: &str) {
    let store = with_an_event();
    let keys = [key.to_owned(), other.to_owned()];
    let of_event = keys.clone();
    let documents = Documents::new(
        "views",
        1,
        move |event| of_event.get(event.version.get() as usize - 1).cloned(),
        |document, event| {
            *document = json!(event.version);
            Ok(())
        },
    );
    store.append("counter", "c", Expected::Any, [event(2)]).unwrap();
    store.projection(documents).unwrap().run_to_end().unwrap();
    let found = |key: &str| store.document("views", key).unwrap().map(|document| document.into_string());
    assert_eq!((found(key).as_deref(), found(other).as_deref()), (Some("1"), Some("2")));
    let mut wanted = keys.to_vec();
    wanted.sort();
    let listed: Vec<String> =
        store.documents("views").collect::<foldlog::Result<Vec<_>>>().unwrap().into_iter().map(|(key, _)| key).collect();
    assert_eq!(listed, wanted);
    assert_eq!(store.documents("views").after(&wanted[0]).collect::<foldlog::Result<Vec<_>>>().unwrap().len(), 1);
}

#[test]
fn those_on_the_list() {
    for (name, other) in HOSTILE.iter().zip(HOSTILE.iter().cycle().skip(1)) {
        subscription(name, other);
        outbox(name, other);
        projection(name);
        table(name);
        document_key(name, other);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 30, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any(name in hostile_name(), other in hostile_name()) {
        prop_assume!(name != other);
        subscription(&name, &other);
        outbox(&name, &other);
        projection(&name);
        table(&name);
        document_key(&name, &other);
    }
}
