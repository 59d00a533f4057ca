use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use foldlog::rusqlite::params;
use foldlog::{ErrorKind, HandlerError, Position, Projection, ReadModel, RecordedEvent, StopReason, Store};

use super::{count, count_at_once, store};

/// Sums and counts for each counter; can be told to fail.
#[derive(Clone, Default)]
pub struct Sums {
    version: u32,
    /// Fails at this position; 0 = never.
    poison: Arc<AtomicU64>,
    panics: Arc<AtomicBool>,
}

impl Sums {
    pub fn new(version: u32) -> Sums {
        Sums { version, ..Sums::default() }
    }
}

impl Projection for Sums {
    fn name(&self) -> &str {
        "sums"
    }

    fn version(&self) -> u32 {
        self.version
    }

    fn tables(&self) -> Vec<String> {
        vec!["sums".into()]
    }

    fn create(&self, model: &ReadModel<'_>) -> Result<(), HandlerError> {
        model.execute_batch(
            "CREATE TABLE {sums} (counter TEXT PRIMARY KEY, total INTEGER NOT NULL, events INTEGER NOT NULL) STRICT;
             CREATE INDEX {sums_by_total} ON {sums} (total)",
        )?;
        Ok(())
    }

    fn apply(&self, event: &RecordedEvent, model: &ReadModel<'_>) -> Result<(), HandlerError> {
        // The version is in the result, so that a test sees which definition made it.
        let n = event.data.to_value()?["n"].as_u64().ok_or("no number")? * u64::from(self.version);
        model.execute(
            "INSERT INTO {sums} VALUES (?1, ?2, 1) ON CONFLICT DO UPDATE SET total = total + ?2, events = events + 1",
            params![&*event.aggregate_id, n],
        )?;
        if event.position == self.poison.load(Ordering::Relaxed) {
            if self.panics.load(Ordering::Relaxed) {
                panic!("on purpose");
            }
            return Err("poison".into());
        }
        Ok(())
    }
}

/// (total, events) over all counters.
fn totals(store: &Store) -> (u64, u64) {
    let sql = "SELECT coalesce(sum(total), 0), coalesce(sum(events), 0) FROM sums";
    store.query_read_model(sql, [], |row| Ok((row.get(0)?, row.get(1)?))).unwrap()[0]
}

fn sum(to: u64) -> u64 {
    (0..to).sum()
}

#[test]
fn run_to_end_takes_each_event_once() {
    let (directory, store) = store();
    count(&store, 0, 700);
    let runner = store.projection(Sums::new(1)).unwrap();
    assert_eq!(runner.run_to_end().unwrap(), 700);
    assert_eq!(runner.run_to_end().unwrap(), 0);
    assert_eq!(totals(&store), (sum(700), 700));
    drop((runner, store));
    let store = Store::open(directory.path().join("events.db")).unwrap();
    count(&store, 700, 710);
    assert_eq!(store.projection(Sums::new(1)).unwrap().run_to_end().unwrap(), 10);
    assert_eq!(totals(&store), (sum(710), 710));
}

#[test]
fn a_follower_keeps_up() {
    let (_directory, store) = store();
    let follower = store.projection(Sums::new(1)).unwrap().follow().unwrap();
    count(&store, 0, 200);
    store.subscription("sums").wait_until(Position::new(200), Duration::from_secs(20)).unwrap();
    assert_eq!(totals(&store), (sum(200), 200));
    assert!(matches!(follower.stop(), StopReason::Stopped));
}

#[test]
fn inline_is_there_when_the_append_returns_and_catches_up_first() {
    let (directory, store) = store();
    count(&store, 0, 30);
    store.project_inline(Sums::new(1)).unwrap();
    assert_eq!(totals(&store), (sum(30), 30));
    for n in 30..60 {
        count(&store, n, n + 1);
        assert_eq!(totals(&store), (sum(n + 1), n + 1));
    }
    // A store that does not know the projection appends; the next append of one that does takes it up.
    let other = Store::open(directory.path().join("events.db")).unwrap();
    count(&other, 60, 70);
    assert_eq!(totals(&store).1, 60);
    count(&store, 70, 71);
    assert_eq!(totals(&store), (sum(71), 71));
}

/// As when an application's processes start together: they once got in each other's way while they caught up.
#[test]
fn several_begin_to_project_inline_at_once() {
    for _ in 0..20 {
        let (directory, store) = store();
        count(&store, 0, 30);
        let begin = std::sync::Barrier::new(4);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    let store = Store::open(directory.path().join("events.db")).unwrap();
                    begin.wait();
                    store.project_inline(Sums::new(1)).unwrap();
                });
            }
        });
        assert_eq!(totals(&store), (sum(30), 30));
    }
}

