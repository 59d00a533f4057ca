//! Folds that ask for an event's version, time, position and metadata, and events that are not stored as they were given.

use chrono::{DateTime, Utc};
use foldlog::{Aggregate, Clock, EventContext, Expected, Metadata, Position, SnapshotPolicy, Version};
use serde::{Deserialize, Serialize};

use crate::domain::{AccountEvent, deposits};
use crate::support::{Place, at, fast};

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Ledger {
    lines: Vec<(Version, Position, DateTime<Utc>, Option<String>)>,
    plain: u64,
}

impl Aggregate for Ledger {
    const TYPE: &'static str = "account";
    const WANTS_CONTEXT: bool = true;
    type Event = AccountEvent;

    fn apply(&mut self, _: AccountEvent) {
        self.plain += 1;
    }

    fn apply_recorded(&mut self, event: AccountEvent, at: &EventContext<'_>) {
        let user = at.metadata().unwrap().user_id;
        self.lines.push((at.version(), at.position(), at.created_at(), user));
        self.apply(event);
    }
}

#[test]
fn every_way_to_a_state_gives_the_same() {
    let place = Place::new();
    let clock = Clock::fixed(at(0));
    let store = fast().clock(clock.clone()).snapshots(SnapshotPolicy::every(3)).open(place.file()).unwrap();
    store.append("other", "x", Expected::Any, [crate::support::noted(1)]).unwrap();
    let ledgers = store.aggregates::<Ledger>().with_metadata(&Metadata::new().user_id("ada")).unwrap();
    for n in 1..=8 {
        clock.set(at(i64::try_from(n).unwrap()));
        let preview = ledgers.preview("a", |_| deposits(1)).unwrap();
        let executed = ledgers.execute("a", |_| deposits(1)).unwrap();
        assert_eq!(preview.state, executed.state);
        assert_eq!((executed.state.plain, executed.version.get()), (n, n));
        let last = executed.state.lines.last().unwrap();
        assert_eq!(*last, (n.into(), (n + 1).into(), at(i64::try_from(n).unwrap()), Some("ada".to_owned())));
        assert_eq!(ledgers.replay("a").unwrap().state, executed.state);
        assert_eq!(ledgers.without_snapshots().replay("a").unwrap().state, executed.state);
    }
    assert!(ledgers.latest_snapshot("a").unwrap().is_some_and(|snapshot| snapshot.version >= 3), "snapshots are made as ever");
    assert_eq!(ledgers.replay_to_time("a", at(5)).unwrap().state.lines.len(), 5);
    assert_eq!(ledgers.replay_to_version("a", 4).unwrap().state.lines.len(), 4);
    assert!(ledgers.verify_snapshots(|_| std::ops::ControlFlow::Continue(())).unwrap().is_clean());
}

/// Not stored as it is given: one field is skipped, the other rounded.
#[derive(Serialize, Deserialize)]
enum Lossy {
    Skipped {
        n: u64,
        #[serde(skip)]
        cached: u64,
    },
    Timed(#[serde(with = "chrono::serde::ts_seconds")] DateTime<Utc>),
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Sum {
    sum: u64,
    last: Option<DateTime<Utc>>,
}

impl Aggregate for Sum {
    const TYPE: &'static str = "sum";
    type Event = Lossy;

    fn apply(&mut self, event: Lossy) {
        match event {
            Lossy::Skipped { n, cached } => self.sum += n + cached,
            Lossy::Timed(time) => self.last = Some(time),
        }
    }
}

#[test]
fn what_is_folded_is_what_was_stored() {
    let place = Place::new();
    let store = fast().snapshots(SnapshotPolicy::every(1)).open(place.file()).unwrap();
    let sums = store.aggregates::<Sum>();
    let time = at(1) + chrono::TimeDelta::milliseconds(250);
    let events = || [Lossy::Skipped { n: 1, cached: 41 }, Lossy::Timed(time)];
    assert_eq!(sums.preview("a", |_| events()).unwrap().state.sum, 1);
    let executed = sums.execute("a", |_| events()).unwrap();
    assert_eq!(executed.state, Sum { sum: 1, last: Some(at(1)) });
    assert_eq!(sums.replay("a").unwrap().state, executed.state);
    assert_eq!(sums.without_snapshots().replay("a").unwrap().state, executed.state);
}
