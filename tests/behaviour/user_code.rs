//! A panic in the application's code, wherever the library calls it: nothing of the call is kept, no lock stays behind, and
//! the store works on.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};

use foldlog::{Aggregate, Durability, Expected, FoldError, NewEvent, Options, Query, SnapshotPolicy, SnapshotReason, Store};
use serde::{Deserialize, Serialize, Serializer};
use serde_json::json;

thread_local! {
    static PANICS: Cell<bool> = const { Cell::new(false) };
}

fn panic_if_asked() {
    assert!(!PANICS.get(), "on purpose");
}

#[derive(Default, Deserialize)]
struct Fragile {
    folded: u64,
}

impl Serialize for Fragile {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        panic_if_asked();
        json!({ "folded": self.folded }).serialize(serializer)
    }
}

#[derive(Clone, Serialize, Deserialize)]
enum FragileEvent {
    Happened,
    /// The fold panics at this one.
    Breaks,
}

impl Aggregate for Fragile {
    const TYPE: &'static str = "fragile";
    type Event = FragileEvent;

    fn apply(&mut self, event: FragileEvent) {
        if matches!(event, FragileEvent::Breaks) {
            panic_if_asked();
        }
        self.folded += 1;
    }
}

/// An event that panics when it is written as JSON.
struct Unwritable;

impl Serialize for Unwritable {
    fn serialize<S: Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
        panic!("on purpose")
    }
}

/// Lets the application's code panic in this call, on a thread of its own: what it leaves behind must be in order for all.
#[track_caller]
fn panics<T>(store: &Store, call: impl FnOnce(&Store) -> T + Send) {
    let before = store.last_position().unwrap();
    let outcome = std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            PANICS.set(true);
            catch_unwind(AssertUnwindSafe(|| drop(call(store)))).is_err()
        });
        thread.join().unwrap()
    });
    assert!(outcome, "the call did not panic");
    assert_eq!(store.last_position().unwrap(), before, "something of it was kept");
    works(store);
}

/// Every sort of call works, at once.
#[track_caller]
fn works(store: &Store) {
    let handle = store.aggregates::<Fragile>();
    let before = store.last_position().unwrap().get();
    handle.append("well", Expected::Any, [FragileEvent::Happened]).unwrap();
    handle.execute("well", |_| [FragileEvent::Happened]).unwrap();
    assert_eq!(handle.replay("well").unwrap().state.folded, handle.version("well").unwrap().get());
    handle.create_snapshot("well", SnapshotReason::Manual).unwrap();
    assert_eq!(store.read(Query::new()).count() as u64, before + 2);
}

fn store(name: &str, directory: &tempfile::TempDir) -> Store {
    let options = Options::new().durability(Durability::Fast).snapshots(SnapshotPolicy::every(5));
    let store = options.open(directory.path().join(name)).unwrap();
    let handle = store.aggregates::<Fragile>();
    handle.append("ill", Expected::New, [FragileEvent::Happened, FragileEvent::Breaks]).unwrap();
    store
}

#[test]
fn in_the_fold() {
    let directory = tempfile::tempdir().unwrap();
    let store = store("fold.db", &directory);
    panics(&store, |store| store.aggregates::<Fragile>().replay("ill").map(drop));
    panics(&store, |store| store.aggregates::<Fragile>().replay_to_version("ill", 2).map(drop));
    panics(&store, |store| store.aggregates::<Fragile>().create_snapshot("ill", SnapshotReason::Manual));
    panics(&store, |store| {
        store
            .aggregates::<Fragile>()
            .replay_each()
            .run(|_, _| Ok::<(), String>(()), |_| std::ops::ControlFlow::Continue(()))
            .map(drop)
    });
    panics(&store, |store| store.aggregates::<Fragile>().execute("ill", |_| [FragileEvent::Happened]).map(drop));
    panics(&store, |store| {
        let fold = |_: &mut serde_json::Value, _: &str, _: &serde_json::Value| -> Result<(), FoldError> { panic!("on purpose") };
        store.json_aggregates("fragile").fold_with("breaks", 1, fold).replay("ill").map(drop)
    });
}

#[test]
fn in_the_decision() {
    let directory = tempfile::tempdir().unwrap();
    let store = store("decision.db", &directory);
    panics(&store, |store| {
        let decide = |_: &Fragile| -> [FragileEvent; 1] { panic!("on purpose") };
        store.aggregates::<Fragile>().execute("well", decide).map(drop)
    });
    panics(&store, |store| {
        // The events are an iterator that panics half way.
        let decide = |_: &Fragile| {
            Ok::<_, foldlog::Error>((0..2).map(|n| if n == 0 { FragileEvent::Happened } else { panic!("on purpose") }))
        };
        store.aggregates::<Fragile>().execute("well", decide).map(drop)
    });
}

#[test]
fn in_the_writing_of_an_event_or_a_state() {
    let directory = tempfile::tempdir().unwrap();
    let store = store("writing.db", &directory);
    panics(&store, |store| {
        store.append("fragile", "well", Expected::Any, [NewEvent::new("Never", &Unwritable).unwrap()]).map(drop)
    });
    panics(&store, |store| {
        let events = (0..3).map(|n| if n < 2 { FragileEvent::Happened } else { panic!("on purpose") });
        store.aggregates::<Fragile>().append("well", Expected::Any, events).map(drop)
    });
    // The snapshot's state cannot be written: by a call that is about nothing else.
    store.aggregates::<Fragile>().append("snapshot", Expected::New, vec![FragileEvent::Happened; 4]).unwrap();
    panics(&store, |store| store.aggregates::<Fragile>().create_snapshot("snapshot", SnapshotReason::Manual));
}

#[test]
fn in_callbacks() {
    let directory = tempfile::tempdir().unwrap();
    let store = store("callbacks.db", &directory);
    panics(&store, |store| store.maintenance().verify(|_| panic!("on purpose")).map(drop));
    panics(&store, |store| {
        let each = |_: &str, _: &foldlog::Replayed<Fragile>| -> Result<(), String> { panic!("on purpose") };
        store.aggregates::<Fragile>().replay_each().run(each, |_| std::ops::ControlFlow::Continue(())).map(drop)
    });
    panics(&store, |store| {
        let mut events = store.read(Query::new());
        drop(events.next());
        panic!("on purpose, between two events");
    });
}

/// An append that was committed is not undone by a snapshot that panics after it: the panic comes out, the events stay.
#[test]
fn in_a_snapshot_that_an_append_makes() {
    let directory = tempfile::tempdir().unwrap();
    let store = store("automatic.db", &directory);
    let handle = store.aggregates::<Fragile>();
    let outcome = std::thread::scope(|scope| {
        let append = || {
            PANICS.set(true);
            catch_unwind(AssertUnwindSafe(|| handle.append("well", Expected::Any, vec![FragileEvent::Happened; 6]).map(drop)))
        };
        scope.spawn(append).join().unwrap()
    });
    assert!(outcome.is_err());
    assert_eq!(handle.version("well").unwrap(), 6);
    works(&store);
}
