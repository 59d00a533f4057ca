//! Random logs, and the same questions put to the store and to plain lists.

#[path = "../support/names.rs"]
mod names;

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use foldlog::{Aggregates, Durability, ErrorKind, Expected, Filter, NewEvent, Options, Purge, Query, SnapshotPolicy, Store};
use names::hostile_name;
use proptest::collection::vec;
use proptest::option::of;
use proptest::prelude::*;
use serde_json::{Value, json};

const TENANTS: [&str; 2] = ["default", "acme"];
const KINDS: [&str; 2] = ["list", "book"];
const IDS: [&str; 2] = ["a", "b"];
const TYPES: [&str; 4] = ["Made", "Noted", "Changed", "Gone"];
const TAGS: [&str; 2] = ["red", "blue"];
/// So few that questions often ask for the very first or last time of a block.
const SECONDS: i64 = 16;

fn at(second: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(1_767_225_600 + second, 0).unwrap()
}

fn new_store(options: Options) -> (tempfile::TempDir, Store) {
    let directory = tempfile::tempdir().unwrap();
    let store = options.durability(Durability::Fast).open(directory.path().join("store.db")).unwrap();
    (directory, store)
}

fn config(cases: u32) -> ProptestConfig {
    ProptestConfig { cases, failure_persistence: None, max_shrink_iters: 400, ..ProptestConfig::default() }
}

/// One append: `len` events of one aggregate, mostly of one type and about one time, so that whole blocks of 512
/// positions hold nothing of what a query asks for.
#[derive(Clone, Debug)]
struct Segment {
    tenant: usize,
    kind: usize,
    id: usize,
    event_type: usize,
    second: i64,
    tag: Option<usize>,
    len: u64,
}

#[derive(Clone, Debug)]
enum Step {
    Append(Segment),
    /// Events of the default tenant, at the beginning of an aggregate and older than this.
    Purge(i64),
}

/// What the store must hold.
#[derive(Clone, Debug)]
struct Row {
    position: u64,
    version: u64,
    owner: (usize, usize, usize),
    event_type: usize,
    second: i64,
    tag: Option<usize>,
}

#[derive(Clone, Debug)]
struct Question {
    tenant: usize,
    all_tenants: bool,
    kind: Option<usize>,
    id: Option<usize>,
    event_types: Vec<usize>,
    tag: Option<usize>,
    any_tag: Vec<usize>,
    from: Option<i64>,
    to: Option<i64>,
    after_position: Option<u64>,
    up_to_position: Option<u64>,
    after_version: Option<u64>,
    newest_first: bool,
    limit: Option<u64>,
}

fn segment() -> impl Strategy<Value = Segment> {
    let place = (0..TENANTS.len(), 0..KINDS.len(), 0..IDS.len());
    (place, 0..TYPES.len(), 0..SECONDS, of(0..TAGS.len()), prop_oneof![1..8u64, 1..700u64])
        .prop_map(|((tenant, kind, id), event_type, second, tag, len)| Segment { tenant, kind, id, event_type, second, tag, len })
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![6 => segment().prop_map(Step::Append), 1 => (0..SECONDS).prop_map(Step::Purge)]
}

fn question() -> impl Strategy<Value = Question> {
    let scope = (0..TENANTS.len(), any::<bool>(), of(0..KINDS.len()), of(0..IDS.len()));
    let content = (vec(0..TYPES.len(), 0..3), of(0..TAGS.len()), vec(0..TAGS.len(), 0..3), of(0..SECONDS), of(0..SECONDS));
    let places = (of(0..2_500u64), of(0..2_500u64), of(0..800u64), any::<bool>(), of(0..600u64));
    (scope, content, places).prop_map(|((tenant, all_tenants, kind, id), (event_types, tag, any_tag, from, to), places)| {
        let (after_position, up_to_position, after_version, newest_first, limit) = places;
        let id = id.filter(|_| kind.is_some());
        // These two are refused together with all_tenants; see tests/behaviour/reading.rs.
        let all_tenants = all_tenants && id.is_none() && tag.is_none() && any_tag.is_empty();
        let after_version = after_version.filter(|_| id.is_some());
        Question {
            tenant,
            all_tenants,
            kind,
            id,
            event_types,
            tag,
            any_tag,
            from,
            to,
            after_position,
            up_to_position,
            after_version,
            newest_first,
            limit,
        }
    })
}

