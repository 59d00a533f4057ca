//! One tenant alone in a file, and the same tenant beside another that uses the same names for everything: each call and
//! each question has the same answer, but for the positions, which are the file's.

use std::fmt::Debug;
use std::ops::ControlFlow::Continue;
use std::time::Duration;

use chrono::{DateTime, Utc};
use foldlog::{
    Clock, Documents, Durability, Error, Expected, Filter, Message, NewEvent, Options, PublishError, Purge, Query, RecordedEvent,
    SnapshotPolicy, SnapshotReason, Store,
};
use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::json;

const KINDS: [&str; 2] = ["list", "book"];
const IDS: [&str; 3] = ["a", "b", "c"];
const TYPES: [&str; 3] = ["Made", "Noted", "Gone"];

#[derive(Clone, Debug)]
enum Call {
    Append { kind: usize, id: usize, event_type: usize, tagged: bool, events: u64 },
    Expect { kind: usize, id: usize, version: u64 },
    Execute { kind: usize, id: usize },
    Snapshot { kind: usize, id: usize },
    DeleteSnapshots { kind: usize, id: usize },
    Expire,
    Purge { kind: usize, before: i64 },
    Subscription,
    SkipOrRemove,
    Outbox { rejects: usize },
    Letters,
    Documents,
    Tick,
}

fn call() -> impl Strategy<Value = Call> {
    let (kind, id, event_type) = (0..KINDS.len(), 0..IDS.len(), 0..TYPES.len());
    prop_oneof![
        6 => (kind.clone(), id.clone(), event_type.clone(), any::<bool>(), 1..5u64)
            .prop_map(|(kind, id, event_type, tagged, events)| Call::Append { kind, id, event_type, tagged, events }),
        1 => (kind.clone(), id.clone(), 0..9u64).prop_map(|(kind, id, version)| Call::Expect { kind, id, version }),
        1 => (kind.clone(), id.clone()).prop_map(|(kind, id)| Call::Execute { kind, id }),
        2 => (kind.clone(), id.clone()).prop_map(|(kind, id)| Call::Snapshot { kind, id }),
        1 => (kind.clone(), id).prop_map(|(kind, id)| Call::DeleteSnapshots { kind, id }),
        2 => Just(Call::Expire),
        1 => (kind, 0..20i64).prop_map(|(kind, before)| Call::Purge { kind, before }),
        1 => Just(Call::Subscription),
        1 => Just(Call::SkipOrRemove),
        1 => event_type.prop_map(|rejects| Call::Outbox { rejects }),
        1 => Just(Call::Letters),
        1 => Just(Call::Documents),
        3 => Just(Call::Tick),
    ]
}

fn at(second: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(1_767_225_600 + second, 0).unwrap()
}

/// A file, its clock, and how often that was set on.
struct File {
    store: Store,
    clock: Clock,
    second: i64,
    _directory: tempfile::TempDir,
}

impl File {
    fn new() -> File {
        let directory = tempfile::tempdir().unwrap();
        let clock = Clock::fixed(at(0));
        let options = Options::new().durability(Durability::Fast).snapshots(SnapshotPolicy::every(6).retain(2));
        let store = options.clock(clock.clone()).open(directory.path().join("store.db")).unwrap();
        File { store, clock, second: 0, _directory: directory }
    }

    /// Does a call for a tenant; what came of it. Tables are the file's, so each tenant gives its own a name.
    fn call(&mut self, tenant: &str, call: &Call) -> String {
        let store = self.store.tenant(tenant);
        let lists = |kind: usize| store.json_aggregates(KINDS[kind]);
        let event = |event_type: usize| NewEvent::new(TYPES[event_type], &json!({ "of": tenant.len() })).unwrap();
        match *call {
            Call::Append { kind, id, event_type, tagged, events } => {
                let event = || if tagged { event(event_type).tag("red") } else { event(event_type) };
                let events = (0..events).map(|_| event());
                told(lists(kind).append(IDS[id], Expected::Any, events).map(|appended| appended.version))
            }
            Call::Expect { kind, id, version } => {
                told(lists(kind).append(IDS[id], version, [event(0)]).map(|appended| appended.version))
            }
            Call::Execute { kind, id } => {
                let executed = lists(kind).execute(IDS[id], |_| Ok::<_, Error>([event(1)]));
                told(executed.map(|executed| (executed.state, executed.version)).map_err(foldlog::ExecuteError::flatten))
            }
            Call::Snapshot { kind, id } => told(lists(kind).create_snapshot(IDS[id], SnapshotReason::Manual)),
            Call::DeleteSnapshots { kind, id } => told(lists(kind).delete_snapshots(IDS[id])),
            Call::Expire => told(store.maintenance().expire_snapshots(Duration::ZERO, |_| Continue(()))),
            Call::Purge { kind, before } => {
                told(store.maintenance().purge(Purge::created_before(at(before)).aggregate_type(KINDS[kind]).fold(&lists(kind))))
            }
            Call::Subscription => told(store.subscription("s").run_to_end(|event| match &*event.event_type {
                "Gone" => Err("gone".into()),
                _ => Ok(()),
            })),
            Call::SkipOrRemove => match store.subscription("s").skip_failed() {
                Ok(_) => "skipped".to_owned(),
                Err(_) => told(store.subscription("s").remove()),
            },
            Call::Outbox { rejects } => told(outbox(&store, TYPES[rejects])),
            Call::Letters => told(store.outbox("o").dead_letters().and_then(|letters| letters.discard_all())),
            Call::Documents => told(store.projection(documents(&table(tenant))).and_then(|runner| runner.run_to_end())),
            Call::Tick => {
                self.second += 1;
                self.clock.set(at(self.second));
                String::new()
            }
        }
    }

