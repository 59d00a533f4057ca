//! Payloads do not belong into logs: no Debug, no error and nothing behind an error shows them.

use std::error::Error as _;
use std::fmt::Debug;

use foldlog::{
    Aggregate, Batch, ErrorKind, Expected, Json, Metadata, NewEvent, Query, Rejected, SnapshotReason, SnapshotWarning,
};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::domain::{Account, AccountEvent};
use crate::support::{Place, read, refused};

const CANARY: &str = "c4n4ry-7f3a";

#[track_caller]
fn is_silent(shown: &str) {
    assert!(!shown.contains(CANARY), "{shown}");
}

#[track_caller]
fn debug_is_silent(value: &impl Debug) {
    is_silent(&format!("{value:?}"));
    is_silent(&format!("{value:#?}"));
}

#[track_caller]
fn error_is_silent(error: &foldlog::Error) {
    debug_is_silent(error);
    is_silent(&error.to_string());
    let mut cause = error.source();
    while let Some(error) = cause {
        debug_is_silent(&error);
        is_silent(&error.to_string());
        cause = error.source();
    }
}

fn metadata() -> Metadata {
    Metadata::new().user_id(CANARY).username(CANARY).ip_address(CANARY).user_agent(CANARY).extra("note", CANARY)
}

#[test]
fn events_and_what_holds_them() {
    let place = Place::new();
    let store = place.open();
    let event = NewEvent::new("Noted", &json!({ "text": CANARY })).unwrap().metadata(&metadata()).unwrap();
    debug_is_silent(&metadata());
    debug_is_silent(&event);
    debug_is_silent(&Json::from_serialize(&CANARY).unwrap());
    debug_is_silent(&Batch::new().append("list", "a", Expected::Any, [event.clone()]));
    let lists = store.json_aggregates("list").with_metadata(&Metadata::new().extra("note", CANARY)).unwrap();
    debug_is_silent(&lists);
    lists.append("a", Expected::Any, [event]).unwrap();
    let stored = read(&store, Query::new()).remove(0);
    assert!(stored.data.as_str().contains(CANARY) && stored.metadata.as_ref().unwrap().as_str().contains(CANARY));
    debug_is_silent(&stored);
    lists.create_snapshot("a", SnapshotReason::Manual).unwrap();
    debug_is_silent(&lists.snapshots("a").unwrap());
    debug_is_silent(&store);
}

#[test]
fn data_that_does_not_fit() {
    let place = Place::new();
    let store = place.open();
    let wrong = NewEvent::new("Deposited", &json!({ "cents": CANARY })).unwrap();
    store
        .append("account", "a", 0, [wrong.metadata_json(Json::from_text(format!(r#"{{"userId":["{CANARY}"]}}"#)).unwrap())])
        .unwrap();
    let accounts = store.aggregates::<Account>();
    let error = refused(accounts.replay("a"), ErrorKind::Codec);
    error_is_silent(&error);
    let reason = error.to_string();
    assert!(reason.contains("field `cents`: invalid type: string, expected u64"), "what is wrong is still said: {reason}");

    let stored = read(&store, Query::new()).remove(0);
    error_is_silent(&refused(stored.decode::<AccountEvent>(), ErrorKind::Codec));
    error_is_silent(&refused(stored.data.parse::<u64>(), ErrorKind::Codec));
    error_is_silent(&refused(stored.metadata(), ErrorKind::Codec));
    let executed = accounts.execute("a", |_| [AccountEvent::Closed]).map_err(foldlog::Error::from);
    error_is_silent(&refused(executed.map(drop), ErrorKind::Codec));
    let rebuilt = accounts.replay_each().run(|_, _| Ok::<_, String>(()), |_| std::ops::ControlFlow::Continue(())).unwrap();
    assert_eq!(rebuilt.failed, 1);
    debug_is_silent(&rebuilt);
}

#[test]
fn texts_that_are_not_json() {
    for text in [CANARY.to_owned(), format!(r#"{{"a": {CANARY}}}"#), format!(r#""{CANARY}"#), format!("[\"{CANARY}\"] {CANARY}")]
    {
        error_is_silent(&refused(Json::from_text(text), ErrorKind::Codec));
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
enum Asymmetric {
    Noted {
        #[serde(rename(serialize = "c4n4ry-7f3a"))]
        text: String,
    },
}

#[test]
fn an_event_that_could_not_be_read_back() {
    error_is_silent(&refused(NewEvent::of(&Asymmetric::Noted { text: CANARY.into() }), ErrorKind::Codec));
}

#[derive(Serialize, Deserialize)]
enum OlderEvent {
    Opened { note: String },
}

/// The account of an older program, which forgot to raise the fold version.
#[derive(Default, Serialize, Deserialize)]
struct OlderAccount {
    cents: String,
}

impl Aggregate for OlderAccount {
    const TYPE: &'static str = Account::TYPE;
    type Event = OlderEvent;

    fn fold_name() -> &'static str {
        Account::fold_name()
    }

    fn apply(&mut self, event: OlderEvent) {
        let OlderEvent::Opened { note } = event;
        self.cents = note;
    }
}

#[test]
fn a_snapshot_that_does_not_fit() {
    let place = Place::new();
    let store = place.open();
    let event = NewEvent::new("Opened", &json!({ "owner": "Ada", "note": CANARY })).unwrap();
    store.append("account", "a", 0, [event]).unwrap();
    store.aggregates::<OlderAccount>().create_snapshot("a", SnapshotReason::Manual).unwrap();
    let replayed = store.aggregates::<Account>().replay("a").unwrap();
    assert!(matches!(replayed.warnings[..], [SnapshotWarning { rejected: Rejected::Undecodable(_), .. }]));
    debug_is_silent(&replayed.warnings);
    is_silent(&replayed.warnings[0].to_string());
}