impl Segment {
    fn rows(&self, after: u64, version: u64) -> Vec<Row> {
        let row = |n: u64| Row {
            position: after + n,
            version: version + n,
            owner: (self.tenant, self.kind, self.id),
            // Now and then one that is not like the others.
            event_type: if n.is_multiple_of(97) { (self.event_type + 1) % TYPES.len() } else { self.event_type },
            second: if n.is_multiple_of(89) { SECONDS - 1 - self.second } else { self.second + (n % 3) as i64 },
            tag: self.tag.filter(|_| !n.is_multiple_of(5)),
        };
        (1..=self.len).map(row).collect()
    }
}

/// Does the same to the store and to the list.
fn build(store: &Store, steps: &[Step]) -> Vec<Row> {
    let (mut rows, mut last_position) = (Vec::<Row>::new(), 0);
    let mut versions = BTreeMap::new();
    for step in steps {
        match step {
            Step::Append(segment) => {
                let version = versions.entry((segment.tenant, segment.kind, segment.id)).or_insert(0);
                let new = segment.rows(last_position, *version);
                let events = new.iter().map(|row| {
                    let event = NewEvent::new(TYPES[row.event_type], &row.position).unwrap().created_at(at(row.second));
                    row.tag.into_iter().fold(event, |event, tag| event.tag(TAGS[tag]))
                });
                store.tenant(TENANTS[segment.tenant]).append(KINDS[segment.kind], IDS[segment.id], *version, events).unwrap();
                *version += segment.len;
                last_position += segment.len;
                rows.extend(new);
            }
            Step::Purge(before) => {
                let report = store.maintenance().purge(Purge::created_before(at(*before)).even_if_replay_breaks()).unwrap();
                let mut kept = BTreeMap::new();
                let length = rows.len();
                rows.retain(|row| {
                    let stays = kept.entry(row.owner).or_insert(row.owner.0 != 0);
                    *stays |= row.second >= *before;
                    *stays
                });
                assert_eq!(report.events_removed, (length - rows.len()) as u64);
            }
        }
    }
    assert_eq!(store.last_position().unwrap(), last_position);
    assert_eq!(store.file_statistics().unwrap().events, rows.len() as u64);
    rows
}

impl Question {
    fn query(&self) -> Query {
        let mut filter = Filter::new().event_types(self.event_types.iter().map(|event_type| TYPES[*event_type]));
        filter = self.tag.into_iter().fold(filter, |filter, tag| filter.tag(TAGS[tag]));
        filter = self.any_tag.iter().fold(filter, |filter, tag| filter.any_tag([TAGS[*tag]]));
        filter = self.from.into_iter().fold(filter, |filter, second| filter.from(at(second)));
        filter = self.to.into_iter().fold(filter, |filter, second| filter.to(at(second)));
        filter = if self.all_tenants { filter.all_tenants() } else { filter };
        let mut query = match (self.kind, self.id) {
            (Some(kind), Some(id)) => Query::aggregate(KINDS[kind], IDS[id]).filter(filter),
            (Some(kind), None) => Query::matching(filter.aggregate_type(KINDS[kind])),
            _ => Query::matching(filter),
        };
        query = self.after_position.into_iter().fold(query, Query::after_position);
        query = self.up_to_position.into_iter().fold(query, Query::up_to_position);
        query = self.after_version.into_iter().fold(query, Query::after_version);
        query = self.limit.into_iter().fold(query, Query::limit);
        if self.newest_first { query.newest_first() } else { query }
    }

    fn wants(&self, row: &Row) -> bool {
        (self.all_tenants || row.owner.0 == self.tenant)
            && self.kind.is_none_or(|kind| row.owner.1 == kind)
            && self.id.is_none_or(|id| row.owner.2 == id)
            && (self.event_types.is_empty() || self.event_types.contains(&row.event_type))
            && self.tag.is_none_or(|tag| row.tag == Some(tag))
            && (self.any_tag.is_empty() || row.tag.is_some_and(|tag| self.any_tag.contains(&tag)))
            && self.from.is_none_or(|from| row.second >= from)
            && self.to.is_none_or(|to| row.second <= to)
            && self.after_position.is_none_or(|after| row.position > after)
            && self.up_to_position.is_none_or(|up_to| row.position <= up_to)
            && self.after_version.is_none_or(|after| row.version > after)
    }

