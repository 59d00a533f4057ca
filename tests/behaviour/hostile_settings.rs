//! What a file could do by itself is switched off on every connection, and what only reads cannot write.

use std::ops::ControlFlow::Continue;
use std::sync::{Arc, Mutex};

use foldlog::{ErrorKind, HandlerError, Projection, Query, ReadModel, RecordedEvent};

use crate::support::{Place, noted, read, refused};

/// What a connection answers: (statement, answer or error).
const ANSWERS: [(&str, &str); 5] = [
    ("SELECT * FROM pragma_trusted_schema", "0"),
    ("PRAGMA cell_size_check", "1"),
    ("PRAGMA mmap_size", "0"),
    // A text in double quotes is a column and never a string.
    ("SELECT \"nothing\"", "no such column"),
    ("SELECT load_extension('x')", "not authorized"),
];

fn answer(result: Result<Vec<String>, impl std::fmt::Debug>) -> String {
    result.map_or_else(|error| format!("{error:?}"), |rows| rows.concat())
}

/// Asks the connection that writes.
#[derive(Clone, Default)]
struct Asking(Arc<Mutex<Vec<String>>>);

impl Projection for Asking {
    fn name(&self) -> &str {
        "asking"
    }

    fn tables(&self) -> Vec<String> {
        vec!["asking".into()]
    }

    fn create(&self, model: &ReadModel<'_>) -> Result<(), HandlerError> {
        Ok(model.execute_batch("CREATE TABLE {asking} (x)")?)
    }

    fn apply(&self, _: &RecordedEvent, model: &ReadModel<'_>) -> Result<(), HandlerError> {
        for (sql, _) in ANSWERS {
            let row = model.query_row(sql, [], |row| row.get::<_, i64>(0));
            self.0.lock().unwrap().push(answer(row.map(|row| row.map(|value| value.to_string()).into_iter().collect())));
        }
        let _ = model.execute_batch("PRAGMA writable_schema = ON");
        let rewritten = model.execute("UPDATE sqlite_schema SET sql = sql || ' ' WHERE name = 'events'", []);
        assert!(rewritten.is_err(), "defensive mode is off");
        Ok(())
    }
}

#[test]
fn on_the_connections_that_read_and_on_the_one_that_writes() {
    let place = Place::new();
    let store = place.open();
    let asking = Asking::default();
    store.project_inline(asking.clone()).unwrap();
    store.append("list", "a", 0, [noted(1)]).unwrap();
    let written = asking.0.lock().unwrap();
    for ((sql, wanted), written) in ANSWERS.iter().zip(&*written) {
        let reading = answer(store.query_read_model(sql, [], |row| row.get::<_, i64>(0).map(|value| value.to_string())));
        assert!(reading.contains(wanted), "{sql}: {reading}");
        assert!(written.contains(wanted), "{sql}: {written}");
    }
}

#[test]
fn a_query_of_read_models_cannot_write() {
    let place = Place::new();
    let store = place.open();
    store.append("list", "a", 0, [noted(1)]).unwrap();
    let run = |sql: &str| store.query_read_model(sql, [], |_| Ok(()));
    for sql in [
        "DELETE FROM events RETURNING key",
        "INSERT INTO tenants (name) VALUES ('x') RETURNING id",
        "DROP TABLE events",
        "CREATE TABLE mine (x)",
        "PRAGMA user_version = 9",
        "VACUUM",
        "REINDEX",
    ] {
        refused(run(sql), ErrorKind::InvalidInput);
        // Nor after the connection was talked into it.
        let _ = run("PRAGMA query_only = OFF");
        refused(run(sql), ErrorKind::InvalidInput);
    }
    let _ = run("COMMIT");
    let _ = run("BEGIN IMMEDIATE");
    store.append("list", "a", 1, [noted(2)]).unwrap();
    assert_eq!(read(&store, Query::new()).len(), 2);
    assert!(store.maintenance().verify(|_| Continue(())).unwrap().is_clean());
}
