//! Projections: given events, then rows, however the events arrive.

use std::collections::HashSet;
use std::fmt;
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, PoisonError};

use chrono::DateTime;
use serde_json::Value;

use super::{Fixture, difference, unexpected};
use crate::rusqlite::types::ValueRef;
use crate::rusqlite::{self, Row};
use crate::{
    Aggregate, Batch, Clock, Error, ErrorKind, Expected, Filter, HandlerError, NewEvent, Options, Position, Projection,
    ReadModel, RecordedEvent, Store,
};

/// A projection and its given events, returned by [`project`].
pub struct Projected<P> {
    projection: Arc<P>,
    appends: Vec<(String, String, Vec<NewEvent>)>,
}

/// Starts with a projection that has seen no events.
///
/// ```
/// use foldlog::{Documents, NewEvent, testing::project};
/// use serde_json::json;
///
/// let balances = Documents::new("balances", 1, |event| Some(event.aggregate_id.to_string()), |account, event| {
///     let cents = account["cents"].as_i64().unwrap_or(0) + event.data.to_value()?["cents"].as_i64().unwrap_or(0);
///     *account = json!({ "cents": cents });
///     Ok(())
/// });
/// project(balances)
///     .given_events("account", "acc-1", [NewEvent::new("Deposited", &json!({"cents": 5}))?])
///     .given_events("account", "acc-1", [NewEvent::new("Deposited", &json!({"cents": 7}))?])
///     .then_rows("SELECT key, document ->> 'cents' FROM balances", json!([["acc-1", 12]]));
/// # Ok::<(), foldlog::Error>(())
/// ```
pub fn project<P: Projection>(projection: P) -> Projected<P> {
    Projected { projection: Arc::new(projection), appends: Vec::new() }
}

impl<P> fmt::Debug for Projected<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Projected").field("appends", &self.appends.len()).finish_non_exhaustive()
    }
}

impl<P: Projection> Projected<P> {
    /// Adds events of an aggregate, in one append.
    #[track_caller]
    pub fn given<A: Aggregate>(self, aggregate_id: &str, events: impl IntoIterator<Item = A::Event>) -> Projected<P> {
        let events: Result<Vec<NewEvent>, Error> = events.into_iter().map(|event| NewEvent::of(&event)).collect();
        match events {
            Ok(events) => self.given_events(A::TYPE, aggregate_id, events),
            Err(error) => unexpected("an event cannot be stored", &error),
        }
    }

    /// Adds events of an aggregate without Rust types, in one append.
    pub fn given_events(
        mut self,
        aggregate_type: &str,
        aggregate_id: &str,
        events: impl IntoIterator<Item = NewEvent>,
    ) -> Projected<P> {
        self.appends.push((aggregate_type.to_owned(), aggregate_id.to_owned(), events.into_iter().collect()));
        self
    }

    /// Expects the query to return these rows, an array of arrays. A blob is the text of its SQL literal, such as
    /// `"X'00FF'"`. The query should have an ORDER BY.
    ///
    /// The events are projected in every way: inside the append; following it; following it with a crash at each event,
    /// so that each comes twice; and by a rebuild. The rows must be the same each time. An event without a time has
    /// that of 1970-01-01T00:00:00Z.
    #[track_caller]
    pub fn then_rows(self, sql: &str, expected: Value) -> Projected<P> {
        let Value::Array(expected) = expected else {
            panic!("the expected rows are not an array of arrays: {expected}");
        };
        // Events without a time get this one, so that expected rows can contain it.
        let options = Options::new().clock(Clock::fixed(DateTime::UNIX_EPOCH));
        let log = Fixture::with_options(options.clone(), |store| self.append_to(store));
        let nothing = Fixture::with_options(options, |_| Ok::<(), Error>(()));
        type Way<P> = fn(&Projected<P>, Store) -> Result<Store, Error>;
        let ways: [(&str, Store, Way<P>); 4] = [
            ("in the append", nothing.store(), Projected::in_the_append),
            ("following", log.store(), Projected::following),
            ("following, each event twice", log.store(), Projected::dying),
            ("rebuilt", log.store(), Projected::rebuilt),
        ];
        for (way, store, run) in ways {
            let rows = match run(&self, store).and_then(|store| store.query_read_model(sql, [], row)) {
                Ok(rows) => rows,
                Err(error) => unexpected(&format!("the projection or the query failed ({way})"), &error),
            };
            if rows != expected {
                panic!(
                    "the projection has other rows than expected ({way}; - expected, + there, = both):{}",
                    difference(&printed(&expected), &printed(&rows))
                );
            }
        }
        self
    }

