//! A word in every payload, looked for in all that comes out beside the payload itself: spans and their records, events
//! of the subscriber, the Debug of every value, errors and what is behind them, reports.

use std::fmt::{Debug, Write};
use std::ops::ControlFlow::Continue;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use foldlog::rusqlite::Connection;
use foldlog::rusqlite::config::DbConfig;
use foldlog::{
    Documents, Durability, Error, Expected, HandlerError, Message, Metadata, NewEvent, Options, Projection, PublishError, Purge,
    Query, ReadModel, RecordedEvent, SnapshotPolicy, SnapshotReason, Store,
};
use serde_json::json;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};

const CANARY: &str = "c4n4ry-7f3a";

/// All that was said, in whatever way.
#[derive(Clone, Default)]
struct Said(Arc<Mutex<String>>);

impl Said {
    fn add(&self, text: impl Debug) {
        writeln!(self.0.lock().unwrap(), "{text:?}").unwrap();
    }

    fn value<T: Debug>(&self, value: T) -> T {
        self.add(format_args!("{value:?} {value:#?}"));
        value
    }

    /// What the call gave must be an error.
    fn error<T>(&self, result: Result<T, Error>) -> Error {
        let error = result.err().expect("must fail");
        self.add(format_args!("{error} {error:?} {error:#?}"));
        let mut cause = std::error::Error::source(&error);
        while let Some(behind) = cause {
            self.add(format_args!("{behind} {behind:?}"));
            cause = behind.source();
        }
        error
    }
}

impl Visit for Said {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.add(format_args!("{field} {value:?}"));
    }
}

impl<S: tracing::Subscriber> Layer<S> for Said {
    fn on_new_span(&self, attributes: &Attributes<'_>, _: &Id, _: Context<'_, S>) {
        attributes.record(&mut self.clone());
    }

    fn on_record(&self, _: &Id, values: &Record<'_>, _: Context<'_, S>) {
        values.record(&mut self.clone());
    }

    fn on_event(&self, event: &tracing::Event<'_>, _: Context<'_, S>) {
        event.record(&mut self.clone());
    }
}

fn secret(event_type: &str) -> NewEvent {
    let metadata = Metadata::new().user_id(CANARY).username(CANARY).ip_address(CANARY).user_agent(CANARY).extra("note", CANARY);
    NewEvent::new(event_type, &json!({ "owner": CANARY, "cents": [CANARY] })).unwrap().metadata(&metadata).unwrap()
}