    fn answer(&self, rows: &[Row]) -> Vec<(u64, u64)> {
        let wanted = rows.iter().filter(|row| self.wants(row)).map(|row| (row.position, row.version));
        let mut wanted: Vec<_> = wanted.collect();
        if self.newest_first {
            wanted.reverse();
        }
        wanted.truncate(self.limit.map_or(usize::MAX, |limit| limit as usize));
        wanted
    }
}

proptest! {
    #![proptest_config(config(40))]

    #[test]
    fn every_query_answers_as_a_list_would(steps in vec(step(), 1..9), questions in vec(question(), 30)) {
        let (_directory, store) = new_store(Options::new());
        let rows = build(&store, &steps);
        for question in &questions {
            let store = store.tenant(TENANTS[question.tenant]);
            let events = store.read(question.query()).map(|event| event.unwrap());
            let found: Vec<_> = events.map(|event| (event.position.get(), event.version.get())).collect();
            prop_assert_eq!(found, question.answer(&rows), "{:?}", question);
        }
        for (tenant, name) in TENANTS.iter().enumerate() {
            let store = store.tenant(name);
            let own = || rows.iter().filter(|row| row.owner.0 == tenant);
            let mut by_type = BTreeMap::new();
            own().for_each(|row| *by_type.entry(TYPES[row.event_type].to_owned()).or_insert(0) += 1);
            prop_assert_eq!(&store.statistics().unwrap().events_by_type, &by_type);
            for (number, event_type) in TYPES.iter().enumerate() {
                let of_type = |row: &&Row| row.event_type == number && row.owner.1 == 0;
                let in_list = own().filter(of_type).count() as u64;
                let in_a = own().filter(of_type).filter(|row| row.owner.2 == 0).count() as u64;
                prop_assert_eq!(store.count(Filter::new().aggregate_type("list").event_type(*event_type)).unwrap(), in_list);
                prop_assert_eq!(store.count(Query::aggregate("list", "a").filter(Filter::new().event_type(*event_type))).unwrap(), in_a);
            }
        }
    }
}

/// A fold in which every event and its order counts.
fn chained(store: &Store) -> Aggregates<Value> {
    store.json_aggregates("chain").fold_with("chain", 1, |state, _, data| {
        *state = json!(mix(state.as_u64().unwrap_or(7), data.as_u64().unwrap_or(0)));
        Ok(())
    })
}

fn mix(state: u64, n: u64) -> u64 {
    (state * 31 + n) % 1_000_003
}

fn folded(events: impl IntoIterator<Item = u64>) -> Option<Value> {
    events.into_iter().fold(None, |state, n| Some(mix(state.unwrap_or(7), n))).map(Value::from)
}

#[derive(Clone, Debug)]
enum Work {
    Append(Vec<(u64, i64)>),
    Execute(Vec<(u64, i64)>),
    Snapshot,
    Replay,
    Forget,
}

fn work() -> impl Strategy<Value = Work> {
    let events = || vec((0..1_000u64, 0..50i64), 1..12);
    prop_oneof![
        4 => events().prop_map(Work::Append),
        3 => events().prop_map(Work::Execute),
        1 => Just(Work::Snapshot),
        1 => Just(Work::Replay),
        1 => Just(Work::Forget),
    ]
}

fn chain_events(events: &[(u64, i64)]) -> Vec<NewEvent> {
    events.iter().map(|(n, second)| NewEvent::new("Added", n).unwrap().created_at(at(*second))).collect()
}

