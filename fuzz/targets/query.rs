//! Appends and questions of any sort, and the answers of a plain list.
#![no_main]

use arbitrary::Arbitrary;
use chrono::{DateTime, Utc};
use foldlog::{
    Batch, Clock, ErrorKind, Expected, Filter, NewEvent, Options, Purge, Query, Result, SnapshotPolicy, SnapshotReason, Store,
};
use foldlog_fuzz::look_at;
use libfuzzer_sys::fuzz_target;
use serde_json::json;
use std::ops::ControlFlow::Continue;

const TENANTS: [&str; 2] = ["default", "acme"];
const KINDS: [&str; 2] = ["list", "book"];
const IDS: [&str; 3] = ["a", "b", "%"];
const TYPES: [&str; 3] = ["Made", "Noted", "'; --"];
const TAGS: [&str; 2] = ["red", "blue"];

#[derive(Arbitrary, Debug)]
struct Part {
    kind: bool,
    id: u8,
    expected: Belief,
    event_type: u8,
    tag: Option<bool>,
    second: i8,
    events: u8,
}

#[derive(Arbitrary, Debug)]
enum Belief {
    Any,
    New,
    Existing,
    Exactly(u8),
    Huge(u64),
}

#[derive(Arbitrary, Debug)]
enum Call {
    Commit { tenant: bool, parts: Vec<Part> },
    Snapshot { tenant: bool, kind: bool, id: u8 },
    Purge { tenant: bool, before: i8 },
    Read { tenant: bool, question: Question },
    Replay { tenant: bool, kind: bool, id: u8, version: Option<u64> },
}

#[derive(Arbitrary, Debug)]
struct Question {
    kind: Option<bool>,
    id: Option<u8>,
    event_types: Vec<u8>,
    tag: Option<bool>,
    from: Option<i8>,
    to: Option<i8>,
    after_position: Option<u64>,
    up_to_position: Option<u64>,
    after_version: Option<u64>,
    newest_first: bool,
    limit: Option<u8>,
    all_tenants: bool,
}