#[test]
fn a_failing_inline_projection_fails_the_append_as_a_whole() {
    let (_directory, store) = store();
    let sums = Sums::new(1);
    store.project_inline(sums.clone()).unwrap();
    count(&store, 0, 5);
    sums.poison.store(6, Ordering::Relaxed);
    for panics in [false, true] {
        sums.panics.store(panics, Ordering::Relaxed);
        let error = store.append("counter", "c-9", foldlog::Expected::Any, [super::event(5)]).unwrap_err();
        assert_eq!((error.kind(), error.position()), (ErrorKind::Handler, Some(Position::new(6))));
        assert_eq!((store.last_position().unwrap(), totals(&store)), (Position::new(5), (sum(5), 5)));
    }
    sums.poison.store(0, Ordering::Relaxed);
    count(&store, 5, 6);
    assert_eq!(totals(&store), (sum(6), 6));
}

#[test]
fn a_poison_event_stops_only_its_projection_and_can_be_skipped() {
    let (_directory, store) = store();
    let sums = Sums::new(1);
    count(&store, 0, 400);
    sums.poison.store(333, Ordering::Relaxed);
    let runner = store.projection(sums.clone()).unwrap();
    let error = runner.run_to_end().unwrap_err();
    assert_eq!((error.kind(), error.position()), (ErrorKind::Handler, Some(Position::new(333))));
    assert_eq!(totals(&store), (sum(332), 332), "all before it, nothing of it");
    let status = store.subscriptions().unwrap().remove(0);
    let failure = status.failure.unwrap();
    assert_eq!((failure.position, failure.reason.as_str()), (Position::new(333), "poison"));
    assert_eq!(runner.run_to_end().unwrap_err().position(), Some(Position::new(333)), "tried again");
    store.subscription("sums").skip_failed().unwrap();
    assert_eq!(runner.run_to_end().unwrap(), 67);
    assert_eq!(totals(&store), (sum(400) - 332, 399));
}

#[test]
fn a_rebuild_serves_the_old_tables_until_the_new_ones_are_ready() {
    let (_directory, store) = store();
    count_at_once(&store, 0, 5_000);
    store.projection(Sums::new(1)).unwrap().run_to_end().unwrap();
    let new = store.projection(Sums::new(2)).unwrap();
    assert_eq!(new.run_to_end().unwrap_err().kind(), ErrorKind::ProjectionOutdated);
    let (mut steps, mut appended) = (0, 5_000);
    let done = new
        .rebuild(|progress| {
            steps += 1;
            if !progress.finished {
                assert_eq!(totals(&store), (sum(5_000), 5_000), "the old tables serve");
                if appended < 5_050 {
                    count(&store, appended, appended + 1);
                    appended += 1;
                }
            }
            ControlFlow::Continue(())
        })
        .unwrap();
    assert!(done.finished && steps > 1, "{steps} steps");
    assert_eq!(totals(&store), (2 * sum(appended), appended), "the tail was taken up");
    assert_eq!(store.subscriptions().unwrap()[0].version, 2);
    count(&store, appended, appended + 5);
    assert_eq!(new.run_to_end().unwrap(), 5);
    // Again, so that names of indexes do not collide.
    for _ in 0..3 {
        new.rebuild(|_| ControlFlow::Continue(())).unwrap();
        assert_eq!(totals(&store), (2 * sum(appended + 5), appended + 5));
    }
    let tables = "SELECT name FROM sqlite_schema WHERE name LIKE 'sums%' ORDER BY name";
    let names: Vec<String> = store.query_read_model(tables, [], |row| row.get(0)).unwrap();
    assert_eq!(names.len(), 2, "nothing is left over: {names:?}");
}

#[test]
fn a_cancelled_rebuild_goes_on_where_it_was() {
    let (directory, store) = store();
    count_at_once(&store, 0, 5_000);
    store.projection(Sums::new(1)).unwrap().run_to_end().unwrap();
    let cancelled = store.projection(Sums::new(2)).unwrap().rebuild(|_| ControlFlow::Break(())).unwrap();
    assert!(!cancelled.finished && cancelled.events > 0);
    drop(store);
    let store = Store::open(directory.path().join("events.db")).unwrap();
    let done = store.projection(Sums::new(2)).unwrap().rebuild(|_| ControlFlow::Continue(())).unwrap();
    assert_eq!(done.events + cancelled.events, 5_000);
    assert_eq!(totals(&store), (2 * sum(5_000), 5_000));
}

#[test]
fn tables_that_would_be_in_the_way_are_refused() {
    struct Named(&'static str);
    impl Projection for Named {
        fn name(&self) -> &str {
            "named"
        }
        fn tables(&self) -> Vec<String> {
            vec![self.0.into()]
        }
        fn create(&self, _: &ReadModel<'_>) -> Result<(), HandlerError> {
            Ok(())
        }
        fn apply(&self, _: &RecordedEvent, _: &ReadModel<'_>) -> Result<(), HandlerError> {
            Ok(())
        }
    }
    let (_directory, store) = store();
    for name in ["events", "Snapshots", "sqlite_x", "a b", "a\"b", "", "a__b", "1a", "foldlog_x"] {
        assert_eq!(store.projection(Named(name)).unwrap_err().kind(), ErrorKind::InvalidInput, "{name}");
    }
}
