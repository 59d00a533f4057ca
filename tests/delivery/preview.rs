use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use foldlog::rusqlite::params;
use foldlog::{
    ChangeKind, Documents, ErrorKind, Expected, HandlerError, NewEvent, Options, Projection, ReadModel, RecordedEvent,
    SnapshotPolicy, Store,
};
use serde_json::{Value, json};

use super::store;

/// Stock by article, with a log of what was moved; writes with every statement that changes rows.
struct Stock;

impl Projection for Stock {
    fn name(&self) -> &str {
        "stock"
    }

    fn tables(&self) -> Vec<String> {
        vec!["stock".into(), "moves".into()]
    }

    fn create(&self, model: &ReadModel<'_>) -> Result<(), HandlerError> {
        Ok(model.execute_batch(
            "CREATE TABLE {stock} (article TEXT PRIMARY KEY, \"on hand\" INTEGER NOT NULL, mark BLOB) STRICT;
             CREATE TABLE {moves} (article TEXT, amount INTEGER) STRICT;",
        )?)
    }

    fn apply(&self, event: &RecordedEvent, model: &ReadModel<'_>) -> Result<(), HandlerError> {
        let article = &*event.aggregate_id;
        let amount = event.data.to_value()?["amount"].as_i64().unwrap_or(0);
        match &*event.event_type {
            "Moved" => {
                model.execute("INSERT INTO {moves} VALUES (?1, ?2)", params![article, amount])?;
                model.execute(
                    "INSERT INTO {stock} VALUES (?1, ?2, x'00FF') ON CONFLICT DO UPDATE SET \"on hand\" = \"on hand\" + ?2",
                    params![article, amount],
                )?;
            }
            "Counted" => {
                model.execute("REPLACE INTO {stock} VALUES (?1, ?2, NULL)", params![article, amount])?;
            }
            "Dropped" => {
                model.execute("DELETE FROM {stock} WHERE article = ?1", params![article])?;
            }
            "Refused" => return Err("no such article".into()),
            _ => {}
        }
        Ok(())
    }
}

fn event(event_type: &str, amount: i64) -> NewEvent {
    NewEvent::new(event_type, &json!({ "amount": amount })).unwrap()
}

/// Everything in a file that a preview must leave alone.
fn contents(store: &Store) -> HashMap<String, Vec<String>> {
    let names = "SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name";
    let tables: Vec<String> = store.query_read_model(names, [], |row| row.get(0)).unwrap();
    let rows = |table: &String| {
        let columns = "SELECT group_concat('quote(\"' || name || '\")', '||') FROM pragma_table_info(?1)";
        let columns: String = store.query_read_model(columns, [table], |row| row.get(0)).unwrap().remove(0);
        let sql = format!("SELECT {columns} AS one FROM \"{table}\" ORDER BY one");
        store.query_read_model(&sql, [], |row| row.get(0)).unwrap()
    };
    tables.iter().map(|table| (table.clone(), rows(table))).collect()
}

fn change(change: &foldlog::RowChange) -> (&str, ChangeKind, Option<Value>, Option<Value>) {
    let value = |json: &Option<foldlog::Json>| json.as_ref().map(|json| json.to_value().unwrap());
    (&change.table, change.kind, value(&change.before), value(&change.after))
}

#[test]
fn a_preview_shows_events_state_and_rows_and_leaves_nothing() {
    let (_directory, store) = store();
    store.project_inline(Stock).unwrap();
    let articles = store.json_aggregates("article");
    articles.append("nut", Expected::Any, [event("Moved", 5)]).unwrap();
    let before = contents(&store);
    let preview = articles
        .preview("nut", |state| {
            assert_eq!(state["amount"], 5);
            Ok::<_, foldlog::Error>([event("Moved", 2), event("Counted", 6), event("Counted", 6), event("Dropped", 0)])
        })
        .unwrap();
    assert_eq!((preview.version.get(), preview.state), (5, json!({"amount": 0})));
    let places: Vec<_> = preview.events.iter().map(|e| (e.position.get(), e.version.get(), &*e.event_type)).collect();
    assert_eq!(places, [(2, 2, "Moved"), (3, 3, "Counted"), (4, 4, "Counted"), (5, 5, "Dropped")]);
    let changes: Vec<_> = preview.changes.iter().map(change).collect();
    let row = |on_hand: i64, mark: Value| Some(json!({"article": "nut", "on hand": on_hand, "mark": mark}));
    let (marked, unmarked) = (json!("X'00FF'"), Value::Null);
    let expected = [
        ("moves", ChangeKind::Insert, None, Some(json!({"article": "nut", "amount": 2}))),
        ("stock", ChangeKind::Update, row(5, marked.clone()), row(7, marked.clone())),
        ("stock", ChangeKind::Delete, row(7, marked), None),
        ("stock", ChangeKind::Insert, None, row(6, unmarked.clone())),
        ("stock", ChangeKind::Delete, row(6, unmarked.clone()), None),
        ("stock", ChangeKind::Insert, None, row(6, unmarked.clone())),
        ("stock", ChangeKind::Delete, row(6, unmarked), None),
    ];
    assert_eq!(changes, expected);
    assert_eq!(contents(&store), before);

    // The real thing does just that.
    let done = articles.execute("nut", |_| Ok::<_, foldlog::Error>([event("Moved", 2)])).unwrap();
    assert_eq!(done.appended.unwrap().position, 2);
    assert_eq!(contents(&store)["stock"], ["'nut'7X'00FF'"]);
}

