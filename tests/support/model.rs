//! The log in plain Rust: what was done to it, and what must be in it afterwards.

use std::collections::BTreeMap;
use std::ops::ControlFlow::Continue;

use foldlog::{
    Aggregate, Aggregates, Batch, Clock, Durability, Error, EventId, Expected, Filter, NewEvent, Options, Position, Purge,
    RecordedEvent, SnapshotPolicy, SnapshotReason, Store,
};
use serde::{Deserialize, Serialize};

use super::random::Random;

/// A state that depends on every event and on their order.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    pub cents: i64,
    pub events: u64,
    pub digest: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum AccountEvent {
    Deposited { cents: i64, note: String },
    Withdrawn { cents: i64 },
    Closed,
}

impl Aggregate for Account {
    const TYPE: &'static str = "account";
    type Event = AccountEvent;

    fn apply(&mut self, event: AccountEvent) {
        let (sign, mixed) = match &event {
            AccountEvent::Deposited { cents, note } => {
                (*cents, note.bytes().fold(1, |sum, byte| 31 * (sum % (1 << 56)) + u64::from(byte)))
            }
            AccountEvent::Withdrawn { cents } => (-cents, 1_000_003),
            AccountEvent::Closed => (0, 7),
        };
        self.cents += sign;
        self.events += 1;
        self.digest = self.digest.wrapping_mul(31).wrapping_add(mixed).wrapping_add(sign as u64);
    }
}

/// All of an event that a reader can see, byte for byte.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    pub position: u64,
    pub commit_id: u64,
    pub tenant: String,
    pub id: String,
    pub version: u64,
    pub event_type: String,
    pub data: String,
    pub metadata: Option<String>,
    pub tags: Vec<String>,
}

impl Row {
    pub fn of(event: &RecordedEvent) -> Row {
        Row {
            position: event.position.get(),
            commit_id: event.commit_id.get(),
            tenant: event.tenant.to_string(),
            id: event.aggregate_id.to_string(),
            version: event.version.get(),
            event_type: event.event_type.to_string(),
            data: event.data.as_str().to_owned(),
            metadata: event.metadata.as_ref().map(|metadata| metadata.as_str().to_owned()),
            tags: event.tags.clone(),
        }
    }
}

/// Tenant and aggregate id.
pub type Name = (String, String);

/// The log as it must be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct World {
    pub rows: Vec<Row>,
    pub last_position: u64,
    pub versions: BTreeMap<Name, u64>,
    /// The version of the newest snapshot that was asked for: as far as a purge goes.
    snapshots: BTreeMap<Name, u64>,
    /// Every event that ever was, for the states: purged ones too.
    histories: BTreeMap<Name, Vec<AccountEvent>>,
}

/// What is done to a log, whole or not at all.
#[derive(Clone, Debug)]
pub enum Step {
    /// (tenant, [(aggregate id, events)]); a tenant is one handle, so a commit is of one tenant.
    Commit(String, Vec<(String, Vec<Planned>)>),
    Purge(String, String),
    /// Changes nothing that a reader of events sees.
    Snapshot(String, String),
}

/// An event that is to be appended.
#[derive(Clone, Debug)]
pub struct Planned {
    pub event: AccountEvent,
    /// `None`: the store makes one.
    pub id: Option<EventId>,
    pub metadata: Option<String>,
    pub tags: Vec<String>,
}