    /// All that can be asked for a tenant.
    fn answers(&self, tenant: &str) -> Vec<String> {
        let store = self.store.tenant(tenant);
        let mut answers = vec![told(store.aggregate_types()), told(store.statistics()), told(store.snapshot_statistics())];
        for query in [
            Query::new(),
            Query::new().newest_first(),
            Query::matching(Filter::new().tag("red")),
            Query::matching(Filter::new().event_type("Noted").event_type("Gone")),
            Query::matching(Filter::new().from(at(3)).to(at(9))),
            Query::matching(Filter::new().aggregate_type("list")).limit(5),
        ] {
            answers.push(events(&store, query));
        }
        for kind in KINDS {
            let lists = store.json_aggregates(kind);
            answers.push(told(lists.ids().collect::<foldlog::Result<Vec<_>>>()));
            answers.push(told(store.count(Filter::new().aggregate_type(kind).event_type("Made"))));
            answers.push(told(lists.verify_snapshots(|_| Continue(())).map(|report| (report.snapshots, report.damages))));
            for id in IDS {
                answers.push(told(lists.replay(id)));
                answers.push(told(lists.replay_to_time(id, at(5)).map(|replayed| replayed.state)));
                answers.push(told(store.version(kind, id)));
                answers.push(told(store.count(Query::aggregate(kind, id))));
                answers.push(told(lists.snapshots(id)));
                answers.push(events(&store, Query::aggregate(kind, id)));
            }
        }
        answers.push(told(store.documents(&table(tenant)).collect::<foldlog::Result<Vec<_>>>()));
        let statuses = store.subscriptions().unwrap();
        let shown =
            statuses.iter().map(|status| (&status.name, &status.kind, status.failure.as_ref().map(|failure| &failure.reason)));
        answers.push(format!("{:?}", shown.collect::<Vec<_>>()));
        let status = store.outbox("o").status();
        answers.push(told(status.map(|status| (status.to_retry, status.waiting, status.dead))));
        answers.push(told(store.outbox("o").dead_letters().map(|letters| {
            let letters = letters.iter().map(|letter| letter.unwrap());
            letters.map(|letter| (letter.event.map(|event| shown_event(&event)), letter.last_error)).collect::<Vec<_>>()
        })));
        answers
    }
}

fn table(tenant: &str) -> String {
    format!("views_{tenant}")
}

fn outbox(store: &Store, rejects: &str) -> Result<u64, Error> {
    let publish = |message: &Message<'_>| match &*message.event.event_type == rejects {
        true => Err(PublishError::Reject("rejected".into())),
        false => Ok(()),
    };
    store.outbox("o").backoff(Duration::ZERO, Duration::ZERO).publisher(publish).run_to_end()
}

fn documents(table: &str) -> Documents {
    Documents::new(
        table,
        1,
        |event| Some(event.aggregate_id.to_string()),
        |document, event| {
            *document = json!([event.version, document.take()[0]]);
            Ok(())
        },
    )
}

/// A value, or the sort of its error: messages may name positions.
fn told<T: Debug>(result: Result<T, Error>) -> String {
    match result {
        Ok(value) => format!("{value:?}"),
        Err(error) => format!("{:?} {:?}", error.kind(), error.aggregate()),
    }
}

fn shown_event(event: &RecordedEvent) -> String {
    format!(
        "{:?} {} {} {} {:?} {}",
        event.aggregate(),
        event.version,
        event.event_type,
        event.data.as_str(),
        event.tags,
        event.created_at
    )
}

fn events(store: &Store, query: Query) -> String {
    let shown: Result<Vec<String>, Error> = store.read(query).map(|event| event.map(|event| shown_event(&event))).collect();
    told(shown)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, failure_persistence: None, max_shrink_iters: 200, ..ProptestConfig::default() })]

    #[test]
    fn each_is_as_if_it_were_alone(calls in vec((any::<bool>(), call()), 1..40)) {
        let (mut alone, mut together) = (File::new(), File::new());
        for (is_others, call) in &calls {
            // The clock is the file's: it goes on in both.
            if *is_others && !matches!(call, Call::Tick) {
                together.call("other", call);
            } else {
                prop_assert_eq!(alone.call("own", call), together.call("own", call), "{:?}", call);
            }
        }
        prop_assert_eq!(alone.answers("own"), together.answers("own"));
        for event in together.store.tenant("other").read(Query::new()) {
            let id = event.unwrap().id;
            prop_assert_eq!(together.store.tenant("own").event(id).unwrap(), None);
        }
        let report = together.store.maintenance().verify(|_| Continue(())).unwrap();
        prop_assert!(report.is_clean());
    }
}