/// Puts payloads where SQLite could quote them: unique, checked and typed columns.
struct Owners(&'static str);

impl Projection for Owners {
    fn name(&self) -> &str {
        "owners"
    }

    fn tables(&self) -> Vec<String> {
        vec!["owners".into()]
    }

    fn create(&self, model: &ReadModel<'_>) -> Result<(), HandlerError> {
        Ok(model.execute_batch("CREATE TABLE {owners} (owner TEXT PRIMARY KEY, cents INTEGER CHECK (cents > 0)) STRICT")?)
    }

    fn apply(&self, event: &RecordedEvent, model: &ReadModel<'_>) -> Result<(), HandlerError> {
        model.execute(self.0, [event.data.to_value()?["owner"].as_str().ok_or("no owner")?])?;
        Ok(())
    }
}

fn documents() -> Documents {
    Documents::new(
        "views",
        1,
        |event| Some(event.aggregate_id.to_string()),
        |document, event| {
            *document = event.data.to_value()?;
            Ok(())
        },
    )
}

/// Writing and what fails in it.
fn writes(said: &Said, store: &Store) {
    store.project_inline(said.value(documents())).unwrap();
    let accounts = said.value(store.json_aggregates("account").with_metadata(&Metadata::new().user_id(CANARY)).unwrap());
    for _ in 0..3 {
        said.value(accounts.append("a", Expected::Any, [said.value(secret("Opened"))]).unwrap());
    }
    said.error(accounts.append("a", 9, [secret("Opened")]));
    said.error(store.append("account", "", Expected::Any, [secret("Opened")]));
    let id = store.recent_events(1).unwrap()[0].id;
    said.error(store.append("account", "b", Expected::Any, [secret("Closed").id(id)]));
    said.value(accounts.execute("a", |_| [secret("Opened")]).unwrap().appended);
    let preview = accounts.preview("b", |_| [secret("Opened")]).unwrap();
    assert!(preview.changes[0].after.as_ref().unwrap().as_str().contains(CANARY));
    said.value((preview.version, preview.events, preview.changes));
    said.value(accounts.create_snapshot("a", SnapshotReason::Manual).unwrap());
    said.value(accounts.snapshots("a").unwrap());
    said.error(accounts.fold_with("f", 1, |_, _, _| Err(foldlog::FoldError::UnknownEventType)).replay("a"));
    said.value(store.maintenance().purge(Purge::created_before(chrono::DateTime::<chrono::Utc>::MIN_UTC)).unwrap());
}

fn reads(said: &Said, store: &Store) {
    let event = said.value(store.recent_events(9).unwrap()).remove(0);
    assert!(event.data.as_str().contains(CANARY) && event.metadata.as_ref().unwrap().as_str().contains(CANARY));
    said.value(event.metadata().unwrap());
    said.error(event.data.parse::<Vec<u64>>());
    said.error(event.decode::<u64>());
    said.value(store.document("views", "a").unwrap().unwrap());
    said.value(store.documents("views").collect::<foldlog::Result<Vec<_>>>().unwrap());
    said.value((store.statistics().unwrap(), store.file_statistics().unwrap(), store.snapshot_statistics().unwrap()));
    store.run_handler("mail", &event, |_| ());
    said.value((store, Query::new(), store.options()));
}

fn delivers(said: &Said, store: &Store) {
    said.value(store.subscription("s").run_to_end(|_| Ok(())).unwrap());
    said.error(store.subscription("t").run_to_end(|event| Ok(event.data.parse::<u64>().map(drop)?)));
    for statement in [
        "INSERT INTO {owners} (owner) VALUES (?1), (?1)",
        "INSERT INTO {owners} (owner, cents) SELECT ?1, -1",
        "INSERT INTO {owners} (owner, cents) SELECT 'x', ?1",
        "INSERT INTO nowhere VALUES (?1)",
    ] {
        let runner = said.value(store.projection(Owners(statement)).unwrap());
        said.error(runner.run_to_end());
    }
    let mut outbox = store.outbox("o").max_attempts(1).backoff(Duration::ZERO, Duration::ZERO).publisher(
        |message: &Message<'_>| match message.attempt {
            1 => Err(PublishError::Reject(format!("{message:?}"))),
            _ => Ok(()),
        },
    );
    outbox.run_to_end().unwrap();
    said.value(outbox);
    let letters = said.value(store.outbox("o").dead_letters().unwrap());
    said.value(letters.iter().collect::<Result<Vec<_>, _>>().unwrap());
    said.value((store.outbox("o").status().unwrap(), store.subscriptions().unwrap()));
}

/// Damage in the midst of payloads, and all that then speaks of it.
fn damaged(said: &Said, store: &Store) {
    let raw = Connection::open(store.path().unwrap()).unwrap();
    raw.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER, false).unwrap();
    raw.execute_batch("UPDATE events SET data = data || ' ' WHERE position = 2; UPDATE snapshots SET state = state || ' '")
        .unwrap();
    raw.execute_batch(
        "UPDATE events SET metadata = '{' || metadata WHERE position = 4; UPDATE views SET document = document || '}'",
    )
    .unwrap();
    let report = store
        .maintenance()
        .verify(|progress| {
            said.value(progress);
            Continue(())
        })
        .unwrap();
    assert!(!report.is_clean());
    report.damages.iter().for_each(|damage| said.add(format_args!("{damage}")));
    said.value(report);
    let accounts = store.json_aggregates("account");
    said.error(accounts.replay("a"));
    said.error(store.read(Query::new()).collect::<Result<Vec<_>, _>>());
    said.error(store.append("account", "a", Expected::Any, [secret("Opened")]));
    said.value(accounts.replay_each().run(|_, _| Ok::<_, Error>(()), |_| std::ops::ControlFlow::Continue(())).unwrap());
    said.value(accounts.verify_snapshots(|_| Continue(())).unwrap());
}

#[test]
fn no_payload_gets_out_beside_the_payload() {
    let _turn = crate::turn();
    let directory = tempfile::tempdir().unwrap();
    let options = Options::new().durability(Durability::Fast).snapshots(SnapshotPolicy::every(2));
    let said = Said::default();
    tracing::subscriber::with_default(tracing_subscriber::registry().with(said.clone()), || {
        let store = options.open(directory.path().join("store.db")).unwrap();
        writes(&said, &store);
        reads(&said, &store);
        delivers(&said, &store);
        damaged(&said, &store);
    });
    let said = said.0.lock().unwrap();
    assert!(said.len() > 10_000 && said.contains("db.operation.name"), "nothing was listened to");
    let line = said.lines().find(|line| line.contains(CANARY));
    assert_eq!(line, None);
}