/// An event as the list holds it.
#[derive(Clone, Debug)]
struct Row {
    position: u64,
    version: u64,
    owner: (&'static str, &'static str, &'static str),
    event_type: &'static str,
    tag: Option<&'static str>,
    second: i8,
}

type Owner = (&'static str, &'static str, &'static str);

fuzz_target!(|calls: Vec<Call>| {
    let options = Options::new().snapshots(SnapshotPolicy::manual()).clock(Clock::fixed(at(0)));
    let mut world = World { store: options.in_memory().expect("a store"), rows: Vec::new(), last: 0, versions: Vec::new() };
    for call in calls.iter().take(24) {
        world.call(call);
    }
    // It costs as much as all the calls.
    if calls.len() % 8 == 7 {
        assert!(world.store.maintenance().verify(|_| Continue(())).expect("a store in memory").is_clean());
    }
});

fn of<const N: usize>(names: [&'static str; N], number: impl Into<usize>) -> &'static str {
    names[number.into() % N]
}

fn at(second: i8) -> DateTime<Utc> {
    DateTime::from_timestamp(1_767_225_600 + i64::from(second), 0).expect("a time")
}

struct World {
    store: Store,
    rows: Vec<Row>,
    last: u64,
    versions: Vec<(Owner, u64)>,
}

impl World {
    fn call(&mut self, call: &Call) {
        match call {
            Call::Commit { tenant, parts } => self.commit(of(TENANTS, *tenant), parts),
            Call::Snapshot { tenant, kind, id } => {
                let handle = self.store.tenant(of(TENANTS, *tenant)).json_aggregates(of(KINDS, *kind));
                if let Err(error) = handle.create_snapshot(of(IDS, *id), SnapshotReason::Manual) {
                    look_at(&error);
                    assert!(matches!(error.kind(), ErrorKind::NotFound | ErrorKind::HistoryRemoved), "{error:?}");
                }
            }
            Call::Purge { tenant, before } => self.purge(of(TENANTS, *tenant), *before),
            Call::Read { tenant, question } => self.read(of(TENANTS, *tenant), question),
            Call::Replay { tenant, kind, id, version } => {
                let owner = (of(TENANTS, *tenant), of(KINDS, *kind), of(IDS, *id));
                self.replay(owner, *version);
            }
        }
    }

    fn version(&self, owner: Owner) -> u64 {
        self.versions.iter().rev().find(|(name, _)| *name == owner).map_or(0, |(_, version)| *version)
    }

    fn commit(&mut self, tenant: &'static str, parts: &[Part]) {
        let mut batch = Batch::new();
        let (mut rows, mut versions, mut refused) = (Vec::new(), self.versions.clone(), false);
        for part in parts.iter().take(4) {
            let owner = (tenant, of(KINDS, part.kind), of(IDS, part.id));
            let count = part.events % 4;
            let mut version = versions.iter().rev().find(|(name, _)| *name == owner).map_or(0, |(_, version)| *version);
            let (expected, right) = match part.expected {
                Belief::Any => (Expected::Any, true),
                Belief::New => (Expected::New, version == 0),
                Belief::Existing => (Expected::Existing, version > 0),
                Belief::Exactly(number) => (u64::from(number).into(), u64::from(number) == version),
                Belief::Huge(number) => (number.into(), number == version),
            };
            refused |= !right || count == 0;
            let (event_type, tag) = (of(TYPES, part.event_type), part.tag.map(|tag| of(TAGS, tag)));
            let mut events = Vec::new();
            for _ in 0..count {
                version += 1;
                let event = NewEvent::new(event_type, &json!({ "n": version })).expect("an event").created_at(at(part.second));
                events.push(if let Some(tag) = tag { event.tag(tag) } else { event });
                let position = self.last + 1 + rows.len() as u64;
                rows.push(Row { position, version, owner, event_type, tag, second: part.second });
            }
            versions.push((owner, version));
            batch = batch.append(owner.1, owner.2, expected, events);
        }
        let done = self.store.tenant(tenant).commit(batch);
        assert_eq!(done.is_ok(), !refused && !parts.is_empty(), "{parts:?}: {done:?}");
        match done {
            Ok(_) => {
                self.last += rows.len() as u64;
                self.rows.extend(rows);
                self.versions = versions;
            }
            Err(error) => {
                look_at(&error);
                assert!(matches!(error.kind(), ErrorKind::Conflict | ErrorKind::InvalidInput), "{error:?}");
            }
        }
    }

    /// Only events at the beginning of an aggregate, older than the time, and with a snapshot at or after them.
    fn purge(&mut self, tenant: &'static str, before: i8) {
        let store = self.store.tenant(tenant);
        let mut removed = 0;
        for kind in KINDS {
            for id in IDS {
                let newest = store.json_aggregates(kind).latest_snapshot(id).expect("a look");
                let covered = newest.map_or(0, |snapshot| snapshot.version.get());
                let mut at_beginning = true;
                let before_purge = self.rows.len();
                self.rows.retain(|row| {
                    let is_of_it = row.owner == (tenant, kind, id);
                    at_beginning &= !is_of_it || (row.second < before && row.version <= covered);
                    !(is_of_it && at_beginning)
                });
                removed += before_purge - self.rows.len();
            }
        }
        let report = store.maintenance().purge(KINDS.iter().fold(Purge::created_before(at(before)), |plan, kind| plan.fold(&store.json_aggregates(kind)))).expect("a purge");
        assert_eq!(report.events_removed, removed as u64);
    }

    fn read(&self, tenant: &'static str, question: &Question) {
        let store = self.store.tenant(tenant);
        let read: Result<Vec<u64>> = store.read(question.query()).map(|event| event.map(|event| event.position.get())).collect();
        let one = question.kind.is_some() && question.id.is_some();
        // Found to be nonsense only where it is looked at: a query for what does not exist is an empty one.
        match read {
            Err(error) => {
                look_at(&error);
                assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error:?}");
                assert!(question.all_tenants && (one || question.tag.is_some()), "{question:?}");
            }
            Ok(read) if !question.all_tenants || !(one || question.tag.is_some()) => {
                assert_eq!(read, question.answer(&self.rows, tenant), "{question:?}");
            }
            Ok(read) => assert_eq!(read, [0; 0], "{question:?}"),
        }
    }

    fn replay(&self, owner: Owner, version: Option<u64>) {
        let handle = self.store.tenant(owner.0).json_aggregates(owner.1);
        let now = self.version(owner);
        let wanted = version.unwrap_or(now);
        let replayed = version.map_or_else(|| handle.replay(owner.2), |version| handle.replay_to_version(owner.2, version));
        match replayed {
            Ok(replayed) => {
                assert_eq!((replayed.version.get(), replayed.state), (wanted, json!({ "n": wanted })));
            }
            Err(error) => {
                look_at(&error);
                let is_there = wanted > 0 && wanted <= now;
                assert_eq!(error.kind(), if is_there { ErrorKind::HistoryRemoved } else { ErrorKind::NotFound }, "{error:?}");
            }
        }
    }
}

impl Question {
    fn query(&self) -> Query {
        let mut filter = Filter::new();
        let mut query = Query::new();
        match (self.kind, self.id) {
            (Some(kind), Some(id)) => query = Query::aggregate(of(KINDS, kind), of(IDS, id)),
            (Some(kind), None) => filter = filter.aggregate_type(of(KINDS, kind)),
            _ => {}
        }
        filter = filter.event_types(self.event_types.iter().map(|event_type| of(TYPES, *event_type)));
        filter = self.tag.map_or(filter.clone(), |tag| filter.tag(of(TAGS, tag)));
        filter = self.from.map_or(filter.clone(), |from| filter.from(at(from)));
        filter = self.to.map_or(filter.clone(), |to| filter.to(at(to)));
        query = query.filter(if self.all_tenants { filter.all_tenants() } else { filter });
        query = self.after_position.map_or(query.clone(), |position| query.after_position(position));
        query = self.up_to_position.map_or(query.clone(), |position| query.up_to_position(position));
        query = self.after_version.map_or(query.clone(), |version| query.after_version(version));
        query = if self.newest_first { query.newest_first() } else { query };
        self.limit.map_or(query.clone(), |limit| query.limit(limit.into()))
    }

    fn answer(&self, rows: &[Row], tenant: &str) -> Vec<u64> {
        let one = self.kind.is_some() && self.id.is_some();
        let wanted = |row: &&Row| {
            (self.all_tenants || row.owner.0 == tenant)
                && self.kind.is_none_or(|kind| row.owner.1 == of(KINDS, kind))
                && (!one || self.id.is_none_or(|id| row.owner.2 == of(IDS, id)))
                && (self.event_types.is_empty() || self.event_types.iter().any(|wanted| of(TYPES, *wanted) == row.event_type))
                && self.tag.is_none_or(|tag| row.tag == Some(of(TAGS, tag)))
                && self.from.is_none_or(|from| row.second >= from)
                && self.to.is_none_or(|to| row.second <= to)
                && self.after_position.is_none_or(|position| row.position > position)
                && self.up_to_position.is_none_or(|position| row.position <= position)
                && (!one || self.after_version.is_none_or(|version| row.version > version))
        };
        let mut found: Vec<u64> = rows.iter().filter(wanted).map(|row| row.position).collect();
        if self.newest_first {
            found.reverse();
        }
        found.truncate(self.limit.map_or(usize::MAX, usize::from));
        found
    }
}