impl Planned {
    /// What must be in the file, worked out without the library.
    fn stored(&self) -> (&'static str, String) {
        match &self.event {
            AccountEvent::Deposited { cents, note } => ("Deposited", format!(r#"{{"cents":{cents},"note":"{note}"}}"#)),
            AccountEvent::Withdrawn { cents } => ("Withdrawn", format!(r#"{{"cents":{cents}}}"#)),
            AccountEvent::Closed => ("Closed", "{}".to_owned()),
        }
    }

    pub fn to_event(&self) -> NewEvent {
        let mut event = NewEvent::of(&self.event).expect("our own event is JSON");
        if let Some(id) = self.id {
            event = event.id(id);
        }
        for tag in &self.tags {
            event = event.tag(tag.clone());
        }
        match &self.metadata {
            Some(text) => event.metadata_json(foldlog::Json::from_text(text.clone()).expect("our own metadata is JSON")),
            None => event,
        }
    }
}

impl World {
    pub fn apply(&mut self, step: &Step) {
        match step {
            Step::Commit(tenant, parts) => {
                let commit_id = self.last_position + 1;
                for (id, events) in parts {
                    let name = (tenant.clone(), id.clone());
                    for planned in events {
                        self.last_position += 1;
                        let version = self.versions.entry(name.clone()).or_default();
                        *version += 1;
                        let (event_type, data) = planned.stored();
                        self.rows.push(Row {
                            position: self.last_position,
                            commit_id,
                            tenant: tenant.clone(),
                            id: id.clone(),
                            version: *version,
                            event_type: event_type.to_owned(),
                            data,
                            metadata: planned.metadata.clone(),
                            tags: planned.tags.clone(),
                        });
                        self.histories.entry(name.clone()).or_default().push(planned.event.clone());
                    }
                }
            }
            Step::Purge(tenant, id) => {
                let through = self.snapshots.get(&(tenant.clone(), id.clone())).copied().unwrap_or(0);
                self.rows.retain(|row| row.tenant != *tenant || row.id != *id || row.version > through);
            }
            Step::Snapshot(tenant, id) => {
                let name = (tenant.clone(), id.clone());
                if let Some(version) = self.versions.get(&name) {
                    self.snapshots.insert(name, *version);
                }
            }
        }
    }

    /// The state of an aggregate at a version.
    pub fn state(&self, name: &Name, version: u64) -> Account {
        let mut state = Account::default();
        for event in self.histories.get(name).into_iter().flatten().take(version as usize) {
            state.apply(event.clone());
        }
        state
    }

    pub fn is_purged(&self, name: &Name) -> bool {
        !self.rows.iter().any(|row| row.tenant == name.0 && row.id == name.1 && row.version == 1)
    }
}

/// Does a step to a real log.
pub fn perform(store: &Store, step: &Step) -> Result<(), Error> {
    match step {
        Step::Commit(tenant, parts) => {
            let batch = parts.iter().fold(Batch::new(), |batch, (id, events)| {
                batch.append(Account::TYPE, id.clone(), Expected::Any, events.iter().map(Planned::to_event))
            });
            store.tenant(tenant).commit(batch).map(drop)
        }
        Step::Purge(tenant, id) => {
            // The events go only if a snapshot stands in for all of them.
            let of_tenant = store.tenant(tenant);
            let plan = Purge::created_before(chrono::DateTime::<chrono::Utc>::MAX_UTC).aggregate(Account::TYPE, id.as_str());
            of_tenant.maintenance().purge(plan.fold(&of_tenant.aggregates::<Account>())).map(drop)
        }
        Step::Snapshot(tenant, id) => accounts(store, tenant).create_snapshot(id, SnapshotReason::Manual).map(drop),
    }
}

pub fn accounts(store: &Store, tenant: &str) -> Aggregates<Account> {
    store.tenant(tenant).aggregates::<Account>()
}

/// What the proofs open their files with: few events make a snapshot, and the same run gives the same bytes.
pub fn options(durability: Durability) -> Options {
    Options::new()
        .durability(durability)
        .snapshots(SnapshotPolicy::every(7).retain(3))
        .clock(Clock::fixed("2026-01-01T00:00:00Z".parse().expect("a time")))
}

/// Plans something to do.
pub struct Planner {
    pub random: Random,
    tenants: Vec<String>,
    ids: Vec<String>,
    longest_note: u64,
}

impl Planner {
    pub fn new(random: Random) -> Planner {
        Planner {
            random,
            tenants: vec!["default".into(), "acme".into()],
            ids: (0..4).map(|n| format!("acc-{n}")).collect(),
            longest_note: 900,
        }
    }

    /// Plans small events, so that a file has many rows to a page.
    pub fn short(random: Random) -> Planner {
        Planner { longest_note: 60, ..Planner::new(random) }
    }

    /// Steps that belong together: a purge comes after the snapshot that stands in for the events.
    pub fn plan(&mut self, world: &World) -> Vec<Step> {
        let tenant = self.tenants[self.random.index(self.tenants.len())].clone();
        let id = self.ids[self.random.index(self.ids.len())].clone();
        let exists = world.versions.contains_key(&(tenant.clone(), id.clone()));
        match self.random.below(100) {
            0..4 if exists => vec![Step::Snapshot(tenant.clone(), id.clone()), Step::Purge(tenant, id)],
            4..10 if exists => vec![Step::Snapshot(tenant, id)],
            10..70 => vec![Step::Commit(tenant, vec![(id, vec![self.event()])])],
            _ => {
                let mut parts = Vec::new();
                for _ in 0..1 + self.random.below(3) {
                    let id = self.ids[self.random.index(self.ids.len())].clone();
                    let events = (0..1 + self.random.below(6)).map(|_| self.event()).collect();
                    parts.push((id, events));
                }
                vec![Step::Commit(tenant, parts)]
            }
        }
    }

    fn event(&mut self) -> Planned {
        let cents = self.random.below(10_000) as i64;
        let event = match self.random.below(10) {
            0..6 => {
                let length = self.random.below(self.longest_note) as usize;
                AccountEvent::Deposited { cents, note: "a note ".chars().cycle().take(length).collect() }
            }
            6..9 => AccountEvent::Withdrawn { cents },
            _ => AccountEvent::Closed,
        };
        let metadata = self.random.chance(30).then(|| format!(r#"{{"userId":"u-{cents}"}}"#));
        let tags = (0..self.random.below(3)).map(|n| format!("tag-{}", (cents as u64 + n) % 5)).collect();
        Planned { event, id: None, metadata, tags }
    }
}

/// Compares everything that a reader can see of a log with what it must be. Errors are differences too.
pub fn difference(store: &Store, world: &World) -> Option<String> {
    rows(store).and_then(|rows| compare(store, &rows, world)).unwrap_or_else(|error| Some(format!("{error:?}")))
}

/// As [`difference`], for who has read the rows.
pub fn difference_to(store: &Store, rows: &[Row], world: &World) -> Option<String> {
    compare(store, rows, world).unwrap_or_else(|error| Some(format!("{error:?}")))
}

fn compare(store: &Store, rows: &[Row], world: &World) -> Result<Option<String>, Error> {
    let last = store.last_position()?;
    if last != Position::new(world.last_position) {
        return Ok(Some(format!("the last position is {last}, it must be {}", world.last_position)));
    }
    if rows != world.rows {
        let at =
            rows.iter().zip(&world.rows).position(|(real, wanted)| real != wanted).unwrap_or(rows.len().min(world.rows.len()));
        return Ok(Some(format!("{} events, not {}; the first difference is at row {at}", rows.len(), world.rows.len())));
    }
    for (name, version) in &world.versions {
        let accounts = accounts(store, &name.0);
        let replayed = accounts.replay(&name.1)?;
        if replayed.version != *version || replayed.state != world.state(name, *version) {
            return Ok(Some(format!("{name:?} replays to version {} of {version}: {:?}", replayed.version, replayed.state)));
        }
        if !world.is_purged(name) {
            let full = accounts.without_snapshots().replay(&name.1)?;
            if full.version != *version || full.state != world.state(name, *version) {
                return Ok(Some(format!("{name:?} replays without snapshots to {:?}", full.state)));
            }
        }
    }
    let report = store.maintenance().verify(|_| Continue(()))?;
    Ok((!report.is_clean()).then(|| format!("verify: {:?}", report.damages)))
}

/// Every event of every tenant.
pub fn rows(store: &Store) -> Result<Vec<Row>, Error> {
    store.read(Filter::new().all_tenants()).map(|event| event.map(|event| Row::of(&event))).collect()
}
