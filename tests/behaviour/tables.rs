//! Import of a PostgreSQL table's rows, and copies of a log under other names.

use std::ops::ControlFlow;

use foldlog::{ErrorKind, Filter, Import, ImportProgress, Query, Store, Table, TableFormat};
use serde_json::json;

use crate::support::{Place, at, noted, notes, read, refused};

fn go_on<T>(_: &T) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

fn import(store: &Store, table: &Table, rows: &str) -> foldlog::Result<ImportProgress> {
    store.import_table(table, &Import::new(), rows.as_bytes(), go_on)
}

const ONE: &str = "0199fd0e-7c00-7000-8000-000000000001";
const TWO: &str = "0199fd0e-7c00-7000-8000-000000000002";

/// The same two events in each format, with a line break, a tab, quotes, NULL and a column that no event has.
fn formats() -> Vec<(Table, String)> {
    let of = |format| Table::new(format).aggregate_type("user");
    let csv = format!(
        "id,aggregateId,eventType,version,eventData,tenantId,metadata,occurredAt,note\n\
         {ONE},u-1,UserCreated,1,\"{{\"\"name\"\": \"\"A\\tda\"\"}}\",acme,\"{{\"\"userId\"\": \"\"root\"\"}}\",2025-10-22 13:00:00.123,\"a, \"\"b\"\"\nc\td\"\n\
         {TWO},u-1,UserRenamed,2,\"{{\"\"name\"\": 1.50}}\",acme,,2025-10-22 15:00:01+02,\r\n"
    );
    let rows = format!(
        "{ONE}\tu-1\tUserCreated\t1\t{{\"name\": \"A\\\\tda\"}}\tacme\t{{\"userId\": \"root\"}}\t2025-10-22 13:00:00.123\ta, \"b\"\\nc\\td\n\
         {TWO}\tu-1\tUserRenamed\t2\t{{\"name\": 1.50}}\tacme\t\\N\t2025-10-22 15:00:01+02\t\\N\n"
    );
    let names = ["id", "aggregateId", "eventType", "version", "eventData", "tenantId", "metadata", "occurredAt", "note"];
    let header = format!("{}\n{rows}", names.join("\t"));
    let dump = format!(
        "--\n-- PostgreSQL database dump\n--\nSET x = 1;\n\
         COPY public.user_snapshots (id, \"aggregateId\", version, state) FROM stdin;\n1\tu-1\t9\t{{}}\n\\.\n\n\
         COPY public.user_events (id, \"aggregateId\", \"eventType\", version, \"eventData\", \"tenantId\", metadata, \"occurredAt\", note) FROM stdin;\n\
         {rows}\\.\n\nALTER TABLE x;\n"
    );
    let line = |id: &str, kind: &str, version: u32, data: &str, metadata: &str, time: &str, note: &str| {
        format!(
            "{{\"id\":\"{id}\",\"aggregateId\":\"u-1\",\"eventType\":\"{kind}\",\"version\":{version},\"eventData\":{data},\
             \"tenantId\":\"acme\",\"metadata\":{metadata},\"occurredAt\":\"{time}\",\"note\":{note}}}\n"
        )
    };
    let lines = line(
        ONE,
        "UserCreated",
        1,
        r#"{"name": "A\tda"}"#,
        r#"{"userId": "root"}"#,
        "2025-10-22T13:00:00.123",
        r#""a, \"b\"\nc\td""#,
    ) + &line(TWO, "UserRenamed", 2, r#"{"name": 1.50}"#, "null", "2025-10-22T15:00:01+02:00", "null");
    vec![
        (of(TableFormat::Csv), csv),
        (of(TableFormat::Copy), header),
        (of(TableFormat::Copy).columns(names), rows),
        (of(TableFormat::Copy), dump),
        (of(TableFormat::JsonLines), lines),
    ]
}

#[test]
fn rows_become_events_in_every_format_and_again_add_nothing() {
    for (table, rows) in formats() {
        let store = Store::in_memory().unwrap();
        let done = import(&store, &table, &rows).unwrap_or_else(|error| panic!("{table:?}: {error}"));
        assert_eq!((done.appended, done.finished), (2, true), "{table:?}");
        let events = read(&store.tenant("acme"), Query::new());
        assert_eq!((events[0].id.to_string(), &*events[0].event_type), (ONE.to_owned(), "UserCreated"));
        assert_eq!(events[0].data.to_value().unwrap(), json!({"name": "A\tda"}));
        assert_eq!(events[0].metadata.as_ref().unwrap().to_value().unwrap(), json!({"userId": "root", "note": "a, \"b\"\nc\td"}));
        assert_eq!(events[0].created_at.to_rfc3339(), "2025-10-22T13:00:00.123+00:00");
        assert_eq!(events[1].created_at.to_rfc3339(), "2025-10-22T13:00:01+00:00");
        assert_eq!(events[1].data.as_str(), r#"{"name": 1.50}"#, "every digit stays");
        assert!(events[1].metadata.is_none() && events[1].version == 2);
        assert_eq!(store.tenant("acme").json_aggregates("user").replay("u-1").unwrap().state, json!({"name": 1.5}));
        let again = import(&store, &table, &rows).unwrap();
        assert_eq!((again.appended, again.skipped), (0, 2));
    }
}

#[test]
fn columns_of_other_names_are_named() {
    let table = Table::new(TableFormat::Csv).column("data", "body").column("aggregate_id", "user_id");
    let store = Store::in_memory().unwrap();
    let rows = "seq,aggregate_type,user_id,type,body,created_at\n7,user,u-1,Made,{},2025-10-22 13:00:00\n8,user,u-1,Made,{},2025-10-22 13:00:00\n";
    assert_eq!(import(&store, &table, rows).unwrap().appended, 2);
    let events = read(&store, Query::new());
    assert_eq!(events[0].metadata.as_ref().unwrap().to_value().unwrap(), json!({"seq": "7"}));
    assert_ne!(events[0].id, events[1].id);
    assert_eq!(import(&store, &table, rows).unwrap().skipped, 2, "the id follows from the row");
}

#[test]
fn what_is_no_row_is_refused_with_its_line() {
    let head = "id,aggregateId,eventType,version,eventData\n";
    let good = format!("{head}{ONE},u-1,Made,1,{{}}\n");
    for (rows, says) in [
        (format!("{good}{TWO},u-1,Made\n"), "it has 3 columns, not 5"),
        (format!("{good}{TWO},u-1,Made,two,{{}}\n"), "\"version\" is not a whole number"),
        (format!("{good}{TWO},u-1,Made,2,nothing\n"), "\"eventData\" is not JSON"),
        (format!("{good}{TWO},u-1,Made,2,\"{{}}\n"), "a quote is not closed"),
        (format!("{good}{TWO},u-1,,2,{{}}\n"), "event_type"),
    ] {
        let store = Store::in_memory().unwrap();
        let error = refused(import(&store, &Table::new(TableFormat::Csv).aggregate_type("user"), &rows), ErrorKind::InvalidInput);
        let said = format!("{error} {}", std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default());
        assert!(said.contains("line 3") && said.contains(says), "{says}: {said}");
        assert_eq!(store.count(Query::new()).unwrap(), 1, "what stood before is kept");
    }
    let store = Store::in_memory().unwrap();
    for (table, says) in [
        (Table::new(TableFormat::Csv), "aggregate type"),
        (Table::new(TableFormat::Csv).aggregate_type("user").column("data", "nothing"), "no column \"nothing\""),
        (Table::new(TableFormat::Csv).aggregate_type("user").column("dat", "id"), "no member \"dat\""),
    ] {
        let error = refused(import(&store, &table, &good), ErrorKind::InvalidInput);
        assert!(error.to_string().contains(says), "{says}: {error}");
    }
    assert_eq!(store.count(Query::new()).unwrap(), 0);
}

#[test]
fn a_copy_has_other_names_whole_commits_and_adds_only_what_came_since() {
    let place = Place::new();
    let store = place.open();
    store.append("list", "a", 0, notes(1..=3)).unwrap();
    store.append("other", "b", 0, [noted(9).created_at(at(5)).tag("t")]).unwrap();
    let copy = Store::in_memory().unwrap().tenant("acme");
    let settings = Import::new().rename_aggregate_type("list", "notes").rename_event_type("Noted", "NoteTaken").into_tenant();
    let run = |settings: &Import| {
        let events = store.read(Query::matching(Filter::new().all_tenants()).as_stored());
        copy.copy_from(events, |_| true, settings, go_on).unwrap()
    };
    let done = run(&settings);
    assert_eq!((done.lines, done.appended, done.commits, done.finished), (4, 4, 2, true));
    let (before, after) = (read(&store, Query::new()), read(&copy, Query::new()));
    assert_eq!((&*after[0].aggregate_type, &*after[0].event_type, &*after[0].tenant), ("notes", "NoteTaken", "acme"));
    assert_eq!(after[2].commit_id, after[0].commit_id, "one commit stays one");
    for (one, other) in before.iter().zip(&after) {
        assert_eq!(
            (one.id, &one.data, &one.tags, one.created_at, one.version),
            (other.id, &other.data, &other.tags, other.created_at, other.version)
        );
    }
    store.append("list", "a", 3, notes(4..=5)).unwrap();
    let again = run(&settings);
    assert_eq!((again.appended, again.skipped), (2, 4));
    assert_eq!(run(&settings).appended, 0);

    let without = Store::in_memory().unwrap();
    let third = |event: &foldlog::RecordedEvent| event.version != 2;
    let events = || store.read(Query::matching(Filter::new().aggregate_type("list")));
    let error = without.copy_from(events(), third, &Import::new(), go_on).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    without.copy_from(events(), third, &Import::new().any_version(), go_on).unwrap();
    assert_eq!(without.version("list", "a").unwrap(), 4);
    let stopped = Store::in_memory().unwrap().copy_from(events(), |_| true, &Import::new(), |_| ControlFlow::Break(())).unwrap();
    assert_eq!((stopped.appended, stopped.finished), (3, false), "after a whole commit");
}
