//! The real store, and each call made to it.

use foldlog::{
    Aggregate, Batch, Durability, Error, ErrorKind, Expected, Filter, NewEvent, Purge, Query, SnapshotPolicy, SnapshotReason,
    Store,
};
use proptest_state_machine::StateMachineTest;
use std::ops::ControlFlow::Continue;

use super::calls::{Belief, Call, End, HANDLES, IDS, Reading, TENANTS, TYPES, Which, event, event_id, events, name};
use super::reference::Reference;
use crate::support::disk::Disk;
use crate::support::model::{self, Account, AccountEvent, Planned, Row, accounts};

const PATH: &str = "/disk/store.db";

/// The store, open several times.
pub struct Machine {
    disk: Disk,
    stores: Vec<Option<Store>>,
}

impl Machine {
    fn open(&self) -> Store {
        // Snapshots only on request, so that plain Rust knows what a purge may take.
        let options = model::options(Durability::Fast).snapshots(SnapshotPolicy::manual());
        options.vfs(self.disk.name()).open(PATH).expect("opens")
    }

    fn store(&self, handle: usize) -> &Store {
        self.stores[handle].as_ref().expect("it is open")
    }

    /// A believed version is one that was asked of the store, or one beside it.
    fn perform(&self, call: &Call) -> Result<End, Error> {
        match call {
            Call::Append(handle, which, belief, numbers) => {
                let (tenant, id) = name(*which);
                let store = self.store(*handle).tenant(&tenant);
                let expected = believed(&store, &id, *belief)?;
                let events = events(numbers);
                store.append(Account::TYPE, &id, expected, events.iter().map(Planned::to_event)).map(appended)
            }
            Call::AppendAs(handle, which, numbers) => {
                let (tenant, id) = name(*which);
                let events: Vec<NewEvent> =
                    numbers.iter().map(|(id, number)| event(*number).to_event().id(event_id(*id))).collect();
                self.store(*handle).tenant(&tenant).append(Account::TYPE, &id, Expected::Any, events).map(appended)
            }
            Call::Commit(handle, tenant, parts) => {
                let store = self.store(*handle).tenant(TENANTS[*tenant]);
                let mut batch = Batch::new();
                for (id, belief, numbers) in parts {
                    let expected = believed(&store, IDS[*id], *belief)?;
                    batch = batch.append(Account::TYPE, IDS[*id], expected, events(numbers).iter().map(Planned::to_event));
                }
                store.commit(batch).map(|done| appended(done.last().cloned().expect("one for each part")))
            }
            Call::Execute(handle, which, numbers) => {
                let (tenant, id) = name(*which);
                let decided: Vec<AccountEvent> = events(numbers).into_iter().map(|planned| planned.event).collect();
                let done = accounts(self.store(*handle), &tenant).execute(&id, |_| decided.clone())?;
                Ok(done.appended.map_or(End::Done, appended))
            }
            Call::Refuse(handle, which) => {
                let (tenant, id) = name(*which);
                let refused = accounts(self.store(*handle), &tenant).execute(&id, |_| Err::<Vec<AccountEvent>, _>(Refusal));
                refused.expect_err("the decision is an error").into_decision().map(|Refusal| End::Refused)
            }
            Call::Snapshot(handle, which) => {
                let (tenant, id) = name(*which);
                accounts(self.store(*handle), &tenant).create_snapshot(&id, SnapshotReason::Manual).map(|_| End::Done)
            }
            Call::DeleteSnapshots(handle, which) => {
                let (tenant, id) = name(*which);
                accounts(self.store(*handle), &tenant).delete_snapshots(&id).map(|_| End::Done)
            }
            Call::Purge(handle, which) => {
                let (tenant, id) = name(*which);
                let plan = Purge::created_before(chrono::DateTime::<chrono::Utc>::MAX_UTC).aggregate(Account::TYPE, id);
                let plan = plan.fold(&accounts(self.store(*handle), &tenant));
                self.store(*handle).tenant(&tenant).maintenance().purge(plan).map(|_| End::Done)
            }
            Call::Replay(handle, which) => state(self.store(*handle), *which, None),
            Call::ReplayTo(handle, which, version) => state(self.store(*handle), *which, Some(*version)),
            Call::Read(handle, reading) => rows(self.store(*handle), *reading).map(End::Rows),
            Call::Reopen(_) => Ok(End::Done),
            Call::ReadOnly(which) => {
                let options = model::options(Durability::Fast).vfs(self.disk.name());
                let store = options.open_read_only(PATH)?;
                let event = NewEvent::of(&AccountEvent::Closed)?;
                let refused = store.append(Account::TYPE, "a", Expected::Any, [event]).expect_err("it only reads");
                assert_eq!(refused.kind(), ErrorKind::ReadOnly);
                state(&store, *which, None)
            }
        }
    }
}