proptest! {
    #![proptest_config(config(60))]

    #[test]
    fn no_snapshot_ever_changes_a_state(works in vec(work(), 1..16), threshold in 1..25u64, retain in 1..4u32) {
        let (_directory, store) = new_store(Options::new().snapshots(SnapshotPolicy::every(threshold).retain(retain)));
        let chains = chained(&store);
        let mut log: Vec<(u64, i64)> = Vec::new();
        for work in works {
            match work {
                Work::Append(events) => {
                    chains.append("c", log.len() as u64, chain_events(&events)).unwrap();
                    log.extend(events);
                }
                Work::Execute(events) => {
                    let executed = chains.execute("c", |_| chain_events(&events)).unwrap();
                    log.extend(events);
                    prop_assert_eq!(Some(executed.state), folded(log.iter().map(|(n, _)| *n)));
                }
                _ if log.is_empty() => {}
                Work::Snapshot => drop(chains.create_snapshot("c", foldlog::SnapshotReason::Manual).unwrap()),
                Work::Replay => drop(chains.replay("c").unwrap()),
                Work::Forget => drop(chains.delete_snapshots("c").unwrap()),
            }
            prop_assert!(chains.snapshots("c").unwrap().len() <= retain as usize);
        }
        for handle in [&chains, &chains.without_snapshots()] {
            for version in 1..=log.len() {
                let state = handle.replay_to_version("c", version as u64).unwrap().state;
                prop_assert_eq!(Some(state), folded(log[..version].iter().map(|(n, _)| *n)));
            }
            for second in -1..=50 {
                let until = || log.iter().filter(|(_, at)| *at <= second);
                match handle.replay_to_time("c", at(second)) {
                    Ok(replayed) => prop_assert_eq!(Some(replayed.state), folded(until().map(|(n, _)| *n))),
                    Err(error) => {
                        prop_assert_eq!(error.kind(), ErrorKind::NotFound);
                        prop_assert_eq!(until().count(), 0);
                    }
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(config(60))]

    #[test]
    fn hostile_names_there_and_back(names in vec(hostile_name(), 5), other in hostile_name()) {
        let (directory, store) = new_store(Options::new());
        let [tenant, kind, id, event_type, tag] = &names[..] else { unreachable!("five were made") };
        let event = |name: &str| NewEvent::new(name, &json!({ name: name })).unwrap().tag(name);
        store.tenant(tenant).append(kind, id, Expected::New, [event(event_type).tag(tag.as_str())]).unwrap();
        // The same again under another name: nothing of it may mix with the first.
        if other != *tenant {
            store.tenant(&other).append(kind, id, Expected::New, [event(event_type).tag(tag.as_str())]).unwrap();
        }
        drop(store);

        let store = Store::open(directory.path().join("store.db")).unwrap().tenant(tenant);
        let found = |query| store.read(query).map(|event| event.unwrap()).collect::<Vec<_>>();
        let all = found(Query::new());
        prop_assert_eq!(all.len(), 1);
        prop_assert_eq!((&*all[0].tenant, &*all[0].aggregate_type, &*all[0].aggregate_id), (tenant.as_str(), kind.as_str(), id.as_str()));
        prop_assert_eq!((&*all[0].event_type, &all[0].tags[..]), (event_type.as_str(), &[event_type.clone(), tag.clone()][..]));
        for query in [Query::aggregate(kind, id), Query::matching(Filter::new().aggregate_type(kind)), Query::matching(Filter::new().event_type(event_type)), Query::matching(Filter::new().tag(tag))] {
            prop_assert_eq!(&found(query), &all);
        }
        if other != *kind && other != *id && other != *event_type && other != *tag {
            for query in [Query::aggregate(kind, &other), Query::aggregate(&other, id), Query::matching(Filter::new().event_type(&other)), Query::matching(Filter::new().tag(&other))] {
                prop_assert_eq!(found(query).len(), 0);
            }
        }
        prop_assert_eq!(store.aggregate_types().unwrap(), vec![kind.clone()]);
        prop_assert!(store.tenants().unwrap().contains(tenant));
        prop_assert_eq!(store.count(Query::aggregate(kind, id).filter(Filter::new().event_type(event_type))).unwrap(), 1);
        let handle = store.json_aggregates(kind);
        prop_assert_eq!(handle.ids().collect::<foldlog::Result<Vec<_>>>().unwrap(), vec![id.clone()]);
        prop_assert_eq!(handle.replay(id).unwrap().state, json!({ event_type.as_str(): event_type }));
        let conflict = handle.append(id, Expected::New, [event(event_type)]).unwrap_err();
        prop_assert_eq!(conflict.kind(), ErrorKind::Conflict);
        prop_assert!(!conflict.to_string().contains(|c: char| c.is_control() || c == '\u{202e}'), "{:?}", conflict.to_string());
    }
}