    fn append_to(&self, store: &Store) -> Result<(), Error> {
        for (aggregate_type, aggregate_id, events) in &self.appends {
            store.commit(Batch::new().append(aggregate_type, aggregate_id, Expected::Any, events.clone()))?;
        }
        Ok(())
    }

    fn in_the_append(&self, store: Store) -> Result<Store, Error> {
        store.project_inline(self.shared(None))?;
        self.append_to(&store)?;
        Ok(store)
    }

    fn following(&self, store: Store) -> Result<Store, Error> {
        let runner = store.projection(self.shared(None))?;
        runner.run_to_end()?;
        runner.run_to_end()?;
        Ok(store)
    }

    fn dying(&self, store: Store) -> Result<Store, Error> {
        let runner = store.projection(self.shared(Some(Mutex::default())))?;
        let mut last = Position::ZERO;
        loop {
            match runner.run_to_end() {
                // Each crash must be at an event that was not reached before.
                Err(error) if error.kind() == ErrorKind::Handler && error.position().is_some_and(|at| at > last) => {
                    last = error.position().unwrap_or(last);
                }
                done => return done.map(|_| store),
            }
        }
    }

    fn rebuilt(&self, store: Store) -> Result<Store, Error> {
        let runner = store.projection(self.shared(None))?;
        runner.run_to_end()?;
        runner.rebuild(|_| ControlFlow::Continue(()))?;
        Ok(store)
    }

    fn shared(&self, died_at: Option<Mutex<HashSet<Position>>>) -> Shared<P> {
        Shared { projection: self.projection.clone(), died_at }
    }
}

/// The projection for several runs. It may fail at the end of each event, the first time that it comes.
struct Shared<P> {
    projection: Arc<P>,
    died_at: Option<Mutex<HashSet<Position>>>,
}

impl<P: Projection> Projection for Shared<P> {
    fn name(&self) -> &str {
        self.projection.name()
    }

    fn version(&self) -> u32 {
        self.projection.version()
    }

    fn tables(&self) -> Vec<String> {
        self.projection.tables()
    }

    fn filter(&self) -> Filter {
        self.projection.filter()
    }

    fn create(&self, model: &ReadModel<'_>) -> Result<(), HandlerError> {
        self.projection.create(model)
    }

    fn apply(&self, event: &RecordedEvent, model: &ReadModel<'_>) -> Result<(), HandlerError> {
        self.projection.apply(event, model)?;
        match &self.died_at {
            Some(died_at) if died_at.lock().unwrap_or_else(PoisonError::into_inner).insert(event.position) => {
                Err("died on purpose, for the test".into())
            }
            _ => Ok(()),
        }
    }
}

/// A row as a JSON array.
fn row(row: &Row<'_>) -> rusqlite::Result<Value> {
    (0..row.as_ref().column_count())
        .map(|column| {
            Ok(match row.get_ref(column)? {
                ValueRef::Null => Value::Null,
                ValueRef::Integer(number) => number.into(),
                ValueRef::Real(number) => number.into(),
                ValueRef::Text(text) => String::from_utf8_lossy(text).into(),
                ValueRef::Blob(bytes) => {
                    let hex: String = bytes.iter().map(|byte| format!("{byte:02X}")).collect();
                    format!("X'{hex}'").into()
                }
            })
        })
        .collect()
}

/// Rows in the form in which a message shows and compares them.
fn printed(rows: &[Value]) -> Vec<Shown> {
    rows.iter().map(|row| Shown(row.to_string())).collect()
}

#[derive(PartialEq)]
struct Shown(String);

impl std::fmt::Debug for Shown {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}
