//! A small sound file with something in every table, to be damaged.

use std::path::Path;
use std::time::Duration;

use foldlog::rusqlite::Connection;
use foldlog::{
    Clock, Documents, Durability, Expected, Message, Metadata, NewEvent, Options, PublishError, Purge, SnapshotReason, Store,
    Upcasters,
};
use serde_json::json;

use crate::CANARY;
use crate::domain::{Event, Point, State};

/// The bytes of a file and of the write-ahead log beside it.
#[derive(Clone)]
pub struct Files {
    pub file: Vec<u8>,
    pub wal: Vec<u8>,
}

pub struct Template {
    /// Closed as it should be: everything is in the file.
    pub closed: Files,
    /// As after a kill: a part is only in the log.
    pub killed: Files,
    /// So many events that the log has a summary of a block.
    pub long: Files,
}

pub fn options() -> Options {
    let any_version = Upcasters::new().pass_newer();
    Options::new()
        .upcasters(any_version)
        .expect("no rule")
        .durability(Durability::Fast)
        .busy_timeout(Duration::ZERO)
        .clock(Clock::fixed(at(0)))
}

fn at(second: i64) -> chrono::DateTime<chrono::Utc> {
    chrono::DateTime::from_timestamp(1_767_225_600 + second, 0).expect("a time")
}

impl Template {
    pub fn make() -> Template {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("store.db");
        // Small pages: more of what is changed means something.
        let raw = Connection::open(&path).expect("a file");
        raw.execute_batch("PRAGMA page_size = 512; VACUUM").expect("small pages");
        drop(raw);
        fill(&options().open(&path).expect("a store"));
        let closed = read(&path);
        assert!(closed.wal.is_empty());
        let store = options().open(&path).expect("a store");
        append(&store, "default", "t-9", 3);
        let killed = read(&path);
        assert!(!killed.wal.is_empty());
        append(&store, "default", "t-2", 520);
        drop(store);
        Template { closed, killed, long: read(&path) }
    }
}

fn read(path: &Path) -> Files {
    let wal = std::fs::read(path.with_file_name("store.db-wal")).unwrap_or_default();
    Files { file: std::fs::read(path).expect("the file"), wal }
}

fn append(store: &Store, tenant: &str, id: &str, events: u64) {
    for n in 0..events {
        let event = match n % 3 {
            0 => Event::Moved(Point { x: n as i64, label: CANARY.into() }),
            1 => Event::Drawn { width: 0.1, at: Some(Box::new(Event::Closed)) },
            _ => Event::Counted(n),
        };
        let metadata = Metadata::new().user_id(CANARY).extra("n", n);
        let event =
            NewEvent::of(&event).expect("an event").metadata(&metadata).expect("metadata").tag("red").tag(format!("t{n}"));
        store.tenant(tenant).append("thing", id, Expected::Any, [event]).expect("an append");
    }
}

fn fill(store: &Store) {
    store
        .project_inline(Documents::new(
            "views",
            1,
            |event| Some(event.aggregate_id.to_string()),
            |document, event| {
                *document = json!({ "type": &*event.event_type });
                Ok(())
            },
        ))
        .expect("a projection");
    append(store, "default", "t-1", 7);
    append(store, "acme", "t-1", 2);
    let things = store.aggregates::<State>();
    things.create_snapshot("t-1", SnapshotReason::Manual).expect("a snapshot");
    store.maintenance().purge(Purge::created_before(at(1)).aggregate("thing", "t-1").fold(&things)).expect("a purge");
    append(store, "default", "t-1", 4);
    store.subscription("reader").run_to_end(|_| Ok(())).expect("a subscription");
    let mut outbox =
        store.outbox("out").max_attempts(1).publisher(|message: &Message<'_>| match message.event.position.get() % 5 {
            0 => Err(PublishError::Reject("no".into())),
            _ => Ok(()),
        });
    outbox.run_to_end().expect("an outbox");
}
