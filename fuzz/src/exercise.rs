//! Everything that can be asked of a store and done to it, each call at its own risk.

use std::ops::ControlFlow::Continue;
use std::path::Path;
use std::time::Duration;

use foldlog::rusqlite::params;
use foldlog::{Filter, Aggregate, ErrorKind, Expected, Message, NewEvent, Purge, Query, RecordedEvent, SnapshotReason, Store};

use crate::domain::{Event, State};
use crate::template::options;
use crate::{look_at, told};

/// How many of anything are looked at: a damaged file may promise any number of them.
const MOST: usize = 40;

pub fn reads(store: &Store) {
    let tenants = told(store.tenants()).unwrap_or_default();
    events(store, Query::matching(Filter::new().all_tenants()));
    events(store, Query::matching(Filter::new().all_tenants()).newest_first());
    for tenant in tenants.iter().map(String::as_str).chain(["default", "acme"]).take(3) {
        tenants_reads(&store.tenant(tenant));
    }
    told(store.last_position());
    told(store.file_statistics());
    told(store.subscriptions());
    told(store.outbox("out").status());
    if let Some(letters) = told(store.outbox("out").dead_letters()) {
        told(letters.count());
        letters.iter().take(MOST).for_each(|letter| drop(told(letter)));
    }
    told(store.document("views", "t-1"));
    told(store.documents("views").take(MOST).collect::<foldlog::Result<Vec<_>>>());
    if let Some(report) = told(store.maintenance().verify(|_| Continue(()))) {
        report.damages.iter().for_each(|damage| assert!(!format!("{damage} {damage:?}").contains(crate::CANARY)));
    }
}

fn tenants_reads(store: &Store) {
    for query in [
        Query::matching(Filter::new().event_type("moved").event_type("counted")),
        Query::matching(Filter::new().tag("red")),
        Query::matching(Filter::new().tag("red")).newest_first(),
        Query::matching(Filter::new().aggregate_type("thing")).after_position(9u64),
        Query::aggregate("thing", "t-1"),
        Query::aggregate("thing", "t-1").newest_first(),
        Query::matching(Filter::new().from("2026-01-01T00:00:00Z".parse().expect("a time"))),
        Query::matching(Filter::new().to("2025-01-01T00:00:00Z".parse().expect("a time"))).newest_first(),
    ] {
        if let Some(event) = events(store, query).first() {
            told(store.event(event.id));
        }
    }
    told(store.aggregate_types());
    told(store.statistics());
    told(store.snapshot_statistics());
    told(store.count(Filter::new().event_type("moved")));
    told(store.count(Query::aggregate("thing", "t-1")));
    let (things, merged) = (store.aggregates::<State>(), store.json_aggregates("thing"));
    let ids = told(things.ids().take(MOST).collect::<foldlog::Result<Vec<_>>>()).unwrap_or_default();
    for id in ids.iter().map(String::as_str).chain(["t-1"]).take(4) {
        told(things.replay(id));
        told(things.without_snapshots().replay(id));
        told(things.replay_to_version(id, 6));
        told(things.replay_to_time(id, "2026-01-01T00:00:00Z".parse().expect("a time")));
        told(merged.replay(id));
        told(things.snapshots(id));
    }
    told(things.verify_snapshots(|_| Continue(())));
}

fn events(store: &Store, query: Query) -> Vec<RecordedEvent> {
    let mut read = Vec::new();
    for event in store.read(query).take(MOST) {
        match event {
            Ok(event) => {
                let _ = event.decode::<Event>().inspect_err(look_at);
                let _ = event.metadata().inspect_err(look_at);
                event.trace_context();
                read.push(event);
            }
            Err(error) => look_at(&error),
        }
    }
    read
}

pub fn writes(store: &Store) {
    let event = || NewEvent::of(&Event::Closed).expect("an event").tag("red");
    for (tenant, id) in [("default", "t-1"), ("acme", "new"), ("new", "t-1")] {
        told(store.tenant(tenant).append("thing", id, Expected::Any, [event()]));
    }
    told(store.append("new", "t-1", Expected::New, [NewEvent::new("New", &1).expect("an event")]));
    let things = store.aggregates::<State>();
    told(things.execute("t-1", |_| [Event::Empty {}]).map_err(foldlog::Error::from));
    told(things.create_snapshot("t-1", SnapshotReason::Manual));
    told(things.prune_snapshots("t-1"));
    told(store.subscription("reader").run_to_end(|_| Ok(())));
    told(
        store
            .outbox("out")
            .max_attempts(1)
            .backoff(Duration::ZERO, Duration::ZERO)
            .publisher(|_: &Message<'_>| Ok(()))
            .run_to_end(),
    );
    told(store.query_read_model("SELECT document FROM views WHERE key = ?1", params!["t-1"], |row| row.get::<_, String>(0)));
    told(store.maintenance().purge(Purge::created_before(chrono::DateTime::<chrono::Utc>::MAX_UTC).fold(&things).dry_run()));
    told(store.maintenance().purge(Purge::created_before(chrono::DateTime::<chrono::Utc>::MAX_UTC).aggregate(State::TYPE, "t-1").fold(&things)));
    told(store.maintenance().expire_snapshots(Duration::ZERO));
    told(things.delete_snapshots("t-1"));
    told(store.maintenance().checkpoint());
    told(store.copy_to_memory());
    events(store, Query::matching(Filter::new().all_tenants()));
}

/// Opens the file for reading and asks everything of it.
pub fn read_file(path: &Path) -> Option<ErrorKind> {
    let store = options().open_read_only(path).inspect_err(look_at);
    store.map(|store| reads(&store)).err().map(|error| error.kind())
}

/// Opens the file for writing and does everything to it.
pub fn write_file(path: &Path) -> Option<ErrorKind> {
    let store = options().open(path).inspect_err(look_at);
    store.map(|store| writes(&store)).err().map(|error| error.kind())
}