/// An application's own error.
#[derive(Debug)]
struct Refusal;

fn believed(store: &Store, id: &str, belief: Belief) -> Result<Expected, Error> {
    Ok(match belief {
        Belief::Any => Expected::Any,
        Belief::New => Expected::New,
        Belief::Existing => Expected::Existing,
        Belief::Off(off) => Expected::from(store.version(Account::TYPE, id)?.get().saturating_add_signed(off)),
    })
}

fn appended(done: foldlog::Appended) -> End {
    End::Appended(done.version.get(), done.position.get(), done.was_duplicate)
}

fn state(store: &Store, which: Which, version: Option<u64>) -> Result<End, Error> {
    let (tenant, id) = name(which);
    let accounts = accounts(store, &tenant);
    let replayed = match version {
        None => accounts.replay(&id)?,
        Some(version) => accounts.replay_to_version(&id, version)?,
    };
    Ok(End::State(replayed.version.get(), replayed.state))
}

fn rows(store: &Store, reading: Reading) -> Result<Vec<Row>, Error> {
    let all = Query::matching(Filter::new().all_tenants());
    let (store, query) = match reading {
        Reading::After(position) => (store.clone(), all.after_position(position)),
        Reading::Newest(count) => (store.clone(), all.newest_first().limit(count)),
        Reading::Tagged(tag) => (store.clone(), Query::matching(Filter::new().tag(format!("tag-{tag}")))),
        Reading::OfType(kind) => (store.clone(), Query::matching(Filter::new().event_type(TYPES[usize::from(kind) % 4]))),
        Reading::OfAggregate(which, version) => {
            let (tenant, id) = name(which);
            (store.tenant(&tenant), Query::aggregate(Account::TYPE, id).after_version(version))
        }
    };
    store.read(query).map(|event| event.map(|event| Row::of(&event))).collect()
}

impl StateMachineTest for Machine {
    type SystemUnderTest = Machine;
    type Reference = Reference;

    fn init_test(_: &Reference) -> Machine {
        let mut machine = Machine { disk: Disk::new(), stores: Vec::new() };
        machine.stores = (0..HANDLES).map(|_| Some(machine.open())).collect();
        machine
    }

    fn apply(mut machine: Machine, reference: &Reference, call: Call) -> Machine {
        if let Call::Reopen(handle) = call {
            machine.stores[handle] = None;
            machine.stores[handle] = Some(machine.open());
        }
        let end = machine.perform(&call).unwrap_or_else(|error| End::Fails(error.kind()));
        assert_eq!(end, reference.end, "{call:?}");
        machine
    }

    fn check_invariants(machine: &Machine, reference: &Reference) {
        for handle in 0..HANDLES {
            assert_eq!(machine.store(handle).last_position().unwrap(), reference.world.last_position);
        }
    }

    fn teardown(mut machine: Machine, reference: Reference) {
        assert_eq!(model::rows(machine.store(0)).unwrap(), reference.world.rows);
        machine.stores.clear();
        let report = machine.open().maintenance().verify(|_| Continue(())).unwrap();
        assert!(report.is_clean(), "{:?}", report.damages);
    }
}