#[test]
fn no_name_is_remembered_that_is_not_in_the_file() {
    for store in [store().1, Store::in_memory().unwrap()] {
        let acme = store.tenant("acme");
        for _ in 0..2 {
            let preview = acme.json_aggregates("new").preview("n", |_| Ok::<_, foldlog::Error>([event("Fresh", 1)])).unwrap();
            assert_eq!(&*preview.events[0].tenant, "acme");
        }
        assert_eq!((store.tenants().unwrap(), acme.aggregate_types().unwrap()), (vec![], vec![]));
        // Other names take the numbers that the preview had; a number remembered under a wrong name would show here.
        store.append("other", "o", Expected::New, [event("Else", 1)]).unwrap();
        acme.append("new", "n", Expected::New, [event("Fresh", 2)]).unwrap();
        let types: Vec<String> =
            store.read(foldlog::Filter::new().all_tenants()).map(|e| e.unwrap().event_type.to_string()).collect();
        assert_eq!(types, ["Else", "Fresh"]);
        assert_eq!(acme.last_position().unwrap(), 2, "no position was used");
    }
}

#[test]
fn nothing_temporary_stays_and_settings_are_as_before() {
    let (_directory, store) = store();
    store.project_inline(Stock).unwrap();
    let articles = store.json_aggregates("article");
    for n in 0..5 {
        articles.preview("nut", |_| Ok::<_, foldlog::Error>([event("Moved", 2)])).unwrap();
        // The next append works on the connection that other writes use: triggers left on it would fire, or fail.
        articles.append("nut", n, [event("Moved", 1)]).unwrap();
    }
    struct Look(Arc<AtomicUsize>);
    impl Projection for Look {
        fn name(&self) -> &str {
            "look"
        }
        fn tables(&self) -> Vec<String> {
            vec!["look".into()]
        }
        fn create(&self, model: &ReadModel<'_>) -> Result<(), HandlerError> {
            Ok(model.execute_batch("CREATE TABLE {look} (n INTEGER) STRICT")?)
        }
        fn apply(&self, _: &RecordedEvent, model: &ReadModel<'_>) -> Result<(), HandlerError> {
            let sql =
                "SELECT (SELECT count(*) FROM sqlite_temp_schema) + (SELECT recursive_triggers FROM pragma_recursive_triggers)";
            let left: usize = model.query_row(sql, [], |row| row.get(0))?.unwrap_or(99);
            self.0.store(left, Ordering::Relaxed);
            Ok(())
        }
    }
    let left = Arc::new(AtomicUsize::new(99));
    store.project_inline(Look(left.clone())).unwrap();
    assert_eq!(left.load(Ordering::Relaxed), 0);
}

#[test]
fn what_fails_fails_as_the_append_would_and_leaves_nothing() {
    let (_directory, store) = store();
    store.project_inline(Stock).unwrap();
    let articles = store.json_aggregates("article");
    articles.append("nut", Expected::Any, [event("Moved", 5)]).unwrap();
    let before = contents(&store);
    let own = articles.preview("nut", |_| Err::<[NewEvent; 0], _>(Box::<dyn std::error::Error>::from("no"))).unwrap_err();
    assert_eq!(own.to_string(), "no");
    let refused = articles.preview("nut", |_| Ok::<_, foldlog::Error>([event("Refused", 1)])).unwrap_err();
    let refused = foldlog::Error::from(refused);
    assert_eq!((refused.kind(), refused.position().unwrap().get()), (ErrorKind::Handler, 2));
    let empty = articles.preview("nut", |_| Ok::<_, foldlog::Error>([event("", 1)])).unwrap_err();
    assert_eq!(foldlog::Error::from(empty).kind(), ErrorKind::InvalidInput);
    let nothing = articles.preview("nut", |_| [] as [NewEvent; 0]).unwrap();
    assert!(nothing.events.is_empty() && nothing.version == 1);
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let _ = articles.preview("nut", |_| -> Result<[NewEvent; 0], foldlog::Error> { panic!("on purpose") });
    }));
    assert!(panicked.is_err());
    assert_eq!(contents(&store), before);
    articles.append("nut", 1, [event("Moved", 1)]).unwrap();
}

#[test]
fn a_conflict_in_between_is_decided_again() {
    let (_directory, store) = store();
    let articles = store.json_aggregates("article");
    let mut calls = 0;
    let preview = articles
        .preview("nut", |_| {
            calls += 1;
            if calls == 1 {
                articles.append("nut", Expected::Any, [event("Moved", 1)])?;
            }
            Ok::<_, foldlog::Error>([event("Moved", 2)])
        })
        .unwrap();
    assert_eq!((calls, preview.version.get(), store.last_position().unwrap().get()), (2, 2, 1));
}

#[test]
fn a_preview_makes_no_snapshot_and_an_event_that_is_there_changes_nothing() {
    let store = Options::new().snapshots(SnapshotPolicy::every(2)).in_memory().unwrap();
    store.project_inline(Documents::new("view", 1, |_| Some("k".into()), |_, _| Ok(()))).unwrap();
    let articles = store.json_aggregates("article");
    let id = uuid::Uuid::new_v4();
    store.append("article", "nut", Expected::Any, [event("A", 1)]).unwrap();
    store.append("article", "nut", Expected::Any, [event("B", 2).id(id)]).unwrap();
    let preview = articles.preview("nut", |_| Ok::<_, foldlog::Error>([event("C", 3)])).unwrap();
    assert_eq!((preview.version.get(), preview.changes.len()), (3, 0));
    assert!(articles.snapshots("nut").unwrap().is_empty());
    let again = articles.preview("nut", |_| Ok::<_, foldlog::Error>([event("B", 2).id(id)])).unwrap();
    assert_eq!((again.version.get(), again.state, again.events.len()), (2, json!({"amount": 2}), 0));
}
